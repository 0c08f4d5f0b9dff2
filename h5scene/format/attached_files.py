"""Files attached to a scene: datasets of bytes in groups that stand for directories."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import AlreadyExistsError, CorruptDataError
from h5scene.format import layout
from h5scene.format.chunks import write_array
from h5scene.format.codec import read_values
from h5scene.store.gate import walk

if TYPE_CHECKING:
    from collections.abc import Iterable


_MODE_BITS = 0o777  # a shared file must not make programs that run as somebody else


def attached_files(scene: h5py.Group) -> tuple[str, ...]:
    """Returns the names of all files attached to a scene, such as `src/plume.py`, sorted."""
    return tuple(path for path, file in _members(scene) if isinstance(file, h5py.Dataset))


def attached_directories(scene: h5py.Group) -> dict[str, int | None]:
    """Returns the directories of attached files with their modes; `None` where it is not known."""
    found = _members(scene)
    return {path: mode_of(group) for path, group in found if isinstance(group, h5py.Group)}


def attached_modes(scene: h5py.Group) -> dict[str, int | None]:
    """Returns the mode of each attached file; `None` where it is not known."""
    found = _members(scene)
    return {path: mode_of(file) for path, file in found if isinstance(file, h5py.Dataset)}


def set_mode(scene: h5py.Group, path: str, mode: int) -> None:
    """Notes the mode of an attached file or directory; a directory is made where it is missing."""
    files = scene.require_group(layout.FILES_GROUP)
    member = files[path] if path in files else files.create_group(path)
    member.attrs[layout.MODE_ATTR] = np.uint16(mode & _MODE_BITS)


def mode_of(member: Any) -> int | None:
    """Returns the mode that a member has."""
    mode = member.attrs.get(layout.MODE_ATTR)
    is_number = isinstance(mode, (int, np.integer)) and not isinstance(mode, bool)
    return int(mode) & _MODE_BITS if is_number else None


def find_file(scene: h5py.Group, path: str) -> h5py.Dataset | None:
    """Returns an attached file; `None` where there is none at this path."""
    member = _find(scene, path)
    return member if isinstance(member, h5py.Dataset) else None


def check_attachable(scene: h5py.Group, paths: Iterable[str], where: str) -> None:
    """Raises when a path needs a directory where another path has a file.

    Raises:
        AlreadyExistsError: There is such a path, here or stored already.
    """
    new = set(paths)
    parents = {path: [str(parent) for parent in PurePosixPath(path).parents] for path in new}
    directories = {parent for above in parents.values() for parent in above}
    both = {path for path in directories if path in new or find_file(scene, path) is not None}
    both |= {path for path in new if _holds_files(_find(scene, path))}
    for path in sorted(both):
        raise AlreadyExistsError(
            f"cannot attach {', '.join(sorted(new))} to {where}: {path!r} would be a file and a "
            "directory"
        )


def write_bytes(group: h5py.Group, name: str, content: bytes) -> None:
    """Stores bytes in place of what had this name; groups on the way are created."""
    if name in group:
        del group[name]
    parent, _, link = name.rpartition("/")
    target = group.require_group(parent) if parent else group
    write_array(target, link, np.frombuffer(content, np.uint8), None, workers=1)


def read_bytes(dataset: Any) -> bytes:
    """Returns the bytes that `write_bytes` stored.

    Raises:
        CorruptDataError: It is no dataset of bytes.
    """
    is_bytes = isinstance(dataset, h5py.Dataset) and dataset.dtype == np.uint8 and dataset.ndim == 1
    if not is_bytes:
        raise CorruptDataError(f"{getattr(dataset, 'name', dataset)} is no dataset of bytes")
    return read_values(dataset).tobytes()


def _find(scene: h5py.Group, path: str) -> Any:
    """Returns what stands at a path of attached files; `None` where nothing does."""
    member = scene.get(layout.FILES_GROUP)
    for link in path.split("/"):
        if not isinstance(member, h5py.Group) or link not in member:
            return None
        member = member[link]
    return member


def _holds_files(member: Any) -> bool:
    """Whether this is a directory with a file somewhere below."""
    return isinstance(member, h5py.Group) and any(
        isinstance(below, h5py.Dataset) for _, below in walk(member)
    )


def _members(scene: h5py.Group) -> list[tuple[str, Any]]:
    """Returns the paths of all attached files and directories with their objects, sorted."""
    group = scene.get(layout.FILES_GROUP)
    members = walk(group) if isinstance(group, h5py.Group) else ()
    return sorted(members, key=lambda member: member[0])
