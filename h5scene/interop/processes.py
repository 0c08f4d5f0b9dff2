"""Processes that each work on one task after the other.

Python's own pools import the main script once more in each process, so that scripts without a
guard run twice; most scripts of PhiFlow have none. These start from nothing but h5scene.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, TypeVar

from h5scene.errors import H5SceneError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from h5scene.interop.processes import serve; serve()"
)


def in_processes(
    function: Callable[..., T], tasks: Sequence[tuple[Any, ...]], count: int
) -> Iterator[tuple[T, int]]:
    """Gives the results of tasks as they come, each with the number of its task.

    No more than two tasks a process wait, so that results are taken as fast as they are made.

    Raises:
        H5SceneError: A task failed like this.
        StorageError: A process was killed.
    """
    count = min(count, len(tasks)) or 1
    workers = [_Worker() for _ in range(count)]
    idle = list(workers)
    lock = threading.Lock()

    def call(task: tuple[Any, ...]) -> T:
        with lock:
            worker = idle.pop()
        result: T = worker.call(function, task)
        with lock:
            idle.append(worker)
        return result

    pool = ThreadPoolExecutor(count)
    try:
        waiting: dict[Future[T], int] = {}
        rest = iter(enumerate(tasks))
        while True:
            while len(waiting) < 2 * count and (following := next(rest, None)) is not None:
                waiting[pool.submit(call, following[1])] = following[0]
            if not waiting:
                break
            finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result(), waiting.pop(future)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.stop()
        pool.shutdown(wait=True)


class _Worker:
    """One process."""

    def __init__(self) -> None:
        program = _PROGRAM.format(path=sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def call(self, function: Callable[..., T], task: tuple[Any, ...]) -> T:
        """Returns what the function returns there."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            pickle.dump((function, task), stdin)
            stdin.flush()
            failed, result = pickle.load(stdout)  # noqa: S301  # from a process of our own
        except (EOFError, BrokenPipeError, pickle.UnpicklingError) as error:
            status = self._process.wait()
            raise StorageError(
                f"a process of the work ended early, with status {status}; start again to go on"
            ) from error
        if failed:
            raise result
        return result  # type: ignore[no-any-return]  # from a pickle

    def stop(self) -> None:
        """Ends the process, if it works or not."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def serve() -> None:
    """Works on tasks from standard input until there are none."""
    with suppress(KeyboardInterrupt, EOFError, BrokenPipeError):
        answers = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what anything prints must not get among the answers
        while True:
            _work(sys.stdin.buffer, answers)


def _work(tasks: IO[bytes], answers: IO[bytes]) -> None:
    """Works on one task."""
    function, task = pickle.load(tasks)  # noqa: S301  # from the process that started this one
    try:
        answer = (False, function(*task))
    except H5SceneError as error:
        answer = (True, error)
    pickle.dump(answer, answers)
    answers.flush()
