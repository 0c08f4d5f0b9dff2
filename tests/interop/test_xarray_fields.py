"""Variables of xarray back to fields: whole ones bit by bit, parts with their own bounds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from phi.field import CenteredGrid, Field, StaggeredGrid
from phi.geom import Box
from phiml import math
from phiml.math import batch, channel, extrapolation, spatial, tensor

from h5scene import Scene, SceneFile, field_from_xarray
from h5scene.errors import InvalidInputError, UnsupportedFieldError
from h5scene.phi_fields import record_from_field
from h5scene.record import FieldRecord
from tests.compare import assert_same_field
from tests.strategies import grid_fields

xr = pytest.importorskip("xarray", reason="xarray is not installed")

BOX = Box(x=2.0, y=3.0)


def _numbers(*sizes: int) -> Any:
    return np.random.default_rng(5).random(sizes, np.float32)


def _smoke(boundary: Any = 0) -> Field:
    return CenteredGrid(tensor(_numbers(8, 6), spatial("x,y")), boundary, BOX)


def _velocity(boundary: Any) -> Field:
    points = tensor(_numbers(8, 6, 2), spatial("x,y"), channel(vector="x,y"))
    return StaggeredGrid(CenteredGrid(points, boundary, BOX), boundary, BOX, x=8, y=6)


def _opened(path: Path, field: Field, frames: int = 1, **options: Any) -> Any:
    """Returns a dataset of a scene with this field."""
    scene = Scene.create(path / "runs", copy_calling_script=False)
    for frame in range(frames):
        scene.write(field=field * (1 + frame), frame=frame)
    return xr.open_dataset(path / "runs.h5", engine="h5scene", **options)


def _has_arrays(boundary: Any) -> bool:
    """Whether a boundary embeds fields, or tensors too large for an attribute."""
    return any(
        isinstance(value, FieldRecord) or (isinstance(value, dict) and _has_arrays(value))
        for value in boundary.values()
    )


@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(grid_fields())
def test_any_grid_survives(field: Field) -> None:
    record = record_from_field(field)
    assume(0 not in record.values.shape)
    assume(not _has_arrays(record.description.boundary))
    with tempfile.TemporaryDirectory() as folder, SceneFile(Path(folder) / "runs") as file:
        file.create_scene("sim")
        file.write_frame(3, {"sim": {"field": record}})
        data = xr.open_dataset(file.path, engine="h5scene")
        assert_same_field(field_from_xarray(data.isel(frame=0)), field)


@pytest.mark.parametrize("chunks", [None, {}], ids=["lazy", "dask"])
def test_frames_become_a_batch_dim(tmp_path: Path, chunks: Any) -> None:
    smoke = _smoke()
    data = _opened(tmp_path, smoke, 3, chunks=chunks)
    for given_data in (data, data.field):
        read = field_from_xarray(given_data)
        assert read.shape.get_labels("frame") == ("0", "1", "2")
        assert_same_field(read.frame[0], smoke)
        assert_same_field(read.frame["2"], smoke * 3)


def test_scenes_become_a_batch_dim(tmp_path: Path) -> None:
    scenes = Scene.create(tmp_path / "runs", batch(run=2), copy_calling_script=False)
    velocity = _velocity(extrapolation.PERIODIC)
    scenes.write(velocity=velocity * tensor([1.0, 2.0], batch("run")), frame=0)
    names = ["sim_000000", "sim_000001"]
    data = xr.open_dataset(tmp_path / "runs.h5", engine="h5scene", scene=names)
    read = field_from_xarray(data, "velocity")
    assert read.shape.get_labels("scene") == tuple(names)
    assert_same_field(read.scene[1].frame[0], velocity * 2)


def test_descriptions_that_differ_are_stacked(tmp_path: Path) -> None:
    scene = Scene.create(tmp_path / "runs", copy_calling_script=False)
    for frame in range(2):
        box = Box(x=(frame, frame + 2.0), y=3.0)
        scene.write(smoke=CenteredGrid(frame, frame, box, x=8, y=6), frame=frame)
    data = xr.open_dataset(tmp_path / "runs.h5", engine="h5scene")
    for frame in range(2):
        part = field_from_xarray(data.isel(frame=frame))
        assert_same_field(part, scene.read("smoke", frame=frame))
    both = field_from_xarray(data)
    assert both.bounds.lower.vector["x"].numpy("frame").tolist() == [0, 1]
    assert both.frame[1].boundary == scene.read("smoke", frame=1).boundary


def test_part_of_a_centered_grid_has_its_own_bounds(tmp_path: Path) -> None:
    smoke = _smoke({"x": 1.0, "y-": 2.0, "y+": extrapolation.ZERO_GRADIENT})
    data = _opened(tmp_path, smoke).isel(frame=0)
    part = field_from_xarray(data.isel(x=slice(2, 6), y=slice(None, 4)))
    assert part.bounds == Box(x=(0.5, 1.5), y=(0, 2.0))
    sides = {side: part.boundary._at_boundary(side) for side in ("x-", "x+", "y-", "y+")}
    open_end = extrapolation.ZERO_GRADIENT
    assert sides == {
        "x-": open_end,
        "x+": open_end,
        "y-": smoke.boundary._at_boundary("y-"),
        "y+": open_end,
    }
    math.assert_close(part.values, smoke.values.x[2:6].y[:4])
    math.assert_close(part.center, smoke.center.x[2:6].y[:4])


def test_coarser_and_reversed_grids_lie_where_they_did(tmp_path: Path) -> None:
    smoke = _smoke()
    data = _opened(tmp_path, smoke).isel(frame=0).field
    coarse = field_from_xarray(data.coarsen(x=2, y=3).mean())
    assert coarse.resolution.sizes == (4, 2)
    assert coarse.bounds == BOX
    assert coarse.boundary == smoke.boundary
    assert_same_field(field_from_xarray(data.isel(x=slice(None, None, -1))), smoke)
    with pytest.raises(InvalidInputError, match="not evenly spaced"):
        field_from_xarray(data.isel(x=[0, 1, 3]))


def test_part_of_a_staggered_grid(tmp_path: Path) -> None:
    velocity = _velocity({"x": extrapolation.PERIODIC, "y": 0})
    data = _opened(tmp_path, velocity).isel(frame=0)
    assert_same_field(field_from_xarray(data), velocity)
    cut = data.isel(x=slice(2, 6), x_faces=slice(2, 7))
    part = field_from_xarray(cut)
    assert part.is_staggered
    assert part.bounds == Box(x=(0.5, 1.5), y=3.0)
    x = part.vector["x"].values.numpy("x,y")
    assert np.array_equal(x, velocity.vector["x"].values.numpy("x,y")[2:7])
    assert part.boundary._at_boundary("y-") == velocity.boundary._at_boundary("y-")
    with pytest.raises(InvalidInputError, match="different parts"):
        field_from_xarray(data.isel(x_faces=slice(2, 7)))
    with pytest.raises(InvalidInputError, match="components y are missing"):
        field_from_xarray(data.field_x)


def test_one_component_of_a_vector(tmp_path: Path) -> None:
    values = tensor(_numbers(8, 6, 2), spatial("x,y"), channel(vector="x,y"))
    boundary = tensor([1.0, 2.0], channel(vector="x,y"))
    field = CenteredGrid(values, boundary, BOX)
    data = _opened(tmp_path, field)
    part = field_from_xarray(data.field.sel(vector="y", frame=0))
    assert set(part.shape.names) == {"x", "y"}
    assert part.boundary == extrapolation.ConstantExtrapolation(boundary.vector["y"])
    some = field_from_xarray(data.field.sel(vector=["y"], frame=0))
    assert some.shape.get_labels("vector") == ("y",)


def test_field_survives_netcdf(tmp_path: Path) -> None:
    velocity = _velocity({"x": extrapolation.PERIODIC, "y": 0})
    _opened(tmp_path, velocity, 2).to_netcdf(tmp_path / "out.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "out.nc", engine="scipy") as data:
        assert_same_field(field_from_xarray(data.isel(frame=0), "field"), velocity)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    data = _opened(tmp_path, _smoke())
    two = data.assign(other=data.field.assign_attrs(field="other"))
    with pytest.raises(InvalidInputError, match=r"name one of the fields.*'field', 'other'"):
        field_from_xarray(two)
    assert field_from_xarray(two, "other").resolution.sizes == (8, 6)
    with pytest.raises(InvalidInputError, match="no field 'smok'"):
        field_from_xarray(data, "smok")
    with pytest.raises(InvalidInputError, match="assign_attrs"):
        field_from_xarray(data.field.drop_attrs())
    with pytest.raises(InvalidInputError, match="no dim 'x' left"):
        field_from_xarray(data.field.mean("x", keep_attrs=True))
    with pytest.raises(InvalidInputError, match="describe no field"):
        field_from_xarray(data.field.assign_attrs(lower="[1"))
    with pytest.raises(InvalidInputError, match="Dataset or DataArray"):
        field_from_xarray(_numbers(8, 6))


def test_boundary_of_arrays_is_left_to_the_scene(tmp_path: Path) -> None:
    field = CenteredGrid(1.0, _smoke(), BOX, x=8, y=6)
    data = _opened(tmp_path, field)
    assert np.array_equal(data.field[0], np.ones((8, 6)))
    with pytest.raises(UnsupportedFieldError, match=r"Scene\.read"):
        field_from_xarray(data)
