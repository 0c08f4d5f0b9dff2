"""Tasks on the workers of a Dask cluster, beside the processes of one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from h5scene.errors import InvalidInputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

_TASKS_PER_THREAD = 2


def checked_client(client: Any) -> Any:
    """Returns a client that can be waited for.

    Raises:
        InvalidInputError: This is none.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise InvalidInputError(
            "dask.distributed is not installed here; install it with `pip install distributed`"
        ) from error
    if not isinstance(client, Client):
        raise InvalidInputError(
            f"client must be a dask.distributed.Client, not {type(client).__name__} {client!r}"
        )
    if client.asynchronous:
        raise InvalidInputError("client must not be asynchronous; its results are waited for here")
    if client.status != "running":
        raise InvalidInputError(f"client is {client.status}; connect it to a cluster again")
    return client


def on_workers(
    client: Any, function: Callable[..., T], tasks: Iterable[tuple[Any, ...]]
) -> Iterator[tuple[T, int]]:
    """Gives the results of tasks as they come, each with the number of its task.

    Tasks are taken from `tasks`, and sent, when workers have room for them. What a worker had that
    died is done again by another one, so a task must not mind to be begun twice.

    Args:
        client: A `dask.distributed.Client`.
        function: What to do; it and all arguments and results are pickled.
        tasks: Arguments of each task.

    Raises:
        StorageError: A task ended several workers, or the connection was lost.
        Exception: What a task raised.
    """
    from distributed import CancelledError, KilledWorker, as_completed
    from distributed.comm import CommClosedError

    client = checked_client(client)
    rest = iter(enumerate(tasks))
    sent: dict[str, tuple[Any, int]] = {}  # futures that nobody holds are given up by the cluster
    waiting: Any = as_completed(loop=client.loop)

    def send_more() -> None:
        if client.status != "running":
            raise CommClosedError(client.status)
        room = _TASKS_PER_THREAD * max(sum(client.nthreads().values()), 1)
        while len(sent) < room and (following := next(rest, None)) is not None:
            number, task = following
            future = client.submit(function, *task, pure=False)
            sent[future.key] = (future, number)
            waiting.add(future)

    try:
        send_more()
        for future in waiting:
            result: T = future.result()
            yield result, sent.pop(future.key)[1]
            send_more()
    except KilledWorker as error:
        raise StorageError(
            f"a task ended {error.allowed_failures + 1} workers, one after the other; the last one "
            f"was {error.last_worker.address}: look into its log, and whether it has enough "
            "memory, and start again to go on"
        ) from error
    except (CancelledError, CommClosedError, TimeoutError) as error:
        raise StorageError(
            f"the connection to the Dask cluster was lost ({type(error).__name__}); start again to "
            "go on"
        ) from error
    finally:
        if sent and client.status == "running":
            client.cancel([future for future, _ in sent.values()])
