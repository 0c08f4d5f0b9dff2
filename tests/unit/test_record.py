"""Records: equality by bits, what a box derives from its corners, slices and stacks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from h5scene.errors import BatchMismatchError, CorruptDataError
from h5scene.record import (
    CENTERED,
    STAGGERED,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    TensorRecord,
    derived_center,
    derived_size,
    map_boundary,
    named_dims,
    same_bits,
    slice_record,
    stack_records,
)

B = DimSpec("b", "batch")
X, Y = DimSpec("x", "spatial"), DimSpec("y", "spatial")
VECTOR = DimSpec("vector", "channel", ("x", "y"))
N = DimSpec("n", "batch", ("first", "second"))


def vector(*numbers: float, dtype: Any = np.float32) -> TensorRecord:
    """Returns one number per axis."""
    return TensorRecord((VECTOR,), np.array(numbers, dtype))


def constant(value: Any, *dims: DimSpec, dtype: Any = np.float32) -> dict[str, Any]:
    """Returns a constant boundary."""
    return {"type": "constant", "value": TensorRecord(dims, np.array(value, dtype))}


def record(values: Any, *dims: DimSpec, **description: Any) -> FieldRecord:
    """Returns a centered record on 2×3 cells of a unit box, unless otherwise described."""
    parts: dict[str, Any] = {
        "field_type": CENTERED,
        "dims": dims or (X, Y),
        "bounds": Bounds(vector(0, 0), vector(1, 1)),
        "boundary": constant(0),
        "attrs": {},
    }
    return FieldRecord(FieldDescription(**{**parts, **description}), np.asarray(values))


ZEROS = np.zeros((2, 3), np.float32)


# --- equality -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.array([0.0]), np.array([-0.0])),
        (np.array([1], np.int32), np.array([1], np.int64)),
        (np.array([1.0]), np.array([[1.0]])),
        (np.array(1.0), np.array([1.0])),
        (
            np.array([0x7FF8000000000000], np.uint64).view("f8"),
            np.array([0x7FF8000000000001], np.uint64).view("f8"),
        ),
    ],
    ids=["signed zero", "dtype", "rank", "0-d", "NaN payload"],
)
def test_different_bits_are_told_apart(a: Any, b: Any) -> None:
    assert same_bits(a, a.copy())
    assert same_bits(b, b.copy())
    assert not same_bits(a, b)


@pytest.mark.parametrize("sizes", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_the_layout_in_memory_does_not_count(sizes: tuple[int, ...]) -> None:
    array = np.arange(np.prod(sizes, dtype=int), dtype=np.complex64).reshape(sizes)
    assert same_bits(array, np.asfortranarray(array).reshape(sizes))
    if array.ndim:
        assert same_bits(array, np.repeat(array, 2, axis=0)[::2])


def test_equal_tensor_records_have_equal_hashes() -> None:
    a, b = vector(1, 2), TensorRecord((VECTOR,), np.array([1, 9, 2, 9], np.float32)[::2])
    assert a == b
    assert hash(a) == hash(b)
    assert a != vector(1, 2, dtype=np.float64)
    assert a != TensorRecord((replace(VECTOR, labels=None),), a.data)
    assert a != "a tensor"


def test_records_differ_by_description_and_by_values() -> None:
    assert record(ZEROS) == record(ZEROS.copy())
    assert record(ZEROS) != record(-ZEROS)
    assert record(ZEROS) != record(ZEROS, boundary=constant(-0.0))
    assert record(ZEROS) != record(ZEROS, attrs={"value_attrs": []})
    assert record(ZEROS) != 0
    with pytest.raises(TypeError):
        hash(record(ZEROS))


def test_a_tensor_record_has_a_dim_per_axis() -> None:
    with pytest.raises(AssertionError):
        TensorRecord((X,), ZEROS)


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lower", "upper", "size", "center"),
    [
        (np.int64([0, 1]), np.int64([3, 4]), np.int64([3, 3]), np.float64([1.5, 2.5])),
        (np.int64([0, 0]), np.float32([0.1, 2]), np.float32([0.1, 2]), np.float32([0.05, 1])),
        (np.float64([0, 0]), np.float64([0.1, 2]), np.float32([0.1, 2]), np.float32([0.05, 1])),
        (
            np.float16([0.1, 0]),
            np.float16([1, 2]),
            np.float32([0.9000244, 2]),
            np.float32([0.5499878, 1]),
        ),
        (
            np.float32([-np.inf, 0]),
            np.float32([np.inf, np.inf]),
            np.float32([np.inf] * 2),
            np.float32([np.nan, np.inf]),
        ),
    ],
    ids=["integers", "mixed", "double", "half", "infinite"],
)
def test_size_and_centre_follow_from_the_corners(
    lower: Any, upper: Any, size: Any, center: Any
) -> None:
    corners = TensorRecord((VECTOR,), lower), TensorRecord((VECTOR,), upper)
    assert derived_size(*corners).dims == (VECTOR,)
    for derived, expected in (
        (derived_size(*corners).data, size),
        (derived_center(*corners).data, center),
    ):
        assert derived.dtype == expected.dtype
        np.testing.assert_array_equal(derived, expected)


def test_corners_with_different_dims_say_neither_size_nor_centre() -> None:
    upper = TensorRecord((B, VECTOR), np.ones((2, 2), np.float32))
    for derive in (derived_size, derived_center):
        with pytest.raises(CorruptDataError, match="corners differ"):
            derive(vector(0, 0), upper)


def test_bounds_name_their_axes() -> None:
    assert Bounds(vector(0, 0), vector(1, 1)).axes == ("x", "y")
    unnamed = TensorRecord((DimSpec("vector", "channel"),), np.zeros(2))
    with pytest.raises(ValueError, match="labelled vector"):
        _ = Bounds(unnamed, unnamed).axes


# --- slices ---------------------------------------------------------------------------------------


def batched() -> FieldRecord:
    """Returns a record with a batch dim in values, one corner, and two levels of the boundary."""
    inner = record(np.arange(12.0).reshape(3, 2, 2), Y, B, X, boundary=constant([5, 6], B))
    boundary = {
        "type": "mixed",
        "sides": {
            "x": constant([[1, 2], [3, 4]], B, VECTOR),
            "y": {"type": "field", "field": inner},
        },
    }
    bounds = Bounds(
        vector(0, 0),
        TensorRecord((B, VECTOR), np.float32([[1, 2], [3, 4]])),
        TensorRecord((B, VECTOR), np.float32([[0.5, 1], [7, 8]])),
        TensorRecord((B, VECTOR), np.float32([[1, 2], [3, 4]])),
    )
    values = np.arange(12, dtype=np.int8).reshape(2, 2, 3)
    return record(values, X, B, Y, bounds=bounds, boundary=boundary)


def test_a_slice_is_cut_from_everything_that_has_the_dim() -> None:
    part = slice_record(batched(), {"b": 1})
    described: Any = part.description
    assert described.dims == (X, Y)
    np.testing.assert_array_equal(part.values, [[3, 4, 5], [9, 10, 11]])
    assert part.values.dtype == np.int8
    assert described.bounds.lower == vector(0, 0)
    assert described.bounds.upper == vector(3, 4)
    assert described.bounds.center == vector(7, 8)
    assert described.bounds.size is None  # without the batch dim it follows from the corners
    assert described.boundary["sides"]["x"]["value"] == vector(3, 4)
    inner = described.boundary["sides"]["y"]["field"]
    assert inner.description.dims == (Y, X)
    np.testing.assert_array_equal(inner.values, [[2, 3], [6, 7], [10, 11]])
    assert inner.description.boundary == constant(6)


def test_a_slice_counts_from_the_end_too() -> None:
    assert slice_record(batched(), {"b": -1}) == slice_record(batched(), {"b": 1})


def test_a_slice_shares_what_lacks_the_dim() -> None:
    whole = record(ZEROS)
    part = slice_record(whole, {"b": 1, "c": 0})
    assert part == whole
    assert part.values is whole.values
    assert slice_record(whole, {}) is whole


@pytest.mark.parametrize("index", [2, -3])
def test_a_slice_outside_is_refused(index: int) -> None:
    with pytest.raises(
        BatchMismatchError, match=f"no entry {index} along the batch dim 'b' of size 2"
    ):
        slice_record(batched(), {"b": index})


def test_named_dims_are_those_of_the_values_and_batch_dims_of_all_parts() -> None:
    assert named_dims(batched()) == {"x": (X, 2), "b": (B, 2), "y": (Y, 3)}
    described = record(ZEROS, boundary=constant([[1, 2], [3, 4], [5, 6]], B, VECTOR))
    assert named_dims(described) == {"x": (X, 2), "y": (Y, 3), "b": (B, 3)}


def test_map_boundary_reaches_every_tensor() -> None:
    seen = []

    def note(tensor: TensorRecord) -> TensorRecord:
        seen.append(tensor.data.shape)
        return TensorRecord(tensor.dims, tensor.data + 1)

    changed: Any = map_boundary(batched().description.boundary, note)
    # The constant, the values of the embedded field, its two corners, its own constant.
    assert seen == [(2, 2), (3, 2, 2), (2,), (2,), (2,)]
    np.testing.assert_array_equal(changed["sides"]["x"]["value"].data, [[2, 3], [4, 5]])
    assert changed["sides"]["y"]["field"].values[0, 0, 0] == 1


# --- stacks ---------------------------------------------------------------------------------------


def test_what_is_equal_is_not_stacked() -> None:
    stacked = stack_records([record(ZEROS), record(ZEROS + 1)], N)
    assert stacked == record(np.stack([ZEROS, ZEROS + 1]), N, X, Y)


def test_what_differs_is_stacked() -> None:
    bounds = Bounds(vector(0, 0), vector(1, 2))
    stacked = stack_records([record(ZEROS), record(ZEROS, bounds=bounds, boundary=constant(7))], N)
    lower, upper = (
        TensorRecord((N, VECTOR), np.float32(c)) for c in ([[0, 0], [0, 0]], [[1, 1], [1, 2]])
    )
    assert stacked.description.bounds == Bounds(lower, upper)
    assert stacked.description.boundary == constant([0, 7], N)


def test_a_constant_that_differs_by_the_sign_of_zero_is_stacked() -> None:
    stacked: Any = stack_records([record(ZEROS), record(ZEROS, boundary=constant(-0.0))], N)
    np.testing.assert_array_equal(
        np.signbit(stacked.description.boundary["value"].data), [False, True]
    )


def test_centres_that_do_not_follow_from_the_corners_stay() -> None:
    odd = Bounds(vector(0, 0), vector(1, 1), vector(0.25, 0.5))
    bounds = stack_records([record(ZEROS, bounds=odd), record(ZEROS)], N).description.bounds
    assert bounds.center == TensorRecord((N, VECTOR), np.float32([[0.25, 0.5], [0.5, 0.5]]))
    assert bounds.size is None


def test_corners_of_different_dtypes_stack_exactly() -> None:
    integers = Bounds(vector(0, 0, dtype=np.int64), vector(1, 2, dtype=np.int64))
    bounds = stack_records([record(ZEROS), record(ZEROS, bounds=integers)], N).description.bounds
    np.testing.assert_array_equal(bounds.upper.data, [[1, 1], [1, 2]])
    assert bounds.center is not None
    np.testing.assert_array_equal(bounds.center.data, [[0.5, 0.5], [0.5, 1]])


def test_dims_may_come_in_another_order() -> None:
    other = record(np.arange(6, dtype=np.float32).reshape(3, 2), Y, X)
    stacked = stack_records([record(ZEROS), other], N)
    assert stacked.description.dims == (N, X, Y)
    np.testing.assert_array_equal(stacked.values[1], [[0, 2, 4], [1, 3, 5]])


def test_a_missing_batch_dim_is_added() -> None:
    other = record(np.ones((2, 2, 3), np.float32), B, X, Y)
    stacked = stack_records([record(ZEROS), other], N)
    assert stacked.description.dims == (N, B, X, Y)
    np.testing.assert_array_equal(stacked.values[:, :, 0, 0], [[0, 0], [1, 1]])


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (("p", "q"), ("p", "q"), ("p", "q")),
        (None, ("p", "q"), ("p", "q")),
        (("p", "q"), ("q", "p"), None),
    ],
)
def test_labels_that_differ_are_dropped(first: Any, second: Any, kept: Any) -> None:
    parts = [record(ZEROS, replace(X, labels=labels), Y) for labels in (first, second)]
    assert stack_records(parts, N).description.dims == (N, replace(X, labels=kept), Y)


def test_embedded_fields_are_stacked() -> None:
    boundaries = [{"type": "field", "field": record(ZEROS + i)} for i in range(2)]
    stacked: Any = stack_records([record(ZEROS, boundary=b) for b in boundaries], N)
    assert stacked.description.boundary["field"].description.dims == (N, X, Y)
    same: Any = stack_records([record(ZEROS, boundary=boundaries[0])] * 2, N)
    assert same.description.boundary["field"] == record(ZEROS)


def test_scenes_may_be_the_components_of_a_vector() -> None:
    stacked = stack_records([record(ZEROS), record(ZEROS + 1)], VECTOR)
    assert stacked.description.dims == (VECTOR, X, Y)
    assert stacked.description.bounds == record(ZEROS).description.bounds
    other = record(ZEROS, bounds=Bounds(vector(0, 0), vector(1, 2)))
    with pytest.raises(BatchMismatchError, match="lower corners that have a dim 'vector'"):
        stack_records([record(ZEROS), other], VECTOR)


def other_axes() -> FieldRecord:
    """Returns a record whose physical axes are in another order."""
    corner = TensorRecord((replace(VECTOR, labels=("y", "x")),), np.zeros(2, np.float32))
    return record(ZEROS, bounds=Bounds(corner, corner))


FACES = (X, Y, VECTOR)
SWAPPED = (X, Y, replace(VECTOR, labels=("y", "x")))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            [record(ZEROS), record(ZEROS, field_type=STAGGERED)],
            "a StaggeredGrid and a CenteredGrid",
        ),
        ([record(ZEROS), record(ZEROS, attrs={"value_attrs": []})], "attributes"),
        ([record(ZEROS), record(ZEROS[:1])], "1 entries|2 and 1"),
        ([record(ZEROS), record(ZEROS, DimSpec("x", "instance"), Y)], "spatial and instance"),
        ([record(ZEROS), record(ZEROS[0], Y)], r"dims \(y\) and \(x, y\)"),
        ([record(ZEROS), record(ZEROS, boundary={"type": "periodic"})], "kinds of boundary"),
        (
            [
                record(ZEROS, boundary={"type": "none"}),
                record(ZEROS, boundary={"type": "periodic"}),
            ],
            "kinds of boundary",
        ),
        ([record(ZEROS), other_axes()], "axes differ"),
        ([record(ZEROS[None], N, X, Y)], "have a dim 'n'"),
        ([record(ZEROS), record(ZEROS, boundary=constant([1, 2], N))], "have a dim 'n'"),
        (
            [record(np.zeros((3, 3, 2)), *dims, field_type=STAGGERED) for dims in (FACES, SWAPPED)],
            "axes differ",
        ),
        ([record([2**60 + 1], X), record([0.5], X)], "dtype int64 with float64"),
    ],
)
def test_records_that_do_not_match_are_refused(parts: list[FieldRecord], message: str) -> None:
    with pytest.raises(BatchMismatchError, match=message) as info:
        stack_records(parts, N)
    assert "along 'n'; read them one at a time" in str(info.value)


def test_integers_that_floats_can_hold_are_stacked_with_floats() -> None:
    stacked = stack_records([record([2**52 + 1], X), record([0.5], X)], N)
    np.testing.assert_array_equal(stacked.values, [[2**52 + 1], [0.5]])
