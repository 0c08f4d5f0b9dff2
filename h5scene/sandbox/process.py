"""The child that reads, as its parent sees it, and what it does.

The parent tells it what to call, and trusts nothing that comes back: a file may have made anything
of the child. A child that dies or takes too long is an error of that one call.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from h5scene.errors import CorruptDataError, H5SceneError
from h5scene.sandbox import limits, plain

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_TIMEOUT_S = 60.0
"""How long one call may take, before what it reads gets more for its size."""
_SLOWEST_BYTES_PER_S = 20e6
# What an answer may have beside one array: lists of names and frames, tables, properties.
_OTHER_ANSWER_BYTES = 1 << 30
# Each thread of a library that multiplies matrices, and each arena of memory, takes address space;
# with many processors that is all there is, and none of them is of use here.
_FEW_THREADS = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
}

_PROGRAM = "import sys; sys.path[:] = {path!r}; from h5scene.sandbox.process import serve; serve()"


class Sandbox:
    """A process that calls functions under limits; it is started when it is needed.

    Any number of threads may use it, one after the other.

    Args:
        memory_bytes: How much memory it may take beside its own.
        timeout_s: How long one call may take, for a small file.
    """

    def __init__(self, memory_bytes: int, timeout_s: float = DEFAULT_TIMEOUT_S):
        self._memory_bytes = memory_bytes
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = os.getpid()

    def call(self, function: Callable[..., Any], *arguments: Any, size_bytes: int = 0) -> Any:
        """Returns what a function returns there, which must be one of plain values and records.

        Args:
            function: One that can be imported.
            arguments: Can be pickled.
            size_bytes: Size of what is read: large files may take longer.

        Raises:
            CorruptDataError: It ended the process, or took too long or too much memory.
            H5SceneError: It raised this.
        """
        with self._lock:
            process = self._started()
            timeout_s = self._timeout_s + size_bytes / _SLOWEST_BYTES_PER_S
            watch = _Watch(process, timeout_s)
            is_answered = False
            try:
                assert process.stdin is not None
                pickle.dump((timeout_s, function, arguments), process.stdin)
                process.stdin.flush()
                most_bytes = self._memory_bytes + _OTHER_ANSWER_BYTES
                value = plain.receive(process.stdout, most_bytes=most_bytes)
                is_answered = True
                return value
            except (EOFError, BrokenPipeError) as error:
                # A process that has closed its end need not end by itself.
                with suppress(subprocess.TimeoutExpired):
                    process.wait(1)
                raise CorruptDataError(_cause(process, watch)) from error
            except plain.NoAnswerError as error:
                raise CorruptDataError(
                    f"reading took over the process that did it, or confused it: {error}"
                ) from error
            except H5SceneError:  # which is an answer
                is_answered = True
                raise
            finally:
                if watch.end() or not is_answered:
                    self.stop()

    def stop(self) -> None:
        """Ends the process; the next call starts another one."""
        with self._lock:
            process, self._process = self._process, None
            if process is None:
                return
            if self._pid == os.getpid():  # else it is the parent's
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()

    def _started(self) -> subprocess.Popen[bytes]:
        """Returns the process, which runs."""
        if self._pid != os.getpid():
            self._process, self._pid = None, os.getpid()
        if self._process is None or self._process.poll() is not None:
            self.stop()
            program = _PROGRAM.format(path=sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, str(self._memory_bytes)],
                env={**os.environ, **_FEW_THREADS},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # what a dying process says is no news for anybody
            )
        return self._process

    def __del__(self) -> None:
        with suppress(Exception):
            self.stop()


class _Watch:
    """Ends a process after some time, unless it is ended itself before.

    Args:
        process: The process.
        timeout_s: How long it may take.

    Attributes:
        timeout_s: As given.
        has_struck: Whether it has ended the process.
    """

    def __init__(self, process: subprocess.Popen[bytes], timeout_s: float):
        self.timeout_s = timeout_s
        self.has_struck = False
        self._process = process
        self._timer = threading.Timer(timeout_s, self._strike)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> bool:
        """Lets the process live from here on; returns whether that is too late."""
        self._timer.cancel()
        self._timer.join()
        return self.has_struck

    def _strike(self) -> None:
        self.has_struck = True
        self._process.kill()


def _cause(process: subprocess.Popen[bytes], watch: _Watch) -> str:
    """Returns why there is no answer."""
    status = process.poll()
    if watch.has_struck:
        return f"reading took longer than {watch.timeout_s:.0f} s, and was ended"
    if status is not None and status < 0:
        with suppress(ValueError):
            return f"reading ended the process that did it with {signal.Signals(-status).name}"
    return f"reading ended the process that did it, with status {status}"


def serve() -> None:
    """Calls what the parent asks for, until it asks no more."""
    limits.limit_this_process(int(sys.argv[1]))
    questions = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anything prints must not get among the answers
    with suppress(KeyboardInterrupt, EOFError, BrokenPipeError):
        while True:
            timeout_s, function, arguments = pickle.load(questions)  # noqa: S301  # our parent's
            limits.limit_processor_time(timeout_s)
            try:
                plain.send(answers, function(*arguments))
            except H5SceneError as error:
                plain.send_error(answers, error)
            except MemoryError:
                plain.send_error(
                    answers, CorruptDataError("reading takes more memory than allowed")
                )
            except Exception as error:  # noqa: BLE001  # it is told to who asked
                plain.send_error(answers, error)
