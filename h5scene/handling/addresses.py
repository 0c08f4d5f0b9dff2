"""How a file, or something in it, is named: `runs.h5/sim_000000/smoke/5`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from h5scene.errors import InvalidInputError, NotFoundError
from h5scene.format.names import frame_of_link, numbered_scene
from h5scene.paths import HDF5_SUFFIXES, scene_file_path

if TYPE_CHECKING:
    from h5scene.scene_file import SceneFile


@dataclass(frozen=True)
class Address:
    """A scene file, and a place in it.

    Attributes:
        file: Path of the file.
        parts: Names on the way from its root: of a scene, of a field, of a frame.
    """

    file: str
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join((self.file, *self.parts))


def find_address(text: str | os.PathLike[str]) -> Address:
    """Returns the address of something in a file that exists.

    The file ends where a path names a file, with or without its suffix.

    Raises:
        NotFoundError: No part of the path is a file.
    """
    path, parts = os.path.expanduser(os.fspath(text)), list[str]()
    while path:
        for candidate in (path, path.rstrip("/") + HDF5_SUFFIXES[0]):
            if Path(candidate).is_file():
                return Address(candidate, tuple(parts))
        path, _, name = path.rstrip("/").rpartition("/")
        parts.insert(0, name)
    raise NotFoundError(f"no scene file {os.fspath(text)}; check the path", file=os.fspath(text))


def target_address(text: str | os.PathLike[str]) -> Address:
    """Returns the address of something to be written, in a file that may have to be created.

    Raises:
        InvalidInputError: The path names no file.
    """
    try:
        return find_address(text)
    except NotFoundError:
        path = os.fspath(text)
    names = path.split("/")
    for i, name in enumerate(names):
        if name.endswith(HDF5_SUFFIXES):
            inside = tuple(part for part in names[i + 1 :] if part)
            return Address("/".join(names[: i + 1]), inside)
    return Address(scene_file_path(path))


def scene_of(file: SceneFile, name: str) -> str:
    """Returns the scene that a name means: `3` is `sim_000003` where no scene is named `3`."""
    if name.isascii() and name.isdecimal() and len(name) < 18 and not file.has_scene(name):
        numbered = numbered_scene("sim", int(name))
        return numbered if file.has_scene(numbered) else name
    return name


def frame_of(name: str) -> int:
    """Returns the frame that a name means: `5`, or `000005` as it stands in the file.

    Raises:
        InvalidInputError: It is no number.
    """
    if name.isascii() and name.isdecimal() and len(name) < 19:
        number = frame_of_link(name)
        return int(name) if number is None else number
    raise InvalidInputError(f"{name!r} is no frame; frames are numbers such as 5")
