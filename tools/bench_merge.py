"""Merging against `cp` of the same files; a scene of a million frames, a file of 10,000 scenes."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from bench_fields import tiny_grid, turbulence_grid
from h5scene import SceneFile, merge
from h5scene.phi_fields import record_from_field
from h5scene.shards import shard_path
from h5scene.store import close_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from h5scene.record import FieldRecord

_IN_A_TRANSACTION = 500

# Run with: output and inputs. Prints the growth of the peak in MB.
_PEAK = """
import sys
from h5scene import merge
import h5scene.handling.merging
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1e3 for line in status if line.startswith("VmHWM"))
before = peak()
merge(sys.argv[2:], sys.argv[1], ids="renumber")
print(peak() - before)
"""


def measure_merge(folder: Path, *, quick: bool) -> dict[str, float]:
    """Returns how fast files are merged and copied."""
    turns = 3 if quick else 7
    large = record_from_field(turbulence_grid(64 if quick else 128, 3))
    medium = record_from_field(turbulence_grid(256, 2))
    tiny = record_from_field(tiny_grid())
    kinds: dict[str, tuple[FieldRecord, int]] = {
        f"{large.values.nbytes / 1e6:.0f} MB frames": (large, 4 if quick else 8),
        f"{medium.values.nbytes / 1e3:.0f} kB frames": (medium, 50 if quick else 400),
        f"{tiny.values.nbytes / 1e3:.0f} kB frames": (tiny, 500 if quick else 5000),
    }
    result: dict[str, float] = {}
    for title, (record, frames) in kinds.items():
        inputs = _copies(folder / "input.h5", record, frames, 4)
        result |= _against_cp(title, inputs, folder, turns, frames * len(inputs))
        output = folder / "peak.h5"
        result[f"{title}: peak memory of merge, MB"] = _peak_mb(output, inputs)
        output.unlink()
        for path in inputs:
            path.unlink()
    count = 50 if quick else 1000
    inputs = _shards(folder / "all.h5", tiny, count)
    title = f"{count:,} shards of 10 scenes"
    return result | _against_cp(title, inputs, folder, 3, count * 10)


def measure_curves(folder: Path, *, quick: bool, frames: int) -> dict[str, float]:
    """Returns the cost of a frame, and the time to list, over the number of frames and scenes."""
    sizes = [10**power for power in range(2, 7) if 10**power <= (1000 if quick else frames)]
    record = record_from_field(tiny_grid())
    result: dict[str, float] = {}
    path, written = folder / "frames.h5", 0
    with SceneFile(path) as file:
        file.create_scene("sim_000000")
    for size in sizes:
        before = written
        start_s = time.perf_counter()
        with SceneFile(path) as file:
            while written < size:
                end = min(written + _IN_A_TRANSACTION, size)
                with file.transaction():
                    for frame in range(written, end):
                        file.write_frame(frame, {"sim_000000": {"smoke": record}})
                written = end
        cost_us = (time.perf_counter() - start_s) * 1e6 / (written - before)
        result[f"{size:9,} frames: write of one, µs, {_IN_A_TRANSACTION} in a transaction"] = (
            cost_us
        )
        result[f"{size:9,} frames: write of one alone, µs"] = 1e6 * _seconds(
            partial(_write_alone, path, record, size), 20
        )
        result[f"{size:9,} frames: bytes of each in the file"] = path.stat().st_size / size
        result[f"{size:9,} frames: open and list, ms"] = 1e3 * _seconds(partial(_list, path), 3)
        result[f"{size:9,} frames: open and read one, ms"] = 1e3 * _seconds(
            partial(_read, path, size // 2), 3
        )
        output = folder / "merged.h5"
        cost_us = _once(partial(merge, path, output)) * 1e6 / size
        result[f"{size:9,} frames: merge of one, µs"] = cost_us
        output.unlink()
    path = folder / "scenes.h5"
    for size in [size for size in sizes if size <= 10_000]:
        with SceneFile(path) as file:
            count = size - len(file.scenes)
            start_s = time.perf_counter()
            for _ in range(count):
                (scene,) = file.create_scenes("sim")
                file.write_frame(0, {scene: {"smoke": record}})
        cost_us = (time.perf_counter() - start_s) * 1e6 / count
        result[f"{size:9,} scenes: one more with a frame, µs"] = cost_us
        listed_ms = 1e3 * _seconds(partial(_scenes, path), 3)
        result[f"{size:9,} scenes: open and list, ms"] = listed_ms
        output = folder / "merged.h5"
        result[f"{size:9,} scenes: merge of one, µs"] = (
            _once(partial(merge, path, output)) * 1e6 / size
        )
        output.unlink()
    return result


def _against_cp(
    title: str, inputs: Sequence[Path], folder: Path, turns: int, count: int
) -> dict[str, float]:
    """Returns the times of merging files and of copying them, in turns."""
    output, copies = folder / "merged.h5", folder / "copies"
    ways: dict[str, Callable[[], Any]] = {
        "cp": partial(_cp, inputs, copies),
        "merge": partial(merge, inputs, output, ids="renumber"),
        "verified": partial(merge, inputs, output, ids="renumber", verify=True),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    size_bytes = sum(path.stat().st_size for path in inputs)
    for turn in range(turns + 1):
        for name, way in ways.items():
            close_all()
            seconds = _once(way)
            if turn:  # the first one fills the caches
                times[name].append(seconds)
            output.unlink(missing_ok=True)
            shutil.rmtree(copies, ignore_errors=True)
    medians = {name: statistics.median(found) for name, found in times.items()}
    return {
        f"{title}: cp, MB/s": size_bytes / 1e6 / medians["cp"],
        f"{title}: merge, MB/s": size_bytes / 1e6 / medians["merge"],
        f"{title}: merge / cp": medians["cp"] / medians["merge"],
        f"{title}: merge with verification / cp": medians["cp"] / medians["verified"],
        f"{title}: merge, µs for each": medians["merge"] * 1e6 / count,
    }


def _copies(path: Path, record: FieldRecord, frames: int, count: int) -> list[Path]:
    """Returns files of one scene each."""
    with SceneFile(path, "x") as file, file.transaction():
        file.create_scene("sim_000000")
        for frame in range(frames):
            file.write_frame(frame, {"sim_000000": {"field": record}})
    close_all()
    paths = [path.with_stem(f"input{i}") for i in range(count)]
    for copy in paths:
        shutil.copy(path, copy)
    path.unlink()
    return paths


def _shards(path: Path, record: FieldRecord, count: int) -> list[Path]:
    """Returns shards of ten scenes of one frame each."""
    paths = [path.parent / shard_path(path, worker, count) for worker in range(count)]
    for worker, shard in enumerate(paths):
        with SceneFile(shard, "x") as file, file.transaction():
            for scene in file.create_scenes("sim", 10, first=worker, step=count):
                file.write_frame(0, {scene: {"smoke": record}})
        close_all()
    return paths


def _cp(inputs: Sequence[Path], target: Path) -> None:
    """Copies files with the program of the system."""
    target.mkdir()
    subprocess.run(["cp", *map(str, inputs), str(target)], check=True)


def _peak_mb(output: Path, inputs: Sequence[Path]) -> float:
    """Returns how much memory a merge takes, in a process of its own."""
    command = [sys.executable, "-c", _PEAK, str(output), *map(str, inputs)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _write_alone(path: Path, record: FieldRecord, frame: int) -> None:
    """Writes a frame in a transaction of its own, always the same."""
    with SceneFile(path) as file:
        file.write_frame(frame, {"sim_000000": {"smoke": record}})


def _list(path: Path) -> int:
    close_all()
    with SceneFile(path, "r") as file:
        return len(file.frames("sim_000000")["smoke"])


def _read(path: Path, frame: int) -> Any:
    close_all()
    with SceneFile(path, "r") as file:
        return file.read_frame("sim_000000", "smoke", frame)


def _scenes(path: Path) -> int:
    close_all()
    with SceneFile(path, "r") as file:
        return len(file.scenes)


def _once(call: Callable[[], Any]) -> float:
    """Returns how long a call takes, in seconds."""
    start_s = time.perf_counter()
    call()
    return time.perf_counter() - start_s


def _seconds(call: Callable[[], Any], count: int) -> float:
    """Returns the median of several calls."""
    return statistics.median(_once(call) for _ in range(count))
