"""Scenes of many frames, files of many scenes, and what an import costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi.field import Scene as PhiFlowScene

from bench_fields import tiny_grid
from h5scene import Scene, SceneFile
from h5scene.phi_fields import record_from_field
from h5scene.store import close_all

if TYPE_CHECKING:
    from collections.abc import Callable

_IN_A_TRANSACTION = 500


def measure_scale(folder: Path, *, quick: bool) -> dict[str, float]:
    """Returns times in ms: frames written late, listing and opening."""
    counts = (1, 1000) if quick else (1, 1000, 100_000)
    record = record_from_field(tiny_grid())
    result: dict[str, float] = {}
    path = folder / "many_frames.h5"
    scene = Scene.create(path, copy_calling_script=False)
    written = 0
    early: list[float] = []
    for count in counts:
        with SceneFile(path) as file:
            while written < count:
                with file.transaction():
                    for frame in range(written, min(written + _IN_A_TRANSACTION, count)):
                        file.write_frame(frame, {"sim_000000": {"smoke": record}})
                written = min(written + _IN_A_TRANSACTION, count)
        grid = tiny_grid_once()
        late = [ms(partial(scene.write, {"smoke": grid}, n)) for n in range(written, written + 100)]
        written += 100
        if count == 1:
            early = late[50:]
        result[f"write of a frame after {count:,} frames"] = statistics.median(late)

        def listed() -> int:
            close_all()
            return len(Scene.at(path, 0).frames)

        def read_one() -> Any:
            close_all()
            return Scene.at(path, 0).read("smoke", frame=0)

        result[f"open and frames, {written:,} frames"] = median(listed, 3)
        result[f"open and read one field, {written:,} frames"] = median(read_one, 3)
        result[f"PhiFlow: at and frames, {written:,} empty files"] = phiflow_listing(
            folder / f"phiflow_{count}", written
        )
    result["late by early"] = result[
        f"write of a frame after {counts[-1]:,} frames"
    ] / statistics.median(early)
    scenes = 100 if quick else 10_000
    many = folder / "many_scenes.h5"
    result[f"create {scenes:,} scenes in one call"] = ms(
        lambda: SceneFile(many).create_scenes("sim", scenes)
    )

    def found() -> int:
        close_all()
        return len(SceneFile(many, "r").scenes)

    def opened() -> Any:
        close_all()
        return Scene.at(many, scenes - 1).frames

    result[f"open and scenes, {scenes:,} scenes"] = median(found, 3)
    result[f"open one of {scenes:,} scenes"] = median(opened, 3)
    result[f"create one more of {scenes:,} scenes"] = median(
        lambda: SceneFile(many).create_scenes("sim"), 5
    )
    return result


_grids: list[Any] = []


def tiny_grid_once() -> Any:
    """Returns the grid, made once."""
    if not _grids:
        _grids.append(tiny_grid())
    return _grids[0]


def phiflow_listing(folder: Path, frames: int) -> float:
    """Returns how long PhiFlow lists a scene of so many files, which are empty here."""
    scene = PhiFlowScene.create(str(folder), copy_calling_script=False)
    for frame in range(frames):
        Path(scene.path, f"smoke_{frame:06d}.npz").touch()
    return median(lambda: PhiFlowScene.at(scene.path).frames, 3)


def measure_import() -> dict[str, float]:
    """Returns the times of imports in ms, without that of Python's own start."""
    programs = {"h5scene": "import h5scene", "h5scene.SceneFile": "from h5scene import SceneFile"}
    base = median(lambda: _python("pass"), 5)
    times = {name: median(partial(_python, code), 5) for name, code in programs.items()}
    return {f"{name}, ms": ms - base for name, ms in times.items()}


def _python(code: str) -> None:
    """Runs a program."""
    subprocess.run([sys.executable, "-c", code], check=True)


def ms(call: Callable[[], Any]) -> float:
    """Returns how long a call takes."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def median(call: Callable[[], Any], count: int) -> float:
    """Returns the median of several calls."""
    return statistics.median(ms(call) for _ in range(count))
