"""The zip file that an npz is: members read within limits, and written fast.

Members are read by their place in the zip, so that the few small ones, which are the same in
every frame of a field, can be recognised without being unpacked.
"""

from __future__ import annotations

import errno
import os
import struct
import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import CorruptDataError, UnsafeFileError
from h5scene.interop import deflate
from h5scene.interop.npy import (
    PREFIX_BYTES,
    ForeignNpzError,
    NpyHeader,
    array_from_bytes,
    bytes_from_array,
    header_bytes,
    header_of,
    parse_header,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from h5scene.record import Array

MAX_MEMBERS = 64
MAX_SMALL_BYTES = 1 << 24
"""Of a member that is no plain numbers, and of all packed members that are compared unpacked."""

_PIECE_BYTES = 1 << 20
_FIRST_PIECE_BYTES = 1 << 9  # holds the header: what is left of a piece is copied each time
_SUFFIX = ".npy"
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s4B4HL2L5H2L")
_END = struct.Struct("<4s4H2LH")
_LARGE_END = struct.Struct("<4sQ2H2L4Q")  # of a file of more than 4 GiB
_LARGE_LOCATOR_BYTES = 20
_MAX_COMMENT_BYTES = 1 << 16
_DATE = 33  # 1 January 1980, which is what NumPy writes
_VERSION = 20
_DEFLATED = 8
_LARGE_BYTES = 1 << 31  # zip needs another form for more than 4 GiB


@dataclass(frozen=True)
class Member:
    """One array of an npz, still packed.

    Attributes:
        name: Without the suffix `.npy`.
        place: Where its entry begins in the file.
    """

    name: str
    place: int
    packed_bytes: int
    bytes: int
    method: int
    crc: int


class NpzArchive:
    """An npz file open for reading.

    Args:
        file: The open file.
        limit_bytes: Of one array.

    Raises:
        CorruptDataError: It is no zip file, or a damaged one.
        UnsafeFileError: It has too many members, or encrypted ones.
        ForeignNpzError: It holds something other than arrays.
    """

    def __init__(self, file: IO[bytes], limit_bytes: int):
        self._file = file
        self._limit_bytes = limit_bytes
        self._end = os.fstat(file.fileno()).st_size
        self.members: dict[str, Member] = {}
        self._check_contents()
        try:
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
            raise CorruptDataError(f"it is no complete zip file: {error}") from error
        except EOFError as error:
            raise CorruptDataError("it ends early") from error
        except OSError as error:
            if error.errno != errno.EINVAL:  # a place before the beginning of the file
                raise
            raise CorruptDataError("its table of contents is damaged") from error
        if len(entries) > MAX_MEMBERS:
            raise UnsafeFileError(f"it has {len(entries)} members, where PhiFlow writes 9")
        for entry in entries:
            name = entry.filename.removesuffix(_SUFFIX)
            if name == entry.filename or name in self.members:
                raise ForeignNpzError(f"it holds {entry.filename!r}, which is no further array")
            if entry.flag_bits & 1 or entry.compress_type not in (0, _DEFLATED):
                raise ForeignNpzError(f"its member {name!r} is encrypted, or packed unusually")
            self.members[name] = Member(
                name,
                entry.header_offset,
                entry.compress_size,
                entry.file_size,
                entry.compress_type,
                entry.CRC,
            )

    def _check_contents(self) -> None:
        """Raises UnsafeFileError when the table of contents is not that of a few arrays."""
        begin = max(self._end - _END.size - _MAX_COMMENT_BYTES, 0)
        self._file.seek(begin)
        tail = self._exactly(self._end - begin)
        place = tail.rfind(b"PK\5\6")
        if place < 0 or place + _END.size > len(tail):
            raise CorruptDataError("it is no complete zip file: its end is missing")
        contents_bytes = _END.unpack_from(tail, place)[5]
        large = place - _LARGE_END.size - _LARGE_LOCATOR_BYTES
        if large >= 0 and tail[large : large + 4] == b"PK\6\6":
            contents_bytes = _LARGE_END.unpack_from(tail, large)[8]
        if contents_bytes > MAX_MEMBERS * 1024:
            raise UnsafeFileError(
                f"its table of contents has {contents_bytes} bytes, where PhiFlow writes about 600"
            )

    def packed(self, member: Member) -> tuple[int, int, bytes]:
        """Returns what tells a small member from others: its CRC, length and packed bytes.

        Raises:
            UnsafeFileError: It is not small.
            CorruptDataError: The file ends before it does.
        """
        if member.packed_bytes > MAX_SMALL_BYTES:
            raise UnsafeFileError(f"its member {member.name!r} is too large for what it is")
        self._file.seek(self._begin(member))
        return member.crc, member.bytes, self._exactly(member.packed_bytes)

    def begin(self, member: Member) -> ArrayStream:
        """Returns an array whose header is read, and whose values are not yet.

        Raises:
            UnsafeFileError: It is larger than the limit.
            CorruptDataError: It is damaged.
            ForeignNpzError: It describes no plain array.
        """
        reader = _Reader(self, member)
        header = _header(reader, member)
        return ArrayStream(header, reader, self._check_size(member, header))

    def read(self, member: Member) -> Array:
        """Returns an array; raises as `begin` and `ArrayStream.values` do."""
        return self.begin(member).values()

    def _check_size(self, member: Member, header: NpyHeader) -> int:
        """Returns the length of the values, which zip and array must agree on."""
        count = member.bytes - header.length_bytes
        limit_bytes = MAX_SMALL_BYTES if header.is_pickled else self._limit_bytes
        declared = count if header.is_pickled else header.data_bytes
        if max(count, declared) > limit_bytes:
            raise UnsafeFileError(
                f"its array {member.name!r} unpacks to {max(count, declared)} bytes, more than the "
                f"limit of {limit_bytes}"
            )
        if count != declared:
            raise CorruptDataError(
                f"its array {member.name!r} is {header.shape} of {header.dtype}, which is "
                f"{declared} bytes, but the zip file holds {count}"
            )
        return count

    def _begin(self, member: Member) -> int:
        """Returns where the packed bytes of a member begin."""
        if not 0 <= member.place < self._end:
            raise CorruptDataError(f"its member {member.name!r} is not where the zip file says")
        self._file.seek(member.place)
        entry = self._exactly(_LOCAL.size)
        signature, *_, name_bytes, extra_bytes = _LOCAL.unpack(entry)
        begin = member.place + _LOCAL.size + int(name_bytes) + int(extra_bytes)
        if signature != b"PK\3\4" or begin + member.packed_bytes > self._end:
            raise CorruptDataError(f"its member {member.name!r} is not where the zip file says")
        # The name stands in two places, and no checksum covers it.
        stored = self._exactly(int(name_bytes))
        names = (stored.decode(errors="replace"), stored.decode("cp437"))
        if f"{member.name}{_SUFFIX}" not in names:
            raise CorruptDataError(f"its member {member.name!r} has another name where it stands")
        return begin

    def _exactly(self, count: int) -> bytes:
        """Returns the next bytes of the file."""
        content = self._file.read(count)
        while len(content) < count:
            more = self._file.read(count - len(content))
            if not more:
                raise CorruptDataError("it ends early")
            content += more
        return content


class ArrayStream:
    """An array that is being read from a zip file.

    Attributes:
        header: What stands before its values.
    """

    def __init__(self, header: NpyHeader, reader: _Reader, count: int):
        self.header = header
        self._reader = reader
        self._count = count

    def values(self) -> Array:
        """Returns the array, which can be written to; can be called once.

        Raises:
            UnsafeFileError: It is a pickle that asks for more than data.
            CorruptDataError: It is damaged.
        """
        content = np.empty(self._count, np.uint8)  # takes memory only as it is filled
        self._reader.fill(_view(content))
        self._reader.finish()
        return array_from_bytes(self.header, _view(content))


class _Reader:
    """The unpacked bytes of one member, in order."""

    def __init__(self, archive: NpzArchive, member: Member):
        self._archive = archive
        self._member = member
        self._place = archive._begin(member)
        self._end = self._place + member.packed_bytes
        self._unpacker = deflate.decompressor() if member.method == _DEFLATED else None
        self._packed = b""
        self._crc = 0
        self._piece_bytes = _FIRST_PIECE_BYTES

    def take(self, count: int) -> bytes:
        """Returns the next bytes."""
        content = bytearray(count)
        self.fill(memoryview(content))
        return bytes(content)

    def fill(self, target: memoryview) -> None:
        """Fills the target with the next bytes."""
        done = 0
        while done < len(target):
            piece = self._some(len(target) - done)
            target[done : done + len(piece)] = piece
            done += len(piece)
        self._crc = deflate.crc32(target, self._crc)

    def finish(self) -> None:
        """Checks that nothing follows, and that what came was right."""
        if self._crc != self._member.crc:
            raise CorruptDataError(
                f"its array {self._member.name!r} is damaged: its CRC-32 is {self._crc:08x}, not "
                f"{self._member.crc:08x}"
            )

    def _some(self, most: int) -> bytes:
        """Returns some of the next bytes, at least one."""
        if self._unpacker is None:
            piece = self._next_packed(most)
            if piece:
                return piece
        else:
            while not self._unpacker.eof:
                packed = self._packed or self._next_packed(_PIECE_BYTES)
                try:
                    piece = self._unpacker.decompress(packed, min(most, _PIECE_BYTES))
                except deflate.ERRORS as error:
                    raise CorruptDataError(
                        f"its array {self._member.name!r} cannot be unpacked: {error}"
                    ) from error
                self._packed = self._unpacker.unconsumed_tail
                if piece:
                    return bytes(piece)
                if not packed:
                    break
        raise CorruptDataError(f"its array {self._member.name!r} ends early")

    def _next_packed(self, most: int) -> bytes:
        """Returns the next bytes as they stand in the file; none at the end of the member."""
        file = self._archive._file
        file.seek(self._place)
        piece: bytes = file.read(min(most, self._piece_bytes, self._end - self._place))
        self._piece_bytes = _PIECE_BYTES
        self._place += len(piece)
        return piece


def _header(reader: _Reader, member: Member) -> NpyHeader:
    """Returns what stands before the values, which come next from the reader."""
    prefix = reader.take(min(PREFIX_BYTES, member.bytes))
    rest = header_bytes(prefix) - len(prefix)
    if not 0 <= rest <= member.bytes - len(prefix):
        raise CorruptDataError(f"the header of its array {member.name!r} is damaged")
    return parse_header(prefix + reader.take(rest))


@dataclass(frozen=True)
class PackedMember:
    """A small member as it stands in the zip file."""

    content: bytes
    crc: int
    bytes: int


def pack(array: Array) -> PackedMember:
    """Returns a small array, packed."""
    content = bytes_from_array(array)
    packer = deflate.compressor()
    packed = packer.compress(content) + packer.flush()
    return PackedMember(packed, deflate.crc32(content), len(content))


def write_npz(file: IO[bytes], members: Mapping[str, PackedMember | Array]) -> None:
    """Writes an npz whose arrays are numbers, or small and packed already.

    An array that is contiguous in Fortran's order only is written in that order, as NumPy does.
    """
    central = bytearray()
    for name, member in members.items():
        place = file.tell()
        entry = f"{name}{_SUFFIX}".encode()
        if isinstance(member, PackedMember):
            file.write(_local(entry, member.crc, len(member.content), member.bytes) + entry)
            file.write(member.content)
            central += _central(entry, member.crc, len(member.content), member.bytes, place) + entry
        elif member.nbytes >= _LARGE_BYTES:
            file.seek(0)
            file.truncate()
            _write_large(file, members)
            return
        else:
            file.write(_local(entry, 0, 0, 0) + entry)
            crc, size = _write_array(file, member)
            after = file.tell()
            packed = after - place - _LOCAL.size - len(entry)
            file.seek(place)
            file.write(_local(entry, crc, packed, size))
            file.seek(after)
            central += _central(entry, crc, packed, size, place) + entry
    start, count = file.tell(), len(members)
    file.write(central)
    file.write(_END.pack(b"PK\5\6", 0, 0, count, count, len(central), start, 0))


def _write_large(file: IO[bytes], members: Mapping[str, PackedMember | Array]) -> None:
    """Writes an npz with zip's form for entries of more than 4 GiB, which takes longer."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, member in members.items():
            with archive.open(f"{name}{_SUFFIX}", "w", force_zip64=True) as entry:
                if isinstance(member, PackedMember):
                    unpacker = deflate.decompressor()
                    entry.write(unpacker.decompress(member.content))
                else:
                    np.lib.format.write_array(entry, member, allow_pickle=False)


def _write_array(file: IO[bytes], array: Array) -> tuple[int, int]:
    """Writes an array of numbers, packed; returns the CRC and length of the unpacked bytes."""
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    header = header_of(array.dtype, array.shape, is_fortran=is_fortran)
    in_order = np.ascontiguousarray(array.T if is_fortran else array)
    content = _view(in_order.reshape(-1).view(np.uint8))
    packer = deflate.compressor()
    file.write(packer.compress(header))
    crc = deflate.crc32(header)
    for begin in range(0, len(content), _PIECE_BYTES):
        piece = content[begin : begin + _PIECE_BYTES]
        crc = deflate.crc32(piece, crc)
        file.write(packer.compress(piece))
    file.write(packer.flush())
    return crc, len(header) + len(content)


def _view(content: Any) -> memoryview:
    """Returns an array of bytes as the memory that it is."""
    return memoryview(content)


def _local(entry: bytes, crc: int, packed: int, size: int) -> bytes:
    """Returns what stands before an entry of a zip file."""
    flags = 0 if entry.isascii() else 0x800  # the name is UTF-8
    return _LOCAL.pack(
        b"PK\3\4", _VERSION, flags, _DEFLATED, 0, _DATE, crc, packed, size, len(entry), 0
    )


def _central(entry: bytes, crc: int, packed: int, size: int, place: int) -> bytes:
    """Returns the line of an entry in the table of contents."""
    flags = 0 if entry.isascii() else 0x800
    made_by_unix, mode = 3, 0o600 << 16
    return _CENTRAL.pack(
        *(b"PK\1\2", _VERSION, made_by_unix, _VERSION, 0, flags, _DEFLATED, 0, _DATE),
        *(crc, packed, size, len(entry), 0, 0, 0, 0, mode, place),
    )
