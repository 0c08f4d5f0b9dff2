"""Chunk shapes and filter pipelines: only what every HDF5 library has built in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h5scene.format.filters import chunk_shape, creation_properties

MIB = 1 << 20


@given(
    st.lists(st.integers(1, 5000), max_size=5).map(tuple),
    st.sampled_from([1, 2, 4, 8, 16]),
)
@settings(deadline=None, max_examples=300)
def test_chunks_cover_the_array_and_are_at_most_one_mebibyte(
    shape: tuple[int, ...], itemsize_bytes: int
) -> None:
    chunk = chunk_shape(shape, itemsize_bytes)
    size_bytes = itemsize_bytes * int(np.prod(chunk, dtype=object))
    assert size_bytes <= MIB
    assert all(1 <= part <= size for part, size in zip(chunk, shape, strict=True))
    if itemsize_bytes * int(np.prod(shape, dtype=object)) <= MIB:
        assert chunk == shape
    else:
        assert size_bytes > MIB // 8


@pytest.mark.parametrize(
    ("shape", "itemsize_bytes", "chunk"),
    [
        ((), 8, ()),
        ((512, 512), 4, (512, 512)),
        ((512, 513), 4, (512, 257)),
        ((128, 128, 128, 3), 4, (64, 64, 64, 1)),
        ((1 << 20,), 8, (1 << 17,)),
        ((1 << 40, 2), 1, (1 << 19, 2)),
    ],
)
def test_chunk_shape(shape: Any, itemsize_bytes: int, chunk: Any) -> None:
    found = chunk_shape(shape, itemsize_bytes)
    if len(shape) == 4:  # which of the equal axes is cut first does not matter
        assert max(found[:3]) == 2 * min(found[:3]) or len(set(found[:3])) == 1
    else:
        assert found == chunk


def created(tmp_path: Path, shape: tuple[int, ...], dtype: Any, compression: Any) -> Any:
    properties = creation_properties(shape, np.dtype(dtype).itemsize, compression)
    with h5py.File(tmp_path / "plain.h5", "w", libver=("v108", "v110")) as file:
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(file.id, b"d", h5py.h5t.py_create(np.dtype(dtype)), space, dcpl=properties)
        dataset = file["d"]
        filters = [
            dataset.id.get_create_plist().get_filter(i)[0]
            for i in range(dataset.id.get_create_plist().get_nfilters())
        ]
        return dataset.chunks, filters, dataset.compression_opts


def test_small_arrays_are_contiguous(tmp_path: Path) -> None:
    assert created(tmp_path, (511,), "f4", "fast") == (None, [], None)
    assert created(tmp_path, (), "f4", "fast") == (None, [], None)
    assert created(tmp_path, (0, 1000), "f4", "fast") == (None, [], None)
    shuffle_deflate = [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]
    assert created(tmp_path, (512,), "f4", "fast") == ((512,), shuffle_deflate, 1)
    assert created(tmp_path, (512,), "f4", "small") == ((512,), shuffle_deflate, 9)
    assert created(tmp_path, (1024,), "f2", "fast")[1] == shuffle_deflate


def test_without_compression_all_arrays_are_contiguous(tmp_path: Path) -> None:
    assert created(tmp_path, (1000, 1000), "f8", None) == (None, [], None)


def test_nothing_says_when_it_was_written(tmp_path: Path) -> None:
    assert not creation_properties((10,), 4, "fast").get_obj_track_times()
    assert not creation_properties((10_000,), 4, "fast").get_obj_track_times()
