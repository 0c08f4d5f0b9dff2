"""Scene directories for tests, made by PhiFlow, and what is in them, seen without h5scene."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from phi.field import CenteredGrid, Scene, StaggeredGrid
from phi.geom import Box
from phi.math import extrapolation
from phiml import math
from phiml.math import batch, spatial, vec

BOX = Box(x=100, y=80)


def smoke(seed: float = 0.0, **resolution: int) -> Any:
    """Returns a centered grid of numbers that are all different."""
    sizes = resolution or {"x": 6, "y": 5}
    cells = int(np.prod(list(sizes.values())))
    values = np.arange(cells, dtype=np.float32).reshape(*sizes.values()) + np.float32(seed)
    return CenteredGrid(math.tensor(values, spatial(**sizes)), extrapolation.ZERO_GRADIENT, BOX)


def velocity(seed: float = 0.0) -> Any:
    """Returns a staggered grid with walls and an open top."""
    open_top = {"x": 0, "y-": 0, "y+": extrapolation.ZERO_GRADIENT}
    return StaggeredGrid(vec(x=1.5 + seed, y=-2.0), open_top, BOX, x=6, y=5)


def make_scene(parent: Path, frames: int = 3, **properties: Any) -> Path:
    """Has PhiFlow write a scene with all that a scene may have, and returns its directory."""
    scene = Scene.create(str(parent), copy_calling_script=False)
    weights = math.tensor([0.1, 0.2], batch("run"))
    scene.put_properties(
        viscosity=0.1, names=["a", "ü"], nan=float("nan"), weights=weights, **properties
    )
    for frame in range(frames):
        scene.write(smoke=smoke(frame), velocity=velocity(frame), frame=frame)
    directory = Path(scene.path)
    (directory / "src").mkdir()
    (directory / "src" / "plume.py").write_text("print('ü')\n", encoding="utf-8")
    (directory / "images").mkdir()
    (directory / "images" / "a.png").write_bytes(bytes(range(256)))
    (directory / "empty" / "inside").mkdir(parents=True)
    (directory / "info.log").write_bytes(b"started\r\nended\n")
    (directory / "nothing").touch()
    (directory / "run.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (directory / "run.sh").chmod(0o750)
    (directory / "log_loss.txt").write_text("0 1.0\n1 0.5\n2 0.25\n", encoding="ascii")
    (directory / "log_odd.txt").write_text("0 1.50 2e3\n1 1 -0\n", encoding="ascii")
    (directory / "log_words.txt").write_text("no numbers\n", encoding="ascii")
    return directory


def arrays_of(path: Path) -> dict[str, Any]:
    """Returns the arrays of an npz as NumPy reads them, which runs what the file says."""
    with np.load(path, allow_pickle=True) as npz:
        return {name: npz[name] for name in npz.files}


def plain(value: Any) -> Any:
    """Returns a value such that `==` compares types, dtypes, orders and every bit."""
    if isinstance(value, np.ndarray):
        order = value.flags.f_contiguous and not value.flags.c_contiguous
        if value.dtype == object:
            return ("array", "object", value.shape, order, [plain(item) for item in value.flat])
        return ("array", value.dtype.str, value.shape, order, value.tobytes())
    if isinstance(value, dict):
        return ("dict", [(key, plain(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value).__name__, [plain(item) for item in value])
    return (type(value).__name__, repr(value))


def tree(directory: Path) -> dict[str, Any]:
    """Returns everything in a directory by its path.

    npz files by their arrays, `description.json` by its values, the rest by bytes and permissions.
    """
    found: dict[str, Any] = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        mode = path.lstat().st_mode & 0o777
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))  # noqa: PTH115  # as it stands there
        elif path.is_dir():
            found[name] = ("directory", mode)
        elif path.suffix == ".npz":
            found[name] = [(key, plain(array)) for key, array in arrays_of(path).items()]
        elif path.name == "description.json":
            found[name] = plain(dict(sorted(json.loads(path.read_text()).items())))
        else:
            log = path.name.startswith("log_")
            found[name] = ("file", None if log else mode, path.read_bytes())
    return found
