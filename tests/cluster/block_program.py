"""What four ranks do with blocks of a grid; `test_blocks.py` looks at what they wrote.

Every case writes `file.h5`, and most of them the same field in one process, `whole.h5`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from phi.field import CenteredGrid, Field, StaggeredGrid
from phi.geom import Box
from phiml import math
from phiml.math import channel, extrapolation, instance, spatial, vec

from h5scene import Scene
from h5scene.cluster import blocks as blocks_module
from h5scene.cluster import write_blocks
from h5scene.errors import StorageError

ZERO_GRADIENT = extrapolation.ZERO_GRADIENT
PERIODIC = extrapolation.PERIODIC


def new_scene(comm: Any, folder: Path, **options: Any) -> Scene | None:
    """Creates the scene on rank 0, and a second one for the field in one piece."""
    if comm.rank:
        return None
    Scene.create(folder / "whole", **options)
    return Scene.create(folder / "file", **options)


def write_whole(comm: Any, folder: Path, field: Field, frame: int = 0, **options: Any) -> None:
    if comm.rank == 0:
        scene = Scene.at(folder / "whole", 0, **options)
        scene.write({"field": field}, frame)


def random_values(*sizes: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(0).standard_normal(sizes).astype(dtype)


def centered(values: Any, box: Box, boundary: Any) -> Field:
    dims = spatial(*"xyz"[: values.ndim - 1])
    return CenteredGrid(math.wrap(values, dims, channel(vector="a,b,c")), boundary, box)


def case_square(comm: Any, folder: Path) -> Any:
    """2×2 blocks of a frame of several chunks, periodic along y, in the middle of other fields."""
    cart = comm.Create_cart((2, 2), periods=(False, True))
    values, (i, j) = random_values(600, 400, 3), cart.coords
    part = values[i * 300 : i * 300 + 300, j * 200 : j * 200 + 200]
    block = centered(part, Box(x=(i * 3, i * 3 + 3), y=(j * 2, j * 2 + 2)), ZERO_GRADIENT)
    scene = new_scene(comm, folder)
    small = centered(part[:4, :4], block.bounds, 2)
    write_blocks(scene, {"field": block, "small": small}, cart, 7)
    sides = {"x": ZERO_GRADIENT, "y": PERIODIC}
    write_whole(comm, folder, centered(values, Box(x=6, y=4), sides), 7)
    cart.Free()
    return scene and scene.frames


def case_rows_without_compression(comm: Any, folder: Path) -> None:
    """Slabs of different sizes on a plain communicator, in 3D, written by the last rank."""
    cuts = [0, 3, 40, 41, 64]
    values, r = random_values(64, 65, 66, 3, dtype=np.float64), comm.rank
    box = Box(x=(cuts[r] / 64, cuts[r + 1] / 64), y=1, z=1)
    block = centered(values[cuts[r] : cuts[r + 1]], box, 1)
    path = str(folder / "file.h5")
    if r == 3:
        Scene.create(path, compression=None)
    comm.barrier()
    scene = Scene.at(path, 0, compression=None) if r == 3 else None
    inner = {"x": ZERO_GRADIENT, "y": 1, "z": 1}
    if 0 < r < 3:
        block = centered(values[cuts[r] : cuts[r + 1]], box, inner)
    write_blocks(scene, {"field": block}, comm, root=3)
    if r == 0:
        Scene.create(folder / "whole", compression=None)
    write_whole(comm, folder, centered(values, Box(x=(0.0, 1.0), y=1, z=1), 1), compression=None)


def case_digits(comm: Any, folder: Path) -> None:
    values, r = random_values(512, 512, 3), comm.rank
    part = values[:, r * 128 : r * 128 + 128]
    scene = new_scene(comm, folder)
    block = centered(part, Box(x=4, y=(r, r + 1)), PERIODIC)
    write_blocks(scene, {"field": block}, comm, keep_digits=3)
    if r == 0:
        whole = centered(values, Box(x=4, y=4), PERIODIC)
        Scene.at(folder / "whole", 0).write({"field": whole}, keep_digits=3)


def staggered(values: list[Any], box: Box, boundary: Any) -> Field:
    """Returns a staggered grid with these values on the faces along x, y, z."""
    dims = spatial(*"xyz"[: len(values)])
    names = list("xyz"[: len(values)])
    parts = [math.wrap(component, dims) for component in values]
    stacked = math.stack(parts, math.dual(vector=names))
    shape = {name: values[i - 1].shape[i] for i, name in enumerate(names)}
    return StaggeredGrid(stacked, boundary, box, **shape)


def case_staggered_pencils(comm: Any, folder: Path) -> None:
    """Pencils along x of a closed box; the communicator stands for y and z."""
    cart = comm.Create_cart((2, 2))
    n, (j, k) = 64, cart.coords
    faces = [random_values(*(n + (i == c) for i in range(3))) for c in range(3)]
    sides = {"x": 0, "y-": 1, "y+": 2, "z": vec(x=1, y=0, z=3)}

    def cut(axis: int, at: int, component: int) -> slice:
        """The cells of a half; of the own component without faces that the boundary determines."""
        lower, upper = at * n // 2, (at + 1) * n // 2
        if axis != component:
            return slice(lower, upper)
        return slice(max(lower, 1), upper + 1 if at == 0 else upper)

    own = {"x": 0, "y-": 1, "y+": ZERO_GRADIENT, "z-": sides["z"], "z+": ZERO_GRADIENT}
    if j:
        own |= {"y-": ZERO_GRADIENT, "y+": 2}
    if k:
        own |= {"z-": ZERO_GRADIENT, "z+": sides["z"]}
    parts = [
        values[1 : -1 if c == 0 else None, cut(1, j, c), cut(2, k, c)]
        if c == 0
        else values[:, cut(1, j, c), cut(2, k, c)]
        for c, values in enumerate(faces)
    ]
    box = Box(x=1, y=(j * 0.5, j * 0.5 + 0.5), z=(k * 0.5, k * 0.5 + 0.5))
    scene = new_scene(comm, folder)
    write_blocks(scene, {"field": staggered(parts, box, own)}, cart, axes="y,z")
    whole = [
        values[tuple(slice(1, -1) if axis == c else slice(None) for axis in range(3))]
        for c, values in enumerate(faces)
    ]
    write_whole(comm, folder, staggered(whole, Box(x=1, y=(0.0, 1.0), z=(0.0, 1.0)), sides))
    cart.Free()


def case_staggered_periodic(comm: Any, folder: Path) -> None:
    """A ring of blocks, each with the boundary of the whole."""
    values, r = [random_values(64, 48), random_values(64, 48) + 1], comm.rank
    parts = [component[r * 16 : r * 16 + 16] for component in values]
    scene = new_scene(comm, folder)
    box = Box(x=(r * 25, r * 25 + 25), y=75)
    write_blocks(scene, {"field": staggered(parts, box, PERIODIC)}, comm)
    write_whole(comm, folder, staggered(values, Box(x=100, y=75), PERIODIC))


# --- what goes wrong ------------------------------------------------------------------------------


def strip(comm: Any, start: float | None = None) -> Field:
    """Returns the block of a rank: 0.9 MB of a row along x."""
    start = comm.rank if start is None else start
    return centered(random_values(300, 250, 3), Box(x=(start, start + 1), y=2.5), ZERO_GRADIENT)


def failing(comm: Any, folder: Path, *args: Any, **kwargs: Any) -> Any:
    """Returns what `write_blocks` raised, and what is in the file when it works again."""
    scene = new_scene(comm, folder)
    try:
        write_blocks(scene, *args, **kwargs)
        error = None
    except Exception as raised:  # noqa: BLE001  # to be looked at
        error = raised
    left = scene and scene.frames
    write_blocks(scene, {"field": strip(comm)}, comm, 1)
    return error, left, scene and scene.frames


def case_a_gap(comm: Any, folder: Path) -> Any:
    start = 5.0 if comm.rank == 3 else None
    return failing(comm, folder, {"field": strip(comm, start)}, comm)


def case_no_field(comm: Any, folder: Path) -> Any:
    block = "no field" if comm.rank == 2 else strip(comm)
    return failing(comm, folder, {"field": block}, comm)


def case_no_fields(comm: Any, folder: Path) -> Any:
    return failing(comm, folder, None if comm.rank == 1 else {"field": strip(comm)}, comm)


def case_points(comm: Any, folder: Path) -> Any:
    points = math.random_uniform(instance(points=4), channel(vector="x,y"))
    return failing(comm, folder, {"field": points}, comm)


def case_other_frames(comm: Any, folder: Path) -> Any:
    return failing(comm, folder, {"field": strip(comm)}, comm, comm.rank // 2)


def case_no_scene(comm: Any, folder: Path) -> Any:
    try:
        write_blocks(None, {"field": strip(comm)}, comm)
    except Exception as error:  # noqa: BLE001  # to be looked at
        return error


def case_no_communicator(comm: Any, folder: Path) -> Any:
    try:
        write_blocks(None, {"field": strip(comm)}, "world")
    except Exception as error:  # noqa: BLE001  # to be looked at
        return error


def case_a_rank_fails_while_it_packs(comm: Any, folder: Path) -> Any:
    def fail(*args: Any) -> Any:
        raise MemoryError("no memory for a chunk")

    if comm.rank != 3:
        return failing(comm, folder, {"field": strip(comm)}, comm)
    with mock.patch.object(blocks_module, "packed_piece", fail):
        scene = new_scene(comm, folder)
        try:
            write_blocks(scene, {"field": strip(comm)}, comm)
            error = None
        except Exception as raised:  # noqa: BLE001  # to be looked at
            error = raised
    write_blocks(scene, {"field": strip(comm)}, comm, 1)
    return error, None, None


def case_the_disk_is_full(comm: Any, folder: Path) -> Any:
    """Writing the second chunk fails."""
    arrived = iter(range(100))

    def fail(*args: Any) -> Any:
        pieces = args[3]
        next(pieces)
        raise StorageError(f"no space left {next(arrived)}", errno=28)

    if comm.rank:
        return failing(comm, folder, {"field": strip(comm), "more": strip(comm)}, comm)
    with mock.patch.object(blocks_module, "write_pieces", fail):
        scene = new_scene(comm, folder)
        try:
            write_blocks(scene, {"field": strip(comm), "more": strip(comm)}, comm)
            error = None
        except Exception as raised:  # noqa: BLE001  # to be looked at
            error = raised
    assert scene is not None
    left = scene.frames
    write_blocks(scene, {"field": strip(comm)}, comm, 1)
    return error, left, scene.frames


WRITER = """
import sys
from h5scene import SceneFile
with SceneFile(sys.argv[1], "r+") as file, file.transaction():
    print("locked", flush=True)
    sys.stdin.readline()
"""


def case_another_process_writes(comm: Any, folder: Path) -> Any:
    other = None
    if comm.rank == 0:
        Scene.create(folder / "file")
        other = subprocess.Popen(
            [sys.executable, "-c", WRITER, os.fspath(folder / "file.h5")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert other.stdout is not None
        other.stdout.readline()
    scene = None if comm.rank else Scene.at(folder / "file", 0, lock_timeout_s=0.1)
    try:
        write_blocks(scene, {"field": strip(comm)}, comm)
        error = None
    except Exception as raised:  # noqa: BLE001  # to be looked at
        error = raised
    if other is not None:
        other.communicate(b"\n")
    write_blocks(scene, {"field": strip(comm)}, comm, 1)
    return error, (), scene and scene.frames
