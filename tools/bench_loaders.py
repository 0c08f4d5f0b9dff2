"""Reading many frames for analysis and training: xarray and PyTorch's DataLoader."""

from __future__ import annotations

import importlib.util
import statistics
import time
import warnings
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PhiML warns about its own definitions
    from phi.field import Scene as PhiFlowScene

from bench_fields import turbulence_grid
from h5scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Arrays = npt.NDArray[Any]

DIMS = "x,y,vector"


def measure_loaders(folder: Path, *, quick: bool) -> dict[str, float]:
    """Returns medians, in ms per frame, of reading the frames of one file in several ways.

    PhiFlow reads whole frames, one at a time, from its own files; plain h5py reads our file.
    """
    size, count = (128, 8) if quick else (512, 24)
    ours = Scene.create(folder / "loaders", copy_calling_script=False)
    theirs = PhiFlowScene.create(str(folder / "loaders_phiflow"), copy_calling_script=False)
    grid = turbulence_grid(size, 2)
    for frame in range(count):
        ours.write(v=grid * (frame + 1), frame=frame)
        theirs.write(v=grid * (frame + 1), frame=frame)
    path = folder / "loaders.h5"
    corner = slice(size // 4, size // 4 + size // 8)
    result: dict[str, float] = {}
    field = f"{ours.path.rpartition('/')[2]}/v"

    def phiflow(part: Any) -> list[Arrays]:
        return [theirs.read("v", frame=f).values.numpy(DIMS)[part][None] for f in range(count)]

    def plain(part: Any) -> list[Arrays]:
        with h5py.File(path) as h5:  # open files keep chunks that were read
            return [h5[field][f"{frame:06d}"][part][None] for frame in range(count)]

    parts = {"whole frames": (slice(None),) * 3, "a block of 1/64": (corner, corner, slice(None))}
    for title, part in parts.items():
        calls: dict[str, Callable[[], list[Any]]] = {
            "PhiFlow": lambda part=part: phiflow(part),  # type: ignore[misc]
            "h5py": lambda part=part: plain(part),  # type: ignore[misc]
        }
        if importlib.util.find_spec("xarray"):
            calls["xarray"] = _xarray_call(path, part)
        if importlib.util.find_spec("torch"):
            for workers in (0, 2):
                calls[f"DataLoader, {workers} workers"] = _loader_call(path, part, workers)
        result |= {
            f"{title}: {name}, ms": ms / count for name, ms in _medians(calls, quick=quick).items()
        }
    return result


def _medians(calls: dict[str, Callable[[], list[Any]]], *, quick: bool) -> dict[str, float]:
    """Returns the median of each call, in ms of the clock, after checking that all agree."""
    expected = np.concatenate(calls["h5py"]())
    for call in calls.values():  # the first call warms every cache
        call()
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(2 if quick else 5):
        for name, call in calls.items():
            start = time.perf_counter()
            found = call()
            times[name].append(time.perf_counter() - start)
            joined = np.concatenate([np.asarray(part) for part in found])
            if "DataLoader" in name:  # channels first
                joined = joined.transpose(0, 2, 3, 1)
            if not np.array_equal(joined, expected):
                raise RuntimeError(f"{name} gave other values")
    return {name: statistics.median(found) * 1000 for name, found in times.items()}


def _xarray_call(path: Path, part: Any) -> Callable[[], list[Any]]:
    """Returns what reads a part of all frames through xarray."""
    import xarray

    def read() -> list[Any]:
        with xarray.open_dataset(path, engine="h5scene") as data:
            return [data.v.isel(x=part[0], y=part[1]).values]

    return read


def _loader_call(path: Path, part: Any, workers: int) -> Callable[[], list[Any]]:
    """Returns what reads a part of all frames through a DataLoader, its workers running before."""
    from torch.utils.data import DataLoader

    from h5scene.torch_data import FrameDataset

    data = FrameDataset(path, "v", region={"x": part[0], "y": part[1]})
    loader = DataLoader(data, batch_size=4, num_workers=workers, persistent_workers=workers > 0)
    return lambda: list(loader)
