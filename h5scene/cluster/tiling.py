"""How the blocks of a grid make up one grid: what it is, and which block has which of its values.

Like `rows`, a function of what each rank says of its block.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from h5scene.cluster.rows import Block, Rows, rows_of
from h5scene.errors import InvalidInputError
from h5scene.record import Bounds
from h5scene.regions import boundary_of_sides, faces_kept, holds_boundary, side_of_boundary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from h5scene.format.pieces import Box
    from h5scene.record import Boundary, FieldDescription


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
    rows = rows_of(name, blocks)
    first, axes = blocks[0], rows.axes
    boundary = _boundary(rows)
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
        tuple(_parts(rows, rank, boundary) for rank in range(len(blocks))),
        tuple(starts),
        {
            tuple(0 if i is None else place[i] for i in indices): rank
            for place, rank in rows.rank_at.items()
        },
    )


# --- what they make up ----------------------------------------------------------------------------


def _boundary(rows: Rows) -> Boundary:
    """Returns what lies outside of the whole: what lies outside of the blocks at its sides.

    Raises:
        InvalidInputError: Two blocks at one side disagree, or only one side is periodic.
    """
    place = rows.blocks[0].place
    periods = () if place is None else zip(place.axes, place.periods, strict=True)
    periodic = {axis for axis, period in periods if period}
    first = rows.blocks[0].description.boundary
    if not periodic and all(block.description.boundary == first for block in rows.blocks):
        return first
    sides: dict[tuple[str, str], Boundary] = {}
    for i, axis in enumerate(rows.axes):
        if axis in periodic:
            sides[axis, "-"] = sides[axis, "+"] = {"type": "periodic"}
            continue
        for side, edge in (("-", 0), ("+", rows.last[i])):
            sides[axis, side] = _boundary_of_side(rows, i, side, edge)
        ends = [holds_boundary(sides[axis, side], "periodic") for side in "-+"]
        if ends[0] != ends[1]:
            raise InvalidInputError(
                f"the blocks of {rows.name!r} do not fit together: the boundary is periodic on "
                f"one side of {axis!r} only"
            )
    return boundary_of_sides(sides)


def _boundary_of_side(rows: Rows, i: int, side: str, edge: int) -> Boundary:
    """Returns what lies outside of all blocks at one side of the whole."""
    where = rows.axes[i]
    ranks = [rank for rank, place in enumerate(rows.places) if place[i] == edge]
    found = [
        side_of_boundary(rows.blocks[rank].description.boundary, where, side) for rank in ranks
    ]
    for rank, other in zip(ranks, found, strict=True):
        if other != found[0]:
            raise InvalidInputError(
                f"the blocks of {rows.name!r} do not fit together: on the side "
                f"{where + side!r} of the whole, those on the ranks {ranks[0]} and {rank} have "
                "different boundaries"
            )
    return found[0]


def _parts(rows: Rows, rank: int, boundary: Boundary) -> tuple[Part, ...]:
    """Returns what a rank gives of the values of the whole, which has this boundary.

    Raises:
        InvalidInputError: No block has the faces between two of them.
    """
    block, place = rows.blocks[rank], rows.places[rank]
    cells = {
        axis: _Span(along[i], 0, n)
        for axis, along, i, n in zip(rows.axes, rows.starts, place, block.cells, strict=True)
    }
    if not block.is_staggered:
        return (_part(block, cells, None),)
    components = block.description.dims[-1].labels or rows.axes
    return tuple(
        _part(block, {**cells, own: faces}, component)
        for component, own in enumerate(components)
        for faces in _faces(rows, rank, rows.axes.index(own), boundary)
    )


def _faces(rows: Rows, rank: int, i: int, boundary: Boundary) -> list[_Span]:
    """Returns which faces along its `i`-th axis a block gives.

    Of faces between two blocks, those of the upper block count if it has them.
    """
    axis, place, block = rows.axes[i], rows.places[rank], rows.blocks[rank]
    along, n = rows.starts[i], block.cells[i]
    start = along[place[i]]
    is_periodic = holds_boundary(side_of_boundary(boundary, axis, "-"), "periodic")
    is_first, is_last = place[i] == 0, place[i] == rows.last[i]
    below, above = rows.beside(rank, i, -1), rows.beside(rank, i, 1)

    def has(other: int, side: int) -> bool:
        return faces_kept(rows.blocks[other].description.boundary, axis)[side]

    # At the outer sides, the block knows what its boundary makes of the faces.
    gives_lower = has(rank, 0) or (is_first and not is_periodic)
    gives_upper = (is_last and not is_periodic) or not has(above, 0)
    if not gives_lower and not has(below, 1):
        raise InvalidInputError(
            f"neither the block of {rows.name!r} on rank {below} nor that on rank {rank} has "
            f"the values on the faces between them, along {axis!r}: their boundaries determine "
            "these; give blocks a boundary there that does not, such as ZERO_GRADIENT"
        )
    found = [_Span(start, 0, n) if gives_lower else _Span(start + 1, 1, n - 1)]
    if gives_upper:
        found.append(_Span(start + n, n, 1))
    if is_periodic and is_first and gives_lower:  # the first and the last face are one
        found.append(_Span(along[-1] + rows.blocks[below].cells[i], 0, 1))
    if is_periodic and is_last and gives_upper:
        found.append(_Span(0, n, 1))
    return [span for span in found if span.count]


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
