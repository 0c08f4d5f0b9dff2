"""Arrays as HDF5 datasets and back, with the filters in our own threads.

HDF5 runs its filters in the calling thread, with zlib, on one chunk after the other. Here chunks
are shuffled and deflated beside it and handed over finished (`H5Dwrite_chunk`), and read the same
way. What stands in the file is what HDF5 itself would have made of it, but for the length.

Only the calling thread talks to HDF5.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.format import checksums, deflate
from h5scene.format.filters import (
    MIN_CHUNKED_BYTES,
    Compression,
    chunk_shape,
    creation_properties,
)
from h5scene.format.rounding import rounded
from h5scene.format.shuffle import shuffled, unshuffle
from h5scene.format.workers import in_order

if TYPE_CHECKING:
    from h5scene.record import Array

Slices: TypeAlias = Sequence[slice]

MAX_ITEM_BYTES = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}
"""Size of the largest number that can be stored, by its kind: long double differs by machine."""

# An array of one chunk must be shorter than its values by this, or inflating it is not worth it.
_MIN_SAVED_BYTES: dict[deflate.Effort, int] = {"fast": 256, "small": 64}
# A chunk that was stored with both filters left out, see `filter_mask` of H5Dwrite_chunk.
_NO_FILTERS = 0b11
# Where a file says that a frame without data has more than this, it is not ours.
_MAX_UNSTORED_BYTES = 1 << 20
# Less than this is read in the calling thread.
_MIN_SHARED_BYTES = 1 << 18
# A stream of data that do not shrink is a little longer than they are; other writers' may be more.
_MAX_GROWTH = 2


@dataclass(frozen=True)
class _Pipeline:
    """The filters of a dataset: the bit of each in a chunk's filter mask, 0 if it is not there.

    The bit is set in the mask of a chunk that was stored without this filter.
    """

    shuffle_bit: int = 0
    deflate_bit: int = 0

    def undoes_shuffle(self, filter_mask: int) -> bool:
        """Whether the bytes of a chunk are shuffled."""
        return bool(self.shuffle_bit & ~filter_mask)

    def undoes_deflate(self, filter_mask: int) -> bool:
        """Whether the bytes of a chunk are deflated."""
        return bool(self.deflate_bit & ~filter_mask)


_KNOWN_PIPELINES = {
    (): _Pipeline(),
    (h5py.h5z.FILTER_SHUFFLE,): _Pipeline(shuffle_bit=1),
    (h5py.h5z.FILTER_DEFLATE,): _Pipeline(deflate_bit=1),
    (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE): _Pipeline(1, 2),
}

# --- writing --------------------------------------------------------------------------------------


def write_array(
    group: h5py.Group,
    name: str,
    values: Array,
    compression: Compression,
    *,
    workers: int,
    digits: int | None = None,
) -> None:
    """Creates a dataset with these values, bit by bit unless they are to be rounded.

    Args:
        group: Where to create it.
        name: A name that is free.
        values: Numbers, wherever they lie in memory.
        compression: How hard to compress. Data that do not shrink are stored as they are.
        workers: Number of threads to compress with.
        digits: Number of decimal digits to keep; all of them by default.
    """
    shape = values.shape
    if compression is None or values.nbytes < MIN_CHUNKED_BYTES:
        _write_contiguous(group, name, values, digits)
        return
    chunk = chunk_shape(shape, values.dtype.itemsize)
    if chunk == shape:
        mask, data = packed_chunk(values, chunk, compression, digits)
        if mask or len(data) + _MIN_SAVED_BYTES[compression] > values.nbytes:
            _write_contiguous(group, name, values, digits)
        else:
            dataset = create_array(group, name, shape, values.dtype, compression)
            dataset.write_direct_chunk((0,) * len(shape), data)
            piece = checksums.summed(0, data)
            checksums.write_checksum(dataset, name, values, storage_of_chunks(chunk), piece)
        return

    dataset = create_array(group, name, shape, values.dtype, compression)
    fill_array(dataset, values, compression, name=name, workers=workers, digits=digits)


def fill_array(
    dataset: Any,
    values: Array,
    compression: Compression,
    *,
    name: str,
    workers: int,
    digits: int | None = None,
) -> None:
    """Writes the values of a dataset that `create_array` made, as `write_array` does."""
    if compression is None:
        piece = b""
        if values.size:
            values = values if digits is None else rounded(values, digits)
            values = np.asarray(values, order="C")
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
            piece = checksums.summed(0, values)
        checksums.write_checksum(dataset, name, values, b"", piece)
        return
    chunk = chunk_shape(values.shape, values.dtype.itemsize)

    def packed(corner: tuple[int, ...]) -> tuple[int, Any, bytes]:
        place = tuple(slice(start, start + n) for start, n in zip(corner, chunk, strict=True))
        mask, data = packed_chunk(values[place], chunk, compression, digits)
        return mask, data, checksums.summed(mask, data)

    steps = [range(0, size, step) for size, step in zip(values.shape, chunk, strict=True)]
    packed_chunks = in_order(packed, itertools.product(*steps), workers)
    pieces = bytearray()
    for corner, (mask, data, piece) in zip(itertools.product(*steps), packed_chunks, strict=True):
        dataset.write_direct_chunk(corner, data, mask)
        pieces += piece
    checksums.write_checksum(dataset, name, values, storage_of_chunks(chunk), bytes(pieces))


def packed_chunk(
    piece: Array, chunk: tuple[int, ...], effort: deflate.Effort, digits: int | None
) -> tuple[int, Any]:
    """Returns the filter mask of a chunk, and the bytes to store for it."""
    if digits is not None:
        piece = rounded(piece, digits)
    if piece.shape != chunk:  # at the upper edges; HDF5 stores whole chunks
        whole = np.zeros(chunk, piece.dtype)
        whole[tuple(map(slice, piece.shape))] = piece
        piece = whole
    stream = deflate.deflated(shuffled(piece), effort)
    if stream is None:
        return _NO_FILTERS, np.ascontiguousarray(piece)
    return 0, stream


def _write_contiguous(group: h5py.Group, name: str, values: Array, digits: int | None) -> None:
    """Creates a dataset without chunks."""
    dataset = create_array(group, name, values.shape, values.dtype, None)
    fill_array(dataset, values, None, name=name, workers=1, digits=digits)


def create_array(
    group: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    compression: Compression,
) -> Any:
    """Creates an empty dataset: chunked, if it is to be compressed, which takes one dim at least.

    h5py's create_dataset takes several times as long.
    """
    return h5py.h5d.create(
        group.id,
        name.encode(),
        _hdf5_type(dtype),
        h5py.h5s.create_simple(shape),
        dcpl=creation_properties(shape, dtype.itemsize, compression),
    )


def storage_of_chunks(chunk: tuple[int, ...]) -> bytes:
    """Returns what the checksum takes of the chunks and filters of a compressed dataset."""
    return checksums.storage(chunk, (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE))


@lru_cache(maxsize=64)
def _hdf5_type(dtype: np.dtype[Any]) -> Any:
    """Returns HDF5's type of a dtype."""
    return h5py.h5t.py_create(dtype, logical=True)


# --- reading --------------------------------------------------------------------------------------


def read_numbers(dataset: Any, region: Slices | None = None, *, workers: int = 1) -> Array:
    """Returns the values of a dataset, given by its HDF5 identifier, as `read_array` does.

    Raises:
        CorruptDataError: It holds no numbers, or not what its filters make.
    """
    return read_array(dataset, dtype_of_numbers(dataset), region, workers=workers)


def dtype_of_numbers(dataset: Any) -> np.dtype[Any]:
    """Returns the dtype of a dataset, given by its HDF5 identifier.

    Raises:
        CorruptDataError: It holds no numbers.
    """
    dtype: np.dtype[Any] = dataset.dtype
    if dtype.kind not in MAX_ITEM_BYTES:
        raise CorruptDataError(f"{_name(dataset)} holds no numbers but {dtype}")
    return dtype


def read_array(
    dataset: Any,
    dtype: np.dtype[Any],
    region: Slices | None = None,
    *,
    workers: int,
    name: str | None = None,
) -> Array:
    """Returns the values of a dataset of numbers, in the byte order of this machine.

    Args:
        dataset: HDF5 identifier (`h5py.h5d.DatasetID`) of a dataset of any layout and filters;
            those that `write_array` makes are undone in threads.
        dtype: What `dataset.dtype` says.
        region: A slice for each axis, with a positive step. Only chunks that it touches are read.
        workers: Number of threads to inflate with.
        name: Path of the dataset, where it is known.

    Raises:
        CorruptDataError: A chunk is not what the filters of the dataset make, or all of the dataset
            is read and does not have its checksum.
    """
    shape = dataset.shape
    region = (slice(None),) * len(shape) if region is None else region
    ranges = tuple(range(size)[part] for size, part in zip(shape, region, strict=True))
    values = new_array(dataset, dtype, tuple(map(len, ranges)))
    read_into([Reading(dataset, dtype, ranges, values, name)], workers=workers)
    return values


def new_array(
    dataset: Any, dtype: np.dtype[Any], shape: tuple[int, ...], outer: tuple[int, ...] = ()
) -> Array:
    """Returns an array for values of a dataset, in the byte order of this machine.

    Args:
        dataset: HDF5 identifier of the dataset.
        dtype: What `dataset.dtype` says.
        shape: Shape of what is to be read of it.
        outer: Axes in front of these, for further datasets of its kind.

    Raises:
        CorruptDataError: The dataset cannot hold as much.
        InvalidInputError: The memory does not suffice.
    """
    size_bytes = math.prod(shape) * dtype.itemsize
    if size_bytes > _MAX_UNSTORED_BYTES:
        _check_stored(dataset, dtype)
    try:
        return np.empty((*outer, *shape), dtype.newbyteorder("="))
    except (MemoryError, ValueError) as error:  # ValueError: more than can be addressed
        raise InvalidInputError(
            f"there is no memory for {size_bytes * math.prod(outer):,} bytes; read less at a time"
        ) from error


@dataclass(frozen=True)
class Reading:
    """What to read of a dataset, and where to put it.

    Attributes:
        dataset: HDF5 identifier (`h5py.h5d.DatasetID`) of a dataset of numbers.
        dtype: What `dataset.dtype` says.
        ranges: Which entries along each axis.
        values: Where they go: an array of their shape, or a view of one, in the byte order of this
            machine.
        name: Path of the dataset, where it is known.
    """

    dataset: Any
    dtype: np.dtype[Any]
    ranges: tuple[range, ...]
    values: Array
    name: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether this is all of the dataset, in its order."""
        return self.ranges == tuple(map(range, self.dataset.shape))


def read_into(readings: Iterable[Reading], *, workers: int) -> None:
    """Reads from any number of datasets; small ones are inflated together, large ones in parts.

    The datasets are asked for one by one, in the calling thread, and not kept longer than needed.

    Raises:
        CorruptDataError: A chunk is not what the filters of its dataset make, or all of a dataset
            is read and does not have its checksum.
    """
    jobs = _jobs(readings)
    try:
        first = list(itertools.islice(jobs, 2))
        if len(first) < 2:  # starting a thread takes longer
            workers = 1
        for finished in in_order(_unpack_all, itertools.chain(first, jobs), workers):
            for reader in finished:
                reader.check()
    except _DamagedChunkError as error:
        raise CorruptDataError(
            f"a chunk of {_name(error.dataset)} is damaged: {error.cause}"
        ) from error.cause


def _jobs(readings: Iterable[Reading]) -> Iterator[list[_StoredChunk]]:
    """Yields stored chunks in portions that are worth a thread; reads here what has no chunks."""
    portion: list[_StoredChunk] = []
    portion_bytes = 0
    for reading in readings:
        expected = checksums.read_checksum(reading.dataset) if reading.is_whole else None
        reader = None if reading.values.size == 0 else _chunk_reader(reading, expected)
        if reader is None:
            _read_by_hdf5(reading, expected)
            continue
        try:
            for chunk in reader.stored(reading):
                portion.append(chunk)
                portion_bytes += reader.chunk_bytes
                if portion_bytes >= _MIN_SHARED_BYTES:
                    yield portion
                    portion, portion_bytes = [], 0
        except _MissingChunkError:
            _read_by_hdf5(reading, expected)  # HDF5 knows what stands for it
    if portion:
        yield portion


def _unpack_all(portion: list[_StoredChunk]) -> list[_ChunkReader]:
    """Puts the wanted parts of chunks where they belong.

    Returns what is to be checked: the readers of datasets that end here. All chunks before these
    are unpacked when the caller gets this result.
    """
    for chunk in portion:
        chunk.reader.unpack(chunk)
    return [chunk.reader for chunk in portion if chunk.reader.ends_with(chunk)]


def _chunk_reader(reading: Reading, expected: int | None) -> _ChunkReader | None:
    """Returns what reads the chunks of a dataset; `None` where only HDF5 can."""
    properties = reading.dataset.get_create_plist()
    if properties.get_layout() != h5py.h5d.CHUNKED:
        return None
    filters = _filters(properties)
    pipeline = _KNOWN_PIPELINES.get(filters)
    if pipeline is None or _hdf5_type(reading.dtype) != reading.dataset.get_type():
        return None
    return _ChunkReader(reading, properties.get_chunk(), filters, pipeline, expected)


class _MissingChunkError(Exception):
    """A chunk that was never written: its values are the fill value of the dataset."""


class _DamagedChunkError(Exception):
    """A chunk that cannot be read. Only the calling thread can ask HDF5 for the dataset's name."""

    def __init__(self, dataset: Any, cause: CorruptDataError):
        super().__init__()
        self.dataset = dataset
        self.cause = cause


@dataclass(frozen=True)
class _StoredChunk:
    """What the file holds of a chunk, and which part of it to put where."""

    reader: _ChunkReader
    index: int
    filter_mask: int
    data: Any
    source: tuple[slice, ...]
    target: Array


class _ChunkReader:
    """Reads chunks of one dataset and undoes its filters."""

    def __init__(
        self,
        reading: Reading,
        chunk: tuple[int, ...],
        filters: tuple[int, ...],
        pipeline: _Pipeline,
        expected: int | None,
    ):
        self._dataset = reading.dataset
        self._dtype = reading.dtype
        self._name = reading.name
        self._chunk = chunk
        self._filters = filters
        self._pipeline = pipeline
        self._expected = expected
        self._pieces: list[bytes] = []
        if expected is not None:  # and all chunks are read
            sizes = zip(reading.dataset.shape, chunk, strict=True)
            self._pieces = [b""] * math.prod(-(-size // edge) for size, edge in sizes)
        self.chunk_bytes = math.prod(chunk) * reading.dtype.itemsize

    def stored(self, reading: Reading) -> Iterator[_StoredChunk]:
        """Yields the chunks that are to be read, as the file holds them."""
        chunks = itertools.product(*map(_parts, reading.ranges, self._chunk))
        for index, parts in enumerate(chunks):
            corner, source, target = zip(*parts, strict=True)
            info = self._dataset.get_chunk_info_by_coord(corner)
            if info.byte_offset is None:
                raise _MissingChunkError
            if info.size > _MAX_GROWTH * self.chunk_bytes + 1024:
                raise self._damaged(
                    f"it takes {info.size} bytes for {self.chunk_bytes} bytes of data"
                )
            # The mask that read_direct_chunk returns is wrong at times (h5py 3.16, HDF5 2.0).
            data = self._dataset.read_direct_chunk(corner)[1]
            yield _StoredChunk(self, index, info.filter_mask, data, source, reading.values[target])

    def unpack(self, stored: _StoredChunk) -> None:
        """Puts the wanted part of a chunk where it belongs."""
        dtype, data, target = self._dtype, stored.data, stored.target
        if self._pieces:
            self._pieces[stored.index] = checksums.summed(stored.filter_mask, data)
        if self._pipeline.undoes_deflate(stored.filter_mask):
            try:
                data = deflate.inflated(data, self.chunk_bytes)
            except CorruptDataError as error:
                raise _DamagedChunkError(self._dataset, error) from error
        if len(data) != self.chunk_bytes:
            raise self._damaged(f"it has {len(data)} bytes instead of {self.chunk_bytes}")
        if dtype.itemsize == 1 or not self._pipeline.undoes_shuffle(stored.filter_mask):
            target[...] = np.frombuffer(data, dtype).reshape(self._chunk)[stored.source]
            return
        planes = np.frombuffer(data, np.uint8).reshape(dtype.itemsize, *self._chunk)
        wanted = (slice(None), *stored.source)
        if dtype.isnative:
            unshuffle(planes[wanted], target)
        else:
            foreign = np.empty(target.shape, dtype)
            unshuffle(planes[wanted], foreign)
            target[...] = foreign

    def ends_with(self, stored: _StoredChunk) -> bool:
        """Whether this is the last chunk, and there is a checksum to check."""
        return stored.index + 1 == len(self._pieces)

    def check(self) -> None:
        """Raises CorruptDataError when the dataset, of which all is read, is not what was written.

        Only for the calling thread.
        """
        if self._expected is not None:
            stored_as = checksums.storage(self._chunk, self._filters)
            pieces = b"".join(self._pieces)
            checksums.check(
                self._dataset, self._name, self._expected, self._dtype, stored_as, pieces
            )

    def _damaged(self, what: str) -> _DamagedChunkError:
        """Returns the error for a chunk."""
        return _DamagedChunkError(self._dataset, CorruptDataError(what))


def _parts(wanted: range, step: int) -> Iterator[tuple[int, slice, slice]]:
    """Yields, for each chunk along one axis that is touched: its start, what to take, and where to.

    Chunks between two wanted entries are passed over.
    """
    done = 0
    while done < len(wanted):
        corner = wanted[done] // step * step
        inside = range(wanted[done] - corner, min(step, wanted[-1] + 1 - corner), wanted.step)
        yield corner, slice(inside.start, inside.stop, inside.step), slice(done, done + len(inside))
        done += len(inside)


def _read_by_hdf5(reading: Reading, expected: int | None) -> None:
    """Reads through HDF5, which knows every layout and filter."""
    _ask_hdf5(reading)
    if expected is not None:
        _check_sum(reading, expected)


def _check_sum(reading: Reading, expected: int) -> None:
    """Raises CorruptDataError when a dataset that HDF5 has read whole is not what was written."""
    dataset, dtype, values = reading.dataset, reading.dtype, reading.values
    properties = dataset.get_create_plist()
    if properties.get_layout() != h5py.h5d.CHUNKED:
        stored = np.asarray(values, dtype, order="C")
        piece = checksums.summed(0, stored) if values.size else b""
        checksums.check(dataset, reading.name, expected, dtype, b"", piece)
        return
    chunk = properties.get_chunk()
    pieces = b""
    for corner in itertools.product(*map(range, [0] * len(chunk), dataset.shape, chunk)):
        info = dataset.get_chunk_info_by_coord(corner)
        if info.byte_offset is not None:
            pieces += checksums.summed(info.filter_mask, dataset.read_direct_chunk(corner)[1])
    stored_as = checksums.storage(chunk, _filters(properties))
    checksums.check(dataset, reading.name, expected, dtype, stored_as, pieces)


def _check_inflated(reading: Reading) -> None:
    """Raises when a chunk inflates to more than it should: HDF5 would take memory without end.

    Raises:
        CorruptDataError: One does.
    """
    dataset, properties = reading.dataset, reading.dataset.get_create_plist()
    if properties.get_layout() != h5py.h5d.CHUNKED:
        return
    filters = _filters(properties)
    if h5py.h5z.FILTER_DEFLATE not in filters:
        return
    bit = 1 << filters.index(h5py.h5z.FILTER_DEFLATE)
    chunk = properties.get_chunk()
    chunk_bytes = math.prod(chunk) * reading.dtype.itemsize
    for parts in itertools.product(*map(_parts, reading.ranges, chunk)):
        corner = tuple(part[0] for part in parts)
        info = dataset.get_chunk_info_by_coord(corner)
        if info.byte_offset is None or info.filter_mask & bit:
            continue
        inflater = zlib.decompressobj()
        try:
            found = inflater.decompress(dataset.read_direct_chunk(corner)[1], chunk_bytes + 1)
        except zlib.error as error:
            raise CorruptDataError(f"a chunk of {_name(dataset)} is damaged: {error}") from error
        if len(found) != chunk_bytes:
            raise CorruptDataError(
                f"a chunk of {_name(dataset)} is damaged: it does not have {chunk_bytes} bytes"
            )


def _ask_hdf5(reading: Reading) -> None:
    """Lets HDF5 read."""
    dataset, values = reading.dataset, reading.values
    if not values.size:
        return
    _check_inflated(reading)
    if not values.flags.c_contiguous:  # HDF5 writes into nothing else
        values = np.empty(values.shape, values.dtype)
    if values.shape == dataset.shape:
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    else:
        space = dataset.get_space()
        starts, steps = zip(*((part.start, part.step) for part in reading.ranges), strict=True)
        space.select_hyperslab(starts, values.shape, steps)
        dataset.read(h5py.h5s.create_simple(values.shape), space, values)
    if values is not reading.values:
        reading.values[...] = values


def _check_stored(dataset: Any, dtype: np.dtype[Any]) -> None:
    """Raises CorruptDataError when the values cannot stand in what the file holds of them."""
    stored_bytes = dataset.get_storage_size()
    size_bytes = math.prod(map(int, dataset.shape)) * dtype.itemsize
    is_chunked = dataset.get_create_plist().get_layout() == h5py.h5d.CHUNKED
    if size_bytes > stored_bytes * (deflate.MAX_RATIO if is_chunked else 1):
        raise CorruptDataError(
            f"{_name(dataset)} says that it has {size_bytes} bytes; the file holds {stored_bytes} "
            "bytes of it"
        )


def _name(dataset: Any) -> str:
    """Returns the HDF5 path of a dataset."""
    return str(h5py.h5i.get_name(dataset).decode(errors="replace"))


def _filters(properties: Any) -> tuple[int, ...]:
    """Returns HDF5's numbers of the filters of a dataset."""
    return tuple(properties.get_filter(i)[0] for i in range(properties.get_nfilters()))
