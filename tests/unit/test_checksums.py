import struct
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import SceneFile
from h5scene.errors import CorruptDataError, H5SceneError
from h5scene.format import checksums
from h5scene.format.chunks import write_array
from h5scene.format.readings import read_array
from h5scene.store.datasets import check_dataset
from tests.records import centered


@pytest.fixture
def h5(tmp_path: Path) -> Any:
    with h5py.File(tmp_path / "plain.h5", "w", libver=("v108", "v110")) as file:
        yield file


def read(dataset: h5py.Dataset) -> Any:
    return read_array(check_dataset(dataset.id), workers=1)


def by_the_document(name: str, dataset: h5py.Dataset) -> int:
    """The checksum as FORMAT.md describes it."""

    def text(numbers: Any) -> bytes:
        return ",".join(map(str, numbers)).encode()

    data = name.encode() + b"\0" + dataset.dtype.str.encode() + b"\0" + text(dataset.shape) + b"\0"
    if dataset.chunks is None:
        raw = dataset[...].tobytes()
        pieces = struct.pack("<II", 0, zlib.crc32(raw)) if raw else b""
    else:
        data += text(dataset.chunks) + b"\0" + b"2,1"
        pieces = b""
        infos = [dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks())]
        for info in sorted(infos, key=lambda info: info.chunk_offset):
            raw = dataset.id.read_direct_chunk(info.chunk_offset)[1]
            pieces += struct.pack("<II", info.filter_mask, zlib.crc32(raw))
    return zlib.crc32(data + b"\0" + pieces)


@pytest.mark.parametrize("compression", ["fast", "small", None])
@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "?", "u1", "i8", ">f4"])
@pytest.mark.parametrize("shape", [(), (0, 3), (4, 4), (60, 71), (700, 900)], ids=str)
def test_the_checksum_is_that_of_the_document(
    h5: h5py.File, shape: Any, dtype: str, compression: Any
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    for name, label in (("000042", "000042"), ("values", "")):
        write_array(h5, name, values, compression, workers=2)
        assert h5[name].attrs["checksum"] == by_the_document(label, h5[name])
        assert np.array_equal(read(h5[name]), values)


def spoil(dataset: h5py.Dataset) -> None:
    """Changes one number in the file."""
    with Path(dataset.file.filename).open("r+b") as file:
        at = dataset.id.get_offset()
        if at is None:
            at = dataset.id.get_chunk_info(0).byte_offset
        dataset.file.flush()
        file.seek(at + 40)
        byte = file.read(1)
        file.seek(at + 40)
        file.write(bytes([byte[0] ^ 16]))


@pytest.mark.parametrize("compression", ["fast", None])
def test_a_changed_number_is_noticed(h5: h5py.File, tmp_path: Path, compression: Any) -> None:
    write_array(h5, "000001", np.linspace(0, 1, 2000), compression, workers=1)
    spoil(h5["000001"])
    path = h5.filename
    h5.close()
    with h5py.File(path) as file:
        with pytest.raises(CorruptDataError, match="000001"):
            read(file["000001"])
        if compression is None:
            assert file["000001"][...].shape == (2000,)  # plain HDF5 says nothing


def test_chunks_in_each_others_places_are_noticed(h5: h5py.File) -> None:
    values = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)
    write_array(h5, "d", values, "fast", workers=1)
    dataset = h5["d"].id
    corners = [dataset.get_chunk_info(i).chunk_offset for i in range(2)]
    chunks = [dataset.read_direct_chunk(corner)[1] for corner in corners]
    for corner, chunk in zip(corners, reversed(chunks), strict=True):
        dataset.write_direct_chunk(corner, chunk)
    with pytest.raises(CorruptDataError, match="checksum"):
        read(h5["d"])


def test_a_frame_under_the_name_of_another_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "runs.h5"
    with SceneFile(path) as file:
        file.create_scene("s")
        for frame in range(2):
            file.write_frame(frame, {"s": {"smoke": centered(float(frame))}})
    with h5py.File(path, "r+") as h5:
        field = h5["s/smoke"]
        del field["000001"]
        field["000001"] = field["000000"]
    with SceneFile(path) as file:
        assert file.read_frame("s", "smoke", 0) == centered(0.0)
        with pytest.raises(CorruptDataError, match="on purpose, remove that attribute"):
            file.read_frame("s", "smoke", 1)
    with h5py.File(path, "r+") as h5:  # as the message says
        del h5["s/smoke/000001"].attrs["checksum"]
    with SceneFile(path) as file:
        assert file.read_frame("s", "smoke", 1) == centered(0.0)


@pytest.mark.parametrize("checksum", [np.uint32(0), "text", np.zeros(3), np.int64(-1)], ids=str)
def test_a_checksum_that_is_none(h5: h5py.File, checksum: Any) -> None:
    write_array(h5, "d", np.zeros((4, 4)), None, workers=1)
    h5["d"].attrs["checksum"] = checksum
    with pytest.raises(CorruptDataError, match="checksum"):
        read(h5["d"])


def test_every_part_of_a_description_counts() -> None:
    attributes: dict[str, Any] = {
        "field_type": "CenteredGrid",
        "dims": "[]",
        "lower": np.zeros(2),
        "upper": np.ones(2),
        "boundary": "{}",
    }
    whole = checksums.description_checksum(attributes)
    assert whole == checksums.description_checksum({**attributes, "note": "not of it"})
    others = [{**attributes, name: "x"} for name in attributes]
    others += [{n: v for n, v in attributes.items() if n != name} for name in attributes]
    others += [{**attributes, "lower": np.zeros(2, np.float32)}, {**attributes, "lower": [[0, 0]]}]
    assert whole not in {checksums.description_checksum(other) for other in others}


def test_no_changed_byte_is_returned_as_data(tmp_path: Path) -> None:
    """Every byte of the numbers and of the heap with the descriptions, one after the other."""
    path, damaged = tmp_path / "runs.h5", tmp_path / "damaged.h5"
    record = centered(np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4))
    with SceneFile(path, compression=None) as file:
        file.create_scene("s")
        file.write_frame(0, {"s": {"smoke": record}})
        file.write_files({"s": {"a": b"some bytes"}})
    data = path.read_bytes()
    heap = data.index(b"GCOL")
    places = [
        data.index(stored) + i
        for stored in (record.values.tobytes(), b"some bytes")
        for i in range(len(stored))
    ]
    noticed = 0
    for place in [*places, *range(heap + 16, heap + 1200, 7)]:
        spoilt = bytearray(data)
        spoilt[place] ^= 1
        damaged.write_bytes(spoilt)
        try:
            with SceneFile(damaged, "r") as file:
                if file.has_scene("s") and "smoke" in file.fieldnames("s"):
                    assert file.read_frame("s", "smoke", 0) == record
                    assert file.read_file("s", "a") == b"some bytes"
        except H5SceneError:
            noticed += 1
    assert noticed >= len(places)
