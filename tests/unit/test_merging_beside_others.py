"""Merging in portions: beside others who write, and gone on with after it was cut off."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from h5scene import SceneFile, compare, merge
from h5scene.errors import (
    BusyError,
    StorageError,
)
from h5scene.format import layout
from h5scene.store import close_all, only_merger, system
from tests.crash.children import Child
from tests.merging import members, write
from tests.records import content

pytestmark = pytest.mark.usefixtures("in_tmp_path")


# --- in portions, and beside others ---------------------------------------------------------------


def test_no_scene_is_seen_before_it_is_complete_and_others_write_meanwhile(
    portions: None,
) -> None:
    write("a.h5", "sim_000000", "sim_000001", frames=10)
    seen = []

    def other(report: Callable[[Any], None]) -> None:
        with SceneFile("all.h5", lock_timeout_s=0) as file:
            file.create_scenes("mine")
            report(file.scenes)

    def look(done: int, total: int) -> None:
        scenes = Child(other).receive()
        seen.append([scene for scene in scenes if scene.startswith("sim")])
        with SceneFile("all.h5", "r") as file:
            for scene in seen[-1]:
                assert file.frames(scene) == {"smoke": tuple(range(10))}

    done = merge("a.h5", "all.h5", on_progress=look)
    assert done.problems == {}
    counts = [len(scenes) for scenes in seen]
    assert counts == sorted(counts)
    assert {0, 1, 2} == set(counts)
    assert layout.MERGING_GROUP not in members("all.h5")


def test_numbers_that_others_take_meanwhile_are_not_given_twice(portions: None) -> None:
    write("a.h5", "sim_000000", "sim_000001", frames=6)

    def take(done: int, total: int) -> None:
        with SceneFile("all.h5") as file:
            file.create_scenes("sim")

    done = merge("a.h5", "all.h5", ids="renumber", on_progress=take)
    assert done.problems == {}
    with SceneFile("all.h5", "r") as file:
        merged = [scene for scene in file.scenes if file.fieldnames(scene)]
        assert sorted(done.scenes.values()) == merged
        assert len(file.scenes) > 4


def test_a_name_that_somebody_takes_meanwhile_is_left_to_them(portions: None) -> None:
    write("a.h5", "sim_000000", "sim_000001", frames=6)

    def take(done: int, total: int) -> None:
        with SceneFile("all.h5") as file:
            file.create_scene("sim_000001")

    done = merge("a.h5", "all.h5", on_progress=take)
    assert list(done.problems) == ["a.h5/sim_000001"]
    assert list(done.scenes.values()) == ["sim_000000"]
    with SceneFile("all.h5", "r") as file:
        assert file.fieldnames("sim_000001") == ()
    assert members("all.h5") == ["sim_000000", "sim_000001"]


def test_one_merges_at_a_time() -> None:
    write("a.h5")

    def hold(report: Callable[[Any], None]) -> None:
        with only_merger("all.h5"):
            report("inside")
            signal.pause()

    child = Child(hold)
    child.receive()
    with pytest.raises(BusyError, match="already"):
        merge("a.h5", "all.h5", lock_timeout_s=0)
    assert not Path("all.h5").exists()
    child.kill()
    merge("a.h5", "all.h5", lock_timeout_s=0)


@pytest.mark.parametrize("reports", [1, 2, 5, 8])
@pytest.mark.parametrize("ids", ["keep", "renumber"])
def test_a_merge_that_was_killed_is_gone_on_with(
    reports: int, ids: Any, portions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("sim_000000", "sim_000001")
    write("a.h5", *names, frames=12)
    write("b.h5", "sim_000002", frames=3)
    merge(["a.h5", "b.h5"], "whole.h5", ids=ids)
    whole = content_of("whole.h5")

    def run(report: Callable[[Any], None]) -> None:
        def say(done: int, total: int) -> None:
            report(done)
            if done >= total:
                signal.pause()

        merge(["a.h5", "b.h5"], "all.h5", ids=ids, on_progress=say)

    child = Child(run)
    for _ in range(reports):
        child.receive()
    child.kill()
    with SceneFile("all.h5", "r") as file:
        for scene in file.scenes:  # no half of one
            assert file.frames(scene)["smoke"] in (tuple(range(12)), tuple(range(3)))
    frames_before = staged_frames("all.h5")
    done = merge(["a.h5", "b.h5"], "all.h5", ids=ids)
    assert done.problems == {}
    assert content_of("all.h5") == whole
    copied = done.stored_bytes // (4 * 4 * 4)
    there = sum(12 if path == "a.h5" else 3 for path, _ in done.already)
    assert copied == 27 - there - frames_before
    assert reports < 2 or there + frames_before > 0


def content_of(path: str) -> dict[str, Any]:
    close_all()
    return content(path)


def staged_frames(path: str) -> int:
    """Returns how many frames of unfinished scenes are in a file."""
    close_all()
    with h5py.File(path) as file:
        group = file.get(layout.MERGING_GROUP, {})
        return sum(len(group[scene].get("smoke", ())) for scene in group)


def test_what_another_killed_merge_has_left_is_removed(portions: None) -> None:
    write("a.h5", frames=12)
    write("b.h5", "sim_000001")

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        merge("a.h5", "all.h5", on_progress=stop)
    assert members("all.h5") == [layout.MERGING_GROUP]
    with SceneFile("a.h5") as file:  # the copy is of an older state now
        file.put_properties({"sim_000000": {"new": 1}})
    merge("b.h5", "all.h5")
    assert members("all.h5") == ["sim_000001"]
    merge("a.h5", "all.h5")
    assert compare("a.h5/0", "all.h5/0") == ()


def test_a_full_disk_leaves_what_was_merged_before(
    portions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.h5", "sim_000000")
    write("b.h5", "sim_000001", frames=12)
    merge("a.h5", "all.h5")
    close_all()
    write_bytes = system.Disk.write
    left = 30

    def full(self: system.Disk, data: Any, offset: int) -> None:
        nonlocal left
        if self.path.endswith("all.h5"):
            left -= 1
            if left < 0:
                raise OSError(28, "No space left on device")
        write_bytes(self, data, offset)

    monkeypatch.setattr(system.Disk, "write", full)
    with pytest.raises(StorageError, match="No space"):
        merge("b.h5", "all.h5", move=True)
    monkeypatch.setattr(system.Disk, "write", write_bytes)
    assert Path("b.h5").exists()
    with SceneFile("all.h5", "r") as file:
        assert file.scenes == ("sim_000000",)
    assert merge("b.h5", "all.h5", move=True).removed == ("b.h5",)
    with SceneFile("all.h5", "r") as file:
        assert file.frames("sim_000001") == {"smoke": tuple(range(12))}
