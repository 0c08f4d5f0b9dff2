"""Threads for work that needs neither HDF5 nor Python's lock: shuffling and deflating."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from h5scene.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

_MAX_WORKERS = 64
_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.RLock()  # a signal handler may fork while this thread is in here


def default_workers() -> int:
    """Returns how many threads pay: one for each processor that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), _MAX_WORKERS)
    return min(os.cpu_count() or 1, _MAX_WORKERS)


def check_workers(workers: object) -> None:
    """Raises InvalidInputError when this is no number of threads."""
    if workers is None:
        return
    is_number = isinstance(workers, int) and not isinstance(workers, bool)
    if not is_number or workers not in range(1, _MAX_WORKERS + 1):
        raise InvalidInputError(
            f"workers must be a number of threads from 1 to {_MAX_WORKERS}, not {workers!r}"
        )


def in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yields `function(item)` of each item, in order, computed by up to `workers` threads.

    Items are taken, and results held, one ahead for each thread and one more: memory is bounded
    however many there are. Items are taken in the thread that asks for results. With one worker, no
    thread is used at all.
    """
    waiting: deque[tuple[T, Future[R] | None]] = deque()
    ahead = workers + 1 if workers > 1 else 0
    try:
        for item in items:
            waiting.append((item, _submit(function, item, workers) if ahead else None))
            if len(waiting) > ahead:
                yield _result(function, *waiting.popleft())
        while waiting:
            yield _result(function, *waiting.popleft())
    finally:
        for _, future in waiting:  # somebody else failed: nobody needs the rest
            if future is not None:
                future.cancel()


def _result(function: Callable[[T], R], item: T, future: Future[R] | None) -> R:
    """Returns the result of one item, which is computed here where no thread has it."""
    return function(item) if future is None else future.result()


def _submit(function: Callable[[T], R], item: T, workers: int) -> Future[R] | None:
    """Hands an item to the threads; returns `None` when there are none."""
    with _lock:
        if workers not in _pools:
            _pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="h5scene")
        pool = _pools[workers]
    try:
        return pool.submit(function, item)
    except RuntimeError:  # Python is ending, or this process is forking
        return None


def _stop() -> None:
    """Ends all threads; the next work starts new ones.

    Before a fork: the child would have none of them, and Python warns of a fork beside threads.
    """
    with _lock:
        pools = list(_pools.values())
        _pools.clear()
    for pool in pools:
        pool.shutdown()


def _start_afresh() -> None:
    """Forgets, in a forked child, what another thread of the parent was doing in here."""
    global _lock
    _lock = threading.RLock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_stop, after_in_child=_start_afresh)
