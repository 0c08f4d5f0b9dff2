"""Every command on files that are missing, damaged, of others, too large, or not to be written."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from h5scene import SceneFile
from h5scene.cli import _SECTIONS, _SUBCOMMANDS, run
from h5scene.format import layout
from h5scene.store import close_all
from tests.cli.sample import SCENE
from tests.records import centered

# What each command is called with, and its exit status where it cannot read its file.
CALLS = {
    "attach": (["attach", "FILE/0", "local.txt"], 1),
    "cat": (["cat", "FILE/0/src/plume.py"], 1),
    "check": (["check", "FILE"], 1),
    "copy": (["copy", "FILE/0", "target.h5"], 1),
    "copy file": (["copy", "FILE", "target.h5"], 1),
    "curves": (["curves", "FILE/0"], 1),
    "diff": (["diff", "FILE", "other.h5"], 2),
    "export": (["export", "FILE", "out"], 1),
    "get": (["get", "FILE/0", "dt"], 1),
    "info": (["info", "FILE/0/smoke"], 1),
    "info file": (["info", "FILE"], 1),
    "ls": (["ls", "FILE"], 1),
    "ls names": (["ls", "-1", "FILE"], 1),
    "movie": (["movie", "FILE/0", "smoke", "-o", "out.gif"], 1),
    "plot": (["plot", "FILE/0", "smoke", "-o", "out.png"], 1),
    "recover": (["recover", "FILE", "-o", "target.h5"], 1),
    "rename": (["rename", "FILE/0", "new"], 1),
    "repack": (["repack", "FILE"], 1),
    "rm": (["rm", "FILE/0", "-y"], 1),
    "set": (["set", "FILE/0", "dt=1"], 1),
    "split": (["split", "FILE", "out"], 1),
}
# click looks whether the file is there, and says that the argument is wrong.
CHECKED_BY_CLICK = {"export", "recover", "repack", "split"}
# These are for such files.
FOR_DAMAGED_FILES = {"check", "recover"}
WRITING = ("attach", "rename", "repack", "rm", "set")


@pytest.fixture(autouse=True)
def others(sample: Path) -> None:
    """`other.h5` and `local.txt` beside `runs.h5` in the current directory."""
    shutil.copyfile(sample, "other.h5")
    Path("local.txt").write_text("text")


def arguments_of(name: str, file: str) -> list[str]:
    return [part.replace("FILE", file) for part in CALLS[name][0]]


def refused(name: str, file: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the one line that says why a command could not be carried out."""
    capsys.readouterr()
    status = CALLS[name][1]
    assert run(arguments_of(name, file)) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"h5scene: [^\n]+\n", printed.err)
    assert not {Path(p).name for p in ("target.h5", "out.gif", "out.png")} & {
        path.name for path in Path().iterdir()
    }
    return printed.err


def test_every_command_is_here() -> None:
    elsewhere = {"import", "merge"}
    assert {name.split()[0] for name in CALLS} | elsewhere == set(_SUBCOMMANDS)
    assert {name for names in _SECTIONS.values() for name in names} <= set(_SUBCOMMANDS)


@pytest.mark.parametrize("name", CALLS)
def test_it_works(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments_of(name, "runs.h5")) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", CALLS)
def test_a_missing_file(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name in CHECKED_BY_CLICK:
        assert run(arguments_of(name, "none.h5")) == 2
        assert "'none.h5' does not exist" in capsys.readouterr().err
    else:
        assert "no scene file none.h5" in refused(name, "none.h5", capsys)
    assert not Path("none.h5").exists()


def no_hdf5(path: Path) -> None:
    path.write_text("something else")


def foreign_hdf5(path: Path) -> None:
    path.unlink()
    with h5py.File(path, "w") as file:
        file[f"{SCENE}/smoke/000000"] = np.eye(3)


def newer_version(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs[layout.FORMAT_ATTR] = "9.0"


def cut_short(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def superblock_lost(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[2048 + 16 : 2048 + 48] = bytes(32)
    path.write_bytes(data)


@pytest.mark.parametrize("name", [name for name in CALLS if name not in FOR_DAMAGED_FILES])
@pytest.mark.parametrize(
    "damage",
    [no_hdf5, foreign_hdf5, newer_version, cut_short, superblock_lost],
    ids=lambda damage: damage.__name__,
)
def test_a_file_that_is_no_scene_file_or_not_whole(
    name: str, damage: Callable[[Path], None], sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    close_all()
    damage(sample)
    before = sample.read_bytes()
    if name == "copy file" and damage in (foreign_hdf5, newer_version):
        pass  # refused as well, and not copied as any file would be
    assert "runs.h5" in refused(name, "runs.h5", capsys)
    assert sample.read_bytes() == before


@pytest.mark.parametrize(
    "name", ["cat", "copy", "curves", "get", "info", "movie", "plot", "rename", "rm", "set"]
)
def test_a_missing_scene(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [part.replace("/0", "/none") for part in arguments_of(name, "runs.h5")]
    status = run(parts)
    printed = capsys.readouterr()
    assert status == 1
    assert printed.out == ""
    assert re.fullmatch(r"h5scene: no scene 'none' in runs\.h5; it has 'sim_[^\n]+\n", printed.err)


@pytest.mark.parametrize("name", ["info", "movie", "plot", "export", "diff", "ls"])
def test_a_frame_of_absurd_size(
    name: str, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A small file that says it holds 4 TB: nobody tries to make room for that."""
    close_all()
    with h5py.File(sample, "r+") as file:
        del file[f"{SCENE}/smoke/000002"]
        file[SCENE]["smoke"].create_dataset(
            "000002", shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000)
        )
    status = run(arguments_of(name, "runs.h5"))
    printed = capsys.readouterr()
    assert status == (0 if name == "ls" else CALLS[name][1])
    assert "Traceback" not in printed.err
    if name not in ("ls", "export"):  # export names it among its problems
        assert re.fullmatch(r"h5scene: [^\n]*000002[^\n]+\n", printed.err)


def test_many_frames_and_scenes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with SceneFile("many.h5") as file, file.transaction():
        scenes = file.create_scenes("sim", 300)
        for frame in range(300):
            file.write_frame(frame, {scenes[0]: {"smoke": centered()}})
    assert run(["ls", "many.h5"]) == run(["info", "many.h5"]) == 0
    assert "0–299" in capsys.readouterr().out


@pytest.mark.parametrize("name", WRITING)
def test_a_file_that_somebody_else_writes(
    name: str, sample: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("h5scene.scene_file.DEFAULT_LOCK_TIMEOUT_S", 0.0)
    close_all()
    import fcntl

    with sample.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as HDF5 does it
        before = sample.read_bytes()
        store_timeout(monkeypatch)
        assert "has runs.h5 open for writing" in refused(name, "runs.h5", capsys).replace(
            f"{sample.parent}/", ""
        )
        assert sample.read_bytes() == before


def store_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes nobody wait for others."""
    monkeypatch.setattr(SceneFile.__init__, "__kwdefaults__", {
        **(SceneFile.__init__.__kwdefaults__ or {}), "lock_timeout_s": 0.0})  # fmt: skip
    from h5scene.handling import repacking

    monkeypatch.setattr(repacking.repack, "__kwdefaults__", {
        **(repacking.repack.__kwdefaults__ or {}), "lock_timeout_s": 0.0})  # fmt: skip
