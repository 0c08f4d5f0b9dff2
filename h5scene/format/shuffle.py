"""HDF5's byte shuffle: first bytes of all values, then second bytes, and so on.

With shifts and casts, which NumPy does in vector registers, instead of moving single bytes: 6 GB/s
where a transposed copy makes 1 to 4.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from h5scene.format.scratch import scratch

if TYPE_CHECKING:
    from h5scene.record import Array

Bytes: TypeAlias = npt.NDArray[np.uint8]

_IS_LITTLE = sys.byteorder == "little"
_SIZES = (1, 2, 4, 8)
_SMALL_BYTES = 1 << 14  # one NumPy call is faster than several up to here


def shuffled(values: Array) -> Bytes:
    """Returns a row for each byte of a value; rows have an entry for each value, in C order.

    They are valid until this thread shuffles something else.
    """
    size_bytes = values.dtype.itemsize
    planes: Bytes = scratch("planes", (size_bytes, values.size), np.uint8)
    if not _IS_LITTLE or size_bytes not in (*_SIZES, 16) or values.nbytes <= _SMALL_BYTES:
        together = np.ascontiguousarray(values).reshape(-1)
        planes[...] = together.view(np.uint8).reshape(-1, size_bytes).T
        return planes
    parts = _halves(values) if size_bytes == 16 else [values.view(_unsigned(size_bytes))]
    for i, part in enumerate(parts):
        whole = scratch("wholes", part.shape, part.dtype)
        np.copyto(whole, part)
        _split(whole.reshape(-1), planes[8 * i : 8 * i + 8])
    return planes


def unshuffle(planes: Bytes, values: Array) -> None:
    """Fills `values` from `shuffled` bytes.

    Args:
        planes: A row for each byte of a value, with further dims as `values` has.
        values: May lie anywhere, such as a part of a larger array.
    """
    size_bytes = len(planes)
    if _IS_LITTLE and size_bytes in _SIZES and values.nbytes > _SMALL_BYTES:
        _join(planes, values.view(_unsigned(size_bytes)))
        return
    contiguous = np.empty(values.shape, values.dtype)
    if _IS_LITTLE and size_bytes == 16 and values.nbytes > _SMALL_BYTES:
        halves = contiguous.view(np.uint64).reshape(*values.shape, 2)
        _join(planes[:8], halves[..., 0])
        _join(planes[8:], halves[..., 1])
    else:
        contiguous.view(np.uint8).reshape(*values.shape, size_bytes)[...] = np.moveaxis(
            planes, 0, -1
        )
    values[...] = contiguous


def _halves(values: Array) -> list[npt.NDArray[Any]]:
    """Returns the halves of numbers of 16 bytes, the low ones first."""
    halves = np.ascontiguousarray(values).reshape(-1).view(np.uint64)
    return [halves[0::2], halves[1::2]]


def _unsigned(size_bytes: int) -> np.dtype[Any]:
    """Returns the dtype of whole numbers of this size."""
    return np.dtype(f"u{size_bytes}")


def _split(values: npt.NDArray[Any], rows: Bytes) -> None:
    """Fills the rows from whole numbers, low bytes first; of the numbers nothing is left."""
    count = len(rows)
    if count > 4:
        half = count // 2
        part = scratch(f"halves of {count}", values.shape, _unsigned(half))
        for some in (rows[:half], rows[half:]):
            np.copyto(part, values, casting="unsafe")
            _split(part, some)
            np.right_shift(values, 8 * half, out=values)
        return
    for row in rows:
        np.copyto(row, values, casting="unsafe")
        np.right_shift(values, 8, out=values)


def _join(planes: Bytes, values: npt.NDArray[Any]) -> None:
    """Fills whole numbers from rows, low bytes first."""
    count = len(planes)
    if count == 1:
        values[...] = planes[0]
        return
    half = count // 2
    low, high = planes[0], planes[1]
    if half > 1:
        low, high = scratch(f"halves of {count}", (2, *values.shape), _unsigned(half))
        _join(planes[:half], low)
        _join(planes[half:], high)
    whole = values
    if not values.flags.c_contiguous:  # three times through a part of an array takes longer
        whole = scratch(f"wholes of {count}", values.shape, values.dtype)
    np.copyto(whole, high)
    np.left_shift(whole, 8 * half, out=whole)
    np.bitwise_or(whole, low, out=values)
