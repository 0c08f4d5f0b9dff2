"""The demo, with a few steps."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from h5scene import SceneFile, compare

ROOT = Path(__file__).parents[2]
SCENE = "sim_000000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo leaves after a run over an older one."""
    pytest.importorskip("matplotlib", reason="the demo's extra is not installed")
    pytest.importorskip("rich", reason="the demo's extra is not installed")
    folder = tmp_path_factory.mktemp("demo")
    for steps in ("1", "3"):
        command = [sys.executable, ROOT / "tools" / "plume.py", "--steps", steps, "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == ""
    (folder / "output.txt").write_text(done.stdout, encoding="utf-8")
    return folder


def test_every_field_is_equal(folder: Path) -> None:
    output = (folder / "output.txt").read_text(encoding="utf-8")
    assert output.count("9 of 9") == 10  # five parts of nine fields, through two libraries


def test_frames_are_in_one_file(folder: Path) -> None:
    with h5py.File(folder / "plume.h5") as h5:
        (scene,) = (name for name in h5 if not name.startswith("_"))
        for name in ("smoke", "velocity", "pressure"):
            assert list(h5[scene][name]) == ["000000", "000001", "000002"]
    assert len(list((folder / "plume_phiflow").rglob("*.npz"))) == 9


def test_picture_is_drawn(folder: Path) -> None:
    assert (folder / "plume.png").read_bytes().startswith(b"\x89PNG")


KILLED_AT_FRAME_1 = """
import os, runpy, sys
sys.path.insert(0, os.path.dirname(sys.argv[1]))
from h5scene import Scene
write = Scene.write
def write_or_die(scene, data=None, frame=0):
    if frame == 1:
        os.kill(os.getpid(), 9)  # its time and curves are written
    write(scene, data, frame)
Scene.write = write_or_die
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are not killed like this")
def test_a_killed_run_goes_on_to_the_same_bits(folder: Path, tmp_path: Path) -> None:
    arguments = [ROOT / "tools" / "plume.py", "--steps", "3", "--out", tmp_path]
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_FRAME_1, *arguments], check=False)
    assert killed.returncode == -signal.SIGKILL
    with SceneFile(tmp_path / "plume.h5", "r") as file:
        assert file.frames(SCENE)["smoke"] == (0,)
        assert set(file.times(SCENE)) == {0, 1}
    done = subprocess.run(
        [sys.executable, *arguments, "--resume"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Going on after frame 0" in done.stdout
    assert done.stdout.count("6 of 6") == 10  # the fields of this run
    # Fields, times, curves and properties; the attached arguments name another folder.
    differing = compare(folder / "plume.h5", tmp_path / "plume.h5")
    assert {one.path for one in differing} <= {f"{SCENE}/src/context.json"}


def test_nothing_to_go_on_with(tmp_path: Path) -> None:
    command = [sys.executable, ROOT / "tools" / "plume.py", "--resume", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "leave --resume out" in done.stderr
