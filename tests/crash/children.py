"""Child processes for tests: run a function in one, kill one, learn what it had done."""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def fork() -> int:
    """Forks; 0 in the child."""
    with warnings.catch_warnings():
        # Python 3.12 warns when other threads exist. pytest has some; the children touch nothing
        # of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


class Child:
    """A forked process that runs `function(report)`; `report` sends any object to the parent."""

    def __init__(self, function: Callable[[Callable[[Any], None]], Any], *, alarm_s: int = 60):
        self._read_end, write_end = os.pipe()
        self.pid = fork()
        if self.pid == 0:
            os.close(self._read_end)
            _run_and_exit(function, write_end, alarm_s)
        os.close(write_end)
        self._buffer = b""
        self.status: int | None = None

    def receive(self, timeout_s: float = 60.0) -> Any:
        """Returns the next report; EOFError when the child has ended."""
        ready, _, _ = select.select([self._read_end], [], [], timeout_s)
        if not ready:
            raise TimeoutError("the child reports nothing")
        size = int.from_bytes(self._exactly(4), "little")
        return pickle.loads(self._exactly(size))

    def kill(self) -> None:
        """Sends SIGKILL and waits until the child is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        """Returns the exit status: negative for a signal."""
        if self.status is None:
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def remaining(self) -> list[Any]:
        """Returns every report up to the end of the child."""
        reports = []
        try:
            while True:
                reports.append(self.receive())
        except EOFError:
            os.close(self._read_end)
        return reports

    def result(self) -> Any:
        """Returns what the function returned, or raises what it raised."""
        reports = self.remaining()
        status = self.wait()
        if (
            not reports
            or not isinstance(reports[-1], tuple)
            or reports[-1][0] not in ("result", "error")
        ):
            raise RuntimeError(f"the child ended with status {status} and said {reports[-3:]}")
        kind, value = reports[-1]
        if kind == "error":
            error, text = value
            if not isinstance(error, Exception):  # pytest would take it for its own
                raise RuntimeError(f"the child was stopped by {error!r}: {text}")
            if hasattr(error, "add_note"):
                error.add_note(text)
            raise error
        return value

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = os.read(self._read_end, count - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def _run_and_exit(
    function: Callable[[Callable[[Any], None]], Any], write_end: int, alarm_s: int
) -> None:
    def report(message: Any) -> None:
        data = pickle.dumps(message)
        os.write(write_end, len(data).to_bytes(4, "little") + data)  # atomic below PIPE_BUF

    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(alarm_s)
        report(("result", function(report)))
        status = 0
    except BaseException as error:  # noqa: BLE001 (the parent raises it)
        try:
            report(("error", (error, traceback.format_exc())))
        except BaseException:  # noqa: BLE001 (it does not pickle)
            report(("error", (RuntimeError(repr(error)), traceback.format_exc())))
    finally:
        os._exit(status)


def in_child(function: Callable[[], Any], *, alarm_s: int = 60) -> Any:
    """Returns what `function` returns in a forked process."""
    return Child(lambda report: function(), alarm_s=alarm_s).result()


def python(code: str, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=ROOT,
    )


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Returns when the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition never held")
        time.sleep(0.002)
