"""What four ranks do inside of `gathered`; `test_gathering.py` looks at what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from phi.field import CenteredGrid
from phi.geom import Box
from phiml.math import batch, tensor

from h5scene import Scene, SceneFile
from h5scene.cluster import gathered, write_blocks


def smoke(value: float) -> Any:
    return CenteredGrid(value, 0, x=4, y=3)


def case_a_batch(comm: Any, folder: Path) -> Any:
    """Two batches, one after the other, with all that scenes can have."""
    before = []
    for first in (0, 10):
        with gathered(folder / "all", comm) as file:
            for i in range(comm.rank, 10, comm.size):
                scene = file.create(copy_calling_script=False, background=i % 2 == 0)
                scene.put_properties(index=first + i, rank=comm.rank)
                for frame in range(3):
                    scene.write(smoke=smoke(first + i + frame), frame=frame)
                    scene.put_time(frame, frame / 2)
                    scene.log_scalars(frame, loss=float(i))
                scene.write_file("src/job.py", f"scene {i}")
            before.append(Path(file.shard).exists())
    return before


def case_a_batch_of_scenes(comm: Any, folder: Path) -> Any:
    with gathered(folder / "all.h5", comm, root=2) as file:
        scenes = file.create(batch(run=2), name="run", copy_calling_script=False)
        scenes.write(smoke=smoke(1.0) * tensor([comm.rank, comm.rank + 0.5], batch("run")))
        return list(scenes.paths.numpy("run"))


def case_two_groups(comm: Any, folder: Path) -> Any:
    """Each half of the ranks writes a file of its own."""
    half = comm.Split(comm.rank // 2)
    with gathered(folder / f"{comm.rank // 2}.h5", half) as file:
        file.create(copy_calling_script=False).write(smoke=smoke(comm.rank))
    half.Free()


def case_nothing(comm: Any, folder: Path) -> Any:
    with gathered(folder / "all.h5", comm):
        pass
    return (folder / "all.h5").exists()


def attempt(comm: Any, folder: Path, inside: Any) -> Any:
    """Returns what the block raised."""
    try:
        with gathered(folder / "all.h5", comm) as file:
            inside(file)
    except Exception as error:  # noqa: BLE001  # to be looked at
        return error
    return None


def case_a_rank_fails(comm: Any, folder: Path) -> Any:
    """The others have written their scenes; all go on with these."""

    def inside(file: Any) -> None:
        scene = file.create(copy_calling_script=False)
        scene.write(smoke=smoke(comm.rank), frame=0)
        if comm.rank == 2:
            raise ZeroDivisionError("the time step is 0")

    error = attempt(comm, folder, inside)
    kept = sorted(path.name for path in (folder / "all.h5.shards").glob("*.h5"))
    seen = len(Scene.list(folder / "all.h5"))
    comm.barrier()  # all have looked

    def go_on(file: Any) -> None:
        (name,) = file.scenes
        scene = Scene.resume(f"{file.path}/{name}")
        scene.write(smoke=smoke(comm.rank + 1), frame=1)

    return error, kept, seen, attempt(comm, folder, go_on)


def case_a_rank_has_left_when_others_write_blocks(comm: Any, folder: Path) -> Any:
    def inside(file: Any) -> None:
        scene = file.create(copy_calling_script=False) if comm.rank == 0 else None
        if comm.rank == 1:
            raise ZeroDivisionError("the time step is 0")
        block = CenteredGrid(1.0, 0, Box(x=(comm.rank, comm.rank + 1), y=1), x=4, y=4)
        write_blocks(scene, {"smoke": block}, comm)

    return attempt(comm, folder, inside)


def case_blocks_inside(comm: Any, folder: Path) -> Any:
    """A scene of one rank gets a field of all of them."""

    def inside(file: Any) -> None:
        scene = file.create(copy_calling_script=False)
        block = CenteredGrid(1.0, 0, Box(x=(comm.rank, comm.rank + 1), y=1), x=4, y=4)
        write_blocks(scene, {"whole": block}, comm, root=1)

    return attempt(comm, folder, inside)


def case_a_number_is_taken(comm: Any, folder: Path) -> Any:
    """Somebody else creates a scene in the file meanwhile."""

    def inside(file: Any) -> None:
        file.create(copy_calling_script=False).write(smoke=smoke(comm.rank))
        comm.barrier()  # all have taken their numbers
        if comm.rank == 3:
            with SceneFile(folder / "all.h5") as target:
                target.create_scene("sim_000001")

    return attempt(comm, folder, inside)


def case_a_shard_is_damaged(comm: Any, folder: Path) -> Any:
    def inside(file: Any) -> None:
        file.create(copy_calling_script=False).write(smoke=smoke(comm.rank + 1))
        if comm.rank == 1:
            SceneFile(file.shard, "r+").close()
            data = Path(file.shard).read_bytes()
            numbers = np.full(12, 2, np.float32).tobytes()
            assert data.count(numbers) == 1
            Path(file.shard).write_bytes(data.replace(numbers, bytes(48)))

    return attempt(comm, folder, inside)


def case_shards_of_others(comm: Any, folder: Path) -> Any:
    if comm.rank == 0:
        Scene.create(folder / "all.h5", shard=(1, 3), copy_calling_script=False)
    comm.barrier()
    return attempt(comm, folder, lambda file: None)


def case_different_files(comm: Any, folder: Path) -> Any:
    return attempt(comm, folder / str(comm.rank), lambda file: None)
