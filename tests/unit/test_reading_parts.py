"""Many frames as one field, and regions of fields, through `Scene.read` and `SceneFile`."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from phi.field import CenteredGrid, Field, PointCloud, StaggeredGrid
from phi.geom import Box, Graph, Point, Sphere
from phiml import math
from phiml.math import Shape, batch, channel, dual, extrapolation, instance, spatial, wrap

from h5scene import Scene, SceneFile
from h5scene.errors import (
    BatchMismatchError,
    CorruptDataError,
    FieldNotFoundError,
    FrameNotFoundError,
    H5SceneError,
    InvalidInputError,
    UnsupportedFieldError,
)
from h5scene.format import checksums, readings
from h5scene.format.readings import new_array
from h5scene.record import DimSpec
from h5scene.regions import Between
from h5scene.store.datasets import check_dataset
from h5scene.store.handles import Store
from tests.compare import assert_same_values, numbers

ZERO_GRADIENT, PERIODIC = extrapolation.ZERO_GRADIENT, extrapolation.PERIODIC
FRAMES = (0, 5, 10, 15, 1000000)


def noise(*dims: Shape, seed: int = 0) -> Any:
    """Returns a tensor of numbers that do not shrink."""
    shape = math.concat_shapes(*dims)
    return wrap(np.random.default_rng(seed).random(shape.sizes, np.float32), *dims)


def smoke(frame: int, *dims: Shape) -> Field:
    values = noise(*dims, spatial(x=8, y=6), seed=frame)
    return CenteredGrid(values, {"x-": 1, "x+": ZERO_GRADIENT, "y": PERIODIC}, Box(x=4, y=(1, 2)))


def velocity(frame: int) -> Field:
    grid = StaggeredGrid(
        lambda x: x * (frame + 1), {"x": 0, "y": PERIODIC}, Box(x=4, y=(1, 2)), x=8, y=6
    )
    return grid.with_values(grid.values + frame)


def close(scene: Scene) -> None:
    """Closes the files of a scene, so that other programs can change them."""
    for file in scene._files.values():
        file.close()
    scene._files.clear()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.h5"


@pytest.fixture
def scene(path: Path) -> Scene:
    scene = Scene.create(path, copy_calling_script=False)
    for frame in FRAMES:
        scene.write(smoke=smoke(frame), velocity=velocity(frame), frame=frame)
    scene.write(smoke=smoke(20), frame=20)  # a frame that velocity lacks
    return scene


# --- frames ---------------------------------------------------------------------------------------

SELECTIONS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "range": (range(0, 20, 5), (0, 5, 10, 15)),
    "list": ([10, 0], (10, 0)),
    "one in a list": ([5], (5,)),
    "array": (np.array([5, 10]), (5, 10)),
    "negative": ([-1, 0, -2], (1000000, 0, 20)),
    "all": ("all", (0, 5, 10, 15, 20, 1000000)),
    "slice of numbers": (slice(5, 16), (5, 10, 15)),
    "slice between numbers": (slice(1, 12), (5, 10)),
    "every second": (slice(None, None, 2), (0, 10, 20)),
    "the last two": (slice(-2, None), (20, 1000000)),
    "all but the last two": (slice(None, -2), (0, 5, 10, 15)),
}


@pytest.mark.parametrize("selection", SELECTIONS)
def test_frames_are_stacked_and_labelled(scene: Scene, selection: str) -> None:
    frames, expected = SELECTIONS[selection]
    field = scene.read("smoke", frame=frames)
    assert field.shape.get_labels("frame") == tuple(map(str, expected))
    assert field.values.shape.names == ("frame", "x", "y")
    for i, frame in enumerate(expected):
        assert_same_values(field.frame[i], smoke(frame))
        assert_same_values(field.frame[str(frame)], smoke(frame))
    assert field.bounds == smoke(0).bounds
    assert field.boundary == smoke(0).boundary


def test_staggered_frames_are_stacked(scene: Scene) -> None:
    field = scene.read("velocity", frame=[5, 15])
    assert field.is_staggered
    for i, frame in enumerate((5, 15)):
        assert_same_values(field.frame[i], velocity(frame))


def test_the_last_frame(scene: Scene) -> None:
    assert_same_values(scene.read("smoke", frame=-1), smoke(1000000))
    assert_same_values(scene.read("smoke", frame=-2), smoke(20))
    # Of several fields the last one that all have.
    both = scene.read("smoke", "velocity", frame=-2)
    assert_same_values(both[0], smoke(15))
    assert_same_values(both[1], velocity(15))


def test_several_fields_have_the_frames_that_all_have(scene: Scene) -> None:
    fields = scene.read(["smoke", "velocity"], frame="all")
    for field in fields:
        assert field.shape.get_labels("frame") == tuple(map(str, FRAMES))
    with pytest.raises(FrameNotFoundError, match=r"no frame 20 of 'velocity'"):
        scene.read("smoke", "velocity", frame=[15, 20])


@pytest.mark.parametrize("dim", [batch("t"), channel("t"), instance("t"), "t"], ids=str)
def test_frames_along_a_dim_of_the_users(scene: Scene, dim: Any) -> None:
    field = scene.read("smoke", frame=[5, 0], dim=dim)
    assert field.shape.get_labels("t") == ("5", "0")
    expected = batch("t") if isinstance(dim, str) else dim
    assert field.shape["t"].dim_type == expected.dim_type
    assert_same_values(field.t[1], smoke(0))


def test_times_go_with_the_labels(scene: Scene) -> None:
    for frame in FRAMES:
        scene.put_time(frame, frame / 10)
    field = scene.read("smoke", frame=slice(5, 16))
    assert [scene.times[int(label)] for label in field.shape.get_labels("frame")] == [0.5, 1.0, 1.5]


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "missing": ({"frame": 3}, FrameNotFoundError, r"no frame 3 of 'smoke' in .*; it has 0, 5"),
    "several missing": (
        {"frame": range(4)},
        FrameNotFoundError,
        r"no frames 1, 2, 3 of 'smoke'",
    ),
    "many missing": ({"frame": range(100, 999)}, FrameNotFoundError, r"107, … of"),
    "twice": ({"frame": [5, 0, 5]}, InvalidInputError, "frame 5 of 'smoke' .* is asked for twice"),
    "none": ({"frame": []}, InvalidInputError, "give at least one"),
    "empty slice": ({"frame": slice(21, 99)}, FrameNotFoundError, "from 0 to 1000000"),
    "backwards": ({"frame": slice(9, 0, -1)}, InvalidInputError, "positive step"),
    "word": ({"frame": "last"}, InvalidInputError, "or as 'all', not 'last'"),
    "fraction": ({"frame": 0.5}, InvalidInputError, "whole number"),
    "fractions": ({"frame": [0, 0.5]}, InvalidInputError, "whole number"),
    "slice of words": ({"frame": slice("a", None)}, InvalidInputError, "whole number"),
    "too far back": ({"frame": -7}, FrameNotFoundError, "no frame -7 .* it has 6 frames"),
    "spatial": ({"frame": [0], "dim": spatial("t")}, InvalidInputError, "spatial dim 't'"),
    "dual": ({"frame": [0], "dim": dual("t")}, InvalidInputError, "dual dim"),
    "two dims": ({"frame": [0], "dim": batch("a,b")}, InvalidInputError, "one dim"),
    "no dim": ({"frame": [0], "dim": 3}, InvalidInputError, "one dim"),
    "a dim of the field": ({"frame": [0], "dim": batch("x")}, BatchMismatchError, "have a dim 'x'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_frames_that_cannot_be_read(scene: Scene, case: str) -> None:
    arguments, error, says = REFUSED[case]
    with pytest.raises(error, match=says) as caught:
        scene.read("smoke", **arguments)
    assert isinstance(caught.value, H5SceneError)


def test_a_field_without_frames_in_common(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    scene.write(a=smoke(0), frame=0)
    scene.write(b=smoke(1), frame=1)
    with pytest.raises(FrameNotFoundError, match="no frames of 'a', 'b'"):
        scene.read("a", "b", frame="all")
    with pytest.raises(FieldNotFoundError, match="it has 'a', 'b'"):
        scene.read("c", frame="all")


def test_frames_of_batches(path: Path) -> None:
    scenes = Scene.create(path, batch(a=2, b=3), copy_calling_script=False)
    for frame in range(3):
        scenes.write(smoke=smoke(frame, batch(a=2, b=3)), frame=frame)
    field = scenes.read("smoke", frame="all")
    assert field.values.shape.names == ("a", "b", "frame", "x", "y")
    for frame in range(3):
        assert_same_values(field.frame[frame], smoke(frame, batch(a=2, b=3)))
    # All values were read into one array.
    assert field.values.native(field.values.shape).base is not None
    scenes.a[0].b[0].write(smoke=smoke(9), frame=9)
    assert scenes.read("smoke", frame=-1).values.shape.names == ("a", "b", "x", "y")
    with pytest.raises(FrameNotFoundError, match=r"no frame 9 of 'smoke' in .*sim_000001"):
        scenes.read("smoke", frame=[0, 9])


def test_frames_of_batches_over_several_files(tmp_path: Path) -> None:
    parts = [Scene.create(tmp_path / name, copy_calling_script=False) for name in "pq"]
    for i, part in enumerate(parts):
        for frame in range(2 + i):
            part.write(smoke=smoke(10 * i + frame), frame=frame)
    scenes = Scene.stack(*parts, dim=batch("file"))
    field = scenes.read("smoke", frame="all")
    assert field.shape.get_labels("frame") == ("0", "1")
    assert_same_values(field.file[1].frame[1], smoke(11))
    assert_same_values(scenes.read("smoke", frame=-1).file[1], smoke(11))
    with pytest.raises(FrameNotFoundError, match="no frame -3"):
        scenes.read("smoke", frame=-3)


def test_what_differs_between_frames_is_stacked_too(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    for frame in range(4):
        boundary = {"x": frame // 2, "y": ZERO_GRADIENT}
        scene.write(
            f=CenteredGrid(noise(spatial(x=4, y=3), seed=frame), boundary, Box(x=frame + 1, y=1)),
            frame=frame,
        )
    field = scene.read("f", frame="all")
    for frame in range(4):
        one = scene.read("f", frame=frame)
        assert_same_values(field.frame[frame], one)
        assert field.frame[frame].bounds.upper.numpy("vector").tolist() == [frame + 1, 1]
        assert field.frame[frame].boundary == one.boundary
    part = scene.read("f", frame="all", region={"x": slice(0, 2)})
    assert part.bounds.upper.vector["x"].numpy("frame").tolist() == [0.5, 1.0, 1.5, 2.0]


def test_frames_of_different_precision_are_stacked_in_the_larger(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    for frame, dtype in enumerate((np.float32, np.float64, np.float32)):
        values = wrap(np.full((4, 3), 0.1, dtype), spatial("x,y"))
        scene.write(f=CenteredGrid(values, 0, x=4, y=3), frame=frame)
    values = scene.read("f", frame="all", convert_to_backend=False).values
    assert numbers(values).dtype == np.float64
    assert numbers(values)[:, 0, 0].tolist() == [
        float(np.float32(0.1)),
        0.1,
        float(np.float32(0.1)),
    ]


def test_frames_that_do_not_stack_are_not_all_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    for frame, size in enumerate((4, 5, 4, 4, 4)):
        scene.write(f=CenteredGrid(frame, 0, x=size, y=3), frame=frame)
    scene.write(f=StaggeredGrid(0, 0, x=3, y=2), frame=5)
    opened = []
    original = checksums.read_checksum  # of each dataset that is read whole
    monkeypatch.setattr(checksums, "read_checksum", lambda d: opened.append(d) or original(d))
    with pytest.raises(BatchMismatchError, match=r"4 and 5 entries along the spatial .* 'x'"):
        scene.read("f", frame="all")
    assert len(opened) == 1
    with pytest.raises(BatchMismatchError, match="a StaggeredGrid and a CenteredGrid"):
        scene.read("f", frame=[2, 5])
    assert scene.read("f", frame=[0, 2, 3]).values.shape.get_size("frame") == 3


def test_all_frames_come_from_one_state_of_the_file(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = Store.read
    monkeypatch.setattr(Store, "read", lambda *a, **k: calls.append(1) or original(*a, **k))
    scene.read("smoke", "velocity", frame="all", region={"x": slice(0, 2)})
    assert len(calls) == 1


# --- regions --------------------------------------------------------------------------------------

REGIONS: dict[str, Any] = {
    "slice": {"x": slice(2, 5)},
    "to the edge": {"x": slice(3, None), "y": slice(-2, None)},
    "beyond the edge": {"x": slice(3, 99)},
    "layer": {"x": 3},
    "last layer": {"y": -1},
    "neighbours": {"x": [2, 3, 4]},
    "positions": {"x": Between(0.6, 1.4)},
    "box": Box(x=(0.6, 1.4)),
    "open box": Box(x=(None, 1.4)),
    "box and cells": [Box(x=(1, 2)), {"y": slice(0, 3)}],
    "box of all axes": Box(x=(1, 2), y=(1.5, 2)),
}
CELLS = {
    "slice": (slice(2, 5), slice(0, 6)),
    "to the edge": (slice(3, 8), slice(4, 6)),
    "beyond the edge": (slice(3, 8), slice(0, 6)),
    "layer": (3, slice(0, 6)),
    "last layer": (slice(0, 8), 5),
    "neighbours": (slice(2, 5), slice(0, 6)),
    "positions": (slice(1, 3), slice(0, 6)),
    "box": (slice(1, 3), slice(0, 6)),
    "open box": (slice(0, 3), slice(0, 6)),
    "box and cells": (slice(2, 4), slice(0, 3)),
    "box of all axes": (slice(2, 4), slice(3, 6)),
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_region(scene: Scene, name: str) -> None:
    item = dict(zip("xy", CELLS[name], strict=True))
    if isinstance(item["x"], int):  # PhiFlow 3.4 cannot slice the other axis with it
        del item["y"]
    elif isinstance(item["y"], int):
        del item["x"]
    part = scene.read("smoke", frame=5, region=REGIONS[name])
    whole = scene.read("smoke", frame=5)[item]
    assert_same_values(part, whole)
    assert part.resolution == whole.resolution
    for corner in ("lower", "upper"):
        ours, theirs = (getattr(f.bounds, corner).numpy("vector") for f in (part, whole))
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    many = scene.read("smoke", frame=[0, 5], region=REGIONS[name])
    assert_same_values(many.frame[1], part)


def test_a_region_of_staggered_frames(scene: Scene) -> None:
    part = scene.read("velocity", frame=[0, 5], region={"x": slice(2, 5)})
    assert part.is_staggered
    one = scene.read("velocity", frame=5, region={"x": slice(2, 5)})
    assert_same_values(part.frame[1], one)
    places = one.points[{"~vector": "x"}].vector["x"].numpy("x,y")
    np.testing.assert_allclose(one.values[{"~vector": "x"}].numpy("x,y"), places * 6 + 5, rtol=1e-5)
    component = scene.read("velocity", frame=5, region={"vector": "x"})
    assert_same_values(component, velocity(5)[{"vector": "x"}])


def test_what_differs_between_the_scenes_of_a_batch(path: Path) -> None:
    """A box takes other cells of other grids, which must be as many."""
    scenes = Scene.create(path, batch(b=2), copy_calling_script=False)
    for i in range(2):
        scenes.b[i].write(
            f=CenteredGrid(noise(spatial(x=8), seed=i), 0, Box(x=(i, 8 + i))), frame=0
        )
    part = scenes.read("f", region=Box(x=(2, 5)))
    assert part.bounds.lower.vector["x"].numpy() == 2
    for i in range(2):
        whole = scenes.b[i].read("f")
        assert_same_values(part.b[i], whole[{"x": slice(2 - i, 5 - i)}])
    with pytest.raises(BatchMismatchError, match="along 'b'"):
        scenes.read("f", region=Box(x=(0, 3)))


def test_labels_and_lists_along_channels(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    values = noise(spatial(x=4), channel(species="a,b,c,d"), batch(b=3))
    scene.write(f=CenteredGrid(values, ZERO_GRADIENT, x=4))
    for species, order in {"c": None, "d,a": "da", "b , c": "bc"}.items():
        part = scene.read("f", region={"species": species})
        if order is None:
            assert_same_values(part, scene.read("f").species[species])
        else:
            assert part.shape.get_labels("species") == tuple(order)
            for label in order:
                assert_same_values(part.species[label], scene.read("f").species[label])
    part = scene.read("f", region={"species": ["d", 0], "b": [2, 0, 2]})
    assert part.shape.get_labels("species") == ("d", "a")
    assert_same_values(part.b[0].species["a"], scene.read("f").b[2].species["a"])
    part = scene.read("f", region={"b": slice(0, 3, 2)})
    assert_same_values(part.b[1], scene.read("f").b[2])


REFUSED_REGIONS: dict[str, tuple[Any, type[Exception], str]] = {
    "no dim": ({"z": 1}, InvalidInputError, r"no dim 'z'; the field has \(x, y\)"),
    "far": ({"x": 8}, InvalidInputError, "no entry 8 along 'x' of size 8"),
    "empty": ({"x": slice(5, 5)}, InvalidInputError, "takes none of 8 entries"),
    "backwards": ({"x": slice(5, 2, -1)}, InvalidInputError, "positive step"),
    "gaps": ({"x": slice(0, 8, 2)}, InvalidInputError, "a step of 2 along 'x' would leave gaps"),
    "no neighbours": ({"x": [0, 2]}, InvalidInputError, "no neighbours"),
    "nothing": ({"x": []}, InvalidInputError, "nothing is selected"),
    "one cell": ({"x": 0, "y": 0}, InvalidInputError, "a single cell is no grid"),
    "label": ({"x": "left"}, InvalidInputError, "has no labels"),
    "fraction": ({"x": 0.5}, InvalidInputError, "not float 0.5"),
    "slice of fractions": ({"x": slice(0.5, 2)}, InvalidInputError, "whole numbers"),
    "true": ({"x": True}, InvalidInputError, "not bool True"),
    "mask": ({"x": np.ones(8, bool)}, InvalidInputError, "not bool"),
    "outside": (Box(x=(4.5, 6)), InvalidInputError, "begins at 0 and ends at 4"),
    "turned around": ({"x": Between(3, 1)}, InvalidInputError, "no range from 3.0 to 1.0"),
    "nan": ({"x": Between(float("nan"), 1)}, InvalidInputError, "no range"),
    "words": ({"x": Between("a", 1)}, InvalidInputError, "are numbers"),  # type: ignore[arg-type]
    "box with another axis": (Box(z=1), InvalidInputError, "no dim 'z'"),
    "rotated": (Box(x=1, y=1).rotated(0.1), InvalidInputError, "rotated box"),
    "boxes": (Box(x=wrap([1.0, 2.0], batch("b"))), InvalidInputError, "several"),
    "twice": ([Box(x=1), {"x": 1}], InvalidInputError, "twice along x"),
    "number": (3, InvalidInputError, "a region is a dict"),
}


@pytest.mark.parametrize("case", REFUSED_REGIONS)
def test_regions_that_cannot_be_read(scene: Scene, case: str) -> None:
    region, error, says = REFUSED_REGIONS[case]
    for frame in (5, [0, 5]):
        with pytest.raises(error, match=says):
            scene.read("smoke", frame=frame, region=region)


def test_regions_of_staggered_grids_that_are_none(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    scene.write(v=StaggeredGrid(1, 0, x=4, y=3, z=2))
    with pytest.raises(InvalidInputError, match="a layer of a staggered grid"):
        scene.read("v", region={"x": 1})
    with pytest.raises(UnsupportedFieldError, match=r"one of them .* or all"):
        scene.read("v", region={"vector": "x,y"})
    scene.write(w=StaggeredGrid(1, 0, x=4, y=3, z=1))
    with pytest.raises(InvalidInputError, match="no face along 'z'"):
        scene.read("w", region={"vector": "z"})
    assert scene.read("v", region={"vector": "x,y,z"}).is_staggered
    with pytest.raises(InvalidInputError, match="positions along 'vector' mean nothing"):
        scene.read("v", region={"vector": Between(0, 1)})


def test_other_kinds_of_fields_have_entries_but_no_positions(path: Path, scene: Scene) -> None:
    """Kinds that a newer h5scene writes: regions by entry hold for them, positions do not."""
    close(scene)
    with h5py.File(path, "r+") as file:
        file["sim_000000/smoke"].attrs["field_type"] = "Graph"
        del file["sim_000000/smoke"].attrs["description_checksum"]
    with SceneFile(path, "r") as file:
        record = file.read_frame("sim_000000", "smoke", 5, {"x": 2})
        assert [dim.name for dim in record.description.dims] == ["y"]
        assert np.array_equal(record.values, smoke(5).values.numpy("x,y")[2])
        assert file.read_frame("sim_000000", "smoke", 5, {"x": 2, "y": 1}).values.shape == ()
        with pytest.raises(UnsupportedFieldError, match="only parts of grids"):
            file.read_frame("sim_000000", "smoke", 5, {"x": Between(0, 1)})
        (stack,) = file.read_stacks(["sim_000000"], ["smoke"], [0, 5], {"x": 2, "y": 1})
        assert stack[0].values.tolist() == [smoke(f).values.numpy("x,y")[2, 1] for f in (0, 5)]


def test_regions_one_after_the_other(path: Path, scene: Scene) -> None:
    with SceneFile(path, "r") as file:
        steps = [{"vector": "x"}, {"x": slice(2, 6)}, {"x": slice(1, 3), "y": [2, 3]}]
        record = file.read_frame("sim_000000", "velocity", 5, steps)
        whole = velocity(5)[{"vector": "x"}].values.numpy("x,y")
        assert np.array_equal(record.values, whole[3:5, 2:4])
        assert record.description.dims == (DimSpec("x", "spatial"), DimSpec("y", "spatial"))


def test_a_component_that_is_no_axis(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    sides = {"x": {"normal": 1, "tangential": 2}, "y": {"normal": 3, "tangential": 4}}
    grid = CenteredGrid(noise(spatial(x=4, y=3), channel(vector=3)), sides)
    scene.write(v=grid)
    part = scene.read("v", region={"vector": 2})
    assert math.equal(part.values, grid.values[{"vector": 2}])
    for side, value in {"x-": 2, "x+": 2, "y-": 4, "y+": 4}.items():
        assert part.boundary._at_boundary(side).value == value


# --- how it is read -------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Returns the list of the chunks that are read from now on, by the shape of what is taken."""
    found: list[tuple[int, ...]] = []
    original = readings._ChunkReader.stored

    def stored(self: Any) -> Iterator[Any]:
        for chunk in original(self):
            found.append(chunk.target.shape)
            yield chunk

    monkeypatch.setattr(readings._ChunkReader, "stored", stored)
    return found


def test_only_chunks_that_a_region_touches_are_read(path: Path, counted: list[Any]) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    values = noise(spatial(x=64, y=64, z=64), channel(vector="x,y,z"))
    for frame in range(2):
        scene.write(v=CenteredGrid(values, PERIODIC), frame=frame)
    with h5py.File(path, "r") as file:
        dataset = file["sim_000000/v/000000"]
        chunk, count = (
            dataset.chunks,
            int(np.prod([-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)])),
        )
    assert count >= 4
    scene.read("v")
    assert len(counted) == count
    counted.clear()
    corner = {axis: slice(0, n) for axis, n in zip("xyz", chunk, strict=False)}
    part = scene.read("v", region=corner)
    assert len(counted) == -(-3 // chunk[3])
    assert part.resolution.sizes == chunk[:3]
    counted.clear()
    scene.read("v", frame=[0, 1], region={"x": slice(chunk[0], chunk[0] + 1)})
    layer = count // -(-64 // chunk[0])
    assert len(counted) == 2 * layer
    assert {shape[0] for shape in counted} == {1}


def test_threads_inflate_and_one_talks_to_hdf5(
    path: Path, counted: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    for frame in range(40):  # small frames: many of them are one portion of work
        scene.write(f=CenteredGrid(noise(spatial(x=100, y=60), seed=frame), 0), frame=frame)
    asked, unpacked = set(), set()
    stored, unpack = readings._ChunkReader.stored, readings._ChunkReader.unpack

    def noted_stored(*args: Any) -> Iterator[Any]:
        asked.add(threading.get_ident())
        return stored(*args)

    def noted_unpack(*args: Any) -> None:
        unpacked.add(threading.get_ident())
        unpack(*args)

    monkeypatch.setattr(readings._ChunkReader, "stored", noted_stored)
    monkeypatch.setattr(readings._ChunkReader, "unpack", noted_unpack)
    alone = Scene.at(scene.path, workers=1).read("f", frame="all", convert_to_backend=False)
    assert asked == unpacked == {threading.get_ident()}
    unpacked.clear()
    together = Scene.at(scene.path, workers=2).read("f", frame="all", convert_to_backend=False)
    assert asked == {threading.get_ident()}
    assert unpacked
    assert threading.get_ident() not in unpacked
    assert numbers(alone.values).tobytes() == numbers(together.values).tobytes()
    assert_same_values(together.frame[7], CenteredGrid(noise(spatial(x=100, y=60), seed=7), 0))


def peak_of(call: Callable[[], Any]) -> tuple[Any, int]:
    """Returns what a call returns, and by how many bytes Python's memory grew at most."""
    tracemalloc.start()
    try:
        result = call()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_reading_takes_the_memory_of_its_result(path: Path) -> None:
    scenes = Scene.create(path, batch(b=2), copy_calling_script=False, workers=2)
    for frame in range(12):
        scenes.write(f=CenteredGrid(noise(spatial(x=512, y=512), seed=frame), 0), frame=frame)
    field, peak = peak_of(lambda: scenes.read("f", frame="all"))  # 24 MiB
    assert field.values.shape.volume * 4 == 24 << 20
    assert peak < (24 << 20) + (16 << 20)
    part, peak = peak_of(lambda: scenes.read("f", frame="all", region={"x": slice(0, 32)}))
    assert part.values.shape.volume * 4 == 3 << 19
    assert peak < (3 << 19) + (16 << 20)


def test_what_does_not_fit_into_memory_is_refused(path: Path, scene: Scene) -> None:
    with h5py.File(path, "r") as file:
        dataset = check_dataset(file["sim_000000/smoke/000000"].id)
        with pytest.raises(InvalidInputError, match=r"no memory for .* bytes; read less"):
            new_array(dataset, (8, 6), (10**15,))


def test_damaged_chunks_are_named(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    for frame in range(3):
        values = wrap(np.arange(4096, dtype=np.float32), spatial("x"))
        scene.write(f=CenteredGrid(values, 0), frame=frame)
    close(scene)
    with h5py.File(path, "r+") as file:
        file["sim_000000/f/000001"].id.write_direct_chunk((0,), b"no stream")
    with pytest.raises(CorruptDataError, match="a chunk of /sim_000000/f/000001 is damaged"):
        scene.read("f", frame="all")
    assert scene.read("f", frame=[0, 2]).values.shape.get_size("frame") == 2


def test_frames_of_every_layout_are_read_into_one_array(path: Path) -> None:
    """Chunked, contiguous, big-endian, with chunks that were never written: whoever wrote them."""
    scene = Scene.create(path, copy_calling_script=False)
    values = wrap(np.arange(4096, dtype=np.float32), spatial("x"))
    for frame in range(2):
        scene.write(f=CenteredGrid(values, 0), frame=frame)
    expected = np.arange(4096, dtype=np.float32)
    close(scene)
    with h5py.File(path, "r+") as file:
        field = file["sim_000000/f"]
        field.create_dataset("000002", data=expected)
        field.create_dataset(
            "000003", data=expected.astype(">f4"), chunks=(100,), compression="gzip", shuffle=True
        )
        unwritten = field.create_dataset("000004", (4096,), "f4", chunks=(1024,), fillvalue=7)
        unwritten[:1024] = expected[:1024]
        field.create_dataset("000005", data=expected, chunks=(1000,), fletcher32=True)
    found = numbers(scene.read("f", frame="all").values)
    for row in (0, 1, 2, 3, 5):
        assert np.array_equal(found[row], expected)
    assert np.array_equal(found[4], [*expected[:1024], *[7] * 3072])
    part = numbers(scene.read("f", frame="all", region={"x": slice(1000, 1100)}).values)
    assert np.array_equal(part[[0, 1, 2, 3, 5]], [expected[1000:1100]] * 5)


# --- fields that are no grids ---------------------------------------------------------------------


def cloud(frame: int, count: int = 20) -> Field:
    points, vector = instance(points=count), channel(vector="x,y")
    places, values = noise(points, vector, seed=frame), noise(points, vector, seed=100 + frame)
    return PointCloud(Sphere(places, radius=noise(points, seed=200 + frame)), values)


def test_particles_are_read_with_their_places(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    for frame in range(3):
        scene.write(p=cloud(frame), frame=frame)
    # PhiML 1.16 takes no notice of the step of a slice from the first to the last entry.
    selections = {
        "slice": (slice(3, 9),) * 2,
        "step": (slice(0, 20, 7), [0, 7, 14]),
        "list": ([4, 2],) * 2,
    }
    for selection, entries in selections.values():
        region = {"points": selection}
        part = scene.read("p", frame=1, region=region)
        whole = cloud(1)[{"points": entries}]
        assert_same_values(part, whole)
        assert math.equal(part.geometry.center, whole.geometry.center)
        assert math.equal(part.geometry.radius, whole.geometry.radius)
        many = scene.read("p", frame="all", region=region)
        assert_same_values(many.frame[1], whole)
        assert math.equal(many.geometry.center.frame[1], whole.geometry.center)
        lazy = scene.lazy("p").frame[1][region]
        assert lazy.shape == part.shape
        assert math.equal(lazy.load().geometry.center, whole.geometry.center)
    part = scene.read("p", frame=1, region={"vector": "y"})
    assert math.equal(part.values, cloud(1).values.vector["y"])
    assert part.geometry == cloud(1).geometry
    with pytest.raises(UnsupportedFieldError, match="only parts of grids"):
        scene.read("p", region=[{"points": Between(0, 1)}])
    with pytest.raises(InvalidInputError, match=r"no dim 'x'; the field has"):
        scene.read("p", region=Box(x=1))


def test_frames_of_particles_of_different_number(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    for frame in range(3):
        scene.write(p=cloud(frame, 5 + frame % 2), frame=frame)
    many = scene.read("p", frame="all")
    for frame in range(3):
        assert math.equal(many.values.frame[frame], cloud(frame, 5 + frame % 2).values)
    part = scene.read("p", frame="all", region={"points": slice(0, 4)})
    assert part.values.shape.get_size("points") == 4
    assert math.equal(part.values.frame[1], cloud(1, 6).values[{"points": slice(0, 4)}])


def test_tensors_have_frames_and_regions(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    values = [noise(spatial(x=8), channel(c="a,b"), seed=frame) for frame in range(3)]
    for frame in range(3):
        scene.write(t=values[frame], frame=frame)
    many = scene.read("t", frame=[0, 2], region={"c": "b", "x": slice(1, 5)})
    assert math.equal(many.frame[1], values[2].c["b"].x[1:5])
    assert math.equal(scene.lazy("t").frame[2].x[::2].load(), values[2].x[::2])
    with pytest.raises(UnsupportedFieldError, match="has no geometry"):
        _ = scene.lazy("t").geometry


def test_what_belongs_together_is_read_whole(path: Path) -> None:
    scene = Scene.create(path, copy_calling_script=False)
    lengths = [noise(instance(points=n)) for n in (2, 5)]
    scene.write(
        ragged=math.stack(lengths, batch("b")),
        graph=Field(
            Graph(
                Point(noise(instance(points=3), channel(vector="x,y"))),
                math.zeros(instance(points=3) & dual(points=3)),
                {},
            ),
            noise(instance(points=3)),
            0,
        ),
    )
    with pytest.raises(UnsupportedFieldError, match="of different sizes"):
        scene.read("ragged", region={"b": 1})
    with pytest.raises(UnsupportedFieldError, match="sparse, or of different sizes"):
        scene.lazy("ragged")
    with pytest.raises(UnsupportedFieldError, match="elements of a graph along points belong tog"):
        scene.read("graph", region={"points": slice(0, 2)})
    assert scene.read("graph", frame=[0]).values.shape.get_size("points") == 3
