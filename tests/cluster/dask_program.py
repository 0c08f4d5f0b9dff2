"""What tests have Dask workers do. They import this module; it must be cheap and have no tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from h5scene.errors import FrameNotFoundError


def square(number: int) -> int:
    return number * number


def fail_at(number: int, bad: int) -> int:
    if number == bad:
        raise FrameNotFoundError("no such frame", file="runs.h5", location="/sim_000000")
    return number


def die_at_first(number: int, folder: str) -> int:
    """Kills the process that does task 1 the first time."""
    if number == 1:
        try:
            (Path(folder) / "died").touch(exist_ok=False)
        except FileExistsError:
            return number
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number
