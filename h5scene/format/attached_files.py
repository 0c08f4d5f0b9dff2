"""Files attached to a scene: datasets of bytes in groups that stand for directories."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import AlreadyExistsError, CorruptDataError
from h5scene.format import layout
from h5scene.format.codec import read_values
from h5scene.format.groups import text_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_MODE_BITS = 0o777  # a shared file must not make programs that run as somebody else


def attached_files(scene: h5py.Group) -> tuple[str, ...]:
    """Returns the names of all files attached to a scene, such as `src/plume.py`, sorted."""
    return tuple(sorted(_walk(scene.get(layout.FILES_GROUP))))


def attached_directories(scene: h5py.Group) -> dict[str, int | None]:
    """Returns the directories of attached files with their modes; `None` where it is not known."""
    found: dict[str, int | None] = {}
    pending = [("", scene.get(layout.FILES_GROUP))]
    while pending:
        prefix, group = pending.pop()
        if isinstance(group, h5py.Group):
            if prefix:
                found[prefix] = _mode(group)
            pending += [(f"{prefix}/{link}".lstrip("/"), group[link]) for link in text_names(group)]
    return dict(sorted(found.items()))


def attached_modes(scene: h5py.Group) -> dict[str, int | None]:
    """Returns the mode of each attached file; `None` where it is not known."""
    group = scene.get(layout.FILES_GROUP)
    return {name: _mode(group[name]) for name in attached_files(scene)}


def set_mode(scene: h5py.Group, path: str, mode: int) -> None:
    """Notes the mode of an attached file or directory; a directory is made where it is missing."""
    files = scene.require_group(layout.FILES_GROUP)
    member = files[path] if path in files else files.create_group(path)
    member.attrs[layout.MODE_ATTR] = np.uint16(mode & _MODE_BITS)


def _mode(member: Any) -> int | None:
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
    both |= {path for path in new if next(_walk(_find(scene, path)), "")}
    for path in sorted(both):
        raise AlreadyExistsError(
            f"cannot attach {', '.join(sorted(new))} to {where}: {path!r} would be a file and a "
            "directory"
        )


def write_bytes(group: h5py.Group, name: str, content: bytes) -> None:
    """Stores bytes in place of what had this name; groups on the way are created."""
    if name in group:
        del group[name]
    group.create_dataset(name, data=np.frombuffer(content, np.uint8))


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


def _walk(root: h5py.Group | None) -> Iterator[str]:
    """Gives the paths of all datasets below a group."""
    pending: list[tuple[str, Any]] = [("", root)]
    while pending:
        prefix, member = pending.pop()
        if isinstance(member, h5py.Dataset):
            yield prefix
        elif isinstance(member, h5py.Group):
            links = text_names(member)
            pending += [(f"{prefix}/{link}".lstrip("/"), member[link]) for link in links]
