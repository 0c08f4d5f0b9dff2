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
    from collections.abc import Callable, Iterator, Sequence
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
    turns = 1 if quick else 5
    large = record_from_field(turbulence_grid(64 if quick else 128, 3))
    medium = record_from_field(turbulence_grid(256, 2))
    tiny = record_from_field(tiny_grid())
    kinds: dict[str, tuple[FieldRecord, int]] = {
        f"{large.values.nbytes / 1e6:.0f} MB frames": (large, 4 if quick else 8),
        f"{medium.values.nbytes / 1e3:.0f} kB frames": (medium, 10 if quick else 100),
        f"{tiny.values.nbytes / 1e3:.0f} kB frames": (tiny, 50 if quick else 1000),
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
    count = 20 if quick else 1000
    inputs = _shards(folder / "all.h5", tiny, count)
    title = f"{count:,} shards of 10 scenes"
    return result | _against_cp(title, inputs, folder, 1, count * 10)


def measure_curves(folder: Path, *, quick: bool, frames: int) -> Iterator[tuple[str, float]]:
    """Yields the cost of a frame, and the time to list, over the number of frames and scenes.

    In processor time, which other work of the machine changes least in runs of minutes.
    """
    sizes = [10**power for power in range(2, 7) if 10**power <= (1000 if quick else frames)]
    record = record_from_field(tiny_grid())
    output = folder / "merged.h5"
    path, written = folder / "frames.h5", 0
    with SceneFile(path) as file:
        file.create_scene("sim_000000")
    for size in sizes:
        title, before = f"{size:9,} frames", written
        start_s = time.process_time()
        with SceneFile(path) as file:
            while written < size:
                end = min(written + _IN_A_TRANSACTION, size)
                with file.transaction():
                    for frame in range(written, end):
                        file.write_frame(frame, {"sim_000000": {"smoke": record}})
                written = end
            seconds = time.process_time() - start_s
            yield f"{title}: write of one of 500, µs", seconds * 1e6 / (written - before)
            again = partial(file.write_frame, 0, {"sim_000000": {"smoke": record}})
            yield f"{title}: write of one alone, µs", 1e6 * _median_s(again, 50)
        yield f"{title}: bytes of each in the file", path.stat().st_size / size
        yield f"{title}: open and list, ms", 1e3 * _median_s(partial(_list, path), 3)
        yield f"{title}: open and read one, ms", 1e3 * _median_s(partial(_read, path, size // 2), 3)
        yield f"{title}: merge of one, µs", _processor_s(partial(merge, path, output)) * 1e6 / size
        output.unlink()
    path = folder / "scenes.h5"
    for size in [size for size in sizes if size <= 10_000]:
        title = f"{size:9,} scenes"
        with SceneFile(path) as file:
            count = size - len(file.scenes)
            start_s = time.process_time()
            for _ in range(count):
                (scene,) = file.create_scenes("sim")
                file.write_frame(0, {scene: {"smoke": record}})
            seconds = time.process_time() - start_s
        yield f"{title}: one more with a frame, µs", seconds * 1e6 / count
        yield f"{title}: open and list, ms", 1e3 * _median_s(partial(_scenes, path), 3)
        yield f"{title}: merge of one, µs", _processor_s(partial(merge, path, output)) * 1e6 / size
        output.unlink()


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
    for turn in range(-1 if turns > 1 else 0, turns):
        for name, way in ways.items():
            close_all()
            seconds = _once(way)
            if turn >= 0:  # the first one fills the caches
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


def _processor_s(call: Callable[[], Any]) -> float:
    """Returns the processor time of a call, in seconds."""
    start_s = time.process_time()
    call()
    return time.process_time() - start_s


def _median_s(call: Callable[[], Any], count: int) -> float:
    """Returns the median of the processor times of several calls, in seconds."""
    return statistics.median(_processor_s(call) for _ in range(count))
