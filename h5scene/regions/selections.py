"""What a user selects along one dim, as the numbers of entries."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, isnan
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from h5scene.errors import InvalidInputError, UnsupportedFieldError

if TYPE_CHECKING:
    from h5scene.record import Bounds, DimSpec

# Positions are float32 at times: less than this of a cell is none of it.
_CELL_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Between:
    """A range of physical positions along one axis of a grid: all cells that it overlaps.

    A range without width is the cell that holds this position. Either end may be infinite.
    """

    lower: float
    upper: float


Selection: TypeAlias = "int | str | slice | Between | Sequence[int | str]"
Region: TypeAlias = Mapping[str, Selection]
"""What to take along dims, by name; all of other dims.

An entry by number or label, which removes the dim; a slice; several entries by number or label, as
a sequence or as one string with commas; along the axes of grids a `Between`.
"""

Pick: TypeAlias = "int | Sequence[int]"
"""Entries along one axis of an array; one number removes the axis."""


def entries(selection: Any, dim: DimSpec, size: int, *, has_positions: bool) -> Pick:
    """Returns the entries along a dim that is no axis of a grid.

    Raises:
        InvalidInputError: There are none of these.
        UnsupportedFieldError: They are given by position, and the field has no positions.
    """
    if isinstance(selection, Between):
        if has_positions:
            raise InvalidInputError(
                f"positions along {dim.name!r} mean nothing; take entries by number or label"
            )
        raise UnsupportedFieldError("only parts of grids can be read by position")
    if isinstance(selection, slice):
        return _sliced(selection, dim, size)
    if isinstance(selection, str) and dim.labels is not None and selection not in dim.labels:
        parts = [part.strip() for part in selection.split(",")]
        selection = parts if len(parts) > 1 else selection
    if _is_sequence(selection):
        several = tuple(_entry(item, dim, size) for item in selection)
        if not several:
            raise InvalidInputError(f"nothing is selected along {dim.name!r}")
        if dim.labels is not None and len(set(several)) < len(several):
            raise InvalidInputError(f"an entry along {dim.name!r} is selected twice")
        return several
    return _entry(selection, dim, size)


def cells(selection: Any, dim: DimSpec, size: int, bounds: Bounds) -> int | range:
    """Returns the cells along an axis of a grid: one, which removes the axis, or neighbours.

    Raises:
        InvalidInputError: There are none of these, or they leave gaps.
        UnsupportedFieldError: The bounds differ within the field, and so do the cells.
    """
    if isinstance(selection, Between):
        return _cells_between(selection, dim.name, size, bounds)
    if isinstance(selection, slice):
        inside = _sliced(selection, dim, size)
        if len(inside) > 1 and inside.step != 1:
            raise InvalidInputError(
                f"a step of {inside.step} along {dim.name!r} would leave gaps between the cells; "
                "read all of them, and resample"
            )
        return range(inside[0], inside[-1] + 1)
    pick = entries(selection, dim, size, has_positions=True)
    if isinstance(pick, int):
        return pick
    if list(pick) != list(range(pick[0], pick[0] + len(pick))):
        raise InvalidInputError(
            f"the cells {list(pick)} along {dim.name!r} are no neighbours; take a slice"
        )
    return range(pick[0], pick[-1] + 1)


def _sliced(selection: slice, dim: DimSpec, size: int) -> range:
    """Returns the entries of a slice, of which there must be some."""
    parts = (selection.start, selection.stop, selection.step)
    try:
        taken = range(size)[selection]
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"a slice along {dim.name!r} has whole numbers, not {parts}"
        ) from error
    if taken.step < 0:
        raise InvalidInputError(f"a slice along {dim.name!r} has a positive step, not {parts[2]}")
    if not taken:
        raise InvalidInputError(f"{selection} along {dim.name!r} takes none of {size} entries")
    return taken


def _entry(item: Any, dim: DimSpec, size: int) -> int:
    """Returns the number of one entry, given by number or label."""
    if isinstance(item, str):
        if dim.labels is None:
            raise InvalidInputError(f"the dim {dim.name!r} has no labels, so no {item!r}")
        if item not in dim.labels:
            known = ", ".join(dim.labels[:20]) + (", …" if len(dim.labels) > 20 else "")
            raise InvalidInputError(f"there is no {item!r} along {dim.name!r}; it has {known}")
        return dim.labels.index(item)
    try:
        number = None if isinstance(item, (bool, np.bool_)) else item.__index__()
    except (AttributeError, TypeError):
        number = None
    if number is None:
        raise InvalidInputError(
            f"what to take along {dim.name!r} is a whole number, a label, a slice or a sequence of "
            f"these, not {type(item).__name__} {item!r}"
        )
    if not -size <= number < size:
        raise InvalidInputError(f"there is no entry {number} along {dim.name!r} of size {size}")
    return int(number % size)


def _is_sequence(selection: Any) -> bool:
    """Whether a selection is one of several entries."""
    return isinstance(selection, (list, tuple, range)) or (
        isinstance(selection, np.ndarray) and selection.ndim == 1
    )


def _cells_between(between: Between, axis: str, size: int, bounds: Bounds) -> range:
    """Returns the cells that a range of positions overlaps."""
    try:
        lower, upper = float(between.lower), float(between.upper)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"positions along {axis!r} are numbers, not {between}") from error
    if isnan(lower) or isnan(upper) or lower > upper:
        raise InvalidInputError(f"there is no range from {lower} to {upper} along {axis!r}")
    number = bounds.axes.index(axis)
    begins, ends = (
        np.moveaxis(corner.data, [dim.name for dim in corner.dims].index("vector"), 0)[number]
        .astype(np.float64)
        .ravel()
        .tolist()
        for corner in (bounds.lower, bounds.upper)
    )
    found = {
        _overlapped(lower, upper, size, begin, end)
        for begin, end in set(
            zip(begins, ends, strict=True)
            if bounds.lower.dims == bounds.upper.dims
            else itertools.product(begins, ends)
        )
    }
    if len(found) > 1:
        raise UnsupportedFieldError(
            f"the bounds differ within the field, and positions from {lower} to {upper} along "
            f"{axis!r} with them; slice the field, or select cells by number"
        )
    cells = found.pop()
    if not cells:
        raise InvalidInputError(
            f"no cell lies between {lower} and {upper} along {axis!r}: the grid begins at "
            f"{begins[0]:g} and ends at {ends[0]:g}"
        )
    return cells


def _overlapped(lower: float, upper: float, size: int, begin: float, end: float) -> range:
    """Returns the cells of `size` from `begin` to `end` that lie between two positions."""
    if not (isfinite(end - begin) and end > begin):
        return range(0)  # a grid without extent has no cell anywhere
    first, last = ((position - begin) / (end - begin) * size for position in (lower, upper))
    if not (first < size and last > 0) and not (first == last and 0 <= first <= size):
        return range(0)
    first, last = max(first, 0.0), min(last, float(size))
    start = min(floor(first + _CELL_TOLERANCE), size - 1)
    return range(start, max(ceil(last - _CELL_TOLERANCE), start + 1))


def runs(picks: Sequence[Pick]) -> Iterator[tuple[tuple[slice, ...], tuple[slice | None, ...]]]:
    """Yields slices that together take what the picks do, each with its place in the result.

    The place is an index into the result that puts an axis of one entry where a number removed it.
    """
    along: list[list[tuple[slice, slice | None]]] = []
    for pick in picks:
        if isinstance(pick, int):
            along.append([(slice(pick, pick + 1), None)])
        else:
            along.append(list(_runs(pick)))
    for parts in itertools.product(*along):
        yield tuple(source for source, _ in parts), tuple(place for _, place in parts)


def _runs(numbers: Sequence[int]) -> Iterator[tuple[slice, slice | None]]:
    """Yields slices of equal steps that make up the entries, and their place among these."""
    if isinstance(numbers, range):
        yield slice(numbers.start, numbers.stop, numbers.step), slice(None)
        return
    done = 0
    while done < len(numbers):
        start, end = numbers[done], done + 1
        step = numbers[end] - start if end < len(numbers) else 1
        if step > 0:
            while end < len(numbers) and numbers[end] - numbers[end - 1] == step:
                end += 1
        yield slice(start, numbers[end - 1] + 1, max(step, 1)), slice(done, end)
        done = end
