"""Geometries stand in a file once, whatever frames have them, and go with the last one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from phi.field import CenteredGrid, Field, PointCloud
from phi.geom import Point, Sphere
from phiml import math
from phiml.math import Tensor, batch, channel, instance, wrap

from h5scene import Scene, SceneFile
from h5scene import objects as object_records
from h5scene.errors import CorruptDataError, UnsupportedFieldError
from h5scene.format import objects as stored_objects
from tests.compare_objects import assert_same
from tests.geometries import flat_mesh, positions


def cloud(count: int = 5000, seed: int = 0, radius: Any = 0.1) -> Field:
    """Returns spheres with a value each."""
    return PointCloud(Sphere(positions(seed, count), radius=radius), numbers(count, seed))


def numbers(count: int, seed: int = 0) -> Tensor:
    """Returns a value for each point."""
    data = np.random.default_rng(seed).normal(size=count).astype(np.float32)
    return wrap(data, instance("points"))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene.create(tmp_path / "runs", copy_calling_script=False)


def addresses(scene: Scene, member: str = "geometry") -> dict[str, int]:
    """Returns where the geometry of each frame stands, by field and frame, as HDF5 says."""
    path, _, name = scene.path.rpartition("/")
    with h5py.File(path) as file:
        found = {}
        for field, frames in file[name].items():
            for frame, group in frames.items():
                if isinstance(group, h5py.Group) and member in group:
                    found[f"{field}/{frame}"] = h5py.h5o.get_info(group[member].id).addr
        return found


def link_count(scene: Scene, frame: str) -> int:
    """Returns how many frames have the geometry of this one."""
    path, _, name = scene.path.rpartition("/")
    with h5py.File(path) as file:
        return int(h5py.h5o.get_info(file[name][frame]["geometry"].id).rc)


class Counted:
    """Counts what is hashed and written while it is in force."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.hashed = self.written = 0
        digest, write = object_records.tensor_digest, stored_objects.write_object

        def counted_digest(tensor: Any) -> str:
            self.hashed += 1
            return digest(tensor)

        def counted_write(*args: Any, **kwargs: Any) -> None:
            self.written += 1
            write(*args, **kwargs)

        monkeypatch.setattr(object_records, "tensor_digest", counted_digest)
        monkeypatch.setattr(stored_objects, "write_object", counted_write)


def test_a_further_frame_neither_hashes_nor_stores_the_same_object(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = flat_mesh()
    counted = Counted(monkeypatch)
    scene.write(v=Field(mesh, wrap(0.0), 0))
    once = counted.hashed, counted.written
    assert min(once) > 0
    for frame in range(1, 5):
        scene.write(v=Field(mesh, wrap(float(frame)), 0), p=Field(mesh, wrap(1.0), 0), frame=frame)
    assert (counted.hashed, counted.written) == once
    assert len(set(addresses(scene).values())) == 1
    assert link_count(scene, "v/000000") == 9


def test_a_field_that_was_read_is_written_again_without_hashing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.write(v=cloud())
    field = scene.read("v")
    scene.write(v=field, frame=1)
    counted = Counted(monkeypatch)
    for frame in range(2, 5):
        scene.write(v=field, frame=frame)
    assert (counted.hashed, counted.written) == (0, 0)
    assert len(set(addresses(scene).values())) == 1


def test_an_equal_geometry_is_found_by_its_content(scene: Scene) -> None:
    for frame in range(3):
        scene.write(v=cloud(), frame=frame)
    scene.write(v=cloud(seed=1), frame=3)
    found = addresses(scene)
    assert len({found[f"v/{frame:06d}"] for frame in range(3)}) == 1
    assert found["v/000003"] != found["v/000000"]


@pytest.mark.parametrize("field", ["same", "other"])
@pytest.mark.parametrize("where", ["same", "other"])
def test_another_process_finds_it_too(scene: Scene, field: str, where: str) -> None:
    scene.write(v=cloud())
    path = scene.path.rpartition("/")[0]
    forget(path)
    target = scene if where == "same" else Scene.create(path, copy_calling_script=False)
    target.write({"v" if field == "same" else "w": cloud()}, frame=7)
    frame = "v/000007" if field == "same" else "w/000007"
    assert addresses(target)[frame] == addresses(scene)["v/000000"]


def forget(path: str) -> None:
    """Makes this process forget what it knows of a file."""
    with SceneFile(path) as file:
        store = file._opened()
        store.close_if_idle()
        store.cache.clear()


def test_one_of_many_moving_geometries_is_found_by_another_process(scene: Scene) -> None:
    for frame in range(4):
        scene.write(v=cloud(seed=frame), frame=frame)
    forget(scene.path.rpartition("/")[0])
    scene.write(v=cloud(seed=2), frame=9)
    found = addresses(scene)
    assert found["v/000009"] == found["v/000002"]
    assert len(set(found.values())) == 4


def test_a_moving_geometry_shares_what_does_not_move(scene: Scene) -> None:
    radius = wrap(np.linspace(0, 1, 5000, dtype=np.float32), instance("points"))
    for frame in range(3):
        scene.write(v=cloud(seed=frame, radius=radius), frame=frame)
    path, _, name = scene.path.rpartition("/")
    with h5py.File(path) as file:
        frames = [file[name]["v"][f"{frame:06d}"]["geometry"] for frame in range(3)]
        radii = {h5py.h5o.get_info(frame["radius"].id).addr for frame in frames}
        centers = {h5py.h5o.get_info(frame["center"].id).addr for frame in frames}
    assert len(radii) == 1
    assert len(centers) == 3
    for frame in range(3):
        assert_same(scene.read("v", frame=frame), cloud(seed=frame, radius=radius))


def test_a_hundred_frames_cost_their_geometry_once(scene: Scene) -> None:
    path = Path(scene.path).parent
    field = cloud(20_000)
    scene.write(v=field)
    first = path.stat().st_size
    for frame in range(1, 20):
        scene.write(v=field.with_values(wrap(float(frame))), frame=frame)
    assert path.stat().st_size - first < 20 * 2000


def test_removing_frames_does_not_orphan_what_others_have(scene: Scene) -> None:
    path, _, name = scene.path.rpartition("/")
    for frame in range(3):
        scene.write(v=cloud(), frame=frame)
    forget(path)
    with h5py.File(path, "r+") as file:
        del file[name]["v/000000"], file[name]["v/000002"]
    assert_same(scene.read("v", frame=1), cloud())
    assert link_count(scene, "v/000001") == 1
    scene.write(v=cloud(), frame=5)
    assert link_count(scene, "v/000001") == 2


def test_the_space_of_a_geometry_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "runs.h5"
    sizes = []
    for _ in range(4):
        scene = Scene.create(path, copy_calling_script=False, compression=None)
        scene.write(v=cloud(50_000))
        scene.remove()
        sizes.append(path.stat().st_size)
    assert sizes[-1] < sizes[0] + 10_000
    keep = Scene.create(path, copy_calling_script=False)
    keep.write(v=cloud(50_000))  # the hints in the file lead nowhere now
    assert_same(keep.read("v"), cloud(50_000))


def test_renaming_a_scene_keeps_its_geometries(scene: Scene) -> None:
    scene.write(v=cloud())
    renamed = scene.rename("other")
    renamed.write(v=cloud(), frame=1)
    assert_same(renamed.read("v", frame=0), cloud())
    other = Scene.create(scene.path.rpartition("/")[0], copy_calling_script=False)
    other.write(v=cloud())
    assert_same(other.read("v"), cloud())


def test_a_scene_made_again_under_its_name_gets_its_own_content(scene: Scene) -> None:
    radius = wrap(np.linspace(0, 1, 5000, dtype=np.float32), instance("points"))
    scene.write(v=cloud(radius=radius))
    scene.remove()
    scene.mkdir()
    other = wrap(np.linspace(1, 2, 5000, dtype=np.float32), instance("points"))
    scene.write(v=cloud(seed=1, radius=other))
    scene.write(v=cloud(seed=2, radius=radius), frame=1)
    assert_same(scene.read("v"), cloud(seed=1, radius=other))
    assert_same(scene.read("v", frame=1), cloud(seed=2, radius=radius))


def test_replacing_a_frame_keeps_its_geometry_or_drops_it(scene: Scene) -> None:
    scene.write(v=cloud())
    before = addresses(scene)["v/000000"]
    scene.write(v=cloud().with_values(wrap(2.0)))
    assert addresses(scene)["v/000000"] == before
    assert link_count(scene, "v/000000") == 1
    scene.write(v=cloud(seed=3))
    assert_same(scene.read("v"), cloud(seed=3))
    scene.write(v=CenteredGrid(1.0, 0, x=4, y=3))
    assert scene.read("v").is_grid
    scene.write(v=cloud(seed=3))
    assert_same(scene.read("v"), cloud(seed=3))
    path, _, name = scene.path.rpartition("/")
    with h5py.File(path) as file:
        assert list(file[name]["v"]) == ["000000"]


def test_a_call_that_is_refused_writes_nothing(scene: Scene) -> None:
    class Mine(Point):
        """A class of a user."""

    scene.write(v=cloud())
    content = Path(scene.path).parent.read_bytes()
    odd = Field(Mine(positions()), wrap(1.0), 0)
    with pytest.raises(UnsupportedFieldError, match="Mine"):
        scene.write(v=cloud(seed=1), odd=odd, frame=1)
    assert Path(scene.path).parent.read_bytes() == content


def test_an_aborted_transaction_leaves_no_trace(scene: Scene) -> None:
    def write_and_fail() -> None:
        with scene.transaction():
            scene.write(v=cloud())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    scene.write(w=cloud())
    assert_same(scene.read("w"), cloud())
    assert scene.fieldnames == ("w",)


def test_a_hash_that_lies_is_not_believed(scene: Scene) -> None:
    scene.write(v=cloud())
    path, _, name = scene.path.rpartition("/")
    forget(path)
    with h5py.File(path, "r+") as file:  # another program changes numbers, and leaves the hash
        file[name]["v/000000/geometry/center"][0] = 7
    scene.write(v=cloud(), frame=1)
    assert_same(scene.read("v", frame=1), cloud())
    assert addresses(scene)["v/000001"] != addresses(scene)["v/000000"]


def test_frames_of_one_geometry_are_read_as_one_object(scene: Scene) -> None:
    mesh = flat_mesh()
    for frame in range(2):
        scene.write(v=Field(mesh, wrap(float(frame)), 0), frame=frame)
    first, second = scene.read("v", frame=0), scene.read("v", frame=1)
    assert first.geometry is second.geometry


def test_a_batch_of_scenes_shares_what_does_not_differ(tmp_path: Path) -> None:
    scenes = Scene.create(tmp_path / "runs", batch(b=3), copy_calling_script=False)
    field = cloud().with_values(wrap([1.0, 2.0, 3.0], batch("b")) * numbers(5000))
    scenes.write(v=field)
    assert len({*(addresses(scenes.b[i])["v/000000"] for i in range(3))}) == 1
    assert_same(scenes.read("v").geometry, field.geometry)
    for i in range(3):
        assert_same(scenes.b[i].read("v").values, field.values.b[i])


def test_a_batch_of_scenes_with_geometries_of_their_own(tmp_path: Path) -> None:
    scenes = Scene.create(tmp_path / "runs", batch(b=3), copy_calling_script=False)
    field = PointCloud(Point(positions(3, 4, "x,y", batch(b=3))), wrap([1.0, 2, 3], batch("b")))
    scenes.write(v=field)
    read = scenes.read("v")
    assert_same(read.geometry, field.geometry)
    for i in range(3):
        assert_same(scenes.b[i].read("v").geometry, Point(field.geometry.center.b[i]))


def test_a_batch_of_scenes_with_different_numbers_of_points(tmp_path: Path) -> None:
    scenes = Scene.create(tmp_path / "runs", batch(b=3), copy_calling_script=False)
    clouds = [cloud(count, seed=count) for count in (2, 5, 3)]
    field = math.stack(clouds, batch("b"))
    scenes.write(v=field)
    for i, one in enumerate(clouds):
        found = scenes.b[i].read("v")
        assert_same(found.geometry.center, one.geometry.center)
        assert_same(found.values, one.values)
    together = scenes.read("v")
    assert_same(together.values, field.values)
    assert_same(together.geometry.center, field.geometry.center)


def test_structures_of_sparse_values_are_stored_once(scene: Scene) -> None:
    points = positions(0, 50)
    distances = math.norm(math.pairwise_distances(points, 1.5, format="coo"))
    for frame in range(3):
        scene.write(d=distances * float(frame), frame=frame)
    assert len(set(addresses(scene, "structure").values())) == 1
    assert_same(scene.read("d", frame=2), distances * 2.0)


def test_positions_and_values_in_three_lines_of_h5py(scene: Scene) -> None:
    field = cloud(7)
    scene.write(particles=field)
    path, _, name = scene.path.rpartition("/")
    with h5py.File(path) as file:
        frame = file[name]["particles/000000"]
        centers, values = frame["geometry/center"][...], frame["values"][...]
    assert np.array_equal(centers, field.geometry.center.numpy("points,vector"))
    assert np.array_equal(values, field.values.numpy("points"))


@pytest.mark.parametrize("loop", ["itself", "another"])
def test_a_group_in_itself_is_refused(scene: Scene, loop: str) -> None:
    scene.write(v=Field(flat_mesh(), wrap(1.0), 0))
    path, _, name = scene.path.rpartition("/")
    forget(path)
    with h5py.File(path, "r+") as file:
        geometry = file[name]["v/000000/geometry"]
        geometry["vertices/loop"] = geometry if loop == "itself" else geometry["vertices"]
    with pytest.raises(CorruptDataError, match="nested too deeply"):
        scene.read("v")


def test_a_frame_without_its_geometry_is_damaged(scene: Scene) -> None:
    scene.write(v=cloud())
    path, _, name = scene.path.rpartition("/")
    forget(path)
    with h5py.File(path, "r+") as file:
        del file[name]["v/000000/geometry"]
    with pytest.raises(CorruptDataError, match="no geometry"):
        scene.read("v")


def test_what_stands_in_a_geometry_beside_it_is_passed_over(scene: Scene) -> None:
    scene.write(v=cloud(4))
    path, _, name = scene.path.rpartition("/")
    forget(path)
    with h5py.File(path, "r+") as file:
        geometry = file[name]["v/000000/geometry"]
        geometry["notes"] = "of another program"
        geometry["soft"] = h5py.SoftLink("/nowhere")
        geometry.create_group("other")
        geometry.attrs["colour"] = 5
    assert_same(scene.read("v"), cloud(4))


def test_geometries_written_in_the_background(tmp_path: Path) -> None:
    array = np.zeros((100, 2), np.float32)
    with Scene.create(tmp_path / "runs", background=True, copy_calling_script=False) as scene:
        for frame in range(5):
            points = wrap(array, instance("points"), channel(vector="x,y"))
            scene.write(v=PointCloud(points, 1.0), frame=frame)
            array += 1
        scene.flush()
        for frame in range(5):
            center = scene.read("v", frame=frame).geometry.center
            assert (center == frame).all


def test_a_part_of_the_values_is_read(scene: Scene) -> None:
    field = cloud(100)
    scene.write(v=field)
    path, _, name = scene.path.rpartition("/")
    with SceneFile(path, "r") as file:
        part = file.read_values(name, "v", 0, {"points": slice(10, 20)})
    assert np.array_equal(part, field.values.numpy("points")[10:20])


def test_rounding_reaches_the_values_only(scene: Scene) -> None:
    field = cloud(100)
    scene.write(v=field, keep_digits=2)
    read = scene.read("v")
    assert_same(read.geometry, field.geometry)
    assert not np.array_equal(read.values.numpy("points"), field.values.numpy("points"))
    assert np.allclose(read.values.numpy("points"), field.values.numpy("points"), rtol=0.005)
