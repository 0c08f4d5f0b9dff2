"""Paths and files that are not what they should be: the right error, and nothing lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from phiml.math import batch, wrap

from h5scene import Scene
from h5scene.errors import (
    FormatError,
    H5SceneError,
    InvalidInputError,
    InvalidNameError,
    NotASceneFileError,
    ReadOnlyError,
    SceneNotFoundError,
    UnsupportedVersionError,
)
from h5scene.store import close_all
from tests.contract.fields import constant, value_of
from tests.contract.implementations import H5Scene, file_contents, same_contents


def calls_on(parent: str) -> dict[str, Callable[[], Any]]:
    """Returns every way to begin using a scene file."""
    scene = f"{parent}/sim_000000"
    return {
        "create": lambda: Scene.create(parent, copy_calling_script=False),
        "list": lambda: Scene.list(parent),
        "at": lambda: Scene.at(parent, 0),
        "at-path": lambda: Scene.at(scene),
        "at-last": lambda: Scene.at(parent, -1),
        "mkdir": lambda: Scene(scene).mkdir(),
        "write": lambda: Scene(scene).write(f=constant(1)),
        "read": lambda: Scene(scene).read("f"),
        "properties": lambda: Scene(scene).properties,
        "remove": lambda: Scene(scene).remove(),
    }


CALLS = list(calls_on("x"))


# --- files of other kinds -------------------------------------------------------------------------


def text_file(path: Path) -> None:
    path.write_text("step loss\n0 1.5\n" * 100)


def short_file(path: Path) -> None:
    path.write_bytes(b"\x89HDF")


def npz_file(path: Path) -> None:
    np.savez(path.with_suffix(".npz"), a=1)
    path.with_suffix(".npz").rename(path)


def foreign_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["temperature"] = np.arange(10)
        file.create_group("sim_000000").attrs["kind"] = "scene"


FOREIGN_FILES = {
    "text": text_file,
    "short": short_file,
    "npz": npz_file,
    "foreign-hdf5": foreign_hdf5,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("make", FOREIGN_FILES.values(), ids=FOREIGN_FILES)
def test_files_of_another_kind_are_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None], call: str
) -> None:
    path = tmp_path / "data.h5"
    make(path)
    before = path.read_bytes()
    with pytest.raises(NotASceneFileError, match=r"data\.h5") as caught:
        calls_on(str(tmp_path / "data"))[call]()
    close_all()
    assert path.read_bytes() == before
    assert isinstance(caught.value, ValueError)
    assert caught.value.file is not None
    assert caught.value.file.endswith("data.h5")


@pytest.mark.parametrize("call", CALLS)
def test_a_file_that_was_cut_off_is_refused_and_left_alone(h5scene: H5Scene, call: str) -> None:
    """Such as an interrupted copy leaves."""
    h5scene.create().write(f=constant(1))
    close_all()
    path = h5scene.on_disk
    os.truncate(path, path.stat().st_size // 2)
    before = path.read_bytes()
    with pytest.raises(FormatError, match=r"data\.h5"):
        calls_on(h5scene.parent)[call]()
    close_all()
    assert path.read_bytes() == before


@pytest.mark.parametrize("call", CALLS)
def test_a_directory_in_place_of_the_file_is_refused(tmp_path: Path, call: str) -> None:
    (tmp_path / "data.h5").mkdir()
    (tmp_path / "data.h5" / "sim_000000").mkdir()
    with pytest.raises(NotASceneFileError, match=r"data\.h5 is (not a file|a directory)"):
        calls_on(str(tmp_path / "data"))[call]()
    assert [path.name for path in (tmp_path / "data.h5").iterdir()] == ["sim_000000"]


@pytest.mark.parametrize("call", CALLS)
def test_an_empty_file_is_no_scene_file(tmp_path: Path, call: str) -> None:
    """Such as a script leaves that was killed between `open` and the first write."""
    path = tmp_path / "data.h5"
    path.touch()
    with pytest.raises(NotASceneFileError, match=r"data\.h5"):
        calls_on(str(tmp_path / "data"))[call]()
    close_all()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("call", CALLS)
def test_a_file_of_a_newer_format_is_refused_and_left_alone(h5scene: H5Scene, call: str) -> None:
    scene = h5scene.create()
    scene.write(f=constant(1))
    close_all()
    with h5py.File(h5scene.on_disk, "r+") as file:
        file.attrs["h5scene_format"] = "2.0"
    before = h5scene.on_disk.read_bytes()
    with pytest.raises(UnsupportedVersionError, match=r"data\.h5.* 2\.0.*newer"):
        calls_on(h5scene.parent)[call]()
    close_all()
    assert h5scene.on_disk.read_bytes() == before


def test_a_file_of_a_newer_minor_version_is_used(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.write(f=constant(1))
    close_all()
    with h5py.File(h5scene.on_disk, "r+") as file:
        file.attrs["h5scene_format"] = "1.7"
        file["sim_000000"].create_group("_novelty")
        file["sim_000000/f"].attrs["novelty"] = 1
    again = Scene.at(h5scene.parent, 0)
    assert value_of(again.read("f")) == 1
    again.write(f=constant(2), frame=1)
    assert again.fieldnames == ("f",)
    contents = h5scene.contents()
    assert contents[""][0]["h5scene_format"] == "1.7"
    assert "sim_000000/_novelty" in contents


@pytest.mark.parametrize("version", ["", "one", 1, None], ids=repr)
def test_a_file_without_a_version_is_no_scene_file(h5scene: H5Scene, version: Any) -> None:
    h5scene.create()
    close_all()
    with h5py.File(h5scene.on_disk, "r+") as file:
        del file.attrs["h5scene_format"]
        if version is not None:
            file.attrs["h5scene_format"] = version
    with pytest.raises(FormatError, match=r"data\.h5"):
        Scene.list(h5scene.parent)


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for call in ("create", "mkdir"):
        with pytest.raises(H5SceneError, match="file"):
            calls_on(str(tmp_path / "file" / "data"))[call]()
    assert (tmp_path / "file").read_text() == "text"


def test_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "data.h5").symlink_to(tmp_path / "missing.h5")
    assert Scene.list(str(tmp_path / "data")) == ()
    with pytest.raises(SceneNotFoundError, match="sim_000000"):
        Scene.at(str(tmp_path / "data"), 0)


def test_a_link_to_a_scene_file(h5scene: H5Scene, tmp_path: Path) -> None:
    """Both names are one file, also while both are in use."""
    scene = h5scene.create()
    (tmp_path / "link.h5").symlink_to(h5scene.on_disk)
    other = Scene.at(str(tmp_path / "link"), 0)
    scene.write(f=constant(1))
    other.write(g=constant(2))
    assert scene.fieldnames == other.fieldnames == ("f", "g")
    assert scene != other
    assert (tmp_path / "link.h5").is_symlink()


# --- paths that name nothing ----------------------------------------------------------------------


@pytest.mark.parametrize("parent", ["", ".", "..", "/", "./", "some/dir/.."])
def test_a_parent_must_name_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (lambda: Scene.create(parent), lambda: Scene.list(parent)):
        with pytest.raises(InvalidInputError, match=r"scene file"):
            call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", "sim_000000", "/sim_000000", "data.h5", "x/data.h5"])
def test_a_path_must_name_a_scene_in_a_file(path: str) -> None:
    with pytest.raises(InvalidInputError, match=r"scene"):
        Scene.at(path)
    with pytest.raises(InvalidInputError, match=r"scene"):
        Scene(path)


@pytest.mark.parametrize("path", [None, 5, 1.5, b"data", {"a": 1}], ids=repr)
def test_a_path_must_be_a_path(path: Any) -> None:
    for call in (
        lambda: Scene.create(path),
        lambda: Scene.list(path),
        lambda: Scene.at(path),
        lambda: Scene.at(path, 0),
    ):
        with pytest.raises(InvalidInputError, match="path"):
            call()


@pytest.mark.parametrize("number", ["0", 1.5, "last"], ids=repr)
def test_an_id_must_be_a_whole_number(h5scene: H5Scene, number: Any) -> None:
    h5scene.create()
    with pytest.raises(InvalidInputError, match=f"whole number.*{number}"):
        Scene.at(h5scene.parent, number)


@pytest.mark.parametrize("name", ["", " ", "_sim", "a/b", "a\\b", ".", "..", "a\nb", "x" * 2000])
def test_names_that_scenes_cannot_have(h5scene: H5Scene, name: str) -> None:
    with pytest.raises(InvalidNameError, match="scene name"):
        h5scene.create(name=name)
    assert not h5scene.on_disk.exists() or h5scene.scene_names() == []
    scene = h5scene.create()
    before = h5scene.contents()
    with pytest.raises(InvalidNameError, match="scene name"):
        scene.rename(name)
    assert same_contents(before, h5scene.contents())


@pytest.mark.parametrize(
    "options", [{"durability": "maybe"}, {"compression": "zip"}, {"compression": 9}], ids=str
)
def test_unknown_options(h5scene: H5Scene, options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(InvalidInputError, match=rf"{name} must be .*{value}"):
        h5scene.create(**options)
    assert not h5scene.on_disk.exists()


@pytest.mark.parametrize("name", [None, 5, 1.5, b"f"], ids=repr)
def test_a_field_name_must_be_a_string(h5scene: H5Scene, name: Any) -> None:
    scene = h5scene.create()
    scene.write(f=constant(1))
    for call in (
        lambda: scene.write({name: constant(1)}),
        lambda: scene.write_field(constant(1), name, 0),
        lambda: scene.read(name),
        lambda: scene.read("f", name),
        lambda: scene.read_field(name, 0),
    ):
        with pytest.raises(InvalidNameError, match="string"):
            call()


@pytest.mark.parametrize("data", [5, [constant], "f", [1]], ids=["int", "functions", "str", "ints"])
def test_what_is_written_must_be_a_mapping(h5scene: H5Scene, data: Any) -> None:
    scene = h5scene.create()
    scene.put_properties(a=1)
    for call in (
        lambda: scene.write(data),
        lambda: scene.put_properties(data),
        lambda: setattr(scene, "properties", data),
    ):
        with pytest.raises(InvalidInputError):
            call()
    assert scene.properties == {"a": 1}
    assert scene.fieldnames == ()


def test_properties_cannot_be_nothing(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.put_properties(a=1)
    with pytest.raises(InvalidInputError):
        scene.properties = None
    assert scene.properties == {"a": 1}


def test_a_stack_needs_scenes(h5scene: H5Scene) -> None:
    with pytest.raises(InvalidInputError, match="scene"):
        h5scene.Scene.stack()


# --- scenes that are not there --------------------------------------------------------------------


def test_every_call_on_a_missing_scene_says_so(h5scene: H5Scene) -> None:
    h5scene.create()
    scene = h5scene.Scene(h5scene.path("sim_000007"))
    before = h5scene.contents()
    calls: list[Callable[[], Any]] = [
        lambda: scene.write(f=constant(1)),
        lambda: scene.write_field(constant(1), "f", 0),
        lambda: scene.read("f"),
        lambda: scene.read_field("f", 0),
        lambda: scene.fieldnames,
        lambda: scene.frames,
        lambda: scene.complete_frames,
        lambda: scene.properties,
        lambda: setattr(scene, "properties", {}),
        lambda: scene.put_property("a", 1),
        lambda: scene.put_properties(a=1),
        lambda: scene.remove_property("a"),
        scene.exist_properties,
        scene.exists_config,
        scene.copy_calling_script,
        lambda: scene.copy_src(__file__),
        lambda: scene.copy_src_text("a", "b"),
        lambda: scene.rename("best"),
        lambda: scene.put_time(0, 0.0),
        lambda: scene.times,
        lambda: scene.log_scalars(0, loss=1.0),
        lambda: scene.curves,
    ]
    for call in calls:
        with pytest.raises(
            SceneNotFoundError, match=r"'sim_000007' in .*data\.h5; it has 'sim_000000'"
        ):
            call()
    assert same_contents(before, h5scene.contents())


def test_a_file_that_was_deleted(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.write(f=constant(1))
    h5scene.on_disk.unlink()
    close_all()
    with pytest.raises(FileNotFoundError, match=r"data\.h5"):
        scene.read("f")
    with pytest.raises(FileNotFoundError, match=r"data\.h5"):
        scene.write(f=constant(1))
    assert not h5scene.on_disk.exists()
    scene.remove()


def test_one_missing_scene_of_a_batch(h5scene: H5Scene) -> None:
    scenes = h5scene.create(b=3)
    scenes.b[1].remove()
    before = h5scene.contents()
    calls: list[Callable[[], Any]] = [
        lambda: scenes.write(f=constant(1)),
        lambda: scenes.put_properties(a=1),
        lambda: scenes.put_time(0, 1.0),
        lambda: scenes.log_scalars(0, loss=1.0),
        lambda: scenes.write_file("a", b""),
        lambda: h5scene.Scene.at(scenes.paths),
        lambda: h5scene.Scene.at(h5scene.parent, wrap([0, 1, 2], batch("b"))),
    ]
    for call in calls:
        with pytest.raises(SceneNotFoundError, match=r"'sim_000001'.*'sim_000000', 'sim_000002'"):
            call()
    assert same_contents(before, h5scene.contents())


# --- files and directories that cannot be written -------------------------------------------------


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of an ordinary user, whom the test then is: root may write everything."""
    directory = Path(tempfile.mkdtemp(prefix="h5scene-test-"))
    ordinary_user = 65534
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.chown(directory, ordinary_user, ordinary_user)
            os.seteuid(ordinary_user)
        yield directory
    finally:
        if is_root:
            os.seteuid(0)
        close_all()
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o700)
        shutil.rmtree(directory)


@contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    """Gives a path other permissions, for a while."""
    before = path.stat().st_mode
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


def new_scene(directory: Path) -> Any:
    """Returns a scene with a field and a property."""
    scene = Scene.create(str(directory / "data"), copy_calling_script=False)
    scene.write(f=constant(1))
    scene.put_properties(a=1)
    return scene


def changes(scene: Any) -> dict[str, Callable[[], Any]]:
    """Returns calls that change a scene or its file."""
    parent = scene.path.rpartition("/")[0]
    return {
        "write": lambda: scene.write(f=constant(2), g=constant(2)),
        "put_properties": lambda: scene.put_properties(a=2),
        "setting-an-item": lambda: scene.properties.__setitem__("a", 2),
        "setting-properties": lambda: setattr(scene, "properties", {}),
        "put_time": lambda: scene.put_time(0, 1.0),
        "log_scalars": lambda: scene.log_scalars(0, loss=1.0),
        "write_file": lambda: scene.write_file("a", b""),
        "remove": scene.remove,
        "rename": lambda: scene.rename("best"),
        "create": lambda: Scene.create(parent, copy_calling_script=False),
    }


@pytest.mark.parametrize("reopened", [False, True], ids=["open", "reopened"])
@pytest.mark.parametrize(
    "name", ["write", "put_properties", "setting-an-item", "remove", "rename", "create"]
)
def test_a_read_only_file_is_read_and_not_changed(
    unprivileged: Path, name: str, reopened: bool
) -> None:
    scene = new_scene(unprivileged)
    path = unprivileged / "data.h5"
    close_all()
    before = file_contents(path)
    with mode(path, 0o444):
        if reopened:
            scene = Scene.at(scene.path)
        assert value_of(scene.read("f")) == 1
        with pytest.raises(ReadOnlyError, match=r"data\.h5") as caught:
            changes(scene)[name]()
        assert isinstance(caught.value, PermissionError)
        assert value_of(scene.read("f")) == 1
        assert scene.properties == {"a": 1}
    close_all()
    assert same_contents(before, file_contents(path))
    changes(scene)["write"]()  # and it works again when the permissions do
    assert value_of(scene.read("f")) == 2


def test_a_file_in_a_read_only_directory_can_be_read(unprivileged: Path) -> None:
    """As an archive on a shared disk is."""
    scene = new_scene(unprivileged)
    close_all()
    with mode(unprivileged / "data.h5", 0o444), mode(unprivileged, 0o555):
        again = Scene.at(scene.path)
        assert value_of(again.read("f")) == 1
        assert again.properties == {"a": 1}
        assert Scene.list(str(unprivileged / "data")) == (scene,)


@pytest.mark.parametrize("file_mode", [0o444, 0o644], ids=["read-only-file", "writable-file"])
def test_a_file_in_a_read_only_directory_cannot_be_written(
    unprivileged: Path, file_mode: int
) -> None:
    """Writing needs a lock file beside it."""
    scene = new_scene(unprivileged)
    close_all()
    before = file_contents(unprivileged / "data.h5")
    with mode(unprivileged / "data.h5", file_mode), mode(unprivileged, 0o555):
        with pytest.raises(ReadOnlyError, match=r"data\.h5"):
            scene.write(f=constant(2))
        assert value_of(scene.read("f")) == 1
    close_all()
    assert same_contents(before, file_contents(unprivileged / "data.h5"))


@pytest.mark.parametrize("call", ["create", "mkdir"])
def test_a_read_only_directory_gets_no_file(unprivileged: Path, call: str) -> None:
    with mode(unprivileged, 0o555):
        with pytest.raises(ReadOnlyError, match=r"data\.h5"):
            calls_on(str(unprivileged / "data"))[call]()
        assert list(unprivileged.iterdir()) == []
        with pytest.raises(ReadOnlyError, match="data"):
            calls_on(str(unprivileged / "new" / "data"))[call]()
        assert list(unprivileged.iterdir()) == []


def test_a_file_that_cannot_be_read(unprivileged: Path) -> None:
    scene = new_scene(unprivileged)
    close_all()
    with (
        mode(unprivileged / "data.h5", 0o000),
        pytest.raises(PermissionError, match=r"data\.h5") as caught,
    ):
        Scene.at(scene.path).read("f")
    assert isinstance(caught.value, H5SceneError)
