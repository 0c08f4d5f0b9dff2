"""Simulates a smoke plume with PhiFlow, writing its frames through h5scene and through PhiFlow.

Then reads both back, compares every field bit by bit with what was written, and draws frames from
the HDF5 file. tools/demo runs it; so does any Python that has h5scene with its extra `demo`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PhiML warns about its own definitions
    from phi import math
    from phi.field import CenteredGrid, StaggeredGrid, resample
    from phi.field import Scene as PhiFlowScene
    from phi.geom import Box, Sphere
    from phi.math import Solve, extrapolation
    from phi.physics import advect, fluid

from h5scene import Scene

LIBRARIES = ("h5scene", "PhiFlow")
DT_S = 1.0
SIZE = 100.0

# The keys are those of `fingerprint`.
COMPARED = {
    "values": "values: bits, dtype, shape",
    "dims": "dims: order, names, types, labels",
    "bounds": "bounds: bits, dtype of both corners",
    "boundary": "boundary: kind, exact value per side",
    "type": "type: centered or staggered",
}

Fields = dict[str, Any]
Fingerprint = dict[str, Any]
Written = dict[int, dict[str, Fingerprint]]
Seconds = defaultdict[tuple[str, str], float]


def main() -> int:
    """Runs the demo. The exit status is 0 when all that was read equals all that was written."""
    parser = argparse.ArgumentParser(prog="tools/demo", description=__doc__)
    parser.add_argument("--steps", type=int, default=100, help="time steps (default: 100)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="folder for plume.h5, plume.png, plume_phiflow; an earlier run's are replaced",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where an earlier run was killed, in place of replacing it",
    )
    options = parser.parse_args()
    if options.steps < 1:
        parser.error("--steps must be at least 1")
    console = Console(highlight=False)
    seconds: Seconds = defaultdict(float)

    if options.resume and not paths(options.out)["h5scene"].exists():
        parser.error(f"there is nothing to go on with in {options.out}; leave --resume out")
    scenes = resume_scenes(options.out) if options.resume else create_scenes(options.out)
    written = run(scenes, options.steps, seconds, console)
    equal = read_back(written, scenes, seconds)
    fields = sum(len(fingerprints) for fingerprints in written.values())
    print_costs(options.out, len(written), seconds, console)
    print_comparison(equal, fields, console)
    draw(Scene.at(scenes["h5scene"].path), options.out / "plume.png")
    console.print(f"Drawn from plume.h5: {options.out / 'plume.png'}")
    return 0 if all(equal[key] == fields for key in equal) else 1


def paths(folder: Path) -> dict[str, Path]:
    """Returns where each library writes."""
    return {"h5scene": folder / "plume.h5", "PhiFlow": folder / "plume_phiflow"}


def create_scenes(folder: Path) -> dict[str, Any]:
    """Creates an empty scene with each library, in place of what an earlier run left."""
    folder.mkdir(parents=True, exist_ok=True)
    places = paths(folder)
    places["h5scene"].unlink(missing_ok=True)
    shutil.rmtree(places["PhiFlow"], ignore_errors=True)
    classes = {"h5scene": Scene, "PhiFlow": PhiFlowScene}
    scenes = {library: classes[library].create(str(places[library])) for library in LIBRARIES}
    for scene in scenes.values():
        scene.put_properties(dt=DT_S, size=SIZE, buoyancy=0.1, solver="CG", tolerance=1e-3)
    return scenes


def resume_scenes(folder: Path) -> dict[str, Any]:
    """Returns the scenes of an earlier run, that of h5scene without what is later than a frame.

    That is the last frame of which all fields were written.
    """
    places = paths(folder)
    resumed = Scene.resume(places["h5scene"], 0)
    return {"h5scene": resumed, "PhiFlow": PhiFlowScene.at(str(places["PhiFlow"]), 0)}


def simulate(steps: int, earlier: Fields | None = None) -> Iterator[Fields]:
    """Yields the fields of each step: hot smoke rises from a round inlet and leaves at the top.

    Args:
        steps: How many.
        earlier: The fields of the step to go on from; none at the start.
    """
    bounds = Box(x=SIZE, y=SIZE)
    open_top = {"x": 0, "y-": 0, "y+": extrapolation.ZERO_GRADIENT}
    velocity = StaggeredGrid(0, open_top, bounds, x=64, y=64)
    smoke = CenteredGrid(0, extrapolation.ZERO_GRADIENT, bounds, x=200, y=200)
    inflow = 0.2 * resample(Sphere(x=50, y=9.5, radius=5), to=smoke, soft=True)
    pressure = None
    if earlier is not None:
        smoke, velocity, pressure = (earlier[name] for name in ("smoke", "velocity", "pressure"))
    for _ in range(steps):
        smoke = advect.mac_cormack(smoke, velocity, DT_S) + inflow
        buoyancy = resample(smoke * (0, 0.1), to=velocity)
        velocity = advect.semi_lagrangian(velocity, velocity, DT_S) + buoyancy * DT_S
        velocity, pressure = fluid.make_incompressible(velocity, (), Solve("CG", 1e-3, x0=pressure))
        yield {"smoke": smoke, "velocity": velocity, "pressure": pressure}


def run(scenes: dict[str, Any], steps: int, seconds: Seconds, console: Console) -> Written:
    """Simulates, and writes each frame with both libraries. Returns what was written."""
    written: Written = {}
    scene = scenes["h5scene"]
    console.print(f"Simulating a smoke plume, {steps} steps …")
    first, earlier = 0, None
    if scene.frames:
        earlier = {name: scene.read(name, frame=scene.frames[-1]) for name in scene.fieldnames}
        first = scene.frames[-1] + 1
        console.print(f"Going on after frame {scene.frames[-1]} of {scene.path}")
    start = time.perf_counter()
    with progress_bar(console) as progress:
        task = progress.add_task("steps", total=steps, completed=first)
        for frame, fields in enumerate(simulate(steps - first, earlier), first):
            # PhiFlow's Scene has no counterpart of these two: they are not part of what is timed.
            # They come before the frame: one that is there is complete, should this be killed.
            scene.put_time(frame, (frame + 1) * DT_S)
            scene.log_scalars(frame, **curves_of(fields))
            for library in in_turn(frame):
                with timed(seconds, "write", library):
                    scenes[library].write(fields, frame=frame)
            written[frame] = {name: fingerprint(field) for name, field in fields.items()}
            progress.advance(task)
    console.print(f"Simulated and written in {time.perf_counter() - start:.0f} s")
    return written


def read_back(
    written: Written, scenes: dict[str, Any], seconds: Seconds
) -> Counter[tuple[str, str]]:
    """Reads all with both libraries. Returns how many fields are equal, by part and library."""
    equal = Counter({(part, library): 0 for part in COMPARED for library in LIBRARIES})
    reopened = {library: type(scene).at(scene.path) for library, scene in scenes.items()}
    for frame, expected in written.items():
        for library in in_turn(frame):
            with timed(seconds, "read", library):
                fields = reopened[library].read(*expected, frame=frame)
            for name, field in zip(expected, fields, strict=True):
                found = fingerprint(field)
                equal.update(
                    (part, library) for part in COMPARED if found[part] == expected[name][part]
                )
    return equal


def fingerprint(grid: Any) -> Fingerprint:
    """Returns all that a grid consists of, as plain values and bytes that compare exactly."""
    components = math.unstack(grid.values, "~vector") if grid.is_staggered else (grid.values,)
    corners = (grid.bounds.lower, grid.bounds.upper)
    return {
        "values": [tensor_bits(component) for component in components],
        "dims": [dims(tensor.shape) for tensor in (grid, *components)],
        "bounds": [(dims(corner.shape), tensor_bits(corner)) for corner in corners],
        "boundary": plain(grid.boundary.to_dict()),
        "type": "staggered" if grid.is_staggered else "centered",
    }


def dims(shape: Any) -> list[tuple[Any, ...]]:
    """Returns name, type, size and labels of each dim."""
    return [(dim.name, dim.dim_type, dim.size, dim.item_names[0]) for dim in shape]


def tensor_bits(tensor: Any) -> tuple[str, tuple[int, ...], bytes]:
    """Returns dtype, shape and bytes of a tensor, in its own order of dims."""
    array = tensor.numpy(tensor.shape.names)
    return array.dtype.str, array.shape, array.tobytes()


def plain(tree: Any) -> Any:
    """Returns a boundary's description with its values as exact text.

    Their width in bits is left out: PhiFlow calls a Python int an int32, and stores 64 bits for it.
    """
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, np.ndarray):
        return tree.dtype.kind, tree.shape, repr(tree.tolist())
    return tree


def curves_of(fields: Fields) -> dict[str, float]:
    """Returns the scalars that are logged for each step."""
    speed = math.norm(fields["velocity"].at_centers().values)
    return {"smoke_mean": float(fields["smoke"].values.mean), "speed_max": float(speed.max)}


def in_turn(frame: int) -> tuple[str, ...]:
    """Returns the libraries, another one first in each frame, so that caches favour neither."""
    return LIBRARIES if frame % 2 == 0 else LIBRARIES[::-1]


@contextmanager
def timed(seconds: Seconds, what: str, library: str) -> Iterator[None]:
    """Adds the wall time of its body to a sum."""
    start = time.perf_counter()
    yield
    seconds[what, library] += time.perf_counter() - start


def progress_bar(console: Console) -> Progress:
    """Returns a progress bar that draws on terminals only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=not console.is_terminal,
    )


def print_costs(folder: Path, frames: int, seconds: Seconds, console: Console) -> None:
    """Prints times and sizes side by side."""
    table = Table(title="The same frames in both libraries", title_justify="left")
    table.add_column()
    for library in LIBRARIES:
        table.add_column(library, justify="right")
    for what in ("write", "read"):
        row = [f"{seconds[what, library] * 1000 / max(frames, 1):.1f}" for library in LIBRARIES]
        table.add_row(f"{what}, ms per frame of 3 fields", *row)
    files = [stored_files(place) for place in paths(folder).values()]
    table.add_row("length of the files, bytes", *(f"{sum(lengths(f)):,}" for f in files))
    table.add_row("space taken on the disk, bytes", *(f"{sum(blocks(f)):,}" for f in files))
    table.add_row("number of files", *(str(len(f)) for f in files))
    console.print(table)


def stored_files(place: Path) -> list[Path]:
    """Returns the files at a place: itself, or all below it."""
    return [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]


def lengths(files: list[Path]) -> Iterator[int]:
    """Yields the length of each file."""
    return (file.stat().st_size for file in files)


def blocks(files: list[Path]) -> Iterator[int]:
    """Yields the space that each file takes on the disk, where the system tells it."""
    return (getattr(file.stat(), "st_blocks", 0) * 512 for file in files)


def print_comparison(equal: Counter[tuple[str, str]], fields: int, console: Console) -> None:
    """Prints how many of the fields came back as they were written, part by part."""
    table = Table(title="Equal to what was written", title_justify="left")
    table.add_column("compared, field by field")
    for library in LIBRARIES:
        table.add_column(f"read by {library}", justify="right")
    for part, meaning in COMPARED.items():
        table.add_row(meaning, *(f"{equal[part, library]} of {fields}" for library in LIBRARIES))
    console.print(table)


def draw(scene: Any, picture: Path) -> None:
    """Draws smoke at several times, the last velocity and pressure, and curves."""
    matplotlib.use("Agg")  # to a file, with or without a screen
    from matplotlib import pyplot as plt

    frames = scene.frames
    shown = sorted({frames[round(i * (len(frames) - 1) / 4)] for i in range(1, 5)})
    smokes = {frame: scene.read("smoke", frame=frame) for frame in shown}
    velocity, pressure = scene.read("velocity", "pressure", frame=frames[-1])
    times, curves = scene.times, scene.curves

    figure = plt.figure(figsize=(12, 7), layout="constrained")
    rows: Any = figure.subfigures(2, 1)
    upper, lower = rows
    panels = upper.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    brightest = max(float(smoke.values.max) for smoke in smokes.values())
    for panel, (frame, smoke) in zip(panels, smokes.items(), strict=True):
        image = show(panel, smoke, smoke.values, "inferno", vmin=0, vmax=brightest)
        panel.set_title(f"smoke, t = {times[frame]:g} s")
    panels[0].set_ylabel("y")
    upper.colorbar(image, ax=panels, label="smoke", shrink=0.7)

    left, middle, right = lower.subplots(1, 3)
    centered = velocity.at_centers()
    image = show(left, centered, math.norm(centered.values), "viridis")
    left.set(title=f"velocity, t = {times[frames[-1]]:g} s", ylabel="y")
    lower.colorbar(image, ax=left, label="speed")
    arrows = centered.values.numpy("x,y,vector")[4::8, 4::8]
    spots = centered.points.numpy("x,y,vector")[4::8, 4::8]
    left.quiver(*np.moveaxis(spots, -1, 0), *np.moveaxis(arrows, -1, 0), color="white")
    largest = float(math.abs(pressure.values).max)
    image = show(middle, pressure, pressure.values, "RdBu_r", vmin=-largest, vmax=largest)
    middle.set(title=f"pressure, t = {times[frames[-1]]:g} s", ylabel="y")
    lower.colorbar(image, ax=middle, label="pressure")
    for name, color, panel in (
        ("speed_max", "tab:blue", right),
        ("smoke_mean", "tab:red", right.twinx()),
    ):
        steps, values = curves[name].numpy("vector,iteration")
        panel.plot([times[int(step)] for step in steps], values, color=color)
        panel.set_ylabel(name, color=color)
    right.set(title="curves", xlabel="t / s")
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def show(panel: Any, grid: Any, values: Any, colors: str, **limits: float) -> Any:
    """Draws the values of a 2D grid at their place."""
    lower, upper = grid.bounds.lower.numpy("vector"), grid.bounds.upper.numpy("vector")
    panel.set_xlabel("x")
    return panel.imshow(
        values.numpy("y,x"),
        origin="lower",
        extent=(lower[0], upper[0], lower[1], upper[1]),
        cmap=colors,
        **limits,
    )


if __name__ == "__main__":
    sys.exit(main())
