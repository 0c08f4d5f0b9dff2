"""What it means that two fields are the same: every bit, dtype, dim, label and boundary.

Nothing here uses h5scene: numbers are read by PhiML at each tensor's own precision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from phi.field import Field
from phi.field._embed import FieldEmbedding
from phiml import math
from phiml.backend._dtype import to_numpy_dtype
from phiml.math import Shape, Tensor, extrapolation

Array = np.ndarray[Any, Any]


def described(shape: Shape) -> list[tuple[str, str, Any, Any]]:
    """Returns name, type, size and labels of every dim, in order."""
    return list(zip(shape.names, shape.dim_types, shape.sizes, shape.labels, strict=True))


def numbers(tensor: Tensor, order: tuple[str, ...] | None = None) -> Array:
    """Returns the numbers of a uniform tensor in its own dtype."""
    dtype = np.dtype(to_numpy_dtype(tensor.dtype))
    names = tensor.shape.names if order is None else order
    with math.precision({"f": 8, "c": 4}.get(dtype.kind, 0) * dtype.itemsize or 32):
        native = tensor.numpy(names) if names else tensor.numpy()
    return np.ascontiguousarray(np.asarray(native).astype(dtype)).reshape(np.shape(native))


def assert_same_bits(actual: Array, expected: Array, what: str = "") -> None:
    """Fails unless dtype, sizes and every bit agree; NaN payloads and signed zeros count."""
    assert actual.dtype == expected.dtype, what
    assert actual.shape == expected.shape, what
    assert actual.tobytes() == expected.tobytes(), f"{what}: {actual} is not {expected}"


def assert_same_tensor(actual: Tensor, expected: Tensor, what: str = "") -> None:
    """Fails unless the tensors agree in the order of their dims, labels, dtype and every bit."""
    assert described(actual.shape) == described(expected.shape), what
    assert actual.dtype == expected.dtype, what
    assert_same_bits(numbers(actual), numbers(expected), what)


def components(field: Field) -> list[Tensor]:
    """Returns the values, or those of each component of a staggered grid."""
    return list(math.unstack(field.values, "~vector")) if field.is_staggered else [field.values]


def assert_same_values(actual: Field, expected: Field) -> None:
    """Fails unless the values agree in everything but the order of their dims."""
    assert actual.is_staggered == expected.is_staggered
    assert actual.values.dtype == expected.values.dtype
    if expected.is_staggered:
        faces, wanted = (described(f.values.shape["~vector"]) for f in (actual, expected))
        assert faces == wanted
    for i, (ours, theirs) in enumerate(zip(components(actual), components(expected), strict=True)):
        assert sorted(described(ours.shape), key=_name) == sorted(
            described(theirs.shape), key=_name
        )
        order = tuple(theirs.shape.names)
        assert_same_bits(numbers(ours, order), numbers(theirs, order), f"component {i}")


def _name(dim: tuple[Any, ...]) -> str:
    return str(dim[0])


def assert_same_bounds(actual: Field, expected: Field) -> None:
    """Fails unless the grids agree in resolution, corners, centre, size and traced attributes."""
    assert described(actual.geometry.resolution) == described(expected.geometry.resolution)
    assert actual.bounds.variable_attrs == expected.bounds.variable_attrs
    for part in ("pos", "size", "lower", "upper"):
        assert_same_tensor(getattr(actual.bounds, part), getattr(expected.bounds, part), part)
    # The order depends on PhiML's class of shape, which depends on how the box was made.
    shapes = [sorted(described(f.geometry.shape), key=_name) for f in (actual, expected)]
    assert shapes[0] == shapes[1]


def assert_same_boundary(actual: Any, expected: Any) -> None:
    """Fails unless the boundaries agree; `==` of PhiML's has a tolerance and ignores dtypes."""
    assert type(actual) is type(expected)
    match expected:
        case extrapolation.ConstantExtrapolation():
            assert_same_tensor(actual.value, expected.value, "constant")
        case extrapolation._MixedExtrapolation():
            assert list(actual.ext) == list(expected.ext)
            for side, part in expected.ext.items():
                assert_same_boundary(actual.ext[side], part)
        case extrapolation._NormalTangentialExtrapolation():
            assert_same_boundary(actual.normal, expected.normal)
            assert_same_boundary(actual.tangential, expected.tangential)
        case extrapolation._ConditionalExtrapolation():
            assert_same_tensor(actual.mask, expected.mask, "mask")
            assert_same_boundary(actual.true_ext, expected.true_ext)
            assert_same_boundary(actual.false_ext, expected.false_ext)
        case extrapolation.Undefined():
            assert_same_boundary(actual.derived_from, expected.derived_from)
        case FieldEmbedding():
            assert_same_field(actual.field, expected.field)


def assert_same_field(actual: Field, expected: Field) -> None:
    """Fails unless nothing that PhiFlow sees differs, except the order of the values' own dims."""
    assert described(actual.shape) == described(expected.shape)
    assert_same_values(actual, expected)
    assert_same_bounds(actual, expected)
    assert_same_boundary(actual.boundary, expected.boundary)
    assert actual.variable_attrs == expected.variable_attrs
    assert actual.value_attrs == expected.value_attrs
