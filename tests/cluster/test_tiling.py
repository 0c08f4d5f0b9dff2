"""Blocks of a grid as one grid: what goes where, and what does not fit together."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h5scene.cluster.rows import Block, Place
from h5scene.cluster.tiling import Tiling, tiling
from h5scene.errors import InvalidInputError, UnsupportedFieldError
from h5scene.format.pieces import Form
from h5scene.record import CENTERED, STAGGERED, Bounds, DimSpec, FieldDescription
from h5scene.regions import faces_kept
from tests.records import tensor, vector

CELL = 0.3
ZERO_GRADIENT = {"type": "zero-gradient"}
PERIODIC = {"type": "periodic"}
SIZES = {"x": 0.3, "y": 0.7, "z": 2.0}

Array = np.ndarray[Any, Any]


def constant(value: float) -> dict[str, Any]:
    return {"type": "constant", "value": tensor(np.float64(value))}


def mixed(sides: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "mixed", "sides": dict(sides)}


@dataclass
class Grid:
    """A grid cut into blocks.

    Attributes:
        cuts: Number of cells of the blocks along each axis.
        dims: Names of the dims of the values, in order; `vector` is the channel dim.
        boundary: Of every block; `None` for one that says what it is at the outer sides.
        outer: Boundary of the whole.
        periods: Axes along which the communicator is periodic; `None` without a Cartesian one.
    """

    cuts: Mapping[str, Sequence[int]]
    dims: str
    field_type: str = CENTERED
    boundary: Mapping[str, Any] | None = None
    outer: Mapping[str, Any] | None = None
    periods: Mapping[str, bool] | None = None

    def __post_init__(self) -> None:
        self.axes = tuple(self.cuts)
        self.outer = self.outer or ZERO_GRADIENT
        self.is_staggered = self.field_type == STAGGERED
        self.names = ["vector" if name == "v" else name for name in self.dims]
        channels = len(self.axes) if self.is_staggered else 2
        self.cells = {axis: sum(cut) for axis, cut in self.cuts.items()}
        shape = [
            self.cells[n] + self.is_staggered if n in self.axes else channels for n in self.names
        ]
        self.values = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
        self.is_padding = np.zeros(shape, bool)
        if self.is_staggered:
            for axis, (i, own) in itertools.product(self.axes, enumerate(self.axes)):
                ends = self._at(axis, -1, i)
                if axis != own:
                    self.is_padding[ends] = True
                elif self.is_periodic(axis):
                    self.values[ends] = self.values[self._at(axis, 0, i)]
        self.places = list(itertools.product(*(range(len(cut)) for cut in self.cuts.values())))

    def is_periodic(self, axis: str) -> bool:
        """Whether the whole is periodic."""
        return bool((self.periods or {}).get(axis)) or self.outer == PERIODIC

    def _at(self, axis: str, index: int, component: int) -> tuple[Any, ...]:
        at: list[Any] = [slice(None)] * len(self.names)
        at[self.names.index(axis)] = index
        at[-1] = component
        return tuple(at)

    def block(self, place: Sequence[int]) -> tuple[Block, Array]:
        """Returns what the rank at a place has to say, and its values."""
        part, lower, upper = {}, [], []
        for axis, i in zip(self.axes, place, strict=True):
            cut = self.cuts[axis]
            start = sum(cut[:i])
            part[axis] = slice(start, start + cut[i] + self.is_staggered)
            lower.append(7 + SIZES[axis] * start)
            upper.append(7 + SIZES[axis] * (start + cut[i]))
        values = self.values[tuple(part.get(name, slice(None)) for name in self.names)].copy()
        boundary = self.boundary or self._boundary_at(place)
        if self.is_staggered:
            for (i, axis), upper_side in itertools.product(enumerate(self.axes), (False, True)):
                at_end = place[i] == (len(self.cuts[axis]) - 1 if upper_side else 0)
                knows = faces_kept(boundary, axis)[upper_side]
                if not knows and (self.is_periodic(axis) or not at_end):
                    values[self._at(axis, -1 if upper_side else 0, i)] = np.nan
        dims = [
            DimSpec(name, "spatial") if name in self.axes else DimSpec("vector", "channel", labels)
            for name, labels in ((n, self.axes if self.is_staggered else None) for n in self.names)
        ]
        bounds = Bounds(vector(lower, self.axes, np.float32), vector(upper, self.axes, np.float32))
        described = FieldDescription(self.field_type, tuple(dims), bounds, boundary, {})
        where = None
        if self.periods is not None:
            coords = [place[self.axes.index(a)] if a in self.axes else 0 for a in self.periods]
            where = Place(tuple(self.periods), tuple(coords), tuple(self.periods.values()))
        return Block(described, values.shape, values.dtype, where), values

    def _boundary_at(self, place: Sequence[int]) -> Mapping[str, Any]:
        """Returns the boundary of the whole at outer sides, and none that matters inside."""
        sides: dict[str, Any] = {}
        for axis, i in zip(self.axes, place, strict=True):
            # Along an axis in which the communicator is periodic, nothing is outside.
            is_inside = (self.periods or {}).get(axis, False)
            outer = ZERO_GRADIENT if is_inside else self.outer
            sides[axis + "-"] = outer if i == 0 else ZERO_GRADIENT
            sides[axis + "+"] = outer if i == len(self.cuts[axis]) - 1 else ZERO_GRADIENT
        return mixed(sides)


def assembled(whole: Tiling, values: Sequence[Array], form: Form) -> Array:
    """Returns the whole as ranks put it together, piece by piece; NaN where none has a value."""
    found = np.full(whole.shape, np.nan)
    for number in range(form.piece_count):
        box = form.box(number)
        givers = whole.givers(box)
        assert whole.owner(box) in range(len(values))
        for rank in range(len(values)):
            for target, source in whole.given(rank, box):
                assert rank in givers
                found[box][target] = values[rank][source]
    return found


def check(grid: Grid, order: Sequence[int], form: Form | None = None) -> Tiling:
    """Fails unless the blocks make up the grid they were cut from."""
    blocks = [grid.block(grid.places[i]) for i in order]
    whole = tiling("f", [block for block, _ in blocks])
    form = form or Form(whole.shape, whole.dtype, "fast")
    found = assembled(whole, [values for _, values in blocks], form)
    assert whole.shape == grid.values.shape
    np.testing.assert_array_equal(found[~grid.is_padding], grid.values[~grid.is_padding])
    bounds = whole.description.bounds
    assert bounds is not None
    first, last = (grid.block(place)[0] for place in (grid.places[0], grid.places[-1]))
    assert first.description.bounds is not None
    assert last.description.bounds is not None
    assert bounds.lower == first.description.bounds.lower
    assert bounds.upper == last.description.bounds.upper
    return whole


class SmallPieces(Form):
    """Pieces of a few values, as of an array of many MB."""

    @cached_property
    def piece_shape(self) -> tuple[int, ...]:
        return tuple(min(size, 3) for size in self.shape)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    axes = draw(st.sampled_from(["x", "xy", "xyz"]))
    cuts = {axis: draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)) for axis in axes}
    is_staggered = draw(st.booleans())
    dims = "".join(draw(st.permutations(axes))) + "v"
    outer = draw(st.sampled_from([ZERO_GRADIENT, PERIODIC, constant(2.0)]))
    periods = None
    if draw(st.booleans()):
        periods = {axis: draw(st.booleans()) for axis in axes}
    everywhere = outer if outer != constant(2.0) and draw(st.booleans()) else None
    field_type = STAGGERED if is_staggered else CENTERED
    return Grid(cuts, dims, field_type, everywhere, outer, periods)


@given(grids(), st.data())
def test_blocks_make_up_the_grid_they_were_cut_from(grid: Grid, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(grid.places))))
    shape = grid.values.shape
    check(grid, order, SmallPieces(shape, grid.values.dtype, "fast"))


def test_boundaries_of_the_whole_are_those_at_its_sides() -> None:
    cuts = {"x": [2, 3], "y": [4]}
    whole = check(Grid(cuts, "xyv", outer=constant(1.0)), [1, 0])
    assert whole.description.boundary == constant(1.0)
    whole = check(Grid(cuts, "xyv", boundary=PERIODIC, outer=PERIODIC), [0, 1])
    assert whole.description.boundary == PERIODIC
    whole = check(Grid(cuts, "xyv", outer=constant(1.0), periods={"x": True, "y": False}), [0, 1])
    assert whole.description.boundary == mixed({"x": PERIODIC, "y": constant(1.0)})


def changed(grid: Grid, rank: int, **changes: Any) -> list[Block]:
    """Returns the blocks, one of them described otherwise."""
    blocks = [grid.block(place)[0] for place in grid.places]
    own = {key: changes.pop(key) for key in ("shape", "dtype", "place") if key in changes}
    described = replace(blocks[rank].description, **changes)
    blocks[rank] = replace(blocks[rank], description=described, **own)
    return blocks


def moved(lower: float, upper: float) -> Bounds:
    return Bounds(
        vector([lower, 7], "xy", np.float32), vector([upper, 7 + 4 * SIZES["y"]], "xy", np.float32)
    )


ROW = Grid({"x": [4, 4, 4], "y": [4]}, "xyv")
SQUARE = Grid({"x": [4, 4], "y": [4, 4]}, "xyv")


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (changed(ROW, 1, field_type=STAGGERED), "that on rank 1 is a StaggeredGrid"),
        (changed(ROW, 2, dtype=np.dtype("float32")), "that on rank 2 has the dtype float32"),
        (changed(ROW, 1, attrs={"value_attrs": ["x"]}), "that on rank 1 has the attributes"),
        (changed(ROW, 1, shape=(4, 4, 3)), r"that on rank 1 has, beside its axes, the sizes \[3\]"),
        (changed(ROW, 1, bounds=moved(8.2, 9.1)), r"cells have the size 0\.3 on rank 0 and 0\.22"),
        (changed(ROW, 1, bounds=moved(8.35, 9.55)), "that on rank 1 reaches from 8.35 to 9.55"),
        (
            changed(ROW, 1, bounds=moved(7.9, 9.1)),
            "0 to 3, that on rank 1 the cells 3 to 6; they o",
        ),
        (changed(ROW, 2, bounds=moved(9.7, 10.9)), "4 to 7, that on rank 2 .* between them is a g"),
        (changed(ROW, 2, bounds=moved(8.2, 9.4)), "those on the ranks 1 and 2 have the same cells"),
        (changed(SQUARE, 3)[:3], r"no rank has the cells from \(x=4, y=4\) on"),
        (changed(SQUARE, 1, boundary=PERIODIC), "on the side 'x-' of the whole, .* 0 and 1 have"),
        (
            changed(ROW, 2, boundary=mixed({"x": PERIODIC, "y": ZERO_GRADIENT})),
            "periodic on one side of 'x' only",
        ),
        (
            changed(
                Grid(ROW.cuts, "xyv", periods={"x": False}), 1, place=Place(("x",), (2,), (False,))
            ),
            "rank 1 is at 2 in the communicator, its block at 1",
        ),
        (
            changed(Grid(ROW.cuts, "xyv", periods={"z": False}), 0),
            "no axis 'z'",
        ),
        (
            [
                Grid(ROW.cuts, "xyv", STAGGERED, boundary=constant(0.0)).block(place)[0]
                for place in ROW.places
            ],
            "neither the block of 'f' on rank 0 nor that on rank 1 has the values on the faces",
        ),
    ],
)
def test_blocks_that_do_not_fit_together(blocks: list[Block], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        tiling("f", blocks)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (changed(ROW, 1, field_type="Field", bounds=None), "rank 1 is a Field; only centered"),
        (changed(ROW, 1, bounds=moved(np.inf, np.inf)), "rank 1 has infinite bounds"),
        (
            changed(
                ROW,
                1,
                dims=(
                    DimSpec("x", "spatial", tuple("abcd")),
                    *ROW.block((0, 0))[0].description.dims[1:],
                ),
            ),
            "rank 1 has labels along its axes",
        ),
    ],
)
def test_blocks_that_cannot_be_put_together(blocks: list[Block], message: str) -> None:
    with pytest.raises(UnsupportedFieldError, match=message):
        tiling("f", blocks)
