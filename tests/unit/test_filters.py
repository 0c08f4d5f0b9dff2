"""Chunk shapes and filter pipelines: only what every HDF5 library has built in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from h5scene.format.filters import chunk_shape, creation_properties

MIB = 1 << 20


@given(
    st.lists(st.integers(1, 5000), max_size=5),
    st.sampled_from([1, 2, 4, 8, 16]),
)
@example([281] * 5, 8)
@settings(deadline=None, max_examples=100)
def test_chunks_cover_the_array_and_are_at_most_one_mebibyte(
    sizes: list[int], itemsize_bytes: int
) -> None:
    shape = tuple(sizes)
    chunk = chunk_shape(shape, itemsize_bytes)
    size_bytes = itemsize_bytes * math.prod(chunk)
    assert size_bytes <= MIB
    assert all(1 <= part <= size for part, size in zip(chunk, shape, strict=True))
    if itemsize_bytes * math.prod(shape) <= MIB:
        assert chunk == shape
    else:
        assert size_bytes > MIB // 32


@given(st.integers(100, 3000), st.integers(100, 3000), st.integers(1, 3))
@settings(deadline=None, max_examples=100)
def test_little_is_left_over_at_the_edges(width: int, height: int, components: int) -> None:
    shape = (width, height, components)
    chunk = chunk_shape(shape, 4)
    stored = math.prod(-(-n // c) * c for n, c in zip(shape, chunk, strict=True))
    assert stored <= 1.03 * math.prod(shape)


@pytest.mark.parametrize(
    ("shape", "itemsize_bytes", "chunk"),
    [
        ((), 8, ()),
        ((512, 512), 4, (512, 512)),
        ((512, 512, 2), 4, (256, 256, 2)),
        ((128, 128, 128, 3), 4, (32, 32, 32, 3)),
        # A staggered grid has one entry more: powers of two would leave 7 % over.
        ((129, 129, 129, 3), 4, (43, 43, 43, 3)),
        ((65, 65, 65, 3), 4, (13, 65, 65, 3)),
        ((1 << 20,), 8, (1 << 16,)),
        ((1 << 40, 2), 1, (1 << 18, 2)),
        ((10**9, 10**9, 10**9), 8, (41, 41, 41)),
    ],
)
def test_chunk_shape(shape: Any, itemsize_bytes: int, chunk: Any) -> None:
    assert chunk_shape(shape, itemsize_bytes) == chunk


def test_arrays_of_very_many_axes_have_chunks() -> None:
    chunk = chunk_shape((2,) * 30, 4)
    assert MIB // 2 <= 4 * math.prod(chunk) <= MIB


@pytest.mark.parametrize(("compression", "level"), [("fast", 1), ("small", 9)])
def test_pipeline(tmp_path: Path, compression: Any, level: int) -> None:
    properties = creation_properties((100, 7), 4, compression)
    with h5py.File(tmp_path / "plain.h5", "w", libver=("v108", "v110")) as file:
        space = h5py.h5s.create_simple((100, 7))
        kind = h5py.h5t.py_create(np.dtype("f4"))
        h5py.h5d.create(file.id, b"d", kind, space, dcpl=properties)
        assert (file["d"].chunks, file["d"].shuffle) == ((100, 7), True)
        assert (file["d"].compression, file["d"].compression_opts) == ("gzip", level)


def test_without_compression_all_arrays_are_contiguous() -> None:
    assert creation_properties((1000, 1000), 8, None).get_layout() == h5py.h5d.CONTIGUOUS


def test_nothing_says_when_it_was_written() -> None:
    assert not creation_properties((10,), 4, "fast").get_obj_track_times()
    assert not creation_properties((10_000,), 4, None).get_obj_track_times()
