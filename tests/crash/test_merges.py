"""Merges that are killed at random moments lose nothing, and show no half of a scene."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from h5scene import SceneFile, compare, merge
from h5scene.handling import scene_copies
from h5scene.store import close_all
from tests.crash.children import Child, in_child
from tests.merging import members
from tests.records import centered

FRAMES = {"sim_000000": 40, "sim_000001": 3, "sim_000002": 25}


def make(path: Path, *scenes: str) -> None:
    """Writes scenes of small frames, and a large one."""
    with SceneFile(path) as file, file.transaction():
        for scene in scenes:
            file.create_scene(scene)
            for frame in range(FRAMES[scene]):
                size = 600 if frame == 2 else 8
                values = np.random.default_rng(frame).normal(size=(size, size))
                file.write_frame(frame, {scene: {"smoke": centered(values)}})


def merged(folder: Path, *, move: bool) -> Any:
    """Merges what is left of the inputs, in small portions."""
    scene_copies.PORTION_OBJECTS = 7
    paths = [path for path in (folder / "a.h5", folder / "b.h5") if path.exists()]
    return merge(paths, folder / "all.h5", move=move) if paths else None


def problem(folder: Path, *, move: bool) -> str:
    """Returns what is wrong with the files; in a child, because damage may end the process."""
    target = folder / "all.h5"
    there = ()
    if target.exists():
        with SceneFile(target, "r") as file:
            there = file.scenes
    for name in ("a", "b"):
        path, before = folder / f"{name}.h5", folder / f"{name}.before.h5"
        if not path.exists() and not move:
            return f"{path} is gone"
        with SceneFile(before, "r") as file:
            scenes = file.scenes
        if path.exists() and compare(path, before):
            return f"{path} is not what it was"
        for scene in scenes:
            if scene not in there and not path.exists():
                return f"{scene} is lost"
            if scene in there and compare(f"{before}/{scene}", f"{target}/{scene}"):
                return f"{scene} is not what it was"
    return ""


@pytest.mark.parametrize("move", [False, True], ids=["copied", "moved"])
def test_killed_at_random_moments(tmp_path: Path, move: bool) -> None:
    make(tmp_path / "a.h5", "sim_000000", "sim_000001")
    make(tmp_path / "b.h5", "sim_000002")
    close_all()
    for name in ("a", "b"):
        (tmp_path / f"{name}.before.h5").write_bytes((tmp_path / f"{name}.h5").read_bytes())
    rng = random.Random(7)

    def run(report: Any) -> None:
        report("begins")
        merged(tmp_path, move=move)

    for _ in range(12):
        child = Child(run)
        child.receive()
        time.sleep(rng.random() * 0.06)  # where it is then does not matter
        child.kill()
        child.remaining()
        assert in_child(lambda: problem(tmp_path, move=move)) == ""
        if not move and rng.random() < 0.2:
            (tmp_path / "all.h5").unlink(missing_ok=True)  # so that it does not come to an end
    last = in_child(lambda: merged(tmp_path, move=move))
    assert last is None or last.problems == {}
    assert in_child(lambda: problem(tmp_path, move=move)) == ""
    assert members(str(tmp_path / "all.h5")) == sorted(FRAMES)
    assert (tmp_path / "a.h5").exists() is not move
