"""HDF5 datasets as arrays, with the filters undone in our own threads.

Where each chunk stands in the file is asked of HDF5, in the calling thread. Its bytes are then read
and inflated beside HDF5, several chunks at a time, straight into the result. Inside a transaction,
and where HDF5 cannot tell, it gives the bytes of a chunk itself. What is stored in other ways, as
other programs do, it reads as a whole.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.format import checksums, deflate
from h5scene.format.chunks import MAX_ITEM_BYTES
from h5scene.format.shuffle import unshuffle
from h5scene.format.workers import in_order

if TYPE_CHECKING:
    from collections.abc import Callable

    from h5scene.record import Array
    from h5scene.store.datasets import CheckedDataset

Slices: TypeAlias = Sequence[slice]

# Before, HDF5 left out the user block: https://github.com/HDFGroup/hdf5/pull/4236
_SAYS_WHERE_CHUNKS_ARE = h5py.version.hdf5_version_tuple >= (1, 14, 4)
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


_PIPELINES = {
    (): _Pipeline(),
    (h5py.h5z.FILTER_SHUFFLE,): _Pipeline(shuffle_bit=1),
    (h5py.h5z.FILTER_DEFLATE,): _Pipeline(deflate_bit=1),
    (h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE): _Pipeline(1, 2),
}


def read_array(dataset: CheckedDataset, region: Slices | None = None, *, workers: int = 1) -> Array:
    """Returns the values of a dataset of numbers, in the byte order of this machine.

    Args:
        dataset: Of any layout and filters; those that `write_array` makes are undone in threads.
        region: A slice for each axis, with a positive step. Only chunks that it touches are read.
        workers: Number of threads to inflate with.

    Raises:
        CorruptDataError: It holds no numbers, a chunk is not what the filters of the dataset make,
            or all of it is read and does not have its checksum.
        InvalidInputError: The memory does not suffice.
    """
    shape = shape_of_numbers(dataset)
    if region is None:
        ranges = tuple(map(range, shape))
    else:
        ranges = tuple(range(size)[part] for size, part in zip(shape, region, strict=True))
    values = new_array(dataset, tuple(map(len, ranges)))
    read_into([Reading(dataset, ranges, values)], workers=workers)
    return values


def shape_of_numbers(dataset: CheckedDataset) -> tuple[int, ...]:
    """Returns the shape of a dataset that holds numbers.

    Raises:
        CorruptDataError: It holds something else, or nothing.
    """
    if dataset.shape is None or dataset.dtype.kind not in MAX_ITEM_BYTES:
        what = "nothing" if dataset.shape is None else f"no numbers but {dataset.dtype}"
        raise CorruptDataError(f"{dataset.name} holds {what}")
    return dataset.shape


def new_array(
    dataset: CheckedDataset, shape: tuple[int, ...], outer: tuple[int, ...] = ()
) -> Array:
    """Returns an array for values of a dataset, in the byte order of this machine.

    Args:
        dataset: The dataset, which holds as much: so its check has made sure.
        shape: Shape of what is to be read of it.
        outer: Axes in front of these, for further datasets of its kind.

    Raises:
        InvalidInputError: The memory does not suffice.
    """
    try:
        return np.empty((*outer, *shape), dataset.dtype.newbyteorder("="))
    except (MemoryError, ValueError) as error:  # ValueError: more than can be addressed
        size_bytes = math.prod((*outer, *shape)) * dataset.dtype.itemsize
        raise InvalidInputError(
            f"there is no memory for {size_bytes:,} bytes; read less at a time"
        ) from error


@dataclass(frozen=True)
class Reading:
    """What to read of a dataset, and where to put it.

    Attributes:
        dataset: A dataset of numbers.
        ranges: Which entries along each axis.
        values: Where they go: an array of their shape, or a view of one, in the byte order of this
            machine.
    """

    dataset: CheckedDataset
    ranges: tuple[range, ...]
    values: Array

    @property
    def is_whole(self) -> bool:
        """Whether this is all of the dataset, in its order."""
        return self.ranges == tuple(map(range, self.dataset.shape or ()))


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
            f"a chunk of {error.dataset.name} is damaged: {error.cause}"
        ) from error.cause


def _jobs(readings: Iterable[Reading]) -> Iterator[list[_StoredChunk]]:
    """Yields stored chunks in portions that are worth a thread; reads here what has no chunks."""
    portion: list[_StoredChunk] = []
    portion_bytes = 0
    for reading in readings:
        dataset = reading.dataset
        expected = checksums.read_checksum(dataset.identifier) if reading.is_whole else None
        pipeline = _PIPELINES.get(dataset.filters)
        if dataset.chunk is None or pipeline is None or not dataset.is_plain:
            _read_unchunked(reading, expected)
            continue
        if reading.values.size == 0:
            _read_by_hdf5(reading, expected)
            continue
        reader = _ChunkReader(reading, dataset.chunk, pipeline, expected)
        try:
            for chunk in reader.stored():
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


class _MissingChunkError(Exception):
    """A chunk that was never written: its values are the fill value of the dataset."""


class _DamagedChunkError(Exception):
    """A chunk that cannot be read. Only the calling thread can ask HDF5 for the dataset's name."""

    def __init__(self, dataset: CheckedDataset, cause: CorruptDataError):
        super().__init__()
        self.dataset = dataset
        self.cause = cause


@dataclass(frozen=True)
class _StoredChunk:
    """What the file holds of a chunk, and which part of it to put where."""

    reader: _ChunkReader
    index: int
    filter_mask: int
    get_data: Callable[[], Any]
    source: tuple[slice, ...]
    target: Array


class _ChunkReader:
    """Reads chunks of one dataset and undoes its filters."""

    def __init__(
        self,
        reading: Reading,
        chunk: tuple[int, ...],
        pipeline: _Pipeline,
        expected: int | None,
    ):
        self.chunk_bytes = math.prod(chunk) * reading.dataset.dtype.itemsize
        self._reading = reading
        self._dataset = reading.dataset
        self._chunk = chunk
        self._pipeline = pipeline
        self._expected = expected
        self._pieces: list[bytes] = []
        if expected is not None:  # and all chunks are read
            sizes = zip(shape_of_numbers(reading.dataset), chunk, strict=True)
            self._pieces = [b""] * math.prod(-(-size // edge) for size, edge in sizes)

    def stored(self) -> Iterator[_StoredChunk]:
        """Yields the chunks that are to be read, as the file holds them."""
        reading, identifier = self._reading, self._dataset.identifier
        read_stored = self._dataset.access.read_stored if _SAYS_WHERE_CHUNKS_ARE else None
        chunks = itertools.product(*map(_parts, reading.ranges, self._chunk))
        for index, parts in enumerate(chunks):
            corner, source, target = zip(*parts, strict=True)
            info = identifier.get_chunk_info_by_coord(corner)
            if info.byte_offset is None:
                raise _MissingChunkError
            if info.size > _MAX_GROWTH * self.chunk_bytes + 1024:
                raise self._damaged(
                    f"it takes {info.size} bytes for {self.chunk_bytes} bytes of data"
                )
            get_data: Callable[[], Any]
            if read_stored is None:
                # The mask that it returns as well is wrong at times (h5py 3.16, HDF5 2.0).
                get_data = partial(bytes, identifier.read_direct_chunk(corner)[1])
            else:
                get_data = partial(_read_stored_bytes, read_stored, info.byte_offset, info.size)
            values = reading.values[target]
            yield _StoredChunk(self, index, info.filter_mask, get_data, source, values)

    def unpack(self, stored: _StoredChunk) -> None:
        """Puts the wanted part of a chunk where it belongs."""
        dtype, data, target = self._dataset.dtype, stored.get_data(), stored.target
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
            checksums.check(self._dataset, self._expected, b"".join(self._pieces))

    def _damaged(self, what: str) -> _DamagedChunkError:
        """Returns the error for a chunk."""
        return _DamagedChunkError(self._dataset, CorruptDataError(what))


def _read_stored_bytes(
    read_stored: Callable[[memoryview, int], None], offset: int, size_bytes: int
) -> Array:
    """Returns bytes of the file, in any thread."""
    data = np.empty(size_bytes, np.uint8)
    read_stored(data.data, offset)
    return data


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


def _read_unchunked(reading: Reading, expected: int | None) -> None:
    """Reads what stands in the file as it is in memory, and leaves the rest to HDF5."""
    dataset, values = reading.dataset, reading.values
    read_stored = dataset.access.read_stored
    if read_stored is None or not (dataset.is_contiguous and dataset.is_plain and reading.is_whole):
        _read_by_hdf5(reading, expected)
        return
    offset = dataset.identifier.get_offset() if values.size else None
    if offset is None:  # nobody has written to it
        _read_by_hdf5(reading, expected)
        return
    is_ready = dataset.dtype.isnative and values.flags.c_contiguous
    stored = values if is_ready else np.empty(values.shape, dataset.dtype)
    data = stored.reshape(-1).view(np.uint8).data
    read_stored(data, offset)
    if expected is not None:
        checksums.check(dataset, expected, checksums.summed(0, data))
    if stored is not values:
        values[...] = stored


def _read_by_hdf5(reading: Reading, expected: int | None) -> None:
    """Reads through HDF5, which knows every layout and filter."""
    _ask_hdf5(reading)
    if expected is not None:
        _check_sum(reading, expected)


def _check_sum(reading: Reading, expected: int) -> None:
    """Raises CorruptDataError when a dataset that HDF5 has read whole is not what was written."""
    dataset, values = reading.dataset, reading.values
    if dataset.chunk is None:
        stored = np.asarray(values, dataset.dtype, order="C")
        checksums.check(dataset, expected, checksums.summed(0, stored) if values.size else b"")
        return
    pieces = b""
    shape = shape_of_numbers(dataset)
    for corner in itertools.product(*map(range, [0] * len(shape), shape, dataset.chunk)):
        info = dataset.identifier.get_chunk_info_by_coord(corner)
        if info.byte_offset is not None:
            data = dataset.identifier.read_direct_chunk(corner)[1]
            pieces += checksums.summed(info.filter_mask, data)
    checksums.check(dataset, expected, pieces)


def _ask_hdf5(reading: Reading) -> None:
    """Lets HDF5 read."""
    identifier, values = reading.dataset.identifier, reading.values
    if not values.size:
        return
    _check_inflated(reading)
    if not values.flags.c_contiguous:  # HDF5 writes into nothing else
        values = np.empty(values.shape, values.dtype)
    if values.shape == reading.dataset.shape:
        identifier.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    else:
        space = identifier.get_space()
        starts, steps = zip(*((part.start, part.step) for part in reading.ranges), strict=True)
        space.select_hyperslab(starts, values.shape, steps)
        identifier.read(h5py.h5s.create_simple(values.shape), space, values)
    if values is not reading.values:
        reading.values[...] = values


def _check_inflated(reading: Reading) -> None:
    """Raises when a chunk inflates to more than it should: HDF5 would take memory without end.

    Raises:
        CorruptDataError: One does.
    """
    dataset = reading.dataset
    if dataset.chunk is None or h5py.h5z.FILTER_DEFLATE not in dataset.filters:
        return
    bit = 1 << dataset.filters.index(h5py.h5z.FILTER_DEFLATE)
    chunk_bytes = math.prod(dataset.chunk) * dataset.dtype.itemsize
    for parts in itertools.product(*map(_parts, reading.ranges, dataset.chunk)):
        corner = tuple(part[0] for part in parts)
        info = dataset.identifier.get_chunk_info_by_coord(corner)
        if info.byte_offset is None or info.filter_mask & bit:
            continue
        inflater = zlib.decompressobj()
        try:
            data = dataset.identifier.read_direct_chunk(corner)[1]
            found = inflater.decompress(data, chunk_bytes + 1)
        except zlib.error as error:
            raise CorruptDataError(f"a chunk of {dataset.name} is damaged: {error}") from error
        if len(found) != chunk_bytes:
            raise CorruptDataError(
                f"a chunk of {dataset.name} is damaged: it does not have {chunk_bytes} bytes"
            )
