"""Programs on four real MPI ranks, and what each rank reports.

A program is a module of this folder with a function for each case: `case(comm, folder)`, run by all
ranks. One launch runs all of them, as starting Python with PhiFlow four times takes seconds.
"""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RANKS = 4
TIMEOUT_S = 300

Case = Callable[[Any, Path], Any]


def run_ranks(module: str, folder: Path) -> dict[str, list[Any]]:
    """Returns what the cases of a module return on each rank, or raise there.

    Skips where there is no MPI.
    """
    done = launch("-m", "tests.cluster.mpi", module, str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    by_rank = [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in range(RANKS)]
    return {name: [found[name] for found in by_rank] for name in by_rank[0]}


def launch(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Returns how Python ended on four ranks in a folder; skips where there is no MPI."""
    command = [*_launcher(), sys.executable, *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def _launcher() -> list[str]:
    """Returns the command that starts ranks: that of the MPI beside this Python, else another."""
    probe = "from mpi4py import MPI; print(MPI.get_vendor()[0])"
    asked = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        pytest.skip("mpi4py and an MPI library are not installed")
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec")
    more = ["--allow-run-as-root", "--oversubscribe"] if "Open MPI" in asked.stdout else []
    return [found, *more, "-n", str(RANKS)]


def cases(module: Any) -> Iterator[tuple[str, Case]]:
    """Yields the cases of a program: its functions that begin with `case_`."""
    for name, function in vars(module).items():
        if name.startswith("case_"):
            yield name.removeprefix("case_"), function


def main() -> None:
    """Runs all cases of a program on this rank."""
    from mpi4py import MPI

    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "symmetric-gradient extrapolation", DeprecationWarning)
    comm, folder = MPI.COMM_WORLD, Path(sys.argv[2])
    found: dict[str, Any] = {}
    try:
        for name, function in cases(importlib.import_module(f"tests.cluster.{sys.argv[1]}")):
            place = folder / name
            if comm.rank == 0:
                place.mkdir()
            comm.barrier()
            try:
                found[name] = function(comm, place)
            except Exception as error:  # noqa: BLE001  # what a case raises is what it reports
                found[name] = error
            comm.barrier()
    except BaseException:  # noqa: BLE001  # also what pytest raises to skip
        traceback.print_exc()
        comm.Abort(1)  # the others wait for this rank
    (folder / f"{comm.rank}.pickle").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main()
