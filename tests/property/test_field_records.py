"""Fields of every kind to records and back: nothing is lost.

Records are cut and stacked as PhiFlow cuts and stacks the fields, where PhiFlow does that right.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, assume, event, given, settings
from hypothesis import strategies as st
from phi.field import Field
from phiml import math
from phiml.math import batch, extrapolation

from h5scene.phi_fields import field_from_record, record_from_field
from h5scene.record import (
    DimSpec,
    FieldRecord,
    TensorRecord,
    map_boundary,
    slice_record,
    stack_records,
)
from tests.compare import (
    assert_same_bits,
    assert_same_boundary,
    assert_same_field,
    assert_same_tensor,
    assert_same_values,
    numbers,
)
from tests.strategies import DTYPES, dim, grid_fields

# Without shrinking, which takes minutes: PhiFlow takes 10 ms to make one staggered field.
many = settings(
    max_examples=int(os.environ.get("H5SCENE_FIELD_EXAMPLES", "25")),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=(
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ),
)
Mixed = extrapolation._MixedExtrapolation
NormalTangential = extrapolation._NormalTangentialExtrapolation


@many
@given(grid_fields())
def test_a_field_survives(field: Field) -> None:
    record = record_from_field(field)
    first = field_from_record(record, convert_to_backend=False)
    assert_same_field(first, field)
    assert record_from_field(first) == record
    # The first time, PhiFlow's constructor checks the description; now it is known.
    assert_same_field(field_from_record(record, convert_to_backend=False), field)
    assert_same_field(field_from_record(record, convert_to_backend=True), field)


@many
@given(grid_fields())
def test_precision_settings_do_not_reach_what_is_stored(field: Field) -> None:
    record = record_from_field(field)
    for bits in (16, 64):
        with math.precision(bits), np.errstate(all="ignore"):
            assert record_from_field(field) == record
            read = field_from_record(record)
        assert_same_field(read, field)


@many
@given(grid_fields())
def test_values_have_the_dims_of_the_field_in_its_order(field: Field) -> None:
    record = record_from_field(field)
    names = [spec.name for spec in record.description.dims]
    stored = [name for name in names if not name.startswith("~")]
    assert stored == [name for name in field.shape.names if name in stored]
    assert set(names) - {"vector"} == set(field.values.shape.names) - {"~vector", "vector"}
    sizes = dict(zip(names, record.values.shape, strict=True))
    for axis, size in zip(field.resolution.names, field.resolution.sizes, strict=True):
        assert sizes[axis] == size + field.is_staggered


@st.composite
def paddable_fields(draw: st.DrawFn) -> Field:
    """Draws staggered fields of float dtypes: PhiFlow's padding rounds integers to floats."""
    dtype = draw(st.sampled_from([dtype for dtype in DTYPES if dtype.kind in "fc"]))
    return draw(grid_fields(staggered=True, dtype=dtype, plain=True))


@many
@given(paddable_fields())
def test_padding_is_that_of_phiflow(field: Field) -> None:
    dtype = record_from_field(field).values.dtype
    try:
        with (
            math.precision(dtype.itemsize * (4 if dtype.kind == "c" else 8)),
            np.errstate(all="ignore"),
        ):
            padded = numbers(field.staggered_tensor(), tuple(field.shape.names))
    except Exception as error:  # noqa: BLE001  # PhiFlow raises anything where it cannot pad
        event(f"PhiFlow: {type(error).__name__}")
        assume(False)
    assume(is_order_certain(field.boundary))
    assume(padded.size)  # PhiFlow loses an empty component whose padding has a batch dim
    event(type(field.boundary).__name__)
    expected = padded if dtype.kind == "c" or padded.dtype.kind != "c" else padded.real
    values = record_from_field(field).values
    with np.errstate(all="ignore"):
        expected = expected.astype(dtype)
    if dtype.kind == "c":
        # PhiFlow's complex arithmetic changes the other part of a number that is not one.
        undefined = np.isnan(expected)
        assert np.isnan(values)[undefined].all()
        values, expected = values[~undefined], expected[~undefined]
    assert_same_bits(values, expected)


def is_order_certain(boundary: Any) -> bool:
    """Whether PhiFlow pads the same way in every process and sees each component's own boundary.

    Boundaries of one rank are padded in the order of a set of hashes. At a side given as `x`, not
    as `x-` and `x+`, PhiFlow takes the tangential part for every component.
    """
    if not isinstance(boundary, Mixed):
        return True
    leaves = []
    for side, part in boundary.ext.items():
        if isinstance(part, NormalTangential):
            if side[-1] not in "+-":
                return False
            leaves += [part.normal, part.tangential]
        else:
            leaves.append(part)
    ranks = [leaf.pad_rank for leaf in {id(leaf): leaf for leaf in leaves}.values()]
    return len(set(ranks)) == len(ranks)


@st.composite
def batched_fields(draw: st.DrawFn) -> Field:
    """Draws fields with a batch dim that is not empty; bounds and boundary may have it."""
    size = draw(st.integers(1, 3))
    labels = draw(st.none() | st.just(["p", "q", "r"][:size]))
    return draw(grid_fields(batch_dims=dim("batch", "b", size, labels), plain=True))


@many
@given(batched_fields(), st.data())
def test_a_slice_of_a_record_is_the_record_of_a_slice(field: Field, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, field.shape.get_size("b") - 1))
    sliced = field_from_record(slice_record(record_from_field(field), {"b": index}))
    precision = field.values.dtype.precision or 32
    try:
        with math.precision(precision), np.errstate(all="ignore"):
            expected = field[{"b": index}]
    except Exception as error:  # noqa: BLE001  # e.g. normal-tangential parts inside a condition
        event(f"PhiFlow: {type(error).__name__}")
        assume(False)
    assert_same_values(sliced, expected)
    for part in ("lower", "upper", "pos", "size"):
        ours, whole = getattr(sliced.bounds, part), getattr(field.bounds, part)
        assert_same_tensor(ours, exact_slice(whole, index), part)
    if is_sliced_by_phiflow(field.boundary):
        for axis in field.resolution.names:
            for side in (axis + "-", axis + "+"):
                assert_same_boundary(
                    at_side(sliced.boundary, side), at_side(expected.boundary, side)
                )
    assert "b" not in sliced.shape
    assert "b" not in sliced.bounds.shape


def at_side(boundary: Any, side: str) -> Any:
    """Returns what holds at one side; PhiFlow names sides anew when it slices."""
    return boundary._at_boundary(side) if isinstance(boundary, Mixed) else boundary


def exact_slice(tensor: Any, index: int) -> Any:
    """Returns a slice at the tensor's own precision."""
    with math.precision(tensor.dtype.precision or 32):
        return tensor[{"b": index}]


def is_sliced_by_phiflow(boundary: Any) -> bool:
    """Whether PhiFlow slices every tensor in the boundary: it forgets those inside most others."""
    if isinstance(boundary, Mixed):
        return all(is_sliced_by_phiflow(part) for part in boundary.ext.values())
    return type(boundary) is extrapolation.ConstantExtrapolation or not boundary.__dict__.keys() - {
        "pad_rank"
    }


@many
@given(batched_fields())
def test_stacked_slices_are_the_record(field: Field) -> None:
    record = record_from_field(field)
    spec = next(spec for spec in record.description.dims if spec.name == "b")
    slices = [slice_record(record, {"b": i}) for i in range(field.shape.get_size("b"))]
    stacked = stack_records(slices, spec)
    assert stacked.description.dims[0] == spec
    for i, part in enumerate(slices):
        assert slice_record(stacked, {"b": i}) == part
    read = field_from_record(stacked)
    assert sorted(read.shape.names) == sorted(field.shape.names)
    assert_same_values(read, field)


@st.composite
def similar_records(draw: st.DrawFn) -> tuple[FieldRecord, ...]:
    """Draws records that differ in values, bounds and numbers of the boundary, not in kind."""
    first = record_from_field(draw(grid_fields(plain=True)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))

    def other(tensor: TensorRecord) -> TensorRecord:
        """Replaces the numbers with as many of the same ones."""
        flat = tensor.data.reshape(-1)
        data = flat[rng.permutation(flat.size)].reshape(tensor.data.shape)
        return TensorRecord(tensor.dims, data)

    def changed() -> FieldRecord:
        described = first.description
        values = other(TensorRecord(described.dims, first.values)).data
        boundary = map_boundary(described.boundary, other)
        bounds = described.bounds
        bounds = type(bounds)(other(bounds.lower), other(bounds.upper), bounds.center, bounds.size)
        parts = {name: getattr(described, name) for name in ("field_type", "dims", "attrs")}
        return FieldRecord(type(described)(**parts, bounds=bounds, boundary=boundary), values)

    return (first, *(changed() for _ in range(draw(st.integers(0, 2)))))


@many
@given(similar_records())
def test_slices_of_stacked_records_are_the_records(records: tuple[FieldRecord, ...]) -> None:
    stacked = stack_records(records, DimSpec("n", "batch"))
    for i, record in enumerate(records):
        part = slice_record(stacked, {"n": i})
        # Centre and size are only named if they are not what the corners give.
        assert_same_field(field_from_record(part), field_from_record(record))


@many
@given(similar_records())
def test_records_stack_like_fields(records: tuple[FieldRecord, ...]) -> None:
    record = stack_records(records, DimSpec("n", "batch"))
    assert record.description.dims[0] == DimSpec("n", "batch")
    stacked = field_from_record(record)
    fields = [field_from_record(record) for record in records]
    try:
        with math.precision(fields[0].values.dtype.precision or 32), np.errstate(all="ignore"):
            expected = math.stack(fields, batch("n"))
    except Exception as error:  # noqa: BLE001  # PhiFlow raises anything where it cannot stack
        event(f"PhiFlow: {type(error).__name__}")
        assume(False)
    assert isinstance(expected, Field)
    assert_same_values(stacked, expected)
    # A stack of one has the dim last in PhiFlow, of more than one first.
    assert sorted(stacked.shape.names) == sorted(expected.shape.names)
