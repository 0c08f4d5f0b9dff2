"""Reading parts of frames, and peak memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PhiML warns about its own definitions
    from phi.field import Scene as PhiFlow
    from phiml import math
    from phiml.math import batch

from bench_fields import turbulence_grid
from h5scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Run with: library, path of the values, folder. Prints the growth of the peak in MB for writing
# and then for reading.
_CHILD = """
import os, resource, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np
from phi.field import CenteredGrid
from phi.field import Scene as PhiFlow
from phi.math import channel, extrapolation, spatial, tensor
from h5scene import Scene as h5scene
library, values, folder = sys.argv[1:]
dims = spatial("x,y,z"), channel(vector="x,y,z")
field = CenteredGrid(tensor(np.load(values), *dims), extrapolation.PERIODIC, x=128, y=128, z=128)
tiny = CenteredGrid(0, 0, x=2, y=2)
scene = {"PhiFlow": PhiFlow, "h5scene": h5scene}[library].create(folder, copy_calling_script=False)
scene.write(tiny=tiny, frame=0)
scene.read("tiny", frame=0)
unit = 1e6 if sys.platform == "darwin" else 1e3
def peak():
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) / 1e3 for line in status if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
if os.path.exists("/proc/self/clear_refs"):
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # the imports had a peak of their own
before = peak()
scene.write(v=field, frame=0)
written = peak()
scene.read("v", frame=0)
print(written - before, peak() - before)
"""


def measure_parts(folder: Path, *, quick: bool) -> dict[str, float]:
    """Returns medians, in ms, of reading parts of a large frame, and ranges of small ones.

    PhiFlow reads whole frames, one after the other, and slices them. Plain h5py reads the same file
    as h5scene, into arrays.
    """
    size, count = (64, 10) if quick else (128, 100)
    large, small = turbulence_grid(size, 3), turbulence_grid(64 if quick else 200, 2)
    phi = PhiFlow.create(str(folder / "parts_phi"), copy_calling_script=False)
    scene = Scene.create(folder / "parts", copy_calling_script=False)
    phi.write(v=large, frame=0)
    scene.write(v=large, frame=0)
    for frame in range(count):
        phi.write(s=small, frame=frame)
        scene.write(s=small, frame=frame)
    quarter = slice(size // 4, size // 2)
    regions: dict[str, dict[str, Any]] = {
        "whole": {},
        "block of 1/64": dict.fromkeys("xyz", quarter),
        "one component": {"vector": "x"},
        "plane x = const": {"x": size // 3},
    }
    rows: dict[str, tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]] = {}
    with h5py.File(folder / "parts.h5", "r") as file:
        group = file["sim_000000"]
        for name, region in regions.items():
            cut = tuple(region.get(axis, slice(None)) for axis in "xyz")
            cut += (0 if "vector" in region else slice(None),)
            rows[f"{size}³ vector: {name}"] = (
                partial(_sliced, phi, region),
                partial(scene.read, "v", region=region),
                partial(group["v/000000"].__getitem__, cut),
            )
        frames = range(0, count, 5)
        rows[f"{count // 5} of {count} frames of 200²"] = (
            lambda: math.stack([phi.read("s", frame=f) for f in frames], batch("frame")),
            lambda: scene.read("s", frame=frames),
            lambda: np.stack([group[f"s/{f:06d}"][...] for f in frames]),
        )
        corner = {"x": slice(0, 16), "y": slice(0, 16)}
        rows[f"16² of {count} frames of 200²"] = (
            lambda: math.stack([phi.read("s", frame=f)[corner] for f in range(count)], batch("f")),
            lambda: scene.read("s", frame="all", region=corner),
            lambda: np.stack([group[f"s/{f:06d}"][:16, :16] for f in range(count)]),
        )
        return _compared(rows, 3 if quick else 9)


def _sliced(scene: Any, region: dict[str, Any]) -> Any:
    """Returns a part of a frame that PhiFlow reads whole."""
    return scene.read("v")[region] if region else scene.read("v")


def _compared(
    rows: dict[str, tuple[Callable[[], Any], Callable[[], Any], Callable[[], Any]]], turns: int
) -> dict[str, float]:
    """Returns medians of the calls of each row, in turns, after checking that they agree."""
    result: dict[str, float] = {}
    for name, calls in rows.items():
        times: dict[str, list[float]] = defaultdict(list)
        named = list(zip(("PhiFlow", "h5scene", "h5py"), calls, strict=True))
        for turn in range(turns + 1):  # the first one warms every cache
            for library, call in named[turn % 3 :] + named[: turn % 3]:
                start = time.perf_counter()
                found = call()
                times[library].append(time.perf_counter() - start)
                if library == "h5py":
                    array = found
                elif library == "h5scene":
                    field = found
            order = [dim for dim in ("frame", *"xyz", "vector") if dim in field.values.shape]
            if not np.array_equal(field.values.numpy(order), array):
                raise RuntimeError(f"{name}: h5scene gave other values than h5py")
        medians = {library: statistics.median(found[1:]) * 1000 for library, found in times.items()}
        result |= {f"{name}: {library}, ms": ms for library, ms in medians.items()}
        result[f"{name}: PhiFlow / h5scene"] = medians["PhiFlow"] / medians["h5scene"]
    return result


def measure_memory(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Returns by how many MB the peak of a process grows when it writes a frame, then reads it."""
    if quick or sys.platform == "win32":
        return {}
    values = folder / "values.npy"
    np.save(values, turbulence_grid(128, 3).values.numpy("x,y,z,vector"))
    result = {}
    for library in ("PhiFlow", "h5scene"):
        command = [sys.executable, "-c", _CHILD, library, str(values), str(folder / f"m{library}")]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        written, read = map(float, printed.split())
        result[f"{library}, writing, MB"] = written
        result[f"{library}, then reading (the field is 25 MB), MB"] = read
    return result
