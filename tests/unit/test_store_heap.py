import struct
from typing import Any

import pytest

from h5scene.errors import CorruptDataError
from h5scene.store import create_store
from h5scene.store.heap import HEAP_START, check_heap


def heap(*objects: tuple[int, int], size: int = 4096) -> memoryview:
    """Returns a collection of objects, given by number and length."""
    data = HEAP_START + struct.pack("<Q", size)
    for index, byte_count in objects:
        data += struct.pack("<HH4xQ", index, 1, byte_count)
        data += bytes(byte_count + -byte_count % 8) if index else b""
    return memoryview(data.ljust(4096, b"\0"))


def test_heaps_that_hdf5_makes() -> None:
    check_heap(heap((1, 5), (2, 0), (3, 16), (0, 4096 - 16 - 24 - 16 - 32)), "f")
    check_heap(heap((1, 100_000), size=200_000)[:4096], "f")  # its beginning, which is read first


@pytest.mark.parametrize(
    "damaged",
    [
        heap((1, 5), (0, 0)),
        heap((1, 5), (0, 8)),
        heap((1, 5), (0, 1 << 40)),
        heap((1, 1 << 12))[:4096],
        heap(size=0),
    ],
    ids=["endless", "too short", "too long", "object too long", "no size"],
)
def test_heaps_that_end_nowhere(damaged: memoryview) -> None:
    with pytest.raises(CorruptDataError, match="heap"):
        check_heap(damaged, "f")


def test_a_file_over_which_hdf5_would_go_round(tmp_path: Any) -> None:
    """Found by tools/fuzz: a lost sector in the heap of strings."""
    store = create_store(tmp_path / "runs.h5", lambda h5: h5.attrs.update(a="text", b="more"))
    store.close()
    path = tmp_path / "runs.h5"
    data = bytearray(path.read_bytes())
    start = data.index(b"GCOL")
    first = struct.unpack_from("<Q", data, start + 24)[0]
    second = start + 16 + 16 + first + -first % 8
    data[second : start + 4096] = bytes(start + 4096 - second)
    path.write_bytes(data)
    with pytest.raises(CorruptDataError, match="heap"):
        store.read(lambda h5: h5.attrs["a"])


@pytest.mark.parametrize("byte_count", [8, 24, 4104])
def test_numbers_that_begin_like_a_heap(byte_count: int) -> None:
    """HDF5 asks for the first 4,096 bytes of a heap, and then for all of it."""
    numbers = HEAP_START + (7).to_bytes(8, "little") + bytes(byte_count)
    check_heap(memoryview(numbers[:byte_count]), "f")


def test_data_that_look_like_a_heap_are_data(tmp_path: Any) -> None:
    store = create_store(tmp_path / "runs.h5", lambda h5: None)
    with store.transaction() as h5:
        h5["d"] = list(b"GCOL is how a heap begins" * 200)
    assert store.read(lambda h5: bytes(h5["d"][...].astype("u1")))[:4] == b"GCOL"
