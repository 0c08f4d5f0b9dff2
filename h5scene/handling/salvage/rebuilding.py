"""A new root for what is left of a file: groups that lead to the objects that were found.

HDF5 reads objects well whose groups are damaged. So new groups are made, with the names that
surviving links give, and laid behind the file as patches, with a superblock that leads to them. The
result is an ordinary scene file in which scenes and fields have made-up names; `Place` says what
they were. Nothing is written to the disk.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from h5scene.format import layout
from h5scene.format.names import frame_of_link, may_be_listed
from h5scene.handling.salvage.structures import (
    ATTRIBUTE,
    ATTRIBUTE_INFO,
    GROUP_INFO,
    LINK,
    LINK_INFO,
    UNDEFINED,
    Found,
    Header,
    LimitedRead,
    Link,
    attribute_name,
    read_header,
)
from h5scene.store.structures import lookup3

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from h5scene.handling.salvage.structures import Read
    from h5scene.store.journal import Run

_SUPERBLOCK_BYTES = 48
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_GAP_BYTES = 1 << 40
"""Between the file and what is laid behind it: addresses of what was cut off lead into it."""
MADE_UP = "recovered_"
"""What names of scenes begin with that have lost theirs."""
_ORPHANS = "orphans"
_LINKS_AT_A_TIME = 256  # HDF5 looks through the links of such a group one by one


@dataclass(frozen=True)
class Place:
    """Something in the rebuilt file, and what it was in the damaged one.

    Attributes:
        stand_in: Name of the scene in the rebuilt file.
        scene: Name of the scene.
        fields: Names of the fields in the rebuilt file and what they were; `None` for the scene
            itself, with what it holds beside fields.
    """

    stand_in: str
    scene: str
    fields: dict[str, str] | None = None


@dataclass(frozen=True)
class Rebuilt:
    """The patches that make a readable file of a damaged one.

    Attributes:
        patches: Offsets and bytes.
        size_bytes: Length of the file with them.
        places: What it holds.
        orphans: Paths of datasets that nothing leads to, in the order in which they stand.
    """

    patches: list[Run]
    size_bytes: int
    places: list[Place]
    orphans: list[str]


def rebuild(found: Found, read: Read, size_bytes: int, base: int) -> Rebuilt:
    """Returns a readable form of what was found.

    Args:
        found: Object headers and links.
        read: Gives bytes of the file.
        size_bytes: Length of the file.
        base: What addresses count from.
    """
    tree = _Tree(found, LimitedRead(read, size_bytes), base)
    start = -(-size_bytes // 8) * 8 + _GAP_BYTES
    new = _NewGroups(start - base)
    places: list[Place] = []
    top: list[Link] = []
    for number, (scene, header) in enumerate(tree.scenes):
        parts = [link for link in tree.links(header) if link.name in layout.SCENE_PARTS]
        top.append(Link(f"s{number}", new.add(header, layout.SCENE_KIND, parts)))
        places.append(Place(f"s{number}", scene))
    for number, (scene, fields) in enumerate(tree.fields):
        names: dict[str, str] = {}
        pages: list[Link] = []
        for name, header in fields:
            frames = tree.frames(header)
            for first in range(0, len(frames), _LINKS_AT_A_TIME):
                stand_in = f"f{len(pages)}"
                some = frames[first : first + _LINKS_AT_A_TIME]
                pages.append(Link(stand_in, new.add(header, layout.FIELD_KIND, some)))
                names[stand_in] = name
        top.append(Link(f"p{number}", new.add(None, layout.SCENE_KIND, pages)))
        places.append(Place(f"p{number}", scene, names))
    orphans: list[str] = []
    alone = tree.orphans()
    pages = []
    for first in range(0, len(alone), _LINKS_AT_A_TIME):
        links = [
            Link(f"a{address}", address) for address in alone[first : first + _LINKS_AT_A_TIME]
        ]
        pages.append(Link(f"g{len(pages)}", new.add(None, layout.FIELD_KIND, links)))
        orphans += [f"{_ORPHANS}/{pages[-1].name}/{link.name}" for link in links]
    top.append(Link(_ORPHANS, new.add(None, layout.SCENE_KIND, pages)))
    root = new.add_root(top)
    end = start + len(new.data)
    patches = [(base, _superblock(base, end, root)), (start, bytes(new.data))]
    return Rebuilt(patches, end, places, orphans)


class _Tree:
    """Scenes, fields and frames among the objects that were found.

    Attributes:
        scenes: Names and headers of scenes.
        fields: Names of scenes, with names and headers of their fields.
    """

    def __init__(self, found: Found, read: Read, base: int):
        self._found = found
        self._read = read
        self._base = base
        self._links: dict[int, list[Link]] = {}
        groups = [header for header in found.headers.values() if header.is_group]
        used = {header.heap for header in groups}
        # Links whose group is gone. Their offset is no place in the file.
        groups += [
            Header(-1 - heap, is_group=True, heap=heap) for heap in found.heaps if heap not in used
        ]
        groups += self._damaged_targets(groups, _root_offsets(read, base))
        self._roles = self._find_roles(groups)
        self.scenes: list[tuple[str, Header]] = []
        self.fields: list[tuple[str, list[tuple[str, Header]]]] = []
        self._name_all(groups)

    def links(self, header: Header) -> list[Link]:
        """Returns the links of a group; of those of one name, the last ones."""
        if header.offset not in self._links:
            found = list(header.links)
            if header.heap is not None:
                found += self._found.heaps.get(header.heap, [])
            by_name = {link.name: link for link in found if may_be_listed(link.name)}
            self._links[header.offset] = list(by_name.values())
        return self._links[header.offset]

    def frames(self, header: Header) -> list[Link]:
        """Returns the links of a field to frames whose headers are whole."""
        return [
            link
            for link in self.links(header)
            if frame_of_link(link.name) is not None and self._target(link) is not None
        ]

    def orphans(self) -> list[int]:
        """Returns the addresses of datasets that no link leads to, in order."""
        headers = self._found.headers
        groups = [header for header in headers.values() if header.is_group]
        led_to = {link.address + self._base for group in groups for link in self.links(group)}
        led_to.update(link.address + self._base for of in self._found.heaps.values() for link in of)
        return sorted(
            offset - self._base
            for offset, header in headers.items()
            if header.is_dataset and offset not in led_to
        )

    def _target(self, link: Link) -> Header | None:
        return self._found.headers.get(link.address + self._base)

    def _damaged_targets(self, groups: list[Header], roots: Iterable[int]) -> list[Header]:
        """Returns groups that something leads to and whose headers have a wrong checksum."""
        added: list[Header] = []
        pending = list(roots)
        pending += [target for group in groups for target in self._lost_targets(group)]
        while pending:
            offset = pending.pop()
            if offset in self._found.headers:
                continue
            header = read_header(self._read, offset, self._base, is_lenient=True)
            if header is not None and header.is_group:
                self._found.headers[offset] = header
                added.append(header)
                pending += self._lost_targets(header)
        return added

    def _lost_targets(self, group: Header) -> list[int]:
        """Returns where links of a group lead to that has no whole header, but for frames."""
        return [
            link.address + self._base
            for link in self.links(group)
            if self._target(link) is None and frame_of_link(link.name) is None
        ]

    def _find_roles(self, groups: list[Header]) -> dict[int, str]:
        """Returns what groups must be, going by their members."""
        roles: dict[int, str] = {}
        for group in groups:
            if any(frame_of_link(link.name) is not None for link in self.links(group)):
                roles[group.offset] = layout.FIELD_KIND
        for role, inner in ((layout.SCENE_KIND, layout.FIELD_KIND), ("root", layout.SCENE_KIND)):
            for group in groups:
                if group.offset in roles:
                    continue
                targets = map(self._target, self.links(group))
                holds = any(
                    target is not None and roles.get(target.offset) == inner for target in targets
                )
                named = role == layout.SCENE_KIND and any(
                    link.name in layout.SCENE_PARTS for link in self.links(group)
                )
                if holds or named:
                    roles[group.offset] = role
        return roles

    def _name_all(self, groups: list[Header]) -> None:
        """Finds the names of scenes and fields, and makes some up where they are lost."""
        by_role: dict[str, list[Header]] = {}
        for group in groups:
            by_role.setdefault(self._roles.get(group.offset, ""), []).append(group)
        scene_names = self._names(by_role.get("root", ()), layout.SCENE_KIND)
        lost = _Unused(name for name in scene_names.values())
        named_fields: set[int] = set()
        for header in by_role.get(layout.SCENE_KIND, ()):
            scene = scene_names.get(header.offset) or lost.name()
            self.scenes.append((scene, header))
            inner = self._names([header], layout.FIELD_KIND)
            named_fields.update(inner)
            self._add_fields(scene, [(name, offset) for offset, name in inner.items()])
        others = [
            header
            for header in by_role.get(layout.FIELD_KIND, ())
            if header.offset not in named_fields
        ]
        missing = self._missing_fields()
        if len(others) == 1 == len(missing):
            scene, name = missing[0]
            self.fields.append((scene, [(name, others[0])]))
        elif others:
            scene = lost.name()
            self.fields.append((scene, [(f"field_{i}", one) for i, one in enumerate(others)]))

    def _missing_fields(self) -> list[tuple[str, str]]:
        """Returns scenes and names of what fields may be, and is not where their links lead."""
        return [
            (scene, link.name)
            for scene, header in self.scenes
            for link in self.links(header)
            if self._target(link) is None and not link.name.startswith(layout.RESERVED_PREFIX)
        ]

    def _add_fields(self, scene: str, found: list[tuple[str, int]]) -> None:
        if found:
            fields = [(name, self._found.headers[offset]) for name, offset in found]
            self.fields.append((scene, fields))

    def _names(self, parents: Iterable[Header], role: str) -> dict[int, str]:
        """Returns the names that groups give to groups of a role, by offset."""
        names: dict[int, str] = {}
        for parent in parents:
            for link in self.links(parent):
                target = self._target(link)
                is_it = target is not None and self._roles.get(target.offset) == role
                if is_it and not link.name.startswith(layout.RESERVED_PREFIX):
                    assert target is not None
                    names[target.offset] = link.name
        return names


class _Unused:
    """Names for scenes that have lost theirs."""

    def __init__(self, taken: Iterable[str]):
        self._taken = set(taken)
        self._count = 0

    def name(self) -> str:
        """Returns a name that no scene has."""
        while True:
            name = f"{MADE_UP}{self._count:06d}"
            self._count += 1
            if name not in self._taken:
                return name


@dataclass
class _NewGroups:
    """Groups that are laid behind a file.

    Attributes:
        address: Where the first of them begins, counted from the HDF5 base address.
        data: Their bytes.
    """

    address: int
    data: bytearray = field(default_factory=bytearray)

    def add(self, like: Header | None, kind: str, links: Sequence[Link]) -> int:
        """Adds a group with the attributes of another one, and returns its address."""
        attributes = [] if like is None else list(like.attributes)
        info = None if like is None else like.attribute_info
        if not _has_heap(info):  # else all of them are there
            info = None
            names = set(map(attribute_name, attributes))
            for name, text in (
                (layout.KIND_ATTR, kind),
                (layout.ENCODING_ATTR, layout.ENCODING_VERSION),
            ):
                if name not in names:
                    attributes.append(_text_attribute(name, text))
        return self._add(attributes, info, links)

    def add_root(self, links: Sequence[Link]) -> int:
        """Adds a root group, and returns its address."""
        attributes = [_text_attribute(layout.FORMAT_ATTR, layout.FORMAT_VERSION)]
        return self._add(attributes, None, links)

    def _add(self, attributes: Sequence[bytes], info: bytes | None, links: Sequence[Link]) -> int:
        messages = [
            _message(LINK_INFO, struct.pack("<BBQQ", 0, 0, UNDEFINED, UNDEFINED)),
            _message(GROUP_INFO, b"\0\0"),
            *(_message(ATTRIBUTE, attribute) for attribute in attributes),
            *([] if info is None else [_message(ATTRIBUTE_INFO, info)]),
            *(_message(LINK, _link_data(link)) for link in links),
        ]
        content = b"".join(messages)
        header = struct.pack("<4sBBI", b"OHDR", 2, 2, len(content)) + content
        at = self.address + len(self.data)
        self.data += header + struct.pack("<I", lookup3(header))
        self.data += bytes(-len(self.data) % 8)
        return at


def _has_heap(info: bytes | None) -> bool:
    """Whether the attributes of an object stand in a heap."""
    if info is None or len(info) < 18:
        return False
    (heap,) = struct.unpack_from("<Q", info, 4 if info[1] & 1 else 2)
    return bool(heap != UNDEFINED)


def _message(kind: int, data: bytes) -> bytes:
    return struct.pack("<BHB", kind, len(data), 0) + data


def _link_data(link: Link) -> bytes:
    name = link.name.encode()
    return struct.pack("<BBBH", 1, 0x11, 1, len(name)) + name + struct.pack("<Q", link.address)


def _text_attribute(name: str, text: str) -> bytes:
    """Returns the message of an attribute with a text of fixed length."""
    label, data = name.encode() + b"\0", text.encode()
    kind = struct.pack("<BBBBI", 0x13, 0x11, 0, 0, len(data))  # padded with zeros, UTF-8
    space = b"\2\0\0\0"  # a scalar
    head = struct.pack("<BBHHHB", 3, 0, len(label), len(kind), len(space), 1)
    return head + label + kind + space + data


def _superblock(base: int, end: int, root: int) -> bytes:
    """Returns a superblock that leads to a root group."""
    fields = struct.pack("<8sBBBBQQQQ", _SIGNATURE, 2, 8, 8, 0, base, UNDEFINED, end, root)
    return fields + struct.pack("<I", lookup3(fields))


def _root_offsets(read: Read, base: int) -> tuple[int, ...]:
    """Returns where the root group may begin: where the superblock says, and right behind it."""
    old = read(base, _SUPERBLOCK_BYTES).ljust(_SUPERBLOCK_BYTES, b"\0")
    return base + struct.unpack_from("<Q", old, 36)[0], base + _SUPERBLOCK_BYTES


def superblock_patch(read: Read, base: int, size_bytes: int) -> list[Run]:
    """Returns a patch that makes the superblock whole, if it says where the root group is."""
    old = read(base, _SUPERBLOCK_BYTES)
    if len(old) < _SUPERBLOCK_BYTES or old[8] not in (2, 3):
        return []
    root = struct.unpack_from("<Q", old, 36)[0]
    return [(base, _superblock(base, size_bytes, root))]
