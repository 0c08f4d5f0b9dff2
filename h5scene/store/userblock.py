"""The 2,048 bytes in front of the HDF5 data: a line for people, and the state of the file.

    0      text, ASCII, one line, padded with zero bytes
    1024   header slot 0   (80 bytes)
    1536   header slot 1   (80 bytes)
    2048   HDF5 superblock

The header counts that is whole (magic and checksum) and has the larger sequence number; the other
slot holds the one before it, so a torn write of one slot never loses both. The byte layout is in
DURABILITY.md.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from h5scene.errors import CorruptDataError, UnsupportedVersionError

if TYPE_CHECKING:
    from h5scene.store.system import Disk

USER_BLOCK_BYTES = 2048
SLOT_OFFSETS = (1024, 1536)
TEXT = (
    b"HDF5 file of PhiFlow simulations, kept by h5scene. Read it with h5py, h5dump or HDFView; "
    b"write it only with h5scene. The HDF5 data begin at byte 2048.\n"
)

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# A stamp covers the user block and the superblock, which grows and shrinks with the file.
HEAD_BYTES = USER_BLOCK_BYTES + 64

CLEAN, REDO = 0, 1

_MAGIC = b"H5SCENE"
_VERSION = 1
_FIELDS = struct.Struct("<7sB16sQIIQQQQI")
_CHECKSUM = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CHECKSUM.size


@dataclass(frozen=True, slots=True)
class Header:
    """What one header slot says.

    Attributes:
        file_id: Random bytes, one value for the life of a file.
        sequence: Counts header writes; its lowest bit chooses the slot.
        state: CLEAN, or REDO: the journal is to be applied.
        end: End of the HDF5 data in the state that this header commits.
        previous_end: End of the HDF5 data in the state before.
        journal_offset: Where the journal begins (REDO).
        journal_bytes: Length of the journal (REDO).
        journal_checksum: CRC-32 of the journal (REDO).
    """

    file_id: bytes
    sequence: int = 0
    state: int = CLEAN
    end: int = 0
    previous_end: int = 0
    journal_offset: int = 0
    journal_bytes: int = 0
    journal_checksum: int = 0

    def redo(
        self, *, end: int, previous_end: int, offset: int, byte_count: int, checksum: int
    ) -> Header:
        """Returns the next header, which commits a journal."""
        return Header(
            self.file_id, self.sequence + 1, REDO, end, previous_end, offset, byte_count, checksum
        )

    def clean(self, *, end: int) -> Header:
        """Returns the next header of a file whose HDF5 data are whole in place and end at `end`."""
        return Header(self.file_id, self.sequence + 1, CLEAN, end)

    def packed(self) -> bytes:
        """Returns the bytes of the slot."""
        fields = _FIELDS.pack(
            _MAGIC,
            _VERSION,
            self.file_id,
            self.sequence,
            self.state,
            0,
            self.end,
            self.previous_end,
            self.journal_offset,
            self.journal_bytes,
            self.journal_checksum,
        )
        return fields + _CHECKSUM.pack(zlib.crc32(fields))

    @property
    def slot_offset(self) -> int:
        """Where this header is written."""
        return SLOT_OFFSETS[self.sequence & 1]


def new_header() -> Header:
    """Returns the first header of a new file."""
    return Header(os.urandom(16))


def text_block() -> bytes:
    """Returns the user block of a new file, without a header."""
    return TEXT.ljust(USER_BLOCK_BYTES, b"\0")


def read_header(disk: Disk) -> Header | None:
    """Returns the header that counts, or None: this is no file of ours, or its user block was lost.

    Raises:
        UnsupportedVersionError: A newer h5scene wrote the file.
    """
    headers = []
    for offset in SLOT_OFFSETS:
        slot = disk.read(HEADER_BYTES, offset)
        if len(slot) < HEADER_BYTES or not slot.startswith(_MAGIC):
            continue
        fields, (checksum,) = slot[: _FIELDS.size], _CHECKSUM.unpack_from(slot, _FIELDS.size)
        if zlib.crc32(fields) != checksum:
            continue
        _, version, file_id, sequence, state, _, *rest = _FIELDS.unpack(fields)
        if version != _VERSION:
            raise UnsupportedVersionError(
                f"{disk.path} has user block version {version}, and this h5scene knows {_VERSION}; "
                "upgrade h5scene",
                file=disk.path,
            )
        headers.append(Header(file_id, sequence, state, *rest))
    return max(headers, key=lambda header: header.sequence, default=None)


def superblock_offset(disk: Disk) -> int | None:
    """Returns where the HDF5 data begin (0, 512, 1024, ...), or None: this is no HDF5 file."""
    offset, size = 0, disk.size()
    while offset < size:
        if disk.read(len(HDF5_SIGNATURE), offset) == HDF5_SIGNATURE:
            return offset
        offset = 2 * offset or 512
    return None


def superblock_end(superblock: bytes, path: str) -> int:
    """Returns the end of the HDF5 data, counted from the start of the file.

    Args:
        superblock: At least 64 bytes from the start of the superblock on (48 for versions 2 and 3).
        path: The file, for messages.

    Raises:
        CorruptDataError: These bytes are no superblock.
    """
    # HDF5 file format specification, "Disk Format: Level 0A": versions 0 and 1 have the sizes
    # first.
    if superblock.startswith(HDF5_SIGNATURE) and len(superblock) >= 48:
        version = superblock[8]
        if version in (2, 3):
            end: int = struct.unpack_from("<Q", superblock, 28)[0]
        elif version in (0, 1) and len(superblock) >= 64:
            end = struct.unpack_from("<Q", superblock, 40 + 4 * version)[0]
        else:
            end = 1 << 63
        if end < 1 << 62:
            return end
    raise CorruptDataError(
        f"{path} has no valid HDF5 superblock at byte {USER_BLOCK_BYTES}", file=path
    )
