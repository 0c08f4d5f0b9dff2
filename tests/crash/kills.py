"""Writers that are killed at random moments, and what they had been promised."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py

from h5scene.store import close_all, create_store, open_store
from tests.crash.children import Child, in_child
from tests.crash.content import write_frame, wrong_frames
from tests.crash.simulation import Findings


def write_until_killed(
    path: Path,
    report: Callable[[Any], None],
    *,
    shape: tuple[int, ...],
    closes: bool,
    durability: str,
) -> None:
    """Writes frame after frame and reports each call that returned."""
    if not path.exists():
        create_store(path, lambda file: None)
    store = open_store(path)
    number = store.read(lambda file: len(file["sim_000000/field0"]) if "sim_000000" in file else 0)
    report(number - 1)
    while True:
        with store.transaction(durability=durability) as file:  # type: ignore[arg-type]
            write_frame(file, number, shape)
        report(number)
        number += 1
        if closes:
            store.close()


def kill_writers(
    directory: Path,
    findings: Findings,
    *,
    kills: int,
    seed: int,
    shape: tuple[int, ...] = (32, 16),
    closes: bool = False,
    durability: str = "process",
    longest_s: float = 0.1,
    generations: int = 1,
) -> int:
    """Kills writers and checks what is left; returns how many frames had been reported.

    Args:
        directory: For the files.
        findings: Collects the outcome.
        kills: How many writers.
        seed: Of the random moments.
        shape: Of the two fields of a frame.
        closes: Whether the writer closes the file after each frame.
        durability: Of the transactions.
        longest_s: A writer lives at most so long after it is ready.
        generations: How many writers write on in one file before the next one is begun.
    """
    rng = random.Random(seed)
    reported = 0
    path = directory / "killed.h5"
    for number in range(kills):
        if number % generations == 0:
            path.unlink(missing_ok=True)
            Path(f"{path}.lock").unlink(missing_ok=True)
        child = Child(
            lambda report: write_until_killed(
                path, report, shape=shape, closes=closes, durability=durability
            )
        )
        first = child.receive()
        # Mostly at some frame, sometimes already at the first: on a busy machine it takes a while.
        reports = [child.receive()] if rng.random() < 0.8 else []
        time.sleep(rng.random() * longest_s)
        child.kill()
        reports += child.remaining()
        last = reports[-1] if reports else first
        if not isinstance(last, int):
            findings.add("kill", f"the writer said {last}", f"kill {number}")
            continue
        reported += len(reports)
        # In a child too: reading a damaged file may crash the process.
        try:
            problem = in_child(lambda last=last: _problem(path, last, shape))  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 (counted as a wrong file)
            problem = repr(error)
        findings.add("kill", problem, f"kill {number} after frame {last}")
    path.unlink()
    Path(f"{path}.lock").unlink(missing_ok=True)
    return reported


def _problem(path: Path, last: int, shape: tuple[int, ...]) -> str:
    store = open_store(path)
    wrong = store.read(lambda file: wrong_frames(file, last, shape))
    if wrong:
        return f"{len(wrong)} wrong for a reader: {wrong[:3]}"
    with store.transaction(lock_timeout_s=0):
        pass
    close_all()
    with h5py.File(path) as file:
        wrong = wrong_frames(file, last, shape)
    return f"{len(wrong)} wrong for plain HDF5: {wrong[:3]}" if wrong else ""
