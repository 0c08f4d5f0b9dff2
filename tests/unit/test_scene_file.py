"""SceneFile: one file of scenes as records. Also every error that it documents."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import SceneFile
from h5scene.errors import (
    AlreadyExistsError,
    CorruptDataError,
    FieldNotFoundError,
    FormatError,
    FrameNotFoundError,
    H5SceneError,
    InvalidInputError,
    InvalidNameError,
    NotASceneFileError,
    NotFoundError,
    ReadOnlyError,
    SceneNotFoundError,
    UnsupportedFieldError,
    UnsupportedVersionError,
)
from h5scene.store import close_all
from tests.crash.children import in_child
from tests.records import PERIODIC, centered, content, tensor, vector

S0, S1 = "sim_000000", "sim_000001"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.h5"


@pytest.fixture
def file(path: Path) -> Iterator[SceneFile]:
    """A scene file with two scenes: one holds something of everything, one is empty."""
    with SceneFile(path) as file:
        file.create_scenes("sim", 2)
        file.write_frame(0, {S0: {"smoke": centered(1.0), "fluid.velocity": centered(2.0)}})
        file.write_frame(42, {S0: {"smoke": centered(3.0)}})
        file.put_properties({S0: {"dt": 0.5, "kind": "in the dataset"}})
        file.put_times(0, {S0: 0.25})
        file.log_scalars(1, {S0: {"loss": [0.5], "u": [1.0, 2.0]}})
        file.write_files({S0: {"src/plume.py": b"print()", "log": b""}})
        yield file


def change(path: Path, function: Callable[[h5py.File], Any]) -> None:
    """Changes a scene file as another program would, with plain h5py."""
    close_all()
    with h5py.File(path, "r+") as h5:
        function(h5)


# --- creating and opening -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"count": -1}, {"first": -5}, {"first": "x"}, {"step": 0}, {"step": -1}]
)
def test_numbers_of_new_scenes_are_checked(tmp_path: Path, options: Any) -> None:
    with SceneFile(tmp_path / "runs.h5") as file:
        with pytest.raises(InvalidInputError, match=next(iter(options))):
            file.create_scenes("sim", **options)
        assert file.scenes == ()
        assert file.create_scenes("sim", 2, first=3, step=4) == ("sim_000003", "sim_000007")
        assert file.create_scenes("sim", first=3, step=4) == ("sim_000011",)


def test_a_new_file_says_what_it_is(path: Path) -> None:
    with SceneFile(path) as file:
        assert file.scenes == ()
    with h5py.File(path) as h5:
        assert h5.attrs["h5scene_format"] == "1.0"
        assert h5.attrs["h5scene_creator"].startswith("h5scene ")
        assert list(h5) == []
        assert h5.userblock_size == 2048
    assert path.read_bytes()[2048:2057] == b"\x89HDF\r\n\x1a\n\x02"  # superblock version 2


def test_a_suffix_is_added_and_directories_are_made(tmp_path: Path) -> None:
    with SceneFile(tmp_path / "a" / "b" / "runs") as file:
        assert file.path == str(tmp_path / "a" / "b" / "runs.h5")
    assert (tmp_path / "a" / "b" / "runs.h5").is_file()
    with SceneFile(tmp_path / "runs.hdf5") as file:
        assert file.path == str(tmp_path / "runs.hdf5")


def test_mode_a_keeps_what_is_there(file: SceneFile, path: Path) -> None:
    file.close()
    before = path.read_bytes()
    with SceneFile(path, "a") as again:
        assert again.scenes == (S0, S1)
        assert again.mode == "a"
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_file_that_must_exist_is_not_created(path: Path, mode: Any) -> None:
    with pytest.raises(NotFoundError, match=r"runs\.h5") as caught:
        SceneFile(path, mode)
    assert caught.value.file == str(path)
    assert list(path.parent.iterdir()) == []


def test_mode_x_creates_or_fails(path: Path) -> None:
    SceneFile(path, "x").close()
    before = path.read_bytes()
    with pytest.raises(AlreadyExistsError, match=r"runs\.h5 exists already") as caught:
        SceneFile(path, "x")
    assert caught.value.file == str(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "w"}, "mode must be one of 'r', 'r\\+', 'a', 'x', not 'w'"),
        ({"mode": None}, "mode must be one of"),
        ({"durability": "never"}, "durability must be one of 'process', 'power', not 'never'"),
        ({"compression": "gzip"}, "compression must be one of 'fast', 'small', None, not 'gzip'"),
        ({"compression": 1}, "compression must be one of"),
    ],
)
def test_no_such_option(path: Path, options: Any, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        SceneFile(path, **options)
    assert not path.exists()


@pytest.mark.parametrize("given", ["", ".", "..", "/", "a/.", None, 5, b"runs.h5", "a\0b.h5"])
def test_no_path_of_a_file(given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError):
        SceneFile(given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "options", [{"durability": "power"}, {"compression": None}, {"compression": "small"}]
)
def test_options_do_not_change_what_is_read(path: Path, options: Any) -> None:
    record = centered(np.random.default_rng(0).normal(size=(64, 64)))
    with SceneFile(path, **options) as file:
        file.create_scene("s")
        file.write_frame(0, {"s": {"f": record}})
        assert file.read_frame("s", "f", 0) == record
    with h5py.File(path) as h5:
        expected = None if options.get("compression", "") is None else "gzip"
        assert h5["s/f/000000"].compression == expected


def test_repr_names_the_file(file: SceneFile, path: Path) -> None:
    assert repr(file) == f"SceneFile({str(path)!r}, mode='a')"


# --- files that are none of ours ------------------------------------------------------------------


def foreign_hdf5(path: Path, **options: Any) -> None:
    with h5py.File(path, "w", **options) as h5:
        h5["data"] = np.arange(5)
        h5.create_group(S0).attrs["kind"] = "scene"


def other_version(version: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        SceneFile(path).close()
        change(path, lambda h5: h5.attrs.__setitem__("h5scene_format", version))

    return make


FOREIGN: dict[str, tuple[Callable[[Path], Any], type[H5SceneError], str]] = {
    "directory": (
        lambda path: path.mkdir(),
        NotASceneFileError,
        "not an? (HDF5|scene) file|no scene file",
    ),
    "text": (
        lambda path: path.write_text("hello\n" * 999),
        NotASceneFileError,
        "not an? (HDF5|scene) file|no scene file",
    ),
    "empty": (
        lambda path: path.write_bytes(b""),
        NotASceneFileError,
        "not an? (HDF5|scene) file|no scene file",
    ),
    "zeros": (
        lambda path: path.write_bytes(bytes(10_000)),
        NotASceneFileError,
        "not an? (HDF5|scene) file|no scene file",
    ),
    "HDF5": (foreign_hdf5, NotASceneFileError, "no attribute 'h5scene_format'"),
    "HDF5, newest": (
        lambda path: foreign_hdf5(path, libver="latest"),
        NotASceneFileError,
        "no attribute 'h5scene_format'",
    ),
    "HDF5, user block": (
        lambda path: foreign_hdf5(path, userblock_size=2048),
        NotASceneFileError,
        "no attribute 'h5scene_format'",
    ),
    "format 2.0": (other_version("2.0"), UnsupportedVersionError, "format version 2.0.*up to 1.0"),
    "format 10.3": (other_version("10.3"), UnsupportedVersionError, "format version 10.3"),
    "format 0.9": (
        other_version("0.9"),
        NotASceneFileError,
        "not an? (HDF5|scene) file|no scene file",
    ),
    "format 1": (other_version(1), NotASceneFileError, "not an? (HDF5|scene) file|no scene file"),
    "format x": (other_version("x"), NotASceneFileError, "not an? (HDF5|scene) file|no scene file"),
    "format texts": (
        other_version(["1.0", "1.0"]),
        NotASceneFileError,
        "not an? (HDF5|scene) file|no scene file",
    ),
}


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_none_of_ours(path: Path, kind: str, mode: Any) -> None:
    make, error, says = FOREIGN[kind]
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(error, match=says) as caught:
        SceneFile(path, mode)
    assert caught.value.file == str(path)
    assert str(path) in str(caught.value)
    assert list(path.parent.iterdir()) == [path]
    assert path.is_dir() if before is None else path.read_bytes() == before


@pytest.mark.parametrize("kind", FOREIGN)
def test_mode_x_does_not_replace_a_file_that_is_none_of_ours(path: Path, kind: str) -> None:
    FOREIGN[kind][0](path)
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises((AlreadyExistsError, NotASceneFileError)):
        SceneFile(path, "x")
    assert path.is_dir() if before is None else path.read_bytes() == before


@pytest.mark.parametrize("version", ["1.0", "1.7", "1.10", np.bytes_(b"1.7")])
def test_a_minor_version_is_accepted(path: Path, version: Any) -> None:
    other_version(version)(path)
    with SceneFile(path) as file:
        file.create_scene("s")
        assert file.scenes == ("s",)


def test_a_file_where_a_directory_is_needed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(NotASceneFileError, match="is no directory") as caught:
        SceneFile(tmp_path / "file" / "runs")
    assert caught.value.file == str(tmp_path / "file" / "runs.h5")
    with pytest.raises(NotASceneFileError, match="is no directory"):
        SceneFile(tmp_path / "file" / "deeper" / "runs")
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize("mode", ["r", "a", "x"])
def test_a_pipe_is_refused_and_not_waited_for(path: Path, mode: Any) -> None:
    os.mkfifo(path)

    def opening() -> None:
        SceneFile(path, mode)

    with pytest.raises((NotASceneFileError, AlreadyExistsError)):
        in_child(opening, alarm_s=10)


def test_a_damaged_file_is_reported(file: SceneFile, path: Path) -> None:
    file.close()
    damaged = bytearray(path.read_bytes())
    damaged[2100:] = bytes(len(damaged) - 2100)
    path.write_bytes(damaged)
    with pytest.raises(FormatError) as caught:
        SceneFile(path)
    assert caught.value.file == str(path)
    assert path.read_bytes() == damaged


# --- read-only ------------------------------------------------------------------------------------


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A directory that other users can reach; root may write everywhere, so they are asked."""
    for directory in (tmp_path, *tmp_path.parents):
        mode = directory.stat().st_mode
        # It stays so: tests in other processes are in directories beside this one.
        if directory.stat().st_uid == os.geteuid() and mode & 0o011 != 0o011:
            directory.chmod(mode | 0o011)
    return tmp_path


def as_nobody(function: Callable[[], Any]) -> Any:
    """Returns what the function returns in a child without root's right to write everywhere."""

    def run() -> Any:
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        return function()

    return in_child(run)


def closed_to_writers(path: Path) -> None:
    """Takes away the right to write a file or directory."""
    path.chmod(0o555 if path.is_dir() else 0o444)


@pytest.fixture
def read_only(public: Path, file: SceneFile, path: Path) -> Iterator[Path]:
    """A scene file that cannot be written, in a directory that cannot."""
    file.close()
    close_all()
    closed_to_writers(path)
    closed_to_writers(path.parent)
    yield path
    path.parent.chmod(0o755)


@pytest.mark.parametrize("mode", ["r", "r+", "a"])
def test_a_read_only_file_can_be_read(read_only: Path, mode: Any) -> None:
    def read() -> Any:
        with SceneFile(read_only, mode) as file:
            return file.scenes, file.properties(S0), file.read_frame(S0, "smoke", 42).values

    scenes, properties, values = as_nobody(read)
    assert scenes == (S0, S1)
    assert properties == {"dt": 0.5, "kind": "in the dataset"}
    assert (values == 3).all()


@pytest.mark.parametrize("mode", ["r+", "a"])
def test_a_read_only_file_is_not_written(read_only: Path, mode: Any) -> None:
    before = read_only.read_bytes()

    def write() -> None:
        with SceneFile(read_only, mode) as file:
            file.create_scene("new")

    with pytest.raises(ReadOnlyError, match=r"runs\.h5") as caught:
        as_nobody(write)
    assert caught.value.file == str(read_only)
    assert read_only.read_bytes() == before


@pytest.mark.parametrize("mode", ["a", "x"])
def test_no_file_in_a_read_only_directory(read_only: Path, mode: Any) -> None:
    new = read_only.parent / "new.h5"
    with pytest.raises(ReadOnlyError) as caught:
        as_nobody(lambda: SceneFile(new, mode))
    assert caught.value.file == str(new)
    with pytest.raises(ReadOnlyError, match="cannot be written") as caught:
        as_nobody(lambda: SceneFile(new.parent / "deeper" / "new", mode))
    assert caught.value.file == str(new.parent / "deeper" / "new.h5")
    assert list(read_only.parent.iterdir()) == [read_only]


def test_a_file_that_may_not_be_read(public: Path, file: SceneFile, path: Path) -> None:
    file.close()
    close_all()
    path.chmod(0o000)
    with pytest.raises(ReadOnlyError) as caught:
        as_nobody(lambda: SceneFile(path, "r"))
    assert caught.value.file == str(path)


def test_mode_r_writes_nothing(file: SceneFile, path: Path) -> None:
    file.close()
    before = path.read_bytes()
    with SceneFile(path, "r") as reader:
        assert reader.mode == "r"
        for name, write in WRITES.items():
            with pytest.raises(
                ReadOnlyError, match="for reading only; open it with mode 'a'"
            ) as caught:
                write(reader)
            assert caught.value.file == str(path), name
        with pytest.raises(ReadOnlyError), reader.transaction():
            pytest.fail("must not begin")
        assert reader.scenes == (S0, S1)
    assert path.read_bytes() == before


WRITES: dict[str, Callable[[SceneFile], Any]] = {
    "create_scenes": lambda file: file.create_scenes("new"),
    "create_scene": lambda file: file.create_scene("new"),
    "remove_scenes": lambda file: file.remove_scenes([S0]),
    "rename_scene": lambda file: file.rename_scene(S0, "new"),
    "remove_after": lambda file: file.remove_after([S0], 0),
    "write_frame": lambda file: file.write_frame(7, {S0: {"smoke": centered()}}),
    "put_properties": lambda file: file.put_properties({S0: {"a": 1}}),
    "remove_property": lambda file: file.remove_property([S0], "dt"),
    "put_times": lambda file: file.put_times(7, {S0: 1.0}),
    "log_scalars": lambda file: file.log_scalars(7, {S0: {"loss": [1.0]}}),
    "write_files": lambda file: file.write_files({S0: {"new": b""}}),
    "remove_file": lambda file: file.remove_file([S0], "log"),
    "remove_frames": lambda file: file.remove_frames(S0, "smoke", [0]),
    "remove_fields": lambda file: file.remove_fields(S0, ["smoke"]),
}
READS: dict[str, Callable[[SceneFile], Any]] = {
    "scenes": lambda file: file.scenes,
    "has_scene": lambda file: file.has_scene(S0),
    "fieldnames": lambda file: file.fieldnames(S0),
    "fields_of": lambda file: file.fields_of(S0, "fluid"),
    "frames": lambda file: file.frames(S0),
    "read_frames": lambda file: file.read_frames([S0], ["smoke"], 0),
    "read_stacks": lambda file: file.read_stacks([S0], ["smoke"], [0]),
    "common_frames": lambda file: file.common_frames([S0], ["smoke"]),
    "describe_frames": lambda file: file.describe_frames([S0], ["smoke"], 0),
    "read_frame": lambda file: file.read_frame(S0, "smoke", 0),
    "read_values": lambda file: file.read_values(S0, "smoke", 0),
    "max_relative_error": lambda file: file.max_relative_error(S0, "smoke", 0),
    "properties": lambda file: file.properties(S0),
    "times": lambda file: file.times(S0),
    "curves": lambda file: file.curves(S0),
    "files": lambda file: file.files(S0),
    "read_file": lambda file: file.read_file(S0, "log"),
}


def test_all_calls_are_tested() -> None:
    names = {name for name in dir(SceneFile) if not name.startswith("_")}
    tested_elsewhere = {"path", "mode", "close", "transaction", "flush", "stay_open"}
    assert names - tested_elsewhere == {*WRITES, *READS}


# --- removing fields and frames -------------------------------------------------------------------


def test_fields_and_frames_are_removed(file: SceneFile, path: Path) -> None:
    file.remove_frames(S0, "SMOKE", [42])
    assert file.frames(S0) == {"fluid_velocity": (0,), "smoke": (0,)}
    file.remove_frames(S0, "smoke", [0])
    assert file.frames(S0) == {"fluid_velocity": (0,), "smoke": ()}
    file.write_frame(1, {S0: {"smoke": centered(5.0)}})  # the field has kept its description
    file.remove_fields(S0, ["fluid.velocity", "smoke"])
    assert file.fieldnames(S0) == ()
    assert file.times(S0) == {0: 0.25}
    file.write_frame(1, {S0: {"smoke": centered(6.0, axes="xyz")}})  # another field of this name
    assert file.read_frame(S0, "smoke", 1) == centered(6.0, axes="xyz")


def test_fields_and_frames_are_removed_together_or_not_at_all(file: SceneFile, path: Path) -> None:
    before = content(path)
    with pytest.raises(FieldNotFoundError):
        file.remove_fields(S0, ["smoke", "none"])
    with pytest.raises(FrameNotFoundError):
        file.remove_frames(S0, "smoke", [0, 7])
    with pytest.raises(FieldNotFoundError):
        file.remove_frames(S0, "none", [0])
    with pytest.raises(InvalidInputError):
        file.remove_frames(S0, "smoke", [0, 0.5])  # type: ignore[list-item]
    with pytest.raises(SceneNotFoundError):
        file.remove_fields("none", ["smoke"])
    assert content(path) == before


# --- closing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*WRITES, *READS])
def test_a_closed_file_is_not_used(file: SceneFile, path: Path, name: str) -> None:
    file.close()
    file.close()
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match=r"runs\.h5 is closed; open it again") as caught:
        (WRITES | READS)[name](file)
    assert caught.value.file == str(path)
    with pytest.raises(InvalidInputError), file.transaction():
        pytest.fail("must not begin")
    assert path.read_bytes() == before


def test_closing_one_leaves_others_open(file: SceneFile, path: Path) -> None:
    other = SceneFile(path)
    file.close()
    other.create_scene("new")
    assert "new" in other.scenes
    other.close()


def test_two_objects_of_one_file_see_each_others_writes(file: SceneFile, path: Path) -> None:
    with SceneFile(path, "r") as other:
        assert other.fieldnames(S1) == ()
        file.write_frame(3, {S1: {"smoke": centered(5.0)}})
        assert other.frames(S1) == {"smoke": (3,)}
        file.rename_scene(S1, "other")
        assert other.scenes == ("other", S0)
        assert (other.read_frame("other", "smoke", 3).values == 5).all()
        file.remove_scenes(["other"])
        with pytest.raises(SceneNotFoundError):
            other.read_frame("other", "smoke", 3)


# --- scenes ---------------------------------------------------------------------------------------


def test_scenes_are_numbered_on_from_the_highest(file: SceneFile) -> None:
    assert file.create_scenes("sim") == ("sim_000002",)
    file.create_scene("sim_000041")
    file.create_scene("sim_backup")
    file.create_scene("sim_7")
    assert file.create_scenes("sim", 2) == ("sim_000042", "sim_000043")
    file.remove_scenes(["sim_000042"])
    assert file.create_scenes("sim") == ("sim_000044",)
    assert file.create_scenes("other", 0) == ()
    assert file.create_scenes("other") == ("other_000000",)
    file.create_scene("sim_999999")
    assert file.create_scenes("sim") == ("sim_1000000",)


def test_scenes_are_sorted(file: SceneFile) -> None:
    for name in ("b", "a", "Ä", "B"):
        file.create_scene(name)
    assert file.scenes == tuple(sorted(("b", "a", "Ä", "B", S0, S1)))


def test_creating_a_scene_again_keeps_it(file: SceneFile, path: Path) -> None:
    before = content(path)
    file.create_scene(S0)
    assert content(path) == before


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/", f"{S0}/smoke", f"/{S0}", "_times", "x", "a\0b", f"{S0}\0", "\ud800"],
)
def test_what_is_no_scene(file: SceneFile, name: str) -> None:
    assert not file.has_scene(name)
    with pytest.raises(SceneNotFoundError):
        file.fieldnames(name)


def test_a_renamed_scene_keeps_everything(file: SceneFile, path: Path) -> None:
    before = content(path)
    file.read_frame(S0, "smoke", 0)  # what is known about the old name must be forgotten
    file.rename_scene(S0, "renamed")
    assert file.scenes == ("renamed", S1)
    assert content(path) == {key.replace(S0, "renamed"): value for key, value in before.items()}
    with pytest.raises(SceneNotFoundError):
        file.read_frame(S0, "smoke", 0)
    file.rename_scene("renamed", "renamed")
    file.rename_scene("renamed", S0)
    assert content(path) == before


def test_a_removed_scene_leaves_nothing_behind(file: SceneFile, path: Path) -> None:
    file.read_frame(S0, "smoke", 0)
    file.remove_scenes([S0, "never there", S0])
    assert file.scenes == (S1,)
    file.create_scene(S0)
    assert file.fieldnames(S0) == ()
    file.write_frame(0, {S0: {"smoke": centered(boundary=PERIODIC)}})
    assert file.read_frame(S0, "smoke", 0) == centered(boundary=PERIODIC)
    assert file.properties(S0) == file.times(S0) == file.curves(S0) == {}
    assert file.files(S0) == ()


# --- frames ---------------------------------------------------------------------------------------


def test_frames_come_back(file: SceneFile) -> None:
    assert file.fieldnames(S0) == ("fluid_velocity", "smoke")
    assert file.frames(S0) == {"fluid_velocity": (0,), "smoke": (0, 42)}
    assert file.read_frame(S0, "smoke", 0) == centered(1.0)
    assert file.read_frame(S0, "SMOKE", 42) == centered(3.0)
    assert file.read_frame(S0, "fluid.velocity", 0) == centered(2.0)
    assert file.read_frame(S0, "fluid_velocity", np.int64(0)) == centered(2.0)


def test_several_scenes_and_fields_at_once(file: SceneFile) -> None:
    file.write_frame(
        1,
        {S0: {"a": centered(1.0), "b": centered(2.0)}, S1: {"a": centered(3.0), "b": centered(4)}},
    )
    found = file.read_frames([S1, S0, S1], ["b", "a"], 1)
    assert [[record.values.flat[0] for record in records] for records in found] == [
        [4, 3],
        [2, 1],
        [4, 3],
    ]
    assert file.read_frames([], ["a"], 1) == []
    assert file.read_frames([S0], [], 1) == [()]


def test_a_frame_that_is_written_again_is_replaced(file: SceneFile, path: Path) -> None:
    for record in (
        centered(9.0),
        centered(np.zeros((3, 7), np.int8)),
        centered(np.ones(5), "z", boundary=PERIODIC),
        centered(boundary={"type": "field", "field": centered(4.0)}),
        centered(1.0),
    ):
        file.write_frame(0, {S0: {"smoke": record}})
        assert file.read_frame(S0, "smoke", 0) == record
        assert file.read_frame(S0, "smoke", 42) == centered(3.0)
    assert file.frames(S0)["smoke"] == (0, 42)
    file.close()
    with h5py.File(path) as h5:
        assert isinstance(h5[S0]["smoke/000000"], h5py.Dataset)
        assert list(h5[S0]["smoke/000000"].attrs) == ["checksum"]  # described by its field again


def test_frames_of_a_field_share_its_description(file: SceneFile, path: Path) -> None:
    file.write_frame(43, {S0: {"smoke": centered(boundary=PERIODIC)}})
    file.write_frame(44, {S0: {"smoke": centered(7.0)}})
    file.close()
    with h5py.File(path) as h5:
        field = h5[S0]["smoke"]
        assert "field_type" in field.attrs
        assert [name for name in field if "field_type" in field[name].attrs] == ["000043"]


def test_frame_numbers_have_no_limit_of_six_digits(file: SceneFile) -> None:
    numbers = (999_999, 1_000_000, 10**17 + 1, 10**18 - 1)
    for number in numbers:
        file.write_frame(number, {S1: {"f": centered(number % 97)}})
    assert file.frames(S1) == {"f": numbers}
    for number in numbers:
        assert file.read_frame(S1, "f", number).values.flat[0] == number % 97


def test_names_that_differ_in_case_are_two_fields(file: SceneFile) -> None:
    file.write_frame(0, {S1: {"Velocity": centered(1.0), "velocity": centered(2.0)}})
    assert file.fieldnames(S1) == ("Velocity", "velocity")
    assert file.read_frame(S1, "Velocity", 0) == centered(1.0)
    assert file.read_frame(S1, "velocity", 0) == centered(2.0)


def test_a_name_that_was_changed_is_kept_beside_it(file: SceneFile, path: Path) -> None:
    file.close()
    with h5py.File(path) as h5:
        assert h5[S0]["fluid_velocity"].attrs["name"] == b"fluid.velocity"
        assert "name" not in h5[S0]["smoke"].attrs


# --- properties, times, curves, files -------------------------------------------------------------


def test_properties_come_back(file: SceneFile) -> None:
    assert file.properties(S0) == {"dt": 0.5, "kind": "in the dataset"}
    assert file.properties(S1) == {}
    file.put_properties({S0: {"t": tensor([1.0])}, S1: {"dt": 1}})
    assert file.properties(S0) == {"dt": 0.5, "kind": "in the dataset", "t": tensor([1.0])}
    assert file.properties(S1) == {"dt": 1}
    file.remove_property([S0, S1], "dt")
    assert file.properties(S1) == {}
    file.put_properties({S0: {"a": None}}, replace=True)
    assert file.properties(S0) == {"a": None}


def test_times_come_back(file: SceneFile) -> None:
    for frame, time in [(7, 0.7), (3, -0.0), (7, 0.8), (100, 1e300), (3, 0.3)]:
        file.put_times(frame, {S0: time, S1: time + 1})
    assert list(file.times(S0).items()) == [(0, 0.25), (3, 0.3), (7, 0.8), (100, 1e300)]
    assert list(file.times(S1).items()) == [(3, 1.3), (7, 1.8), (100, 1e300)]
    assert all(type(frame) is int and type(time) is float for frame, time in file.times(S0).items())


@pytest.mark.parametrize("frame", [2**53, 2**53 - 1, 10**15 + 1])
def test_the_time_of_a_large_frame_is_its_own(file: SceneFile, frame: int) -> None:
    file.put_times(frame, {S1: 1.0})
    assert file.times(S1) == {frame: 1.0}


def test_curves_come_back(file: SceneFile) -> None:
    file.log_scalars(2, {S0: {"loss": [0.25], "new (x)": [np.nan]}, S1: {"loss": [7]}})
    file.log_scalars(2, {S0: {"loss": [0.125], "u": [3.0, 4.0]}})
    curves = file.curves(S0)
    assert list(curves) == ["loss", "new (x)", "u"]
    assert curves["loss"].steps.tolist() == [1, 2, 2]
    assert curves["loss"].values.tolist() == [0.5, 0.25, 0.125]
    assert curves["u"].values.tolist() == [[1, 2], [3, 4]]
    assert curves["new (x)"].values.shape == (1,)
    assert file.curves(S1)["loss"].values.tolist() == [7]
    assert file.curves(S1).keys() == {"loss"}


def test_attached_files_come_back(file: SceneFile) -> None:
    file.write_files({S0: {"log": b"more", "src/a/b.py": b"\0\xff"}, S1: {"log": b"other"}})
    assert file.files(S0) == ("log", "src/a/b.py", "src/plume.py")
    assert file.read_file(S0, "log") == b"more"
    assert file.read_file(S0, "src/a/b.py") == b"\0\xff"
    assert file.read_file(S1, "log") == b"other"
    file.remove_file([S0, S1], "log")
    assert file.files(S1) == ()


# --- transactions ---------------------------------------------------------------------------------


def write_everything(file: SceneFile) -> None:
    """Makes every kind of change."""
    for write in WRITES.values():
        if write is not WRITES["rename_scene"] and write is not WRITES["remove_scenes"]:
            write(file)
    file.write_frame(0, {S0: {"smoke": centered(boundary=PERIODIC)}})
    file.write_frame(0, {S0: {"another": centered()}})
    file.rename_scene(S0, "renamed")
    file.remove_scenes(["renamed"])


def test_an_exception_undoes_the_whole_transaction(file: SceneFile, path: Path) -> None:
    before = content(path)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012, SIM117  # what comes before it is the point
        with file.transaction() as inside:
            assert inside is file
            write_everything(file)
            assert S0 not in file.scenes  # it sees its own changes
            raise ZeroDivisionError
    assert content(path) == before
    assert file.read_frame(S0, "smoke", 0) == centered(1.0)
    assert file.fieldnames(S0) == ("fluid_velocity", "smoke")
    file.write_frame(0, {S0: {"another": centered(2.0)}})
    assert file.read_frame(S0, "another", 0) == centered(2.0)


def test_a_transaction_is_one_commit(file: SceneFile, path: Path) -> None:
    before = content(path)
    with file.transaction():
        write_everything(file)
        assert content(path) == before  # other programs see nothing of it yet
    assert S0 not in content(path)
    assert file.scenes == ("new", "new_000000", S1)


def test_a_refused_call_inside_a_transaction_may_be_caught(file: SceneFile) -> None:
    with file.transaction():
        file.create_scene("first")
        for call in REFUSED.values():
            with pytest.raises(H5SceneError):
                call[0](file)
        file.create_scene("second")
    assert file.scenes == ("first", "second", S0, S1)
    assert file.fieldnames(S0) == ("fluid_velocity", "smoke")
    assert file.properties(S0) == {"dt": 0.5, "kind": "in the dataset"}


# --- what is refused ------------------------------------------------------------------------------

NONE = "missing"
# Call, class of its error, what it says, where it says it happened.
REFUSED: dict[str, tuple[Callable[[SceneFile], Any], type[H5SceneError], str, str | None]] = {
    # scenes
    "create_scenes: empty name": (
        lambda file: file.create_scenes(""),
        InvalidNameError,
        "must be a string that is not empty, not ''",
        None,
    ),
    "create_scenes: reserved name": (
        lambda file: file.create_scenes("_sim", 3),
        InvalidNameError,
        "'_sim' starts with an underscore",
        None,
    ),
    "create_scenes: name too long once numbered": (
        lambda file: file.create_scenes("x" * 1020),
        InvalidNameError,
        "1027 bytes, at most 1024",
        None,
    ),
    "create_scene: path": (
        lambda file: file.create_scene("a/b"),
        InvalidNameError,
        "'a/b' must be printable, without '/'",
        None,
    ),
    "rename_scene: missing": (
        lambda file: file.rename_scene(NONE, "new"),
        SceneNotFoundError,
        r"no scene 'missing' in .*runs\.h5; it has 'sim_000000', 'sim_000001'",
        f"/{NONE}",
    ),
    "rename_scene: taken": (
        lambda file: file.rename_scene(S0, S1),
        AlreadyExistsError,
        "cannot rename 'sim_000000' to 'sim_000001'.* has it already; remove it first",
        f"/{S0}",
    ),
    "rename_scene: name": (
        lambda file: file.rename_scene(S0, "_new"),
        InvalidNameError,
        "'_new' starts with an underscore",
        f"/{S0}",
    ),
    # fields and frames
    "write_frame: negative frame": (
        lambda file: file.write_frame(-1, {S0: {"f": centered()}}),
        InvalidInputError,
        "frame -1 is negative",
        None,
    ),
    "write_frame: half a frame": (
        lambda file: file.write_frame(0.5, {S0: {"f": centered()}}),  # type: ignore[arg-type]
        InvalidInputError,
        "whole number, not float 0.5",
        None,
    ),
    "write_frame: empty name": (
        lambda file: file.write_frame(0, {S1: {"ok": centered()}, S0: {"!?": centered()}}),
        InvalidNameError,
        r"'!\?' has no letters or digits",
        f"/{S0}",
    ),
    "write_frame: reserved name": (
        lambda file: file.write_frame(0, {S0: {"ok": centered(), "__times": centered()}}),
        InvalidNameError,
        "'__times' is stored as '_times'.*reserved",
        f"/{S0}",
    ),
    "write_frame: one place for two names": (
        lambda file: file.write_frame(0, {S0: {"a.b": centered(), "a_b": centered()}}),
        InvalidNameError,
        "'a.b' and 'a_b' are both stored as 'a_b'",
        f"/{S0}",
    ),
    "write_frame: spelled otherwise": (
        lambda file: file.write_frame(0, {S1: {"ok": centered()}, S0: {"smo!ke": centered()}}),
        InvalidNameError,
        "'smo!ke' is stored as 'smoke', where .*sim_000000 holds the field 'smoke' already",
        f"/{S0}",
    ),
    "write_frame: spelled otherwise before": (
        lambda file: file.write_frame(1, {S0: {"fluid_velocity": centered()}}),
        InvalidNameError,
        "holds the field 'fluid.velocity' already",
        f"/{S0}",
    ),
    "write_frame: missing scene": (
        lambda file: file.write_frame(0, {S0: {"ok": centered()}, NONE: {"ok": centered()}}),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
    "write_frame: no numbers": (
        lambda file: file.write_frame(
            0, {S0: {"ok": centered(), "f": centered(np.array([["a"]]))}}
        ),
        UnsupportedFieldError,
        "field 'f' has values of dtype <U1",
        f"/{S0}",
    ),
    "write_frame: axes": (
        lambda file: file.write_frame(0, {S0: {"ok": centered(), "f": centered([1.0])}}),
        InvalidInputError,
        r"field 'f' has 1 axes, but the dims \(x, y\)",
        f"/{S0}",
    ),
    "write_frame: no numbers in the boundary": (
        lambda file: file.write_frame(
            0,
            {
                S0: {
                    "ok": centered(),
                    "f": centered(boundary={"type": "field", "field": centered(np.array([["a"]]))}),
                }
            },
        ),
        UnsupportedFieldError,
        "dtype <U1",
        f"/{S0}",
    ),
    "write_frame: attrs that JSON cannot hold": (
        lambda file: file.write_frame(0, {S0: {"ok": centered(), "f": centered(attrs={"a": {1}})}}),
        InvalidInputError,
        "of type set",
        f"/{S0}",
    ),
    "read_frame: missing scene": (
        lambda file: file.read_frame(NONE, "smoke", 0),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
    "read_frame: missing field": (
        lambda file: file.read_frame(S0, "smok", 0),
        FieldNotFoundError,
        r"no field 'smok' in .*runs\.h5/sim_000000; it has 'fluid_velocity', 'smoke'",
        f"/{S0}",
    ),
    "read_frame: no fields": (
        lambda file: file.read_frame(S1, "smoke", 0),
        FieldNotFoundError,
        "no field 'smoke' in .*sim_000001; it has none yet",
        f"/{S1}",
    ),
    "read_frame: missing frame": (
        lambda file: file.read_frame(S0, "smoke", 1),
        FrameNotFoundError,
        "no frame 1 of 'smoke' in .*sim_000000; it has 0, 42",
        f"/{S0}/smoke",
    ),
    "read_frame: negative frame": (
        lambda file: file.read_frame(S0, "smoke", -99),
        FrameNotFoundError,
        "no frame -99 of 'smoke'",
        f"/{S0}",
    ),
    "read_frame: frame of 19 digits": (
        lambda file: file.read_frame(S0, "smoke", 10**18),
        FrameNotFoundError,
        "no frame 1000000000000000000 of 'smoke'",
        f"/{S0}/smoke",
    ),
    "read_frames: missing scene": (
        lambda file: file.read_frames([S0, NONE], ["smoke"], 0),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
    "read_frames: missing field": (
        lambda file: file.read_frames([S0, S1], ["smoke"], 0),
        FieldNotFoundError,
        "no field 'smoke' in .*sim_000001",
        f"/{S1}",
    ),
    "read_frames: missing frame": (
        lambda file: file.read_frames([S0], ["smoke", "fluid.velocity"], 42),
        FrameNotFoundError,
        "no frame 42 of 'fluid_velocity'",
        f"/{S0}/fluid_velocity",
    ),
    **{
        f"{name}: missing scene": (
            lambda file, name=name: getattr(file, name)(NONE),
            SceneNotFoundError,
            "no scene 'missing'",
            f"/{NONE}",
        )
        for name in ("fieldnames", "frames", "properties", "times", "curves", "files")
    },
    # properties
    "put_properties: name": (
        lambda file: file.put_properties({S1: {"ok": 1}, S0: {"ok": 1, 5: 1}}),  # type: ignore[dict-item]
        InvalidNameError,
        "must be a string, not int 5",
        f"/{S0}",
    ),
    "put_properties: value": (
        lambda file: file.put_properties({S1: {"ok": 1}, S0: {"ok": 1, "bad": {1}}}),
        InvalidInputError,
        "property 'bad' is of type set",
        f"/{S0}",
    ),
    "remove_after: missing scene": (
        lambda file: file.remove_after([S0, NONE], 0),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
    "remove_after: negative frame": (
        lambda file: file.remove_after([S0], -2),
        InvalidInputError,
        "frame",
        None,
    ),
    "put_properties: missing scene": (
        lambda file: file.put_properties({S0: {"ok": 1}, NONE: {"ok": 1}}, replace=True),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
    "remove_property: missing scene": (
        lambda file: file.remove_property([S0, NONE], "dt"),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
    # times and curves
    "put_times: negative frame": (
        lambda file: file.put_times(-1, {S0: 1.0}),
        InvalidInputError,
        "frame -1 is negative",
        None,
    ),
    "put_times: time": (
        lambda file: file.put_times(0, {S0: 1.0, S1: float("nan")}),
        InvalidInputError,
        "time of frame 0 must be finite, not nan",
        f"/{S1}",
    ),
    "put_times: text": (
        lambda file: file.put_times(0, {S0: "now"}),  # type: ignore[dict-item]
        InvalidInputError,
        "the time of frame 0 must be a number, not str 'now'",
        f"/{S0}",
    ),
    "put_times: missing scene": (
        lambda file: file.put_times(0, {S0: 1.0, NONE: 1.0}),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
    "put_times: frame that float64 cannot hold": (
        lambda file: file.put_times(2**53 + 1, {S0: 1.0}),
        InvalidInputError,
        "frame 9007199254740993",
        None,
    ),
    "log_scalars: name": (
        lambda file: file.log_scalars(0, {S1: {"ok": [1.0]}, S0: {"a/b": [1.0]}}),
        InvalidNameError,
        "'a/b' cannot be the name of a curve",
        f"/{S0}",
    ),
    "log_scalars: None": (
        lambda file: file.log_scalars(0, {S0: {"loss": [1.0, None]}}),  # type: ignore[list-item]
        InvalidInputError,
        "curve 'loss' must be a number, not NoneType None",
        f"/{S0}",
    ),
    "log_scalars: text as step": (
        lambda file: file.log_scalars("1", {S0: {"loss": [1.0]}}),  # type: ignore[arg-type]
        InvalidInputError,
        "a step must be a number, not str '1'",
        None,
    ),
    "log_scalars: number of values": (
        lambda file: file.log_scalars(0, {S1: {"ok": [1.0]}, S0: {"ok": [1.0], "u": [1.0]}}),
        InvalidInputError,
        "curve 'u' of .*sim_000000 has 2 values a step, not 1; log it under another name",
        f"/{S0}",
    ),
    "log_scalars: missing scene": (
        lambda file: file.log_scalars(0, {S0: {"loss": [1.0]}, NONE: {"loss": [1.0]}}),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
    # attached files
    "read_file: missing": (
        lambda file: file.read_file(S0, "lo"),
        NotFoundError,
        "no file 'lo' is attached to .*sim_000000; it has 'log', 'src/plume.py'",
        f"/{S0}",
    ),
    "read_file: directory": (
        lambda file: file.read_file(S0, "src"),
        NotFoundError,
        "no file 'src' is attached",
        f"/{S0}",
    ),
    "read_file: name": (
        lambda file: file.read_file(S0, "../smoke"),
        InvalidNameError,
        "'../smoke' cannot be the name of an attached file",
        f"/{S0}",
    ),
    "read_file: missing scene": (
        lambda file: file.read_file(NONE, "log"),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
    "write_files: name": (
        lambda file: file.write_files({S1: {"ok": b""}, S0: {"ok": b"", "/log": b""}}),
        InvalidNameError,
        "'/log' cannot be the name of an attached file",
        f"/{S0}",
    ),
    "write_files: file and directory": (
        lambda file: file.write_files({S1: {"ok": b""}, S0: {"ok": b"", "log/a": b""}}),
        AlreadyExistsError,
        "'log' would be a file and a directory",
        f"/{S0}",
    ),
    "write_files: missing scene": (
        lambda file: file.write_files({S0: {"log": b"new"}, NONE: {"log": b""}}),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
    "remove_file: missing": (
        lambda file: file.remove_file([S0, S1], "log"),
        NotFoundError,
        "no file 'log' is attached to .*sim_000001; it has none yet",
        f"/{S1}",
    ),
    "remove_file: name": (
        lambda file: file.remove_file([S0], ""),
        InvalidNameError,
        "'' cannot be the name of an attached file",
        None,
    ),
    "remove_file: missing scene": (
        lambda file: file.remove_file([S0, NONE], "log"),
        SceneNotFoundError,
        "no scene 'missing'",
        f"/{NONE}",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(file: SceneFile, path: Path, name: str) -> None:
    call, error, says, location = REFUSED[name]
    before = content(path)
    with pytest.raises(H5SceneError, match=says) as caught:
        call(file)
    assert type(caught.value) is error
    assert caught.value.file == str(path)
    assert caught.value.location == location
    assert content(path) == before
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.file, copy.location) == (str(caught.value), str(path), location)


@pytest.mark.parametrize("time", ["soon", None, [1.0], 1j])
def test_a_time_is_a_number(file: SceneFile, path: Path, time: Any) -> None:
    before = content(path)
    with pytest.raises((InvalidInputError, TypeError)):
        file.put_times(0, {S1: 1.0, S0: time})
    assert content(path) == before


@pytest.mark.parametrize("row", [["a"], "abc", [1j], [[1.0]]])
def test_scalars_are_numbers(file: SceneFile, path: Path, row: Any) -> None:
    before = content(path)
    with pytest.raises((InvalidInputError, TypeError, ValueError)):
        file.log_scalars(0, {S1: {"loss": [1.0]}, S0: {"new": row}})
    assert content(path) == before


# --- what others put into the file ----------------------------------------------------------------


def add_foreign(h5: h5py.File) -> None:
    """Puts in what a scene file may hold and no reader of ours knows."""
    h5.attrs["title"] = "runs"
    h5["dataset"] = np.arange(3)
    h5.create_group("group").attrs["kind"] = "something else"
    h5.create_group("no kind")
    h5["sim_000007"] = np.arange(3)  # named like a scene
    h5.create_group("_index").attrs["kind"] = "scene"
    h5["link"] = h5py.SoftLink("/nowhere")
    scene = h5[S0]
    scene.attrs["units"] = 5
    scene.attrs["comment"] = "not JSON"
    scene["dataset"] = np.arange(3)
    scene.create_group("group")
    scene.create_group("_private").attrs["kind"] = "field"
    scene["link"] = h5py.SoftLink("/nowhere")
    field = scene["smoke"]
    field.attrs["units"] = "kg"
    field["000"] = np.arange(3)
    field["notes"] = np.arange(3)
    field["000000"].attrs["time"] = 0.5


FOREIGN_PATHS = ("/dataset", "/group", "/no kind", "/sim_000007", "/_index", f"/{S0}/dataset")
FOREIGN_PATHS += (f"/{S0}/group", f"/{S0}/_private", f"/{S0}/smoke/000", f"/{S0}/smoke/notes")


def foreign_content(path: Path) -> Any:
    """Returns what stands in the file that is not ours."""
    with h5py.File(path) as h5:
        for group in (h5, h5[S0]):
            assert isinstance(group.get("link", getlink=True), h5py.SoftLink)
        attributes = [h5.attrs["title"], h5[S0].attrs["units"], h5[S0].attrs["comment"]]
        attributes += [h5[S0]["smoke"].attrs["units"]]
        values = [
            None if isinstance(h5[name], h5py.Group) else h5[name][()].tolist()
            for name in FOREIGN_PATHS
        ]
        return attributes, values


def test_foreign_objects_are_not_listed(file: SceneFile, path: Path) -> None:
    change(path, add_foreign)
    assert file.scenes == (S0, S1)
    for name in ("dataset", "group", "no kind", "sim_000007", "_index", "link"):
        assert not file.has_scene(name)
        with pytest.raises(SceneNotFoundError):
            file.fieldnames(name)
    assert file.fieldnames(S0) == ("fluid_velocity", "smoke")
    assert file.frames(S0) == {"fluid_velocity": (0,), "smoke": (0, 42)}
    assert file.properties(S0) == {"dt": 0.5, "kind": "in the dataset"}
    assert file.read_frame(S0, "smoke", 0) == centered(1.0)
    for name in ("dataset", "group", "link"):
        with pytest.raises(FieldNotFoundError):
            file.read_frame(S0, name, 0)


def test_foreign_objects_are_left_alone(file: SceneFile, path: Path) -> None:
    change(path, add_foreign)
    before = foreign_content(path)
    for write in WRITES.values():
        removing = ("rename_scene", "remove_scenes", "remove_fields")
        if write not in [WRITES[name] for name in removing]:
            write(file)
    file.write_frame(0, {S0: {"smoke": centered(9.0)}})
    file.put_properties({S0: {"a": 1}}, replace=True)
    assert file.create_scenes("sim") == ("sim_000008",)
    file.close()
    assert foreign_content(path) == before


@pytest.mark.parametrize("name", ["dataset", "group", "no kind", "sim_000007", "link"])
def test_a_scene_does_not_replace_something_else(file: SceneFile, path: Path, name: str) -> None:
    change(path, add_foreign)
    before = foreign_content(path)
    with pytest.raises(AlreadyExistsError, match=f"something named {name!r} that is no scene"):
        file.create_scene(name)
    with pytest.raises(AlreadyExistsError, match="has it already"):
        file.rename_scene(S0, name)
    file.remove_scenes([name])
    file.close()
    assert foreign_content(path) == before


@pytest.mark.parametrize("name", ["dataset", "group", "link"])
def test_a_field_does_not_replace_something_else(file: SceneFile, path: Path, name: str) -> None:
    change(path, add_foreign)
    before = foreign_content(path)
    with pytest.raises(InvalidNameError, match=f"{S0}/{name} exists and is no field") as caught:
        file.write_frame(0, {S1: {"ok": centered()}, S0: {name: centered()}})
    assert caught.value.location == f"/{S0}"
    assert file.fieldnames(S1) == ()
    file.close()
    assert foreign_content(path) == before


@pytest.mark.parametrize("version", ["2.0", "0.1", "", None])
def test_a_scene_of_a_newer_encoding_is_refused(file: SceneFile, path: Path, version: Any) -> None:
    change(path, lambda h5: recode(h5[S0], version))
    with pytest.raises(UnsupportedVersionError, match=f"/{S0} is a scene of encoding version"):
        file.fieldnames(S0)
    assert file.fieldnames(S1) == ()  # others are not affected


@pytest.mark.parametrize("version", ["2.0", "0.1", "", None])
def test_a_field_of_a_newer_encoding_is_refused(file: SceneFile, path: Path, version: Any) -> None:
    change(path, lambda h5: recode(h5[S0]["smoke"], version))
    before = content(path)
    with pytest.raises(
        UnsupportedVersionError, match=f"/{S0}/smoke is a field of.*newer"
    ) as caught:
        file.read_frame(S0, "smoke", 0)
    assert caught.value.location == f"/{S0}"
    with pytest.raises(UnsupportedVersionError):
        file.write_frame(1, {S0: {"smoke": centered()}})
    assert content(path) == before
    assert file.read_frame(S0, "fluid.velocity", 0) == centered(2.0)


def test_a_minor_encoding_is_accepted(file: SceneFile, path: Path) -> None:
    change(path, lambda h5: [recode(group, "1.9") for group in (h5[S0], h5[S0]["smoke"])])
    assert file.read_frame(S0, "smoke", 0) == centered(1.0)
    file.write_frame(1, {S0: {"smoke": centered(5.0)}})
    assert file.read_frame(S0, "smoke", 1) == centered(5.0)


def recode(group: h5py.Group, version: Any) -> None:
    """Gives a group another encoding version, or none."""
    del group.attrs["encoding_version"]
    if version is not None:
        group.attrs["encoding_version"] = version


DAMAGE: dict[str, Callable[[h5py.Group], Any]] = {
    "boundary": lambda scene: scene["smoke"].attrs.__setitem__("boundary", "{"),
    "dims": lambda scene: scene["smoke"].attrs.__delitem__("dims"),
    "frame": lambda scene: [scene["smoke"].pop("000000"), scene["smoke"].create_group("000000")],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_frame_is_reported(file: SceneFile, path: Path, name: str) -> None:
    change(path, lambda h5: DAMAGE[name](h5[S0]))
    with pytest.raises(CorruptDataError, match=f"/{S0}/smoke") as caught:
        file.read_frame(S0, "smoke", 0)
    assert caught.value.file == str(path)
    assert caught.value.location == f"/{S0}"
    assert file.read_frame(S0, "fluid_velocity", 0) == centered(2.0)


def test_damaged_properties_are_reported(file: SceneFile, path: Path) -> None:
    change(path, lambda h5: h5[S0].attrs.__setitem__("dt", '{"__kind__": "float"}'))
    with pytest.raises(CorruptDataError) as caught:
        file.properties(S0)
    assert (caught.value.file, caught.value.location) == (str(path), f"/{S0}")


def no_properties(scene: h5py.Group) -> None:
    scene["_properties"] = np.frombuffer(b"{", np.uint8)


def no_table(scene: h5py.Group) -> None:
    scene["_times"] = np.zeros(3)


def no_curve(scene: h5py.Group) -> None:
    scene.create_group("_curves/loss")


@pytest.mark.parametrize(
    ("damage", "write"),
    [
        (no_properties, lambda file: file.put_properties({S0: {"a": 1}, S1: {"a": 1}})),
        (no_properties, lambda file: file.remove_property([S0, S1], "dt")),
        (no_table, lambda file: file.put_times(0, {S0: 9.0, S1: 9.0})),
        (no_curve, lambda file: file.log_scalars(9, {S0: {"loss": [9]}, S1: {"loss": [9]}})),
    ],
    ids=["put_properties", "remove_property", "put_times", "log_scalars"],
)
def test_damage_in_one_scene_leaves_others_unchanged(
    file: SceneFile, path: Path, damage: Any, write: Any
) -> None:
    change(path, lambda h5: damage(h5[S1]))
    before = content(path)
    with pytest.raises(CorruptDataError) as caught:
        write(file)
    assert (caught.value.file, caught.value.location) == (str(path), f"/{S1}")
    assert file.properties(S0) == {"dt": 0.5, "kind": "in the dataset"}
    assert content(path) == before


def test_damage_undoes_the_whole_transaction(file: SceneFile, path: Path) -> None:
    change(path, lambda h5: no_table(h5[S1]))
    before = content(path)

    def remove_and_go_on() -> None:
        with file.transaction():
            file.remove_scenes([S0])
            with pytest.raises(CorruptDataError):  # caught, where nobody can know what is done
                file.put_times(0, {S1: 9.0})

    with pytest.raises(H5SceneError, match="rolled back"):
        remove_and_go_on()
    assert content(path) == before


def test_a_change_by_another_program_is_seen(file: SceneFile, path: Path) -> None:
    assert file.read_frame(S0, "smoke", 0) == centered(1.0)

    def edit(h5: h5py.File) -> None:
        h5[S0]["smoke"].attrs["lower"] = [-1.0, -1.0]
        del h5[S0]["smoke"].attrs["description_checksum"]
        h5.move(S1, "moved")

    change(path, edit)
    assert file.scenes == ("moved", S0)
    found = file.read_frame(S0, "smoke", 0)
    assert found.description.bounds.lower == vector([-1.0, -1.0], "xy")
