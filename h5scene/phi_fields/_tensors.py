"""PhiML shapes and tensors to arrays with named dims, and back, bit by bit.

`Tensor.numpy()` and `tensor()` convert floats to PhiML's global precision, so that a float64 tensor
loses half its bits under the default settings. The numbers are therefore read from and given to the
tensor classes themselves; this is the only module that does so.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from phiml import math
from phiml.backend import NUMPY, default_backend, get_precision
from phiml.math import Shape, Tensor
from phiml.math._tensors import Dense, TensorStack

from h5scene.errors import CorruptDataError, UnsupportedFieldError
from h5scene.objects import repetition
from h5scene.record import Array, DimSpec, DimType, TensorRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIM_TYPES: frozenset[str] = frozenset(get_args(DimType))
_INT32 = np.iinfo(np.int32)
_STORABLE = frozenset(
    np.dtype(name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64", "complex64", "complex128"),
    )
)


def dim_specs_from_shape(shape: Shape) -> tuple[DimSpec, ...]:
    """Returns name, type and labels of every dim, in order. Sizes are not part of it."""
    return tuple(
        DimSpec(name, dim_type, None if labels is None else tuple(labels))
        for name, dim_type, labels in zip(shape.names, shape.dim_types, shape.labels, strict=True)
    )


@lru_cache(maxsize=256)
def shape_from_dim_specs(specs: tuple[DimSpec, ...], sizes: tuple[int, ...]) -> Shape:
    """Returns the PhiML shape with these dims, in this order.

    Raises:
        CorruptDataError: The dims contradict themselves or the sizes.
    """
    names = [spec.name for spec in specs]
    if len(specs) != len(sizes):
        raise CorruptDataError(
            f"an array of {len(sizes)} axes is described with {len(specs)} dims {names}"
        )
    if len(set(names)) != len(names):
        raise CorruptDataError(f"a dim occurs twice in {names}")
    for spec, size in zip(specs, sizes, strict=True):
        if spec.type not in _DIM_TYPES:
            raise CorruptDataError(f"dim '{spec.name}' is of the unknown type '{spec.type}'")
        if not spec.name or spec.name.startswith("~") != (spec.type == "dual"):
            raise CorruptDataError(
                f"'{spec.name}' is no name for a {spec.type} dim; dual ones start with '~'"
            )
        if spec.labels is not None and (len(spec.labels) != size or len(set(spec.labels)) != size):
            raise CorruptDataError(
                f"dim '{spec.name}' of size {size} has the labels {list(spec.labels)}"
            )
    return math.from_dict(
        {
            "names": tuple(names),
            "types": tuple(spec.type for spec in specs),
            "item_names": tuple(spec.labels for spec in specs),
            "sizes": tuple(int(size) for size in sizes),
        }
    )


def tensor_record_from_tensor(tensor: Tensor) -> TensorRecord:
    """Returns the tensor's numbers with their dims, in the tensor's own order.

    The array may alias the tensor's memory.

    Raises:
        UnsupportedFieldError: The tensor is sparse, non-uniform, traced, or holds no numbers.
    """
    if not isinstance(tensor, Tensor):
        raise UnsupportedFieldError(f"cannot store a {type(tensor).__name__} as a tensor")
    _require_uniform(tensor)
    return TensorRecord(
        dim_specs_from_shape(tensor.shape), array_from_tensor(tensor, tensor.shape.names)
    )


def tensor_from_record(record: TensorRecord, *, convert_to_backend: bool = False) -> Tensor:
    """Returns the tensor, which aliases the record's array unless it is converted.

    Args:
        record: Numbers and dims.
        convert_to_backend: Whether to convert to PhiML's default backend, at the stored precision.

    Raises:
        CorruptDataError: The dims do not fit the array.
    """
    return tensor_from_array(
        record.data, shape_from_dim_specs(record.dims, record.data.shape), convert_to_backend
    )


def tensor_from_array(array: Array, shape: Shape, convert: bool) -> Tensor:
    """Returns a tensor of the array's dtype, in the default backend if `convert`, else NumPy."""
    if array.dtype not in _STORABLE:
        raise CorruptDataError(f"PhiFlow has no tensors of NumPy's dtype {array.dtype}")
    backend = default_backend() if convert else NUMPY
    names = list(shape.names)
    if 0 in array.strides:  # constant along some dims, and without memory there
        repeated = repetition(array)
        array = array[tuple(0 if constant else slice(None) for constant in repeated)]
        names = [name for name, constant in zip(names, repeated, strict=True) if not constant]
    return Dense(_native_from_array(np.asarray(array), backend), names, shape, backend)


def array_from_tensor(tensor: Tensor, names: Sequence[str]) -> Array:
    """Returns the tensor's numbers with the axes `names`, a view where the backend allows it.

    Dims along which the tensor is constant and has no memory are broadcast; such a view is
    read-only.
    """
    if isinstance(tensor, Dense):
        array, own = _array_from_native(tensor), list(tensor._names)
    elif isinstance(tensor, TensorStack):
        stack_dim = tensor._stack_dim.name
        inner = [name for name in names if name != stack_dim]
        parts = [array_from_tensor(part, inner) for part in tensor._tensors]
        array, own = np.stack(parts, axis=list(names).index(stack_dim)), list(names)
    else:
        raise unsupported_tensor(tensor)
    if own != list(names):
        array = array.transpose([own.index(name) for name in names if name in own])
        if len(own) < len(names):
            array = array[tuple(slice(None) if name in own else None for name in names)]
            array = np.broadcast_to(array, [tensor.shape.get_size(name) for name in names])
    return array


def shape_key(tensor: Tensor) -> tuple[Any, ...]:
    """Returns something hashable that tells shapes of tensors apart, non-uniform ones too."""
    if isinstance(tensor, TensorStack):
        dim = tensor._stack_dim
        return (
            dim.name,
            dim.dim_type,
            tuple(dim.labels),
            *[shape_key(part) for part in tensor._tensors],
        )
    shape = tensor.shape
    return tuple(shape.names), tuple(shape.sizes), tuple(shape.dim_types), tuple(shape.labels)


def restacked(template: Tensor, components: Sequence[Tensor]) -> Tensor:
    """Returns a stack of the components, which have the shapes of those of the template.

    Working out the shape of a non-uniform stack costs 0.4 ms, so the template's is reused.
    """
    result = TensorStack.__new__(TensorStack)
    backend = components[0].backend
    result.__dict__.update(template.__dict__, _tensors=tuple(components), _backend=backend)
    return result


def _array_from_native(tensor: Dense) -> Array:
    """Returns the array that backs the tensor, with the dtype that PhiML says it has."""
    native, backend = tensor._native, tensor._backend
    if isinstance(native, int) and not isinstance(native, bool):
        # PhiML calls every Python int an int32.
        dtype = np.int32 if _INT32.min <= native <= _INT32.max else np.int64
        try:
            return np.asarray(native, dtype)
        except OverflowError as err:
            raise UnsupportedFieldError(f"{native} does not fit into 64 bits") from err
    if (
        backend is not NUMPY
        and not isinstance(native, (bool, float, complex))
        and not backend.is_available(native)
    ):
        raise UnsupportedFieldError(
            "cannot store a traced value: return it from the traced function, then store it"
        )
    try:
        array = np.asarray(backend.numpy(native) if backend is not NUMPY else native)
    except TypeError as err:  # e.g. bfloat16, which NumPy lacks
        raise UnsupportedFieldError(
            f"cannot store values of dtype {tensor.dtype}: {err}; convert them first"
        ) from err
    if array.dtype not in _STORABLE:
        raise UnsupportedFieldError(
            f"cannot store values of dtype {array.dtype}; convert them to numbers first"
        )
    return array


def _native_from_array(array: Array, backend: Any) -> Any:
    """Returns the array in the format of a backend, at its own precision."""
    if backend is NUMPY:
        return array
    if not array.flags.writeable:
        array = array.copy()  # PyTorch would alias memory that must not be written
    precision = {"f": 8, "c": 4}.get(array.dtype.kind, 0) * array.dtype.itemsize
    if precision in (0, get_precision()):
        return backend.as_tensor(array)
    with math.precision(precision):  # as_tensor() converts floats to it
        return backend.as_tensor(array)


def _require_uniform(tensor: Tensor) -> None:
    """Raises if the sizes of some dims vary along others."""
    if not isinstance(tensor, (Dense, TensorStack)):
        raise unsupported_tensor(tensor)
    if not tensor.shape.is_uniform:
        raise UnsupportedFieldError(
            f"cannot store a non-uniform tensor of shape {tensor.shape}; store its slices"
        )


def unsupported_tensor(tensor: Any) -> UnsupportedFieldError:
    """Returns the error for a tensor of another kind."""
    return UnsupportedFieldError(
        f"cannot store a {type(tensor).__name__}; dense and sparse tensors of numbers can be "
        "stored, see math.dense()"
    )
