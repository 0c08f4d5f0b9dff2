"""Records to whole fields."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from phi.field import Field
from phi.geom import UniformGrid
from phiml import math
from phiml.backend import NUMPY, default_backend
from phiml.math import Shape, Tensor
from phiml.math import dual as dual_dim

from h5scene.errors import CorruptDataError, UnsupportedVersionError
from h5scene.phi_fields._boundaries import boundary_from_tree, boundary_key
from h5scene.phi_fields._bounds import DEFAULT_BOX_ATTRS, axes_of, box_from_bounds
from h5scene.phi_fields._caches import Cache, is_small
from h5scene.phi_fields._geometries import differing_size, geometry_from_record
from h5scene.phi_fields._parts import tensor_from_part
from h5scene.phi_fields._staggered import faces_kept
from h5scene.phi_fields._tensors import restacked, shape_from_dim_specs, tensor_from_array
from h5scene.phi_fields._write import DEFAULT_ATTRS
from h5scene.record import (
    CENTERED,
    FIELD,
    STAGGERED,
    TENSOR,
    Array,
    Boundary,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    TensorRecord,
)
from h5scene.tensors import stacked


@dataclass(frozen=True, slots=True)
class _Cut:
    """How to cut the components of a staggered grid out of a padded array."""

    face_axis: int
    """Axis of the array along which the components lie."""
    slices: tuple[tuple[Any, ...], ...]
    """Where each component lies along the other axes; one item if all lie at the same place."""
    template: Tensor | None
    """Stack of tensors with the shapes of the components; None if they fit into one array."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to turn records of one description and shape into fields."""

    attributes: Mapping[str, Any]
    """Of the field, except its values."""
    shapes: tuple[Shape, ...]
    """Of the values, or of each component."""
    cut: _Cut | None
    """None if the field is centered."""


_PLANS: Cache[_Plan] = Cache(256)


def field_from_record(record: FieldRecord, *, convert_to_backend: bool = True) -> Field | Tensor:
    """Returns the field, or the tensor, that a record describes.

    Args:
        record: As `record_from_field()` makes it, or as a file holds it.
        convert_to_backend: Whether the values become tensors of PhiML's default backend, at their
            own precision whatever `math.get_precision()` says; else they stay NumPy's. Geometry
            and boundary are always NumPy's, which work with every backend.

    Returns:
        The field. Its values alias the array of the record, unless they had to be converted.

    Raises:
        UnsupportedVersionError: The field or its boundary is of a kind that this version does not
            know.
        CorruptDataError: The parts of the record contradict each other.
    """
    described = record.description
    if described.field_type == TENSOR:
        return tensor_from_part(record.tensor, convert=convert_to_backend)
    if described.field_type == FIELD:
        return _general_field(record, convert_to_backend)
    key = _key(described, record.values.shape, convert_to_backend)
    plan = None if key is None else _PLANS.get(key)
    if plan is not None:
        return _field(plan, record.values, convert_to_backend)
    plan = _plan(record, convert_to_backend)
    field = _field(plan, record.values, convert_to_backend)
    try:
        _ = field.shape
    except Exception as err:  # PhiFlow raises anything from AssertionError to IncompatibleShapes
        raise CorruptDataError(
            f"the stored values do not fit the stored grid and boundary: {err}"
        ) from err
    if key is not None and is_small(described):
        _PLANS.put(key, plan)
    return field


_BOUNDARIES: Cache[Any] = Cache(64)


def _general_field(record: FieldRecord, convert: bool) -> Field:
    """Returns a field on any geometry."""
    described = record.description
    if record.geometry is None:
        raise CorruptDataError("the field has no geometry")
    geometry = geometry_from_record(record.geometry)
    values = tensor_from_part(record.tensor, convert=convert)
    differing = differing_size(geometry, values)
    if differing is not None:
        raise CorruptDataError(f"the stored values have {differing}")
    field: Field = object.__new__(Field)
    field.__dict__.update(
        geometry=geometry,
        values=values,
        boundary=_general_boundary(described.boundary, convert),
        variable_attrs=_names(described.attrs, "variable_attrs", DEFAULT_ATTRS),
        value_attrs=_names(described.attrs, "value_attrs", DEFAULT_ATTRS),
    )
    return field


def _general_boundary(tree: Boundary, convert: bool) -> Any:
    """Returns a boundary; the same one each time for the same small tree."""

    def embedded(inner: FieldRecord) -> Any:
        return field_from_record(inner, convert_to_backend=convert)

    key = boundary_key(tree)
    if key is None or any(isinstance(part, TensorRecord) for part in tree.values()):
        return boundary_from_tree(tree, embedded)
    boundary = _BOUNDARIES.get(key)
    if boundary is None:
        boundary = boundary_from_tree(tree, embedded)
        _BOUNDARIES.put(key, boundary)
    return boundary


def _field(plan: _Plan, array: Array, convert: bool) -> Field:
    """Returns a field without its constructor.

    That would compute all face positions, which takes 10 ms, to check sizes that the plan made.
    """
    field: Field = object.__new__(Field)
    field.__dict__.update(plan.attributes, values=_values(plan, array, convert))
    return field


def _key(described: FieldDescription, sizes: tuple[int, ...], convert: bool) -> Hashable:
    """Returns something hashable for all that a plan depends on; None if a field is embedded."""
    boundary = boundary_key(described.boundary)
    if boundary is None:
        return None
    backend = default_backend() if convert else NUMPY
    attrs = json.dumps(described.attrs, sort_keys=True) if described.attrs else ""
    kind = (described.field_type, described.dims, described.bounds)
    return kind, boundary, attrs, sizes, backend.name


def _plan(record: FieldRecord, convert: bool) -> _Plan:
    """Returns how to read records like this one, after checking that its parts fit together."""
    described, sizes = record.description, record.values.shape
    dims, attrs = described.dims, described.attrs
    if described.field_type not in (CENTERED, STAGGERED):
        raise UnsupportedVersionError(
            f"the field is a '{described.field_type}', which this version of h5scene does not "
            "know; upgrade to read it"
        )
    shape = shape_from_dim_specs(dims, sizes)
    is_staggered = described.field_type == STAGGERED
    names = [dim.name for dim in dims]
    resolution = {}
    if described.bounds is None:
        raise CorruptDataError("a grid has no bounds")
    for axis in axes_of(described.bounds):
        if axis not in names or dims[names.index(axis)].type != "spatial":
            raise CorruptDataError(
                f"the bounds have an axis '{axis}' but the values have the dims {names}"
            )
        resolution[axis] = sizes[names.index(axis)] - int(is_staggered)
        if resolution[axis] < 0:
            raise CorruptDataError(f"the staggered values are empty along '{axis}'")

    def embedded(inner: FieldRecord) -> Any:
        return field_from_record(inner, convert_to_backend=convert)

    boundary = boundary_from_tree(described.boundary, embedded)
    attributes = {
        "geometry": _geometry(described, described.bounds, resolution),
        "boundary": boundary,
        "variable_attrs": _names(attrs, "variable_attrs", DEFAULT_ATTRS),
        "value_attrs": _names(attrs, "value_attrs", DEFAULT_ATTRS),
    }
    if not is_staggered:
        return _Plan(attributes, (shape,), None)
    shapes, cut = _cut(boundary, dims, sizes, resolution)
    return _Plan(attributes, shapes, cut)


def _geometry(
    described: FieldDescription, bounds: Bounds, resolution: Mapping[str, int]
) -> UniformGrid:
    """Returns the grid with its labels and bounds."""
    labels = {dim.name: dim.labels for dim in described.dims}
    given = described.attrs.get("resolution_labels", {})
    if not isinstance(given, Mapping):
        raise CorruptDataError("'resolution_labels' of the field is no dict")
    labels |= {axis: _names(given, axis, ()) or None for axis in given}
    specs = tuple(DimSpec(axis, "spatial", labels.get(axis)) for axis in resolution)
    box_attrs = _names(described.attrs, "bounds_variable_attrs", DEFAULT_BOX_ATTRS)
    box = box_from_bounds(bounds, box_attrs)
    try:
        return UniformGrid(shape_from_dim_specs(specs, tuple(resolution.values())), box)
    except Exception as err:  # PhiFlow raises anything from AssertionError to IncompatibleShapes
        raise CorruptDataError(f"the stored bounds do not fit the stored values: {err}") from err


def _cut(
    boundary: Any, dims: tuple[DimSpec, ...], sizes: tuple[int, ...], resolution: Mapping[str, int]
) -> tuple[tuple[Shape, ...], _Cut]:
    """Returns how to cut components out of a padded array, and their shapes."""
    names = [dim.name for dim in dims]
    face_name = "~vector" if "~vector" in names else "vector"
    if face_name not in names:
        raise CorruptDataError(f"the staggered values have no dim 'vector', only {names}")
    face_axis = names.index(face_name)
    face_labels = dims[face_axis].labels
    labels = tuple(resolution)
    if face_labels not in (None, labels) or sizes[face_axis] != len(labels):
        raise CorruptDataError(
            f"the staggered values have {sizes[face_axis]} components, {list(face_labels or ())}, "
            f"for the axes {list(resolution)}"
        )
    inner = dims[:face_axis] + dims[face_axis + 1 :]
    inner_sizes = sizes[:face_axis] + sizes[face_axis + 1 :]
    slices = [
        tuple(_ends(boundary, own, resolution).get(dim.name, slice(None)) for dim in inner)
        for own in labels
    ]
    cut_sizes = [
        tuple(len(range(size)[part]) for part, size in zip(parts, inner_sizes, strict=True))
        for parts in slices
    ]
    if all(size == cut_sizes[0] for size in cut_sizes):
        face_dim = DimSpec("~vector", "dual", face_labels)
        whole = shape_from_dim_specs((face_dim, *inner), (len(labels), *cut_sizes[0]))
        is_one_place = all(parts == slices[0] for parts in slices)  # periodic, or only one axis
        return (whole,), _Cut(face_axis, tuple(slices[:1] if is_one_place else slices), None)
    shapes = tuple(shape_from_dim_specs(inner, size) for size in cut_sizes)
    # The template takes no memory: the cache keeps it.
    examples = [
        tensor_from_array(np.broadcast_to(np.float32(0), size), shape, False)
        for size, shape in zip(cut_sizes, shapes, strict=True)
    ]
    template = math.stack(examples, dual_dim(vector=face_labels or len(labels)))
    return shapes, _Cut(face_axis, tuple(slices), template)


def _ends(boundary: Any, own: str, resolution: Mapping[str, int]) -> dict[str, slice]:
    """Returns the place of one component along each axis."""
    try:
        lower_kept, upper_kept = faces_kept(boundary, own)
    except Exception as err:  # e.g. KeyError for a side that the boundary does not have
        raise CorruptDataError(
            f"the stored boundary does not say what holds at the faces along '{own}'"
        ) from err
    ends = {axis: slice(0, size) for axis, size in resolution.items()}
    return ends | {own: slice(int(not lower_kept), resolution[own] + int(upper_kept))}


def _values(plan: _Plan, array: Array, convert: bool) -> Tensor:
    """Returns the values of a field, whose array is padded if it is staggered."""
    if plan.cut is None:
        return tensor_from_array(array, plan.shapes[0], convert)
    axis, slices = plan.cut.face_axis, plan.cut.slices
    faces = array.transpose([axis, *(k for k in range(array.ndim) if k != axis)])
    if len(slices) == 1:
        everywhere = (slice(None), *slices[0])
        return tensor_from_array(faces[everywhere], plan.shapes[0], convert)
    components = [face[part] for face, part in zip(faces, slices, strict=True)]
    if plan.cut.template is None:
        return tensor_from_array(stacked(components), plan.shapes[0], convert)
    tensors = [
        tensor_from_array(component, shape, convert)
        for component, shape in zip(components, plan.shapes, strict=True)
    ]
    return restacked(plan.cut.template, tensors)


def _names(holder: Mapping[str, Any], key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the names listed under a key."""
    names = holder.get(key, default)
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise CorruptDataError(f"'{key}' of the field is no list of names")
    return tuple(names)
