"""Times imports and exports of scene directories beside what PhiFlow does for the same fields.

Needs an environment with h5scene, such as `.venv-tools`. Each time is the best of some rounds, in
turn, in one process; files are in the page cache. `--directory` takes a directory of scenes, such
as the `plume_phiflow` of tools/demo; without it, fields of the same kinds and sizes are made.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

warnings.filterwarnings("ignore", category=DeprecationWarning)

from phi.field import CenteredGrid, Noise, StaggeredGrid  # noqa: E402  # after the filter
from phi.field import Scene as PhiScene  # noqa: E402
from phi.geom import Box  # noqa: E402
from phi.math import extrapolation  # noqa: E402

import h5scene  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--directory", type=Path, help="directory of scenes")
    parser.add_argument("--frames", type=int, default=30, help="frames to make without one")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        directory = arguments.directory
        if directory is None:
            directory = work / "data"
            make(directory, arguments.frames)
        compare(directory, work, arguments.rounds)
    return 0


def make(directory: Path, frames: int) -> None:
    """Writes a scene like that of the demo."""
    box = Box(x=100, y=100)
    open_top = {"x": 0, "y-": 0, "y+": extrapolation.ZERO_GRADIENT}
    scene = PhiScene.create(str(directory), copy_calling_script=False)
    scene.put_properties(viscosity=0.1)
    for frame in range(frames):
        smoke = CenteredGrid(Noise(), extrapolation.ZERO_GRADIENT, box, x=200, y=200)
        scene.write(
            smoke=smoke * (smoke > 0),  # empty in places, as smoke is
            velocity=StaggeredGrid(Noise(), open_top, box, x=64, y=64),
            pressure=CenteredGrid(Noise(), extrapolation.ZERO_GRADIENT, box, x=64, y=64),
            frame=frame,
        )


def compare(directory: Path, work: Path, rounds: int) -> None:
    """Times all ways, in turn."""
    scenes = [PhiScene.at(str(path)) for path in scene_paths(directory)]
    fields = [
        (scene, frame, scene.read(*scene.fieldnames, frame=frame))
        for scene in scenes
        for frame in scene.complete_frames
    ]
    source = work / "source.h5"
    h5scene.import_scenes(directory, source)
    target = work / "target"

    def read_and_write() -> None:
        created: dict[str, Any] = {}
        for scene in scenes:
            ours = h5scene.Scene.create(work / "out.h5", copy_calling_script=False)
            created[scene.path] = ours
            for frame in scene.complete_frames:
                names = scene.fieldnames
                read = scene.read(*names, frame=frame)
                read = [read] if len(names) == 1 else read
                ours.write(dict(zip(names, read, strict=True)), frame=frame)

    def write_with_phiflow() -> None:
        written: dict[str, Any] = {}
        for scene, frame, read in fields:
            if scene.path not in written:
                written[scene.path] = PhiScene.create(str(target), copy_calling_script=False)
            names = scene.fieldnames
            read = [read] if len(names) == 1 else read
            written[scene.path].write(dict(zip(names, read, strict=True)), frame=frame)

    ways: dict[str, Callable[[], Any]] = {
        "PhiFlow reads, h5scene.Scene writes": read_and_write,
        "import": lambda: h5scene.import_scenes(directory, work / "out.h5"),
        "import, verified": lambda: h5scene.import_scenes(directory, work / "out.h5", verify=True),
        "PhiFlow writes": write_with_phiflow,
        "export": lambda: h5scene.export_scenes(source, target),
        "export, verified": lambda: h5scene.export_scenes(source, target, verify=True),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            (work / "out.h5").unlink(missing_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            start = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - start)
    count = len(fields)
    print(f"{count} frames of {directory}, best of {rounds} rounds, ms per frame")
    for name, seconds in best.items():
        print(f"  {name:40} {seconds * 1000 / count:8.2f}")
    base = best["PhiFlow reads, h5scene.Scene writes"]
    print(f"  import is {base / best['import']:.1f} times as fast as reading and writing")
    print(f"  export is {best['PhiFlow writes'] / best['export']:.1f} times as fast as PhiFlow")
    print(f"  peak memory of an import: {peak_memory(directory, work / 'out.h5') / 1e6:.0f} MB")


def scene_paths(directory: Path) -> list[Path]:
    """Returns the scene directories: itself, or those in it."""
    inside = sorted(path for path in directory.iterdir() if path.is_dir())
    return [path for path in inside if any(path.glob("*_??????.npz"))] or [directory]


def peak_memory(directory: Path, file: Path) -> int:
    """Returns the largest resident memory of a process that imports a directory, in bytes.

    On Linux only; resource.getrusage() would count this process as well.
    """
    file.unlink(missing_ok=True)
    program = (
        "import h5scene, sys; h5scene.import_scenes(sys.argv[1], sys.argv[2]); "
        "print(*[line.split()[1] for line in open('/proc/self/status') if 'VmHWM' in line])"
    )
    command = [sys.executable, "-c", program, str(directory), str(file)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(printed) * 1024


if __name__ == "__main__":
    sys.exit(main())
