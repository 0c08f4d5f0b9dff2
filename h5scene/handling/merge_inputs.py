"""What a merge is given: files and directories of them, and which of these can be merged."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from h5scene.errors import BusyError, InvalidInputError, NotFoundError, ReadOnlyError
from h5scene.format import layout
from h5scene.handling.merge_names import by_number
from h5scene.handling.scene_copies import KnownObjects
from h5scene.paths import HDF5_SUFFIXES, scene_file_path
from h5scene.scene_file import SceneFile
from h5scene.store import is_being_written

if TYPE_CHECKING:
    from collections.abc import Iterable

    from h5scene.format.tree import SceneTree

INPUT_TIMEOUT_S = 2.0
"""Who writes to an input is not waited for longer."""
_ROOT_ATTRS = frozenset({layout.FORMAT_ATTR, layout.CREATOR_ATTR})


@dataclass
class MergeInput:
    """One input.

    Attributes:
        path: Its path.
        state: What tells this state of it from others.
        scenes: Names of all of its scenes, those of a series by number.
        others: What it holds beside scenes, which is not merged.
        byte_count: Its length.
        to_do: The scenes that are still to be copied.
        known: Objects that the target has as well.
    """

    path: str
    state: str
    scenes: tuple[str, ...]
    others: tuple[str, ...]
    byte_count: int
    to_do: list[str] = field(default_factory=list)
    known: KnownObjects = field(default_factory=KnownObjects)

    def opened(self) -> SceneFile:
        """Returns the file, opened for reading."""
        return SceneFile(self.path, "r", lock_timeout_s=INPUT_TIMEOUT_S)

    def place(self, scene: str) -> str:
        """Returns where a scene stands in the target until it is complete.

        No other state of this scene, nor of others, has the same.
        """
        digest = hashlib.sha256(f"{self.state}/{scene}".encode()).hexdigest()
        return f"{layout.MERGING_GROUP}/{digest}"

    @property
    def name(self) -> str:
        """What a scene remembers of where it came from: the last two parts of the path."""
        return "/".join(Path(self.path).absolute().parts[-2:])


def input_files(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], target: str
) -> tuple[list[str], list[str]]:
    """Returns the files to merge, and the directories that were given for them.

    Raises:
        NotFoundError: One of them does not exist.
        InvalidInputError: There are none, or the target is one of them.
    """
    given = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
    files: dict[str, str] = {}
    directories = []
    for one in given:
        path = Path(one).expanduser()
        if path.is_dir():
            directories.append(str(path))
            for file in sorted(path.iterdir(), key=_natural_order):
                is_one = file.suffix in HDF5_SUFFIXES and not file.name.startswith(".")
                if is_one and file.is_file() and not is_same_path(file, target):
                    files.setdefault(os.path.realpath(file), str(file))
            continue
        file_path = scene_file_path(path)
        if not Path(file_path).is_file():
            raise NotFoundError(f"no scene file {file_path}; nothing was merged", file=file_path)
        if is_same_path(file_path, target):
            raise InvalidInputError(f"{target} cannot be merged into itself; leave it out")
        files.setdefault(os.path.realpath(file_path), file_path)
    if not files:
        raise InvalidInputError("there are no scene files to merge; name some")
    return list(files.values()), directories


def examined(path: str, *, is_moved: bool) -> MergeInput:
    """Returns an input that can be read, and to which nobody is writing.

    Raises:
        BusyError: Somebody may still be writing to it.
        H5SceneError: It cannot be read.
    """
    if is_being_written(path):
        raise BusyError(f"{path} is still being written by another process", file=path)
    with SceneFile(path, "r+" if is_moved else "r", lock_timeout_s=INPUT_TIMEOUT_S) as file:
        if is_moved:
            try:
                with file.transaction():
                    pass  # an interrupted commit is finished now, and not when the file is removed
            except ReadOnlyError:
                pass  # it can be merged, if not removed
        store = file._opened()

        def look(tree: SceneTree) -> MergeInput:
            scenes = tree.scene_names()
            known = {*scenes, layout.OBJECTS_GROUP}
            others = [link for link in tree.h5 if link not in known]
            others += [f"@{name}" for name in tree.h5.attrs if name not in _ROOT_ATTRS]
            return MergeInput(
                path,
                store.state(),
                tuple(sorted(scenes, key=by_number)),
                tuple(map(str, others)),
                Path(path).stat().st_size,
            )

        return file._read(look)


def is_same_path(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Whether two paths are those of one file."""
    return os.path.realpath(a) == os.path.realpath(b)


def remove_if_empty(directory: str) -> None:
    """Removes a directory, unless something is left in it."""
    try:
        Path(directory).rmdir()
    except OSError:
        return


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Sorts `9.h5` before `10.h5`."""
    parts = re.split("([0-9]+)", path.name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]
