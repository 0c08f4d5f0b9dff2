"""The HDF5 objects below a group: copied, and compared bit by bit.

Names, kinds and attributes stay as they are, those that are not h5scene's too; the bytes of chunks
are moved without unpacking them, unless they are to be packed anew.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, UnsafeFileError, UnsupportedFieldError
from h5scene.format import layout
from h5scene.format.chunks import create_array, fill_array
from h5scene.format.filters import MIN_CHUNKED_BYTES
from h5scene.format.readings import read_array
from h5scene.record import same_bits
from h5scene.store import interruption_point
from h5scene.store.access import TRUSTED, UNTRUSTED
from h5scene.store.datasets import MAX_DEFLATE_RATIO, check_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from h5scene.format.filters import Compression
    from h5scene.store.access import Access

_CHECKSUM = layout.CHECKSUM_ATTR.encode()
_COMPARED_BYTES = 64 << 20  # of one dataset at a time
_UNSTORED_BYTES = 1 << 20  # which may be missing in the file
_FILTERS = (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32)
_HARD, _SOFT, _EXTERNAL = h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT, h5py.h5l.TYPE_EXTERNAL


@dataclass(frozen=True)
class Packing:
    """How datasets of numbers are packed anew.

    Attributes:
        compression: How hard.
        workers: Number of threads.
    """

    compression: Compression
    workers: int


@dataclass
class TreeCopy:
    """Copies members of groups from one file to another.

    First all objects are made, so that what describes them stands side by side in the new file;
    `copy_values` moves the data after that. An object with several names, of those that are copied,
    is one object in the copy too.

    Attributes:
        on_object: Called after each dataset, with the number of bytes that it takes in the file.
        packing: How numbers are packed anew; chunks stay as they are by default.
    """

    on_object: Callable[[int], object] | None = None
    packing: Packing | None = None
    _copied: dict[Any, tuple[Any, bytes]] = field(default_factory=dict)
    _pending: list[tuple[Any, bytes, Any, bytes, bool]] = field(default_factory=list)

    def copy_member(self, source: h5py.Group, name: bytes, target: h5py.Group, as_: bytes) -> None:
        """Makes a member like another one, with all that is below it, but for the values.

        The target has none of this name.

        Raises:
            UnsupportedFieldError: It holds references to objects, which would lead nowhere.
        """
        pending = [(source.id, name, target.id, as_, True)]
        while pending:
            from_, link, to, new_link, may_pack = pending.pop()
            interruption_point()
            kind = from_.links.get_info(link).type
            if kind == _SOFT:
                to.links.create_soft(new_link, from_.links.get_val(link))
                continue
            if kind == _EXTERNAL:
                to.links.create_external(new_link, *from_.links.get_val(link))
                continue
            info = h5py.h5o.get_info(from_, link)
            key = (info.fileno, info.addr)
            if key in self._copied:
                place, known = self._copied[key]
                to.links.create_hard(new_link, place, known)
                continue
            if info.rc > 1:
                self._copied[key] = to, new_link
            if info.type == h5py.h5o.TYPE_GROUP:
                opened = h5py.h5g.open(from_, link)
                made = h5py.h5g.create(to, new_link, gcpl=group_properties(opened))
                copy_attributes(opened, made)
                packs = may_pack and link.decode(errors="replace") != layout.FILES_GROUP
                # Reversed, so that the first one is taken first and neighbours stay neighbours.
                pending += [(opened, one, made, one, packs) for one in reversed(links_of(opened))]
            elif info.type == h5py.h5o.TYPE_DATASET:
                self._make_dataset(from_, link, to, new_link, packs=may_pack)
            else:
                h5py.h5o.copy(from_, link, to, new_link)

    def copy_values(self) -> None:
        """Moves the values of all datasets that were made."""
        for from_, link, to, new_link, is_packed in self._pending:
            interruption_point()
            source, target = h5py.h5d.open(from_, link), h5py.h5d.open(to, new_link)
            if is_packed and self.packing is not None:
                workers = self.packing.workers
                values = read_array(check_dataset(source), workers=workers)
                name = new_link.decode(errors="surrogateescape")
                compression = self.packing.compression
                fill_array(target, values, compression, name=name, workers=workers)
            elif source.get_create_plist().get_layout() == h5py.h5d.CHUNKED:
                _move_chunks(source, target)
            else:
                _move_bytes(source, target)
            self._done(source)
        self._pending.clear()

    def _make_dataset(
        self, source: Any, link: bytes, target: Any, new_link: bytes, *, packs: bool
    ) -> None:
        """Makes a dataset without its values, or with them where they cannot be moved as bytes."""
        dataset = h5py.h5d.open(source, link)
        if dataset.get_create_plist().get_external_count():
            check_dataset(dataset)  # which refuses it: HDF5 would read another file
        kind = dataset.get_type()
        refuse_references(kind, h5py.h5i.get_name(dataset))
        if self.packing is not None and packs and _is_packable(dataset):
            group, name = h5py.Group(target), new_link.decode(errors="surrogateescape")
            made = create_array(group, name, dataset.shape, dataset.dtype, self.packing.compression)
            copy_attributes(dataset, made, without=_CHECKSUM)  # it gets one of its own
            self._pending.append((source, link, target, new_link, True))
            return
        properties = dataset.get_create_plist()
        is_movable = (
            properties.get_layout() in (h5py.h5d.CHUNKED, h5py.h5d.CONTIGUOUS)
            and properties.get_external_count() == 0
            and not kind.detect_class(h5py.h5t.VLEN)
            and not _has_strings(kind)
            and not kind.committed()
        )
        if not is_movable:
            h5py.h5o.copy(source, link, target, new_link)
            self._done(dataset)
            return
        made = h5py.h5d.create(target, new_link, kind, dataset.get_space(), dcpl=properties)
        copy_attributes(dataset, made)
        if dataset.get_storage_size():
            self._pending.append((source, link, target, new_link, False))
        else:
            self._done(dataset)

    def _done(self, dataset: Any) -> None:
        if self.on_object is not None:
            self.on_object(dataset.get_storage_size())


def _move_chunks(source: Any, target: Any) -> None:
    """Moves the chunks of a dataset as they are; those that are not stored stay so."""
    sizes, edges = source.shape, source.get_create_plist().get_chunk()
    steps = [range(0, size, edge) for size, edge in zip(sizes, edges, strict=True)]
    for corner in itertools.product(*steps):
        interruption_point()
        info = source.get_chunk_info_by_coord(corner)
        if info.byte_offset is not None:
            data = source.read_direct_chunk(corner)[1]
            target.write_direct_chunk(corner, data, info.filter_mask)


def _move_bytes(source: Any, target: Any) -> None:
    """Moves the values of a contiguous dataset, whatever they are."""
    kind, shape = source.get_type(), source.shape
    for region in slabs(shape, kind.get_size(), _COMPARED_BYTES):
        interruption_point()
        ranges = [range(size)[part] for size, part in zip(shape, region, strict=True)]
        counts = tuple(map(len, ranges))
        values = np.empty(counts, f"V{kind.get_size()}")
        place = source.get_space()
        if shape:
            place.select_hyperslab(tuple(one.start for one in ranges), counts)
        memory = h5py.h5s.create_simple(counts) if shape else h5py.h5s.create(h5py.h5s.SCALAR)
        source.read(memory, place, values, kind)
        target.write(memory, place, values, kind)


def stored_bytes_below(group: h5py.Group) -> tuple[int, int]:
    """Returns the number of objects below a group, and the bytes that their data take."""
    count = total = 0
    pending, met = [group.id], set()
    while pending:
        opened = pending.pop()
        interruption_point()
        for link in links_of(opened):
            if opened.links.get_info(link).type != _HARD:
                continue
            count += 1
            member = h5py.h5o.open(opened, link)
            if isinstance(member, h5py.h5g.GroupID):
                address = h5py.h5o.get_info(member).addr
                if address not in met:  # a hostile file may hold loops
                    met.add(address)
                    pending.append(member)
            elif isinstance(member, h5py.h5d.DatasetID):
                total += member.get_storage_size()
    return count, total


def check_same(
    a: h5py.Group,
    b: h5py.Group,
    *,
    workers: int = 1,
    on_object: Callable[[int], object] | None = None,
    check_data: Callable[[Any, Any, str], object] | None = None,
    other_attributes: Collection[bytes] = (),
    other_members: Collection[bytes] = (),
    only: bytes | None = None,
) -> None:
    """Raises when two groups do not hold the same: links, kinds, attributes and every bit of data.

    How the data are packed may differ.

    Args:
        a: One group.
        b: The other one.
        workers: Number of threads.
        on_object: Called after each dataset, with the number of bytes that it takes in the file.
        check_data: Takes two datasets, by their HDF5 identifiers, and how messages name them, and
            raises when they do not hold the same; by default it compares their values.
        other_attributes: Attributes of the groups themselves that may differ.
        other_members: Their members that may differ, or be missing in one of them.
        only: Look into one of their members only.

    Raises:
        CorruptDataError: Something differs; the message names it.
    """
    pending = [(a.id, b.id, "")]
    seen = set()
    _check_attributes(a.id, b.id, "/", other_attributes)
    # Unless told otherwise, of files that somebody has under control.
    check_data = check_data or partial(check_values, workers=workers, access=TRUSTED)
    while pending:
        one, other, where = pending.pop()
        passed_over = frozenset(() if where else other_members)
        links, theirs = (
            [link for link in links_of(group) if link not in passed_over] for group in (one, other)
        )
        if links != theirs:
            raise CorruptDataError(f"the copy of {where or '/'} has other members")
        for link in links if only is None or where else [only]:
            interruption_point()
            path = f"{where}/{link.decode(errors='replace')}"
            kind = one.links.get_info(link).type
            if kind != other.links.get_info(link).type:
                raise CorruptDataError(f"the copy of {path} is another kind of link")
            if kind != _HARD:
                if one.links.get_val(link) != other.links.get_val(link):
                    raise CorruptDataError(f"the copy of {path} leads elsewhere")
                continue
            info = h5py.h5o.get_info(one, link)
            if info.addr in seen:
                continue
            if info.rc > 1:
                seen.add(info.addr)
            x, y = h5py.h5o.open(one, link), h5py.h5o.open(other, link)
            if type(x) is not type(y):
                raise CorruptDataError(f"the copy of {path} is another kind of object")
            _check_attributes(x, y, path)
            if isinstance(x, h5py.h5g.GroupID):
                pending.append((x, y, path))
            elif isinstance(x, h5py.h5d.DatasetID):
                check_data(x, y, path)
                if on_object is not None:
                    on_object(x.get_storage_size())


def links_of(group: Any) -> list[bytes]:
    """Returns the names of the links of a group, sorted."""
    links: list[bytes] = []
    group.links.iterate(links.append)
    return sorted(links)


def group_properties(group: Any) -> Any:
    """Returns how to create a group like this one.

    Not its own property list: HDF5 2.0 puts the address of the heap of its links into that, and a
    group of another file made with it uses what stands there.
    """
    properties = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    properties.set_link_creation_order(group.get_create_plist().get_link_creation_order())
    return properties


def _is_packable(dataset: Any) -> bool:
    """Whether a dataset holds numbers that do not grow, and enough of them."""
    dtype, shape = dataset.dtype, dataset.shape
    space = dataset.get_space()
    return bool(shape) and (
        dtype.kind in "biufc"
        and dtype.isnative
        and math.prod(shape) * dtype.itemsize >= MIN_CHUNKED_BYTES
        and space.get_simple_extent_dims(True) == shape
    )


def refuse_references(kind: Any, name: bytes) -> None:
    """Raises UnsupportedFieldError where a type refers to places in its file."""
    if kind.detect_class(h5py.h5t.REFERENCE):
        raise UnsupportedFieldError(
            f"{name.decode(errors='replace')} holds HDF5 references, which would lead nowhere in "
            "another file; remove it first"
        )


def attributes_of(owner: Any) -> Iterator[Any]:
    """Yields the attributes of an object."""
    for i in range(h5py.h5a.get_num_attrs(owner)):
        yield h5py.h5a.open(owner, index=i)


def copy_attributes(source: Any, target: Any, *, without: bytes | None = None) -> None:
    """Copies the attributes of an object but one, in place of those that have their names."""
    for attribute in attributes_of(source):
        if attribute.name == without:
            continue
        kind = attribute.get_type()
        refuse_references(kind, h5py.h5i.get_name(source) + b"@" + attribute.name)
        name = attribute.name
        if h5py.h5a.exists(target, name):
            h5py.h5a.delete(target, name)
        made = h5py.h5a.create(target, name, kind, attribute.get_space())
        if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
            continue
        values = _raw(attribute, kind)
        made.write(values, *(() if values.dtype.kind == "O" else (kind,)))


def _raw(attribute: Any, kind: Any) -> np.ndarray[Any, Any]:
    """Returns the bytes of an attribute as they stand in the file, or its strings."""
    if _is_variable_string(kind):
        values = np.empty(attribute.shape, attribute.dtype)
        attribute.read(values)
        return values
    if kind.detect_class(h5py.h5t.VLEN):
        raise UnsupportedFieldError(
            f"the attribute {attribute.name!r} has values of variable length that are no strings; "
            "remove it first"
        )
    # Not as its own dtype: h5py trusts some types more than a shared file deserves.
    values = np.empty(attribute.shape, f"V{kind.get_size()}")
    attribute.read(values, kind)
    return values


def _is_variable_string(kind: Any) -> bool:
    """Whether a type is that of strings of any length, which HDF5 does not count as such lists."""
    return bool(kind.get_class() == h5py.h5t.STRING and kind.is_variable_str())


def _has_strings(kind: Any) -> bool:
    """Whether values of a type hold strings of any length, which are stored elsewhere."""
    if kind.get_class() == h5py.h5t.COMPOUND:
        members = map(kind.get_member_type, range(kind.get_nmembers()))
        return any(map(_has_strings, members))
    if kind.get_class() == h5py.h5t.ARRAY:
        return _has_strings(kind.get_super())
    return _is_variable_string(kind)


def _check_attributes(a: Any, b: Any, where: str, others: Collection[bytes] = ()) -> None:
    """Raises CorruptDataError where attributes differ."""
    # A checksum is that of the bytes in the file, which are others where data are packed anew.
    passed_over = {_CHECKSUM, *others}
    ours, theirs = (
        {one.name: one for one in attributes_of(owner) if one.name not in passed_over}
        for owner in (a, b)
    )
    if ours.keys() != theirs.keys():
        raise CorruptDataError(f"the copy of {where} has other attributes")
    for name, attribute in ours.items():
        kind, copy = attribute.get_type(), theirs[name]
        is_same = kind.equal(copy.get_type()) and attribute.shape == copy.shape
        if is_same and attribute.get_space().get_simple_extent_type() != h5py.h5s.NULL:
            x, y = _raw(attribute, kind), _raw(copy, kind)
            is_same = x.tolist() == y.tolist() if x.dtype.kind == "O" else same_bits(x, y)
        if not is_same:
            raise CorruptDataError(f"the copy of {where} has another attribute {name!r}")


def check_form(a: Any, b: Any, where: str) -> None:
    """Raises when datasets differ in their type or shape.

    Raises:
        CorruptDataError: They do.
    """
    if not a.get_type().equal(b.get_type()) or a.shape != b.shape:
        raise CorruptDataError(f"the copy of {where} has another type or shape")


def check_values(
    a: Any, b: Any, where: str, *, workers: int = 1, access: Access = UNTRUSTED
) -> None:
    """Raises when datasets differ in their type, shape or values, however these are packed.

    Raises:
        CorruptDataError: They do.
        UnsafeFileError: One asks for something that a shared file must not ask for.
    """
    check_form(a, b, where)
    kind, shape = a.get_type(), a.shape
    if kind.detect_class(h5py.h5t.VLEN) or not shape or a.dtype.kind not in "biufc":
        if not access.policy.is_trusted:
            _check_safe(a, where)
            _check_safe(b, where)
        if not _same_other_data(a, b, kind):
            raise CorruptDataError(f"the copy of {where} has other values")
        return
    x, y = (check_dataset(one, access) for one in (a, b))
    for region in slabs(shape, a.dtype.itemsize, _COMPARED_BYTES):
        interruption_point()
        values = read_array(x, region, workers=workers)
        if not same_bits(values, read_array(y, region, workers=workers)):
            raise CorruptDataError(f"the copy of {where} has other values")


def _check_safe(dataset: Any, where: str) -> None:
    """Raises where a dataset of something that is no array of numbers is not to be read.

    Raises:
        CorruptDataError: It says that it is larger than what the file holds of it.
        UnsafeFileError: Its data are in another file or dataset, or packed with a foreign filter.
    """
    properties = dataset.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
        raise UnsafeFileError(f"{where} has its data elsewhere, where nobody looks", location=where)
    count = properties.get_nfilters()
    if any(properties.get_filter(i)[0] not in _FILTERS for i in range(count)):
        raise UnsafeFileError(f"{where} has filters that scene files do not have", location=where)
    size_bytes = math.prod(dataset.shape or (1,)) * dataset.get_type().get_size()
    stored_bytes = dataset.get_storage_size() * (MAX_DEFLATE_RATIO if count else 1)
    if size_bytes > max(stored_bytes, _UNSTORED_BYTES):
        raise CorruptDataError(
            f"{where} says that it has {size_bytes} bytes; the file does not hold so many"
        )


def _same_other_data(a: Any, b: Any, kind: Any) -> bool:
    """Whether datasets of something that is no array of numbers hold the same."""
    if a.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        return bool(b.get_space().get_simple_extent_type() == h5py.h5s.NULL)
    if kind.detect_class(h5py.h5t.VLEN):
        return bool(a.get_storage_size() == b.get_storage_size())
    if _is_variable_string(kind):
        x, y = np.empty(a.shape, a.dtype), np.empty(b.shape, b.dtype)
        a.read(h5py.h5s.ALL, h5py.h5s.ALL, x)
        b.read(h5py.h5s.ALL, h5py.h5s.ALL, y)
        return bool(x.tolist() == y.tolist())
    x, y = (np.empty(a.shape, f"V{kind.get_size()}") for _ in range(2))
    a.read(h5py.h5s.ALL, h5py.h5s.ALL, x, kind)
    b.read(h5py.h5s.ALL, h5py.h5s.ALL, y, kind)
    return same_bits(x, y)


def slabs(
    shape: tuple[int, ...], itemsize_bytes: int, most_bytes: int
) -> Iterator[tuple[slice, ...]]:
    """Yields regions that cover an array, none of them larger than this."""
    if math.prod(shape) * itemsize_bytes <= most_bytes:
        yield tuple(slice(None) for _ in shape)
        return
    # The first axes one by one, until the rest is small enough.
    axis, rest = 0, list(shape)
    while axis < len(shape) - 1 and math.prod(shape[axis + 1 :]) * itemsize_bytes > most_bytes:
        axis += 1
    step = max(most_bytes // (math.prod(rest[axis + 1 :]) * itemsize_bytes), 1)
    for outer in itertools.product(*map(range, shape[:axis])):
        for start in range(0, shape[axis], step):
            head = tuple(slice(i, i + 1) for i in outer)
            tail = tuple(slice(None) for _ in shape[axis + 1 :])
            yield (*head, slice(start, start + step), *tail)
