"""HDF5's own structures in the bytes of a file, without HDF5.

Object headers and heap blocks of version 2 begin with a signature, and headers end in a checksum:
they can be found where nothing leads to them any more. Layouts are those of the HDF5 file format
specification, version 3.0.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from h5scene.store.structures import lookup3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Read: TypeAlias = "Callable[[int, int], bytes]"
"""Returns so many bytes from an offset on, or what there is of them."""

UNDEFINED = (1 << 64) - 1
DATASPACE, LINK_INFO, DATATYPE, LINK, LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x08
GROUP_INFO, ATTRIBUTE, CONTINUATION, ATTRIBUTE_INFO = 0x0A, 0x0C, 0x10, 0x15

_SIGNATURES = re.compile(rb"OHDR\x02|FHDB\x00")
_ANY_SIGNATURE = re.compile(
    rb"OHDR\x02|OCHK|FHDB\x00|FHIB\x00|FRHP\x00|BT(?:HD|IN|LF)\x00|GCOL\x01"
)
_BLOCK_BYTES = 16 << 20
_MAX_HEADER_BYTES = 1 << 20  # those of scenes have up to 64 KiB of attributes
_MAX_CONTINUATIONS = 4096
_START_BYTES = 64  # of a header, enough to know its length
_MAX_HEAP_BLOCK_BYTES = 1 << 16  # of a heap of links or attributes
_MAX_NAME_BYTES = 1024
_CHECKSUM = struct.Struct("<I")


class LimitedRead:
    """Reads each byte of headers about once: more are only there to keep somebody busy.

    Headers that overlap one another, as nobody writes them, would otherwise be looked at again and
    again, for hours.

    Args:
        read: Gives bytes of the file.
        most_bytes: How many are given, beside the beginnings of headers.
    """

    def __init__(self, read: Read, most_bytes: int):
        self._read = read
        self._left_bytes = most_bytes

    def __call__(self, offset: int, byte_count: int) -> bytes:
        """Returns bytes.

        Raises:
            ValueError: There were enough.
        """
        if byte_count > _START_BYTES:
            self._left_bytes -= byte_count
            if self._left_bytes < 0:
                raise ValueError("more headers than fit in the file")
        return self._read(offset, byte_count)


@dataclass(frozen=True)
class Link:
    """A hard link.

    Attributes:
        name: Its name.
        address: Where its object begins, counted from the HDF5 base address.
    """

    name: str
    address: int


@dataclass
class Header:
    """An object header.

    Attributes:
        offset: Where it stands in the file.
        is_dataset: Whether it is that of a dataset.
        is_group: Whether it is that of a group.
        rank: Number of axes of a dataset.
        attributes: Messages with attributes, as they stand there; of a group.
        attribute_info: The message on where more of them are; of a group.
        links: Links that stand in the header.
        heap: Address of the heap with the other links.
    """

    offset: int
    is_dataset: bool = False
    is_group: bool = False
    rank: int = 0
    attributes: list[bytes] = field(default_factory=list)
    attribute_info: bytes | None = None
    links: list[Link] = field(default_factory=list)
    heap: int | None = None


@dataclass
class Found:
    """What stands in a file.

    Attributes:
        headers: Object headers by offset.
        heaps: Links in heaps, in the order in which they stand there, by the heap's address.
    """

    headers: dict[int, Header] = field(default_factory=dict)
    heaps: dict[int, list[Link]] = field(default_factory=dict)


def find_structures(
    read: Read, size_bytes: int, base: int, on_progress: Callable[[int, int], object] | None = None
) -> Found:
    """Returns all object headers that are whole, and all links that stand in heaps.

    Args:
        read: Gives bytes of the file.
        size_bytes: Length of the file.
        base: What addresses count from.
        on_progress: Called with how many bytes were looked at, and of how many.
    """
    found = Found()
    read_some = LimitedRead(read, size_bytes)
    for offset, data in _signatures(read, size_bytes, on_progress):
        if data.startswith(b"OHDR"):
            header = read_header(read_some, offset, base)
            if header is not None:
                found.headers[offset] = header
        else:
            heap, links = _heap_block(data)
            if links:
                found.heaps.setdefault(heap, []).extend(links)
    return found


def read_header(read: Read, offset: int, base: int, *, is_lenient: bool = False) -> Header | None:
    """Returns the object header at an offset; `None` where there is none that is whole.

    Of one whose later parts are not, it is as much as there is. With `is_lenient`, checksums are
    passed over.
    """
    header = Header(offset)
    try:
        for kind, data in _messages(read, offset, base, is_lenient=is_lenient):
            if kind == ATTRIBUTE:
                header.attributes.append(data)
            elif kind == ATTRIBUTE_INFO:
                header.attribute_info = data
            elif kind == LINK:
                with suppress(ValueError):  # a name that is none is lost, the others are not
                    link, _ = _link(data, 0)
                    if link is not None:
                        header.links.append(link)
            elif kind == LINK_INFO:
                header.is_group = True
                at = 2 + (8 if data[1] & 1 else 0)
                (heap,) = struct.unpack_from("<Q", data, at)
                header.heap = None if heap == UNDEFINED else heap
            elif kind == LAYOUT:
                header.is_dataset = True
            elif kind == DATASPACE:
                header.rank = data[1]
    except (IndexError, struct.error, ValueError):
        pass  # a damaged group is of use for what it still holds
    if header.is_dataset:
        header.attributes.clear()
        header.attribute_info = None
    return header if header.is_dataset or header.is_group else None


def attribute_name(message: bytes) -> str | None:
    """Returns the name of the attribute in a message; `None` if it has none that can be read."""
    try:
        size = struct.unpack_from("<H", message, 2)[0]
        start = 9 if message[0] == 3 else 8
        return message[start : start + size].rstrip(b"\0").decode()
    except (IndexError, UnicodeDecodeError, struct.error):
        return None


# --- inside ---------------------------------------------------------------------------------------


def _signatures(
    read: Read, size_bytes: int, on_progress: Callable[[int, int], object] | None
) -> Iterator[tuple[int, bytes]]:
    """Yields where structures begin, and what stands there up to the next one."""
    for start in range(0, size_bytes, _BLOCK_BYTES):
        data = read(start, _BLOCK_BYTES + _MAX_HEAP_BLOCK_BYTES)
        for match in _SIGNATURES.finditer(data, 0, _BLOCK_BYTES + 8):
            at = match.start()
            if at >= _BLOCK_BYTES:
                break
            most = at + _MAX_HEAP_BLOCK_BYTES
            following = _ANY_SIGNATURE.search(data, at + 8, most)
            yield start + at, data[at : most if following is None else following.start()]
        if on_progress is not None:
            on_progress(min(start + _BLOCK_BYTES, size_bytes), size_bytes)


def _messages(
    read: Read, offset: int, base: int, *, is_lenient: bool
) -> Iterator[tuple[int, bytes]]:
    """Yields the messages of an object header.

    Raises:
        ValueError: It is not whole.
        IndexError: It is shorter than it says.
    """
    start = read(offset, _START_BYTES)
    if not start.startswith(b"OHDR\2"):
        raise ValueError("no object header")
    flags = start[5]
    width = 1 << (flags & 3)
    at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    size = int.from_bytes(start[at : at + width], "little")
    at += width
    has_order = bool(flags & 4)
    continuations: list[tuple[int, int]] = []
    yield from _chunk(_checked(read, offset, at + size, is_lenient), at, has_order, continuations)
    done = 0
    while continuations:
        address, size = continuations.pop(0)
        done += 1
        if done > _MAX_CONTINUATIONS or size < 8:
            raise ValueError("no chain of blocks")
        block = _checked(read, base + address, size - 4, is_lenient)
        if not block.startswith(b"OCHK"):
            raise ValueError("no continuation")
        yield from _chunk(block, 4, has_order, continuations)


def _checked(read: Read, offset: int, size: int, is_lenient: bool) -> bytes:
    """Returns bytes that are followed by their checksum, which must be right unless `is_lenient`.

    Raises:
        ValueError: They are not.
    """
    if size > _MAX_HEADER_BYTES:
        raise ValueError("too long")
    data = read(offset, size + _CHECKSUM.size)
    if len(data) < size + _CHECKSUM.size:
        raise ValueError("cut off")
    if not is_lenient and _CHECKSUM.unpack_from(data, size)[0] != lookup3(data[:size]):
        raise ValueError("wrong checksum")
    return data[:size]


def _chunk(
    block: bytes, at: int, has_order: bool, continuations: list[tuple[int, int]]
) -> Iterator[tuple[int, bytes]]:
    """Yields the messages in a block of an object header, and notes further blocks."""
    head = 6 if has_order else 4
    while at + head <= len(block):
        kind, size = block[at], int.from_bytes(block[at + 1 : at + 3], "little")
        data = block[at + head : at + head + size]
        at += head + size
        if len(data) < size:
            raise ValueError("a message is cut off")
        if kind == CONTINUATION:
            continuations.append(struct.unpack("<QQ", data))
        elif kind:
            yield kind, data


def _link(data: bytes, at: int) -> tuple[Link | None, int]:
    """Returns the hard link in a message, and where it ends; no link for one of another kind."""
    if data[at] != 1 or data[at + 1] > 0x1F:
        raise ValueError("no link")
    flags = data[at + 1]
    at += 2
    is_hard = True
    if flags & 8:
        is_hard = data[at] == 0
        at += 1
    at += 8 if flags & 4 else 0
    at += 1 if flags & 16 else 0
    width = 1 << (flags & 3)
    size = int.from_bytes(data[at : at + width], "little")
    at += width
    if size > _MAX_NAME_BYTES:
        raise ValueError("no name")
    name = data[at : at + size].decode()
    at += size
    if not is_hard:
        return None, at
    (address,) = struct.unpack_from("<Q", data, at)
    return Link(name, address), at + 8


def _heap_block(data: bytes) -> tuple[int, list[Link]]:
    """Returns the address of the heap that a block belongs to, and the links that stand in it."""
    if len(data) < 32:
        return UNDEFINED, []
    (heap,) = struct.unpack_from("<Q", data, 5)
    links, at = [], data.find(b"\1", 13)
    while at >= 0:
        try:
            link, end = _link(data, at)
        except (IndexError, UnicodeDecodeError, ValueError, struct.error):
            link, end = None, at + 1
        if link is not None and _is_likely(link):
            links.append(link)
        else:
            end = at + 1
        at = data.find(b"\1", end)
    return heap, links


def _is_likely(link: Link) -> bool:
    """Whether what looks like a link in a heap, where all kinds of bytes stand, may be one."""
    is_name = 0 < len(link.name) <= _MAX_NAME_BYTES and link.name.isprintable()
    return is_name and 0 < link.address < 1 << 60 and "/" not in link.name
