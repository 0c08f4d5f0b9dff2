"""How the blocks of a grid make up one grid: what it is, and which block has which of its values.

Knows neither MPI nor HDF5: a function of what each rank says of its block, with the same result or
error on all ranks.

The blocks stand in rows along every axis, as those of a Cartesian communicator do. Their bounds say
where.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import InvalidInputError, UnsupportedFieldError
from h5scene.record import CENTERED, STAGGERED, Bounds
from h5scene.regions import boundary_of_sides, faces_kept, holds_boundary, side_of_boundary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from h5scene.format.pieces import Box
    from h5scene.record import Array, Boundary, FieldDescription, FieldRecord

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
class Part:
    """Values that a block gives: where they are in the whole, and where in the block."""

    target: Box
    source: Box


@dataclass(frozen=True)
class Tiling:
    """The whole that blocks make up.

    Attributes:
        description: Of the whole field.
        shape: Shape of its values.
        dtype: Their dtype.
        parts: What each rank gives.
        starts: Where blocks begin along each axis of the values.
        rank_at: The rank of each block, by its place along the axes of the values.
    """

    description: FieldDescription
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    parts: tuple[tuple[Part, ...], ...]
    starts: tuple[tuple[int, ...], ...]
    rank_at: dict[tuple[int, ...], int]

    def owner(self, box: Box) -> int:
        """Returns the rank whose block holds the first value of a box."""
        return self.rank_at[
            tuple(
                bisect_right(starts, part.start) - 1
                for starts, part in zip(self.starts, box, strict=True)
            )
        ]

    def givers(self, box: Box) -> list[int]:
        """Returns the ranks that may have values in a box, in order."""
        ranges = []
        for starts, part, size in zip(self.starts, box, self.shape, strict=True):
            # The first value of a block may come from the block below, which has its upper faces.
            first = max(bisect_right(starts, part.start) - 1, 0)
            lower = first - 1 if first and starts[first] == part.start else first
            last = bisect_right(starts, part.stop - 1) - 1
            found = list(range(lower, last + 1))
            if part.stop == size and 0 not in found:
                found.append(0)  # the last face of a periodic axis is the first one
            if part.start == 0 and len(starts) - 1 not in found:
                found.append(len(starts) - 1)
            ranges.append(found)
        return sorted(self.rank_at[place] for place in itertools.product(*ranges))

    def given(self, rank: int, box: Box) -> Iterator[tuple[Box, Box]]:
        """Yields what a rank has of a box: where in the box, and where in its block."""
        for part in self.parts[rank]:
            common = [
                (max(a.start, b.start), min(a.stop, b.stop))
                for a, b in zip(part.target, box, strict=True)
            ]
            if all(start < stop for start, stop in common):
                yield (
                    tuple(
                        slice(i - b.start, j - b.start)
                        for (i, j), b in zip(common, box, strict=True)
                    ),
                    tuple(
                        slice(i - t.start + s.start, j - t.start + s.start)
                        for (i, j), t, s in zip(common, part.target, part.source, strict=True)
                    ),
                )


def tiling(name: str, blocks: Sequence[Block]) -> Tiling:
    """Returns the whole that the blocks of all ranks make up.

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
    rows = _Rows.of(name, blocks)
    first, axes = blocks[0], rows.axes
    boundary = rows.boundary()
    ends = [blocks[rows.rank_at[place]] for place in ((0,) * len(axes), rows.last)]
    lower, upper = (block.description.bounds for block in ends)
    assert lower is not None
    assert upper is not None
    description = replace(
        first.description, bounds=Bounds(lower.lower, upper.upper), boundary=boundary
    )
    shape = list(first.shape)
    starts: list[tuple[int, ...]] = [(0,) for _ in shape]
    indices: list[int | None] = [None] * len(shape)
    for i, axis in enumerate(axes):
        dim = first.axis_of(axis)
        shape[dim] = rows.starts[i][-1] + ends[1].cells[i] + first.is_staggered
        starts[dim], indices[dim] = rows.starts[i], i
    return Tiling(
        description,
        tuple(shape),
        first.dtype,
        tuple(rows.parts(rank, boundary) for rank in range(len(blocks))),
        tuple(starts),
        {
            tuple(0 if i is None else place[i] for i in indices): rank
            for place, rank in rows.rank_at.items()
        },
    )


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


# --- what they make up ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
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

    @staticmethod
    def of(name: str, blocks: Sequence[Block]) -> _Rows:
        """Returns where blocks are; raises as `tiling` does."""
        axes = blocks[0].axes
        starts, places = _rows(name, blocks)
        _check_places(name, blocks, axes, places)
        return _Rows(name, blocks, axes, starts, places, _filled(name, axes, starts, places))

    @property
    def last(self) -> tuple[int, ...]:
        """The last place along each axis."""
        return tuple(len(along) - 1 for along in self.starts)

    def boundary(self) -> Boundary:
        """Returns what lies outside of the whole: what lies outside of the blocks at its sides.

        Raises:
            InvalidInputError: Two blocks at one side disagree, or only one side is periodic.
        """
        place = self.blocks[0].place
        periods = () if place is None else zip(place.axes, place.periods, strict=True)
        periodic = {axis for axis, period in periods if period}
        first = self.blocks[0].description.boundary
        if not periodic and all(block.description.boundary == first for block in self.blocks):
            return first
        sides: dict[tuple[str, str], Boundary] = {}
        for i, axis in enumerate(self.axes):
            if axis in periodic:
                sides[axis, "-"] = sides[axis, "+"] = {"type": "periodic"}
                continue
            for side, edge in (("-", 0), ("+", self.last[i])):
                sides[axis, side] = self._boundary_of_side(i, side, edge)
            ends = [holds_boundary(sides[axis, side], "periodic") for side in "-+"]
            if ends[0] != ends[1]:
                raise InvalidInputError(
                    f"the blocks of {self.name!r} do not fit together: the boundary is periodic on "
                    f"one side of {axis!r} only"
                )
        return boundary_of_sides(sides)

    def _boundary_of_side(self, i: int, side: str, edge: int) -> Boundary:
        """Returns what lies outside of all blocks at one side of the whole."""
        where = self.axes[i]
        ranks = [rank for rank, place in enumerate(self.places) if place[i] == edge]
        found = [
            side_of_boundary(self.blocks[rank].description.boundary, where, side) for rank in ranks
        ]
        for rank, other in zip(ranks, found, strict=True):
            if other != found[0]:
                raise InvalidInputError(
                    f"the blocks of {self.name!r} do not fit together: on the side "
                    f"{where + side!r} of the whole, those on the ranks {ranks[0]} and {rank} have "
                    "different boundaries"
                )
        return found[0]

    def parts(self, rank: int, boundary: Boundary) -> tuple[Part, ...]:
        """Returns what a rank gives of the values of the whole, which has this boundary.

        Raises:
            InvalidInputError: No block has the faces between two of them.
        """
        block, place = self.blocks[rank], self.places[rank]
        cells = {
            axis: _Span(along[i], 0, n)
            for axis, along, i, n in zip(self.axes, self.starts, place, block.cells, strict=True)
        }
        if not block.is_staggered:
            return (_part(block, cells, None),)
        components = block.description.dims[-1].labels or self.axes
        return tuple(
            _part(block, {**cells, own: faces}, component)
            for component, own in enumerate(components)
            for faces in self._faces(rank, self.axes.index(own), boundary)
        )

    def _faces(self, rank: int, i: int, boundary: Boundary) -> list[_Span]:
        """Returns which faces along its `i`-th axis a block gives.

        Of faces between two blocks, those of the upper block count if it has them.
        """
        axis, place, block = self.axes[i], self.places[rank], self.blocks[rank]
        along, n = self.starts[i], block.cells[i]
        start = along[place[i]]
        is_periodic = holds_boundary(side_of_boundary(boundary, axis, "-"), "periodic")
        is_first, is_last = place[i] == 0, place[i] == self.last[i]
        below, above = self._beside(place, i, -1), self._beside(place, i, 1)

        def has(other: int, side: int) -> bool:
            return faces_kept(self.blocks[other].description.boundary, axis)[side]

        # At the outer sides, the block knows what its boundary makes of the faces.
        gives_lower = has(rank, 0) or (is_first and not is_periodic)
        gives_upper = (is_last and not is_periodic) or not has(above, 0)
        if not gives_lower and not has(below, 1):
            raise InvalidInputError(
                f"neither the block of {self.name!r} on rank {below} nor that on rank {rank} has "
                f"the values on the faces between them, along {axis!r}: their boundaries determine "
                "these; give blocks a boundary there that does not, such as ZERO_GRADIENT"
            )
        found = [_Span(start, 0, n) if gives_lower else _Span(start + 1, 1, n - 1)]
        if gives_upper:
            found.append(_Span(start + n, n, 1))
        if is_periodic and is_first and gives_lower:  # the first and the last face are one
            found.append(_Span(along[-1] + self.blocks[below].cells[i], 0, 1))
        if is_periodic and is_last and gives_upper:
            found.append(_Span(0, n, 1))
        return [span for span in found if span.count]

    def _beside(self, place: tuple[int, ...], i: int, step: int) -> int:
        """Returns the rank of the next block along an axis; beyond the last one is the first."""
        moved = list(place)
        moved[i] = (place[i] + step) % len(self.starts[i])
        return self.rank_at[tuple(moved)]


@dataclass(frozen=True)
class _Span:
    """Neighbouring values along an axis: the first one in the whole, in its block, and how many."""

    target: int
    source: int
    count: int


def _part(block: Block, spans: dict[str, _Span], component: int | None) -> Part:
    """Returns a part that is given by what it has along each axis."""
    target, source = [], []
    for dim, size in zip(block.description.dims, block.shape, strict=True):
        span = spans.get(dim.name, _Span(0, 0, size))
        target.append(slice(span.target, span.target + span.count))
        source.append(slice(span.source, span.source + span.count))
    if component is not None:
        target[-1] = source[-1] = slice(component, component + 1)
    return Part(tuple(target), tuple(source))
