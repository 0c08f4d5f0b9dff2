"""Scenes as xarray datasets: names, coordinates, laziness, other processes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import SceneFile
from h5scene.errors import (
    FieldNotFoundError,
    InvalidInputError,
    NotFoundError,
    SceneNotFoundError,
)
from h5scene.format.tree import SceneTree
from h5scene.record import Array, Bounds, DimSpec, FieldRecord, TensorRecord
from tests.records import PERIODIC, centered, spatial, staggered, vector

xr = pytest.importorskip("xarray", reason="xarray is not installed")

RANDOM = np.random.default_rng(7)
BOX = Bounds(vector([0.0, -1.0], "xy"), vector([2.0, 1.0], "xy"))


def values(*shape: int) -> Array:
    """Returns random float32."""
    return RANDOM.random(shape, np.float32)


def scalar(x: int = 4, y: int = 3) -> FieldRecord:
    """Returns a scalar grid."""
    return centered(values(x, y), bounds=BOX)


def flow(x: int = 4, y: int = 3) -> FieldRecord:
    """Returns a staggered grid whose padding is NaN: nobody may see it."""
    padded = values(x + 1, y + 1, 2)
    padded[:, -1, 0] = padded[-1, :, 1] = np.nan
    return staggered(padded, bounds=BOX)


def write(path: Path, frames: dict[int, dict[str, FieldRecord]], scene: str = "sim_000000") -> None:
    """Writes a scene."""
    with SceneFile(path) as file:
        file.create_scene(scene)
        for frame, fields in frames.items():
            file.write_frame(frame, {scene: fields})


def opened(path: Path, **options: Any) -> Any:
    """Returns the dataset."""
    return xr.open_dataset(path, engine="h5scene", **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to write."""
    return tmp_path / "runs.h5"


# --- names and coordinates ------------------------------------------------------------------------


def test_centered_grid_has_frames_cells_and_labels(path: Path) -> None:
    dims = (*spatial("xy"), DimSpec("vector", "channel", ("x", "y")))
    records = {f: centered(values(4, 3, 2), dims=dims, bounds=BOX) for f in (0, 5, 1_000_000)}
    write(path, {frame: {"velocity": record} for frame, record in records.items()})
    data = opened(path)
    assert data.velocity.dims == ("frame", "x", "y", "vector")
    assert data.frame.values.tolist() == [0, 5, 1_000_000]
    assert data.x.values.tolist() == [0.25, 0.75, 1.25, 1.75]
    assert data.y.values.tolist() == [-1 + 1 / 3, 0, 1 - 1 / 3]
    assert data.vector.values.tolist() == ["x", "y"]
    assert data.velocity.dtype == np.float32
    with h5py.File(path) as h5:
        for frame in records:
            stored = h5[f"sim_000000/velocity/{frame:06d}"][...]
            assert np.array_equal(data.velocity.sel(frame=frame), stored)


def test_components_of_a_staggered_grid_stand_on_their_faces_without_padding(path: Path) -> None:
    record = flow()
    write(path, {0: {"velocity": record, "smoke": scalar()}})
    data = opened(path)
    assert set(data.data_vars) == {"velocity_x", "velocity_y", "smoke"}
    assert data.velocity_x.dims == ("frame", "x_faces", "y")
    assert data.velocity_y.dims == ("frame", "x", "y_faces")
    assert data.smoke.dims == ("frame", "x", "y")
    assert data.x_faces.values.tolist() == [0, 0.5, 1, 1.5, 2]
    assert data.y_faces.values == pytest.approx([-1, -1 / 3, 1 / 3, 1])
    assert np.array_equal(data.velocity_x[0], record.values[:, :-1, 0])
    assert np.array_equal(data.velocity_y[0], record.values[:-1, :, 1])


def test_grids_that_differ_have_dims_of_their_own(path: Path) -> None:
    fields = {"a_pressure": scalar(), "fine": scalar(8, 6), "smoke": scalar(), "wide": scalar(4, 6)}
    write(path, {0: fields})
    data = opened(path)
    assert data.a_pressure.dims == data.smoke.dims == ("frame", "x", "y")
    assert data.fine.dims == ("frame", "x_fine", "y_fine")
    assert data.wide.dims == ("frame", "x", "y_fine")  # same ends, same number of cells
    assert opened(path, fields="fine").fine.dims == ("frame", "x", "y")
    assert set(opened(path, fields=["fine", "wide"]).data_vars) == {"fine", "wide"}


def test_same_sizes_in_other_places_are_other_dims(path: Path) -> None:
    moved = Bounds(vector([1.0, -1.0], "xy"), vector([3.0, 1.0], "xy"))
    write(path, {0: {"a": scalar(), "b": centered(values(4, 3), bounds=moved)}})
    assert opened(path).b.dims == ("frame", "x_b", "y")


def test_names_that_xarray_needs_otherwise_are_avoided(path: Path) -> None:
    dims = (DimSpec("frame", "batch"), DimSpec("time", "batch"), *spatial("xy"))
    write(path, {0: {"x": centered(values(2, 3, 4, 3), dims=dims, bounds=BOX)}})
    data = opened(path)
    assert data["x"].dims == ("frame", "frame_x", "time_x", "x_x", "y")
    assert data["x"].shape == (1, 2, 3, 4, 3)


def test_component_does_not_hide_a_field_of_its_name(path: Path) -> None:
    other = scalar()
    write(path, {0: {"velocity": flow(), "velocity_x": other}})
    data = opened(path)
    assert np.array_equal(data.velocity_x[0], other.values)
    assert data.velocity_x_.attrs["component"] == "x"


def test_fields_of_other_frames_have_a_dim_of_their_own(path: Path) -> None:
    frames = {f: {"smoke": scalar(), "velocity": flow()} for f in range(4)}
    frames[2]["pressure"] = scalar()
    write(path, frames)
    data = opened(path)
    assert data.smoke.dims[0] == data.velocity_x.dims[0] == "frame"
    assert data.pressure.dims[0] == "frame_pressure"
    assert data.frame_pressure.values.tolist() == [2]
    complete = opened(path, complete_frames=True)
    assert {name: v.dims[0] for name, v in complete.data_vars.items()} == dict.fromkeys(
        data.data_vars, "frame"
    )
    assert complete.frame.values.tolist() == [2]


def test_times_stand_where_they_are_known(path: Path) -> None:
    write(path, {f: {"smoke": scalar()} for f in range(3)})
    assert "time" not in opened(path).coords
    with SceneFile(path) as file:
        file.put_times(1, {"sim_000000": 0.25})
    time = opened(path).time
    assert time.dims == ("frame",)
    assert np.array_equal(time, [np.nan, 0.25, np.nan], equal_nan=True)


def test_field_without_frames_is_left_out(path: Path) -> None:
    write(path, {0: {"smoke": scalar(), "gone": scalar()}})
    with h5py.File(path, "r+") as h5:
        del h5["sim_000000/gone/000000"]
    assert set(opened(path).data_vars) == {"smoke"}


def test_frames_of_other_sizes_make_another_variable(path: Path) -> None:
    records = {0: scalar(), 1: scalar(8, 6), 2: scalar()}
    write(path, {frame: {"smoke": record} for frame, record in records.items()})
    data = opened(path)
    assert data.smoke.shape == (2, 4, 3)
    assert data.smoke_2.shape == (1, 8, 6)
    assert data[data.smoke_2.dims[0]].values.tolist() == [1]
    assert np.array_equal(data.smoke_2[0], records[1].values)


def test_dataset_without_fields(path: Path) -> None:
    write(path, {})
    assert opened(path).sizes == {}


# --- properties -----------------------------------------------------------------------------------


def test_properties_are_attributes_that_netcdf_can_hold(path: Path, tmp_path: Path) -> None:
    tensor = TensorRecord((DimSpec("vector", "channel", ("x", "y")),), np.array([1.0, 2.0]))
    properties = {
        "dt": 0.5,
        "steps": 100,
        "note": "first try",
        "sizes": [64, 64],
        "closed": True,
        "missing": None,
        "huge": 10**30,
        "limit": float("inf"),
        "names": ["a", "b"],
        "empty": [],
        "nested": {"a": [1, None]},
        "gravity": tensor,
    }
    write(path, {0: {"smoke": scalar()}})
    with SceneFile(path) as file:
        file.put_properties({"sim_000000": properties})
    attrs = opened(path).attrs
    plain = {"dt": 0.5, "steps": 100, "note": "first try", "sizes": [64, 64]}
    assert {name: attrs[name] for name in plain} == plain
    for name in ("closed", "missing", "huge", "names", "empty", "nested"):
        assert json.loads(attrs[name]) == properties[name]
    assert json.loads(attrs["gravity"])["data"] == [1.0, 2.0]
    opened(path).to_netcdf(tmp_path / "runs.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "runs.nc", engine="scipy") as netcdf:
        assert netcdf.attrs["closed"] == "true"
        assert np.array_equal(netcdf.smoke, opened(path).smoke)


# --- several scenes -------------------------------------------------------------------------------


def test_scene_must_be_named_where_there_are_several(path: Path) -> None:
    write(path, {0: {"smoke": scalar()}}, "sim_000000")
    write(path, {0: {"smoke": scalar()}}, "sim_000001")
    with pytest.raises(InvalidInputError, match=r"2 scenes.*'sim_000000', 'sim_000001'"):
        opened(path)
    named = opened(path, scene="sim_000001")
    assert named.identical(opened(path / "sim_000001"))
    with pytest.raises(SceneNotFoundError):
        opened(path, scene="sim_000002")
    with pytest.raises(FieldNotFoundError, match="'smoke'"):
        opened(path, scene="sim_000000", fields=["smok"])
    with pytest.raises(NotFoundError):
        opened(path.with_name("other.h5"))


def test_scenes_become_a_dim(path: Path) -> None:
    frames = [{f: {"smoke": scalar(), "velocity": flow()} for f in range(3)} for _ in range(2)]
    frames[0][3] = {"smoke": scalar(), "velocity": flow(), "extra": scalar()}
    for i, of_scene in enumerate(frames):
        write(path, of_scene, f"sim_{i:06d}")
    with SceneFile(path) as file:
        file.put_times(1, {"sim_000000": 0.1, "sim_000001": 0.2})
    data = opened(path, scene=["sim_000001", "sim_000000"], chunks={})
    assert set(data.data_vars) == {"smoke", "velocity_x", "velocity_y"}
    assert data.smoke.dims == ("scene", "frame", "x", "y")
    assert data.smoke.chunks == ((1, 1), (1, 1, 1), (4,), (3,))
    assert data.scene.values.tolist() == ["sim_000001", "sim_000000"]
    assert data.frame.values.tolist() == [0, 1, 2]
    assert data.time.sel(frame=1).values.tolist() == [0.2, 0.1]
    for i, name in enumerate(("sim_000000", "sim_000001")):
        part = data.velocity_y.sel(scene=name, frame=2)
        assert np.array_equal(part, frames[i][2]["velocity"].values[:-1, :, 1])


def test_scenes_of_different_sizes_are_refused(path: Path) -> None:
    write(path, {0: {"smoke": scalar()}}, "a")
    write(path, {0: {"smoke": scalar(8, 6)}}, "b")
    with pytest.raises(InvalidInputError, match=r"'b' has sizes \(8, 6\)"):
        opened(path, scene=["a", "b"])


def test_tree_holds_every_scene(path: Path) -> None:
    write(path, {0: {"smoke": scalar()}}, "sim_000000")
    write(path, {7: {"velocity": flow()}}, "other")
    with xr.open_datatree(path, engine="h5scene") as tree:
        assert set(tree.children) == {"sim_000000", "other"}
        assert tree["other/velocity_x"].frame.values.tolist() == [7]
        assert tree["sim_000000"].to_dataset().identical(opened(path, scene="sim_000000"))


# --- reading --------------------------------------------------------------------------------------


class _Reads:
    """Notes what is read from files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.found: list[tuple[int, Any]] = []
        original = SceneTree.read_part

        def read_part(*args: Any, **options: Any) -> Array:
            self.found.append((args[3], args[5]))
            return original(*args, **options)

        monkeypatch.setattr(SceneTree, "read_part", read_part)


def test_only_what_is_asked_for_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = flow(8, 6)
    write(path, {f: {"velocity": record} for f in range(5)})
    reads = _Reads(monkeypatch)
    data = opened(path)
    repr(data)
    part = data.velocity_y.isel(frame=[3, 1], x=slice(6, 1, -2), y_faces=[4, 2])
    assert reads.found == []
    part.load()
    assert np.array_equal(part[0], record.values[6:1:-2, [4, 2], 1])
    region = [slice(2, 7, 2), slice(2, 5), slice(1, 2)]
    assert sorted(reads.found) == [(1, region), (3, region)]
    assert data.velocity_y.isel(x=[]).values.shape == (5, 0, 7)
    assert len(reads.found) == 2


def test_each_frame_is_a_chunk_for_dask(path: Path) -> None:
    write(path, {f: {"smoke": scalar()} for f in range(3)})
    data = opened(path, chunks={})
    assert data.smoke.chunks == ((1, 1, 1), (4,), (3,))
    assert np.array_equal(data.smoke.mean("frame"), opened(path).smoke.mean("frame"))


def test_variables_can_be_dropped(path: Path) -> None:
    write(path, {0: {"smoke": scalar(), "velocity": flow()}})
    assert set(opened(path, drop_variables="smoke").data_vars) == {"velocity_x", "velocity_y"}
    dropped = opened(path, drop_variables=["velocity_x", "nothing"])
    assert set(dropped.data_vars) == {"smoke", "velocity_y"}


def test_only_scene_files_are_guessed(path: Path, tmp_path: Path) -> None:
    from h5scene.interop.xarray_backend import SceneBackend

    write(path, {0: {"smoke": scalar()}})
    with h5py.File(tmp_path / "foreign.h5", "w") as h5:
        h5["data"] = 1
    (tmp_path / "text.h5").write_text("no HDF5", encoding="utf-8")
    guesses = SceneBackend().guess_can_open
    assert guesses(path)
    assert guesses(str(path))
    others = [tmp_path / "foreign.h5", tmp_path / "text.h5", tmp_path / "none.h5", tmp_path, b"x"]
    assert not any(map(guesses, others))


def test_dataset_pickles_as_names(path: Path) -> None:
    write(path, {f: {"smoke": scalar(64, 64)} for f in range(2)})
    data = opened(path)
    data.smoke[0].load()
    text = pickle.dumps(opened(path))
    assert len(text) < 64 * 64 * 4
    assert b"h5py" not in text
    copy = pickle.loads(text)
    assert copy.identical(data)
    data.close()
    assert opened(path).identical(data)  # reading opens it again


def test_dataset_of_a_file_that_was_replaced_says_so(path: Path) -> None:
    write(path, {0: {"smoke": scalar()}})
    data = opened(path)
    write(path, {0: {"smoke": scalar(8, 8)}})
    with pytest.raises(InvalidInputError, match="open the file again"):
        data.smoke.load()


_WRITER = """
import sys
import numpy as np
from h5scene import SceneFile
path = sys.argv[1]
with SceneFile(path) as file:
    record = file.read_frame("sim_000000", "smoke", 0)
    for frame in range(1, 10_000):
        file.write_frame(frame, {"sim_000000": {"smoke": record}})
        print(frame, flush=True)
"""


def test_others_write_meanwhile(path: Path) -> None:
    record = scalar(64, 64)
    write(path, {0: {"smoke": record}})
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        for _ in range(5):
            frame = int(writer.stdout.readline())
            data = opened(path)
            assert data.sizes["frame"] > frame
            assert np.array_equal(data.smoke.isel(frame=slice(-3, None))[0], record.values)
            assert (data.smoke == record.values).all()
    finally:
        writer.kill()
        writer.communicate()


@pytest.fixture(scope="module")
def client() -> Any:
    """A dask cluster of two processes."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.filterwarnings("default")  # of dask's own threads and sockets
def test_processes_of_a_cluster_read(path: Path, client: Any) -> None:
    records = {f: scalar(16, 16) for f in range(12)}
    write(path, {frame: {"smoke": record} for frame, record in records.items()})
    data = opened(path, chunks={})
    assert len(client.scheduler_info()["workers"]) == 2
    whole = np.stack([record.values for record in records.values()])
    assert np.array_equal(data.smoke.compute(), whole)
    assert np.array_equal(data.smoke.max(("x", "y")).compute(), whole.max((1, 2)))


def test_boundary_that_differs_stands_beside_the_frames(path: Path) -> None:
    write(path, {0: {"smoke": scalar()}, 1: {"smoke": centered(values(4, 3), bounds=BOX)}})
    assert "smoke_description" not in opened(path).coords
    write(path, {2: {"smoke": centered(values(4, 3), bounds=BOX, boundary=PERIODIC)}})
    data = opened(path)
    described = [json.loads(text) for text in data.smoke_description.values]
    kinds = [json.loads(attrs["boundary"])["type"] for attrs in described]
    assert kinds == ["constant", "constant", "periodic"]
    assert data.x.values.tolist() == [0.25, 0.75, 1.25, 1.75]  # the bounds are the same


def test_bounds_that_move_leave_no_coordinate(path: Path) -> None:
    moved = Bounds(vector([1.0, -1.0], "xy"), vector([3.0, 1.0], "xy"))
    fields = {0: scalar(), 1: centered(values(4, 3), bounds=moved)}
    write(path, {frame: {"smoke": record} for frame, record in fields.items()})
    data = opened(path)
    assert "x" not in data.coords
    described = [json.loads(text) for text in data.smoke_description.values]
    assert [attrs["lower"] for attrs in described] == ["[0.0, -1.0]", "[1.0, -1.0]"]


def test_fields_that_are_no_grids(path: Path) -> None:
    from phi.field import PointCloud
    from phiml.math import channel, instance, sparse_tensor, tensor
    from phiml.math import spatial as phi_spatial

    from h5scene import Scene

    points = tensor(values(5, 2), instance("points"), channel(vector="x,y"))
    scene = Scene.create(path, copy_calling_script=False)
    matrix = sparse_tensor(
        tensor([[0, 1], [1, 2]], instance("entries"), channel(vector="x,y")),
        tensor([1.0, 2.0], instance("entries")),
        phi_spatial(x=3, y=4),
    )
    for frame in range(2):
        weights = tensor(values(5), instance("points"))
        scene.write(cloud=PointCloud(points, weights), matrix=matrix, frame=frame)
    data = opened(path)
    assert data.cloud.dims == ("frame", "points")
    assert np.array_equal(data.cloud[1], weights.numpy("points"))
    assert "matrix" not in data.variables  # its numbers are not an array along its dims
