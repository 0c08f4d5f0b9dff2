"""Fields that are not read before somebody needs their numbers."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phi.field import CenteredGrid, StaggeredGrid
from phi.geom import Box
from phiml import math
from phiml.math import batch, channel, extrapolation, spatial, wrap

from h5scene import Scene
from h5scene.errors import (
    BatchMismatchError,
    FieldNotFoundError,
    FrameNotFoundError,
    InvalidInputError,
)
from h5scene.format import readings
from h5scene.lazy_field import LazyField
from tests.compare import assert_same_values

FRAMES = (0, 3, 6, 9)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene.create(tmp_path / "runs", copy_calling_script=False)
    boundary = {"x-": 1, "x+": extrapolation.ZERO_GRADIENT, "y": extrapolation.PERIODIC}
    for frame in FRAMES:
        values = np.random.default_rng(frame).random((20, 16, 2), np.float32)
        velocity = wrap(values, spatial("x,y"), channel(vector="x,y"))
        scene.write(
            center=CenteredGrid(velocity, boundary, Box(x=10, y=4)),
            face=StaggeredGrid(lambda x: x, boundary, Box(x=10, y=4), x=20, y=16) * frame,
            frame=frame,
        )
    return scene


def test_it_knows_all_but_the_values(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {name: scene.read(name, frame="all") for name in ("center", "face")}
    monkeypatch.setattr(readings, "read_into", None)  # who reads values fails
    for name, field in whole.items():
        lazy = scene.lazy(name)
        assert lazy.name == name
        assert lazy.frames == FRAMES
        assert lazy.shape == field.shape
        assert lazy.shape.get_labels("frame") == ("0", "3", "6", "9")
        assert lazy.dtype == np.float32
        assert lazy.resolution == field.resolution
        assert lazy.bounds == field.bounds
        assert lazy.boundary == field.boundary
        assert lazy.geometry == field.geometry
        assert lazy.is_staggered == field.is_staggered
        assert lazy.frame.size == 4
        assert "bytes not read" in repr(lazy)
        assert f"LazyField({name!r} of" in repr(lazy)
    assert scene.lazy("center").nbytes == 4 * 20 * 16 * 2 * 4
    part = scene.lazy("center").frame[1].x[4:6].vector["y"]
    assert part.frames == (3,)
    assert part.nbytes == 2 * 16 * 4
    assert part.bounds.lower.vector["x"].numpy() == 2


SLICES: dict[str, Any] = {
    "all": lambda f: f,
    "one frame": lambda f: f.frame[2],
    "frame by number": lambda f: f.frame["6"],
    "last frame": lambda f: f.frame[-1],
    "frames": lambda f: f.frame[1:3],
    "every second frame": lambda f: f.frame[::2],
    "frames of frames": lambda f: f.frame[1:].frame[1:].frame[0],
    "region": lambda f: f.x[2:9],
    "region of a region": lambda f: f.x[2:9].x[1:-1].y[3:5],
    "frame and region": lambda f: f.frame[2].x[0:16],
    "dict": lambda f: f[{"x": slice(0, 5), "frame": 0}],
    "component": lambda f: f.vector["x"],
    "region of a component": lambda f: f.vector["y"].y[2:9].x[1:3].frame[3],
    "component of a region": lambda f: f.frame[0].y[2:9].vector["y"],
}


@pytest.mark.parametrize("field", ["center", "face"])
@pytest.mark.parametrize("name", SLICES)
def test_slices_compose_and_are_what_slicing_gives(scene: Scene, name: str, field: str) -> None:
    lazy = SLICES[name](scene.lazy(field))
    assert isinstance(lazy, LazyField)
    loaded = pickle.loads(pickle.dumps(lazy)).load()
    assert loaded.shape == lazy.shape
    assert loaded.boundary == lazy.boundary
    assert loaded.bounds == lazy.bounds
    array = np.asarray(lazy)
    assert array.nbytes == lazy.nbytes
    if field == "face" and "region" in name and "of a component" not in name:
        return  # PhiFlow cannot slice these; tests/property/test_regions.py compares them
    whole = scene.read(field, frame="all")
    expected = SLICES[name](whole)
    assert_same_values(loaded, expected)
    if not loaded.is_staggered:
        order = [dim.name for dim in lazy._kind.description.dims]
        assert np.array_equal(array, expected.values.numpy(order))


def test_a_box_in_space(scene: Scene) -> None:
    part = scene.lazy("face")[Box(x=(1, 2))].frame[1]
    assert part.resolution.sizes == (2, 16)
    assert_same_values(part.load(), scene.read("face", frame=3, region=Box(x=(1, 2))))


def test_one_frame(scene: Scene) -> None:
    lazy = scene.lazy("center", -1)
    assert lazy.frames == (9,)
    assert "frame" not in lazy.shape
    assert_same_values(lazy.load(), scene.read("center", frame=9))
    lazy = scene.lazy("center", [6, 0], dim="t")
    assert_same_values(lazy.t["0"].load(), scene.read("center", frame=0))


def test_numpy_asks_for_the_values(scene: Scene) -> None:
    lazy = scene.lazy("center").frame[0].vector["x"]
    assert np.asarray(lazy, np.float64).dtype == np.float64
    assert np.mean(lazy) == np.mean(scene.read("center").values.vector["x"].numpy("x,y"))
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(lazy, copy=False)


def test_batches_of_scenes(tmp_path: Path) -> None:
    scenes = Scene.create(tmp_path / "many", batch(b=3), copy_calling_script=False)
    for frame in range(2):
        values = wrap(
            np.random.default_rng(frame).random((3, 8), np.float32), batch("b"), spatial("x")
        )
        scenes.write(f=CenteredGrid(values, 0, Box(x=4)), frame=frame)
    lazy = scenes.lazy("f")
    whole = scenes.read("f", frame="all")
    assert lazy.shape == whole.shape
    for take in (
        lambda f: f.b[1],
        lambda f: f.b[1:].frame[0].x[2:4],
        lambda f: f.frame[1].b[0].x[3:],
    ):
        assert_same_values(take(lazy).load(), take(whole))
    scenes.b[0].write(f=CenteredGrid(0, 0, x=8), frame=5)
    assert scenes.lazy("f").frames == (0, 1)
    scenes.b[0].write(g=CenteredGrid(0, 0, x=8))
    scenes.b[1:].write(g=CenteredGrid(0, 0, x=9))
    with pytest.raises(BatchMismatchError, match="8 and 9 entries"):
        scenes.lazy("g")


def test_it_takes_no_memory(tmp_path: Path) -> None:
    """Staggered grids are the hard case: their components are stacks of arrays."""
    scene = Scene.create(tmp_path / "large", copy_calling_script=False)
    boundary = {
        "x-": 1,
        "x+": extrapolation.ZERO_GRADIENT,
        "y-": extrapolation.ZERO_GRADIENT,
        "y+": 1,
    }
    for frame in range(3):
        scene.write(
            face=StaggeredGrid(0.5, boundary, x=512, y=512),
            center=CenteredGrid(wrap(np.ones((512, 512), np.float32), spatial("x,y")), 0),
            frame=frame,
        )
    for name in ("face", "center"):
        tracemalloc.start()
        lazy = scene.lazy(name)
        shape = lazy.x[:100].shape
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert shape.get_size("x") == 100
        assert lazy.nbytes >= 3 << 20
        assert peak < 1 << 19


def test_what_is_written_meanwhile(scene: Scene) -> None:
    lazy = scene.lazy("center")
    scene.write(center=scene.read("center") * 2, frame=12)
    assert lazy.frames == FRAMES
    assert scene.lazy("center").frames == (*FRAMES, 12)
    scene.remove()
    with pytest.raises(FileNotFoundError):
        lazy.load()


def test_what_is_refused(scene: Scene) -> None:
    with pytest.raises(FieldNotFoundError, match="'center', 'face'"):
        scene.lazy("velocity")
    with pytest.raises(
        FrameNotFoundError, match=r"no frame 1, 2 of 'center'.* 4 frames from 0 to 9"
    ):
        scene.lazy("center", range(4))
    with pytest.raises(InvalidInputError, match="one field"):
        scene.lazy(["center", "face"])  # type: ignore[arg-type]
    lazy = scene.lazy("center")
    with pytest.raises(AttributeError, match="no dim or attribute 'z'"):
        _ = lazy.z
    with pytest.raises(InvalidInputError, match="no entry 4 along 'frame' of size 4"):
        _ = lazy.frame[4]
    with pytest.raises(InvalidInputError, match="there is no '5' along 'frame'; it has 0, 3, 6, 9"):
        _ = lazy.frame["5"]
    with pytest.raises(InvalidInputError, match="gaps"):
        _ = lazy.x[::2]
    assert math.is_finite(lazy.load().values).all
