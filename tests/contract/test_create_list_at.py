"""Making, listing and finding scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phiml.math import batch, instance, spatial, wrap

from tests.contract.implementations import Implementation

# --- create ---------------------------------------------------------------------------------------


def test_create_makes_one_scene_with_index_zero(implementation: Implementation) -> None:
    scene = implementation.create()
    assert scene.path == implementation.path("sim_000000")
    assert implementation.scene_names() == ["sim_000000"]
    assert isinstance(scene, implementation.Scene)
    assert not scene.is_batch
    assert scene.shape.rank == 0


def test_create_counts_up(implementation: Implementation) -> None:
    paths = [implementation.create().path for _ in range(3)]
    assert paths == [implementation.path(f"sim_00000{i}") for i in range(3)]


def test_create_leaves_gaps_and_goes_on_after_the_last(implementation: Implementation) -> None:
    scenes = [implementation.create() for _ in range(3)]
    scenes[1].remove()
    assert implementation.create().path == implementation.path("sim_000003")
    assert implementation.scene_names() == ["sim_000000", "sim_000002", "sim_000003"]


def test_create_uses_the_last_index_again_once_it_is_free(implementation: Implementation) -> None:
    implementation.create()
    implementation.create().remove()
    assert implementation.create().path == implementation.path("sim_000001")


def test_create_counts_each_name_by_itself(implementation: Implementation) -> None:
    implementation.create()
    implementation.create()
    assert implementation.create(name="plume").path == implementation.path("plume_000000")
    assert implementation.create(name="my run").path == implementation.path("my run_000000")
    assert implementation.create(name="plume").path == implementation.path("plume_000001")


def test_create_makes_the_missing_directories_above(
    implementation: Implementation, tmp_path: Path
) -> None:
    parent = str(tmp_path / "a" / "b" / "c")
    scene = implementation.create(parent=parent)
    assert scene.path == implementation.path("sim_000000", parent)
    assert [s.path for s in implementation.Scene.list(parent)] == [scene.path]


def test_create_keeps_a_relative_path_relative(
    implementation: Implementation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scene = implementation.create(parent="./data")
    assert scene.path == implementation.path("sim_000000", "./data")
    assert implementation.scene_names() == ["sim_000000"]


def test_create_expands_the_home_directory(
    implementation: Implementation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert implementation.create(parent="~/data").path == implementation.path("sim_000000")
    scene_class = implementation.Scene
    assert scene_class.at("~/data", 0).path == implementation.path("sim_000000")
    assert len(scene_class.list("~/data")) == 1
    path = implementation.path("sim_000000", "~/data")
    assert scene_class.at(path).path == implementation.path("sim_000000")


@pytest.mark.parametrize("form", [Path, "{}/".format], ids=["pathlib", "trailing-slash"])
def test_create_takes_other_spellings_of_the_parent(
    implementation: Implementation, form: Any
) -> None:
    assert implementation.create(parent=form(implementation.parent)).path == implementation.path(
        "sim_000000"
    )
    assert implementation.scene_names() == ["sim_000000"]


def test_create_makes_a_batch(implementation: Implementation) -> None:
    implementation.create()
    scenes = implementation.create(batch(batch=3))
    assert scenes.is_batch
    assert scenes.shape == batch(batch=3)
    assert list(scenes.paths) == [implementation.path(f"sim_00000{i}") for i in (1, 2, 3)]
    assert implementation.scene_names() == [f"sim_00000{i}" for i in range(4)]


def test_create_takes_dimensions_as_keywords(implementation: Implementation) -> None:
    scenes = implementation.create(batch(a=2), b=3)
    assert scenes.shape == batch(a=2, b=3)
    assert scenes.shape.volume == 6
    # The last dim runs fastest.
    assert scenes.a[1].b[0].path == implementation.path("sim_000003")


def test_create_keeps_labels(implementation: Implementation) -> None:
    scenes = implementation.create(batch(case="low,high"))
    assert scenes.case["high"].path == implementation.path("sim_000001")
    assert scenes.shape.get_labels("case") == ("low", "high")


@pytest.mark.parametrize("shape", [spatial(s=2), instance(i=2)], ids=["spatial", "instance"])
def test_create_takes_dims_of_any_type(implementation: Implementation, shape: Any) -> None:
    assert implementation.create(shape).shape == shape


def test_create_of_a_batch_of_one_is_a_batch(implementation: Implementation) -> None:
    scenes = implementation.create(batch=1)
    assert scenes.is_batch
    assert scenes.shape == batch(batch=1)
    assert scenes.batch[0].path == implementation.path("sim_000000")


# --- list -----------------------------------------------------------------------------------------


def test_list_of_what_does_not_exist_is_empty(implementation: Implementation) -> None:
    assert implementation.Scene.list(implementation.parent) == ()
    assert implementation.Scene.list(implementation.parent, dim=batch("s")) == ()
    assert implementation.Scene.list(implementation.parent, include_other=True) == ()
    assert not implementation.on_disk.exists()


def test_list_gives_single_scenes_in_order(implementation: Implementation) -> None:
    created = [implementation.create() for _ in range(11)]
    listed = implementation.Scene.list(implementation.parent)
    assert isinstance(listed, tuple)
    assert list(listed) == created
    assert [s.path for s in listed] == [implementation.path(f"sim_{i:06d}") for i in range(11)]


def test_list_selects_by_name(implementation: Implementation) -> None:
    implementation.create()
    plume = implementation.create(name="plume")
    assert implementation.Scene.list(implementation.parent, name="plume") == (plume,)
    assert implementation.Scene.list(implementation.parent, "plume") == (plume,)
    assert implementation.Scene.list(implementation.parent, name="nothing") == ()
    assert len(implementation.Scene.list(implementation.parent)) == 1


def test_list_includes_others_when_asked(implementation: Implementation) -> None:
    implementation.create(name="plume")
    implementation.create()
    listed = implementation.Scene.list(implementation.parent, include_other=True)
    assert {s.path for s in listed} == {
        implementation.path("plume_000000"),
        implementation.path("sim_000000"),
    }


def test_list_stacks_along_a_dim(implementation: Implementation) -> None:
    created = implementation.create(batch=3)
    listed = implementation.Scene.list(implementation.parent, dim=batch("run"))
    assert isinstance(listed, implementation.Scene)
    assert listed.shape == batch(run=3)
    assert list(listed.paths) == list(created.paths)


def test_list_of_one_scene_with_a_dim_is_a_batch(implementation: Implementation) -> None:
    implementation.create()
    assert implementation.Scene.list(implementation.parent, dim=batch("run")).shape == batch(run=1)


def test_listed_scenes_read_what_was_written(implementation: Implementation) -> None:
    implementation.create().put_property("a", 1)
    (listed,) = implementation.Scene.list(implementation.parent)
    assert listed.properties == {"a": 1}


# --- at -------------------------------------------------------------------------------------------


def test_at_finds_a_path(implementation: Implementation) -> None:
    scene = implementation.create()
    found = implementation.Scene.at(scene.path)
    assert found == scene
    assert found.path == scene.path


@pytest.mark.parametrize("number", [1, np.int64(1), wrap(1)], ids=["int", "numpy", "tensor"])
def test_at_finds_a_parent_and_an_id(implementation: Implementation, number: Any) -> None:
    implementation.create(batch=3)
    found = implementation.Scene.at(implementation.parent, number)
    assert found.path == implementation.path("sim_000001")
    assert not found.is_batch
    assert implementation.Scene.at(implementation.parent, id=number) == found


def test_at_counts_negative_ids_from_the_end(implementation: Implementation) -> None:
    implementation.create(batch=3)
    scene_class = implementation.Scene
    assert scene_class.at(implementation.parent, -1).path == implementation.path("sim_000002")
    assert scene_class.at(implementation.parent, -3).path == implementation.path("sim_000000")


@pytest.mark.parametrize("form", [tuple, list])
def test_at_stacks_several_paths_along_scenes(implementation: Implementation, form: Any) -> None:
    created = implementation.create(batch=3)
    found = implementation.Scene.at(form(list(created.paths)[::2]))
    assert found.shape == batch(scenes=2)
    assert found.scenes[1].path == implementation.path("sim_000002")


def test_at_takes_several_parents_and_an_id(implementation: Implementation, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    implementation.create(batch=2)
    implementation.create(batch(batch=2), parent=other)
    found = implementation.Scene.at((implementation.parent, other), 1)
    assert list(found.paths) == [
        implementation.path("sim_000001"),
        implementation.path("sim_000001", other),
    ]


def test_at_keeps_the_dims_of_a_tensor_of_paths(implementation: Implementation) -> None:
    created = implementation.create(a=2, b=2)
    found = implementation.Scene.at(created.paths)
    assert found == created
    assert found.shape == batch(a=2, b=2)


def test_at_keeps_the_dims_of_a_tensor_of_ids(implementation: Implementation) -> None:
    implementation.create(batch=4)
    found = implementation.Scene.at(implementation.parent, wrap([3, 0], batch("q")))
    assert found.shape == batch(q=2)
    assert list(found.paths) == [
        implementation.path("sim_000003"),
        implementation.path("sim_000000"),
    ]


def test_at_takes_a_two_dimensional_tensor_of_ids(implementation: Implementation) -> None:
    implementation.create(batch=4)
    found = implementation.Scene.at(implementation.parent, wrap([[0, 1], [2, 3]], batch("a,b")))
    assert found.shape == batch(a=2, b=2)
    assert found.a[1].b[0].path == implementation.path("sim_000002")


def test_at_returns_a_scene_as_it_is(implementation: Implementation) -> None:
    scene, scenes = implementation.create(), implementation.create(batch=2)
    assert implementation.Scene.at(scene) is scene
    assert implementation.Scene.at(scenes) is scenes


@pytest.mark.parametrize("exists", [True, False], ids=["parent", "no-parent"])
def test_at_of_a_missing_scene_is_an_os_error(implementation: Implementation, exists: bool) -> None:
    if exists:
        implementation.create()
    scene_class, parent = implementation.Scene, implementation.parent
    ids = wrap([0, 7], batch("q"))
    for missing in [(implementation.path("sim_000007"),), (parent, 7), (parent, ids)]:
        with pytest.raises(OSError, match="sim_000007" if exists else "sim_00000"):
            scene_class.at(*missing)
    assert implementation.on_disk.exists() == exists


def test_the_constructor_takes_a_path(implementation: Implementation) -> None:
    scene = implementation.create()
    scene.put_property("a", 1)
    assert implementation.Scene(scene.path) == scene
    assert implementation.Scene(scene.path).properties == {"a": 1}


def test_the_constructor_takes_a_tensor_of_paths(implementation: Implementation) -> None:
    scenes = implementation.create(batch=2)
    assert implementation.Scene(scenes.paths) == scenes
