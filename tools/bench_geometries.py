"""Particles that move and rest, and a field on a mesh: time and size of a frame.

Pickling the whole field stands beside it, which is what a script can do without h5scene.
"""

from __future__ import annotations

import pickle
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from phi.field import Field, PointCloud
from phi.geom import Point, Sphere
from phi.geom._mesh import mesh_from_numpy
from phi.math import channel, instance, wrap

from h5scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
from functools import partial

Rows = dict[str, float]


def measure_geometries(folder: Path, *, quick: bool) -> Rows:
    """Returns processor time in ms, and bytes, of frames on other geometries than grids."""
    count, frames = (10_000, 5) if quick else (100_000, 20)
    side = 100 if quick else 317
    cases = {
        "40 particles, moving": moving(40, frames),
        f"{count:,} particles, moving": moving(count, frames),
        f"{count:,} spheres of one radius, moving": moving(count, frames, radius=0.1),
        f"{count:,} particles, at rest": resting(count, frames),
        f"mesh of {(side - 1) ** 2:,} cells": on_mesh(side, frames),
        f"mesh of {(side - 1) ** 2:,} cells, made anew each time": on_mesh(side, frames, anew=True),
    }
    rows: Rows = {}
    for i, (name, fields) in enumerate(cases.items()):
        for what, value in measured(folder / f"geometries_{i}", list(fields)).items():
            rows[f"{name}: {what}"] = value
    return rows


def moving(count: int, frames: int, radius: float | None = None) -> Iterator[Field]:
    """Gives particles that are somewhere else in each frame."""
    random = np.random.default_rng(0)
    data = random.random((count, 2), np.float32)
    for _ in range(frames):
        data = data + random.normal(0, 0.01, data.shape).astype(np.float32)
        points = wrap(data, instance("points"), channel(vector="x,y"))
        geometry = Point(points) if radius is None else Sphere(points, radius=radius)
        yield PointCloud(geometry, wrap(data * 2, points.shape))


def resting(count: int, frames: int) -> Iterator[Field]:
    """Gives particles that stay where they are, with other values in each frame."""
    first, *others = moving(count, frames)
    yield first
    for field in others:
        yield first.with_values(field.values)


def on_mesh(side: int, frames: int, *, anew: bool = False) -> Iterator[Field]:
    """Gives a field on a mesh of squares, of which there are one less than vertices a side."""
    axis = np.linspace(0, 1, side, dtype=np.float32)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    index = np.arange(side * side).reshape(side, side)
    corners = (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:])
    cells = np.stack(corners, -1).reshape(-1, 4)
    edge = np.concatenate([index[:, 0], index[-1, 1:], index[-2::-1, -1], index[0, -2:0:-1]])
    boundary = {"wall": np.stack([edge, np.roll(edge, -1)], -1)}
    random = np.random.default_rng(0)
    mesh = mesh_from_numpy(points, cells, boundary)
    for _ in range(frames):
        mesh = mesh_from_numpy(points, cells, boundary) if anew else mesh
        data = random.random(len(cells), np.float32)
        yield Field(mesh, wrap(data, instance("cells")), 0)


def measured(path: Path, fields: list[Field]) -> Rows:
    """Returns time and size of the first frame and of the further ones; medians."""
    scene = Scene.create(path, copy_calling_script=False)
    file, sizes, times = Path(scene.path).parent, [], []
    sizes.append(file.stat().st_size)
    for frame, field in enumerate(fields):
        times.append(cpu_ms(partial(scene.write, {"f": field}, frame)))
        sizes.append(file.stat().st_size)
    reads = [cpu_ms(partial(scene.read, "f", frame=frame)) for frame in range(len(fields))]
    dumped = len(pickle.dumps(fields[1]))
    pickles = [cpu_ms(partial(pickle.dumps, field)) for field in fields[1:]]
    return {
        "bytes of the values": fields[0].values.shape.volume * 4,
        "first write, ms": times[0],
        "further writes, ms": median(times[1:]),
        "first read, ms": reads[0],
        "further reads, ms": median(reads[1:]),
        "first frame, bytes": sizes[1] - sizes[0],
        "further frames, bytes": (sizes[-1] - sizes[1]) / (len(fields) - 1),
        "pickle, ms": median(pickles),
        "pickle, bytes": dumped,
    }


def median(values: Iterable[float]) -> float:
    """Returns the median."""
    return statistics.median(values)


def cpu_ms(call: Callable[[], Any]) -> float:
    """Returns the processor time of a call in ms."""
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1000
