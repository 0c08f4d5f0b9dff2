"""Arrays with named dims, which are cut and stacked bit by bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from h5scene.errors import BatchMismatchError, FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DimType: TypeAlias = Literal["batch", "dual", "instance", "spatial", "channel"]
Array: TypeAlias = npt.NDArray[Any]


DIM_TYPES: tuple[DimType, ...] = ("batch", "dual", "instance", "spatial", "channel")


@dataclass(frozen=True, slots=True)
class DimSpec:
    """One dim of an array: its name, PhiML type and labels. The size is that of the array."""

    name: str
    type: DimType
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class TensorRecord:
    """An array with named dims, one per axis. Equal when dims, dtype and every bit are equal."""

    dims: tuple[DimSpec, ...]
    data: Array

    def __post_init__(self) -> None:
        assert len(self.dims) == self.data.ndim, (self.dims, self.data.shape)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorRecord):
            return NotImplemented
        return self.dims == other.dims and same_bits(self.data, other.data)

    def __hash__(self) -> int:
        return hash((self.dims, self.data.dtype, self.data.shape, self.data.tobytes()))


def dims_to_json(dims: Sequence[DimSpec]) -> list[dict[str, Any]]:
    """Returns dims as JSON values, in order."""
    return [
        {"name": dim.name, "type": dim.type}
        | ({} if dim.labels is None else {"labels": list(dim.labels)})
        for dim in dims
    ]


def dims_from_json(value: Any) -> tuple[DimSpec, ...]:
    """Returns the dims that `dims_to_json` described.

    Raises:
        FormatError: The value has another form.
    """
    if not isinstance(value, list):
        raise FormatError(f"dims must be a JSON list, not {value!r}")
    dims = []
    for entry in value:
        if not isinstance(entry, dict):
            raise FormatError(f"a dim must be a JSON object, not {entry!r}")
        dims.append(dim_from_parts(entry.get("name"), entry.get("type"), entry.get("labels")))
    if len({dim.name for dim in dims}) != len(dims):
        raise FormatError(f"two dims have the same name: {[dim.name for dim in dims]}")
    return tuple(dims)


def dim_from_parts(name: Any, dim_type: Any, labels: Any) -> DimSpec:
    """Returns a dim, checked."""
    if not isinstance(name, str) or not name or dim_type not in DIM_TYPES:
        raise FormatError(f"no dim has the name {name!r} and the type {dim_type!r}")
    if labels is not None and not (
        isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    ):
        raise FormatError(f"the labels of dim {name!r} must be a list of strings, not {labels!r}")
    return DimSpec(name, dim_type, None if labels is None else tuple(labels))


_COMPARED_BYTES = 1 << 20


def same_bits(a: Array, b: Array) -> bool:
    """Whether two arrays have one dtype, one shape and the same bits.

    NaN payloads and signed zeros count.
    """
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a is b:
        return True
    x, y = _bytes(a), _bytes(b)
    # Piece by piece: comparing takes as much memory as what is compared.
    pieces = (slice(i, i + _COMPARED_BYTES) for i in range(0, x.size, _COMPARED_BYTES))
    return all(np.array_equal(x[piece], y[piece]) for piece in pieces)


def _bytes(array: Array) -> npt.NDArray[np.uint8]:
    """Returns the bytes of an array in C order; no copy if they lie like that."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _is_sliced(dim: DimSpec, index: Mapping[str, int]) -> bool:
    """Whether a dim is sliced: a `vector` of scenes is not that of a corner."""
    return dim.type == "batch" and dim.name in index


def slice_tensor(tensor: TensorRecord, index: Mapping[str, int]) -> TensorRecord:
    """Returns the tensor without the indexed batch dims; itself where it has none of them."""
    index = {dim.name: index[dim.name] for dim in tensor.dims if _is_sliced(dim, index)}
    if not index:
        return tensor
    kept = tuple(dim for dim in tensor.dims if dim.name not in index)
    for dim, size in zip(tensor.dims, tensor.data.shape, strict=True):
        if not -size <= index.get(dim.name, -size) < max(size, 1):
            raise BatchMismatchError(
                f"there is no entry {index[dim.name]} along the {dim.type} dim '{dim.name}' of "
                f"size {size}; all tensors of a field must agree in their batch dims"
            )
    item = tuple(index.get(dim.name, slice(None)) for dim in tensor.dims)
    return TensorRecord(kept, np.asarray(tensor.data[item]))


def stack_tensors(tensors: Sequence[TensorRecord], dim: DimSpec, what: str) -> TensorRecord:
    """Returns the tensors along a new first axis, in the dim order of the first one."""
    dims: dict[str, DimSpec] = {}
    sizes: dict[str, int] = {}
    for tensor in tensors:
        for spec, size in zip(tensor.dims, tensor.data.shape, strict=True):
            known = dims.setdefault(spec.name, spec)
            if known.type != spec.type or sizes.setdefault(spec.name, size) != size:
                raise mismatch(
                    f"{what} with {sizes[spec.name]} and {size} entries along the {known.type} and "
                    f"{spec.type} dim '{spec.name}'",
                    dim,
                )
            if known.labels != spec.labels:
                labels = None if known.labels and spec.labels else known.labels or spec.labels
                dims[spec.name] = DimSpec(spec.name, spec.type, labels)
    if dim.name in dims:
        raise mismatch(f"{what} that have a dim '{dim.name}'", dim)
    first = [spec.name for spec in tensors[0].dims]
    order = [name for name in dims if name not in first] + first
    arrays = []
    for tensor in tensors:
        names = [spec.name for spec in tensor.dims]
        missing = [name for name in order if name not in names]
        if any(dims[name].type != "batch" for name in missing):
            raise mismatch(f"{what} with dims ({', '.join(names)}) and ({', '.join(order)})", dim)
        array = tensor.data
        if names != order:
            array = array.transpose([names.index(name) for name in order if name in names])
            array = array[tuple(None if name in missing else slice(None) for name in order)]
            array = np.broadcast_to(array, [sizes[name] for name in order])
        arrays.append(array)
    return TensorRecord((dim, *(dims[name] for name in order)), _stack_arrays(arrays, dim, what))


def outlined(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Returns zeros that take no memory, in the byte order of this machine."""
    return np.broadcast_to(np.zeros((), dtype.newbyteorder("=")), shape)


def stacked(arrays: Sequence[Array]) -> Array:
    """Returns the arrays along a new first axis, without a copy if they stand side by side.

    Outlines stay outlines.
    """
    first = arrays[0]
    if all(array.dtype == first.dtype and array.shape == first.shape for array in arrays):
        if all(map(_is_outline, arrays)):
            return outlined((len(arrays), *first.shape), first.dtype)
        adjacent = _side_by_side(arrays)
        if adjacent is not None:
            return adjacent
    return np.stack(arrays)


def _is_outline(array: Array) -> bool:
    """Whether an array is one number for all of its entries, and that is zero, not `-0.0`."""
    is_one = array.ndim > 0 and array.size > 1 and not any(array.strides)
    return is_one and not any(array[(0,) * array.ndim].tobytes())


def _side_by_side(arrays: Sequence[Array]) -> Array | None:
    """Returns the array whose neighbouring rows these are, not copied; `None` if they are not."""
    first = arrays[0]
    base = first.base
    if not (isinstance(base, np.ndarray) and base.flags.c_contiguous and first.size):
        return None
    start = first.__array_interface__["data"][0]
    for i, array in enumerate(arrays):
        if (
            array.base is not base
            or array.dtype != base.dtype
            or not array.flags.c_contiguous
            or array.__array_interface__["data"][0] != start + i * first.nbytes
        ):
            return None
    offset = (start - base.__array_interface__["data"][0]) // first.itemsize
    rows = base.reshape(-1)[offset : offset + len(arrays) * first.size]
    return rows.reshape(len(arrays), *first.shape)


def _stack_arrays(arrays: Sequence[Array], dim: DimSpec, what: str) -> Array:
    """Returns the arrays along a new first axis, in a dtype that holds all their numbers."""
    stack = stacked(arrays)
    for part, array in zip(stack, arrays, strict=True):
        # NumPy takes int64 to float64, which drops the last bits of large numbers.
        if array.dtype.kind in "iu" and stack.dtype.kind in "fc":
            with np.errstate(invalid="ignore"):
                if not np.array_equal(part.real.astype(array.dtype), array):
                    raise mismatch(f"{what} of dtype {array.dtype} with {stack.dtype}", dim)
    return stack


def stack_equal(tensors: Sequence[TensorRecord], dim: DimSpec, what: str) -> TensorRecord:
    """Returns the one tensor that all are, or all of them along a new first axis."""
    if all(tensor == tensors[0] for tensor in tensors):
        return tensors[0]
    return stack_tensors(tensors, dim, what)


def mismatch(what: str, dim: DimSpec) -> BatchMismatchError:
    """Returns the error for records that do not stack."""
    return BatchMismatchError(f"cannot stack {what} along '{dim.name}'; read them one at a time")
