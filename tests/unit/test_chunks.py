"""Arrays as datasets and back: one content, whoever compressed it and whoever reads it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h5scene.errors import CorruptDataError
from h5scene.format import checksums, chunks, deflate
from h5scene.format.chunks import write_array
from h5scene.format.filters import chunk_shape
from h5scene.format.readings import read_array
from h5scene.store.access import TRUSTED, Access
from h5scene.store.datasets import check_dataset
from tests.strategies import DTYPES

SHUFFLE_DEFLATE = [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]
LARGE = (65, 65, 65, 3)
"""Some chunks, with a rest at the edges in float64."""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[h5py.File]:
    with h5py.File(tmp_path / "plain.h5", "w", libver=("v108", "v110")) as file:
        yield file


@pytest.fixture(params=["isal and deflate", "isal", "deflate", "zlib"])
def libraries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Hides libraries that need not be installed."""
    if "isal" not in request.param:
        monkeypatch.setattr(deflate, "isal_zlib", None)
        monkeypatch.setattr(deflate, "igzip_lib", None)
    if "deflate" not in request.param:
        monkeypatch.setattr(deflate, "libdeflate", None)
    return str(request.param)


def smooth(shape: tuple[int, ...], dtype: Any = "f4") -> Any:
    """Returns values whose first bytes shrink and whose last bytes do not."""
    rng = np.random.default_rng(0)
    return (1 + 0.1 * rng.standard_normal(shape)).astype(dtype)


def noise(shape: tuple[int, ...], dtype: Any = "f4") -> Any:
    """Returns values that do not shrink at all."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(np.random.default_rng(1).bytes(count), dtype).reshape(shape)


class BesideHDF5(Access):
    """The bytes of a file that plain h5py has open."""

    @property
    def read_stored(self) -> Any:
        return self.stored.read_stored if self.stored else None


class Stored:
    is_writing = False

    def __init__(self, file: h5py.File):
        file.flush()
        self.path = Path(file.filename)

    def read_stored(self, view: memoryview, offset: int) -> None:
        with self.path.open("rb") as file:
            file.seek(offset)
            assert file.readinto(view) == len(view)


def read(dataset: h5py.Dataset, region: Any = None, workers: int = 2) -> Any:
    """Returns what is read, with chunks that HDF5 gives and with bytes of the file."""
    by_hdf5 = read_array(check_dataset(dataset.id, TRUSTED), region, workers=workers)
    if dataset.file.driver != "core":  # which has no file
        access = BesideHDF5(TRUSTED.policy, Stored(dataset.file))
        beside = read_array(check_dataset(dataset.id, access), region, workers=workers)
        assert by_hdf5.dtype == beside.dtype
        assert by_hdf5.shape == beside.shape
        assert by_hdf5.tobytes() == beside.tobytes()
    return by_hdf5


def same(found: Any, expected: Any) -> bool:
    """Whether two arrays have the same bits, in the byte order of this machine."""
    native = expected.astype(expected.dtype.newbyteorder("="))
    return bool(
        found.dtype == native.dtype
        and found.shape == native.shape
        and found.tobytes() == native.tobytes()
    )


def filters(dataset: h5py.Dataset) -> list[int]:
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


def masks(dataset: h5py.Dataset) -> set[int]:
    """Returns the filter masks of all chunks."""
    return {dataset.id.get_chunk_info(i).filter_mask for i in range(dataset.id.get_num_chunks())}


# --- one content ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(700,), (150, 170), LARGE], ids=str)
@pytest.mark.parametrize("compression", ["fast", "small", None])
def test_content_does_not_depend_on_the_libraries(
    file: h5py.File, libraries: str, shape: tuple[int, ...], compression: Any
) -> None:
    values = smooth(shape)
    write_array(file, "d", values, compression, workers=2)
    assert same(file["d"][...], values)  # by HDF5's own filters
    assert same(read(file["d"]), values)
    assert filters(file["d"]) == ([] if compression is None else SHUFFLE_DEFLATE)


@pytest.mark.parametrize("options", [{}, {"chunks": True}, {"chunks": (7, 9)}], ids=str)
@pytest.mark.parametrize(
    "pipeline",
    [
        {},
        {"shuffle": True},
        {"compression": "gzip"},
        {"compression": "gzip", "compression_opts": 9, "shuffle": True},
        {"compression": "gzip", "shuffle": True, "fletcher32": True},
        {"compression": "lzf", "shuffle": True},
        {"scaleoffset": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["<i4", ">i4", "<f8", ">f8", "u1"])
def test_what_plain_h5py_wrote_is_read(
    file: h5py.File, libraries: str, options: Any, pipeline: Any, dtype: str
) -> None:
    if "scaleoffset" in pipeline and "f" in dtype:
        pytest.skip("rounds floats")
    values = np.arange(60 * 71).reshape(60, 71).astype(dtype)
    dataset = file.create_dataset("d", data=values, **options, **pipeline)
    assert same(read(dataset), values)
    assert same(read(dataset, (slice(3, 50, 4), slice(10, 71))), values[3:50:4, 10:71])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("make", [smooth, noise])
def test_every_dtype_in_many_chunks(file: h5py.File, dtype: np.dtype[Any], make: Any) -> None:
    shape = (3, 1500, 400)
    values = make(shape, dtype) if dtype.kind != "b" else noise(shape, "u1") % 2 == 0
    write_array(file, "d", values, "fast", workers=3)
    assert file["d"].dtype == dtype
    assert same(file["d"][...], values)
    assert same(read(file["d"], workers=3), values)
    region = (slice(1, 2), slice(3, None, 7), slice(100, 300))
    assert same(read(file["d"], region, workers=1), values[region])


@pytest.mark.parametrize("dtype", [">f4", ">c16", ">i2", ">u8"])
def test_foreign_byte_order_is_stored_as_it_is(file: h5py.File, dtype: str) -> None:
    values = smooth((300, 400), "f8").astype(dtype)
    write_array(file, "d", values, "fast", workers=1)
    assert file["d"].dtype == np.dtype(dtype)
    assert file["d"][...].tobytes() == values.tobytes()
    assert same(read(file["d"]), values)


def test_where_the_values_lie_in_memory_does_not_matter(file: h5py.File) -> None:
    values = smooth((700, 900))
    for name, given_values in {
        "transposed": np.ascontiguousarray(values.T).T,
        "strided": np.repeat(values, 2, axis=1)[:, ::2],
        "reversed": np.ascontiguousarray(values[::-1, ::-1])[::-1, ::-1],
        "broadcast": np.broadcast_to(values[0], values.shape),
        "read-only": np.frombuffer(values.tobytes(), "f4").reshape(values.shape),
    }.items():
        write_array(file, name, given_values, "fast", workers=2)
        assert same(file[name][...], np.ascontiguousarray(given_values)), name


@pytest.mark.skipif(shutil.which("h5dump") is None, reason="h5dump is not installed")
def test_h5dump_reads_it(tmp_path: Path) -> None:
    values = np.arange(2000, dtype="i4")
    with h5py.File(tmp_path / "plain.h5", "w", libver=("v108", "v110")) as file:
        write_array(file, "d", values, "fast", workers=1)
        write_array(file, "e", np.tile(values, (300, 1)), "fast", workers=2)
    for name, count in (("d", 1), ("e", 300)):
        command = ["h5dump", "-d", name, "-y", "-w", "0", str(tmp_path / "plain.h5")]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        numbers = text.partition("DATA {")[2].partition("}")[0].replace(",", " ").split()
        assert [int(number) for number in numbers] == values.tolist() * count


@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=4).map(tuple),
    dtype=st.sampled_from(DTYPES),
    data=st.data(),
)
@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_regions(monkeypatch: Any, shape: tuple[int, ...], dtype: Any, data: Any) -> None:
    values = noise(shape, dtype) if dtype.kind != "b" else noise(shape, "u1") < 99
    chunk = tuple(data.draw(st.integers(1, size)) for size in shape)
    region = tuple(
        data.draw(st.builds(slice, *[st.none() | st.integers(-45, 45)] * 2, st.integers(1, 9)))
        for _ in shape
    )
    gzip = data.draw(st.sampled_from([None, "gzip"]))
    with h5py.File("unused", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset(
            "d", data=values, chunks=chunk, compression=gzip, shuffle=data.draw(st.booleans())
        )
        assert same(read(dataset, region, data.draw(st.integers(1, 3))), values[region])


def test_libraries_need_not_be_installed(tmp_path: Path) -> None:
    """Files of a process without them are read by one with them, and back."""
    program = """
import sys
sys.modules["isal"] = sys.modules["deflate"] = None
import h5py, numpy as np
from h5scene.format import deflate
from h5scene.format.chunks import write_array
from h5scene.format.readings import read_array
from h5scene.store.datasets import check_dataset
assert (deflate.isal_zlib, deflate.igzip_lib, deflate.libdeflate) == (None, None, None)
with h5py.File(sys.argv[1], "r+") as file:
    values = read_array(check_dataset(file["d"].id), workers=2)
    write_array(file, "e", values, "fast", workers=2)
"""
    path = tmp_path / "plain.h5"
    values = smooth(LARGE)
    with h5py.File(path, "w", libver=("v108", "v110")) as file:
        write_array(file, "d", values, "fast", workers=2)
    command = [sys.executable, "-W", "error", "-c", program, str(path)]
    subprocess.run(command, check=True, timeout=120)
    with h5py.File(path) as file:
        assert same(read(file["e"]), values)
        assert same(file["e"][...], values)


# --- what is worth compressing --------------------------------------------------------------------


def test_small_datasets_are_contiguous_where_that_is_smaller(file: h5py.File) -> None:
    write_array(file, "tiny", np.zeros(100, "f4"), "fast", workers=1)
    write_array(file, "noise", noise((50, 60)), "fast", workers=1)
    write_array(file, "zeros", np.zeros((50, 60), "f4"), "fast", workers=1)
    assert file["tiny"].chunks is None
    assert file["noise"].chunks is None
    assert file["zeros"].chunks == (50, 60)


def test_noise_is_stored_as_it_is(file: h5py.File) -> None:
    values = noise((1000, 1000))
    write_array(file, "d", values, "fast", workers=2)
    assert masks(file["d"]) == {0b11}
    assert file["d"].id.get_storage_size() < 1.01 * values.nbytes
    assert same(file["d"][...], values)
    assert same(read(file["d"]), values)


def test_chunks_of_one_dataset_are_judged_one_by_one(file: h5py.File) -> None:
    values = noise((1024, 1024), "f4").copy()
    values[512:] = 0
    write_array(file, "d", values, "fast", workers=2)
    assert masks(file["d"]) == {0, 0b11}
    assert file["d"].id.get_storage_size() < 0.51 * values.nbytes
    assert same(file["d"][...], values)
    assert same(read(file["d"]), values)


def test_bytes_that_are_noise_do_not_keep_others_from_shrinking(file: h5py.File) -> None:
    """What zlib makes of all bytes alike is no smaller."""
    values = smooth((500, 500))
    write_array(file, "d", values, "fast", workers=1)
    chunk = values[tuple(map(slice, file["d"].chunks))]
    shuffled = chunk.view("u1").reshape(-1, 4).T.tobytes()
    stored = file["d"].id.get_chunk_info(0).size
    assert stored < 1.02 * len(zlib.compress(shuffled, 1)) < 0.95 * chunk.nbytes


@pytest.mark.parametrize("period", [1, 100, 700])
def test_repetitions_are_found_where_all_bytes_are_equally_frequent(
    file: h5py.File, period: int
) -> None:
    values = np.tile(noise((period,), "u4"), 200_000 // period)
    write_array(file, "d", values, "fast", workers=1)
    assert file["d"].id.get_storage_size() < 0.5 * values.nbytes


def test_small_is_smaller(file: h5py.File) -> None:
    values = np.cumsum(smooth((300, 400)), axis=0, dtype="f4")
    for effort in ("fast", "small"):
        write_array(file, effort, values, effort, workers=1)
    small, fast = (file[effort].id.get_storage_size() for effort in ("small", "fast"))
    assert small < fast < values.nbytes


def test_files_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    contents = set()
    for workers in (1, 2, 5):
        path = tmp_path / f"{workers}.h5"
        with h5py.File(path, "w", libver=("v108", "v110")) as file:
            write_array(file, "d", smooth(LARGE), "fast", workers=workers)
        contents.add(path.read_bytes())
    assert len(contents) == 1


# --- partial reads --------------------------------------------------------------------------------


class Spy:
    """A dataset that notes which chunks are read."""

    def __init__(self, dataset: Any):
        self._dataset = dataset
        self.corners: list[tuple[int, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def read_direct_chunk(self, corner: tuple[int, ...]) -> Any:
        self.corners.append(corner)
        return self._dataset.read_direct_chunk(corner)


def test_only_chunks_that_are_needed_are_read(file: h5py.File) -> None:
    values = np.arange(1000.0).reshape(10, 100)
    dataset = file.create_dataset("d", data=values, chunks=(5, 10), compression="gzip")
    for region, corners in [
        ((slice(5, 10), slice(20, 30)), [(5, 20)]),
        ((slice(4, 6), slice(29, 31)), [(0, 20), (0, 30), (5, 20), (5, 30)]),
        ((slice(0, 1), slice(5, 100, 30)), [(0, 0), (0, 30), (0, 60), (0, 90)]),
        ((slice(3, 3), slice(None)), []),
    ]:
        spy = Spy(dataset.id)
        found = read_array(check_dataset(spy), region, workers=2)
        assert (spy.corners, found.tolist()) == (corners, values[region].tolist())


def test_chunks_that_were_never_written_are_fill_value(file: h5py.File) -> None:
    dataset = file.create_dataset("d", (20, 20), "f4", chunks=(5, 5), fillvalue=3, compression=1)
    dataset[5:10, 5:10] = 1
    assert same(read(dataset), dataset[...])
    part = (slice(4, 12), slice(0, 20, 3))
    assert same(read(dataset, part), dataset[...][part])


# --- damage ---------------------------------------------------------------------------------------


@pytest.fixture
def dataset(file: h5py.File, libraries: str) -> h5py.Dataset:
    """One that is chunked and compressed, to be damaged."""
    write_array(file, "d", smooth((600, 700)), "fast", workers=1)
    return file["d"]


def replace_chunk(dataset: h5py.Dataset, data: bytes, mask: int = 0) -> None:
    dataset.id.write_direct_chunk((0, 0), data, mask)


def chunk_bytes(dataset: h5py.Dataset) -> int:
    return int(np.prod(dataset.chunks)) * dataset.dtype.itemsize


@pytest.mark.parametrize(
    "damage",
    {
        "cut": lambda data, size: data[:-100],
        "without checksum": lambda data, size: data[:-4],
        "empty": lambda data, size: b"",
        "zeros": lambda data, size: bytes(1000),
        "wrong checksum": lambda data, size: data[:-1] + bytes([data[-1] ^ 1]),
        "too short": lambda data, size: zlib.compress(bytes(size - 1)),
        "too long": lambda data, size: zlib.compress(bytes(size + 1)),
        "a bomb": lambda data, size: zlib.compress(bytes(100 * size)),
        "another container": lambda data, size: zlib.compress(bytes(size))[2:-4],
    }.items(),
    ids=lambda item: item[0],
)
def test_damaged_chunks_are_refused(dataset: h5py.Dataset, damage: Any) -> None:
    size = chunk_bytes(dataset)
    data = damage[1](dataset.id.read_direct_chunk((0, 0))[1], size)
    if not data:
        pytest.skip("HDF5 does not store a chunk without bytes")
    replace_chunk(dataset, data)
    for workers in (1, 2):
        with pytest.raises(CorruptDataError, match="a chunk of /d is damaged"):
            read(dataset, workers=workers)


@pytest.mark.parametrize("mask", [0b10, 0b11])
def test_unfiltered_chunks_of_a_wrong_size_are_refused(dataset: h5py.Dataset, mask: int) -> None:
    for size in (chunk_bytes(dataset) - 1, chunk_bytes(dataset) + 1):
        replace_chunk(dataset, bytes(size), mask)
        with pytest.raises(CorruptDataError, match=f"{size} bytes instead of"):
            read(dataset)


def test_chunks_without_one_of_the_filters_are_read(dataset: h5py.Dataset) -> None:
    """As other programs may write them."""
    chunk = dataset[tuple(map(slice, dataset.chunks))]
    shuffled = chunk.view("u1").reshape(-1, 4).T.tobytes()
    for mask, data in ((0b01, zlib.compress(chunk.tobytes())), (0b10, shuffled)):
        replace_chunk(dataset, data, mask)
        assert same(read(dataset, tuple(map(slice, dataset.chunks))), chunk)


def test_a_chunk_that_is_far_too_large_is_not_read(dataset: h5py.Dataset) -> None:
    replace_chunk(dataset, bytes(3 * chunk_bytes(dataset)))
    with pytest.raises(CorruptDataError, match="it takes"):
        read(dataset)


@pytest.mark.parametrize("chunked", [True, None])
def test_sizes_that_the_file_cannot_hold_are_refused(file: h5py.File, chunked: Any) -> None:
    """No memory is taken for them."""
    shape = (1 << 20, 1 << 20)
    dataset = file.create_dataset("d", shape, "f8", chunks=(256, 256) if chunked else None)
    with pytest.raises(CorruptDataError, match="says that it has 8796093022208 bytes"):
        check_dataset(dataset.id)


# --- threads --------------------------------------------------------------------------------------


def test_hdf5_is_used_by_the_calling_thread_alone(
    file: h5py.File, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers: set[int] = set()
    packers: set[int] = set()

    class Dataset:
        def __init__(self, dataset: Any):
            self._dataset = dataset

        def write_direct_chunk(self, *args: Any) -> None:
            callers.add(threading.get_ident())
            self._dataset.write_direct_chunk(*args)

    create, shuffled = chunks.create_array, chunks.shuffled
    monkeypatch.setattr(chunks, "create_array", lambda *args: Dataset(create(*args)))
    monkeypatch.setattr(checksums, "write_checksum", lambda *args: None)

    def noted(values: Any) -> Any:
        packers.add(threading.get_ident())
        return shuffled(values)

    monkeypatch.setattr(chunks, "shuffled", noted)
    write_array(file, "d", smooth((1500, 1500)), "fast", workers=3)
    assert callers == {threading.get_ident()}
    assert threading.get_ident() not in packers


def test_an_error_in_a_thread_reaches_the_caller(
    file: h5py.File, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(values: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(chunks, "shuffled", fail)
    with pytest.raises(MemoryError, match="no room"):
        write_array(file, "d", smooth((1500, 1500)), "fast", workers=3)


def test_chunks_in_memory_are_few(file: h5py.File, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, and however slowly they are written."""
    packed = [0]
    most = [0]
    create, pack = chunks.create_array, chunks.packed_chunk

    class Dataset:
        def write_direct_chunk(self, corner: Any, *_: Any) -> None:
            most[0] = max(most[0], packed[0])
            packed[0] -= 1

    def counted(*args: Any) -> Any:
        packed[0] += 1
        return pack(*args)

    monkeypatch.setattr(chunks, "create_array", lambda *args: Dataset())
    monkeypatch.setattr(checksums, "write_checksum", lambda *args: None)
    monkeypatch.setattr(chunks, "packed_chunk", counted)
    values = smooth((3000, 1000))
    assert np.prod(values.shape) / np.prod(chunk_shape(values.shape, 4)) > 10
    write_array(file, "d", values, "fast", workers=2)
    assert most[0] <= 4
    assert create
