"""Where scene files and scenes stand, next to PhiFlow's directories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from h5scene.errors import InvalidInputError
from h5scene.paths import scene_directory, scene_file_path, split_scene_path


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("data", "data.h5"),
        ("./data", "./data.h5"),
        ("data/", "data.h5"),
        ("data//", "data.h5"),
        ("a/b", "a/b.h5"),
        ("../b", "../b.h5"),
        ("/a/b", "/a/b.h5"),
        ("data.h5", "data.h5"),
        ("data.hdf5", "data.hdf5"),
        ("data.hdf", "data.hdf"),
        ("data.he5", "data.he5"),
        ("data.H5", "data.H5.h5"),
        ("data.h5.bak", "data.h5.bak.h5"),
        ("data.txt", "data.txt.h5"),
        ("v1.2", "v1.2.h5"),
        (".hidden", ".hidden.h5"),
        (Path("a") / "b", "a/b.h5"),
    ],
)
def test_a_scene_file_has_a_suffix(given: Any, file: str) -> None:
    assert scene_file_path(given) == file


def test_a_path_that_names_a_file_stays(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    (tmp_path / "directory").mkdir()
    assert scene_file_path(tmp_path / "data") == str(tmp_path / "data")
    assert scene_file_path(tmp_path / "directory") == str(tmp_path / "directory.h5")


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert scene_file_path("~/runs") == "/home/somebody/runs.h5"
    assert split_scene_path("~/runs/sim_000000") == ("/home/somebody/runs.h5", "sim_000000")


@pytest.mark.parametrize("path", ["", ".", "./", "..", "../", "/", "a/..", "a/.", "//"])
def test_a_path_that_can_only_be_a_directory(path: str) -> None:
    with pytest.raises(InvalidInputError, match=r"names a directory; name a scene file"):
        scene_file_path(path)


@pytest.mark.parametrize("path", [None, 5, b"data", ["data"], 1.5])
@pytest.mark.parametrize("function", [scene_file_path, split_scene_path])
def test_a_path_is_a_string(function: Any, path: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"must be a string, not {type(path).__name__}"):
        function(path)


@pytest.mark.parametrize("path", ["a\0b", "a\0b.h5", "a\0b/sim_000000"])
@pytest.mark.parametrize("function", [scene_file_path, split_scene_path])
def test_a_path_holds_no_nul(function: Any, path: str) -> None:
    with pytest.raises(InvalidInputError, match="NUL"):
        function(path)


@pytest.mark.parametrize(
    ("given", "file", "scene"),
    [
        ("data/sim_000000", "data.h5", "sim_000000"),
        ("./data/sim_000000/", "./data.h5", "sim_000000"),
        ("data.h5/sim_000000", "data.h5", "sim_000000"),
        ("/a/b.hdf5/c", "/a/b.hdf5", "c"),
        ("data.h5/odd.h5", "data.h5", "odd.h5"),
        (Path("a/b/c"), "a/b.h5", "c"),
    ],
)
def test_a_path_of_a_scene_is_a_file_and_a_name(given: Any, file: str, scene: str) -> None:
    assert split_scene_path(given) == (file, scene)


@pytest.mark.parametrize("path", ["data.h5", "a/data.h5", "a/data.hdf5/"])
def test_a_path_of_a_file_names_no_scene(path: str) -> None:
    with pytest.raises(InvalidInputError, match=r"is a scene file; name a scene in it, such as"):
        split_scene_path(path)


@pytest.mark.parametrize("path", ["", "/", "sim_000000", "/sim_000000"])
def test_a_path_without_a_file_names_no_scene(path: str) -> None:
    with pytest.raises(InvalidInputError):
        split_scene_path(path)


@pytest.mark.parametrize("path", ["./sim_000000", "../sim_000000", "a/../sim_000000"])
def test_a_scene_directly_in_a_directory(path: str) -> None:
    with pytest.raises(InvalidInputError, match="names a directory"):
        split_scene_path(path)


def test_the_directory_that_phiflow_would_have(tmp_path: Path) -> None:
    (tmp_path / "data" / "sim_000000").mkdir(parents=True)
    (tmp_path / "data" / "sim_000001").write_bytes(b"")
    found = scene_directory(str(tmp_path / "data.h5"), "sim_000000")
    assert found == str(tmp_path / "data" / "sim_000000")
    assert scene_directory(str(tmp_path / "data.h5"), "sim_000001") is None
    assert scene_directory(str(tmp_path / "data.h5"), "sim_000002") is None
