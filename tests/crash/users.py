"""Many processes that write and read one file at the same time, some of them killed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from h5scene.store import create_store, open_store
from tests.crash.children import Child
from tests.crash.simulation import Findings


def create_shared(path: Path) -> None:
    """Creates the file that `write_shared` writes to and `read_shared` reads."""

    def initialise(file: h5py.File) -> None:
        file.attrs["count"] = 0
        file["last"] = np.full(3000, -1)
        file.create_group("frames")

    create_store(path, initialise).close()


def write_shared(
    path: Path,
    writer: int,
    frames: int,
    report: Callable[[Any], None],
    waits: list[float] | None = None,
) -> None:
    """Writes frames whose parts belong together, and reports each call that returned."""
    store = open_store(path)
    for step in range(frames):
        asked = time.monotonic()
        with store.transaction() as file:
            if waits is not None:
                waits.append(time.monotonic() - asked)
            number = int(file.attrs["count"])
            file["frames"].create_dataset(
                f"{number:06d}", data=np.array([writer, step, number], "i8")
            )
            file["last"][...] = np.full(3000, number)
            file.attrs["count"] = number + 1
        report(number)


def wrong_shared(file: h5py.File, rng: random.Random) -> str:
    """Returns what contradicts itself in the file."""
    count = int(file.attrs["count"])
    if len(file["frames"]) != count:
        return f"{count} counted and {len(file['frames'])} there"
    if not (file["last"][...] == count - 1).all():
        return "a part of another commit"
    if count:
        for number in {count - 1, rng.randrange(count)}:
            if file[f"frames/{number:06d}"][2] != number:
                return f"wrong frame {number}"
    return ""


def read_shared(path: Path, seed: int, seconds: float) -> tuple[int, list[str]]:
    """Reads again and again; returns how often, and what was wrong."""
    rng = random.Random(seed)
    store = open_store(path)
    reads, wrong, newest = 0, [], 0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            problem, count = store.read(
                lambda file: (wrong_shared(file, rng), int(file.attrs["count"]))
            )
        except Exception as error:  # noqa: BLE001 (counted as a wrong read)
            problem, count = repr(error), newest
        if problem:
            wrong.append(problem)
        if count < newest:
            wrong.append(f"went back from {newest} to {count}")
        newest = count
        reads += 1
        time.sleep(rng.random() * 0.004)
    return reads, wrong


def missing(path: Path, writers: dict[int, int]) -> str:
    """Returns which frames of the writers (number: frames) plain h5py does not find."""
    with h5py.File(path, locking=False) as file:
        problem = wrong_shared(file, random.Random(0))
        found = {tuple(int(x) for x in dataset[:2]) for dataset in file["frames"].values()}
    expected = {(writer, step) for writer, frames in writers.items() for step in range(frames)}
    if problem:
        return problem
    if not expected <= found:
        return f"lost {sorted(expected - found)[:5]}"
    return ""


def many_writers(
    directory: Path, findings: Findings, *, writers: int, frames: int, readers: int, seconds: float
) -> float:
    """Lets processes write and read at once; returns how long a writer waited at most."""
    path = directory / "shared.h5"
    create_shared(path)

    def write(writer: int, report: Callable[[Any], None]) -> list[float]:
        waits: list[float] = []
        write_shared(path, writer, frames, lambda number: None, waits)
        return waits

    reading = [
        Child(lambda report, seed=seed: read_shared(path, seed, seconds), alarm_s=600)  # type: ignore[misc]
        for seed in range(readers)
    ]
    writing = [
        Child(lambda report, writer=writer: write(writer, report), alarm_s=600)  # type: ignore[misc]
        for writer in range(writers)
    ]
    longest = max(float(max(child.result())) for child in writing)
    findings.add(
        "writers", missing(path, dict.fromkeys(range(writers), frames)), f"{writers} x {frames}"
    )
    for child in reading:
        reads, wrong = child.result()
        findings.tried["reads beside writers"] += reads
        findings.wrong += wrong
        if not reads:
            findings.wrong.append("a reader never got through")
    path.unlink()
    return longest


def killed_writers(
    directory: Path,
    findings: Findings,
    *,
    kills: int,
    readers: int,
    seed: int,
    longest_s: float = 0.15,
) -> None:
    """Kills one writer after the other while readers read."""
    path = directory / "shared.h5"
    create_shared(path)
    rng = random.Random(seed)
    reading = [
        Child(
            lambda report, seed=seed: read_shared(path, seed, kills * longest_s * 0.6),  # type: ignore[misc]
            alarm_s=600,
        )
        for seed in range(readers)
    ]
    written: dict[int, int] = {}
    for writer in range(kills):
        child = Child(lambda report, writer=writer: write_shared(path, writer, 10**6, report))  # type: ignore[misc]
        child.receive()
        time.sleep(rng.random() * longest_s)
        child.kill()
        written[writer] = 1 + len(child.remaining())
        findings.tried["kill beside readers"] += 1
    for child in reading:
        reads, wrong = child.result()
        findings.tried["reads beside kills"] += reads
        findings.wrong += wrong
    with open_store(path).transaction(lock_timeout_s=1):
        pass
    findings.add("frames of killed writers", missing(path, written), f"{kills} writers")
    open_store(path).close()
    path.unlink()
