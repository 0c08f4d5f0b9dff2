"""A region that is read is what slicing the whole field gives: values, bounds, boundary, labels."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phi.field import CenteredGrid, Field, StaggeredGrid
from phi.geom import Box
from phiml.math import batch, channel, extrapolation, spatial, wrap

from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.phi_fields import field_from_record, record_from_field
from h5scene.record import Array, FieldRecord
from h5scene.regions import Region, faces_kept, part_of, runs
from tests.compare import assert_same_bits, components, numbers
from tests.strategies import grid_fields

ZERO_GRADIENT, PERIODIC = extrapolation.ZERO_GRADIENT, extrapolation.PERIODIC


def region_of(field: Field, region: Region) -> FieldRecord:
    """Returns the region of a field, taken out of its stored values run by run, as readers do."""
    whole = record_from_field(field)
    part = part_of(whole, region)
    values = np.full(part.shape, 0, whole.values.dtype)
    for source, place in runs(part.picks):
        values[place] = whole.values[source]
    return part.record(values)


@st.composite
def slices(draw: st.DrawFn, size: int) -> slice:
    """Draws a slice that takes something of `size` entries, ends from either side."""
    start = draw(st.integers(0, size - 1))
    stop = draw(st.integers(start + 1, size))
    return slice(
        draw(st.sampled_from([start, start - size, None][: 3 if start == 0 else 2])),
        draw(st.sampled_from([stop, stop - size, None][:: 2 if stop == size else 1][:2])),
    )


@st.composite
def regions(draw: st.DrawFn, field: Field) -> dict[str, Any]:
    """Draws a region of a grid, without components of staggered grids."""
    resolution = field.resolution
    region: dict[str, Any] = {}
    for name, size, labels in zip(
        field.values.shape.names, field.values.shape.sizes, field.values.shape.labels, strict=True
    ):
        if name in resolution:
            size, labels = resolution.get_size(name), field.values.shape.get_labels(name)
        if not isinstance(size, int) or not size or name == "~vector" or draw(st.booleans()):
            continue
        kinds = [slices(size)]
        if name not in resolution:
            kinds.append(
                st.lists(
                    st.integers(-size, size - 1),
                    min_size=1,
                    max_size=3,
                    unique_by=partial(_modulo, size),
                )
            )
        if not (field.is_staggered and name in resolution):
            kinds.append(st.integers(-size, size - 1))
            if labels:
                kinds.append(st.sampled_from(labels))
        region[name] = draw(st.one_of(kinds))
    return region


def _modulo(size: int, number: int) -> int:
    return number % size


def entries(selection: Any, size: int, labels: Any) -> Any:
    """Returns what NumPy takes for a selection along one axis."""
    if isinstance(selection, str):
        return labels.index(selection)
    return selection if isinstance(selection, (int, slice)) else list(selection)


def indexed(array: Array, names: tuple[str, ...], index: dict[str, Any]) -> Array:
    """Returns the entries of an array, axis by axis."""
    for axis in reversed(range(array.ndim)):
        taken = index.get(names[axis], slice(None))
        array = (
            array.take(taken, axis)
            if not isinstance(taken, slice)
            else array[(slice(None),) * axis + (taken,)]
        )
    return array


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_values_of_any_region_of_any_grid(data: st.DataObject) -> None:
    field = data.draw(grid_fields())
    region = data.draw(regions(field))
    resolution = field.resolution
    if not resolution.volume and region:
        with pytest.raises(InvalidInputError, match="without cells"):
            region_of(field, region)
        return
    if all(isinstance(region.get(axis), (int, str)) for axis in resolution.names):
        with pytest.raises(InvalidInputError, match="single cell"):
            region_of(field, region)
        return
    record = region_of(field, region)
    with np.errstate(all="ignore"):
        part = field_from_record(record, convert_to_backend=False)
        assert part.is_staggered == field.is_staggered
    axes = field.resolution.names
    cells = {
        axis: range(size)[
            entries(region.get(axis, slice(None)), size, field.values.shape.get_labels(axis))
        ]
        for axis, size in zip(axes, field.resolution.sizes, strict=True)
    }
    labels = {name: field.values.shape.get_labels(name) for name in field.values.shape.names}
    other = {
        name: entries(selection, 0, labels[name])
        for name, selection in region.items()
        if name not in axes
    }
    parts = components(part)
    for i, whole in enumerate(components(field)):
        index = dict(other)
        for axis, taken in cells.items():
            if isinstance(taken, int):
                index[axis] = taken
            elif not field.is_staggered or axis != axes[i]:
                index[axis] = slice(taken.start, taken.stop)
            else:
                first = int(not field.boundary.valid_outer_faces(axis)[0])
                kept = part.boundary.valid_outer_faces(axis)
                begin, end = taken.start + int(not kept[0]), taken.stop + int(kept[1])
                if end - first > whole.shape.get_size(axis):
                    # The other end of a periodic axis: the file holds it, the field does not.
                    end -= 1
                    parts[i] = parts[i][{axis: slice(0, -1)}]
                index[axis] = slice(begin - first, end - first)
            expected = indexed(numbers(whole), whole.shape.names, index)
        left = tuple(name for name in whole.shape.names if not isinstance(index.get(name), int))
        assert_same_bits(numbers(parts[i], left), expected, f"component {i}")


FLOWS = {
    "open": ZERO_GRADIENT,
    "periodic": PERIODIC,
    "closed": 0,
    "inflow": {"x-": wrap([1.0, 2.0], channel(vector="x,y")), "x+": ZERO_GRADIENT, "y": PERIODIC},
    "profile": {"x-": wrap(np.arange(6.0), spatial("y")), "x+": 0, "y": ZERO_GRADIENT},
    "normal": {"x": {"normal": 1, "tangential": ZERO_GRADIENT}, "y": 0},
    "undefined": extrapolation.Undefined(ZERO_GRADIENT),
}


def side(boundary: Any, axis: str, upper: bool) -> Any:
    """Returns PhiFlow's boundary at one side."""
    is_mixed = isinstance(boundary, extrapolation._MixedExtrapolation)
    return boundary._at_boundary(axis + "-+"[upper]) if is_mixed else boundary


def assert_boundary(part: Field, expected: Any, cut: dict[str, tuple[bool, bool]]) -> None:
    """Fails unless the boundary is the expected one where nothing was cut off, and nearest else."""
    for axis, ends in cut.items():
        for upper, is_cut in enumerate(ends):
            wanted = side(expected, axis, bool(upper))
            if is_cut or (any(ends) and wanted == PERIODIC):
                wanted = ZERO_GRADIENT
            assert side(part.boundary, axis, bool(upper)) == wanted, (axis, upper)


@pytest.mark.parametrize("boundary", FLOWS)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_a_region_is_what_phiflow_slices(boundary: str, data: st.DataObject) -> None:
    box = data.draw(st.sampled_from([Box(x=8, y=6), Box(x=(-1.5, 3), y=(0.1, 0.7))]))
    values = wrap(
        np.random.default_rng(0).random((3, 8, 6, 2), np.float32),
        batch("b"),
        spatial("x,y"),
        channel(vector="x,y"),
    )
    whole = CenteredGrid(values, FLOWS[boundary], box)
    item: dict[str, Any] = {axis: data.draw(slices(n)) for axis, n in (("x", 8), ("y", 6))}
    others: list[dict[str, Any]] = [{}, {"b": slice(1, 3)}, {"vector": "x"}, {"vector": 1, "b": 1}]
    # PhiFlow 3.4 takes the tangential boundary for the normal component.
    item |= data.draw(st.sampled_from(others[: 2 if boundary == "normal" else 4]))
    part = field_from_record(region_of(whole, item))
    # PhiFlow takes a stop of 0 for the end, and gives wrong bounds for ends beyond the grid.
    plain = {
        n: s if not isinstance(s, slice) else slice(*s.indices({"x": 8, "y": 6, "b": 3}[n]))
        for n, s in item.items()
    }
    sliced = whole[plain]
    assert part.resolution == sliced.resolution
    assert set(part.shape) == set(sliced.shape)
    order = sliced.values.shape.names
    np.testing.assert_array_equal(part.values.numpy(order), sliced.values.numpy(order))
    for corner in ("lower", "upper"):
        ours, theirs = (getattr(f.bounds, corner) for f in (part, sliced))
        np.testing.assert_allclose(
            ours.numpy("vector"), theirs.numpy("vector"), rtol=1e-5, atol=1e-6
        )
    cut = {n: (plain[n].start > 0, plain[n].stop < size) for n, size in (("x", 8), ("y", 6))}
    assert_boundary(part, sliced.boundary, cut)


@pytest.mark.parametrize("boundary", FLOWS)
@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_component_of_a_staggered_grid_is_what_phiflow_slices(boundary: str, axis: str) -> None:
    outside = FLOWS[boundary]
    if boundary == "profile":
        outside = {"x-": 3, "x+": ZERO_GRADIENT, "y": 0}
    whole = StaggeredGrid(lambda x: x * 1.5 + 1, outside, Box(x=8, y=(1, 3)), x=8, y=6)
    part = field_from_record(region_of(whole, {"vector": axis}))
    sliced = whole[{"vector": axis}]
    assert not part.is_staggered
    assert part.resolution == sliced.resolution
    np.testing.assert_array_equal(part.values.numpy("x,y"), sliced.values.numpy("x,y"))
    for corner in ("lower", "upper"):
        ours, theirs = (getattr(f.bounds, corner).numpy("vector") for f in (part, sliced))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    expected = sliced.boundary
    if boundary == "normal":  # PhiFlow 3.4 takes the other one for the first component
        normal, tangential = 1, ZERO_GRADIENT
        expected = {"x": normal if axis == "x" else tangential, "y": 0}
        expected = CenteredGrid(0, expected, x=1, y=1).boundary
    for side_axis in "xy":
        for upper in (False, True):
            assert side(part.boundary, side_axis, upper) == side(expected, side_axis, upper)
    same = field_from_record(region_of(whole, {"vector": "xy".index(axis)}))
    assert same.values.numpy("x,y").tobytes() == part.values.numpy("x,y").tobytes()


@pytest.mark.parametrize("boundary", FLOWS)
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_faces_keep_their_place_in_space(boundary: str, data: st.DataObject) -> None:
    """The value at each face of a region says where the face lies."""
    outside = FLOWS[boundary]
    if boundary == "profile":
        outside = {"x-": 3, "x+": ZERO_GRADIENT, "y": 0}
    box = Box(x=(10, 18), y=(-3, 0))
    whole = StaggeredGrid(lambda x: x, outside, box, x=8, y=6)
    item: dict[str, Any] = {axis: data.draw(slices(n)) for axis, n in (("x", 8), ("y", 6))}
    part = field_from_record(region_of(whole, item))
    assert part.is_staggered
    for axis in "xy":
        places = part.points[{"~vector": axis}].vector[axis]
        found = part.values[{"~vector": axis}]
        # A periodic axis ends where it begins.
        beyond = np.isclose(places.numpy("x,y"), float(box.upper.vector[axis]))
        wrong = ~np.isclose(places.numpy("x,y"), found.numpy("x,y"), atol=1e-5)
        assert not (wrong & ~beyond).any()
        if boundary != "periodic" and not (boundary == "inflow" and axis == "y"):
            assert not wrong.any()
        alone = field_from_record(region_of(whole, {**item, "vector": axis}))
        np.testing.assert_allclose(
            alone.points.vector[axis].numpy("x,y"), places.numpy("x,y"), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_array_equal(alone.values.numpy("x,y"), found.numpy("x,y"))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_faces_that_a_boundary_determines_are_those_of_phiflow(data: st.DataObject) -> None:
    field = data.draw(grid_fields(axes="xy", staggered=True))
    record = record_from_field(field)
    for axis in "xy":
        expected = tuple(map(bool, field.boundary.valid_outer_faces(axis)))
        assert faces_kept(record.description.boundary, axis) == expected


@given(size=st.integers(1, 9), data=st.data())
@settings(max_examples=100, deadline=None)
def test_runs_take_what_the_picks_do(size: int, data: st.DataObject) -> None:
    array = np.arange(size * 5).reshape(size, 5)
    rows = data.draw(
        st.lists(st.integers(0, size - 1), min_size=1, max_size=6) | st.integers(0, size - 1)
    )
    columns = data.draw(st.sampled_from([range(5), range(1, 5, 2), (4, 0, 1), 3]))
    expected = np.take(np.take(array, columns, 1), rows, 0)
    found = np.full(expected.shape, -1)
    steps = 0
    for source, place in runs([rows, columns]):
        assert all((part.step or 1) >= 1 for part in source)
        found[place] = array[source]
        steps += 1
    assert (found == expected).all()
    assert steps <= (len(rows) if isinstance(rows, list) else 1) * 3


def test_a_description_that_does_not_fit_is_corrupt() -> None:
    described = record_from_field(CenteredGrid(0, 0, x=4, y=3)).description
    with pytest.raises(CorruptDataError):
        part_of(FieldRecord(described, np.zeros(4)), {"x": 1})
