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
    elif size_bytes == 16:
        halves = np.ascontiguousarray(values).reshape(-1).view(np.uint64)
        _split(np.ascontiguousarray(halves[0::2]), planes[:8])
        _split(np.ascontiguousarray(halves[1::2]), planes[8:])
    else:
        rows = planes.reshape(size_bytes, *values.shape)
        _split(values.view(_unsigned(size_bytes)), rows)
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


def _unsigned(size_bytes: int) -> np.dtype[Any]:
    """Returns the dtype of whole numbers of this size."""
    return np.dtype(f"u{size_bytes}")


def _split(values: npt.NDArray[Any], rows: Bytes) -> None:
    """Fills the rows from whole numbers, low bytes first. The numbers may lie anywhere."""
    count = len(rows)
    if count == 1:
        rows[0] = values
        return
    half = count // 2
    part = scratch(f"halves of {count}", values.shape, _unsigned(half))
    np.copyto(part, values, casting="unsafe")
    _split(part, rows[:half])
    if half > 1 and values.ndim and values.strides[-1] == count:
        np.copyto(part, values.view(_unsigned(half))[..., 1::2])
    else:
        shifted = scratch(f"high halves of {count}", values.shape, values.dtype)
        np.right_shift(values, 4 * count, out=shifted)
        np.copyto(part, shifted, casting="unsafe")
    _split(part, rows[half:])


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
    whole = scratch(f"wholes of {count}", values.shape, values.dtype)
    np.copyto(whole, high)
    np.left_shift(whole, 8 * half, out=whole)
    np.bitwise_or(whole, low, out=values)
