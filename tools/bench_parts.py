"""Reading parts of a frame, and peak memory."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from bench_fields import turbulence_grid
from h5scene import Scene, SceneFile

if TYPE_CHECKING:
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
    """Returns medians, in ms, of reading all and parts of one frame."""
    size = 64 if quick else 128
    scene = Scene.create(folder / "parts", copy_calling_script=False)
    scene.write(v=turbulence_grid(size, 3), frame=0)
    quarter = slice(size // 4, size // 2)
    reads: dict[str, dict[str, slice] | None] = {
        "whole, as an array": None,
        "one block of 1/64": dict.fromkeys("xyz", quarter),
        "one component": {"vector": slice(1, 2)},
        "one plane x = const": {"x": slice(size // 3, size // 3 + 1)},
    }
    times: dict[str, list[float]] = defaultdict(list)
    with SceneFile(folder / "parts", "r") as file:
        name = file.scenes[0]
        whole = file.read_values(name, "v", 0)
        for turn in range(5 if quick else 15):
            for key, region in list(reads.items())[turn % 4 :] + list(reads.items())[: turn % 4]:
                start = time.perf_counter()
                values = file.read_values(name, "v", 0, region)
                times[key].append(time.perf_counter() - start)
                cut = tuple((region or {}).get(axis, slice(None)) for axis in (*"xyz", "vector"))
                if not np.array_equal(values, whole[cut]):
                    raise RuntimeError(f"{key} gave other values")
    medians = {key: statistics.median(times[key]) * 1000 for key in reads}
    all_ms = medians["whole, as an array"]
    return {
        **{f"{key}, ms": ms for key, ms in medians.items()},
        "whole / block": all_ms / medians["one block of 1/64"],
        "whole / component": all_ms / medians["one component"],
    }


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
