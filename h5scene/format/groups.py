"""What every group of a scene file says of itself, and the names of members."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, UnsupportedVersionError
from h5scene.format import layout
from h5scene.store.gate import read_text
from h5scene.store.links import check_member, members, open_member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


_KIND = layout.KIND_ATTR.encode()
_SHORT_KIND = np.dtype("S16")
_MOST_IN_HEADER = 16
_MAX_FIXED_BYTES = 1 << 12  # all attributes of an object together have 64 KiB


def mark(group: h5py.Group, kind: str) -> None:
    """Says on a new group what it is.

    In texts of fixed length, which stand in structures that have a checksum: a scene whose kind is
    damaged would not be listed.
    """
    set_text(group.id, layout.KIND_ATTR, kind)
    set_text(group.id, layout.ENCODING_ATTR, layout.ENCODING_VERSION)


def create(parent: h5py.Group, path: str, kind: str) -> h5py.Group:
    """Returns a new group that says what it is."""
    names = None if path.isascii() else _utf8_names()
    created = h5py.h5g.create(parent.id, path.encode(), lcpl=names, gcpl=_few_attributes())
    group = h5py.Group(created)
    mark(group, kind)
    return group


def describe(thing: h5py.Group | h5py.Dataset, attributes: Mapping[str, Any]) -> None:
    """Gives a new group or dataset its attributes: texts and numbers."""
    for name, value in attributes.items():
        if isinstance(value, str):
            set_text(thing.id, name, value)
        else:
            thing.attrs[name] = value


def read_attribute(
    source: h5py.Group | h5py.Dataset, name: str, *, may_be_array: bool = False
) -> Any:
    """Returns the value of an attribute, strings of fixed length too as `str`; else `None`.

    Raises:
        CorruptDataError: It is an array, and should be one value.
    """
    value = source.attrs.get(name)
    if isinstance(value, np.ndarray) and value.ndim and not may_be_array:
        raise CorruptDataError(
            f"the attribute {name!r} of {source.name} has {value.size} values instead of one",
            location=str(source.name),
        )
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


def links_of_kind(
    group: h5py.Group, kind: str, is_wanted: Callable[[str], bool]
) -> tuple[str, ...]:
    """Returns the names of the members that say they are of a kind, sorted.

    Args:
        group: Whose members.
        kind: Of the members.
        is_wanted: Whether a member of this name is looked at. Only names that are UTF-8 are.
    """

    def may_be_read(link: bytes) -> bool:
        try:
            return is_wanted(link.decode())
        except UnicodeDecodeError:
            return False

    found = members(group, may_be_read)
    return tuple(sorted(link.decode() for link, opened in found if kind_of(opened) == kind))


def kind_of(opened: Any) -> str | None:
    """Returns what a group, given by its HDF5 identifier, says it is; `None` for all else."""
    if not isinstance(opened, h5py.h5g.GroupID) or not h5py.h5a.exists(opened, _KIND):
        return None
    attribute = h5py.h5a.open(opened, _KIND)
    kind = np.empty((), _SHORT_KIND)
    try:
        if attribute.get_storage_size() < kind.itemsize:  # else cut off, or of variable length
            # In one step, a fifth of the time. HDF5 makes this type of no other one.
            attribute.read(kind, _short_kind_type())
            return str(kind.item().decode())
    except (OSError, RuntimeError, TypeError, ValueError):
        pass  # something else, which may be text all the same
    return read_text(attribute)


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


@cache
def _utf8_names() -> Any:
    """Returns how links are created whose names are not ASCII."""
    properties = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    properties.set_char_encoding(h5py.h5t.CSET_UTF8)
    return properties


@cache
def _short_kind_type() -> Any:
    """Returns HDF5's type of short kinds."""
    return h5py.h5t.py_create(h5py.string_dtype(length=_SHORT_KIND.itemsize))


@cache
def _few_attributes() -> Any:
    """Returns how groups are created whose attributes stand in their header.

    From nine attributes on, such as a field has, HDF5 would give each group an index and a heap for
    them by default. That takes 1.3 KB and a third more time.
    """
    properties = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    properties.set_attr_phase_change(_MOST_IN_HEADER, _MOST_IN_HEADER // 2)
    return properties


def major(version: Any) -> int:
    """Returns the major number of a version such as `1.0`; -1 when it is none."""
    text = version.split(".")[0] if isinstance(version, str) else ""
    return int(text) if text.isdecimal() else -1
