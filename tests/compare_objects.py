"""What it means that two PhiFlow objects of any kind are the same: geometries, tensors, fields.

Nothing here uses h5scene: objects are taken apart by their attributes.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from phi.field import Field
from phi.geom import Geometry
from phiml.math import Extrapolation, Shape, Tensor
from phiml.math._sparse import CompactSparseTensor, CompressedSparseMatrix, SparseCoordinateTensor
from phiml.math._tensors import Dense, TensorStack
from phiml.math._tree import Layout

from tests.compare import assert_same_bits, assert_same_boundary, described, numbers

_SPARSE = {
    SparseCoordinateTensor: (
        *("_indices", "_values", "_dense_shape", "_can_contain_double_entries"),
        *("_indices_sorted", "_indices_constant"),
    ),
    CompressedSparseMatrix: (
        *("_indices", "_pointers", "_values", "_uncompressed_dims", "_compressed_dims"),
        *("_indices_constant", "_uncompressed_offset"),
    ),
    CompactSparseTensor: ("_indices", "_values", "_compressed_dims", "_indices_constant"),
}


def assert_same(actual: Any, expected: Any, what: str = "it") -> None:
    """Fails unless the objects agree in type, every bit, dtype, dim and label."""
    if isinstance(expected, Shape):  # PhiML has several classes of shapes, which are equal
        assert described(actual) == described(expected), what
        return
    assert type(actual) is type(expected), what
    if isinstance(expected, Tensor):
        _assert_same_tensor(actual, expected, what)
    elif isinstance(expected, Field):
        assert_same(actual.geometry, expected.geometry, f"{what}.geometry")
        assert_same(actual.values, expected.values, f"{what}.values")
        assert_same(actual.boundary, expected.boundary, f"{what}.boundary")
        assert actual.variable_attrs == expected.variable_attrs
        assert actual.value_attrs == expected.value_attrs
        assert _described(actual.shape) == _described(expected.shape), what
    elif isinstance(expected, Extrapolation):
        assert_same_boundary(actual, expected)
    elif isinstance(expected, Geometry) or dataclasses.is_dataclass(expected):
        for name in _attributes(expected):
            assert_same(getattr(actual, name), getattr(expected, name), f"{what}.{name}")
    elif isinstance(expected, np.ndarray):
        assert_same_bits(actual, expected, what)
    elif isinstance(expected, dict):
        assert list(actual) == list(expected), what
        for key, value in expected.items():
            assert_same(actual[key], value, f"{what}[{key!r}]")
    elif isinstance(expected, (list, tuple)):
        assert len(actual) == len(expected), what
        for i, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
            assert_same(ours, theirs, f"{what}[{i}]")
    else:
        assert actual == expected, what


def _attributes(value: Any) -> list[str]:
    """Returns what makes up an object, without what is worked out from that."""
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    return list(value.__dict__)


def _assert_same_tensor(actual: Any, expected: Any, what: str) -> None:
    assert _described(actual.shape) == _described(expected.shape), what
    assert actual.dtype == expected.dtype, what
    if isinstance(expected, Dense):
        assert_same_bits(numbers(actual), numbers(expected), what)
    elif isinstance(expected, TensorStack):
        assert_same(actual._stack_dim, expected._stack_dim, what)
        assert_same(list(actual._tensors), list(expected._tensors), what)
    elif isinstance(expected, Layout):
        assert_same(actual._stack_dim, expected._stack_dim, what)
        assert_same(actual._obj, expected._obj, what)
    else:
        for name in _SPARSE[type(expected)]:
            assert_same(getattr(actual, name), getattr(expected, name), f"{what}.{name}")


def _described(shape: Shape) -> list[Any]:
    """Returns name, type, size and labels of every dim, sizes that vary as nested lists."""
    return [
        (name, kind, size.numpy(size.shape).tolist() if isinstance(size, Tensor) else size, labels)
        for name, kind, size, labels in described(shape)
    ]
