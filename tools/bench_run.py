"""Measures writing, reading and size of h5scene, PhiFlow's Scene and plain h5py, and the limits.

All libraries write and read the same fields in turns, so that whatever else the machine does hits
all alike; the numbers are medians. Files stay in the page cache. Trust the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_fields import Frame, all_frames
from bench_geometries import measure_geometries
from bench_libraries import all_libraries, check_equal
from bench_limits import limits_of
from bench_loaders import measure_loaders
from bench_merge import measure_curves, measure_merge
from bench_parts import measure_memory, measure_parts
from bench_scale import measure_import, measure_scale

if TYPE_CHECKING:
    from collections.abc import Callable

BASELINE = "PhiFlow"
Results = dict[str, Any]
Times = tuple[float, float]
"""By the clock, and of all processors together."""


def main() -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repetitions, no large fields")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers here")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where to put the files")
    parser.add_argument(
        "--only",
        choices=("frames", "geometries", "parts", "loaders", "scale", "merge", "curves"),
        help="measure one part of the table only",
    )
    parser.add_argument(
        "--frames",
        type=int,
        default=100_000,
        metavar="N",
        help="the curves end at so many frames; 1000000 takes some minutes (default: %(default)s)",
    )
    options = parser.parse_args()
    results: Results = {"machine": machine()}
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder = Path(name)
        if options.only in (None, "frames"):
            results["frames"] = {}
            for frame in all_frames(quick=options.quick):
                place = folder / f"frame_{len(results['frames'])}"
                place.mkdir()
                results["frames"][frame.title] = measure_frame(frame, place)
                print_frame(frame, results["frames"][frame.title])
            print_ratios(results["frames"])
        if options.only in (None, "geometries"):
            results["geometries"] = measure_geometries(folder, quick=options.quick)
            print_rows("Particles and meshes, processor time", results["geometries"])
        if options.only in (None, "parts"):
            results["parts"] = measure_parts(folder, quick=options.quick)
            print_rows("Parts of frames, by the clock", results["parts"])
            results["memory"] = measure_memory(folder, quick=options.quick)
            print_rows("Peak memory beyond the field itself, 128³ vector", results["memory"])
        if options.only in (None, "loaders"):
            results["loaders"] = measure_loaders(folder, quick=options.quick)
            print_rows(
                "All frames of a scene in turn, 512² vectors, ms per frame", results["loaders"]
            )
        if options.only in (None, "scale"):
            results["scale"] = measure_scale(folder, quick=options.quick)
            print_rows("Many frames, many scenes", results["scale"])
            results["import"] = measure_import()
            print_rows("Imports, in a process of their own", results["import"])
        if options.only in (None, "merge"):
            place = folder / "merge"
            place.mkdir()
            results["merge"] = measure_merge(place, quick=options.quick)
            print_rows("Four files, and shards, merged and copied, by the clock", results["merge"])
        if options.only in (None, "curves"):
            place = folder / "curves"
            place.mkdir()
            results["curves"] = {}
            print_rows("Cost over size, frames of 2 kB, processor time", {})
            for row in measure_curves(place, quick=options.quick, frames=options.frames):
                results["curves"] |= [row]
                print_row(*row)  # as they come: large ones take long
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
    return 0


def machine() -> dict[str, Any]:
    """Returns what the numbers depend on."""
    packages = ("h5scene", "phiflow", "h5py", "numpy", "isal", "deflate")
    return {
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def measure_frame(frame: Frame, folder: Path) -> Results:
    """Returns medians, in ms, of writing and reading one frame; bytes per frame; the limits."""
    libraries = all_libraries(folder)
    limits = limits_of(frame, folder)
    times: dict[str, dict[str, list[Times]]] = {
        key: defaultdict(list) for key in ("write", "read", "limits")
    }
    first_bytes = {}
    for name, library in libraries.items():  # the first call warms every cache
        library.write(frame, 0)
        library.read(frame, 0)
        first_bytes[name] = library.stored_bytes()
    for limit in limits.values():
        limit()
    for turn in range(frame.repeats):
        numbers = range(1 + turn * frame.in_a_row, 1 + (turn + 1) * frame.in_a_row)
        for name, library in in_turn(libraries, turn):
            call = partial(call_each, library.write, frame, numbers)
            times["write"][name].append(measured(call, frame.in_a_row))
        for name, limit in in_turn(limits, turn):
            times["limits"][name].append(measured(limit))
        for name, library in in_turn(libraries, turn):
            call = partial(call_each, library.read, frame, numbers)
            times["read"][name].append(measured(call, frame.in_a_row))
    check_equal(libraries, frame, 1)
    further = frame.repeats * frame.in_a_row
    return {
        "bytes": frame.byte_count,
        **{
            key: {name: medians(found) for name, found in by_name.items()}
            for key, by_name in times.items()
        },
        "stored": {
            name: (library.stored_bytes() - first_bytes[name]) / further
            for name, library in libraries.items()
        },
    }


def medians(found: list[Times]) -> dict[str, float]:
    """Returns the medians of both times."""
    wall, cpu = zip(*found, strict=True)
    return {"wall_ms": statistics.median(wall), "cpu_ms": statistics.median(cpu)}


def in_turn(entries: dict[str, Any], turn: int) -> list[tuple[str, Any]]:
    """Returns the entries, another one first in each turn."""
    items = list(entries.items())
    first = turn % len(items)
    return items[first:] + items[:first]


def call_each(call: Callable[[Frame, int], Any], frame: Frame, numbers: range) -> None:
    """Writes or reads several frames."""
    for number in numbers:
        call(frame, number)


def measured(call: Callable[[], Any], repeated: int = 1) -> Times:
    """Returns how long a call takes, in ms of the clock and of all processors together."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return wall * 1000 / repeated, cpu * 1000 / repeated


def print_frame(frame: Frame, result: Results) -> None:
    """Prints what was measured with one frame."""
    print(f"\n{frame.title}, {frame.byte_count:,} bytes; {frame.repeats} turns")
    print(f"  {'':22}{'write ms':>10}{'cpu ms':>9}{'read ms':>10}{'cpu ms':>9}{'bytes/frame':>14}")
    for name, stored in result["stored"].items():
        times = "".join(
            f"{result[what][name]['wall_ms']:10.2f}{result[what][name]['cpu_ms']:9.2f}"
            for what in ("write", "read")
        )
        print(f"  {name:22}{times}{stored:14,.0f}")
    for name, times in result["limits"].items():
        print(f"  {name:22}{times['wall_ms']:10.2f}{times['cpu_ms']:9.2f}")
    sys.stdout.flush()


def print_ratios(frames: Results) -> None:
    """Prints the ratios that are worth comparing between machines."""
    for clock, title in (("wall_ms", "by the clock"), ("cpu_ms", "by processor time")):
        print(f"\nRatios {title}")
        print(
            f"  {'':18}{'write':>9}{'read':>9}{'size':>9}{'write/deflate':>15}{'raw/raw write':>15}"
            f"{'h5py/write':>12}{'h5py/read':>11}"
        )
        for frame, result in frames.items():
            write, read, limits = (
                {name: times[clock] for name, times in result[what].items()}
                for what in ("write", "read", "limits")
            )
            stored = result["stored"]
            print(
                f"  {frame:18}{write[BASELINE] / write['h5scene']:8.1f}×"
                f"{read[BASELINE] / read['h5scene']:8.1f}×"
                f"{stored['h5scene'] / stored[BASELINE]:9.2f}"
                f"{write['h5scene'] / limits['deflate on all cores']:15.2f}"
                f"{write['h5scene raw'] / limits['write raw']:15.2f}"
                f"{write['h5py gzip 4'] / write['h5scene']:11.1f}×"
                f"{read['h5py gzip 4'] / read['h5scene']:10.1f}×"
            )
    print(
        "  write, read: PhiFlow's time by ours. size: ours by PhiFlow's. write/deflate: our time\n"
        "  by that of deflating the same bytes; raw: uncompressed, by writing them to a file.\n"
        "  By the clock, threads count as much as the machine has processors to spare."
    )


def print_rows(title: str, rows: dict[str, Any]) -> None:
    """Prints named numbers."""
    print(f"\n{title}")
    for name, value in rows.items():
        print_row(name, value)


def print_row(name: str, value: float) -> None:
    """Prints one named number."""
    print(f"  {name:58}{value:12,.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
