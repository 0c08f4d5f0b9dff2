"""Merging what scenes share, and what others have put into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from h5scene import Scene, SceneFile, compare, merge
from h5scene.format import layout
from h5scene.handling import scene_copies
from h5scene.store import close_all
from tests.merging import members, write
from tests.unit.test_hdf5_trees import foreign
from tests.unit.test_shared_objects import cloud

pytestmark = pytest.mark.usefixtures("in_tmp_path")


# --- what scenes share ----------------------------------------------------------------------------


def shared_files() -> None:
    """Writes two files of two scenes, all with one geometry in all of their frames."""
    points = cloud(20_000)
    for name in ("a", "b"):
        for i in range(2):
            scene = Scene(f"{name}.h5/{name}{i}")
            scene.mkdir()
            for frame in range(3):
                scene.write({"dust": points, "more": points}, frame=frame)
    close_all()


def geometries(path: str) -> dict[str, int]:
    """Returns where the geometry of each frame stands."""
    close_all()
    found = {}
    with h5py.File(path) as file:
        for scene in file:
            if scene == layout.OBJECTS_GROUP:
                continue
            for field in file[scene]:
                for frame in file[scene][field]:
                    member = file[scene][field][frame]["geometry"]
                    found[f"{scene}/{field}/{frame}"] = h5py.h5o.get_info(member.id).addr
    return found


@pytest.mark.parametrize("small", [False, True], ids=["at once", "in portions"])
def test_a_geometry_that_scenes_share_is_stored_once(
    small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:
        monkeypatch.setattr(scene_copies, "PORTION_OBJECTS", 3)
    shared_files()
    done = merge(["a.h5", "b.h5"], "all.h5", verify=True)
    assert done.problems == {}
    places = geometries("all.h5")
    assert len(places) == 24
    assert len(set(places.values())) == 1
    for path, scene in done.scenes:
        assert compare(f"{path}/{scene}", f"all.h5/{scene}") == ()
    # A writer finds it, too.
    Scene.at("all.h5/b1").write(dust=cloud(20_000), frame=7)
    assert len(set(geometries("all.h5").values())) == 1
    with SceneFile("all.h5") as file:
        file.remove_scenes(["a0", "a1", "b0"])
    assert Scene.at("all.h5/b1").read("dust", frame=7) is not None


def test_a_geometry_that_only_says_it_is_the_same_is_not_taken_for_it() -> None:
    shared_files()
    with h5py.File("b.h5", "r+") as file:
        file["b0/dust/000000/geometry/center"][0] = 12345.0
        del file["b0/dust/000000/geometry/center"].attrs["checksum"]
    merge(["a.h5", "b.h5"], "all.h5")
    places = geometries("all.h5")
    assert places["a0/dust/000000"] != places["b0/dust/000000"]
    with h5py.File("all.h5") as file:
        assert file["b0/more/000002/geometry/center"][0, 0] == 12345.0
        assert file["a0/more/000002/geometry/center"][0, 0] != 12345.0


# --- what others have put into scenes -------------------------------------------------------------


def with_foreign_things(path: str) -> None:
    """Puts one of everything that HDF5 has into a scene."""
    write(path)
    close_all()
    with h5py.File(path, "r+") as file, h5py.File("foreign.h5", "w") as other:
        foreign(other)
        other.copy("g", file["sim_000000"], name="theirs")


def test_what_is_not_ours_goes_with_the_scene() -> None:
    with_foreign_things("a.h5")
    done = merge("a.h5", "all.h5")
    assert done.problems == {}
    close_all()
    with h5py.File("a.h5") as old, h5py.File("all.h5") as new:
        theirs, copy = old["sim_000000/theirs"], new["sim_000000/theirs"]
        assert sorted(theirs) == sorted(copy)
        for name in theirs:
            link, other = theirs.get(name, getlink=True), copy.get(name, getlink=True)
            assert type(link) is type(other)
        assert copy["again"] == copy["numbers"]
        assert copy["texts"].asstr()[...].tolist() == ["a", "ö"]
        assert copy.attrs["text"] == "ü"


def reference(group: h5py.Group) -> None:
    group["pointer"] = np.array([group.ref], dtype=h5py.ref_dtype)


def reference_attribute(group: h5py.Group) -> None:
    group["smoke/000000"].attrs["pointer"] = group.ref


def virtual(group: h5py.Group) -> None:
    shown = h5py.VirtualLayout(shape=(4, 4), dtype="f4")
    shown[:] = h5py.VirtualSource(".", "/sim_000000/smoke/000000", shape=(4, 4))
    group.create_virtual_dataset("view", shown)


def external(group: h5py.Group) -> None:
    Path("raw.bin").write_bytes(bytes(32))
    group.create_dataset("raw", (8,), "f4", external=[("raw.bin", 0, 32)])


def in_itself(group: h5py.Group) -> None:
    group["inner/loop"] = group


def deep(group: h5py.Group) -> None:
    group.create_group("/".join("d" * 80))


@pytest.mark.parametrize(
    "spoil", [reference, reference_attribute, virtual, external, in_itself, deep]
)
def test_what_would_mean_something_else_in_another_file_is_named(
    spoil: Callable[[h5py.Group], None],
) -> None:
    write("a.h5", "sim_000000", "sim_000001")
    close_all()
    with h5py.File("a.h5", "r+") as file:
        spoil(file["sim_000000"])
    done = merge("a.h5", "all.h5", move=True)
    assert list(done.problems) == ["a.h5/sim_000000"]
    assert list(done.scenes.values()) == ["sim_000001"]
    assert members("all.h5") == ["sim_000001"]
    assert Path("a.h5").exists()
