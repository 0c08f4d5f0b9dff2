"""Scenes of four MPI ranks: in one file at the end, and kept when something goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from h5scene import Scene, SceneFile, errors
from h5scene.cluster import gathered
from tests.cluster.mpi import RANKS, ROOT, launch, run_ranks

pytestmark = pytest.mark.xdist_group("gathering")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gathered")


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, list[Any]]:
    """What each rank reports of each case."""
    return run_ranks("gather_program", folder)


def shards(path: Path) -> list[str]:
    return sorted(shard.name for shard in Path(f"{path}.shards").glob("*.h5"))


def test_all_scenes_are_in_one_file(reports: dict[str, list[Any]], folder: Path) -> None:
    assert reports["a_batch"] == [[True, True]] * RANKS
    path = folder / "a_batch" / "all.h5"
    assert shards(path) == []
    with SceneFile(path, "r") as file:
        assert len(file.scenes) == 20
        found = []
        for scene in file.scenes:
            properties = file.properties(scene)
            index = properties["index"]
            found.append(index)
            assert int(scene[-6:]) % RANKS == properties["rank"]
            assert file.frames(scene) == {"smoke": (0, 1, 2)}
            for frame in range(3):
                assert (file.read_values(scene, "smoke", frame) == index + frame).all()
            assert file.times(scene) == {0: 0.0, 1: 0.5, 2: 1.0}
            assert file.curves(scene)["loss"].steps.tolist() == [0, 1, 2]
            assert file.read_file(scene, "src/job.py") == f"scene {index % 10}".encode()
        assert sorted(found) == list(range(20))
        # Of a new file, scene 7 is what somebody has written who counted to 7.
        assert found[:10] == list(range(10))


def test_batches_of_scenes(reports: dict[str, list[Any]], folder: Path) -> None:
    path = folder / "a_batch_of_scenes" / "all.h5"
    assert reports["a_batch_of_scenes"] == [
        [f"{path}/run_{rank:06}", f"{path}/run_{rank + RANKS:06}"] for rank in range(RANKS)
    ]
    means = [float(scene.read("smoke").values.mean) for scene in Scene.list(path, "run")]
    assert means == [0.0, 1.0, 2.0, 3.0, 0.5, 1.5, 2.5, 3.5]


def test_groups_of_ranks(reports: dict[str, list[Any]], folder: Path) -> None:
    assert reports["two_groups"] == [None] * RANKS
    for half in range(2):
        scenes = Scene.list(folder / "two_groups" / f"{half}.h5")
        means = [float(scene.read("smoke").values.mean) for scene in scenes]
        assert means == [2 * half, 2 * half + 1]


def test_nothing_is_written(reports: dict[str, list[Any]]) -> None:
    assert reports["nothing"] == [False] * RANKS


def test_an_error_on_one_rank(reports: dict[str, list[Any]], folder: Path) -> None:
    path = folder / "a_rank_fails" / "all.h5"
    for rank, (error, kept, seen, later) in enumerate(reports["a_rank_fails"]):
        if rank == 2:
            assert isinstance(error, ZeroDivisionError)
            if sys.version_info >= (3, 11):
                assert f"{path}.shards/3-of-4.h5" in error.__notes__[0]
        else:
            assert isinstance(error, errors.RankError)
            assert "rank 2 left with ZeroDivisionError: the time step is 0" in str(error)
            assert f"{path}.shards/3-of-4.h5" in str(error)
            assert f"h5scene merge {path}.shards -o {path} --move" in str(error)
        assert kept == [f"{i}-of-4.h5" for i in range(RANKS)]
        assert seen == RANKS
        assert later is None
    # The next time all is well, and the scenes have both frames.
    assert shards(path) == []
    for rank, scene in enumerate(Scene.list(path)):
        assert scene.frames == (0, 1)
        assert float(scene.read("smoke", frame=1).values.mean) == rank + 1


def test_a_rank_that_has_left_is_not_waited_for(reports: dict[str, list[Any]]) -> None:
    raised = reports["a_rank_has_left_when_others_write_blocks"]
    assert isinstance(raised.pop(1), ZeroDivisionError)
    for error in raised:
        assert isinstance(error, errors.RankError)
        assert "rank 1 left with ZeroDivisionError" in str(error)


def test_blocks_of_all_ranks_in_a_scene_of_one(reports: dict[str, list[Any]], folder: Path) -> None:
    assert reports["blocks_inside"] == [None] * RANKS
    scenes = Scene.list(folder / "blocks_inside" / "all.h5")
    assert [scene.fieldnames for scene in scenes] == [(), ("whole",), (), ()]
    assert scenes[1].read("whole").shape.sizes == (16, 4)


def test_a_merge_that_fails(reports: dict[str, list[Any]], folder: Path) -> None:
    path = folder / "a_number_is_taken" / "all.h5"
    raised = reports["a_number_is_taken"]
    assert [type(error) for error in raised] == [errors.MergeConflictError] * RANKS
    assert len({str(error) for error in raised}) == 1
    assert "sim_000001" in str(raised[0])
    assert shards(path) == [f"{rank}-of-4.h5" for rank in range(RANKS)]


def test_a_shard_that_is_damaged(reports: dict[str, list[Any]], folder: Path) -> None:
    path = folder / "a_shard_is_damaged" / "all.h5"
    for error in reports["a_shard_is_damaged"]:
        assert isinstance(error, errors.StorageError)
        assert f"{path}.shards/1-of-4.h5/sim_000001: merged, but" in str(error)
        assert f"is kept in {path}.shards/1-of-4.h5; " in str(error)
    assert shards(path) == ["1-of-4.h5"]


def test_shards_of_other_ranks(reports: dict[str, list[Any]]) -> None:
    for error in reports["shards_of_others"]:
        assert isinstance(error, errors.InvalidInputError)
        assert "all.h5.shards/1-of-3.h5" in str(error)


def test_ranks_that_ask_for_different_files(reports: dict[str, list[Any]]) -> None:
    for error in reports["different_files"]:
        assert isinstance(error, errors.InvalidInputError)
        assert "with the same path and root" in str(error)


def test_without_mpi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with (
        pytest.raises(errors.InvalidInputError, match="pip install mpi4py"),
        gathered(tmp_path / "all.h5", "world"),
    ):
        pass


def test_a_job_that_is_killed_and_started_again(tmp_path: Path) -> None:
    program, path = str(ROOT / "tests" / "cluster" / "killed_program.py"), tmp_path / "all.h5"
    killed = launch(program, str(path), "3")
    assert killed.returncode != 0
    assert not path.exists()
    assert "3-of-4.h5" in shards(path)
    assert Scene.at(path, 3).frames == (0, 1, 2)
    done = launch(program, str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert shards(path) == []
    for rank, scene in enumerate(Scene.list(path)):
        assert scene.frames == tuple(range(6))
        for frame in range(6):
            assert float(scene.read("smoke", frame=frame).values.mean) == rank + frame
