"""Chunk shapes and filter pipelines: only what every HDF5 library has built in."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, TypeAlias

import h5py
import numpy as np

Compression: TypeAlias = Literal["fast", "small"] | None

MIN_CHUNKED_BYTES = 2048
"""A chunk index costs 328 bytes and more; below this size plain storage is smaller."""
TARGET_CHUNK_BYTES = 1 << 20

_DEFLATE_LEVELS = {"fast": 1, "small": 9}


def chunk_shape(shape: tuple[int, ...], itemsize_bytes: int) -> tuple[int, ...]:
    """Returns a chunk shape: at most 1 MiB, near-cubic, edge chunks about as large as others."""
    pieces = [1] * len(shape)

    def chunk() -> list[int]:
        return [-(-size // count) for size, count in zip(shape, pieces, strict=True)]

    while (int(np.prod(chunk(), dtype=np.int64)) * itemsize_bytes) > TARGET_CHUNK_BYTES:
        longest = int(np.argmax(chunk()))
        pieces[longest] *= 2
    return tuple(chunk())


@lru_cache(maxsize=256)
def creation_properties(
    shape: tuple[int, ...], itemsize_bytes: int, compression: Compression
) -> Any:
    """Returns the dataset creation property list for an array of numbers."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    # Modification times would make equal files differ, and cost bytes in every frame.
    properties.set_obj_track_times(False)
    size_bytes = int(np.prod(shape, dtype=np.int64)) * itemsize_bytes
    if compression is not None and size_bytes >= MIN_CHUNKED_BYTES:
        properties.set_chunk(chunk_shape(shape, itemsize_bytes))
        properties.set_shuffle()
        properties.set_deflate(_DEFLATE_LEVELS[compression])
    return properties
