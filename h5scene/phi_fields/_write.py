"""Whole fields to records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phi.field import Field
from phi.geom import UniformGrid
from phiml import math
from phiml.math import Tensor
from phiml.math._tensors import Dense, TensorStack

from h5scene.errors import UnsupportedFieldError
from h5scene.objects import split_values
from h5scene.phi_fields._boundaries import boundary_tree
from h5scene.phi_fields._bounds import NotCompactError, attrs_from_box, bounds_from_box
from h5scene.phi_fields._caches import IdentityCache, is_small
from h5scene.phi_fields._geometries import differing_size, record_from_geometry
from h5scene.phi_fields._parts import part_from_tensor
from h5scene.phi_fields._staggered import Component, faces_kept, padded_array, plan_components
from h5scene.phi_fields._tensors import array_from_tensor, dim_specs_from_shape, shape_key
from h5scene.record import (
    CENTERED,
    FIELD,
    STAGGERED,
    TENSOR,
    DimSpec,
    FieldDescription,
    FieldRecord,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_ATTRS = ("values",)


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to turn fields of one geometry, boundary and shape into records."""

    description: FieldDescription
    names: tuple[str, ...]
    """Dims of the array; of one component if the field is staggered."""
    padded_sizes: tuple[int, ...]
    components: tuple[Component, ...] | None
    """None if the field is centered."""


_PLANS: IdentityCache[_Plan] = IdentityCache(256)


def record_from_field(field: Field | Tensor) -> FieldRecord:
    """Returns the neutral form of a field: every bit of its values, dims, geometry and boundary.

    The values alias the field's memory where its layout allows that. They are read-only where the
    field only mentions dims along which it is constant. Copy them if the field's memory may change
    before they are stored.

    Args:
        field: `CenteredGrid` or `StaggeredGrid`, a `Field` on any other geometry, or a tensor.

    Shapes:
        Centered, `(bᵇ, xˢ, yˢ, vectorᶜ)`: an array with these axes. They are those that the values
        have, in the order of `field.shape`.
        Staggered, `(bᵇ, xˢ=4, yˢ=3, vectorᶜ=x,y)`: a padded array of `b`×5×4×2, see `_staggered`.
        The last axis is called `~vector` if the values have a dim `vector` beside the components.
        Others, `(bᵇ, pointsⁱ, vectorᶜ)`: an array with these axes, in the order of the values.

    Raises:
        UnsupportedFieldError: It has values, a geometry or a boundary that cannot be stored.
    """
    if isinstance(field, Tensor):
        values, structure = split_values(part_from_tensor(field, copy=False))
        description = FieldDescription(TENSOR, values.dims, None, {}, {})
        return FieldRecord(description, values.data, None, structure)
    if not isinstance(field, Field):
        raise UnsupportedFieldError(
            f"cannot store a {_kind_of(field)} as a field; CenteredGrid and StaggeredGrid can be"
        )
    values = field.values
    if not isinstance(values, Tensor):
        raise UnsupportedFieldError(
            f"cannot store a field whose values are {type(values).__name__}"
        )
    if type(field.geometry) is not UniformGrid:
        return _general_record(field)
    objects = (field.geometry, field.boundary)
    key = (shape_key(values), field.variable_attrs, field.value_attrs)
    plan = _PLANS.get(objects, key)
    if plan is None:
        try:
            plan = _plan(field)
        except NotCompactError:
            return _general_record(field)
        if is_small(plan.description):
            _PLANS.put(objects, key, plan)
    if plan.components is None:
        array = array_from_tensor(values, plan.names)
    else:
        parts = math.unstack(values, "~vector")
        array = padded_array(field, parts, plan.components, plan.names, plan.padded_sizes)
    return FieldRecord(plan.description, array)


_DESCRIPTIONS: IdentityCache[FieldDescription] = IdentityCache(256)


def _general_record(field: Field) -> FieldRecord:
    """Returns the form of a field on any geometry."""
    geometry = record_from_geometry(field.geometry)
    differing = differing_size(field.geometry, field.values)
    if differing is not None:
        raise UnsupportedFieldError(f"cannot store a field whose values have {differing}")
    values, structure = split_values(part_from_tensor(field.values, copy=False))
    key = (values.dims, field.variable_attrs, field.value_attrs)
    description = _DESCRIPTIONS.get((field.boundary,), key)
    if description is None:
        tree = boundary_tree(field.boundary, record_from_field)
        description = FieldDescription(FIELD, values.dims, None, tree, _attrs(field))
        if is_small(description):
            _DESCRIPTIONS.put((field.boundary,), key, description)
    return FieldRecord(description, values.data, geometry, structure)


def _attrs(field: Field) -> dict[str, Any]:
    """Returns the attributes of a field that are not at their default."""
    return {
        name: list(getattr(field, name))
        for name in ("variable_attrs", "value_attrs")
        if getattr(field, name) != DEFAULT_ATTRS
    }


def _plan(field: Field) -> _Plan:
    """Returns how to store a grid, after checking that its compact form can hold it."""
    geometry, values = field.geometry, field.values
    if not isinstance(values, (Dense, TensorStack)):
        raise NotCompactError(f"cannot store a {type(values).__name__} as the values of a grid")
    bounds = bounds_from_box(geometry.bounds)
    axes = bounds.axes
    if axes != geometry.resolution.names:
        raise NotCompactError(
            f"cannot store a grid with bounds along {axes} and cells along {geometry.resolution}"
        )
    attrs: dict[str, Any] = {**attrs_from_box(geometry.bounds), **_attrs(field)}
    tree = boundary_tree(field.boundary, record_from_field)
    resolution = dict(zip(axes, geometry.resolution.sizes, strict=True))
    if field.is_staggered:
        field_type = STAGGERED
        dims, sizes, components = _staggered_layout(field, resolution)
        names = tuple(dim.name for dim in dims[:-1])
    else:
        field_type = CENTERED
        shape = values.shape
        if not shape.is_uniform:
            raise NotCompactError(f"cannot store non-uniform values of shape {shape}")
        if any(axis not in shape or shape.get_size(axis) != n for axis, n in resolution.items()):
            raise UnsupportedFieldError(
                f"cannot store values of shape {shape} on a grid of {geometry.resolution}"
            )
        specs = {dim.name: dim for dim in dim_specs_from_shape(shape)}
        names = _ordered(field, list(specs))
        dims, sizes, components = tuple(specs[name] for name in names), (), None
    labels = {dim.name: dim.labels for dim in dim_specs_from_shape(geometry.resolution)}
    differing = {
        dim.name: list(labels[dim.name] or ())
        for dim in dims
        if dim.name in labels and dim.labels != labels[dim.name]
    }
    if differing:
        attrs["resolution_labels"] = differing
    description = FieldDescription(field_type, dims, bounds, tree, attrs)
    return _Plan(description, names, sizes, components)


def _staggered_layout(
    field: Field, resolution: Mapping[str, int]
) -> tuple[tuple[DimSpec, ...], tuple[int, ...], tuple[Component, ...]]:
    """Returns the dims of the padded array, its sizes, and the place of each component.

    The last dim is that of the components and not among the sizes.
    """
    values, axes = field.values, list(resolution)
    face_labels = values.shape.get_labels("~vector")
    components = math.unstack(values, "~vector")
    if len(components) != len(axes) or face_labels not in (None, tuple(axes)):
        raise NotCompactError(
            f"cannot store values of shape {values.shape} on the faces of a grid with axes {axes}"
        )
    specs: dict[str, DimSpec] = {}
    sizes: dict[str, int] = {}
    for component, own in zip(components, axes, strict=True):
        shape = component.shape
        for axis, size in resolution.items():
            kept = sum(faces_kept(field.boundary, own)) - 1 if axis == own else 0
            if axis not in shape or shape.get_size(axis) != size + kept:
                raise UnsupportedFieldError(
                    f"cannot store {shape} on the faces along '{own}' of a grid of {resolution}: "
                    f"there must be {size + kept} values along '{axis}'"
                )
            if shape.get_labels(axis):
                raise NotCompactError(f"cannot store faces with labels along '{axis}'")
        for dim, size in zip(dim_specs_from_shape(shape), shape.sizes, strict=True):
            known = specs.setdefault(dim.name, dim)
            if dim.name not in resolution and (
                known != dim or not isinstance(size, int) or sizes.get(dim.name, size) != size
            ):
                raise NotCompactError(
                    f"cannot store components with different '{dim.name}'; store them one by one"
                )
            sizes[dim.name] = size
    sizes.update({axis: size + 1 for axis, size in resolution.items()})
    names = _ordered(field, [name for name in values.shape.names if name != "~vector"])
    padded_sizes = tuple(sizes[name] for name in names)
    if "vector" in names:
        face_dim = DimSpec("~vector", "dual", face_labels)
    else:
        face_dim = DimSpec("vector", "channel", face_labels)
    plan = plan_components(field.boundary, axes, names, padded_sizes)
    return (*(specs[name] for name in names), face_dim), padded_sizes, plan


def _ordered(field: Field, names: list[str]) -> tuple[str, ...]:
    """Returns the names in the order of `field.shape`; dual ones that it lacks come last."""
    order = list(field.shape.names)
    return tuple(sorted(names, key=lambda name: order.index(name) if name in order else len(order)))


def _kind_of(value: Any) -> str:
    """Returns what to call a value that is no field."""
    name = type(value).__name__
    if name == "Layout":
        return "Layout (which PhiFlow makes of fields of different kinds)"
    return "Tensor" if isinstance(value, Tensor) else name
