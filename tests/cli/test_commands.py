"""The `h5scene` command: what it prints where, and its exit status."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from h5scene import SceneFile
from h5scene.cli import _SUBCOMMANDS, run
from tests.cli.sample import on_terminal
from tests.interop.scene_trees import make_scene, tree
from tests.records import centered


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory `data` of two scenes in the current directory."""
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        make_scene(tmp_path / "data", frames=2)
    return tmp_path / "data"


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Returns what was printed on standard output and standard error."""
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_import_and_export(parent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["import", "data", "runs.h5", "--verify"]) == 0
    out, err = said(capsys)
    assert re.fullmatch(
        r"Imported 2 scenes, 8 frames, 14 files, [0-9.]+ kB into runs\.h5 in [0-9.]+ s; verified\n",
        out,
    )
    assert err == ""
    assert run(["export", "runs.h5", "out", "--verify", "--jobs", "2"]) == 0
    out, err = said(capsys)
    assert out.startswith("Exported 2 scenes, 8 frames, ")
    assert err == ""
    assert tree(parent.with_name("out")) == tree(parent)
    assert run(["export", "runs.h5", "out"]) == 0
    assert "items there already (--overwrite replaces them)" in said(capsys)[0]


def test_options_choose(parent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["-s", "*_000001", "-f", "smoke", "--frames", "1:", "--compression", "none"]
    assert run(["import", "data", "runs.h5", *options]) == 0
    assert said(capsys)[0].startswith("Imported 1 scene, 1 frame, ")
    with SceneFile("runs.h5", "r") as file:
        assert {scene: file.frames(scene) for scene in file.scenes} == {
            "sim_000001": {"smoke": (1,)}
        }
    assert run(["import", "data", "b.h5", "--frames", "0,5", "--dry-run"]) == 0
    assert said(capsys)[0].startswith("Would import 2 scenes, ")
    assert not Path("b.h5").exists()


def test_problems_are_named_and_the_status_is_1(
    parent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (parent / "sim_000000" / "smoke_000000.npz").write_bytes(b"damaged")
    (parent / "sim_000001" / "description.json").write_text("{")
    assert run(["import", "data", "runs.h5"]) == 1
    out, err = said(capsys)
    assert out.startswith("Imported 2 scenes, 7 frames, ")
    assert out.endswith("; 2 problems\n")
    assert f"{parent}/sim_000000/smoke_000000.npz: it is no complete zip file" in err
    assert f"{parent}/sim_000001/description.json: not JSON" in err


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["import", "no", "runs.h5"], 2, "does not exist"),
        (["import", "data", "runs.h5", "--frames", "x"], 2, "is not like 7"),
        (["import", "data", "runs.h5", "--max-array", "big"], 2, "is not like 500M"),
        (["import", "data", "runs.h5", "--jobs", "0"], 2, "not in the range"),
        (["import", "data", "runs.h5", "-s", "no"], 1, "h5scene: no scene to import in"),
        (["export", "data/sim_000000/info.log", "out"], 1, "is not an HDF5 file"),
        (["export", "no.h5", "out"], 2, "does not exist"),
        (["fly"], 2, "No such command"),
    ],
)
def test_errors_are_lines_without_traceback(
    parent: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    text: str,
) -> None:
    assert run(arguments) == status
    out, err = said(capsys)
    assert out == ""
    assert text in err
    assert "Traceback" not in err


def test_what_npz_cannot_hold_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with SceneFile("runs.h5") as file:
        file.create_scene("sim")
        file.write_frame(1_000_000, {"sim": {"smoke": centered()}})
    assert run(["export", "runs.h5", "out"]) == 0
    err = said(capsys)[1]
    assert "Kept beside the npz files" in err
    assert "sim: smoke, frame 1000000: frames above 999,999" in err
    assert run(["export", "runs.h5", "quiet", "-q"]) == 0
    assert said(capsys)[1] == ""


def test_names_from_files_cannot_control_the_terminal(
    parent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (parent / "sim_000000" / "\x1b[2J\n").write_text("x")
    assert run(["import", "data", "runs.h5"]) == 1
    out, err = said(capsys)
    assert "\x1b" not in out + err
    assert r"\x1b[2J\n" in err


def test_every_subcommand_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = said(capsys)[0]
    for name in _SUBCOMMANDS:
        assert f"  {name}  " in listed
        assert run([name, "--help"]) == 0
        assert "Exit status: 0" in said(capsys)[0]


def test_help_does_not_import_phiflow_or_hdf5() -> None:
    program = (
        "import sys; from h5scene.cli import run; run(['import', '--help']); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"phi", "h5py", "numpy"} & set(done.stdout.split())


def test_import_and_export_do_not_import_phiflow(parent: Path) -> None:
    program = (
        "import sys; from h5scene.cli import run\n"
        "assert run(['import', 'data', 'a.h5', '--verify']) == 0\n"
        "assert run(['export', 'a.h5', 'out', '--verify']) == 0\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"phi", "phiml"} & set(done.stdout.split())


def test_module_is_the_command(parent: Path) -> None:
    command = [sys.executable, "-m", "h5scene", "import", "data", "runs.h5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Imported 2 scenes")


def test_a_bar_is_drawn_on_a_terminal(parent: Path) -> None:
    arguments = ["import", "data", "runs.h5"]
    status, printed = on_terminal(arguments, 80)
    assert status == 0
    assert "Importing" in printed
    assert "scene 2 of 2" in printed
    assert "B/s" in printed
    last = re.sub(r"\x1b\[[0-9?;]*[A-Za-z]", "", printed).strip().split("\r")[-1].split("\n")[-1]
    assert last.startswith("Imported 2 scenes, 8 frames")
    assert "Importing" not in on_terminal([*arguments, "--quiet"], 80)[1]
