"""Arrays as HDF5 datasets, with the filters in our own threads.

HDF5 runs its filters in the calling thread, with zlib, on one chunk after the other. Here chunks
are shuffled and deflated beside it and handed over finished (`H5Dwrite_chunk`). What stands in the
file is what HDF5 itself would have made of it, but for the length. `readings` is the way back.

Only the calling thread talks to HDF5.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.format import checksums, deflate
from h5scene.format.filters import (
    MIN_CHUNKED_BYTES,
    Compression,
    chunk_shape,
    creation_properties,
)
from h5scene.format.rounding import rounded
from h5scene.format.shuffle import shuffled
from h5scene.format.workers import in_order

if TYPE_CHECKING:
    from h5scene.record import Array

MAX_ITEM_BYTES = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}
"""Size of the largest number that can be stored, by its kind: long double differs by machine."""

# An array of one chunk must be shorter than its values by this, or inflating it is not worth it.
_MIN_SAVED_BYTES: dict[deflate.Effort, int] = {"fast": 256, "small": 64}
# A chunk that was stored with both filters left out, see `filter_mask` of H5Dwrite_chunk.
_NO_FILTERS = 0b11

# --- writing --------------------------------------------------------------------------------------


def write_array(
    group: h5py.Group,
    name: str,
    values: Array,
    compression: Compression,
    *,
    workers: int,
    digits: int | None = None,
) -> None:
    """Creates a dataset with these values, bit by bit unless they are to be rounded.

    Args:
        group: Where to create it.
        name: A name that is free.
        values: Numbers, wherever they lie in memory.
        compression: How hard to compress. Data that do not shrink are stored as they are.
        workers: Number of threads to compress with.
        digits: Number of decimal digits to keep; all of them by default.
    """
    shape = values.shape
    if compression is None or values.nbytes < MIN_CHUNKED_BYTES:
        _write_contiguous(group, name, values, digits)
        return
    chunk = chunk_shape(shape, values.dtype.itemsize)
    if chunk == shape:
        mask, data = packed_chunk(values, chunk, compression, digits)
        if mask or len(data) + _MIN_SAVED_BYTES[compression] > values.nbytes:
            _write_contiguous(group, name, values, digits)
        else:
            dataset = create_array(group, name, shape, values.dtype, compression)
            dataset.write_direct_chunk((0,) * len(shape), data)
            piece = checksums.summed(0, data)
            checksums.write_checksum(dataset, name, values, storage_of_chunks(chunk), piece)
        return

    dataset = create_array(group, name, shape, values.dtype, compression)
    fill_array(dataset, values, compression, name=name, workers=workers, digits=digits)


def fill_array(
    dataset: Any,
    values: Array,
    compression: Compression,
    *,
    name: str,
    workers: int,
    digits: int | None = None,
) -> None:
    """Writes the values of a dataset that `create_array` made, as `write_array` does."""
    if compression is None:
        piece = b""
        if values.size:
            values = values if digits is None else rounded(values, digits)
            values = np.asarray(values, order="C")
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values, _hdf5_type(values.dtype))
            piece = checksums.summed(0, values)
        checksums.write_checksum(dataset, name, values, b"", piece)
        return
    chunk = chunk_shape(values.shape, values.dtype.itemsize)

    def packed(corner: tuple[int, ...]) -> tuple[int, Any, bytes]:
        place = tuple(slice(start, start + n) for start, n in zip(corner, chunk, strict=True))
        mask, data = packed_chunk(values[place], chunk, compression, digits)
        return mask, data, checksums.summed(mask, data)

    steps = [range(0, size, step) for size, step in zip(values.shape, chunk, strict=True)]
    packed_chunks = in_order(packed, itertools.product(*steps), workers)
    pieces = bytearray()
    for corner, (mask, data, piece) in zip(itertools.product(*steps), packed_chunks, strict=True):
        dataset.write_direct_chunk(corner, data, mask)
        pieces += piece
    checksums.write_checksum(dataset, name, values, storage_of_chunks(chunk), bytes(pieces))


def packed_chunk(
    piece: Array, chunk: tuple[int, ...], effort: deflate.Effort, digits: int | None
) -> tuple[int, Any]:
    """Returns the filter mask of a chunk, and the bytes to store for it."""
    if digits is not None:
        piece = rounded(piece, digits)
    if piece.shape != chunk:  # at the upper edges; HDF5 stores whole chunks
        whole = np.zeros(chunk, piece.dtype)
        whole[tuple(map(slice, piece.shape))] = piece
        piece = whole
    stream = deflate.deflated(shuffled(piece), effort)
    if stream is None:
        return _NO_FILTERS, np.ascontiguousarray(piece)
    return 0, stream


def _write_contiguous(group: h5py.Group, name: str, values: Array, digits: int | None) -> None:
    """Creates a dataset without chunks."""
    dataset = create_array(group, name, values.shape, values.dtype, None)
    fill_array(dataset, values, None, name=name, workers=1, digits=digits)


def create_array(
    group: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    compression: Compression,
) -> Any:
    """Creates an empty dataset: chunked, if it is to be compressed, which takes one dim at least.

    h5py's create_dataset takes several times as long.
    """
    return h5py.h5d.create(
        group.id,
        name.encode(),
        _hdf5_type(dtype),
        h5py.h5s.create_simple(shape),
        dcpl=creation_properties(shape, dtype.itemsize, compression),
    )


def storage_of_chunks(chunk: tuple[int, ...]) -> bytes:
    """Returns what the checksum takes of the chunks and filters of a compressed dataset."""
    return checksums.storage(chunk, (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE))


@lru_cache(maxsize=64)
def _hdf5_type(dtype: np.dtype[Any]) -> Any:
    """Returns HDF5's type of a dtype."""
    return h5py.h5t.py_create(dtype, logical=True)
