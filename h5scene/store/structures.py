"""Structures of HDF5's own, checked before HDF5 sees them.

HDF5 believes what has the right checksum, and divides by sizes that somebody has set to zero.
Layouts are those of the HDF5 file format specification, version 3.0.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from h5scene.errors import CorruptDataError
from h5scene.store.heap import HEAP_START, check_heap

if TYPE_CHECKING:
    from collections.abc import Callable

_CHECKSUM = struct.Struct("<I")
_TREE = struct.Struct("<4sBBIHHBBQHQ")
_NODE_OVERHEAD_BYTES = 10
# Sizes of records by type of tree; `None` where they depend on the number of axes.
_RECORD_BYTES = {
    1: 24,
    2: 32,
    3: 16,
    4: 24,
    5: 11,
    6: 15,
    7: None,
    8: 17,
    9: 13,
    10: None,
    11: None,
}
_MAX_RECORD_BYTES = 8 * 33 + 16
_MAX_DEPTH = 32
_FRACTAL_HEAP = struct.Struct("<4sBHHBIQQQQQQQQQQQQHQQHHQH")
_MAX_BLOCK_BYTES = 1 << 32


def lookup3(data: bytes) -> int:
    """Returns Bob Jenkins' lookup3 checksum (public domain), which HDF5's metadata carry."""
    mask = 0xFFFFFFFF
    a = b = c = (0xDEADBEEF + len(data)) & mask
    whole = max(len(data) - 1, 0) // 12 * 12
    for x, y, z in struct.iter_unpack("<III", data[:whole]):
        a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
        a = ((a - c) & mask) ^ ((c << 4 | c >> 28) & mask)
        c = (c + b) & mask
        b = ((b - a) & mask) ^ ((a << 6 | a >> 26) & mask)
        a = (a + c) & mask
        c = ((c - b) & mask) ^ ((b << 8 | b >> 24) & mask)
        b = (b + a) & mask
        a = ((a - c) & mask) ^ ((c << 16 | c >> 16) & mask)
        c = (c + b) & mask
        b = ((b - a) & mask) ^ ((a << 19 | a >> 13) & mask)
        a = (a + c) & mask
        c = ((c - b) & mask) ^ ((b << 4 | b >> 28) & mask)
        b = (b + a) & mask
    rest: bytes = data[whole:]
    if not rest:
        return int(c)
    x, y, z = struct.unpack("<III", rest.ljust(12, b"\0"))
    a, b, c = (a + x) & mask, (b + y) & mask, (c + z) & mask
    c = ((c ^ b) - (b << 14 | b >> 18)) & mask
    a = ((a ^ c) - (c << 11 | c >> 21)) & mask
    b = ((b ^ a) - (a << 25 | a >> 7)) & mask
    c = ((c ^ b) - (b << 16 | b >> 16)) & mask
    a = ((a ^ c) - (c << 4 | c >> 28)) & mask
    b = ((b ^ a) - (a << 14 | a >> 18)) & mask
    return int(((c ^ b) - (b << 24 | b >> 8)) & mask)


def check_structure(data: memoryview, path: str, size_bytes: int) -> None:
    """Raises when what was read is a structure that HDF5 would come to grief with.

    Args:
        data: What HDF5 has asked for. It reads its structures from their beginning on.
        path: The file, for the message.
        size_bytes: Its length.

    Raises:
        CorruptDataError: It is.
    """
    check = _CHECKS.get(bytes(data[:5]))
    if check is not None:
        check(data, path, size_bytes)


def _check_strings(data: memoryview, path: str, size_bytes: int) -> None:  # noqa: ARG001
    """Checks a heap of strings."""
    if data[: len(HEAP_START)] == HEAP_START:
        check_heap(data, path)


def _check_tree(data: memoryview, path: str, size_bytes: int) -> None:
    """Checks the header of a B-tree of version 2."""
    if not _is_whole(data, _TREE.size):
        return  # numbers that look like it, or something that HDF5 refuses itself
    fields = _TREE.unpack_from(data)
    kind, node_bytes, record_bytes, depth, split, merge, root, count, total = fields[2:11]
    usual = _RECORD_BYTES.get(kind)
    is_sound = (
        kind in _RECORD_BYTES
        and (0 < record_bytes <= _MAX_RECORD_BYTES if usual is None else record_bytes == usual)
        and 64 <= node_bytes <= 1 << 20
        and (node_bytes - _NODE_OVERHEAD_BYTES) // record_bytes >= 4
        and depth <= _MAX_DEPTH
        and 0 < split <= 100
        and 0 < merge <= split // 2
        and count <= (node_bytes - _NODE_OVERHEAD_BYTES) // record_bytes
        and root != 0
        and (total == count if depth == 0 else count <= total <= size_bytes // record_bytes)
    )
    if not is_sound:
        raise CorruptDataError(
            f"{path} is damaged: a B-tree of type {kind} has {total} records of {record_bytes} "
            f"bytes in nodes of {node_bytes}",
            file=path,
        )


def _check_fractal_heap(data: memoryview, path: str, size_bytes: int) -> None:  # noqa: ARG001
    """Checks the header of a fractal heap."""
    if not _is_whole(data, _FRACTAL_HEAP.size):
        return
    fields = _FRACTAL_HEAP.unpack_from(data)
    id_bytes, filter_bytes, most_bytes = fields[2], fields[3], fields[5]
    width, start_bytes, most_direct_bytes, bits, _, _, rows = fields[18:25]
    is_sound = (
        0 < id_bytes <= 4096
        and filter_bytes == 0
        and _is_power_of_2(width)
        and _is_power_of_2(start_bytes)
        and _is_power_of_2(most_direct_bytes)
        and start_bytes <= most_direct_bytes <= _MAX_BLOCK_BYTES
        and 0 < most_bytes <= most_direct_bytes
        and 0 < bits <= 64
        and most_direct_bytes.bit_length() <= bits + 1
        and rows <= bits
    )
    if not is_sound:
        raise CorruptDataError(
            f"{path} is damaged: a heap has {width} blocks of {start_bytes} to {most_direct_bytes} "
            "bytes side by side",
            file=path,
        )


def _is_whole(data: memoryview, size: int) -> bool:
    """Whether a structure of this size is followed by its checksum."""
    if len(data) < size + _CHECKSUM.size:
        return False
    return bool(_CHECKSUM.unpack_from(data, size)[0] == lookup3(bytes(data[:size])))


def _is_power_of_2(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


_CHECKS: dict[bytes, Callable[[memoryview, str, int], None]] = {
    b"GCOL\x01": _check_strings,
    b"BTHD\x00": _check_tree,
    b"FRHP\x00": _check_fractal_heap,
}
