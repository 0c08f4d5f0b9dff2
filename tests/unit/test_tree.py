"""The groups of an open scene file, and what is remembered of them between calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene.errors import (
    FieldNotFoundError,
    FrameNotFoundError,
    InvalidNameError,
    NotASceneFileError,
    SceneNotFoundError,
    UnsupportedVersionError,
)
from h5scene.format.tree import SceneTree, initialise
from h5scene.record import FieldRecord
from tests.records import PERIODIC, centered


@pytest.fixture
def h5(tmp_path: Path) -> Iterator[h5py.File]:
    """A new scene file without scenes, made without the store."""
    with h5py.File(tmp_path / "plain.h5", "w", libver=("v108", "v110")) as file:
        initialise(file)
        yield file


@pytest.fixture
def tree(h5: h5py.File) -> SceneTree:
    """The same, as scenes; one is there and has a field."""
    tree = SceneTree(h5, {}, "runs.h5")
    tree.create_scene("s")
    write(tree, "s", "smoke", 0, centered(1.0))
    return tree


def write(tree: SceneTree, scene: str, name: str, frame: int, record: FieldRecord) -> None:
    tree.write_frame(tree.plan_frame(scene, name, frame, record), "fast")


def fresh(h5: h5py.File) -> SceneTree:
    """Returns the same file seen by somebody who remembers nothing."""
    return SceneTree(h5, {}, "runs.h5")


def test_a_new_file_has_a_version_and_no_scenes(h5: h5py.File) -> None:
    assert set(h5.attrs) == {"h5scene_format", "h5scene_creator"}
    assert fresh(h5).scene_names() == ()


@pytest.mark.parametrize(
    ("version", "error"),
    [
        (None, NotASceneFileError),
        ("0.1", NotASceneFileError),
        (5, NotASceneFileError),
        ("2.0", UnsupportedVersionError),
    ],
)
def test_a_file_of_another_format_is_refused(h5: h5py.File, version: Any, error: type) -> None:
    del h5.attrs["h5scene_format"]
    if version is not None:
        h5.attrs["h5scene_format"] = version
    with pytest.raises(error, match=r"^runs\.h5 "):
        fresh(h5)


def test_a_scene_and_its_field_are_marked(tree: SceneTree, h5: h5py.File) -> None:
    assert dict(h5["s"].attrs) == {"kind": b"scene", "encoding_version": b"1.0"}
    assert h5["s/smoke"].attrs["kind"] == b"field"
    assert h5["s/smoke"].attrs["encoding_version"] == b"1.0"


def test_a_second_frame_costs_a_dataset_and_its_checksum(tree: SceneTree, h5: h5py.File) -> None:
    write(tree, "s", "smoke", 1, centered(2.0))
    assert list(h5["s/smoke/000001"].attrs) == ["checksum"]
    write(fresh(h5), "s", "smoke", 2, centered(3.0))
    assert list(h5["s/smoke/000002"].attrs) == ["checksum"]


def test_a_frame_that_differs_is_described_on_its_own(tree: SceneTree, h5: h5py.File) -> None:
    write(tree, "s", "smoke", 1, centered(2.0, boundary=PERIODIC))
    assert "field_type" in h5["s/smoke/000001"].attrs
    assert tree.read_field("s", "smoke", 0) == centered(1.0)
    assert tree.read_field("s", "smoke", 1) == centered(2.0, boundary=PERIODIC)


def test_planning_changes_nothing(tree: SceneTree, h5: h5py.File) -> None:
    tree.plan_frame("s", "new", 0, centered())
    tree.plan_frame("s", "smoke", 1, centered(boundary=PERIODIC))
    assert list(h5["s"]) == ["smoke"]
    assert list(h5["s/smoke"]) == ["000000"]
    assert tree.fieldnames("s") == ("smoke",)


def test_what_is_remembered_follows_renaming_and_removing(tree: SceneTree, h5: h5py.File) -> None:
    tree.read_field("s", "smoke", 0)
    tree.move_scene("s", "t")
    assert not tree.has_scene("s")
    with pytest.raises(SceneNotFoundError):
        tree.plan_frame("s", "smoke", 0, centered())
    tree.create_scene("s")
    assert tree.fieldnames("s") == ()
    with pytest.raises(FieldNotFoundError):
        tree.read_field("s", "smoke", 0)
    write(tree, "s", "smo.ke", 0, centered(boundary=PERIODIC))
    assert tree.read_field("s", "smo.ke", 0) == centered(boundary=PERIODIC)
    tree.remove_scene("t")
    assert not tree.has_scene("t")
    assert tree.scene_names() == fresh(h5).scene_names() == ("s",)


def test_one_spelling_of_a_name_owns_its_place(tree: SceneTree, h5: h5py.File) -> None:
    write(tree, "s", "a b", 0, centered())
    assert h5["s/a-b"].attrs["name"] == b"a b"
    for seen in (tree, fresh(h5)):
        write(seen, "s", "a b", 1, centered())
        for other in ("a-b", "a  b", "a b!"):
            with pytest.raises(InvalidNameError, match="holds the field 'a b' already"):
                seen.plan_frame("s", other, 0, centered())
    with pytest.raises(InvalidNameError, match="holds the field 'smoke' already"):
        tree.plan_frame("s", "smoke!", 0, centered())


def test_a_name_of_fixed_length_is_a_name(tree: SceneTree, h5: h5py.File) -> None:
    write(tree, "s", "a b", 0, centered())
    h5["s/a-b"].attrs.create("name", np.bytes_(b"a b"))
    fresh(h5).plan_frame("s", "a b", 1, centered())


def test_missing_frames_are_told_apart(tree: SceneTree) -> None:
    with pytest.raises(FrameNotFoundError, match=r"no frame 1 of 'smoke' in runs\.h5/s; it has 0"):
        tree.read_field("s", "smoke", 1)
    for frame in range(1, 8):
        write(tree, "s", "smoke", frame, centered())
    with pytest.raises(FrameNotFoundError, match="it has 8 frames from 0 to 7"):
        tree.read_field("s", "smoke", 8)


def test_only_numbers_padded_to_six_digits_are_frames(tree: SceneTree, h5: h5py.File) -> None:
    for name in ("42", "0000042", "values", "1000000"):
        h5["s/smoke"][name] = np.float32(np.ones((4, 4)))
    assert tree.frames("s", "smoke") == (0, 1_000_000)


def test_groups_of_another_kind_are_not_listed(tree: SceneTree, h5: h5py.File) -> None:
    h5.create_group("x").attrs["kind"] = "field"
    h5["s"].create_group("x").attrs["kind"] = "scene"
    h5["s"].create_group("y").attrs["kind"] = ["field"]
    h5["s"].create_group("z").attrs["kind"] = 5
    h5["s"]["d"] = 1
    h5["s"]["d"].attrs["kind"] = "field"
    h5["s"]["soft"] = h5py.SoftLink("/nowhere")
    h5["s"]["external"] = h5py.ExternalLink("nowhere.h5", "/")
    for seen in (tree, fresh(h5)):
        assert seen.scene_names() == ("s",)
        assert seen.fieldnames("s") == ("smoke",)


def test_links_whose_names_are_no_text_are_passed_over(tree: SceneTree, h5: h5py.File) -> None:
    h5.create_group(b"\xff\xfe")
    h5["s"].create_group(b"\xff\xfe")
    h5["s/smoke"].create_group(b"\xff\xfe")
    for seen in (tree, fresh(h5)):
        assert seen.scene_names() == ("s",)
        assert seen.fieldnames("s") == ("smoke",)
        assert seen.frames("s", "smoke") == (0,)


def test_marks_of_fixed_length_are_marks(tree: SceneTree, h5: h5py.File) -> None:
    for group in (h5["s"], h5["s/smoke"]):
        for name in ("kind", "encoding_version"):
            group.attrs.create(name, np.bytes_(group.attrs[name]))
    seen = fresh(h5)
    assert seen.scene_names() == ("s",)
    assert seen.read_field("s", "smoke", 0) == centered(1.0)
