"""A disk that fails at a chosen operation, in the process that goes on afterwards."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from h5scene.errors import StorageError
from h5scene.store import create_store, open_store, system
from tests.crash.content import digest, mixed_transaction
from tests.crash.simulation import Findings

FAULTS: dict[str, Callable[[], BaseException]] = {
    "ENOSPC": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "EDQUOT": lambda: OSError(errno.EDQUOT, "Disk quota exceeded"),
    "EIO": lambda: OSError(errno.EIO, "Input/output error"),
    "MemoryError": MemoryError,
    "KeyboardInterrupt": KeyboardInterrupt,
}


class FailingDisk:
    """Counts the operations while `is_armed`, and lets one or all from one on fail.

    Attributes:
        at: The first operation to fail.
        is_lasting: Whether all later ones fail too.
        is_short: Whether half of a write reaches the disk before it fails.
        count: How many operations there were.
    """

    def __init__(
        self, at: int, error: Callable[[], BaseException], *, is_lasting: bool, is_short: bool
    ):
        self.at, self.error = at, error
        self.is_lasting, self.is_short = is_lasting, is_short
        self.is_armed = False
        self.count = 0

    def strikes(self) -> bool:
        """Whether this operation fails."""
        if not self.is_armed:
            return False
        self.count += 1
        return self.count == self.at or (self.is_lasting and self.count > self.at)


@contextmanager
def failing_disk(
    at: int, error: Callable[[], BaseException], *, is_lasting: bool = False, is_short: bool = False
) -> Iterator[FailingDisk]:
    """Lets the `at`-th write, truncation or sync fail, counted from when the result is armed."""
    state = FailingDisk(at, error, is_lasting=is_lasting, is_short=is_short)
    original = system.Disk

    class Failing(original):  # type: ignore[misc, valid-type]
        def write(self, data: Any, offset: int) -> None:
            if state.strikes():
                if state.is_short:
                    super().write(bytes(data)[: len(data) // 2], offset)
                raise state.error()
            super().write(data, offset)

        def truncate(self, byte_count: int) -> None:
            if state.strikes():
                raise state.error()
            super().truncate(byte_count)

        def sync(self) -> None:
            if state.strikes():
                raise state.error()

    system.Disk = Failing  # type: ignore[misc]
    try:
        yield state
    finally:
        system.Disk = original  # type: ignore[misc]


def prepare(directory: Path) -> bytes:
    """Returns a file with three transactions in it."""
    path = directory / "prepared.h5"
    store = create_store(path, lambda file: None)
    rng = random.Random(1)
    for number in range(3):
        with store.transaction() as file:
            mixed_transaction(file, number, rng)
    store.close()
    return path.read_bytes()


def sweep_faults(
    directory: Path, start: bytes, findings: Findings, *, fault: str, manner: str, durability: str
) -> None:
    """Lets each disk operation of a transaction fail in turn.

    Args:
        directory: Empty, for the file.
        start: From `prepare`.
        findings: Collects the outcome.
        fault: One of `FAULTS`.
        manner: Words: `lasting` for all later operations too, `half written` for a write that
            stops in the middle.
        durability: Of the transaction.
    """
    path = directory / "faults.h5"
    for at in range(1, 1000):
        problems = _attempt(path, start, at, fault, manner, durability)
        if problems is None:
            path.unlink()
            return
        findings.add(
            f"fault {fault}", "; ".join(problems), f"operation {at}, {manner}, {durability}"
        )


def _attempt(
    path: Path, start: bytes, at: int, fault: str, manner: str, durability: str
) -> list[str] | None:
    """Returns what was wrong about a transaction, or None if no operation failed."""
    path.write_bytes(start)
    rng = random.Random(1)
    problems = []
    with failing_disk(
        at, FAULTS[fault], is_lasting="lasting" in manner, is_short="half" in manner
    ) as disk:
        store = open_store(path)
        with store.transaction():
            before = store.read(digest)
        store.cache["before"] = True
        after, error = None, None
        disk.is_armed = True
        try:
            with store.transaction(durability=durability) as file:  # type: ignore[arg-type]
                mixed_transaction(file, 3, rng)
                file.flush()
                after = digest(file)
        except BaseException as caught:  # noqa: BLE001 (judged below)
            error = caught
        if disk.count < at:
            store.close()
            return None
        # With the disk still failing, everything can be read.
        while_failing = store.read(digest)
        disk.is_armed = False
        found = store.read(digest)
        if found != while_failing:
            problems.append("the state changed when the disk came back")
        if found not in (before, after):
            problems.append("neither the old nor the new state")
        if error is None and found != after:
            problems.append("it returned and is lost")
        # An interrupt may also come when everything is done.
        may_be_done = isinstance(error, KeyboardInterrupt) or "was committed" in str(error)
        if error is not None and found != before and not may_be_done:
            problems.append(f"it raised {error!r} and is not undone")
        expected = StorageError if fault.startswith("E") else type(FAULTS[fault]())
        if error is not None and not isinstance(error, expected) and not may_be_done:
            problems.append(f"it raised {error!r}")
        if isinstance(error, StorageError) and error.errno != getattr(errno, fault, None):
            problems.append(f"errno {error.errno}")
        if error is not None and "before" in store.cache:
            problems.append("the cache was kept")
        with store.transaction() as file:
            file["after"] = np.arange(10)
        with h5py.File(path, "r", locking=False) as file:
            if not np.array_equal(file["after"], np.arange(10)):
                problems.append("the next transaction is lost")
        if path.stat().st_size > 2 * len(start) + 100_000:
            problems.append("what was appended takes up space")
        store.close()
        if [each.name for each in path.parent.iterdir()] != [path.name]:
            problems.append(f"left {[each.name for each in path.parent.iterdir()]}")
    return problems
