"""What `tools/fuzz` damages: scene files and scene directories, and how they are read."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene import SceneFile, export_scenes, import_scenes
from h5scene.errors import CorruptDataError, H5SceneError
from h5scene.record import (
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    ObjectRecord,
    TensorRecord,
)
from h5scene.store import close_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Seed:
    """Something whole, to be damaged.

    Attributes:
        name: For people.
        form: `hdf5` or `npz`.
        path: The file or directory.
        read: Returns what is in it, or in a damaged one.
        states: What that is; one of them is right.
    """

    name: str
    form: str
    path: Path
    read: Callable[[Path], dict[Any, Any]]
    states: list[dict[Any, Any]]


def make_seeds(directory: Path) -> list[Seed]:
    """Writes a file of each kind: packed, plain, with many frames, with a hot journal; npz."""
    seeds = []
    for name, compression, scenes, frames in (
        ("packed", "fast", 2, 1),
        ("plain", None, 1, 2),
        ("many", "fast", 1, 10),
    ):
        path = directory / f"{name}.h5"
        with SceneFile(path, compression=compression) as file:  # type: ignore[arg-type]
            fill(file, scenes, frames)
        seeds.append(Seed(name, "hdf5", path, content, [content(path)]))
    seeds.append(_with_journal(directory))
    exported = directory / "npz.d"
    export_scenes(directory / "packed.h5", exported)
    seeds.append(Seed("npz", "npz", exported, imported, [imported(exported)]))
    close_all()
    return seeds


def fill(file: SceneFile, scenes: int, frames: int = 3) -> None:
    """Puts some of everything into a file."""
    chance = np.random.default_rng(1)
    for scene in file.create_scenes("sim", scenes):
        for frame in range(frames):
            smoke = chance.normal(size=(8, 8)).astype(np.float32)
            velocity = np.round(chance.normal(size=(24, 24, 2)).astype(np.float32), 1)
            file.write_frame(frame, {scene: {"smoke": record(smoke, "xy")}})
            if frame < 2:
                fields = {"velocity": record(velocity, "xyv"), "points": particles()}
                file.write_frame(frame, {scene: fields})
            file.put_times(frame, {scene: 0.5 * frame})
            file.log_scalars(frame, {scene: {"loss": [1.0 / (1 + frame)]}})
        file.put_properties({scene: {"dt": 0.5, "note": "a text", "long": "x" * 5000}})
        file.write_files({scene: {"src/plume.py": b"print('plume')\n" * 20}})


def record(values: Any, axes: str) -> FieldRecord:
    """Returns a field of these values."""
    corner = (DimSpec("vector", "channel", ("x", "y")),)
    bounds = Bounds(TensorRecord(corner, np.zeros(2)), TensorRecord(corner, np.array([1.0, 2.0])))
    dims = tuple(
        DimSpec("vector", "channel", ("x", "y")) if axis == "v" else DimSpec(axis, "spatial")
        for axis in axes
    )
    boundary: dict[str, Any] = {"type": "constant", "value": TensorRecord((), np.asarray(0.25))}
    return FieldRecord(FieldDescription("CenteredGrid", dims, bounds, boundary, {}), values)


def particles() -> FieldRecord:
    """Returns values on spheres."""
    points, vector = DimSpec("points", "instance"), DimSpec("vector", "channel", ("x", "y"))
    parts = {
        "center": TensorRecord((points, vector), np.arange(12, dtype=np.float32).reshape(6, 2)),
        "radius": TensorRecord((points,), np.full(6, 0.5, np.float32)),
    }
    description = FieldDescription("Field", (points,), None, {"type": "none"}, {})
    geometry = ObjectRecord("sphere", {}, parts)
    return FieldRecord(description, np.arange(6, dtype=np.float32), geometry)


def _with_journal(directory: Path) -> Seed:
    """Returns a file whose last commit was cut off behind its commit point."""
    from h5scene.store import pager

    path, before = directory / "journal.h5", directory / "before.h5"
    with SceneFile(path) as file:
        fill(file, 1, 2)
    close_all()
    shutil.copy(path, before)
    child = os.fork()
    if child == 0:
        pager.apply = lambda *_, **__: os._exit(0)
        with SceneFile(path) as file:
            file.put_properties({"sim_000000": {"dt": 0.75}})
        os._exit(1)
    os.waitpid(child, 0)
    # A forged header may make any of the two states of an interrupted commit count.
    return Seed("journal", "hdf5", path, content, [content(path), content(before)])


def content(path: Path, *, sandbox: bool = False) -> dict[Any, Any]:
    """Returns all that a file holds, in a form that can be compared and pickled."""
    found: dict[Any, Any] = {}
    with SceneFile(path, "r", workers=1, sandbox=sandbox) as file:
        found["scenes"] = file.scenes
        for scene in file.scenes:
            for call in (file.fieldnames, file.frames, file.properties, file.times, file.files):
                tried(found, (scene, call.__name__), call, scene)
            tried(found, (scene, "curves"), curves, file, scene)
            for name, frames in plain(found[scene, "frames"]).items():
                for frame in frames:
                    tried(found, (scene, name, frame), file.read_frame, scene, name, frame)
            for name in plain(found[scene, "files"]):
                tried(found, (scene, name), file.read_file, scene, name)
    return found


def imported(directory: Path) -> dict[Any, Any]:
    """Returns what the importer makes of a directory; what it has problems with is an error."""
    target = directory.with_suffix(".imported.h5")
    target.unlink(missing_ok=True)
    done = import_scenes(directory, target)
    found = content(target)
    said = [*done.problems, *done.notes]
    if said:
        found["problems"] = CorruptDataError(str(said[0]))
    return found


def tried(found: dict[Any, Any], where: Any, call: Callable[..., Any], *arguments: Any) -> None:
    """Notes what a call returns, or that it was refused."""
    try:
        found[where] = call(*arguments)
    except H5SceneError as error:
        found[where] = error


def plain(value: Any) -> Any:
    """Returns a value, and nothing for an error."""
    return {} if isinstance(value, H5SceneError) else value


def curves(file: SceneFile, scene: str) -> Any:
    """Returns the curves of a scene."""
    return {
        name: (curve.steps.tobytes(), curve.values.tobytes())
        for name, curve in file.curves(scene).items()
    }
