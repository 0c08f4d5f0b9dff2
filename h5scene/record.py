"""The neutral form of a field between PhiFlow, HDF5 and npz: NumPy arrays and Python values.

`phi_fields` turns a `Field` into a `FieldRecord` and back without knowing HDF5; `format.codec`
stores a record without knowing PhiFlow. Batches are cut and stacked here, on records, so that
nothing is rounded, compared with a tolerance or converted on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from h5scene.errors import BatchMismatchError, CorruptDataError

DimType: TypeAlias = Literal["batch", "dual", "instance", "spatial", "channel"]
Array: TypeAlias = npt.NDArray[Any]

CENTERED = "CenteredGrid"
STAGGERED = "StaggeredGrid"

NPZ_ATTR = "npz"
"""Attribute of a field that came from an npz file: how that differed from what is usual."""

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


Boundary: TypeAlias = "Mapping[str, Boundary | TensorRecord | FieldRecord | str]"
"""Tree of dicts. `type` names the kind; leaves are tensors, strings and embedded fields."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Physical extent of a grid: two corners, along `vector` and any batch dims.

    PhiFlow keeps centre and size beside the corners, and they can differ from the corners' in the
    last bit. They are `None` here when they are exactly what `derived_center` and `derived_size`
    give.
    """

    lower: TensorRecord
    upper: TensorRecord
    center: TensorRecord | None = None
    size: TensorRecord | None = None

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the physical axes, in the order of the `vector` dim."""
        for dim in self.lower.dims:
            if dim.name == "vector" and dim.labels is not None:
                return dim.labels
        raise ValueError("lower corner has no labelled vector dim")


@dataclass(frozen=True, slots=True)
class FieldDescription:
    """All of a field but its values: what its frames share.

    Attributes:
        field_type: `CENTERED` or `STAGGERED`.
        dims: Dims of the values as stored, in order.
        bounds: Physical extent of the grid.
        boundary: What lies outside, see `Boundary`.
        attrs: Further attributes of the field that are not at their default, as JSON values.
    """

    field_type: str
    dims: tuple[DimSpec, ...]
    bounds: Bounds
    boundary: Boundary
    attrs: Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class FieldRecord:
    """One field at one frame. Staggered values are in PhiFlow's padded layout."""

    description: FieldDescription
    values: Array

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FieldRecord):
            return NotImplemented
        return self.description == other.description and same_bits(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]  # an array of 25 MB is no dictionary key


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


def derived_size(lower: TensorRecord, upper: TensorRecord) -> TensorRecord:
    """Returns the size of a box as PhiFlow computes it from two corners: their difference.

    Two integer corners have an integer size. Otherwise both are rounded to float32 first, which is
    what PhiFlow does unless it is told to compute in another precision.

    Raises:
        CorruptDataError: The corners have different dims.
    """
    a, b = _corners(lower, upper)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf of a box without ends
        return TensorRecord(lower.dims, np.asarray(b - a))


def derived_center(lower: TensorRecord, upper: TensorRecord) -> TensorRecord:
    """Returns the centre of a box as PhiFlow computes it from two corners: half their sum.

    Two integer corners have a float64 centre. Otherwise both are rounded to float32 first.

    Raises:
        CorruptDataError: The corners have different dims.
    """
    a, b = _corners(lower, upper)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf of a box without ends
        return TensorRecord(lower.dims, np.asarray((a + b) * 0.5))


def _corners(lower: TensorRecord, upper: TensorRecord) -> tuple[Array, Array]:
    """Returns both corners in the dtype in which PhiFlow computes with them."""
    if lower.dims != upper.dims or lower.data.shape != upper.data.shape:
        raise CorruptDataError(
            "bounds whose corners differ in their dims do not say their centre and size: "
            f"lower {lower.data.shape}, upper {upper.data.shape}"
        )
    if lower.data.dtype.kind in "iu" and upper.data.dtype.kind in "iu":
        return lower.data, upper.data
    with np.errstate(over="ignore"):
        return lower.data.astype(np.float32), upper.data.astype(np.float32)


def bounds_from_parts(
    lower: TensorRecord,
    upper: TensorRecord,
    center: TensorRecord | None,
    size: TensorRecord | None,
) -> Bounds:
    """Returns bounds that leave out centre and size where these follow from the corners."""
    if lower.dims == upper.dims and lower.data.shape == upper.data.shape:
        center = None if center == derived_center(lower, upper) else center
        size = None if size == derived_size(lower, upper) else size
    return Bounds(lower, upper, center, size)


def named_dims(record: FieldRecord) -> dict[str, tuple[DimSpec, int]]:
    """Returns every dim along which a record can be sliced, by name, with its size.

    These are the dims of the values, and the batch dims of the bounds and the boundary.
    """
    found: dict[str, tuple[DimSpec, int]] = {}

    def note(tensor: TensorRecord) -> TensorRecord:
        for dim, size in zip(tensor.dims, tensor.data.shape, strict=True):
            if dim.type == "batch":
                found.setdefault(dim.name, (dim, size))
        return tensor

    _map_description(record.description, note)
    values = zip(record.description.dims, record.values.shape, strict=True)
    return found | {dim.name: (dim, size) for dim, size in values}


def slice_record(record: FieldRecord, index: Mapping[str, int]) -> FieldRecord:
    """Returns one slice along the given batch dims.

    What does not have such a dim, values or description, is shared with the given record.
    """
    if not index:
        return record
    described = record.description
    values = _slice_tensor(TensorRecord(described.dims, record.values), index)
    description = _map_description(described, lambda tensor: _slice_tensor(tensor, index))
    return FieldRecord(replace(description, dims=values.dims), values.data)


def copied_records(
    records: Mapping[str, Mapping[str, FieldRecord]],
) -> tuple[dict[str, dict[str, FieldRecord]], int]:
    """Returns records, given by scene and name, that share no memory with these; and their size.

    A record that occurs twice is copied once. The size is in bytes, descriptions not counted.
    """
    copies: dict[int, FieldRecord] = {}
    byte_count = 0

    def copy(tensor: TensorRecord) -> TensorRecord:
        nonlocal byte_count
        byte_count += tensor.data.nbytes
        return TensorRecord(tensor.dims, tensor.data.copy())

    for by_name in records.values():
        for record in by_name.values():
            if id(record) not in copies:
                byte_count += record.values.nbytes
                described = record.description
                described = replace(described, boundary=map_boundary(described.boundary, copy))
                copies[id(record)] = FieldRecord(described, record.values.copy(order="K"))
    copied = {
        scene: {name: copies[id(record)] for name, record in by_name.items()}
        for scene, by_name in records.items()
    }
    return copied, byte_count


def stack_records(records: Sequence[FieldRecord], dim: DimSpec) -> FieldRecord:
    """Returns one record with `dim` in front of the dims of the values.

    Corners and boundary values that are equal in all records stay as they are; those that differ
    get `dim` as well. Batch dims that only some of the records have are added to the others, and
    labels that differ are dropped, as `math.stack()` does.

    Raises:
        BatchMismatchError: The records differ in their kind, axes, dims, sizes, or kind of
            boundary, or have a dim of this name already.
    """
    first = records[0].description
    attrs = _lasting_attrs(first)
    shape = records[0].values.shape
    if all(r.description is first and r.values.shape == shape for r in records):
        return _stack_alike(records, dim)
    for record in records:
        description = record.description
        if description.field_type != first.field_type:
            raise _mismatch(f"a {description.field_type} and a {first.field_type}", dim)
        if _lasting_attrs(description) != attrs:
            raise _mismatch(
                f"fields with the attributes {_lasting_attrs(description)} and {attrs}", dim
            )
        if description.bounds.axes != first.bounds.axes or (
            description.field_type == STAGGERED and _face_dim(description) != _face_dim(first)
        ):
            raise _mismatch("fields whose axes differ in names or order", dim)
        if dim.name in named_dims(record):
            raise _mismatch(f"fields that have a dim '{dim.name}'", dim)
    values = _stack_tensors(
        [TensorRecord(r.description.dims, r.values) for r in records], dim, "values"
    )
    bounds = _stack_bounds([r.description.bounds for r in records], dim)
    boundary = _stack_boundaries([r.description.boundary for r in records], dim)
    return FieldRecord(
        replace(first, dims=values.dims, bounds=bounds, boundary=boundary, attrs=attrs), values.data
    )


def _stack_alike(records: Sequence[FieldRecord], dim: DimSpec) -> FieldRecord:
    """Returns records of one description and shape, such as frames usually are, along `dim`."""
    described = records[0].description
    if dim.name in named_dims(records[0]):
        raise _mismatch(f"fields that have a dim '{dim.name}'", dim)
    values = _stack_arrays([record.values for record in records], dim, "values")
    dims = (dim, *described.dims)
    return FieldRecord(replace(described, dims=dims, attrs=_lasting_attrs(described)), values)


def _lasting_attrs(description: FieldDescription) -> dict[str, Any]:
    """Returns the attributes that fields must share to be stacked, and have afterwards."""
    return {name: value for name, value in description.attrs.items() if name != NPZ_ATTR}


def _face_dim(description: FieldDescription) -> DimSpec | None:
    """Returns the dim along which a staggered grid has its components."""
    dims = {dim.name: dim for dim in description.dims}
    return dims.get("~vector", dims.get("vector"))


def map_boundary(boundary: Boundary, change: Callable[[TensorRecord], TensorRecord]) -> Boundary:
    """Returns the boundary with every tensor in it changed, those of embedded fields too."""
    changed: dict[str, Any] = {}
    for key, value in boundary.items():
        if isinstance(value, TensorRecord):
            changed[key] = change(value)
        elif isinstance(value, FieldRecord):
            values = change(TensorRecord(value.description.dims, value.values))
            description = replace(_map_description(value.description, change), dims=values.dims)
            changed[key] = FieldRecord(description, values.data)
        elif isinstance(value, Mapping):
            changed[key] = map_boundary(value, change)
        else:
            changed[key] = value
    return changed


def _map_description(
    description: FieldDescription, change: Callable[[TensorRecord], TensorRecord]
) -> FieldDescription:
    """Returns the description with every tensor of its bounds and boundary changed."""
    bounds = description.bounds
    return replace(
        description,
        bounds=bounds_from_parts(
            change(bounds.lower),
            change(bounds.upper),
            None if bounds.center is None else change(bounds.center),
            None if bounds.size is None else change(bounds.size),
        ),
        boundary=map_boundary(description.boundary, change),
    )


def _is_sliced(dim: DimSpec, index: Mapping[str, int]) -> bool:
    """Whether a dim is sliced: a `vector` of scenes is not that of a corner."""
    return dim.type == "batch" and dim.name in index


def _slice_tensor(tensor: TensorRecord, index: Mapping[str, int]) -> TensorRecord:
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


def _stack_tensors(tensors: Sequence[TensorRecord], dim: DimSpec, what: str) -> TensorRecord:
    """Returns the tensors along a new first axis, in the dim order of the first one."""
    dims: dict[str, DimSpec] = {}
    sizes: dict[str, int] = {}
    for tensor in tensors:
        for spec, size in zip(tensor.dims, tensor.data.shape, strict=True):
            known = dims.setdefault(spec.name, spec)
            if known.type != spec.type or sizes.setdefault(spec.name, size) != size:
                raise _mismatch(
                    f"{what} with {sizes[spec.name]} and {size} entries along the {known.type} and "
                    f"{spec.type} dim '{spec.name}'",
                    dim,
                )
            if known.labels != spec.labels:
                labels = None if known.labels and spec.labels else known.labels or spec.labels
                dims[spec.name] = DimSpec(spec.name, spec.type, labels)
    if dim.name in dims:
        raise _mismatch(f"{what} that have a dim '{dim.name}'", dim)
    first = [spec.name for spec in tensors[0].dims]
    order = [name for name in dims if name not in first] + first
    arrays = []
    for tensor in tensors:
        names = [spec.name for spec in tensor.dims]
        missing = [name for name in order if name not in names]
        if any(dims[name].type != "batch" for name in missing):
            raise _mismatch(f"{what} with dims ({', '.join(names)}) and ({', '.join(order)})", dim)
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


def _is_outline(array: Array) -> bool:
    """Whether an array is one number for all of its entries, and that is zero, not `-0.0`."""
    is_one = array.ndim > 0 and array.size > 1 and not any(array.strides)
    return is_one and not any(array[(0,) * array.ndim].tobytes())


def stacked(arrays: Sequence[Array]) -> Array:
    """Returns the arrays along a new first axis, without a copy if they stand side by side.

    Outlines stay outlines.
    """
    first = arrays[0]
    if all(a.dtype == first.dtype and a.shape == first.shape for a in arrays):
        if all(map(_is_outline, arrays)):
            return outlined((len(arrays), *first.shape), first.dtype)
        adjacent = _side_by_side(arrays)
        if adjacent is not None:
            return adjacent
    return np.stack(arrays)


def _stack_arrays(arrays: Sequence[Array], dim: DimSpec, what: str) -> Array:
    """Returns the arrays along a new first axis, in a dtype that holds all their numbers."""
    stack = stacked(arrays)
    for part, array in zip(stack, arrays, strict=True):
        # NumPy takes int64 to float64, which drops the last bits of large numbers.
        if array.dtype.kind in "iu" and stack.dtype.kind in "fc":
            with np.errstate(invalid="ignore"):
                if not np.array_equal(part.real.astype(array.dtype), array):
                    raise _mismatch(f"{what} of dtype {array.dtype} with {stack.dtype}", dim)
    return stack


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
            or array.shape != first.shape
            or not array.flags.c_contiguous
            or array.__array_interface__["data"][0] != start + i * first.nbytes
        ):
            return None
    offset = (start - base.__array_interface__["data"][0]) // first.itemsize
    rows = base.reshape(-1)[offset : offset + len(arrays) * first.size]
    return rows.reshape(len(arrays), *first.shape)


def _stack_equal(tensors: Sequence[TensorRecord], dim: DimSpec, what: str) -> TensorRecord:
    """Returns the one tensor that all are, or all of them along a new first axis."""
    if all(tensor == tensors[0] for tensor in tensors):
        return tensors[0]
    return _stack_tensors(tensors, dim, what)


def _stack_bounds(all_bounds: Sequence[Bounds], dim: DimSpec) -> Bounds:
    """Returns the one extent that all have, or corners with `dim`."""
    if all(bounds == all_bounds[0] for bounds in all_bounds):
        return all_bounds[0]
    lower = _stack_tensors([b.lower for b in all_bounds], dim, "lower corners")
    upper = _stack_tensors([b.upper for b in all_bounds], dim, "upper corners")
    centers = [b.center or derived_center(b.lower, b.upper) for b in all_bounds]
    sizes = [b.size or derived_size(b.lower, b.upper) for b in all_bounds]
    center, size = _stack_tensors(centers, dim, "centres"), _stack_tensors(sizes, dim, "sizes")
    return bounds_from_parts(lower, upper, center, size)


def _stack_boundaries(boundaries: Sequence[Boundary], dim: DimSpec) -> Boundary:
    """Returns a boundary of the common structure whose differing tensors have `dim`."""
    first = boundaries[0]
    if any(boundary.keys() != first.keys() for boundary in boundaries):
        raise _mismatch("fields with different kinds of boundary", dim)
    stacked: dict[str, Any] = {}
    for key, example in first.items():
        parts = [boundary[key] for boundary in boundaries]
        if all(isinstance(part, TensorRecord) for part in parts):
            stacked[key] = _stack_equal(cast("list[TensorRecord]", parts), dim, "boundary values")
        elif all(isinstance(part, FieldRecord) for part in parts):
            fields = cast("list[FieldRecord]", parts)
            stacked[key] = (
                fields[0] if all(f == fields[0] for f in fields) else stack_records(fields, dim)
            )
        elif all(isinstance(part, Mapping) for part in parts):
            stacked[key] = _stack_boundaries(cast("list[Boundary]", parts), dim)
        elif all(part == example for part in parts):
            stacked[key] = example
        else:
            raise _mismatch("fields with different kinds of boundary", dim)
    return stacked


def _mismatch(what: str, dim: DimSpec) -> BatchMismatchError:
    """Returns the error for records that do not stack."""
    return BatchMismatchError(f"cannot stack {what} along '{dim.name}'; read them one at a time")
