"""A scene copied into another file in portions, and not seen there before all of it is.

The portions go into a group of a reserved name, each in a transaction of its own, so that nobody
has to wait long and little is lost with a process that dies. The last one moves the group to its
place. Chunks are moved as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h5py

from h5scene.errors import UnsafeFileError, UnsupportedFieldError
from h5scene.format import layout
from h5scene.format.objects import SharedObjects
from h5scene.handling.hdf5_trees import (
    attributes_of,
    copy_attributes,
    group_properties,
    links_of,
    refuse_references,
)
from h5scene.handling.verifying import is_same_object
from h5scene.store import interruption_point
from h5scene.store.datasets import check_dataset
from h5scene.store.gate import read_text

if TYPE_CHECKING:
    from h5scene.format.tree import SceneTree

PORTION_BYTES = 256 << 20
"""What one transaction copies, at least if there is so much: a fraction of a second."""
PORTION_OBJECTS = 4000
"""How many objects it copies at most. Each costs as much time as some 100 KB."""
_MAX_NESTING = 64
_MAX_FLAT = 200  # members of a group that is looked through before it is copied as one
_HARD, _SOFT, _EXTERNAL = h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT, h5py.h5l.TYPE_EXTERNAL
_HASH = layout.CONTENT_HASH_ATTR.encode()
_CHECKSUM = layout.CHECKSUM_ATTR.encode()


@dataclass
class Portion:
    """How much may still be copied in this transaction.

    Attributes:
        left_bytes: Of data.
        left_objects: Groups and datasets.
    """

    left_bytes: int = field(default_factory=lambda: PORTION_BYTES)
    left_objects: int = field(default_factory=lambda: PORTION_OBJECTS)

    def __post_init__(self) -> None:
        self._all_bytes = self.left_bytes

    @property
    def copied_bytes(self) -> int:
        """How much has been copied."""
        return self._all_bytes - self.left_bytes

    @property
    def is_used_up(self) -> bool:
        """Whether it is time to commit."""
        return self.left_bytes <= 0 or self.left_objects <= 0


@dataclass
class KnownObjects:
    """Which objects of one source file, such as geometries, the target has already.

    Scenes that share an object share it in the target, too, also with scenes of other files.
    """

    _places: dict[int, str] = field(default_factory=dict)

    def find(self, key: int, digest: str, source: Any, target: h5py.Group) -> str | None:
        """Returns where the target has an object that is the same as one of the source.

        Args:
            key: Where it stands in the source, as HDF5 says.
            digest: Its hash.
            source: The object, by its HDF5 identifier.
            target: The root of the target.
        """
        path = SharedObjects(target, {}).place_of(digest)
        if path is None or self._places.get(key) == path:
            return path
        # Whoever wrote the file may have written any hash.
        if not is_same_object(h5py.Group(source), target[path]):
            return None
        self._places[key] = path
        return path


@dataclass
class _Group:
    """A group that is being copied: its paths in both files, and what is left to copy."""

    source: bytes
    target: bytes
    links: list[bytes]


class SceneCopy:
    """A scene that is being copied.

    It keeps names and no open objects: between two portions, files may be closed and opened again.

    Args:
        scene: Name of the scene in the source.
        place: Path of the group in the target that is the scene as long as it is not complete.
            What stands there is left of a copy of the very same scene, and is not copied again.
        known: Objects that the source shares with the target.
    """

    def __init__(self, scene: str, place: str, known: KnownObjects):
        self.scene = scene
        self.place = place
        self._known = known
        self._pending: list[_Group] | None = None
        self._copied: dict[int, bytes] = {}  # places in the target of what has several names
        self._objects: dict[str, bytes] = {}  # places of objects, by hash

    def go_on(self, source: SceneTree, target: SceneTree, portion: Portion) -> bool:
        """Copies until all is there, or a portion is; returns whether all is there.

        Raises:
            UnsupportedFieldError: It holds something that cannot be copied.
            UnsafeFileError: It asks for something that a shared file must not ask for.
            CorruptDataError: Something in it cannot be read.
        """
        steps = _Steps(self, source.h5, target.h5, portion)
        if self._pending is None:
            self._pending = []
            target.h5.require_group(layout.MERGING_GROUP)
            steps.enter(source.scene(self.scene).id, self.scene.encode(), self.place.encode())
        return steps.run(self._pending)

    def publish(self, target: SceneTree, name: str) -> None:
        """Gives the scene, of which all is there, its name, which is free."""
        target.move_scene(self.place, name)
        objects = SharedObjects(target.h5, {})
        start = len(self.place)
        for digest, path in self._objects.items():
            objects.note_place(digest, name + path.decode()[start:])


class _Steps:
    """The steps of a copy during one transaction."""

    def __init__(self, copy: SceneCopy, source: h5py.Group, target: h5py.Group, portion: Portion):
        self._copy = copy
        self._source, self._target = source, target
        self._portion = portion
        self._opened: list[tuple[Any, Any]] = []

    def run(self, pending: list[_Group]) -> bool:
        """Copies what is left until a portion is done; returns whether all is."""
        self._opened = [
            (h5py.h5g.open(self._source.id, one.source), h5py.h5g.open(self._target.id, one.target))
            for one in pending
        ]
        while pending:
            group = pending[-1]
            if not group.links:
                pending.pop()
                self._opened.pop()
                continue
            if self._portion.is_used_up:
                return False
            interruption_point()
            self._copy_member(group, group.links.pop())
        return True

    def enter(self, opened: Any, source: bytes, target: bytes) -> None:
        """Makes a group like another one, whose members are to be copied next."""
        pending = self._copy._pending
        assert pending is not None
        if len(pending) >= _MAX_NESTING:
            raise UnsafeFileError(f"{_text(source)} is nested too deeply", location=_text(source))
        if self._target.id.links.exists(target):
            made = h5py.h5g.open(self._target.id, target)
        else:
            made = h5py.h5g.create(self._target.id, target, gcpl=group_properties(opened))
            copy_attributes(opened, made)
        pending.append(_Group(source, target, links_of(opened)[::-1]))
        self._opened.append((opened, made))
        self._portion.left_objects -= 1

    def _copy_member(self, group: _Group, link: bytes) -> None:
        """Copies one member of a group."""
        from_, to = self._opened[-1]
        source, target = group.source + b"/" + link, group.target + b"/" + link
        is_there = to.links.exists(link)
        kind = from_.links.get_info(link).type
        if kind != _HARD:
            if not is_there:
                _copy_link(kind, from_, to, link, source)
            return
        member = h5py.h5o.open(from_, link)
        info = h5py.h5o.get_info(member)
        key = info.addr  # the number of the file is another one each time it is opened
        known = self._copied.get(key)
        if known is not None:
            if target.startswith(known + b"/"):
                raise UnsafeFileError(f"{_text(source)} is in itself", location=_text(source))
            if not is_there:
                to.links.create_hard(link, self._target.id, known)
            return
        if info.rc > 1:
            self._copied[key] = target
        if isinstance(member, h5py.h5g.GroupID):
            if self._is_shared(member, key, to, link, target, is_there=is_there):
                return
            if is_there or not self._copy_flat(member, from_, to, link):
                self.enter(member, source, target)
            return
        if not is_there:
            if isinstance(member, h5py.h5d.DatasetID):
                _check_dataset(member, info.num_attrs)
            h5py.h5o.copy(from_, link, to, link)
        if isinstance(member, h5py.h5d.DatasetID):
            self._portion.left_bytes -= 0 if is_there else member.get_storage_size()
        self._portion.left_objects -= 1

    def _copy_flat(self, member: Any, from_: Any, to: Any, link: bytes) -> bool:
        """Copies a group in one go, if it is a small one of datasets; returns whether it did.

        HDF5 takes a tenth of the time for its attributes.
        """
        count = member.get_num_objs()
        if count > min(self._portion.left_objects, _MAX_FLAT):
            return False
        copied_bytes = 0
        for name in links_of(member):
            interruption_point()
            if member.links.get_info(name).type != _HARD:
                return False
            dataset = h5py.h5o.open(member, name)
            info = h5py.h5o.get_info(dataset)
            if not isinstance(dataset, h5py.h5d.DatasetID) or info.rc > 1:
                return False
            _check_dataset(dataset, info.num_attrs)
            copied_bytes += dataset.get_storage_size()
        if copied_bytes > self._portion.left_bytes:
            return False
        for attribute in attributes_of(member):
            refuse_references(attribute.get_type(), h5py.h5i.get_name(member))
        h5py.h5o.copy(from_, link, to, link)
        self._portion.left_bytes -= copied_bytes
        self._portion.left_objects -= count + 1
        return True

    @property
    def _copied(self) -> dict[int, bytes]:
        return self._copy._copied

    def _is_shared(
        self, member: Any, key: int, to: Any, link: bytes, target: bytes, *, is_there: bool
    ) -> bool:
        """Whether the target has this object already; then it has got another name there."""
        if not h5py.h5a.exists(member, _HASH):
            return False
        digest = read_text(h5py.h5a.open(member, _HASH))
        if digest is None or not digest.isalnum():  # it would be taken for a path
            return False
        path = None if is_there else self._copy._known.find(key, digest, member, self._target)
        if path is None:
            self._copy._objects[digest] = target
            return False
        to.links.create_hard(link, self._target.id, path.encode())
        self._portion.left_objects -= 1
        return True


def _copy_link(kind: int, from_: Any, to: Any, link: bytes, source: bytes) -> None:
    """Makes a link like another one, which is no hard link, and leads where that does."""
    if kind == _SOFT:
        to.links.create_soft(link, from_.links.get_val(link))
    elif kind == _EXTERNAL:
        to.links.create_external(link, *from_.links.get_val(link))
    else:
        raise UnsupportedFieldError(
            f"{_text(source)} is a link of a kind of its own, which cannot be copied; remove it"
        )


def _check_dataset(dataset: Any, attribute_count: int) -> None:
    """Raises where a dataset, or one of its attributes, would mean something else in another file.

    Merging a million small frames comes here for each.

    Raises:
        UnsafeFileError: It shows data of other files, or of other datasets.
        UnsupportedFieldError: It holds references.
    """
    name = h5py.h5i.get_name(dataset)
    properties = dataset.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
        check_dataset(dataset)
        raise UnsupportedFieldError(
            f"{_text(name)} shows data of other datasets, which a copy would not have; remove it"
        )
    refuse_references(dataset.get_type(), name)
    if attribute_count == 1 and h5py.h5a.exists(dataset, _CHECKSUM):
        return  # as nearly all have it
    for attribute in attributes_of(dataset):
        refuse_references(attribute.get_type(), name)


def _text(path: bytes) -> str:
    """Returns a path for a message."""
    return path.decode(errors="replace")
