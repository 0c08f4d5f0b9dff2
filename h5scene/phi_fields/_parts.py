"""Tensors of every kind to parts of records, and back: dense, stacked, sparse tensors, layouts.

A sparse tensor is an object of one of these kinds. Each has the dims that it makes sparse in its
attributes, with their sizes, and its numbers as part `values`.

| kind | further attributes | further parts |
| --- | --- | --- |
| `coo` | `can_contain_double_entries`, `indices_sorted`, `indices_constant` | `indices` |
| `compressed` | `indices_constant`, `uncompressed_offset` | `indices`, `pointers`, … |
| `compact` | `indices_constant` | `indices` |

What PhiML has found out about a matrix, such as its rank, is not part of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from phiml.math import Shape, Tensor
from phiml.math._sparse import (
    CompactSparseTensor,
    CompressedSparseMatrix,
    SparseCoordinateTensor,
)
from phiml.math._tensors import Dense, TensorStack
from phiml.math._tree import Layout

from h5scene.errors import CorruptDataError, UnsupportedFieldError
from h5scene.objects import (
    LAYOUT,
    RAGGED,
    STACK,
    VALUES,
    ObjectRecord,
    Part,
    join_values,
    layout_dims,
    layout_items,
    layout_record,
    split_values,
    stacked_parts,
    unstacked_parts,
    without_repetition,
)
from h5scene.phi_fields._caches import WeakMap
from h5scene.phi_fields._tensors import (
    array_from_tensor,
    dim_specs_from_shape,
    shape_from_dim_specs,
    tensor_from_array,
    unsupported_tensor,
)
from h5scene.record import TensorRecord
from h5scene.tensors import dims_from_json, dims_to_json

if TYPE_CHECKING:
    from h5scene.tensors import Array

Item = Callable[[Any], Any]

COO, COMPRESSED, COMPACT = "coo", "compressed", "compact"
_PLAIN = (bool, int, float, str, type(None))


def part_from_tensor(tensor: Tensor, *, copy: bool, item: Item | None = None) -> Part:
    """Returns a tensor of any kind as part of a record.

    Args:
        tensor: The tensor.
        copy: Whether the record gets memory of its own; else it may alias that of the tensor.
        item: What to make of the items of a layout that are no plain values.

    Raises:
        UnsupportedFieldError: The tensor is traced, or holds something else than numbers.
    """
    if isinstance(tensor, Dense):
        return _dense(tensor, copy=copy)
    if isinstance(tensor, TensorStack):
        parts = [part_from_tensor(part, copy=copy, item=item) for part in tensor._tensors]
        if tensor.shape.is_uniform and all(isinstance(part, TensorRecord) for part in parts):
            names = tensor.shape.names
            return TensorRecord(
                dim_specs_from_shape(tensor.shape), array_from_tensor(tensor, names)
            )
        (dim,) = dim_specs_from_shape(tensor._stack_dim)
        return stacked_parts(dim, parts)
    if isinstance(tensor, (SparseCoordinateTensor, CompressedSparseMatrix, CompactSparseTensor)):
        values, inner = split_values(part_from_tensor(tensor._values, copy=copy))
        if inner is not None:
            raise UnsupportedFieldError(
                f"cannot store a sparse tensor of values of shape {tensor._values.shape}"
            )
        return join_values(values, _pattern(tensor))
    if isinstance(tensor, Layout):
        return _layout(tensor, item)
    raise unsupported_tensor(tensor)


def tensor_from_part(part: Part, *, convert: bool = False, item: Item | None = None) -> Tensor:
    """Returns the tensor that a part of a record describes.

    Args:
        part: As `part_from_tensor` makes it, or as a file holds it.
        convert: Whether to convert its numbers to PhiML's default backend; else they are NumPy's.
        item: What to make of objects in a layout.

    Raises:
        CorruptDataError: The parts contradict each other.
    """
    if isinstance(part, TensorRecord):
        return tensor_from_array(
            part.data, shape_from_dim_specs(part.dims, part.data.shape), convert
        )
    try:
        if part.kind in (RAGGED, STACK):
            dim, parts = unstacked_parts(part)
            tensors = [tensor_from_part(inner, convert=convert, item=item) for inner in parts]
            return TensorStack(tensors, shape_from_dim_specs((dim,), (len(tensors),)))
        if part.kind == LAYOUT:
            return _layout_from_record(part, item)
        if part.kind in _SPARSE_READERS:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of sparse constants
                return _SPARSE_READERS[part.kind](part, convert)
    except CorruptDataError:
        raise
    except Exception as error:  # PhiML raises anything from AssertionError to IncompatibleShapes
        raise CorruptDataError(f"a stored {part.kind} tensor does not fit: {error!r}") from error
    raise CorruptDataError(f"a '{part.kind}' stands where a tensor should be")


def _dense(tensor: Dense, *, copy: bool) -> TensorRecord:
    """Returns a tensor that is one array; without memory along dims along which it is constant."""
    array = array_from_tensor(tensor, tensor.shape.names)
    if copy:
        array = np.broadcast_to(without_repetition(array).copy(), array.shape)
    return TensorRecord(dim_specs_from_shape(tensor.shape), array)


# --- layouts --------------------------------------------------------------------------------------


def _layout(tensor: Layout, item: Item | None) -> ObjectRecord:
    """Returns an array of Python values."""
    dims = tensor._stack_dim
    items = _flat(tensor._obj, dims.rank)
    if len(items) != prod(dims.sizes):
        raise UnsupportedFieldError(f"cannot store a layout of shape {tensor.shape}")
    converted = [_layout_item(value, item) for value in items]
    containers, inner = [], tensor._obj
    for _ in dims.names:
        containers.append("tuple" if isinstance(inner, tuple) else "list")
        inner = inner[0] if inner else ()
    return layout_record(dim_specs_from_shape(dims), dims.sizes, converted, containers)


def _flat(value: Any, depth: int) -> list[Any]:
    """Returns the items of nested lists."""
    if not depth:
        return [value]
    if not isinstance(value, (list, tuple)):
        raise UnsupportedFieldError(
            f"cannot store a layout of a {type(value).__name__}; lists and tuples can be stored"
        )
    return [item for inner in value for item in _flat(inner, depth - 1)]


def _layout_item(value: Any, item: Item | None) -> Any:
    """Returns one item: a plain value, or part of a record."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        return part_from_tensor(value, copy=True, item=item)
    if item is None:
        raise UnsupportedFieldError(
            f"cannot store a Layout that holds a {type(value).__name__}; numbers, texts, "
            "and tensors can be stored in one"
        )
    return item(value)


def _layout_from_record(record: ObjectRecord, item: Item | None) -> Layout:
    """Returns the layout."""

    def convert(part: Part) -> Any:
        if isinstance(part, TensorRecord) or part.kind in _TENSOR_KINDS:
            return tensor_from_part(part, item=item)
        if item is None:
            raise CorruptDataError(f"a '{part.kind}' stands in a layout of values")
        return item(part)

    dims, sizes = layout_dims(record)
    items: list[Any] = layout_items(record, convert)
    for size, container in reversed(list(zip(sizes, record.attrs["containers"], strict=True))):
        wrapped: Callable[[Any], Any] = tuple if container == "tuple" else list
        count = len(items) // size if size else 1
        items = [wrapped(items[i * size : (i + 1) * size]) for i in range(count)]
    return Layout(items[0], shape_from_dim_specs(dims, sizes))


# --- sparse tensors -------------------------------------------------------------------------------

_PATTERNS: WeakMap[tuple[Any, ObjectRecord]] = WeakMap()


def _pattern(tensor: Any) -> ObjectRecord:
    """Returns a sparse tensor without its values; the same one for tensors of one pattern.

    Most operations of PhiML keep the tensor of indices as it is, from frame to frame.
    """
    attrs: dict[str, Any] = {"indices_constant": bool(tensor._indices_constant)}
    others: dict[str, Tensor] = {}
    if isinstance(tensor, SparseCoordinateTensor):
        kind, attrs = COO, attrs | _sizes("dims", tensor._dense_shape)
        attrs["can_contain_double_entries"] = bool(tensor._can_contain_double_entries)
        attrs["indices_sorted"] = bool(tensor._indices_sorted)
    elif isinstance(tensor, CompressedSparseMatrix):
        kind = COMPRESSED
        attrs |= _sizes("compressed_dims", tensor._compressed_dims)
        attrs |= _sizes("uncompressed_dims", tensor._uncompressed_dims)
        if tensor._uncompressed_offset is not None:
            attrs["uncompressed_offset"] = int(tensor._uncompressed_offset)
        others["pointers"] = tensor._pointers
    else:
        kind, attrs = COMPACT, attrs | _sizes("compressed_dims", tensor._compressed_dims)
    key = (kind, attrs, {name: id(other) for name, other in others.items()})
    known = _PATTERNS.get(tensor._indices)
    if known is not None and known[0] == key:
        return known[1]
    parts = {
        name: part_from_tensor(part, copy=True)
        for name, part in {"indices": tensor._indices, **others}.items()
    }
    record = ObjectRecord(kind, attrs, parts)
    # The others are held by the entry, so that no other tensor gets their ids.
    _PATTERNS.put(tensor._indices, (key, record), keep=tuple(others.values()))
    return record


def _sizes(name: str, shape: Shape) -> dict[str, Any]:
    """Returns dims with their sizes as attributes."""
    return {
        name: dims_to_json(dim_specs_from_shape(shape)),
        f"{name.removesuffix('dims')}sizes": list(map(int, shape.sizes)),
    }


def _shape(record: ObjectRecord, name: str) -> Shape:
    """Returns the dims that `_sizes` described."""
    sizes = record.attrs[f"{name.removesuffix('dims')}sizes"]
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise CorruptDataError(f"{sizes} are no sizes")
    return shape_from_dim_specs(dims_from_json(record.attrs[name]), tuple(sizes))


def _indices(record: ObjectRecord, name: str, size: int | Array) -> Tensor:
    """Returns a part whose numbers count below the size: NumPy and SciPy do not check this."""
    part = record.parts[name]
    for leaf in [part] if isinstance(part, TensorRecord) else []:
        data = leaf.data
        if data.dtype.kind not in "iu" or (data.size and ((data < 0) | (data >= size)).any()):
            raise CorruptDataError(f"the {name} of a sparse tensor lie outside of it")
    if not isinstance(part, TensorRecord):
        raise CorruptDataError(f"the {name} of a sparse tensor are no array")
    return tensor_from_part(part)


def _coo(record: ObjectRecord, convert: bool) -> Tensor:
    """Returns a tensor that lists its entries with their indices."""
    dims, indices = _shape(record, "dims"), record.parts["indices"]
    assert isinstance(indices, TensorRecord)
    (axis,) = (i for i, dim in enumerate(indices.dims) if dim.type == "channel")
    sizes = np.asarray([dims.get_size(name) for name in indices.dims[axis].labels or ()])
    limits = sizes.reshape([-1 if i == axis else 1 for i in range(indices.data.ndim)])
    return SparseCoordinateTensor(
        _indices(record, "indices", limits),
        tensor_from_part(record.parts[VALUES], convert=convert),
        dims,
        bool(record.attrs["can_contain_double_entries"]),
        bool(record.attrs["indices_sorted"]),
        bool(record.attrs["indices_constant"]),
    )


def _compressed(record: ObjectRecord, convert: bool) -> Tensor:
    """Returns a matrix whose rows or columns are slices of its entries."""
    compressed, rest = _shape(record, "compressed_dims"), _shape(record, "uncompressed_dims")
    offset = record.attrs.get("uncompressed_offset")
    values = tensor_from_part(record.parts[VALUES], convert=convert)
    indices_part, pointers = record.parts["indices"], record.parts["pointers"]
    assert isinstance(indices_part, TensorRecord)
    assert isinstance(pointers, TensorRecord)
    (axis,) = (i for i, dim in enumerate(indices_part.dims) if dim.type == "instance")
    (along,) = (i for i, dim in enumerate(pointers.dims) if dim.type == "instance")
    entries = indices_part.data.shape[axis]
    if offset is None:
        indices = _indices(record, "indices", rest.volume)
    else:  # a slice of a larger matrix, whose entries outside do not count
        indices = tensor_from_part(indices_part)
    checked = _indices(record, "pointers", entries + 1)
    steps = np.diff(pointers.data.astype(np.int64), axis=along)
    if (steps < 0).any() or pointers.data.shape[along] != compressed.volume + 1:
        raise CorruptDataError("the pointers of a sparse tensor are not in order")
    return CompressedSparseMatrix(
        indices,
        checked,
        values,
        rest,
        compressed,
        bool(record.attrs["indices_constant"]),
        None if offset is None else int(offset),
    )


def _compact(record: ObjectRecord, convert: bool) -> Tensor:
    """Returns a tensor with the same number of entries along a dim everywhere."""
    dims = _shape(record, "compressed_dims")
    return CompactSparseTensor(
        _indices(record, "indices", dims.volume),
        tensor_from_part(record.parts[VALUES], convert=convert),
        dims,
        bool(record.attrs["indices_constant"]),
    )


_SPARSE_READERS: Mapping[str, Callable[[ObjectRecord, bool], Tensor]] = {
    COO: _coo,
    COMPRESSED: _compressed,
    COMPACT: _compact,
}
_TENSOR_KINDS = (RAGGED, STACK, LAYOUT, *_SPARSE_READERS)
