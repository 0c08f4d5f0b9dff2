"""Streams of HDF5's deflate filter, made and read by the fastest library that is installed.

Every stream is an ordinary zlib stream (RFC 1950, 1951). ISA-L (`isal`) compresses ten times as
fast as zlib at the same ratio, libdeflate (`deflate`) inflates two to four times as fast; without
them zlib does both.

The fast way also leaves alone what cannot shrink. Numbers of a simulation are noise in all bytes
but the first of each value. After the shuffle these bytes lie together, and go into the stream as
stored blocks, which is a copy for whoever writes and for whoever reads, at the same length.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from h5scene.errors import CorruptDataError
from h5scene.store.datasets import MAX_DEFLATE_RATIO

if TYPE_CHECKING:
    from types import ModuleType

isal_zlib: ModuleType | None
igzip_lib: ModuleType | None
libdeflate: ModuleType | None
try:
    from isal import igzip_lib, isal_zlib
except ImportError:
    isal_zlib = igzip_lib = None
try:
    import deflate as libdeflate
except ImportError:
    libdeflate = None

_ERRORS: tuple[type[Exception], ...] = (
    zlib.error,
    *([] if isal_zlib is None else [isal_zlib.error]),
    *([] if libdeflate is None else [libdeflate.DeflateError]),
)

Bytes: TypeAlias = npt.NDArray[np.uint8]
Effort: TypeAlias = Literal["fast", "small"]

LEVELS: dict[Effort, int] = {"fast": 1, "small": 9}
"""Levels of zlib; also what the filter of a dataset says of itself."""

_HEADER = np.frombuffer(b"\x78\x01", np.uint8)  # of a zlib stream: window of 32 KiB, fastest
_LAST_BLOCK = b"\x03\x00"  # an empty one
_STORED_MAX_BYTES = 65535
_STORED_HEADER_BYTES = 5
_WINDOW_BITS = 15
_RAW = -_WINDOW_BITS  # without header and checksum

# Samples tell whether a row is noise, in a tenth of the time that deflating it takes: every so many
# bytes whether some values are more frequent than others, and some pieces whether they repeat.
_FREQUENCY_SAMPLES = 256
_PIECES = 4
_PIECE_BYTES = 1024
# 256 bytes of noise have 162 ± 5 different values. Where some values are so frequent that there are
# fewer than this, a row surely shrinks (by an eighth and more); else the pieces tell.
_MIN_NOISY_VALUES = 140
# Up to this size, of all rows or of one, deflating is as fast as looking whether it is worth it.
_SMALL_BYTES = 1 << 15
# What shrinks by less takes more time than it is worth: five times as long as storing it.
_MAX_WORTHWHILE = 0.95


def deflated(planes: Bytes, effort: Effort) -> Bytes | None:
    """Returns a zlib stream of all rows, one after the other; `None` if it would not be shorter.

    Args:
        planes: Bytes of two dims. Rows are of one kind: first bytes of all values, second bytes, …
        effort: How hard to try.
    """
    if effort == "small":
        stream = np.frombuffer(_smallest(planes), np.uint8)
    elif planes.size <= _SMALL_BYTES:
        stream = np.frombuffer(_fast(planes), np.uint8)
    else:
        shrinks = _shrinking(planes)
        if not any(shrinks):
            return None
        stream = _by_rows(planes, shrinks)
    return stream if stream.size < planes.size else None


def inflated(stream: Any, byte_count: int) -> Bytes:
    """Returns the bytes of a zlib stream, which must be `byte_count`. No more memory is taken.

    Raises:
        CorruptDataError: It is no zlib stream, its checksum is wrong, or it is longer or shorter.
    """
    if byte_count > MAX_DEFLATE_RATIO * len(stream):
        raise CorruptDataError(
            f"{len(stream)} bytes of compressed data cannot stand for {byte_count} bytes"
        )
    try:
        found: Any = _inflated(stream, byte_count)
    except _ERRORS as error:
        raise CorruptDataError(f"compressed data cannot be inflated: {error}") from error
    if len(found) != byte_count:
        raise CorruptDataError(
            f"compressed data stand for {len(found)} bytes instead of {byte_count}"
        )
    return np.frombuffer(found, np.uint8)


def _by_rows(planes: Bytes, shrinks: list[bool]) -> Bytes:
    """Returns a zlib stream in which rows that do not shrink are stored."""
    count, row_bytes = planes.shape
    # An array rather than bytes: NumPy lets other threads run while it copies.
    stream = np.empty(_longest_stream(count, row_bytes), np.uint8)
    stream[: len(_HEADER)] = _HEADER
    end, is_ended = len(_HEADER), False
    start = 0
    while start < count:
        stop = start + 1
        while stop < count and shrinks[stop] == shrinks[start]:
            stop += 1
        rows = planes[start:stop].reshape(-1)
        blocks = b""
        if shrinks[start]:
            blocks = _last_blocks(rows) if stop == count else _deflated_blocks(rows)
        if 0 < len(blocks) < rows.size:
            stream[end : end + len(blocks)] = np.frombuffer(blocks, np.uint8)
            end += len(blocks)
            is_ended = stop == count
        else:
            end += _store(rows, stream[end:])
        start = stop
    trailer = (b"" if is_ended else _LAST_BLOCK) + _checksum(planes).to_bytes(4, "big")
    stream[end : end + len(trailer)] = np.frombuffer(trailer, np.uint8)
    return stream[: end + len(trailer)]


def _longest_stream(count: int, row_bytes: int) -> int:
    """Returns how long a stream gets when every row is stored on its own."""
    headers = -(-row_bytes // _STORED_MAX_BYTES) * _STORED_HEADER_BYTES
    return len(_HEADER) + count * (row_bytes + headers) + len(_LAST_BLOCK) + 4


def _shrinking(planes: Bytes) -> list[bool]:
    """Returns, for each row, whether deflating it is worth the time, judged by samples."""
    count, size = planes.shape
    if size <= _SMALL_BYTES:
        return [True] * count
    # As bytes at once: threads that call NumPy for every trifle wait for one another.
    samples = planes[:, :: size // _FREQUENCY_SAMPLES][:, :_FREQUENCY_SAMPLES].tobytes()
    starts = range(0, len(samples), _FREQUENCY_SAMPLES)
    uneven = [
        len(set(samples[start : start + _FREQUENCY_SAMPLES])) < _MIN_NOISY_VALUES
        for start in starts
    ]
    noisy = [row for row in range(count) if not uneven[row]]
    # Nearly always they are noise: then one look at all of them is enough.
    if noisy and _repeats(planes, noisy):
        for row in noisy:
            uneven[row] = _repeats(planes, [row])
    return uneven


def _repeats(planes: Bytes, rows: list[int]) -> bool:
    """Whether pieces of these rows, taken together, shrink."""
    count, size = planes.shape
    every = size // _PIECES
    start = (every - _PIECE_BYTES) // 2  # in the middle: edges of a grid are often zero
    pieces = planes[:, : every * _PIECES].reshape(count, _PIECES, every)
    sample = pieces[rows, :, start : start + _PIECE_BYTES].reshape(-1)
    return len(_last_blocks(sample)) < _MAX_WORTHWHILE * sample.size


def _deflated_blocks(data: Bytes) -> bytes:
    """Returns deflate blocks that are not the last ones and end at a whole byte."""
    module: Any = zlib if isal_zlib is None else isal_zlib
    compressor = module.compressobj(LEVELS["fast"], zlib.DEFLATED, _RAW)
    blocks: bytes = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return blocks


def _last_blocks(data: Bytes) -> bytes:
    """Returns deflate blocks that end a stream."""
    if igzip_lib is None:
        compressor = zlib.compressobj(LEVELS["fast"], zlib.DEFLATED, _RAW)
        return compressor.compress(data.data) + compressor.flush()
    # A fifth less time than ISA-L takes for a stream of unknown length.
    blocks: bytes = igzip_lib.compress(
        data, LEVELS["fast"], igzip_lib.COMP_DEFLATE, igzip_lib.MEM_LEVEL_EXTRA_LARGE, _WINDOW_BITS
    )
    return blocks


def _store(data: Bytes, target: Bytes) -> int:
    """Puts the data into `target` as deflate blocks that are not compressed; returns their size."""
    whole, rest = divmod(data.size, _STORED_MAX_BYTES)
    step = _STORED_HEADER_BYTES + _STORED_MAX_BYTES
    rows = target[: whole * step].reshape(whole, step)
    rows[:, :_STORED_HEADER_BYTES] = _stored_header(_STORED_MAX_BYTES)
    rows[:, _STORED_HEADER_BYTES:] = data[: data.size - rest].reshape(whole, _STORED_MAX_BYTES)
    if not rest:
        return whole * step
    tail = target[whole * step : whole * step + _STORED_HEADER_BYTES + rest]
    tail[:_STORED_HEADER_BYTES] = _stored_header(rest)
    tail[_STORED_HEADER_BYTES:] = data[data.size - rest :]
    return whole * step + tail.size


def _stored_header(byte_count: int) -> Bytes:
    """Returns the header of a stored block: its length, and the complement of that."""
    header = [0, byte_count & 255, byte_count >> 8]
    return np.array([*header, header[1] ^ 255, header[2] ^ 255], np.uint8)


def _smallest(planes: Bytes) -> Any:
    """Returns a zlib stream, as short as it gets in bearable time."""
    if libdeflate is None:
        return zlib.compress(planes.data, LEVELS["small"])
    return libdeflate.zlib_compress(planes, LEVELS["small"])


def _fast(planes: Bytes) -> Any:
    """Returns a zlib stream of all bytes alike."""
    if isal_zlib is None:
        return zlib.compress(planes.data, LEVELS["fast"])
    return isal_zlib.compress(planes, LEVELS["fast"])


def _checksum(planes: Bytes) -> int:
    """Returns the Adler-32 of all bytes."""
    module: Any = zlib if isal_zlib is None else isal_zlib
    checksum: int = module.adler32(planes)
    return checksum


def _inflated(stream: Any, byte_count: int) -> bytes | bytearray:
    """Returns what a zlib stream stands for, up to a byte more than `byte_count`."""
    if libdeflate is not None:
        result: bytearray = libdeflate.zlib_decompress(stream, byte_count)
        return result
    module: Any = zlib if isal_zlib is None else isal_zlib
    decompressor = module.decompressobj(_WINDOW_BITS)
    # One byte more than expected, as the end of the stream is not looked at before that.
    found: bytes = decompressor.decompress(stream, byte_count + 1)
    if len(found) == byte_count and not decompressor.eof:
        raise zlib.error("incomplete or truncated stream")
    return found
