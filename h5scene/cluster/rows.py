"""Blocks of a grid that stand in rows along every axis, and what is wrong if they do not.

A function of what each rank says of its block, with the same result or error on all ranks. Knows
neither MPI nor HDF5.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import InvalidInputError, UnsupportedFieldError
from h5scene.record import CENTERED, STAGGERED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from h5scene.record import Array, FieldDescription, FieldRecord

# Corners are often float32, and so off by 1e-7 of their distance from zero.
_TOLERANCE_CELLS = 0.05
_TOLERANCE_CELL_SIZE = 1e-3


@dataclass(frozen=True)
class Place:
    """Where a rank stands in a Cartesian communicator.

    Attributes:
        axes: The axes of the grid that the dims of the communicator stand for.
        coords: Its place along each.
        periods: Whether the communicator is periodic along each.
    """

    axes: tuple[str, ...]
    coords: tuple[int, ...]
    periods: tuple[bool, ...]


@dataclass(frozen=True)
class Block:
    """What a rank says of its block.

    Attributes:
        description: Of its field.
        shape: Shape of its values, in PhiFlow's padded layout if they are staggered.
        dtype: Dtype of the values.
        place: Where the rank stands; `None` without a Cartesian communicator.
    """

    description: FieldDescription
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    place: Place | None = None

    @staticmethod
    def of(record: FieldRecord, place: Place | None) -> Block:
        """Returns what there is to say of a field."""
        return Block(record.description, record.values.shape, record.values.dtype, place)

    @property
    def is_staggered(self) -> bool:
        """Whether the values are at faces."""
        return self.description.field_type == STAGGERED

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes, in the order of the corners."""
        assert self.description.bounds is not None
        return self.description.bounds.axes

    @property
    def corners(self) -> tuple[Array, Array]:
        """Lower and upper corner, along `axes`."""
        bounds = self.description.bounds
        assert bounds is not None
        return bounds.lower.data.astype(np.float64), bounds.upper.data.astype(np.float64)

    def axis_of(self, axis: str) -> int:
        """Returns which axis of the values stands for an axis of the grid."""
        return [dim.name for dim in self.description.dims].index(axis)

    @property
    def cells(self) -> tuple[int, ...]:
        """Number of cells along `axes`."""
        return tuple(self.shape[self.axis_of(axis)] - self.is_staggered for axis in self.axes)


@dataclass(frozen=True)
class Rows:
    """Blocks that stand in rows.

    Attributes:
        name: How messages name the field.
        blocks: Of each rank.
        axes: Of the grid.
        starts: At which cell blocks begin, along each axis.
        places: The place of each block among these.
        rank_at: The rank at each place.
    """

    name: str
    blocks: Sequence[Block]
    axes: tuple[str, ...]
    starts: list[tuple[int, ...]]
    places: list[tuple[int, ...]]
    rank_at: dict[tuple[int, ...], int]

    @property
    def last(self) -> tuple[int, ...]:
        """The last place along each axis."""
        return tuple(len(along) - 1 for along in self.starts)

    def beside(self, rank: int, i: int, step: int) -> int:
        """Returns the rank of the next block along the `i`-th axis; after the last is the first."""
        moved = list(self.places[rank])
        moved[i] = (moved[i] + step) % len(self.starts[i])
        return self.rank_at[tuple(moved)]


def rows_of(name: str, blocks: Sequence[Block]) -> Rows:
    """Returns where the blocks of all ranks are.

    Args:
        name: How messages name the field.
        blocks: Of each rank.

    Raises:
        UnsupportedFieldError: They are no grids, or of a kind that cannot be put together.
        InvalidInputError: They do not fit together.
    """
    for rank, block in enumerate(blocks):
        _check_kind(name, rank, block)
    for rank, block in enumerate(blocks[1:], start=1):
        _check_alike(name, rank, block, blocks[0])
    axes = blocks[0].axes
    starts, places = _rows(name, blocks)
    _check_places(name, blocks, axes, places)
    return Rows(name, blocks, axes, starts, places, _filled(name, axes, starts, places))


# --- checks of single blocks ----------------------------------------------------------------------


def _check_kind(name: str, rank: int, block: Block) -> None:
    """Raises UnsupportedFieldError when a block is no grid whose place is known."""
    described = block.description
    who = f"the block of {name!r} on rank {rank}"
    if described.field_type not in (CENTERED, STAGGERED) or described.bounds is None:
        raise UnsupportedFieldError(
            f"{who} is a {described.field_type}; only centered and staggered grids are put together"
        )
    corners = described.bounds.lower, described.bounds.upper
    if any([dim.name for dim in corner.dims] != ["vector"] for corner in corners):
        raise UnsupportedFieldError(f"{who} has bounds that differ along a batch dim")
    if not all(np.isfinite(corner.data).all() for corner in corners):
        raise UnsupportedFieldError(f"{who} has infinite bounds")
    if any(dim.labels is not None for dim in described.dims if dim.name in block.axes) or (
        "resolution_labels" in described.attrs
    ):
        raise UnsupportedFieldError(f"{who} has labels along its axes; remove them")
    if min(block.cells) < 1:
        raise InvalidInputError(f"{who} has no cells")


def _check_alike(name: str, rank: int, block: Block, first: Block) -> None:
    """Raises InvalidInputError when a block is of another kind than the first one."""
    places = None if block.place is None else (block.place.axes, block.place.periods)
    first_places = None if first.place is None else (first.place.axes, first.place.periods)
    channels = [
        [n for n, dim in zip(b.shape, b.description.dims, strict=True) if dim.name not in b.axes]
        for b in (block, first)
    ]
    for what, own, other in (
        ("is a", block.description.field_type, first.description.field_type),
        ("has the axes", block.axes, first.axes),
        ("has the dims", _listed_dims(block), _listed_dims(first)),
        ("has, beside its axes, the sizes", *channels),
        ("has the dtype", str(block.dtype), str(first.dtype)),
        ("has the attributes", dict(block.description.attrs), dict(first.description.attrs)),
        ("has the periods", places, first_places),
    ):
        if own != other:
            raise InvalidInputError(
                f"the blocks of {name!r} do not fit together: that on rank {rank} {what} {own}, "
                f"that on rank 0 {what} {other}"
            )


def _listed_dims(block: Block) -> list[tuple[str, str, tuple[str, ...] | None]]:
    return [(dim.name, dim.type, dim.labels) for dim in block.description.dims]


# --- where they are -------------------------------------------------------------------------------


def _rows(
    name: str, blocks: Sequence[Block]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Returns at which cell blocks begin along each axis, and the place of each block among these.

    Raises:
        InvalidInputError: Along an axis, they leave gaps, overlap, or have cells of other sizes.
    """
    starts, places = [], []
    for i, axis in enumerate(blocks[0].axes):
        ends = [(block.corners[0][i], block.corners[1][i], block.cells[i]) for block in blocks]
        sizes = [(upper - lower) / n for lower, upper, n in ends]
        other = max(range(len(sizes)), key=lambda rank: abs(sizes[rank] - sizes[0]))
        if sizes[0] <= 0 or abs(sizes[other] - sizes[0]) > _TOLERANCE_CELL_SIZE * sizes[0]:
            raise InvalidInputError(
                f"the blocks of {name!r} do not fit together: along {axis!r}, cells have the size "
                f"{sizes[0]:g} on rank 0 and {sizes[other]:g} on rank {other}"
            )
        origin, end = min(e[0] for e in ends), max(e[1] for e in ends)
        count = max(round((end - origin) / float(np.mean(sizes))), 1)
        cell = (end - origin) / count
        spans: dict[tuple[int, int], int] = {}  # first and last cell: a rank that has them
        firsts = []
        for rank, (lower, upper, n) in enumerate(ends):
            first = round((lower - origin) / cell)
            off = max(abs((lower - origin) / cell - first), abs((upper - lower) / cell - n))
            if off > _TOLERANCE_CELLS:
                raise InvalidInputError(
                    f"the blocks of {name!r} do not fit together: along {axis!r}, that on rank "
                    f"{rank} reaches from {lower:g} to {upper:g} with {n} cells, which are not "
                    f"cells of a grid from {origin:g} to {end:g} with {count}"
                )
            spans.setdefault((first, first + n), rank)
            firsts.append(first)
        ordered = sorted(spans)
        for one, two in itertools.pairwise(ordered):
            if one[1] != two[0]:
                raise InvalidInputError(
                    f"the blocks of {name!r} do not fit together: along {axis!r}, "
                    f"that on rank {spans[one]} has the cells {one[0]} to {one[1] - 1}, that on "
                    f"rank {spans[two]} the cells {two[0]} to {two[1] - 1}; "
                    + ("between them is a gap" if one[1] < two[0] else "they overlap")
                )
        along = tuple(first for first, _ in ordered)
        starts.append(along)
        places.append([along.index(first) for first in firsts])
    return starts, list(zip(*places, strict=True))


def _check_places(
    name: str, blocks: Sequence[Block], axes: Sequence[str], places: Sequence[tuple[int, ...]]
) -> None:
    """Raises InvalidInputError when blocks are not where the communicator has their ranks."""
    for rank, block in enumerate(blocks):
        if block.place is None:
            continue
        for axis, coord in zip(block.place.axes, block.place.coords, strict=True):
            if axis not in axes:
                raise InvalidInputError(
                    f"the blocks of {name!r} have no axis {axis!r}; they have {', '.join(axes)}"
                )
            found = places[rank][axes.index(axis)]
            if found != coord:
                raise InvalidInputError(
                    f"the blocks of {name!r} do not fit together: along {axis!r}, rank {rank} is "
                    f"at {coord} in the communicator, its block at {found}; say with axes= for "
                    "which axes its dims stand"
                )


def _filled(
    name: str,
    axes: Sequence[str],
    starts: Sequence[tuple[int, ...]],
    places: Sequence[tuple[int, ...]],
) -> dict[tuple[int, ...], int]:
    """Returns the rank at each place.

    Raises:
        InvalidInputError: There are two at one place, or none.
    """
    for place, count in Counter(places).items():
        if count > 1:
            ranks = [str(rank) for rank, other in enumerate(places) if other == place]
            raise InvalidInputError(
                f"the blocks of {name!r} do not fit together: those on the ranks "
                f"{' and '.join(ranks[:2])} have the same cells"
            )
    rank_at = {place: rank for rank, place in enumerate(places)}
    if len(rank_at) < math.prod(map(len, starts)):
        everywhere = itertools.product(*(range(len(along)) for along in starts))
        missing = next(place for place in everywhere if place not in rank_at)
        cell = ", ".join(
            f"{axis}={along[i]}" for axis, along, i in zip(axes, starts, missing, strict=True)
        )
        raise InvalidInputError(
            f"the blocks of {name!r} do not fit together: no rank has the cells from ({cell}) on"
        )
    return rank_at
