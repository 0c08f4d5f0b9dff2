"""The redo journal: the final bytes of everything below the committed end that changes.

It lies in the tail of the file itself, behind the appended data, so that a copied or moved file is
always whole. It is a sequence of entries without padding:

    8 bytes   offset in the file, little endian
    4 bytes   byte count
    n bytes   the bytes to put there

Writing the entries to their places any number of times, in any order of interruption, gives the
same file.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from h5scene.store.userblock import USER_BLOCK_BYTES, Header

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from h5scene.store.system import Disk

_ENTRY = struct.Struct("<QI")
_BATCH_BYTES = 1 << 20  # entries are gathered to writes of about this size
_MAX_ENTRY_BYTES = 1 << 20

Run = tuple[int, bytes]


def coalesced(pages: Iterable[tuple[int, bytes | bytearray]]) -> Iterator[Run]:
    """Yields runs of neighbouring pages as one; the pages come sorted by offset."""
    start, end = 0, 0
    parts: list[bytes | bytearray] = []
    for offset, page in pages:
        if parts and (offset != end or end - start >= _MAX_ENTRY_BYTES):
            yield start, b"".join(parts)
            parts = []
        if not parts:
            start = offset
        parts.append(page)
        end = offset + len(page)
    if parts:
        yield start, b"".join(parts)


def write_journal(disk: Disk, runs: Sequence[Run], offset: int) -> tuple[int, int]:
    """Writes the journal at `offset`; returns its length and checksum. Syncs nothing."""
    checksum, position = 0, offset
    batch, batch_bytes = [], 0
    for start, data in runs:
        batch += [_ENTRY.pack(start, len(data)), data]
        batch_bytes += _ENTRY.size + len(data)
        if batch_bytes >= _BATCH_BYTES:
            checksum, position = _put(disk, batch, checksum, position)
            batch, batch_bytes = [], 0
    if batch:
        checksum, position = _put(disk, batch, checksum, position)
    return position - offset, checksum


def _put(disk: Disk, batch: list[bytes], checksum: int, position: int) -> tuple[int, int]:
    data = b"".join(batch)
    disk.write(data, position)
    return zlib.crc32(data, checksum), position + len(data)


def read_journal(disk: Disk, header: Header) -> list[Run] | None:
    """Returns the runs of the journal that `header` names, or None when it is not whole."""
    start, byte_count = header.journal_offset, header.journal_bytes
    if start < max(header.end, header.previous_end) or start + byte_count > disk.size():
        return None
    data = disk.read(byte_count, start)
    if len(data) != byte_count or zlib.crc32(data) != header.journal_checksum:
        return None
    runs: list[Run] = []
    position = 0
    while position + _ENTRY.size <= len(data):
        offset, count = _ENTRY.unpack_from(data, position)
        position += _ENTRY.size
        if offset < USER_BLOCK_BYTES or offset + count > header.end or position + count > len(data):
            return None
        runs.append((offset, data[position : position + count]))
        position += count
    return runs if position == len(data) else None
