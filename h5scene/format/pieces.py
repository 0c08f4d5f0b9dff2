"""Arrays that are written piece by piece, where no process holds all of them.

The pieces of a compressed array are its chunks; whoever has the values packs them, in any order and
on any machine. Others are written in runs of neighbouring bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np

from h5scene.format import checksums
from h5scene.format.chunks import create_array, packed_chunk, storage_of_chunks
from h5scene.format.filters import MAX_CHUNK_BYTES, chunk_shape
from h5scene.format.rounding import rounded
from h5scene.tensors import outlined

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from h5scene.format.filters import Compression
    from h5scene.record import Array

Box: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True)
class Form:
    """What the pieces of an array have in common.

    Attributes:
        shape: Shape of the array.
        dtype: Its dtype.
        compression: How it is compressed.
        digits: How many decimal digits of the values to keep; all of them by default.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    compression: Compression
    digits: int | None = None

    @cached_property
    def piece_shape(self) -> tuple[int, ...]:
        """Shape of the pieces but for those at upper edges; that of the array, if it is one."""
        itemsize = self.dtype.itemsize
        if math.prod(self.shape) * itemsize <= MAX_CHUNK_BYTES:
            return self.shape
        if self.compression is not None:
            return chunk_shape(self.shape, itemsize)
        # As many neighbouring values as make a piece: some of one axis, all of those behind it.
        piece = list(self.shape)
        for axis in range(len(piece)):
            behind = math.prod(self.shape[axis + 1 :]) * itemsize
            piece[axis] = min(max(MAX_CHUNK_BYTES // behind, 1), piece[axis])
            if piece[axis] > 1:
                break
        return tuple(piece)

    @property
    def is_one_piece(self) -> bool:
        """Whether the array is so small that it is written as any other."""
        return self.piece_shape == self.shape

    @property
    def piece_count(self) -> int:
        """Number of pieces."""
        return math.prod(self._counts)

    def box(self, number: int) -> Box:
        """Returns where a piece is; they are counted in the order in which they stand."""
        place = np.unravel_index(number, self._counts)
        return tuple(
            slice(int(i) * step, min((int(i) + 1) * step, size))
            for i, step, size in zip(place, self.piece_shape, self.shape, strict=True)
        )

    @cached_property
    def _counts(self) -> tuple[int, ...]:
        """Number of pieces along each axis."""
        sizes = zip(self.shape, self.piece_shape, strict=True)
        return tuple(-(-size // max(step, 1)) for size, step in sizes)


@dataclass(frozen=True)
class Packed:
    """A piece as it is to stand in the file.

    Attributes:
        number: Its place among all.
        box: Where it is in the array.
        filter_mask: Of the chunk.
        data: Bytes of the chunk, or the values.
        summed: What the checksum of the dataset takes of the chunk.
    """

    number: int
    box: Box
    filter_mask: int
    data: Any
    summed: bytes


def packed_piece(number: int, values: Array, form: Form) -> Packed:
    """Returns one of several pieces of an array as it is to stand in the file."""
    box = form.box(number)
    if form.compression is None:
        values = values if form.digits is None else rounded(values, form.digits)
        return Packed(number, box, 0, np.ascontiguousarray(values), b"")
    mask, data = packed_chunk(values, form.piece_shape, form.compression, form.digits)
    return Packed(number, box, mask, data, checksums.summed(mask, data))


def write_pieces(group: h5py.Group, name: str, form: Form, pieces: Iterable[Packed]) -> None:
    """Creates a dataset of several pieces, as `write_array` would of the whole array.

    Args:
        group: Where to create it.
        name: A name that is free.
        form: Of the array.
        pieces: All of them, in any order if they are compressed, else by their numbers.
    """
    dataset = create_array(group, name, form.shape, form.dtype, form.compression)
    outline = outlined(form.shape, form.dtype)
    if form.compression is None:
        summed = checksums.summed_parts(0, _written(dataset, pieces))
        checksums.write_checksum(dataset, name, outline, b"", summed)
        return
    found: dict[int, bytes] = {}
    for piece in pieces:
        corner = tuple(part.start for part in piece.box)
        dataset.write_direct_chunk(corner, piece.data, piece.filter_mask)
        found[piece.number] = piece.summed
    in_order = b"".join(found[number] for number in range(len(found)))
    checksums.write_checksum(dataset, name, outline, storage_of_chunks(form.piece_shape), in_order)


def _written(dataset: Any, pieces: Iterable[Packed]) -> Iterator[Array]:
    """Yields the values of each piece after writing them to a dataset without chunks."""
    for piece in pieces:
        values: Array = piece.data
        place = dataset.get_space()
        place.select_hyperslab(tuple(part.start for part in piece.box), values.shape)
        dataset.write(h5py.h5s.create_simple(values.shape), place, values)
        yield values
