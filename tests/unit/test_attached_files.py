"""Attached files: datasets of bytes in groups that stand for directories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene.errors import AlreadyExistsError, CorruptDataError
from h5scene.format.attached_files import (
    attached_files,
    check_attachable,
    find_file,
    read_bytes,
    write_bytes,
)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[h5py.Group]:
    """A group that stands for a scene, in a new HDF5 file."""
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        yield file.create_group("sim_000000")


def attach(scene: h5py.Group, *names: str, content: bytes = b"content") -> None:
    for name in names:
        check_attachable(scene, [name], "here")
        write_bytes(scene.require_group("_files"), name, content)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"text\n", bytes(range(256)) * 1000],
    ids=["empty", "NUL", "text", "all"],
)
def test_bytes_survive(scene: h5py.Group, content: bytes) -> None:
    write_bytes(scene, "file", content)
    assert scene["file"].dtype == np.uint8
    assert scene["file"].shape == (len(content),)
    assert scene["file"][()].tobytes() == content
    assert read_bytes(scene["file"]) == content
    assert isinstance(read_bytes(scene["file"]), bytes)


def test_a_file_replaces_the_one_of_its_name(scene: h5py.Group) -> None:
    attach(scene, "a", content=b"long content")
    attach(scene, "a", content=b"short")
    assert read_bytes(scene["_files/a"]) == b"short"


def test_files_are_listed_by_path(scene: h5py.Group) -> None:
    assert attached_files(scene) == ()
    attach(scene, "b", "src/plume.py", "a", "src/deep/er/x", "Größe 1", "src/a", ".hidden")
    scene["_files"].create_group(b"\xff\xfe")  # nothing that we would write
    expected = (".hidden", "Größe 1", "a", "b", "src/a", "src/deep/er/x", "src/plume.py")
    assert attached_files(scene) == expected
    assert isinstance(scene["_files/src/deep"], h5py.Group)


def test_a_directory_without_files_is_not_listed(scene: h5py.Group) -> None:
    scene.create_group("_files/empty/deep")
    assert attached_files(scene) == ()
    attach(scene, "empty")
    assert attached_files(scene) == ("empty",)


@pytest.mark.parametrize(
    ("stored", "new"),
    [
        (["src"], ["src/a"]),
        (["src"], ["src/a/b"]),
        (["src/a"], ["src"]),
        (["src/a/b"], ["src"]),
        ([], ["src", "src/a"]),
        ([], ["src/a/b", "src/a"]),
    ],
)
def test_a_path_is_no_file_and_directory(
    scene: h5py.Group, stored: list[str], new: list[str]
) -> None:
    attach(scene, *stored)
    with pytest.raises(AlreadyExistsError, match=r"to here: '.*' would be a file and a directory"):
        check_attachable(scene, new, "here")
    check_attachable(scene, ["sr", "src2/a", "srcs"], "here")


@pytest.mark.parametrize(
    "values",
    [np.zeros(3, np.int8), np.zeros((1, 3), np.uint8), np.uint8(5), np.zeros(3)],
    ids=["int8", "two axes", "no axis", "float64"],
)
def test_what_is_no_dataset_of_bytes(scene: h5py.Group, values: Any) -> None:
    scene["file"] = values
    with pytest.raises(CorruptDataError, match="/sim_000000/file is no dataset of bytes"):
        read_bytes(scene["file"])
    with pytest.raises(CorruptDataError, match="/sim_000000 is no dataset of bytes"):
        read_bytes(scene)
    with pytest.raises(CorruptDataError, match="None is no dataset of bytes"):
        read_bytes(None)


def test_one_file_is_found_without_a_look_at_the_others(
    scene: h5py.Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach(scene, "src/a", "src/b/c", "log")
    monkeypatch.setattr("h5scene.format.attached_files.walk", None)
    for path in ("src/a", "src/b/c", "log"):
        found = find_file(scene, path)
        assert found is not None
        assert found.name == f"/sim_000000/_files/{path}"
    for path in ("src", "src/b", "src/x", "log/a", "x/y/z"):
        assert find_file(scene, path) is None
