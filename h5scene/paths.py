"""Where scene files and scenes stand in the file system, as PhiFlow's directories would."""

from __future__ import annotations

import os
from pathlib import Path

from h5scene.errors import InvalidInputError

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5")
SHARDS_SUFFIX = ".shards"
"""Of the directory beside a scene file in which its shards are."""


def scene_file_path(parent: str | os.PathLike[str]) -> str:
    """Returns the path of the scene file that stands where PhiFlow has the directory `parent`.

    `./data` becomes `./data.h5`; a path that has an HDF5 suffix, or names a file, stays as it is.
    The directory of its shards, `./data.h5.shards`, stands for it, too.

    Raises:
        InvalidInputError: The path names no file, such as `.` or `/`.
    """
    path = os.path.expanduser(_text(parent))  # noqa: PTH111  # pathlib drops a leading './'
    if path.endswith(HDF5_SUFFIXES) or Path(path).is_file():
        return path
    stripped = path.rstrip("/" + os.sep)
    if stripped.removesuffix(SHARDS_SUFFIX).endswith(HDF5_SUFFIXES):
        return stripped.removesuffix(SHARDS_SUFFIX)
    if os.path.split(stripped)[1] in ("", ".", ".."):
        raise InvalidInputError(
            f"{path!r} names a directory; name a scene file, such as './runs.h5'"
        )
    return stripped + HDF5_SUFFIXES[0]


def split_scene_path(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Returns the path of the scene file, and the name of the scene in it.

    Raises:
        InvalidInputError: The path names no scene in a file.
    """
    text = os.path.expanduser(_text(path))  # noqa: PTH111  # pathlib drops a leading './'
    parent, name = os.path.split(text.rstrip("/" + os.sep))
    if name.endswith(HDF5_SUFFIXES) and not parent.endswith(HDF5_SUFFIXES):
        raise InvalidInputError(
            f"{text!r} is a scene file; name a scene in it, such as Scene.at({text!r}, 0)"
        )
    if not parent or not name:
        raise InvalidInputError(
            f"{text!r} names no scene in a file; use a path such as 'runs.h5/sim_000000'"
        )
    return scene_file_path(parent), name


def scene_directory(path: str, scene: str) -> str | None:
    """Returns the directory that PhiFlow would have for this scene, where there is one."""
    directory = Path(path.removesuffix(HDF5_SUFFIXES[0])) / scene
    return str(directory) if directory.is_dir() else None


def _text(path: str | os.PathLike[str]) -> str:
    """Returns a path as text."""
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidInputError(f"a path must be a string, not {type(path).__name__} {path!r}")
    text = os.fspath(path)
    if "\0" in text:
        raise InvalidInputError(f"{text!r} cannot be a path: it holds a NUL")
    return text
