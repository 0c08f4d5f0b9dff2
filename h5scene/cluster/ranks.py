"""What the ranks of an MPI communicator do together, so that none waits for one that has failed.

Every step is one exchange of all ranks: what each of them made, or why it could not. Where one
could not, all raise the same error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from h5scene.errors import H5SceneError, InvalidInputError, RankError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_keys: list[int] = []


@dataclass(frozen=True)
class Outcome:
    """What a rank made in a step, or why it could not.

    Attributes:
        step: What the rank was doing.
        value: What it made.
        error: Why it could not.
    """

    step: str
    value: Any = None
    error: H5SceneError | None = None


def own_communicator(comm: Any) -> Any:
    """Returns a copy of a communicator for our messages, which do not meet those of the program.

    It is made once, by all ranks together, and goes with the communicator.

    Raises:
        InvalidInputError: This is no communicator of mpi4py.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # it is not there, or finds no MPI library
        raise InvalidInputError(
            f"mpi4py cannot be used here ({error}); install it with `pip install mpi4py`, beside "
            "the MPI of the cluster"
        ) from error
    if not isinstance(comm, MPI.Intracomm) or comm == MPI.COMM_NULL:
        raise InvalidInputError(
            f"comm must be a communicator of mpi4py, such as MPI.COMM_WORLD, not {comm!r}"
        )
    if not _keys:
        _keys.append(MPI.Comm.Create_keyval(delete_fn=lambda _comm, _key, copy: copy.Free()))
    own = comm.Get_attr(_keys[0])
    if own is None:
        own = comm.Dup()
        comm.Set_attr(_keys[0], own)
    return own


def tried(step: str, rank: int, make: Callable[[], Any]) -> Outcome:
    """Returns what a function makes, or why it could not."""
    try:
        return Outcome(step, make())
    except H5SceneError as error:
        return Outcome(step, None, _on_rank(rank, error))
    except Exception as error:  # noqa: BLE001  # the other ranks wait to be told, whatever it is
        return Outcome(
            step, None, RankError(f"rank {rank} failed: {type(error).__name__}: {error}")
        )


def everyones(own: Any, step: str, make: Callable[[], T]) -> list[T]:
    """Returns what each rank made. All ranks must call this.

    Raises:
        H5SceneError: Why the first of the ranks that failed did: the same on all of them.
        RankError: A rank is at another step, or failed by an error that is none of ours.
    """
    return agreed(own.allgather(tried(step, own.rank, make)), step)


def agreed(outcomes: list[Outcome], step: str) -> list[Any]:
    """Returns what all ranks made; raises as `everyones` does."""
    for rank, outcome in enumerate(outcomes):
        if outcome.step != step and outcome.error is not None:
            raise outcome.error
        if outcome.step != step:
            raise RankError(
                f"the ranks do different things: rank {rank} is at {outcome.step!r}, others at "
                f"{step!r}; all of them must call this, and none may have left before"
            )
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.value for outcome in outcomes]


def from_root(own: Any, root: int, step: str, make: Callable[[], T]) -> T:
    """Returns on all ranks what one of them made; raises as `everyones` does."""
    result: T = everyones(own, step, make if own.rank == root else lambda: None)[root]  # type: ignore[assignment]
    return result


def checked_root(own: Any, root: object) -> int:
    """Returns the rank that writes.

    Raises:
        InvalidInputError: There is no such rank.
    """
    if isinstance(root, bool) or not isinstance(root, int) or root not in range(own.size):
        raise InvalidInputError(f"root must be a rank from 0 to {own.size - 1}, not {root!r}")
    return root


def _on_rank(rank: int, error: H5SceneError) -> H5SceneError:
    """Returns an error that says on which rank it happened."""
    if isinstance(error, RankError):
        return error  # it says so already
    state = error.__reduce__()[1]
    told: H5SceneError = error.__reduce__()[0](*state)
    told.message = f"rank {rank}: {error.message}"
    told.args = (told.message,)
    return told
