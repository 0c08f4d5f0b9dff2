"""Work on the processes of a Dask cluster: the result is that of this process."""

from __future__ import annotations

import asyncio
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from h5scene import SceneFile, compare, copy_scenes, export_scenes, import_scenes, merge
from h5scene.dask_tasks import on_workers
from h5scene.errors import FrameNotFoundError, InvalidInputError, NotFoundError, StorageError
from h5scene.interop.source import SourceFile
from h5scene.interop.statistics import field_statistics
from tests.cluster import dask_program
from tests.records import centered, content, staggered

distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")

pytestmark = [
    pytest.mark.xdist_group("dask"),
    pytest.mark.filterwarnings("default"),  # of dask's own threads and sockets
]

SCENES = 5
FRAMES = 6


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two processes, which may die twice."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            cluster.scheduler.allowed_failures = 1
            yield client


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with scenes of two fields."""
    path = tmp_path / "runs.h5"
    rng = np.random.default_rng(5)
    with SceneFile(path) as file:
        for scene in file.create_scenes("sim", SCENES):
            for frame in range(FRAMES):
                records = {
                    "smoke": centered(rng.standard_normal((8, 6)).astype(np.float32)),
                    "velocity": staggered(rng.standard_normal((9, 7, 2))),
                }
                file.write_frame(frame, {scene: records})
    return path


# --- tasks ----------------------------------------------------------------------------------------


def test_all_tasks_are_done_and_few_wait(client: Any) -> None:
    taken = []

    def tasks() -> Iterator[tuple[int]]:
        for number in range(40):
            taken.append(number)
            yield (number,)

    results = on_workers(client, dask_program.square, tasks())
    found = [next(results)]
    assert len(taken) <= 2 * 4 + 1
    found += results
    assert sorted((number, result) for result, number in found) == [(n, n * n) for n in range(40)]


def test_no_tasks(client: Any) -> None:
    assert list(on_workers(client, dask_program.square, [])) == []


def test_errors_cross_processes(client: Any) -> None:
    with pytest.raises(FrameNotFoundError, match="no such frame") as raised:
        list(on_workers(client, dask_program.fail_at, [(n, 3) for n in range(20)]))
    assert (raised.value.file, raised.value.location) == ("runs.h5", "/sim_000000")


def test_what_a_worker_had_that_died_is_done_again(client: Any, tmp_path: Path) -> None:
    tasks = [(number, str(tmp_path)) for number in range(8)]
    found = list(on_workers(client, dask_program.die_at_first, tasks))
    assert sorted(found) == [(number, number) for number in range(8)]
    assert (tmp_path / "died").exists()


def test_a_task_that_ends_every_worker_is_reported(client: Any) -> None:
    with pytest.raises(StorageError, match="a task ended 2 workers"):
        list(on_workers(client, dask_program.die, [(1,)]))
    client.wait_for_workers(2, timeout=60)


def test_clients_that_cannot_be_used(client: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"must be a dask.distributed.Client, not str"):
        list(on_workers("here", dask_program.square, [(1,)]))
    closed = distributed.Client(client.scheduler.address, set_as_default=False)
    closed.close()
    with pytest.raises(InvalidInputError, match="client is closed"):
        list(on_workers(closed, dask_program.square, [(1,)]))

    async def wait() -> None:
        address = client.scheduler.address
        async with distributed.Client(address, asynchronous=True, set_as_default=False) as own:
            with pytest.raises(InvalidInputError, match="asynchronous"):
                list(on_workers(own, dask_program.square, [(1,)]))

    asyncio.run(wait())


def test_a_connection_that_is_lost(client: Any) -> None:
    own = distributed.Client(client.scheduler.address, set_as_default=False)
    results = on_workers(own, dask_program.square, [(n,) for n in range(40)])
    next(results)
    own.close()
    with pytest.raises(StorageError, match="the connection to the Dask cluster was lost"):
        list(results)


# --- import ---------------------------------------------------------------------------------------


def test_import(client: Any, file: Path, tmp_path: Path) -> None:
    export_scenes(file, tmp_path / "npz")
    steps: list[Any] = []
    done = import_scenes(
        tmp_path / "npz", tmp_path / "new.h5", client=client, verify=True, on_progress=steps.append
    )
    assert (done.scenes, done.frames) == ([f"sim_{i:06}" for i in range(SCENES)], 2 * 5 * FRAMES)
    assert done.problems == []
    assert steps[-1].scenes == SCENES
    assert steps[-1].bytes == steps[-1].byte_count > 0
    assert [step.scenes for step in steps] == sorted(step.scenes for step in steps)
    import_scenes(tmp_path / "npz", tmp_path / "alone.h5")
    assert content(tmp_path / "new.h5") == content(tmp_path / "alone.h5")
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    again = import_scenes(tmp_path / "npz", tmp_path / "new.h5", client=client)
    assert (again.frames, again.skipped) == (0, 2 * 5 * FRAMES)


def test_import_goes_on_when_a_worker_dies(client: Any, file: Path, tmp_path: Path) -> None:
    export_scenes(file, tmp_path / "npz")
    processes = list(client.run(os.getpid).values())

    def kill_one(progress: Any) -> None:
        if progress.scenes == 1 and len(processes) == 2:
            os.kill(processes.pop(), signal.SIGKILL)

    done = import_scenes(
        tmp_path / "npz", tmp_path / "new.h5", client=client, verify=True, on_progress=kill_one
    )
    assert len(processes) == 1
    assert (done.frames, done.problems) == (2 * 5 * FRAMES, [])
    assert compare(file, tmp_path / "new.h5") == ()
    client.wait_for_workers(2, timeout=60)


def test_damage_is_named_and_the_rest_imported(client: Any, file: Path, tmp_path: Path) -> None:
    export_scenes(file, tmp_path / "npz")
    damaged = tmp_path / "npz" / "sim_000002" / "smoke_000003.npz"
    damaged.write_bytes(damaged.read_bytes()[:50])
    done = import_scenes(tmp_path / "npz", tmp_path / "new.h5", client=client)
    assert [problem.path for problem in done.problems] == [str(damaged)]
    assert done.frames == 2 * 5 * FRAMES - 1


def test_client_and_jobs(client: Any, file: Path, tmp_path: Path) -> None:
    export_scenes(file, tmp_path / "npz")
    with pytest.raises(InvalidInputError, match="got jobs=2 and a client"):
        import_scenes(tmp_path / "npz", tmp_path / "new.h5", client=client, jobs=2)


def test_workers_that_do_not_see_the_files(client: Any, tmp_path: Path) -> None:
    from h5scene.interop import scene_directories
    from h5scene.interop.scene_content import scan_scene
    from h5scene.interop.transfer import Options

    (tmp_path / "sim_000000").mkdir()
    found = scan_scene(tmp_path / "sim_000000", "sim_000000", 1 << 20)
    task = (found, tmp_path / "elsewhere", Options())
    with pytest.raises(NotFoundError, match="the workers must see the same files"):
        list(on_workers(client, scene_directories._import_task, [task]))


# --- statistics -----------------------------------------------------------------------------------


def test_statistics(client: Any, file: Path) -> None:
    scenes = [(SourceFile(file), f"sim_{i:06}", None) for i in range(SCENES)]
    steps: list[tuple[int, int]] = []
    found = field_statistics(
        scenes,
        ["smoke", "velocity"],
        client=client,
        progress=lambda *step: steps.append(step),
    )
    assert steps == [(i + 1, 2 * SCENES * FRAMES) for i in range(2 * SCENES * FRAMES)]
    with SceneFile(file, "r") as opened:
        values = np.stack(
            [
                opened.read_values(scene, "smoke", frame)
                for scene in opened.scenes
                for frame in range(FRAMES)
            ]
        ).astype(np.float64)
    assert found["smoke"].mean == pytest.approx(values.mean(), rel=1e-12, abs=1e-12)
    assert found["smoke"].std == pytest.approx(values.std(), rel=1e-12)
    # What the workers found stands in the file, and is what this process would have found.
    kept: list[tuple[int, int]] = []
    again = field_statistics(
        scenes, ["smoke", "velocity"], progress=lambda *step: kept.append(step)
    )
    assert kept == []
    assert again == found


# --- merge ----------------------------------------------------------------------------------------


@pytest.fixture
def shards(file: Path, tmp_path: Path) -> list[Path]:
    """Files of one and of several scenes, and of none."""
    shards = [tmp_path / f"{i}.h5" for i in range(4)]
    scenes = [f"sim_{i:06}" for i in range(SCENES)]
    for shard, part in zip(shards, (scenes[:1], scenes[1:2], scenes[2:], []), strict=True):
        copy_scenes(file, shard, part)
    return shards


@pytest.mark.parametrize("move", [False, True])
def test_merge(client: Any, file: Path, shards: list[Path], tmp_path: Path, move: bool) -> None:
    steps: list[tuple[int, int]] = []
    report = merge(
        shards,
        tmp_path / "all.h5",
        verify=True,
        move=move,
        client=client,
        on_progress=lambda *step: steps.append(step),
    )
    assert (report.problems, len(report.scenes)) == ({}, SCENES)
    assert steps[-1][0] == steps[-1][1] > 0
    assert compare(file, tmp_path / "all.h5") == ()
    assert sorted(report.removed) == (sorted(map(str, shards)) if move else [])
    assert [shard.exists() for shard in shards] == [not move] * 4


def test_damage_in_a_shard_is_found_by_workers(
    client: Any, shards: list[Path], tmp_path: Path
) -> None:
    with SceneFile(shards[2], "r") as opened:
        values = opened.read_values("sim_000003", "smoke", 2)
    data = bytearray(shards[2].read_bytes())
    place = data.find(values.tobytes())
    assert place > 0
    data[place] ^= 1
    shards[2].write_bytes(data)
    report = merge(shards, tmp_path / "all.h5", move=True, client=client)
    assert list(report.problems) == [f"{shards[2]}/sim_000003"]
    assert sorted(report.removed) == sorted(str(shards[i]) for i in (0, 1, 3))
    assert shards[2].exists()


def test_a_client_that_is_none_merges_nothing(shards: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="client must be a dask"):
        merge(shards, tmp_path / "all.h5", client="here")
    assert not (tmp_path / "all.h5").exists()
