"""The neutral form of a field between PhiFlow, HDF5 and npz: NumPy arrays and Python values.

`phi_fields` turns a `Field` into a `FieldRecord` and back without knowing HDF5; `format.codec`
stores a record without knowing PhiFlow. Batches are cut and stacked here, on records, so that
nothing is rounded, compared with a tolerance or converted on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np

from h5scene.errors import CorruptDataError
from h5scene.objects import (
    ObjectRecord,
    Part,
    join_values,
    note_dims,
    slice_part,
    split_values,
    stack_parts,
    stacked_parts,
)
from h5scene.tensors import (
    DIM_TYPES,
    Array,
    DimSpec,
    DimType,
    TensorRecord,
    mismatch,
    same_bits,
    slice_tensor,
    stack_equal,
    stack_tensors,
)

__all__ = [
    "CENTERED",
    "DIM_TYPES",
    "FIELD",
    "NPZ_ATTR",
    "STAGGERED",
    "TENSOR",
    "Array",
    "Boundary",
    "Bounds",
    "DimSpec",
    "DimType",
    "FieldDescription",
    "FieldRecord",
    "ObjectRecord",
    "TensorRecord",
    "bounds_from_parts",
    "copied_records",
    "derived_center",
    "derived_size",
    "map_boundary",
    "named_dims",
    "same_bits",
    "slice_record",
    "stack_records",
]

CENTERED = "CenteredGrid"
STAGGERED = "StaggeredGrid"
FIELD = "Field"
"""A field on any other geometry, or on a grid that the two above cannot describe."""
TENSOR = "Tensor"
"""Values without geometry and boundary."""

NPZ_ATTR = "npz"
"""Attribute of a field that came from an npz file: how that differed from what is usual."""

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
        field_type: `CENTERED`, `STAGGERED`, `FIELD` or `TENSOR`.
        dims: Dims of the array of values as stored, in order.
        bounds: Physical extent of the grid; `None` for fields on another geometry.
        boundary: What lies outside, see `Boundary`; empty for tensors.
        attrs: Further attributes of the field that are not at their default, as JSON values.
    """

    field_type: str
    dims: tuple[DimSpec, ...]
    bounds: Bounds | None
    boundary: Boundary
    attrs: Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class FieldRecord:
    """One field at one frame. Staggered values are in PhiFlow's padded layout.

    Attributes:
        description: What its frames share.
        values: The numbers.
        geometry: Where they are, of fields that are no grids.
        structure: How the numbers make up the tensor of values, where that is sparse or where its
            sizes vary; `None` for others.
    """

    description: FieldDescription
    values: Array
    geometry: ObjectRecord | None = None
    structure: ObjectRecord | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FieldRecord):
            return NotImplemented
        return (
            self.description == other.description
            and same_bits(self.values, other.values)
            and self.geometry == other.geometry
            and self.structure == other.structure
        )

    __hash__ = None  # type: ignore[assignment]  # an array of 25 MB is no dictionary key

    @property
    def tensor(self) -> Part:
        """The values with their dims, and with what makes them sparse or ragged."""
        return join_values(TensorRecord(self.description.dims, self.values), self.structure)

    def with_tensor(
        self, tensor: Part, description: FieldDescription, geometry: ObjectRecord | None
    ) -> FieldRecord:
        """Returns a field of the same kind with another description, geometry and values."""
        values, structure = split_values(tensor)
        return FieldRecord(replace(description, dims=values.dims), values.data, geometry, structure)


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
    if record.geometry is not None:
        note_dims(record.geometry, found)
    if record.structure is not None:
        note_dims(record.tensor, found)
        return found
    values = zip(record.description.dims, record.values.shape, strict=True)
    return found | {dim.name: (dim, size) for dim, size in values}


def slice_record(record: FieldRecord, index: Mapping[str, int]) -> FieldRecord:
    """Returns one slice along the given batch dims.

    What does not have such a dim, values or description, is shared with the given record.
    """
    if not index:
        return record
    description = _map_description(
        record.description,
        lambda tensor: slice_tensor(tensor, index),
        lambda inner: slice_record(inner, index),
    )
    geometry = None if record.geometry is None else slice_part(record.geometry, index)
    assert not isinstance(geometry, TensorRecord)
    return record.with_tensor(slice_part(record.tensor, index), description, geometry)


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
                values = record.values.copy(order="K")
                # Objects own their arrays: they need no copy.
                copies[id(record)] = replace(record, description=described, values=values)
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
    if _are_alike(records):
        return _stack_alike(records, dim)
    for record in records:
        description = record.description
        if description.field_type != first.field_type:
            raise mismatch(f"a {description.field_type} and a {first.field_type}", dim)
        if _lasting_attrs(description) != attrs:
            raise mismatch(
                f"fields with the attributes {_lasting_attrs(description)} and {attrs}", dim
            )
        if _axes(description) != _axes(first) or (
            description.field_type == STAGGERED and _face_dim(description) != _face_dim(first)
        ):
            raise mismatch("fields whose axes differ in names or order", dim)
        if dim.name in named_dims(record):
            raise mismatch(f"fields that have a dim '{dim.name}'", dim)
    boundary = _stack_boundaries([r.description.boundary for r in records], dim)
    description = replace(first, boundary=boundary, attrs=attrs)
    if first.field_type not in (CENTERED, STAGGERED):
        return _stack_fields(records, description, dim)
    values = stack_tensors(
        [TensorRecord(r.description.dims, r.values) for r in records], dim, "values"
    )
    all_bounds = [r.description.bounds for r in records if r.description.bounds is not None]
    bounds = _stack_bounds(all_bounds, dim)
    return FieldRecord(replace(description, dims=values.dims, bounds=bounds), values.data)


def _stack_fields(
    records: Sequence[FieldRecord], description: FieldDescription, dim: DimSpec
) -> FieldRecord:
    """Returns one record of fields on geometries that may differ in size, or of tensors."""
    # With the dim even if all are equal: a batch that was written is a batch when it is read.
    tensors = [record.tensor for record in records]
    stacked = stack_parts(tensors, dim, "values")
    if stacked is tensors[0]:
        stacked = (
            stack_tensors([stacked] * len(records), dim, "values")
            if isinstance(stacked, TensorRecord)
            else stacked_parts(dim, tensors)
        )
    geometries = [record.geometry for record in records if record.geometry is not None]
    geometry = stack_parts(geometries, dim, "geometries") if geometries else None
    if len(geometries) not in (0, len(records)) or isinstance(geometry, TensorRecord):
        raise mismatch("fields with and without a geometry", dim)
    return records[0].with_tensor(stacked, description, geometry)


def _are_alike(records: Sequence[FieldRecord]) -> bool:
    """Whether records differ in their values only, as frames usually do."""
    first, shape = records[0], records[0].values.shape
    return all(
        record.description is first.description
        and record.values.shape == shape
        and record.geometry is first.geometry
        and record.structure is None
        for record in records
    )


def _stack_alike(records: Sequence[FieldRecord], dim: DimSpec) -> FieldRecord:
    """Returns records that differ in their values only along `dim`."""
    described = records[0].description
    if dim.name in named_dims(records[0]):
        raise mismatch(f"fields that have a dim '{dim.name}'", dim)
    values = stack_tensors(
        [TensorRecord(described.dims, record.values) for record in records], dim, "values"
    )
    described = replace(described, dims=values.dims, attrs=_lasting_attrs(described))
    return FieldRecord(described, values.data, records[0].geometry)


def _lasting_attrs(description: FieldDescription) -> dict[str, Any]:
    """Returns the attributes that fields must share to be stacked, and have afterwards."""
    return {name: value for name, value in description.attrs.items() if name != NPZ_ATTR}


def _axes(description: FieldDescription) -> tuple[str, ...] | None:
    """Returns the axes of a grid; None for other fields."""
    return None if description.bounds is None else description.bounds.axes


def _face_dim(description: FieldDescription) -> DimSpec | None:
    """Returns the dim along which a staggered grid has its components."""
    dims = {dim.name: dim for dim in description.dims}
    return dims.get("~vector", dims.get("vector"))


def map_boundary(
    boundary: Boundary,
    change: Callable[[TensorRecord], TensorRecord],
    change_field: Callable[[FieldRecord], FieldRecord] | None = None,
) -> Boundary:
    """Returns the boundary with every tensor in it changed, those of embedded fields too."""
    changed: dict[str, Any] = {}
    for key, value in boundary.items():
        if isinstance(value, TensorRecord):
            changed[key] = change(value)
        elif isinstance(value, FieldRecord) and change_field is not None:
            changed[key] = change_field(value)
        elif isinstance(value, FieldRecord):
            values = change(TensorRecord(value.description.dims, value.values))
            description = replace(_map_description(value.description, change), dims=values.dims)
            changed[key] = replace(value, description=description, values=values.data)
        elif isinstance(value, Mapping):
            changed[key] = map_boundary(value, change, change_field)
        else:
            changed[key] = value
    return changed


def _map_description(
    description: FieldDescription,
    change: Callable[[TensorRecord], TensorRecord],
    change_field: Callable[[FieldRecord], FieldRecord] | None = None,
) -> FieldDescription:
    """Returns the description with every tensor of its bounds and boundary changed."""
    bounds = description.bounds
    if bounds is not None:
        bounds = bounds_from_parts(
            change(bounds.lower),
            change(bounds.upper),
            None if bounds.center is None else change(bounds.center),
            None if bounds.size is None else change(bounds.size),
        )
    boundary = map_boundary(description.boundary, change, change_field)
    return replace(description, bounds=bounds, boundary=boundary)


def _stack_bounds(all_bounds: Sequence[Bounds], dim: DimSpec) -> Bounds:
    """Returns the one extent that all have, or corners with `dim`."""
    if all(bounds == all_bounds[0] for bounds in all_bounds):
        return all_bounds[0]
    lower = stack_tensors([b.lower for b in all_bounds], dim, "lower corners")
    upper = stack_tensors([b.upper for b in all_bounds], dim, "upper corners")
    centers = [b.center or derived_center(b.lower, b.upper) for b in all_bounds]
    sizes = [b.size or derived_size(b.lower, b.upper) for b in all_bounds]
    center, size = stack_tensors(centers, dim, "centres"), stack_tensors(sizes, dim, "sizes")
    return bounds_from_parts(lower, upper, center, size)


def _stack_boundaries(boundaries: Sequence[Boundary], dim: DimSpec) -> Boundary:
    """Returns a boundary of the common structure whose differing tensors have `dim`."""
    first = boundaries[0]
    if any(boundary.keys() != first.keys() for boundary in boundaries):
        raise mismatch("fields with different kinds of boundary", dim)
    stacked: dict[str, Any] = {}
    for key, example in first.items():
        parts = [boundary[key] for boundary in boundaries]
        if all(isinstance(part, TensorRecord) for part in parts):
            stacked[key] = stack_equal(cast("list[TensorRecord]", parts), dim, "boundary values")
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
            raise mismatch("fields with different kinds of boundary", dim)
    return stacked
