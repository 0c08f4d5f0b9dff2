"""How a file, or something in it, is named: `runs.h5/sim_000000/smoke/5`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from h5scene.errors import InvalidInputError, NotFoundError
from h5scene.format.names import frame_of_link, numbered_scene
from h5scene.paths import HDF5_SUFFIXES, SHARDS_SUFFIX, scene_file_path
from h5scene.shards import ShardedFile

if TYPE_CHECKING:
    from h5scene.scene_file import SceneFile


@dataclass(frozen=True)
class Address:
    """A scene file, and a place in it.

    Attributes:
        file: Path of the file.
        parts: Names on the way from its root: of a scene, of a field, of a frame.
        sharded: The scene file and its shards, if the address was one in these.
    """

    file: str
    parts: tuple[str, ...] = ()
    sharded: ShardedFile | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return "/".join((self.file, *self.parts))


def find_address(text: str | os.PathLike[str]) -> Address:
    """Returns the address of something in a file that exists.

    The file ends where a path names a file, with or without its suffix, or one of which there are
    shards. What stands in a shard has the address of the shard.

    Raises:
        NotFoundError: No part of the path is a file, or what is named as a whole is in shards.
    """
    found = find_files(text)
    if not Path(found.file).is_file():
        raise NotFoundError(
            f"there are only shards of {found.file}; name a scene in it, or one of the shards in "
            f"{found.file}{SHARDS_SUFFIX}, or merge them",
            file=found.file,
        )
    return found


def find_files(text: str | os.PathLike[str]) -> Address:
    """Returns the address as `find_address`, also of a whole file that exists only as shards.

    Raises:
        NotFoundError: No part of the path is a file, and there are no shards of one.
    """
    path, parts = os.path.expanduser(os.fspath(text)), list[str]()
    while path:
        for candidate in (path, path.rstrip("/") + HDF5_SUFFIXES[0], _of_shards(path)):
            sharded = ShardedFile(candidate) if candidate.endswith(HDF5_SUFFIXES) else None
            if sharded is not None and sharded.shards:
                return _in_shards(sharded, tuple(parts))
            if Path(candidate).is_file():
                return Address(candidate, tuple(parts))
        path, _, name = path.rstrip("/").rpartition("/")
        parts.insert(0, name)
    raise NotFoundError(f"no scene file {os.fspath(text)}; check the path", file=os.fspath(text))


def _of_shards(path: str) -> str:
    """Returns the path of the file whose shards a directory may hold."""
    return path.rstrip("/").removesuffix(SHARDS_SUFFIX)


def _in_shards(sharded: ShardedFile, parts: tuple[str, ...]) -> Address:
    """Returns the address of something in a file or its shards."""
    if not parts:
        return Address(sharded.path)
    scene, *others = parts
    scenes = [scene]
    if scene.isascii() and scene.isdecimal() and len(scene) < 18:
        scenes.append(numbered_scene("sim", int(scene)))
    files = [sharded.file_of(name) for name in scenes]
    place = next((file for file in files if file != sharded.path), sharded.path)
    return Address(place, (scene, *others), sharded)


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
