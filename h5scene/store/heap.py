"""HDF5's global heap, checked before HDF5 sees it.

It holds strings of variable length. It is the one structure of HDF5's own without a checksum, and
HDF5 (2.0) goes round for ever in one whose objects are said to have no length.
"""

from __future__ import annotations

import struct

from h5scene.errors import CorruptDataError

HEAP_START = b"GCOL\x01\0\0\0"
"""Signature, version and reserved bytes of a collection: what it begins with, and nothing else."""
_LEAST_BYTES = 4096
_HEADER = struct.Struct("<8xQ")
_OBJECT = struct.Struct("<HH4xQ")


def check_heap(data: memoryview, path: str) -> None:
    """Raises when the objects of a heap collection do not follow one another.

    Args:
        data: The collection, or as much of it as was read.
        path: The file, for the message.

    Raises:
        CorruptDataError: They do not.
    """
    # HDF5 file format specification, "Disk Format: Level 1E - Global Heap".
    if len(data) < _LEAST_BYTES:
        return  # numbers that look like it
    (size,) = _HEADER.unpack_from(data)
    if len(data) not in (_LEAST_BYTES, size):
        return  # HDF5 reads the least that there is, and then all
    position, end = _HEADER.size, min(size, len(data))
    if size < _LEAST_BYTES:
        raise CorruptDataError(f"{path} is damaged: a heap of strings has {size} bytes", file=path)
    while position + _OBJECT.size <= end:
        index, _, byte_count = _OBJECT.unpack_from(data, position)
        # The free space at the end, number 0, counts with its header; objects without theirs.
        step = byte_count if index == 0 else _OBJECT.size + byte_count + -byte_count % 8
        if step < _OBJECT.size or position + step > size:
            raise CorruptDataError(
                f"{path} is damaged: in a heap of strings, object {index} has {byte_count} bytes",
                file=path,
            )
        if index == 0:
            return
        position += step
