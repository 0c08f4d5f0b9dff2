"""Objects of several arrays, such as geometries, as groups of datasets; see FORMAT.md.

An object that is stored already, anywhere in the file, is not stored again: a hard link makes it a
member of the further frame too. HDF5 counts the links, so that the last frame to go takes it along.
It is found by its hash, which stands on its group. What names where is only a hint: the object that
stands there is asked for its hash, and one that this process has not written is compared first.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, FormatError, H5SceneError, UnsupportedVersionError
from h5scene.format import layout
from h5scene.format.chunks import write_array
from h5scene.format.groups import (
    create,
    describe,
    has_member,
    link_names,
    major,
    read_attribute,
    set_text,
    text_names,
)
from h5scene.format.json_values import dump_json, load_json
from h5scene.format.names import frame_of_link
from h5scene.format.readings import read_array
from h5scene.objects import ObjectRecord, without_repetition
from h5scene.store.gate import checked, read_text
from h5scene.store.links import open_member
from h5scene.tensors import DimSpec, TensorRecord, dims_from_json, dims_to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from h5scene.format.filters import Compression
    from h5scene.objects import Part

_OWN_ATTRS = frozenset({layout.KIND_ATTR, layout.ENCODING_ATTR, layout.CONTENT_HASH_ATTR})
_MAX_DEPTH = 32
_MAX_MEMBERS = 1 << 20  # of one object: a few links can make billions
_MAX_KNOWN = 1 << 14
_MAX_KEPT = 8
_MAX_KEPT_BYTES = 64 << 20
_MAX_SEARCHED_FRAMES = 10_000  # takes a third of a second, once


def write_object(
    parent: Any,
    name: str,
    record: ObjectRecord,
    compression: Compression,
    *,
    workers: int = 1,
    stored: Mapping[str, str] | None = None,
) -> None:
    """Writes an object as a new member of a group, given by its HDF5 identifier or as a group.

    Args:
        parent: Group.
        name: Of the member.
        record: The object.
        compression: Of its arrays.
        workers: Number of threads to compress with.
        stored: Paths of arrays that are in the file already, by their digests; these get a link.
    """
    group = create(parent, name, record.kind)
    describe(group, {key: dump_json(value, key) for key, value in record.attrs.items()})
    for key, part in record.parts.items():
        if isinstance(part, ObjectRecord):
            write_object(group, key, part, compression, workers=workers, stored=stored)
            continue
        path = stored.get(record.part_digests[key]) if stored else None
        if path is not None:
            group.id.links.create_hard(key.encode(), group.file["/"].id, path.encode())
            continue
        array = without_repetition(part.data)
        write_array(group, key, array, compression, workers=workers)
        dataset = h5py.h5d.open(group.id, key.encode())
        set_text(dataset, layout.DIMS_ATTR, _dims_text(part.dims))
        if array.shape != part.data.shape:
            set_text(dataset, layout.SIZES_ATTR, dump_json(list(part.data.shape), key))


def read_object(group: h5py.Group, *, workers: int = 1) -> ObjectRecord:
    """Returns the object that a group holds.

    Members and attributes that are not of this form are passed over.

    Raises:
        CorruptDataError: It is not what FORMAT.md says.
        UnsupportedVersionError: It was written by a newer h5scene.
    """
    return _Reader(workers).read(group, 0)


class _Reader:
    """Reads one object, and counts."""

    def __init__(self, workers: int):
        self._workers = workers
        self._count = 0

    def read(self, group: h5py.Group, depth: int) -> ObjectRecord:
        """Returns the object in a group."""
        kind = read_attribute(group, layout.KIND_ATTR)
        version = read_attribute(group, layout.ENCODING_ATTR)
        if not isinstance(kind, str):
            raise CorruptDataError(f"{group.name} does not say what it is")
        if major(version) != major(layout.ENCODING_VERSION):
            raise UnsupportedVersionError(
                f"{group.name} is a {kind} of encoding version {version}; this h5scene knows "
                f"version {layout.ENCODING_VERSION}: install a newer one"
            )
        attrs = {}
        for name in text_names(group.attrs):
            text = None
            if name not in _OWN_ATTRS:  # others may have added something
                text = read_attribute(group, name, may_be_array=True)
            if isinstance(text, str):
                try:
                    attrs[name] = load_json(text)
                except H5SceneError as error:
                    raise CorruptDataError(f"{name!r} of {group.name}: {error}") from error
        parts: dict[str, Part] = {}
        for name in link_names(group):
            self._count += 1
            if depth >= _MAX_DEPTH or self._count > _MAX_MEMBERS:
                raise CorruptDataError(f"{group.name} is nested too deeply, or in itself")
            part = self._part(group, name, depth)
            if part is not None:
                parts[name] = part
        return ObjectRecord(kind, attrs, parts)

    def _part(self, group: h5py.Group, name: str, depth: int) -> Part | None:
        """Returns one member; None where it is not ours."""
        if group.get(name, getlink=True).__class__ is not h5py.HardLink:
            return None
        opened = open_member(group, name)
        if not h5py.h5a.exists(opened, layout.DIMS_ATTR.encode()) and not isinstance(
            opened, h5py.h5g.GroupID
        ):
            return None
        member = group[name]
        if isinstance(member, h5py.Dataset):
            return self._tensor(member, read_attribute(member, layout.DIMS_ATTR))
        if isinstance(member, h5py.Group) and layout.KIND_ATTR in member.attrs:
            return self.read(member, depth + 1)
        return None

    def _tensor(self, dataset: h5py.Dataset, dims_text: Any) -> TensorRecord:
        """Returns the tensor in a dataset."""
        try:
            dims = dims_from_json(load_json(dims_text))
            array = read_array(checked(dataset), workers=self._workers)
            sizes_text = read_attribute(dataset, layout.SIZES_ATTR)
            if sizes_text is not None:
                sizes = load_json(sizes_text)
                if not all(type(size) is int and size >= 0 for size in sizes):
                    raise CorruptDataError(f"{sizes} are no sizes")
                array = np.broadcast_to(array, sizes)
            if array.ndim != len(dims):
                raise CorruptDataError(f"it has {array.ndim} axes and {len(dims)} dims")
        except (FormatError, TypeError, ValueError) as error:
            raise CorruptDataError(
                f"{dataset.name} is not what the file format says: {error}"
            ) from error
        return TensorRecord(dims, array)


def _dims_text(dims: tuple[DimSpec, ...]) -> str:
    """Returns dims as JSON."""
    return dump_json(dims_to_json(dims), layout.DIMS_ATTR)


class SharedObjects:
    """The objects of a file that several frames may share.

    Args:
        h5: The open file.
        cache: What was found out about this state of the file.
    """

    def __init__(self, h5: h5py.Group, cache: dict[Any, Any]):
        self._h5 = h5
        self._cache = cache

    def put(
        self,
        frame: str,
        member: str,
        record: ObjectRecord,
        compression: Compression,
        *,
        workers: int,
        final: str,
        is_first: bool,
    ) -> None:
        """Makes an object a member of a frame: by a link, if the file has it already.

        Args:
            frame: Path of the group of the frame.
            member: Name of the member.
            record: The object.
            compression: Of its arrays, if they have to be stored.
            workers: Number of threads.
            final: Path that the frame will have.
            is_first: Whether this is the first frame of its field.
        """
        digest, path = record.digest, f"{final}/{member}"
        field = final.rpartition("/")[0]
        parts_key = ("parts", field.partition("/")[0], field, member)
        found = self._find(record, field, member)
        if found is not None:
            target = f"{frame}/{member}".encode()
            self._h5.id.links.create_hard(target, self._h5.id, found.encode())
        else:
            parts = self._cache.get(parts_key, {})
            stored = {part: old for part, old in parts.items() if self._exists(old)}
            parent = h5py.Group(h5py.h5g.open(self._h5.id, frame.encode()))
            write_object(parent, member, record, compression, workers=workers, stored=stored)
            set_text(h5py.h5g.open(parent.id, member.encode()), layout.CONTENT_HASH_ATTR, digest)
        self._know(digest, path)
        self._cache[parts_key] = dict(_paths(record, path))
        if is_first or found is not None:
            self._index(digest, path)

    def read(self, group: h5py.Group, *, workers: int) -> ObjectRecord:
        """Returns the object in a group; the same one for frames that share it, while it is used.

        Raises:
            CorruptDataError: It is not what FORMAT.md says.
        """
        digest = read_attribute(group, layout.CONTENT_HASH_ATTR)
        key = ("object", h5py.h5o.get_info(group.id).addr, digest)
        known = self._cache.get(key)
        record: ObjectRecord | None = None if known is None else known()
        if record is None:
            record = read_object(group, workers=workers)
            cache = self._cache
            self._cache[key] = weakref.ref(record, lambda _: cache.pop(key, None))
        self._keep(key, record)
        return record

    def _keep(self, key: Any, record: ObjectRecord) -> None:
        """Keeps what was read last: the next frame probably has it, too."""
        kept: OrderedDict[Any, ObjectRecord] = self._cache.setdefault("kept", OrderedDict())
        kept[key] = record
        kept.move_to_end(key)
        while (
            len(kept) > _MAX_KEPT or sum(one.byte_count for one in kept.values()) > _MAX_KEPT_BYTES
        ):
            kept.popitem(last=False)

    def place_of(self, digest: str) -> str | None:
        """Returns the path of an object that has this hash, as far as the file says where one is.

        That it is equal is still to be seen.
        """
        entry = f"{layout.OBJECTS_GROUP}/{digest}"
        link = self._h5.get(entry, getlink=True) if self._exists(entry) else None
        path = link.path.lstrip("/") if isinstance(link, h5py.SoftLink) else None
        return path if path is not None and self._hash_at(path) == digest else None

    def note_place(self, digest: str, path: str) -> None:
        """Notes in the file that an object of this hash stands at a path."""
        self._index(digest, path)

    # --- inside -----------------------------------------------------------------------------------

    def _find(self, record: ObjectRecord, field: str, member: str) -> str | None:
        """Returns the path of an object that is equal to the record."""
        digest = record.digest
        path = self._known.get(digest)
        if path is not None and self._hash_at(path) == digest:
            return path
        for path in self._hints(digest, field, member):
            if self._hash_at(path) != digest:
                continue
            try:
                stored = read_object(self._h5[path])
            except H5SceneError:
                continue
            if stored == record:
                return path
        return None

    def _hints(self, digest: str, field: str, member: str) -> list[str]:
        """Returns where an object of this hash may stand, but for what this process has written."""
        hints = []
        entry = f"{layout.OBJECTS_GROUP}/{digest}"
        if self._exists(entry):
            link = self._h5.get(entry, getlink=True)
            if isinstance(link, h5py.SoftLink):
                hints.append(link.path.lstrip("/"))
        key = ("earlier", field.partition("/")[0], field, member)
        if key not in self._cache:
            self._cache[key] = self._earlier(field, member)
        hints += [path for path in (self._cache[key].get(digest),) if path is not None]
        return hints

    def _earlier(self, field: str, member: str) -> dict[str, str]:
        """Returns where the objects of a field's frames stand, by hash; of its last frames."""
        links = link_names(self._h5[field])
        frames = sorted(link for link in links if frame_of_link(link) is not None)
        paths = [f"{field}/{frame}/{member}" for frame in frames[-_MAX_SEARCHED_FRAMES:]]
        hashes = ((self._hash_at(path), path) for path in paths)
        return {digest: path for digest, path in hashes if digest is not None}

    def _hash_at(self, path: str) -> str | None:
        """Returns the hash of the object at a path; None where there is none."""
        name = layout.CONTENT_HASH_ATTR.encode()
        try:
            member = open_member(self._h5, path)  # the path may come from the file
            return read_text(h5py.h5a.open(member, name)) if h5py.h5a.exists(member, name) else None
        except (KeyError, ValueError, RuntimeError, UnicodeEncodeError):  # and FormatError
            return None  # no such path any more

    def _exists(self, path: str) -> bool:
        """Whether there is something at a path."""
        try:
            return path in self._h5
        except (KeyError, ValueError, RuntimeError):
            return False

    @property
    def _known(self) -> OrderedDict[str, str]:
        """Paths of the objects that this process has written or compared, by hash."""
        known: OrderedDict[str, str] = self._cache.setdefault("objects", OrderedDict())
        return known

    def _know(self, digest: str, path: str) -> None:
        """Notes where an object stands. The latest frame to have it is the last to be removed."""
        self._known[digest] = path
        self._known.move_to_end(digest)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def _index(self, digest: str, path: str) -> None:
        """Notes in the file where an object stands. A soft link does not keep it."""
        if ("indexed", digest) in self._cache:
            return
        index = self._h5.require_group(layout.OBJECTS_GROUP)
        if has_member(index, digest):
            link = index.get(digest, getlink=True)
            target = link.path.lstrip("/") if isinstance(link, h5py.SoftLink) else ""
            if self._hash_at(target) != digest:
                del index[digest]
        if not has_member(index, digest):
            index[digest] = h5py.SoftLink(f"/{path}")
        self._cache["indexed", digest] = True


def _paths(record: ObjectRecord, path: str) -> Iterator[tuple[str, str]]:
    """Gives the digests of all arrays in an object, and where they stand."""
    for name, part in record.parts.items():
        if isinstance(part, ObjectRecord):
            yield from _paths(part, f"{path}/{name}")
        else:
            yield record.part_digests[name], f"{path}/{name}"
