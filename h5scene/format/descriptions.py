"""Field descriptions as attributes, and the arrays in boundaries as members of frames.

A description stands on the group of its field, once; a frame with another one carries its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from h5scene.errors import CorruptDataError
from h5scene.format import layout
from h5scene.format.checksums import check_description, description_checksum
from h5scene.format.groups import read_attribute
from h5scene.format.json_values import (
    dump_json,
    has_usual_nans,
    load_json,
)
from h5scene.record import (
    FIELD,
    TENSOR,
    Array,
    Boundary,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    ObjectRecord,
    TensorRecord,
)
from h5scene.tensors import dims_from_json, dims_to_json

if TYPE_CHECKING:
    import h5py

# PhiML makes int32 of a Python int, float64 of a float.
_JSON_DTYPES = {bool: np.dtype("bool"), int: np.dtype("int32"), float: np.dtype("float64")}
_CORNERS = (layout.LOWER_ATTR, layout.UPPER_ATTR, layout.CENTER_ATTR, layout.SIZE_ATTR)


def attributes_from_description(description: FieldDescription) -> dict[str, Any]:
    """Returns the description as attributes of a field group, or of one frame.

    Raises:
        InvalidInputError: JSON cannot hold the boundary.
    """
    axes = () if description.bounds is None else description.bounds.axes
    attributes: dict[str, Any] = {}
    if description.bounds is not None:
        attributes[layout.AXES_ATTR] = dump_json(list(axes), layout.AXES_ATTR)
    for key, value in _tree_from_description(description).items():
        if isinstance(value, TensorRecord):
            attributes[key] = value.data
            if value.dims != _corner_dims(axes):
                attributes[key + layout.DIMS_SUFFIX] = dump_json(dims_to_json(value.dims), key)
        else:
            attributes[key] = value if isinstance(value, str) else dump_json(value, key)
    return attributes


def stored_attributes(description: FieldDescription) -> dict[str, Any]:
    """Returns the description as the attributes to store, with their checksum; raises as above."""
    attributes = attributes_from_description(description)
    checksum = np.uint32(description_checksum(attributes))
    return {**attributes, layout.DESCRIPTION_CHECKSUM_ATTR: checksum}


def read_description(source: h5py.Group | h5py.Dataset) -> FieldDescription:
    """Returns the description that stands on a field group or frame.

    Embedded fields in it are still without their values.

    Raises:
        FormatError: An attribute is missing, or is not what FORMAT.md says.
    """
    found = {
        name: read_attribute(source, name, may_be_array=True) for name in layout.DESCRIPTION_ATTRS
    }
    attrs = {name: value for name, value in found.items() if value is not None}
    expected = read_attribute(source, layout.DESCRIPTION_CHECKSUM_ATTR)
    check_description(attrs, expected, source.name)
    try:
        is_grid = attrs[layout.FIELD_TYPE_ATTR] not in (FIELD, TENSOR)
        axes = load_json(attrs[layout.AXES_ATTR]) if is_grid else []
        if not isinstance(axes, list) or not all(isinstance(axis, str) for axis in axes):
            raise CorruptDataError(f"axes must be a JSON list of strings, not {axes!r}")
        tree: dict[str, Any] = {layout.FIELD_TYPE_ATTR: attrs[layout.FIELD_TYPE_ATTR]}
        for key in (layout.DIMS_ATTR, layout.BOUNDARY_ATTR, layout.FIELD_ATTRS_ATTR):
            if key in attrs:
                tree[key] = load_json(attrs[key])
        for key in _CORNERS:
            if key in attrs:
                dims = attrs.get(key + layout.DIMS_SUFFIX)
                corner_dims = (
                    _corner_dims(tuple(axes)) if dims is None else dims_from_json(load_json(dims))
                )
                tree[key] = TensorRecord(corner_dims, np.asarray(attrs[key]))
        return _description_from_tree(tree)
    except (KeyError, TypeError, ValueError, AssertionError) as error:  # and FormatError
        raise CorruptDataError(
            f"the description of {source.name} is not what the file format says: {error}"
        ) from error


def _corner_dims(axes: Sequence[str]) -> tuple[DimSpec, ...]:
    """Returns the dims of a corner that has no batch dims."""
    return (DimSpec("vector", "channel", tuple(axes)),)


def _tree_from_description(description: FieldDescription) -> dict[str, Any]:
    """Returns the description as a tree of JSON values and tensors."""
    bounds = description.bounds
    corners = () if bounds is None else (bounds.lower, bounds.upper, bounds.center, bounds.size)
    tree: dict[str, Any] = {
        layout.FIELD_TYPE_ATTR: description.field_type,
        layout.DIMS_ATTR: dims_to_json(description.dims),
        **dict(zip(_CORNERS, corners, strict=False)),
        layout.BOUNDARY_ATTR: _with_plain_numbers(description.boundary) or None,
        layout.FIELD_ATTRS_ATTR: dict(description.attrs) or None,
    }
    return {key: value for key, value in tree.items() if value is not None}


def _description_from_tree(tree: Mapping[str, Any]) -> FieldDescription:
    """Returns the description that `_tree_from_description` made into a tree."""
    field_type = str(tree[layout.FIELD_TYPE_ATTR])
    boundary = (
        tree.get(layout.BOUNDARY_ATTR, {}) if field_type == TENSOR else tree[layout.BOUNDARY_ATTR]
    )
    corners = [tree.get(key) for key in _CORNERS]
    if not isinstance(boundary, Mapping):
        raise CorruptDataError(f"a boundary must be a JSON object, not {boundary!r}")
    bounds = None
    if field_type not in (FIELD, TENSOR):
        required = (*corners[:2], *filter(None, corners))
        if not all(isinstance(corner, TensorRecord) for corner in required):
            raise CorruptDataError("the bounds lack a corner, or one of them is no tensor")
        bounds = Bounds(*corners)  # type: ignore[arg-type]  # checked above
    return FieldDescription(
        field_type=field_type,
        dims=dims_from_json(tree[layout.DIMS_ATTR]),
        bounds=bounds,
        boundary=_with_tensors(boundary),
        attrs=tree.get(layout.FIELD_ATTRS_ATTR, {}),
    )


def _with_plain_numbers(boundary: Boundary) -> dict[str, Any]:
    """Returns the boundary with numbers for tensors without dims, where JSON keeps their dtype."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _with_plain_numbers(value)
        if isinstance(value, TensorRecord) and not value.dims:
            number = value.data.item()
            keeps_dtype = _JSON_DTYPES.get(type(number)) == value.data.dtype
            return number if keeps_dtype and has_usual_nans(value.data) else value
        return value

    return {key: plain(value) for key, value in boundary.items()}


def _with_tensors(boundary: Mapping[str, Any]) -> Boundary:
    """Returns the boundary with tensors for plain numbers.

    Raises:
        CorruptDataError: A whole number does not fit into int32.
    """

    def tensor(value: Any) -> Any:
        if isinstance(value, Mapping):
            return value if _names_array(value) else _with_tensors(value)
        dtype = _JSON_DTYPES.get(type(value))
        if dtype is None:
            return value
        try:
            return TensorRecord((), np.asarray(value, dtype))
        except OverflowError as error:
            raise CorruptDataError(f"the plain number {value} is no int32") from error

    return {key: tensor(value) for key, value in boundary.items()}


# --- arrays in a boundary -------------------------------------------------------------------------


Member: TypeAlias = Array | ObjectRecord
"""What a frame holds beside the values: an array, or an object of several."""


def split_arrays(description: FieldDescription) -> tuple[FieldDescription, dict[str, Member]]:
    """Returns the description with the arrays in its boundary named, and the arrays by name.

    These are the values and geometries of embedded fields, and tensors too large for an attribute.
    Two frames of a field share a description when these first parts are equal.
    """
    members: dict[str, Member] = {}
    boundary = _split_boundary(description.boundary, members)
    return (replace(description, boundary=boundary) if members else description), members


def _split_boundary(boundary: Boundary, members: dict[str, Member]) -> Boundary:
    """Returns the boundary without arrays, which it adds to `members`."""

    def named(member: Member) -> str:
        name = f"{layout.BOUNDARY_DATASET_PREFIX}{len(members)}"
        members[name] = member
        return name

    split: dict[str, Any] = {}
    for key, value in boundary.items():
        if isinstance(value, FieldRecord):
            inner = value.description
            inner = replace(inner, boundary=_split_boundary(inner.boundary, members))
            objects = {
                layout.GEOMETRY_GROUP: value.geometry,
                layout.STRUCTURE_GROUP: value.structure,
            }
            split[key] = {
                **_tree_from_description(inner),
                layout.VALUES_DATASET: named(value.values),
                **{where: named(part) for where, part in objects.items() if part is not None},
            }
        elif (
            isinstance(value, TensorRecord) and value.data.nbytes > layout.MAX_BOUNDARY_TENSOR_BYTES
        ):
            dims = dims_to_json(value.dims)
            split[key] = {layout.DIMS_ATTR: dims, layout.VALUES_DATASET: named(value.data)}
        else:
            split[key] = _split_boundary(value, members) if isinstance(value, Mapping) else value
    return split


def _names_array(value: Mapping[str, Any]) -> bool:
    """Whether this is an embedded field or tensor; `values` may also be an axis with boundaries."""
    return isinstance(value.get(layout.VALUES_DATASET), str)


def join_boundary(boundary: Boundary, read: Callable[[str], Member]) -> Boundary:
    """Returns the boundary with its arrays, which `read` gives by name."""

    def array(name: str, dims: Sequence[DimSpec], key: str) -> Array:
        found = read(name)
        if isinstance(found, ObjectRecord):
            raise CorruptDataError(f"{key} has a group where its values should be")
        return check_axes(found, dims, key)

    def inner_object(name: str | None) -> ObjectRecord | None:
        found = None if name is None else read(name)
        if not isinstance(found, ObjectRecord | None):
            raise CorruptDataError(f"{name!r} should be a group")
        return found

    def joined(key: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if not _names_array(value):
            return join_boundary(value, read)
        name = value[layout.VALUES_DATASET]
        if layout.FIELD_TYPE_ATTR not in value:
            dims = dims_from_json(value[layout.DIMS_ATTR])
            return TensorRecord(dims, array(name, dims, key))
        inner = _description_from_tree(value)
        inner = replace(inner, boundary=join_boundary(inner.boundary, read))
        return FieldRecord(
            inner,
            array(name, inner.dims, key),
            inner_object(value.get(layout.GEOMETRY_GROUP)),
            inner_object(value.get(layout.STRUCTURE_GROUP)),
        )

    return {key: joined(key, value) for key, value in boundary.items()}


def check_axes(values: Array, dims: Sequence[DimSpec], what: str) -> Array:
    """Returns the values, which must have an axis for each dim."""
    if values.ndim != len(dims):
        names = ", ".join(dim.name for dim in dims)
        raise CorruptDataError(f"{what} has {values.ndim} axes, its description the dims ({names})")
    return values
