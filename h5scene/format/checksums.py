"""Checksums that tell when stored numbers or descriptions are not what was written.

HDF5 checks its own structures, and so attributes, which are strings of fixed length here. It does
not check the bytes of datasets. Each dataset of numbers therefore has a CRC-32 of its bytes as they
stand in the file, of their dtype, shape and chunks, and of the frame's name; each description one
of its attributes. FORMAT.md says how they are computed.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError
from h5scene.format import layout, names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from h5scene.record import Array
    from h5scene.store.datasets import CheckedDataset

try:
    from isal.isal_zlib import crc32  # ten times as fast as zlib's
except ImportError:
    from zlib import crc32

_PIECE = struct.Struct("<II")
_TYPE = h5py.h5t.STD_U32LE
_NATIVE = h5py.h5t.NATIVE_UINT32
_SCALAR = h5py.h5s.create(h5py.h5s.SCALAR)
_NAME = layout.CHECKSUM_ATTR.encode()
_IF_ON_PURPOSE = (
    "if another program changed it on purpose, remove that attribute, else take it from a backup"
)


def summed(filter_mask: int, data: Any) -> bytes:
    """Returns what the checksum of a dataset takes of one piece: a chunk, or all that is stored.

    Args:
        filter_mask: Of the chunk; 0 where there are no chunks.
        data: Its bytes in the file.
    """
    return _PIECE.pack(filter_mask, crc32(data))


def summed_parts(filter_mask: int, parts: Iterable[Any]) -> bytes:
    """Returns what `summed` returns of these bytes together."""
    checksum = 0
    for part in parts:
        checksum = crc32(part, checksum)
    return _PIECE.pack(filter_mask, checksum)


@lru_cache(maxsize=256)
def storage(chunk: tuple[int, ...], filters: tuple[int, ...]) -> bytes:
    """Returns what the checksum of a dataset takes of its chunks and their filters."""
    return b"%s\0%s" % (_joined(chunk), _joined(filters))


def write_checksum(dataset: Any, name: str, values: Array, stored_as: bytes, pieces: bytes) -> None:
    """Notes the checksum of a dataset that has been written, and has none yet.

    Args:
        dataset: HDF5 identifier.
        name: Path of the dataset, of which the last part counts.
        values: What was stored; only their dtype and shape are looked at.
        stored_as: `storage` of it; nothing where there are no chunks.
        pieces: `summed` of each piece, in order.
    """
    checksum = _checksum(name, values.dtype, values.shape, stored_as, pieces)
    attribute = h5py.h5a.create(dataset, _NAME, _TYPE, _SCALAR)
    attribute.write(np.array(checksum, np.uint32), _NATIVE)


def read_checksum(dataset: Any) -> int | None:
    """Returns the checksum that a dataset should have; `None` where nobody noted one."""
    found = np.zeros((), np.uint32)
    try:
        h5py.h5a.open(dataset, _NAME).read(found, _NATIVE)
    except (KeyError, OSError, RuntimeError, TypeError, ValueError):
        # There is none, or what has its name is no single number.
        return -1 if h5py.h5a.exists(dataset, _NAME) else None
    return int(found)


def check(dataset: CheckedDataset, expected: int, pieces: bytes) -> None:
    """Raises when a dataset is not what was written; see `write_checksum`.

    Raises:
        CorruptDataError: Its checksum is another one.
    """
    stored_as = b"" if dataset.chunk is None else storage(dataset.chunk, dataset.filters)
    shape = dataset.shape or ()
    if _checksum(dataset.name, dataset.dtype, shape, stored_as, pieces) != expected:
        raise CorruptDataError(
            f"{dataset.name} is damaged: its values do not have the checksum in its attribute "
            f"{layout.CHECKSUM_ATTR!r}; {_IF_ON_PURPOSE}"
        )


def description_checksum(attributes: Mapping[str, Any]) -> int:
    """Returns the checksum of a description, given as its attributes."""
    checksum = 0
    for name in layout.DESCRIPTION_ATTRS:
        if name in attributes:
            value = attributes[name]
            if isinstance(value, str):
                data = value.encode(errors="surrogateescape")
            else:
                array = np.asarray(value)
                data = _form(array.dtype, array.shape) + array.tobytes()
            checksum = crc32(b"%s\0%d\0%s" % (name.encode(), len(data), data), checksum)
    return checksum


def check_description(attributes: Mapping[str, Any], expected: Any, where: str) -> None:
    """Raises when a description is not what was written.

    Raises:
        CorruptDataError: Its checksum is another one.
    """
    if expected is not None and description_checksum(attributes) != expected:
        raise CorruptDataError(
            f"the description of {where} is damaged: it does not have the checksum in its "
            f"attribute {layout.DESCRIPTION_CHECKSUM_ATTR!r}; {_IF_ON_PURPOSE}"
        )


def _checksum(
    name: str, dtype: np.dtype[Any], shape: Sequence[int], stored_as: bytes, pieces: bytes
) -> int:
    """Returns the checksum of a dataset."""
    link = name[name.rfind("/") + 1 :]
    label = link.encode() if names.frame_of_link(link) is not None else b""
    return crc32(pieces, crc32(b"%s\0%s" % (label, _head(dtype, tuple(shape), stored_as))))


@lru_cache(maxsize=256)  # of all frames of a field
def _head(dtype: np.dtype[Any], shape: tuple[int, ...], stored_as: bytes) -> bytes:
    """Returns what the checksums of arrays of one kind begin with, after the name."""
    return b"%s%s\0" % (_form(dtype, shape), stored_as)


def _form(dtype: np.dtype[Any], shape: Sequence[int]) -> bytes:
    """Returns dtype and shape as bytes."""
    return b"%s\0%s\0" % (dtype.str.encode(), _joined(shape))


def _joined(numbers: Sequence[int]) -> bytes:
    return b",".join(b"%d" % number for number in numbers)
