"""Chunk shapes and filter pipelines: only what every HDF5 library has built in."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import h5py

from h5scene.format.deflate import LEVELS

Compression: TypeAlias = Literal["fast", "small"] | None

MIN_CHUNKED_BYTES = 1024
"""Below this size, what a chunk costs beside its data is more than compression saves."""
MAX_CHUNK_BYTES = 1 << 20
_BEST_CHUNK_BYTES = 1 << 19
_MAX_SHAPES_TRIED = 10_000  # takes some ten ms, once per shape; three axes need less than a tenth


@lru_cache(maxsize=256)
def chunk_shape(shape: tuple[int, ...], itemsize_bytes: int) -> tuple[int, ...]:
    """Returns the shape of chunks for an array, which depends on nothing else.

    Arrays of up to 1 MiB are one chunk. Chunks of larger ones have up to 1 MiB, best half of that:
    then little else is read with a part of a frame, and every thread has something to do. Their
    edges are about as long as one another, and they fill the array with little left over: HDF5
    stores whole chunks, also where they reach beyond the edge of the array.
    """
    if math.prod(shape) * itemsize_bytes <= MAX_CHUNK_BYTES:
        return shape
    best = _best_edges(shape, itemsize_bytes)
    cut_axes = sum(edge < size for edge, size in zip(best, shape, strict=True))
    tries = int(_MAX_SHAPES_TRIED ** (1 / cut_axes))
    if tries < 2:
        return _halved(shape, itemsize_bytes)
    choices = [_edges_to_try(*axis, tries) for axis in zip(shape, best, strict=True)]
    fitting = [
        chunk
        for chunk in itertools.product(*choices)
        if math.prod(chunk) * itemsize_bytes <= MAX_CHUNK_BYTES
    ]
    if not fitting:
        return _halved(shape, itemsize_bytes)
    # Of equal ones that which cuts the first axes, and leaves what lies together in memory.
    return min(fitting, key=lambda chunk: (_badness(chunk, shape, itemsize_bytes), chunk))


@lru_cache(maxsize=256)
def creation_properties(
    shape: tuple[int, ...], itemsize_bytes: int, compression: Compression
) -> Any:
    """Returns the dataset creation property list for an array of numbers, chunked if compressed."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    # Modification times would make equal files differ, and cost bytes in every frame.
    properties.set_obj_track_times(False)
    if compression is not None:
        properties.set_chunk(chunk_shape(shape, itemsize_bytes))
        properties.set_shuffle()
        properties.set_deflate(LEVELS[compression])
    return properties


def _best_edges(shape: tuple[int, ...], itemsize_bytes: int) -> list[float]:
    """Returns the edges of a cube of the best size; axes that are shorter than it stay whole."""
    edges = [0.0] * len(shape)
    room = _BEST_CHUNK_BYTES / itemsize_bytes
    by_size = sorted(range(len(shape)), key=shape.__getitem__)
    for done, axis in enumerate(by_size):
        edges[axis] = min(float(shape[axis]), room ** (1 / (len(shape) - done)))
        room /= edges[axis]
    return edges


def _edges_to_try(size: int, edge: float, tries: int) -> list[int]:
    """Returns edges that cut an axis into equal pieces, up to about 2.5 times as many or few."""
    steps = sorted(range(-4, 5), key=abs)  # the best one first
    counts = [min(max(round(size / edge * 2 ** (step / 3)), 1), size) for step in steps]
    return list(dict.fromkeys(-(-size // count) for count in counts))[:tries]


def _badness(chunk: tuple[int, ...], shape: tuple[int, ...], itemsize_bytes: int) -> float:
    """Returns how far chunks are from the best; 2.5 % left over is as bad as four times as long."""
    left_over = math.prod(-(-n // c) * c / n for n, c in zip(shape, chunk, strict=True)) - 1
    shortest = min(c for n, c in zip(shape, chunk, strict=True) if c < n)
    octaves = abs(math.log2(math.prod(chunk) * itemsize_bytes / _BEST_CHUNK_BYTES))
    return 40 * left_over + 0.5 * math.log2(max(chunk) / shortest) + 0.5 * octaves


def _halved(shape: tuple[int, ...], itemsize_bytes: int) -> tuple[int, ...]:
    """Returns chunks for arrays of very many axes: the longest edge is halved until they fit."""
    chunk = list(shape)
    while math.prod(chunk) * itemsize_bytes > MAX_CHUNK_BYTES:
        longest = chunk.index(max(chunk))
        chunk[longest] = -(-chunk[longest] // 2)
    return tuple(chunk)
