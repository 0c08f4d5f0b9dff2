"""The libraries that tools/bench compares, each behind the same three calls."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PhiML warns about its own definitions
    from phi.field import Scene as PhiFlowScene

from bench_fields import Frame
from h5scene import Scene


class Library(Protocol):
    """What is measured."""

    def write(self, frame: Frame, number: int) -> None:
        """Writes the fields of a frame under this number."""

    def read(self, frame: Frame, number: int) -> Any:
        """Reads all fields of a frame."""

    def stored_bytes(self) -> int:
        """Returns the length of all files."""


class PhiFlow:
    """`phi.field.Scene`: fields in a directory of npz files."""

    def __init__(self, folder: Path):
        self._scene = PhiFlowScene.create(str(folder / "phiflow"), copy_calling_script=False)

    def write(self, frame: Frame, number: int) -> None:
        """See `Library`."""
        self._scene.write(frame.fields, frame=number)

    def read(self, frame: Frame, number: int) -> Any:
        """See `Library`."""
        return self._scene.read(*frame.fields, frame=number)

    def stored_bytes(self) -> int:
        """See `Library`. The npz files alone."""
        return sum(path.stat().st_size for path in Path(self._scene.path).glob("*.npz"))


class H5scene:
    """`h5scene.Scene`: fields in one HDF5 file, a commit for each frame."""

    def __init__(self, folder: Path, **options: Any):
        self._file = folder / ("h5scene" + "".join(f"_{value}" for value in options.values()))
        self._scene = Scene.create(self._file, copy_calling_script=False, **options)

    def write(self, frame: Frame, number: int) -> None:
        """See `Library`."""
        self._scene.write(frame.fields, frame=number)

    def read(self, frame: Frame, number: int) -> Any:
        """See `Library`."""
        return self._scene.read(*frame.fields, frame=number)

    def stored_bytes(self) -> int:
        """See `Library`."""
        return self._file.with_suffix(".h5").stat().st_size


class PlainH5py:
    """h5py by hand: NumPy arrays that are there already, no description, a flush for each frame."""

    def __init__(self, folder: Path, **options: Any):
        self._path = folder / f"plain_{len(options)}.h5"
        self._file = h5py.File(self._path, "w")
        self._options = options

    def write(self, frame: Frame, number: int) -> None:
        """See `Library`."""
        for name, array in frame.arrays.items():
            self._file.create_dataset(f"{name}/{number:06d}", data=array, **self._options)
        self._file.flush()

    def read(self, frame: Frame, number: int) -> list[Any]:
        """See `Library`. Arrays, not fields."""
        return [self._file[f"{name}/{number:06d}"][...] for name in frame.fields]

    def stored_bytes(self) -> int:
        """See `Library`."""
        self._file.flush()
        return self._path.stat().st_size


def all_libraries(folder: Path) -> dict[str, Library]:
    """Returns the libraries by name, each with a file of its own in the folder."""
    return {
        "PhiFlow": PhiFlow(folder),
        "h5py gzip 4": PlainH5py(folder, compression="gzip", compression_opts=4, shuffle=True),
        "h5py raw": PlainH5py(folder),
        "h5scene": H5scene(folder),
        "h5scene raw": H5scene(folder, compression=None),
        "h5scene power": H5scene(folder, durability="power"),
    }


def check_equal(libraries: dict[str, Library], frame: Frame, number: int) -> None:
    """Raises when a library gives back other values than were written."""
    expected = frame.arrays
    for name in ("h5scene", "h5scene raw", "h5scene power"):
        read = libraries[name].read(frame, number)
        found = Frame(
            "", dict(zip(expected, read if len(expected) > 1 else [read], strict=True)), 0
        )
        for key, array in found.arrays.items():
            if not np.array_equal(array, expected[key], equal_nan=True):
                raise RuntimeError(f"{name} gave back other values of {key}")
