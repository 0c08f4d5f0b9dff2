"""The demo, with a few steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

ROOT = Path(__file__).parents[2]


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
