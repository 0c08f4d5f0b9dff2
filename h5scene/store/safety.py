"""What must not happen in the middle of HDF5's work: signal handlers and garbage collection.

HDF5 calls the pager back from inside its own code, and Python may use any such moment to run
something else:

* A signal handler that raises (Ctrl-C does) would leave HDF5's caches unusable. And inside h5py it
  is often raised in a weak reference's callback, where Python drops it and h5py may drop what it
  was about to write. Handlers that come due inside the store or h5py are run two milliseconds
  later instead, again and again until these are left.
* The cyclic garbage collector may find an h5py object in a reference cycle (an exception's
  traceback is enough) and close it, which calls HDF5 from inside HDF5 and crashes the process. It
  is paused while HDF5 may call back, and what came due is collected at the next safe moment.
"""

from __future__ import annotations

import _thread
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import h5py

if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType

_Function = TypeVar("_Function", bound=Callable[..., Any])

_REDELIVERY_S = 0.002
_LONGEST_WAIT_S = 10.0  # no reason is known why it should take longer than some milliseconds
_STORE_DIRECTORY = os.path.dirname(os.path.abspath(__file__)) + os.sep
# h5py keeps weak references to all its objects; its compiled code shows no frames of its own.
_H5PY_PLACES = (os.path.dirname(os.path.abspath(h5py.__file__)) + os.sep, weakref.__file__)
# Those that programs handle in Python.
_SIGNALS = tuple(
    getattr(signal, name)
    for name in (
        *("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM"),
        *("SIGPROF", "SIGXCPU", "SIGCHLD", "SIGTSTP", "SIGBREAK"),
    )
    if hasattr(signal, name)
)

# The functions beneath those of `signal`, which turn every number into an enum and cost ten times
# as much. A transaction of a small frame would spend a tenth of its time there.
_functions: Any = sys.modules.get("_signal", signal)
_get_handler = _functions.getsignal
_set_handler = _functions.signal

_runs_user_code: set[CodeType] = set()
_may_be_interrupted: set[CodeType] = set()


def runs_user_code(function: _Function) -> _Function:
    """Marks a function that calls code from outside: signals are handled there as usual."""
    _runs_user_code.add(function.__code__)
    return function


def may_be_interrupted(function: _Function) -> _Function:
    """Marks a function of the store that any signal handler may interrupt."""
    _may_be_interrupted.add(function.__code__)
    return function


class Guard:
    """Context in which HDF5 may call the pager. Nests, also across files and threads."""

    __slots__ = ()

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            _handlers.install()
        _collector.pause()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _collector.resume()
        if threading.current_thread() is threading.main_thread():
            _handlers.restore()  # last: a handler that was put off may raise from here on


class _Handlers:
    """Stands in front of the process's signal handlers while the main thread works in a store."""

    def __init__(self) -> None:
        self._depth = 0
        self._originals: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self.is_waiting = False
        self._deferring = self._run_or_defer  # one bound method, so that `is` finds it again

    def install(self) -> None:
        if self._depth == 0:
            # An old handler may still interrupt this loop. It leaves nothing that the next call
            # does not repair.
            for number in _SIGNALS:
                handler = _get_handler(number)
                if callable(handler) and handler is not self._deferring:
                    self._originals[number] = handler
                    _set_handler(number, self._deferring)
        self._depth += 1

    def restore(self) -> None:
        self._depth -= 1
        if self._depth:
            return
        for number in reversed(_SIGNALS):
            # If there is another one, the transaction's body has set it.
            if _get_handler(number) is self._deferring:
                _set_handler(number, self._originals[number])

    def _run_or_defer(self, number: int, frame: FrameType | None) -> None:
        if _must_wait(frame):
            self.is_waiting = True
            # Not `threading.Thread`: its start takes locks that this thread may hold, if the next
            # signal comes there.
            _thread.start_new_thread(_send_later, (number,))
        else:
            self._run(number, frame)

    @runs_user_code
    def _run(self, number: int, frame: FrameType | None) -> None:
        self.is_waiting = False
        self._originals[number](number, frame)


@may_be_interrupted
def interruption_point() -> None:
    """Lets signal handlers run that had to wait; does nothing where there are none.

    Long work inside a transaction or read calls this between its steps: it is in the store and in
    HDF5 nearly all the time, and a handler might not find a moment for long.
    """
    if not _handlers.is_waiting or threading.current_thread() is not threading.main_thread():
        return  # Python runs handlers in the main thread only
    deadline = time.monotonic() + _LONGEST_WAIT_S
    while _handlers.is_waiting and time.monotonic() < deadline:
        time.sleep(_REDELIVERY_S)


def _send_later(number: int) -> None:
    time.sleep(_REDELIVERY_S)
    signal.raise_signal(number)


def _must_wait(frame: FrameType | None) -> bool:
    """Whether the interrupted code belongs to the store or h5py, or was called by one of them."""
    innermost = frame
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_H5PY_PLACES):
            return True
        if code.co_filename.startswith(_STORE_DIRECTORY):
            if code in _may_be_interrupted:
                return False
            return frame is innermost or code not in _runs_user_code
        frame = frame.f_back
    return False


class _Collector:
    """Pauses the cyclic garbage collector of the process while any thread works in a store."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._was_enabled = False
        self._own = threading.local()

    def pause(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._depth += 1
            self._own.depth = getattr(self._own, "depth", 0) + 1

    def resume(self) -> None:
        with self._lock:
            self._depth -= 1
            self._own.depth -= 1
            if self._depth == 0:
                if self._was_enabled:
                    gc.enable()
                return
        if self._own.depth == 0:
            self.collect_if_due()

    def collect_if_due(self) -> None:
        """Does what the collector would have done by now. This thread is not inside HDF5 here."""
        if not self._was_enabled:
            return
        counts, thresholds = gc.get_count(), gc.get_threshold()
        if counts[0] > thresholds[0] > 0:
            # Full collections cost more than a frame: they wait until the collector runs again, or
            # much has gathered.
            oldest = 2 if counts[2] > 10 * thresholds[2] else int(counts[1] > thresholds[1])
            gc.collect(oldest)

    def after_fork(self) -> None:
        # The other threads, and what they had paused, do not exist in the child.
        self._lock = threading.RLock()
        was_paused, self._depth = self._depth, getattr(self._own, "depth", 0)
        if was_paused and not self._depth and self._was_enabled:
            gc.enable()


_handlers = _Handlers()
_collector = _Collector()

collect_if_due = _collector.collect_if_due

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_collector.after_fork)
