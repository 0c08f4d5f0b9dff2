"""Crashes by the book: a run's disk operations are replayed up to each possible crash.

A run is a number of transactions. For every prefix of its operations, for a torn last write, for a
crash inside the recovery from such a crash, and for the orders in which a disk may keep unsynced
writes when power fails, the file must open and hold exactly the state before or after the commit
at hand, and every commit that had returned.
"""

from __future__ import annotations

import bisect
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from h5scene.store import Store, create_store, open_store, system
from h5scene.store.userblock import CLEAN, read_header
from tests.crash.content import digest, mixed_transaction

SECTOR_BYTES = 512


@dataclass(frozen=True)
class Operation:
    """One operation on the disk: a write, a truncation or a sync."""

    kind: str
    offset: int = 0
    data: bytes = b""


@contextmanager
def logged_disk() -> Iterator[list[Operation]]:
    """Logs what the store does to the disk."""
    log: list[Operation] = []
    original = system.Disk

    class LoggingDisk(original):  # type: ignore[misc, valid-type]
        def write(self, data: Any, offset: int) -> None:
            log.append(Operation("write", offset, bytes(data)))
            super().write(data, offset)

        def truncate(self, byte_count: int) -> None:
            log.append(Operation("truncate", byte_count))
            super().truncate(byte_count)

        def sync(self) -> None:
            log.append(Operation("sync"))  # and no real one: the model decides what survives

    system.Disk = LoggingDisk  # type: ignore[misc]
    try:
        yield log
    finally:
        system.Disk = original  # type: ignore[misc]


class Image:
    """The bytes of a file as a disk would hold them."""

    def __init__(self, data: bytes | bytearray):
        self.data = bytearray(data)

    def copy(self) -> Image:
        """Returns an independent image."""
        return Image(self.data)

    def apply(self, operation: Operation) -> None:
        """Does the whole operation."""
        if operation.kind == "write":
            self._put(operation.offset, operation.data)
        elif operation.kind == "truncate":
            del self.data[operation.offset :]
            self.data.extend(bytes(operation.offset - len(self.data)))

    def tear(self, operation: Operation, count: int) -> None:
        """Does the first `count` bytes of a write: what a killed process may leave."""
        self._put(operation.offset, operation.data[:count])

    def scatter(self, operation: Operation, rng: random.Random) -> None:
        """Does a random half of a write's sectors: what a power loss may leave."""
        end = operation.offset + len(operation.data)
        for sector in range(operation.offset // SECTOR_BYTES, (end - 1) // SECTOR_BYTES + 1):
            if rng.random() < 0.5:
                a = max(operation.offset, sector * SECTOR_BYTES)
                z = min(end, (sector + 1) * SECTOR_BYTES)
                self._put(a, operation.data[a - operation.offset : z - operation.offset])

    def _put(self, offset: int, data: bytes) -> None:
        if len(self.data) < offset + len(data):
            self.data.extend(bytes(offset + len(data) - len(self.data)))
        self.data[offset : offset + len(data)] = data


@dataclass
class Recording:
    """A run: what it did to the disk, and which states it went through.

    Attributes:
        start: The file before the first transaction.
        operations: Everything done to the disk.
        states: Digest of the content before the first transaction and after each.
        marks: How many operations had been done when each of these states was committed.
    """

    start: bytes
    operations: list[Operation]
    states: list[int]
    marks: list[int]

    def committed(self, operation_count: int) -> int:
        """Returns the number of the newest state whose commit had returned."""
        return bisect.bisect_right(self.marks, operation_count) - 1

    def allowed(self, operation_count: int) -> set[int]:
        """Returns the states that a crash after so many operations may leave."""
        newest = self.committed(operation_count)
        return set(self.states[newest : newest + 2])


def record(directory: Path, transactions: int, *, durability: str, seed: int) -> Recording:
    """Returns a run of mixed transactions."""
    path = directory / "recorded.h5"
    store = create_store(path, lambda file: None)
    start = path.read_bytes()
    rng = random.Random(seed)
    with logged_disk() as log:
        states, marks = [store.read(digest)], [0]
        for number in range(transactions):
            with store.transaction(durability=durability) as file:  # type: ignore[arg-type]
                mixed_transaction(file, number, rng)
                file.flush()
                states.append(digest(file))
            marks.append(len(log))
        store.close()
    path.unlink()
    if len(set(states)) != len(states):
        raise AssertionError("two states of the run look alike")
    return Recording(start, list(log), states, marks)


@dataclass
class Findings:
    """How many crashes were tried, and what was wrong after them."""

    tried: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    stops_at_first: bool = False

    def add(self, kind: str, problem: str, place: str) -> None:
        """Counts one crash."""
        self.tried[kind] += 1
        if problem:
            self.wrong.append(f"{kind} at {place}: {problem}")
            if self.stops_at_first:
                raise Stop


class Stop(Exception):
    """Enough was found."""


class Checker:
    """Looks at files that a crash left."""

    def __init__(self, directory: Path):
        self.path = directory / "crashed.h5"

    def problem(self, image: Image, allowed: set[int]) -> str:
        """Returns what is wrong with the file, or an empty string."""
        try:
            return self._problem(image, allowed)
        except Exception as error:  # noqa: BLE001 (counted as a wrong file)
            return f"{type(error).__name__}: {error}"

    def _problem(self, image: Image, allowed: set[int]) -> str:
        store = self._put(image)
        found = store.read(digest, lock_timeout_s=0.5)
        if found not in allowed:
            return "reading shows another state"
        if self.path.read_bytes() != image.data:
            return "reading changed the file"
        if self._is_clean():
            with h5py.File(self.path, "r") as file:
                if digest(file) != found:
                    return "plain HDF5 shows another state without recovery"
        with store.transaction(lock_timeout_s=0.5) as file:
            if digest(file) != found:
                return "writing starts from another state"
            file["added"] = np.arange(1000)
        store.close()
        with h5py.File(self.path, "r") as file:
            if not np.array_equal(file["added"][...], np.arange(1000)):
                return "what was written afterwards is wrong"
        with h5py.File(self.path, "r+") as file:
            del file["added"]
            if digest(file) != found:
                return "plain HDF5 shows another state afterwards"
        return ""

    def recovery_of(self, image: Image) -> list[Operation]:
        """Returns what opening the file for writing does to the disk."""
        store = self._put(image)
        with logged_disk() as log:
            with store.transaction():
                pass
            operations = list(log)
        store.close()
        return operations

    def _put(self, image: Image) -> Store:
        if self.path.exists():
            open_store(self.path).close()
        self.path.write_bytes(image.data)
        return open_store(self.path)

    def _is_clean(self) -> bool:
        disk = system.Disk(os.fspath(self.path), writable=False)
        try:
            header = read_header(disk)
            return header is not None and header.state == CLEAN
        finally:
            disk.close()


def sweep_process_death(
    recording: Recording,
    directory: Path,
    findings: Findings,
    *,
    seed: int,
    torn: int,
    nested_every: int,
) -> None:
    """Tries a crash after every operation, in the middle of every write, and inside recoveries.

    Args:
        recording: The run.
        directory: For the crashed files.
        findings: Collects the outcome.
        seed: Of the random choices.
        torn: How many torn variants of each write.
        nested_every: Recoveries from each so-many-th crash are crashed too, at each of their
            operations.
    """
    rng, checker, image = random.Random(seed), Checker(directory), Image(recording.start)
    for count, operation in enumerate(recording.operations):
        if operation.kind == "write" and len(operation.data) > 1:
            for _ in range(torn):
                crashed = image.copy()
                crashed.tear(operation, rng.randrange(1, len(operation.data)))
                findings.add(
                    "torn", checker.problem(crashed, recording.allowed(count)), f"operation {count}"
                )
        image.apply(operation)
        allowed = recording.allowed(count + 1)
        findings.add("prefix", checker.problem(image, allowed), f"operation {count}")
        if count % nested_every == 0:
            _sweep_recovery(image, checker, allowed, findings, rng, f"operation {count}")


def _sweep_recovery(
    image: Image,
    checker: Checker,
    allowed: set[int],
    findings: Findings,
    rng: random.Random,
    place: str,
) -> None:
    step = image.copy()
    for number, operation in enumerate(checker.recovery_of(image)):
        if operation.kind == "write" and len(operation.data) > 1:
            crashed = step.copy()
            crashed.tear(operation, rng.randrange(1, len(operation.data)))
            findings.add(
                "nested", checker.problem(crashed, allowed), f"{place}, recovery {number} torn"
            )
        step.apply(operation)
        findings.add("nested", checker.problem(step, allowed), f"{place}, recovery {number}")


def sweep_power_loss(
    recording: Recording, directory: Path, findings: Findings, *, seed: int, samples: int
) -> None:
    """Tries power losses: of what is not synced, any part may be on the disk."""
    rng, checker = random.Random(seed), Checker(directory)
    synced, pending = Image(recording.start), []
    for count, operation in enumerate(recording.operations):
        pending.append(operation)
        for _ in range(samples):
            crashed = synced.copy()
            for each in pending:
                choice = rng.random()
                if choice < 0.35 or each.kind == "sync":
                    continue
                if choice < 0.7 or each.kind != "write":
                    crashed.apply(each)
                else:
                    crashed.scatter(each, rng)
            findings.add(
                "power", checker.problem(crashed, recording.allowed(count)), f"operation {count}"
            )
        if operation.kind == "sync":
            for each in pending:
                synced.apply(each)
            pending = []
