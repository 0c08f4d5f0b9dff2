"""Writing in the background: a queue of changes for each file, and a thread that makes them.

What is in the queue has not happened yet: it is lost if the process dies. `flush` waits until all
of it is committed. Memory is bounded: who puts more into a queue than it holds waits.

The thread ends when its queue is empty, and Python waits for it before it exits: nothing that was
put into a queue is lost by leaving the program in an orderly way.
"""

from __future__ import annotations

import atexit
import os
import threading
import traceback
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_QUEUED_BYTES = 256 << 20
"""How much data of one file may wait. A change that is larger waits until it is alone."""


class _Queue:
    """Changes of one file that are to be made, in their order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Callable[[], object], int]] = deque()
        self._waiting_bytes = 0
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def put(self, change: Callable[[], object], byte_count: int) -> None:
        """Adds a change, when there is room for it; raises what an earlier one raised."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._error is not None
                    or not self._waiting
                    or self._waiting_bytes + byte_count <= MAX_QUEUED_BYTES
                )
            )
            self._raise()
            self._waiting.append((change, byte_count))
            self._waiting_bytes += byte_count
            if self._thread is None:
                self._start()

    def flush(self) -> None:
        """Waits until every change has been made; raises what one of them raised."""
        if self._thread is None and self._error is None:  # nothing to do, nearly always
            return
        if self._thread is threading.current_thread():
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting)
            self._raise()

    def join(self) -> None:
        """Waits until the thread has ended."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        """Starts the thread, or does its work where there can be none any more."""
        self._thread = threading.Thread(target=self._work, name="h5scene background")
        try:
            self._thread.start()
        except RuntimeError:  # Python is ending
            self._work()
            self._raise()

    def _raise(self) -> None:
        """Raises the first error that nobody has seen yet."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        """Makes one change after the other, until there are none."""
        while True:
            with self._changed:
                if not self._waiting:
                    self._thread = None
                    return
                change, byte_count = self._waiting[0]
            error = _error_of(change)
            with self._changed:
                self._error = self._error or error
                self._waiting.popleft()
                self._waiting_bytes -= byte_count
                self._changed.notify_all()
            del change, error


def _error_of(change: Callable[[], object]) -> BaseException | None:
    """Makes a change; returns what it raised."""
    try:
        change()
    except BaseException as error:  # noqa: BLE001  # it is raised in the thread that asked for it
        # The error is kept until somebody looks. The arrays in its frames need not be.
        traceback.clear_frames(error.__traceback__)
        return error
    return None


_queues: dict[str, _Queue] = {}
_of_thread = threading.local()
_is_prepared = threading.Event()
_has_finished = threading.Event()


def prepare() -> None:
    """Makes Python finish all changes before it exits. To be called before the first one.

    Not on import: what Python calls at its exit it calls in reverse order, and this must come
    before h5py and the store clean up.
    """
    if not _is_prepared.is_set():
        _is_prepared.set()
        atexit.register(_finish)


def put(path: str, change: Callable[[], object], byte_count: int) -> None:
    """Makes a change of a file later, in another thread, after those that were put before.

    Args:
        path: Real path of the file.
        change: What to do. Its data must not change any more.
        byte_count: Size of these data.

    Raises:
        BaseException: What an earlier change raised. Then this one has not been put.
    """
    if _has_finished.is_set():
        change()
        return
    _queues.setdefault(path, _Queue()).put(change, byte_count)


def flush(path: str) -> None:
    """Waits until every change of the file has been made.

    Raises:
        BaseException: What one of them raised, the first time that somebody asks.
    """
    queue = _queues.get(path)
    if queue is not None and not is_direct(path):
        queue.flush()


@contextmanager
def direct(path: str) -> Iterator[None]:
    """Makes this thread change the file itself: while it has a transaction, no other thread can."""
    depths = _of_thread.__dict__
    depths[path] = depths.get(path, 0) + 1
    try:
        yield
    finally:
        depths[path] -= 1
        if not depths[path]:
            del depths[path]


def is_direct(path: str) -> bool:
    """Whether this thread is in `direct`."""
    return path in _of_thread.__dict__


def _finish() -> None:
    """Ends all work when Python exits, and raises what nobody has seen: it is then printed.

    Python has waited for the threads before, but other functions that it calls at its exit may
    write, too. What they write from here on is written at once.
    """
    _has_finished.set()
    for queue in _queues.values():
        queue.join()
    for queue in _queues.values():
        queue.flush()


def _forget() -> None:
    """Drops what is in the queues, in a forked child: the parent does it."""
    _queues.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
