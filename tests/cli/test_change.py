"""`h5scene set`, `attach`, `rename`, `rm`, `repack`, `copy`, `split`: what they change, and say."""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import SceneFile, compare, copy_scenes, repack, split
from h5scene.cli import run
from h5scene.errors import (
    AlreadyExistsError,
    CorruptDataError,
    InvalidInputError,
    SceneNotFoundError,
)
from h5scene.store import close_all
from tests.cli.sample import SCENE
from tests.records import centered, content

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("sample")


def said(capsys: Capture, *arguments: str, status: int = 0) -> str:
    """Returns what a command prints."""
    capsys.readouterr()
    assert run(list(arguments)) == status
    printed = capsys.readouterr()
    return printed.out + printed.err


# --- set, attach, rename --------------------------------------------------------------------------


def test_set(capsys: Capture) -> None:
    out = said(capsys, "set", "runs.h5/0", "dt=0.5", "list=[1, 2]", "note=two words", "x=y=z",
               "empty=", "--remove", "nan")  # fmt: skip
    assert out == "runs.h5/sim_000000: set 5 properties; removed nan\n"
    with SceneFile("runs.h5", "r") as file:
        assert file.properties(SCENE) == {
            "dt": 0.5, "list": [1, 2], "note": "two words", "x": "y=z", "empty": "",
        }  # fmt: skip
    assert said(capsys, "set", "runs.h5/0", "dt=0042", "--text").endswith("set 1 property\n")
    assert said(capsys, "get", "runs.h5/0", "dt") == "0042\n"


def test_set_does_all_or_nothing(sample: Path, capsys: Capture) -> None:
    before = content(sample)
    out = said(capsys, "set", "runs.h5/0", "dt=9", "--remove", "none", status=1)
    assert out == (
        "h5scene: no property 'none' in runs.h5/sim_000000; it has 'dt', 'nan', 'note'\n"
    )
    assert content(sample) == before


def test_attach(tmp_path: Path, capsys: Capture) -> None:
    Path("a.py").write_bytes(b"one")
    Path("b.txt").write_bytes(b"two")
    out = said(capsys, "attach", "runs.h5/0", "a.py", "b.txt")
    assert out == "Attached 2 files, 6 bytes, to runs.h5/sim_000000: src/a.py, src/b.txt\n"
    assert said(capsys, "cat", "runs.h5/0/src/a.py") == "one"
    Path("a.py").write_bytes(b"three")
    Path("c.py").write_bytes(b"new")
    assert "has src/a.py already; --overwrite replaces" in said(
        capsys, "attach", "runs.h5/0", "c.py", "a.py", status=1
    )
    with SceneFile("runs.h5", "r") as file:
        assert file.read_file(SCENE, "src/a.py") == b"one"
        assert "src/c.py" not in file.files(SCENE)
    said(capsys, "attach", "runs.h5/0", "a.py", "--overwrite")
    said(capsys, "attach", "runs.h5/0", "b.txt", "--into", "")
    assert said(capsys, "cat", "runs.h5/0/src/a.py") == "three"
    assert said(capsys, "cat", "runs.h5/0/b.txt") == "two"


def test_rename(capsys: Capture) -> None:
    assert said(capsys, "rename", "runs.h5/1", "best") == "Renamed runs.h5/sim_000001 to best\n"
    assert said(capsys, "ls", "-1", "runs.h5") == "best\nsim_000000\n"
    assert "has it already" in said(capsys, "rename", "runs.h5/0", "best", status=1)


# --- rm -------------------------------------------------------------------------------------------


def test_rm(sample: Path, capsys: Capture) -> None:
    targets = ["runs.h5/1", "runs.h5/0/density", "runs.h5/0/smoke/1", "runs.h5/0/src/plume.py"]
    before = content(sample)
    out = said(capsys, "rm", *targets, "--dry-run")
    assert out.splitlines() == [
        "Would remove runs.h5/sim_000001: 3 fields, 7 frames, and all else that is in it",
        "Would remove runs.h5/sim_000000/density: 1 frame",
        "Would remove runs.h5/sim_000000/smoke: 1 frame (1) of 3",
        "Would remove runs.h5/sim_000000/src/plume.py: attached file",
    ]
    assert content(sample) == before
    assert said(capsys, "rm", *targets, "--yes").startswith("Removed 4 items; h5scene repack")
    with SceneFile("runs.h5", "r") as file:
        assert file.scenes == (SCENE,)
        assert file.frames(SCENE) == {"smoke": (0, 2), "velocity": (0, 1, 2)}
        assert file.files(SCENE) == ("log",)


def test_rm_of_some_frames(capsys: Capture) -> None:
    said(capsys, "rm", "runs.h5/0/smoke", "runs.h5/1/velocity", "--frames", "1:", "-y")
    with SceneFile("runs.h5", "r") as file:
        assert file.frames(SCENE)["smoke"] == (0,)
        assert file.frames("sim_000001")["velocity"] == (0,)
        assert file.frames("sim_000001")["smoke"] == (0, 1, 2)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (["runs.h5/9"], "no scene '9'"),
        (["runs.h5/0/none"], "no field 'none'"),
        (["runs.h5/0/smoke/9"], "no frame 9"),
        (["runs.h5/0/smoke/x"], "is no frame"),
        (["runs.h5/0/src/none.py"], "no field or attached file 'src/none.py'"),
    ],
)
def test_rm_removes_nothing_when_something_is_missing(
    sample: Path, target: list[str], text: str, capsys: Capture
) -> None:
    before = content(sample)
    assert text in said(capsys, "rm", "runs.h5/1", *target, "-y", status=1)
    assert content(sample) == before


def test_rm_of_frames_needs_fields_that_have_them(sample: Path, capsys: Capture) -> None:
    out = said(capsys, "rm", "runs.h5/0/smoke", "--frames", "5:9", "-y", status=1)
    assert "is one of those" in out
    assert "needs fields" in said(capsys, "rm", "runs.h5/0", "--frames", "1", "-y", status=2)


def test_rm_asks(sample: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(sample)
    assert "add --yes" in said(capsys, "rm", "runs.h5/0", status=2)
    assert content(sample) == before
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    for answer, status in ((False, 1), (True, 0)):
        monkeypatch.setattr("click.confirm", lambda *_, answer=answer, **__: answer)
        out = said(capsys, "rm", "runs.h5/0", status=status)
        assert "To be removed: runs.h5/sim_000000: 3 fields" in out
        with SceneFile("runs.h5", "r") as file:
            assert file.has_scene(SCENE) is not answer


# --- copy -----------------------------------------------------------------------------------------


def test_copy_of_a_file(sample: Path, capsys: Capture) -> None:
    assert said(capsys, "copy", "runs.h5", "b.h5").startswith("Copied runs.h5 to b.h5, ")
    assert content("b.h5") == content(sample)
    out = said(capsys, "copy", "runs.h5", "b.h5", status=1)
    assert "has 'sim_000000', 'sim_000001' already; nothing was copied" in out


def test_copy_of_scenes(sample: Path, capsys: Capture) -> None:
    said(capsys, "copy", "runs.h5/0", "new.h5")
    said(capsys, "copy", "runs.h5/0", "new.h5/best")
    said(capsys, "copy", "runs.h5/0", "runs.h5/again")
    said(capsys, "copy", "runs.h5", "new.h5", "-s", "*_000001")
    with SceneFile("new.h5", "r") as file:
        assert file.scenes == ("best", "sim_000000", "sim_000001")
    for copy in ("new.h5/0", "new.h5/best", "runs.h5/again"):
        assert compare("runs.h5/0", copy) == ()
    ours, theirs = content("runs.h5"), content("new.h5")
    prefix = f"/{SCENE}"
    assert {k: v for k, v in ours.items() if k.startswith(prefix)} == {
        k: v for k, v in theirs.items() if k.startswith(prefix)
    }
    with SceneFile("new.h5") as file:
        file.remove_fields("best", ["smoke"])
    said(capsys, "copy", "runs.h5/0", "new.h5/best", status=1)
    said(capsys, "copy", "runs.h5/0", "new.h5/best", "--overwrite")
    assert compare("runs.h5/0", "new.h5/best") == ()
    assert "cannot be copied onto itself" in said(capsys, "copy", "runs.h5/0", "runs.h5", status=1)
    assert "named like that" in said(capsys, "copy", "runs.h5", "x.h5", "-s", "no*", status=1)
    assert not Path("x.h5").exists()


def test_copies_leave_a_target_alone_when_they_fail(sample: Path) -> None:
    with SceneFile("b.h5") as file:
        file.create_scene("sim_000001")
    before = content("b.h5")
    with pytest.raises(AlreadyExistsError):
        copy_scenes("runs.h5", "b.h5")
    with pytest.raises(SceneNotFoundError):
        copy_scenes("runs.h5", "b.h5", ["none"], overwrite=True)
    with pytest.raises(InvalidInputError, match="one name"):
        copy_scenes("runs.h5", "b.h5", {SCENE: "x", "sim_000001": "x"})
    assert content("b.h5") == before


def test_a_copy_is_one_state_of_a_file_that_changes(tmp_path: Path) -> None:
    """The first attempt is spoilt by a commit; what it has copied is replaced."""
    commits = []

    def disturb(done: int, total: int) -> None:
        if not commits:
            commits.append(done)
            code = (
                "from h5scene import SceneFile\n"
                "with SceneFile('runs.h5') as f: f.put_properties({'sim_000000': {'dt': 7}})"
            )
            subprocess.run([sys.executable, "-c", code], check=True)

    assert copy_scenes("runs.h5", "b.h5", on_progress=disturb) == (SCENE, "sim_000001")
    assert commits
    assert compare("runs.h5", "b.h5") == ()
    with SceneFile("b.h5", "r") as file:
        assert file.properties(SCENE)["dt"] == 7


# --- split ----------------------------------------------------------------------------------------


def test_split(capsys: Capture) -> None:
    assert said(capsys, "split", "runs.h5", "out") == "2 files in out\n"
    names = ["sim_000000.h5", "sim_000001.h5"]
    assert sorted(path.name for path in Path("out").iterdir()) == names
    for scene in (SCENE, "sim_000001"):
        assert compare(f"runs.h5/{scene}", f"out/{scene}.h5/{scene}") == ()
    inodes = {name: Path("out", name).stat().st_ino for name in names}
    assert said(capsys, "split", "runs.h5", "out") == "2 files in out\n"  # goes on
    assert inodes == {name: Path("out", name).stat().st_ino for name in names}
    with SceneFile("out/sim_000000.h5") as file:  # a scene file like any other
        file.write_frame(9, {SCENE: {"smoke": centered()}})
    assert split("runs.h5", "pairs", scenes_per_file=2) == ("pairs/sim_000000.h5",)
    assert compare("runs.h5", "pairs/sim_000000.h5") == ()
    with pytest.raises(AlreadyExistsError, match="other scenes"):
        split("runs.h5", "pairs")
    assert "named like that" in said(capsys, "split", "runs.h5", "x", "-s", "no", status=1)


# --- repack ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["keep", "fast", "small", "none"])
def test_repack(sample: Path, compression: str, capsys: Capture) -> None:
    with SceneFile("runs.h5") as file:
        big = np.random.default_rng(0).random((200, 200)).astype(np.float32)
        file.write_frame(0, {SCENE: {"gone": centered(big)}})
        file.write_frame(0, {SCENE: {"smooth": centered(np.zeros((200, 200), np.float32))}})
        file.remove_fields(SCENE, ["gone"])
    sample.chmod(0o604)
    before, length = content(sample), sample.stat().st_size
    out = said(capsys, "repack", "runs.h5", "--compression", compression)
    assert re.fullmatch(
        r"Repacked runs\.h5: .* before, .* now, .* (less|more); compared, all is the same\n", out
    )
    assert content(sample) == before
    assert sample.stat().st_mode & 0o777 == 0o604
    assert sorted(one.name for one in sample.parent.iterdir()) == ["runs.h5"]
    with h5py.File(sample) as file:
        filters = file[f"{SCENE}/smooth/000000"].compression
    assert filters == (None if compression == "none" else "gzip")
    if compression != "none":
        assert sample.stat().st_size < length - big.nbytes / 2
    with SceneFile("runs.h5") as file:
        file.write_frame(3, {SCENE: {"smoke": centered()}})
    assert SceneFile("runs.h5", "r").frames(SCENE)["smoke"] == (0, 1, 2, 3)


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed")
def test_hdf5_tools_read_what_commands_wrote(sample: Path) -> None:
    """HDF5 1.10 prints the same numbers of a file that was repacked, copied and split."""

    def numbers(path: str) -> str:
        command = ["h5dump", "-y", "-d", f"/{SCENE}/smoke/000001", path]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return printed.split("DATA {")[1]

    assert run(["copy", "runs.h5/0", "copied.h5"]) == run(["split", "runs.h5", "out"]) == 0
    assert run(["repack", "runs.h5", "--compression", "small"]) == 0
    close_all()
    assert numbers("runs.h5") == numbers("copied.h5") == numbers("out/sim_000000.h5")
    listed = subprocess.run(
        ["h5ls", f"runs.h5/{SCENE}"], capture_output=True, text=True, check=True
    ).stdout
    assert [line.split()[0] for line in listed.splitlines()] == [
        "_curves", "_files", "_times", "density", "smoke", "velocity",
    ]  # fmt: skip


def test_repack_keeps_what_is_not_ours(sample: Path) -> None:
    close_all()
    with h5py.File(sample, "r+") as file:
        file[f"{SCENE}/smoke"].attrs["units"] = "m"
        file[f"{SCENE}/smoke/notes"] = "by hand"
        file["elsewhere/data"] = np.arange(5)
        file["link"] = h5py.SoftLink("/elsewhere/data")
    before = content(sample)
    repack(sample, compression="small")
    assert content(sample) == before


def test_repack_refuses_a_damaged_file(sample: Path, capsys: Capture) -> None:
    close_all()
    with h5py.File(sample) as file:
        info = file[f"{SCENE}/smoke/000001"].id.get_chunk_info(0)
    data = bytearray(sample.read_bytes())
    data[info.byte_offset + 30 : info.byte_offset + 60] = bytes(30)
    sample.write_bytes(data)
    out = said(capsys, "repack", "runs.h5", status=1)
    assert "is damaged" in out
    assert sample.read_bytes() == data
    assert sorted(one.name for one in sample.parent.iterdir()) == ["runs.h5"]


def test_repack_notices_a_wrong_copy(sample: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from h5scene.handling import hdf5_trees

    before = sample.read_bytes()
    make_dataset = hdf5_trees.TreeCopy._make_dataset

    def forgetful(self: Any, source: Any, link: bytes, *others: Any, **options: Any) -> None:
        if link != b"000002":
            make_dataset(self, source, link, *others, **options)

    monkeypatch.setattr(hdf5_trees.TreeCopy, "_make_dataset", forgetful)
    with pytest.raises(CorruptDataError, match="has other members"):
        repack(sample)
    assert sample.read_bytes() == before


def test_metadata_stand_together(tmp_path: Path) -> None:
    """Reading the descriptions of many frames touches few places of a repacked file."""
    path = tmp_path / "frames.h5"
    values = np.random.default_rng(0).random((64, 64))
    with SceneFile(path) as file:
        file.create_scene("s")
        for frame in range(60):
            file.write_frame(frame, {"s": {"u": centered(values + frame)}})

    def places() -> int:
        """Returns how many blocks of 16 KB are read to look at all frames."""
        close_all()
        seen = set()

        class Counting(io.BufferedIOBase):
            def __init__(self, raw: Any) -> None:
                self.raw = raw

            def seek(self, offset: int, whence: int = 0) -> int:
                return int(self.raw.seek(offset, whence))

            def tell(self) -> int:
                return int(self.raw.tell())

            def readinto(self, buffer: Any) -> int:
                start = self.raw.tell()
                seen.update(range(start >> 14, (start + len(buffer) + 16383) >> 14))
                return int(self.raw.readinto(buffer))

        with path.open("rb") as raw, h5py.File(Counting(raw), "r") as opened:
            field = opened["s/u"]
            assert [field[name].shape for name in field] == [(64, 64)] * 60
        return len(seen)

    scattered = places()
    repack(path)
    together = places()
    assert scattered > 40
    assert together <= 8


# --- interrupted ----------------------------------------------------------------------------------

INTERRUPTED = """
import os, signal, sys
from h5scene.handling import hdf5_trees
from h5scene.store import copying

count = 0

def interrupting(function):
    def call(*arguments, **options):
        global count
        count += 1
        if count == {after}:
            os.kill(os.getpid(), signal.SIGINT)
        return function(*arguments, **options)
    return call

hdf5_trees.h5py.h5o.get_info = interrupting(hdf5_trees.h5py.h5o.get_info)
copying._BLOCK_BYTES = 512
copying.interruption_point = interrupting(copying.interruption_point)
from h5scene.cli import main
main({arguments!r})
"""


@pytest.mark.parametrize("after", [1, 6, 12])
@pytest.mark.parametrize(
    "arguments",
    [
        ["repack", "runs.h5"],
        ["repack", "runs.h5", "--compression", "small"],
        ["copy", "runs.h5/0", "other.h5"],
        ["copy", "runs.h5", "whole.h5"],
        ["split", "runs.h5", "out"],
    ],
    ids=" ".join,
)
def test_interrupted_commands_leave_files_as_they_were(
    sample: Path, arguments: list[str], after: int
) -> None:
    """A real SIGINT, in the middle of the work."""
    with SceneFile("other.h5") as file:
        file.create_scene("mine")
    close_all()
    before = {path: path.read_bytes() for path in sample.parent.iterdir()}
    code = INTERRUPTED.format(after=after, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip().startswith("h5scene: interrupted")
    assert done.stderr.strip().count("\n") == 0
    left = {path: path.read_bytes() for path in sample.parent.iterdir() if path.is_file()}
    assert left == before
    if arguments[0] == "split":  # files that are whole, and nothing else
        for path in Path("out").iterdir():
            assert compare(f"runs.h5/{path.stem}", f"{path}/{path.stem}") == ()
    assert run(arguments) == 0


def test_ctrl_c_on_a_terminal(sample: Path) -> None:
    """While the command waits for an answer."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from h5scene.cli import main; import sys\n"
         "sys.stdin.isatty = lambda: True\nmain(['rm', 'runs.h5/0'])"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    asked = ""
    while "y/N" not in asked:
        piece = process.stderr.read(1)
        assert piece, asked
        asked += piece
    before = sample.read_bytes()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in error
    assert sample.read_bytes() == before
