"""What every group of a scene file says of itself, and the names of members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, UnsupportedVersionError
from h5scene.format import layout
from h5scene.store.gate import read_text
from h5scene.store.links import check_member, open_member

if TYPE_CHECKING:
    from collections.abc import Iterable


_KIND = layout.KIND_ATTR.encode()
_MAX_FIXED_BYTES = 1 << 12  # all attributes of an object together have 64 KiB


def mark(group: h5py.Group, kind: str) -> None:
    """Says on the group what it is.

    In texts of fixed length, which stand in structures that have a checksum: a scene whose kind is
    damaged would not be listed.
    """
    put_json(group, layout.KIND_ATTR, kind)
    put_json(group, layout.ENCODING_ATTR, layout.ENCODING_VERSION)


def read_attribute(source: h5py.Group | h5py.Dataset, name: str) -> Any:
    """Returns the value of an attribute, strings of fixed length too as `str`; else `None`."""
    value = source.attrs.get(name)
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value


def set_text(holder: Any, name: str, text: str) -> None:
    """Gives a group or dataset, by its HDF5 identifier, a new attribute with a short text.

    It has a fixed length where HDF5 can hold that, which takes a third of the time and space of a
    variable one.
    """
    data = text.encode()
    has_length = 0 < len(data) <= _MAX_FIXED_BYTES
    kind = h5py.string_dtype(length=len(data) if has_length else None)
    stored = h5py.h5t.py_create(kind, logical=True)
    space = h5py.h5s.create(h5py.h5s.SCALAR)
    attribute = h5py.h5a.create(holder, name.encode(), stored, space)
    # The type in the file takes bytes as they are; only h5py's own one knows Python's objects.
    attribute.write(np.array(data, kind), mtype=stored if has_length else h5py.h5t.py_create(kind))


def put_json(thing: h5py.Group | h5py.Dataset, name: str, text: str) -> None:
    """Sets an attribute to JSON text, in place of one that has the name.

    Of a fixed length HDF5 keeps it with a checksum. h5py gives it as bytes, which are JSON as well.
    """
    if h5py.h5a.exists(thing.id, name.encode()):
        h5py.h5a.delete(thing.id, name.encode())
    set_text(thing.id, name, text)


def text_names(names: Iterable[Any]) -> list[str]:
    """Returns the names of members or attributes that are UTF-8; h5py gives others as bytes."""
    return [name for name in names if isinstance(name, str)]


def link_names(group: h5py.Group) -> list[str]:
    """Returns the names of the members of a group that are UTF-8, faster than h5py does."""
    links: list[bytes] = []
    group.id.links.iterate(links.append)
    try:
        return [link.decode() for link in links]
    except UnicodeDecodeError:
        return text_names(group)


def has_member(group: h5py.Group, path: str) -> bool:
    """Whether a group has a member of this path, whose earlier parts must exist."""
    return bool(group.id.links.exists(path.encode()))


def member_kind(group: h5py.Group, link: str) -> str | None:
    """Returns what a member of a group says it is; `None` where it says nothing, or is no group.

    Listing 10,000 scenes comes here for each, and h5py's objects take several times as long.
    """
    try:
        member = link.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return None  # no link has this name
    if not member or b"\0" in member or not check_member(group, member):
        return None
    return kind_of(open_member(group, member))


def kind_of(opened: Any) -> str | None:
    """Returns what a group, given by its HDF5 identifier, says it is; `None` for all else."""
    if not isinstance(opened, h5py.h5g.GroupID) or not h5py.h5a.exists(opened, _KIND):
        return None
    return read_text(h5py.h5a.open(opened, _KIND))


def check_mark(group: h5py.Group, kind: str) -> None:
    """Raises when the group is no `kind`, or one of a newer major version.

    Raises:
        CorruptDataError: The group says nothing, or something else.
        UnsupportedVersionError: It was written by a newer h5scene.
    """
    found = read_attribute(group, layout.KIND_ATTR)
    if found != kind:
        raise CorruptDataError(
            f"{group.name} should be a {kind}, but its attribute 'kind' is {found!r}"
        )
    version = read_attribute(group, layout.ENCODING_ATTR)
    if major(version) != major(layout.ENCODING_VERSION):
        raise UnsupportedVersionError(
            f"{group.name} is a {kind} of encoding version {version}; this h5scene knows version "
            f"{layout.ENCODING_VERSION}: install a newer one"
        )


def major(version: Any) -> int:
    """Returns the major number of a version such as `1.0`; -1 when it is none."""
    text = version.split(".")[0] if isinstance(version, str) else ""
    return int(text) if text.isdecimal() else -1
