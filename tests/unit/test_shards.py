"""Shards: workers that write beside a file, and the file that they are together."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phi.field import CenteredGrid
from phi.geom import Box
from phiml.math import batch

from h5scene import Scene, SceneFile, compare, merge
from h5scene.cli import run
from h5scene.errors import (
    AlreadyExistsError,
    H5SceneError,
    InvalidInputError,
    ReadOnlyError,
    SceneNotFoundError,
)
from h5scene.shards import Places, ShardedFile, shard_of_job, shard_path
from h5scene.store import close_all, locks, system
from tests.crash.children import Child, in_child


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


def grid(value: float) -> CenteredGrid:
    return CenteredGrid(value, 0, Box(x=1, y=1), x=4, y=3)


def create(worker: int, workers: int = 4, *, path: str = "all", **options: Any) -> Scene:
    """Creates a scene in the shard of a worker, with one frame."""
    scene = Scene.create(path, shard=(worker, workers), copy_calling_script=False, **options)
    scene.write(smoke=grid(worker), frame=0)
    return scene


def shards() -> list[str]:
    return sorted(path.name for path in Path("all.h5.shards").iterdir() if path.suffix == ".h5")


# --- writing --------------------------------------------------------------------------------------


def test_workers_write_files_of_their_own_and_take_numbers_of_their_own() -> None:
    paths = [create(worker).path for worker in (3, 0, 3, 0, 1)]
    assert paths == [f"all.h5/sim_{n:06d}" for n in (3, 0, 7, 4, 1)]
    assert shards() == ["0-of-4.h5", "1-of-4.h5", "3-of-4.h5"]
    assert not Path("all.h5").exists()


def test_a_batch_and_other_series() -> None:
    scenes = Scene.create("all", batch(run=3), shard=(1, 12), copy_calling_script=False)
    assert list(scenes.paths) == [f"all.h5/sim_{n:06d}" for n in (1, 13, 25)]
    other = Scene.create("all", name="test", shard=(1, 12), copy_calling_script=False)
    assert other.path == "all.h5/test_000001"
    assert shards() == ["01-of-12.h5"]
    scenes.write(smoke=grid(1), frame=3)
    assert Scene.at("all", 13).frames == (3,)
    assert scenes.run[2].rename("late").path == "all.h5/late"
    assert Scene.at("all.h5/late").frames == (3,)


def test_two_numbers_of_workers_are_refused() -> None:
    create(3, 4)
    with pytest.raises(InvalidInputError, match="shards of 4 workers, and this is one of 8"):
        create(3, 8)
    with pytest.raises(InvalidInputError, match="merge them"):
        Scene.create("all", copy_calling_script=False)
    assert shards() == ["3-of-4.h5"]


@pytest.mark.parametrize("shard", [(4, 4), (-1, 4), (0, 0), (0,), 3, "pbs", (0, 1, 2), ("a", 4)])
def test_what_is_no_worker(shard: Any) -> None:
    with pytest.raises(InvalidInputError):
        Scene.create("all", shard=shard)
    assert not Path("all.h5.shards").exists()


def test_numbers_that_were_merged_are_not_taken_again() -> None:
    for worker in range(3):
        create(worker, 3)
    assert merge("all.h5.shards", "all.h5", move=True).problems == {}
    assert not Path("all.h5.shards").exists()
    assert create(1, 3).path == "all.h5/sim_000004"
    assert create(0, 3).path == "all.h5/sim_000003"
    with SceneFile("all.h5") as file:
        file.create_scene("sim_000010")
    assert create(2, 3).path == "all.h5/sim_000011"
    assert merge("all.h5.shards", "all.h5", move=True).problems == {}
    assert Scene.create("all", copy_calling_script=False).path == "all.h5/sim_000012"


def test_many_workers_at_once_never_take_the_same_number() -> None:
    def work(worker: int) -> Callable[[Any], list[str]]:
        def write(report: Any) -> list[str]:
            return [create(worker, 4).path for _ in range(5)]

        return write

    children = [Child(work(worker)) for worker in range(4)]
    paths = [path for child in children for path in child.result()]
    assert sorted(paths) == [f"all.h5/sim_{n:06d}" for n in range(20)]
    done = merge("all.h5.shards", "all.h5", move=True)
    assert (len(done.scenes), done.problems) == (20, {})


def test_a_shard_that_a_merge_removes_at_this_moment_is_begun_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create(1)
    close_all()
    is_first = True
    enter = SceneFile.transaction

    def merged_before(self: SceneFile) -> Any:
        nonlocal is_first
        if is_first:
            is_first = False
            in_child(lambda: merge("all.h5.shards", "all.h5", move=True))
            assert Path("all.h5").exists()
        return enter(self)

    monkeypatch.setattr(SceneFile, "transaction", merged_before)
    assert create(1).path == "all.h5/sim_000005"


def test_shards_need_no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> bool:
        raise system.LocksUnsupported

    monkeypatch.setattr(system, "try_lock", refuse)
    monkeypatch.setattr(locks, "_warned_about", set())
    with pytest.warns(RuntimeWarning, match="no file locks"):
        create(0)
    create(1)
    assert len(Scene.list("all")) == 2
    done = merge("all.h5.shards", "all.h5", move=True)
    assert (len(done.scenes), done.problems, len(done.removed)) == (2, {}, 2)


# --- Slurm ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param({"ARRAY_TASK_ID": 3, "ARRAY_TASK_MAX": 7}, (3, 8), id="array"),
        pytest.param({"ARRAY_TASK_ID": 8, "ARRAY_TASK_MAX": 8}, (8, 9), id="from 1"),
        pytest.param({"PROCID": 2, "NTASKS": 4}, (2, 4), id="tasks"),
        pytest.param(
            {"ARRAY_TASK_ID": 3, "ARRAY_TASK_MAX": 7, "PROCID": 1, "NTASKS": 2}, (7, 16), id="both"
        ),
    ],
)
def test_workers_of_slurm(
    variables: dict[str, int], expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    assert shard_of_job("all") == expected
    scene = Scene.create("all", shard="slurm", copy_calling_script=False)
    assert scene.path == f"all.h5/sim_{expected[0]:06d}"


def test_some_tasks_that_are_submitted_again_find_their_shards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create(3, 64)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "7")  # sbatch --array=3,7
    assert Scene.create("all", shard="slurm", copy_calling_script=False).path.endswith("_000067")
    assert shards() == ["03-of-64.h5"]
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "64")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MAX", "127")
    with pytest.raises(InvalidInputError, match="64 workers"):
        Scene.create("all", shard="slurm")


def test_outside_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="SLURM_ARRAY_TASK_ID"):
        Scene.create("all", shard="slurm")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "no number")
    with pytest.raises(InvalidInputError, match="SLURM_ARRAY_TASK_ID"):
        Scene.create("all", shard="slurm")


# --- one file -------------------------------------------------------------------------------------


@pytest.fixture(params=["shards", "both"])
def eight(request: pytest.FixtureRequest) -> None:
    """Eight scenes in four shards; of `both`, three are merged, and two of these shards gone."""
    for worker in [*range(4), *range(4)]:
        create(worker)
    if request.param == "both":
        merge(["all.h5.shards/0-of-4.h5", "all.h5.shards/1-of-4.h5"], "all.h5", move=True)
        merge("all.h5.shards/2-of-4.h5", "all.h5")


@pytest.mark.parametrize("path", ["all", "all.h5", "all.h5.shards", "./all.h5.shards/"])
def test_the_api_sees_one_file(eight: None, path: str) -> None:
    scenes = Scene.list(path)
    prefix = "./" if path.startswith("./") else ""
    assert [scene.path for scene in scenes] == [f"{prefix}all.h5/sim_{n:06d}" for n in range(8)]
    together = Scene.list(path, dim=batch(run=8))
    values = together.read("smoke", frame=0).values
    assert values.x[0].y[0].numpy("run").tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert together.run[6].read("smoke", frame=0).values.mean == 2
    assert Scene.at(path, 5).frames == (0,)
    assert Scene.at(path, -1).path == scenes[-1].path
    assert Scene.at(path, -1) == scenes[-1]
    assert Scene.at([scene.path for scene in scenes]).frames == (0,)
    with pytest.raises(SceneNotFoundError, match="sim_000008"):
        Scene.at(path, 8)


def test_a_job_goes_on_in_its_shard(eight: None) -> None:
    scene = Scene.resume("all", 3)
    scene.write(smoke=grid(9), frame=1)
    assert Scene.at("all", 3).frames == (0, 1)
    with SceneFile("all.h5.shards/3-of-4.h5", "r") as file:
        assert file.frames("sim_000003") == {"smoke": (0, 1)}


def test_a_merged_scene_is_that_in_the_shard_as_long_as_this_is_there() -> None:
    create(2)
    merge("all.h5.shards", "all.h5")
    Scene.at("all", 2).write(smoke=grid(1), frame=1)
    assert Scene.at("all", 2).frames == (0, 1)
    with SceneFile("all.h5", "r") as file:
        assert file.frames("sim_000002") == {"smoke": (0,)}


def test_a_scene_that_has_been_merged_meanwhile_is_found_again() -> None:
    scenes = Scene.stack(create(0), create(1), dim=batch("run"))
    merge("all.h5.shards", "all.h5", move=True)
    assert scenes.run[1].read("smoke", frame=0).values.mean == 1


def test_what_is_no_shard_is_passed_over() -> None:
    create(0)
    Path("all.h5.shards/.1-of-4.h5.0123.new").write_bytes(b"killed")
    Path("all.h5.shards/notes.h5").write_bytes(b"text")
    Path("all.h5.shards/1-of-4.h5.lock").touch()
    assert len(Scene.list("all")) == 1
    assert ShardedFile("all").shards == ("all.h5.shards/0-of-4.h5",)


def test_without_any_file() -> None:
    assert Scene.list("none.h5.shards") == ()
    assert Places().find([("none.h5", "sim_000000")]) == ["none.h5"]
    with pytest.raises(SceneNotFoundError):
        Scene.at("none", 0)
    create(0)
    with pytest.raises(SceneNotFoundError, match="only shards"):
        Scene.at("all", 1)
    assert shard_path("all", 5, 12) == "all.h5.shards/05-of-12.h5"


def test_the_command_sees_one_file(eight: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ls", "-1", "all.h5"]) == 0
    assert capsys.readouterr().out.split() == [f"sim_{n:06d}" for n in range(8)]
    assert run(["ls", "all.h5.shards"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("all.h5: 8 scenes in ")
    assert "shards, " in out
    assert out.count("smoke") == 8
    assert run(["ls", "all", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["scene_count"] == 8
    assert said["shards"][-1] == "all.h5.shards/3-of-4.h5"
    assert [scene["scene"] for scene in said["scenes"]] == [f"sim_{n:06d}" for n in range(8)]
    for path in ("all.h5/3", "all.h5.shards/sim_000003", "all.h5.shards/3-of-4.h5/3"):
        assert run(["ls", "-1", path]) == 0
        assert capsys.readouterr().out == "smoke\n"
    assert run(["diff", "all.h5/1", "all.h5/5"]) == 0
    assert run(["ls", "all.h5/9"]) == 1
    assert compare("all.h5/2", "all.h5/6") == ()


def test_a_command_on_all_of_a_file_of_which_there_are_only_shards(
    capsys: pytest.CaptureFixture[str],
) -> None:
    create(0)
    assert run(["info", "all.h5"]) == 1
    assert "there are only shards of all.h5" in capsys.readouterr().err
    assert run(["info", "all.h5/0"]) == 0


def test_xarray_sees_one_file(eight: None) -> None:
    xarray = pytest.importorskip("xarray")
    dataset = xarray.open_dataset("all.h5", engine="h5scene", scene="sim_000003")
    assert float(dataset.smoke.mean()) == 3
    names = [f"sim_{n:06d}" for n in range(8)]
    dataset = xarray.open_dataset("all.h5.shards", engine="h5scene", scene=names)
    assert dataset.smoke.mean(("frame", "x", "y")).values.tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert dataset.smoke[5].values.shape == (1, 4, 3)
    tree = xarray.open_datatree("all.h5", engine="h5scene")
    assert sorted(tree.children) == names
    tree.close()
    one = xarray.open_dataset("all.h5/sim_000001", engine="h5scene")
    assert float(one.smoke.mean()) == 1


def test_a_live_worker_is_left_out_of_a_merge_and_read_all_the_same() -> None:
    create(0)

    def simulate(report: Callable[[Any], None]) -> None:
        create(1)
        report("written")
        signal.pause()

    child = Child(simulate)
    child.receive()
    try:
        done = merge("all.h5.shards", "all.h5", move=True)
        assert list(done.problems) == ["all.h5.shards/1-of-4.h5"]
        assert [scene.path for scene in Scene.list("all")] == [
            "all.h5/sim_000000",
            "all.h5/sim_000001",
        ]
    finally:
        child.kill()
    assert merge("all.h5.shards", "all.h5", move=True).problems == {}
    assert np.isclose(Scene.at("all", 1).read("smoke", frame=0).values.mean, 1)


def test_listing_looks_into_each_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Scene.create("all", batch(b=5), copy_calling_script=False)
    Scene.create("all", batch(b=5), shard=(0, 4), copy_calling_script=False)
    looks = []
    scenes_of = ShardedFile._scenes_of

    def look(self: ShardedFile, file: str) -> frozenset[str]:
        looks.append((id(self), file))
        return scenes_of(self, file)

    monkeypatch.setattr(ShardedFile, "_scenes_of", look)
    scenes = Scene.list("all")
    assert len(scenes) == 10
    together = Scene.list("all", dim=batch("b"))
    assert together.b[3].path == scenes[3].path
    assert len(looks) == 4


# --- in both --------------------------------------------------------------------------------------


@pytest.fixture
def in_both() -> Scene:
    """A scene that was merged, and got another frame in its shard since."""
    scene = create(2)
    merge("all.h5.shards", "all.h5")
    scene.write(smoke=grid(1), frame=1)
    return scene


@pytest.mark.parametrize("by", ["call", "command"])
def test_a_scene_in_both_is_removed_from_both(in_both: Scene, by: str) -> None:
    other = create(1)
    if by == "call":
        in_both.remove()
    else:
        assert run(["rm", "all.h5/2", "--yes"]) == 0
    assert Scene.list("all") == (other,)


def test_the_copy_in_a_shard_can_be_removed_alone(in_both: Scene) -> None:
    assert run(["rm", "all.h5.shards/2-of-4.h5/2", "--yes"]) == 0
    assert Scene.at("all", 2).frames == (0,)


def test_a_scene_in_both_is_not_renamed(
    in_both: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidInputError, match="--move"):
        in_both.rename("late")
    assert run(["rename", "all.h5/2", "late"]) == 1
    assert "--move" in capsys.readouterr().err
    assert [scene.path for scene in Scene.list("all", include_other=True)] == [in_both.path]


def test_a_scene_does_not_get_the_name_of_one_in_another_file(in_both: Scene) -> None:
    other = create(1)
    with pytest.raises(AlreadyExistsError, match="2-of-4"):
        other.rename("sim_000002")
    assert run(["rename", other.path, "sim_000002"]) == 1
    assert other.frames == (0,)


# --- workers beside merges ------------------------------------------------------------------------


@pytest.mark.parametrize("looks", [False, True])
def test_a_worker_that_has_not_written_a_frame_yet_keeps_its_shard(looks: bool) -> None:
    def simulate(report: Callable[[Any], None]) -> None:
        scene = Scene.create("all", shard=(0, 2), copy_calling_script=False)
        if looks:
            Scene.list("all")  # which opens the shard, and closes it
        report(scene.path)
        signal.pause()

    child = Child(simulate)
    child.receive()
    try:
        done = merge("all.h5.shards", "all.h5", move=True)
        assert list(done.problems) == ["all.h5.shards/0-of-2.h5"]
        assert shards() == ["0-of-2.h5"]
    finally:
        child.kill()


def test_who_has_only_read_writes_where_the_scene_was_merged_to() -> None:
    create(0).write(smoke=grid(3), frame=1)
    scene = Scene.at("all", 0)
    assert scene.frames == (0, 1)
    close_all()
    in_child(lambda: merge("all.h5.shards", "all.h5", move=True))
    assert not Path("all.h5.shards").exists()
    scene.write(smoke=grid(4), frame=2)
    assert Scene.at("all", 0).frames == (0, 1, 2)
    assert not Path("all.h5.shards").exists()


# --- bad shards -----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"no HDF5"])
def test_a_bad_shard_hides_no_other_scenes(content: bytes) -> None:
    create(1, 2)
    Path("all.h5.shards/0-of-2.h5").write_bytes(content)
    with pytest.warns(RuntimeWarning, match="0-of-2"):
        assert [scene.path for scene in Scene.list("all")] == ["all.h5/sim_000001"]
    assert Scene.at("all", 1).frames == (0,)
    with (
        pytest.warns(RuntimeWarning, match="0-of-2"),
        pytest.raises(H5SceneError, match="0-of-2"),
    ):
        Scene.at("all", 0)


def test_a_name_that_leaves_no_room_for_shards() -> None:
    path = "a" * 246 + ".h5"
    Scene.create("all", copy_calling_script=False)
    close_all()
    Path("all.h5").rename(path)
    Scene.at(path, 0).write(smoke=grid(1), frame=0)
    assert len(Scene.list(path)) == 1
    with pytest.raises(H5SceneError):
        Scene.create(path, shard=(0, 2), copy_calling_script=False)


def test_shards_that_may_not_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    create(0)
    iterdir = Path.iterdir

    def refuse(self: Path) -> Any:
        if self.name == "all.h5.shards":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ReadOnlyError, match="all.h5.shards"):
        Scene.list("all")
