"""Field descriptions as attributes, frames as datasets or groups.

Everything here works on an open HDF5 group or dataset and says what FORMAT.md says. A description
stands on the group of its field, once; a frame with another one carries its own. A frame is a
dataset; where its boundary embeds whole fields it is a group that holds their values as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from h5scene.errors import (
    CorruptDataError,
    FormatError,
    InvalidInputError,
    UnsupportedFieldError,
    UnsupportedVersionError,
)
from h5scene.format import layout
from h5scene.format.filters import Compression, creation_properties
from h5scene.format.json_values import dims_from_json, dims_to_json, dump_json, load_json
from h5scene.record import (
    Array,
    Boundary,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    TensorRecord,
)

_MAX_ITEM_BYTES = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}  # long double differs by machine
_VALUE_KINDS = "".join(_MAX_ITEM_BYTES)
_JSON_DTYPES = tuple(np.dtype(name) for name in ("bool", "int64", "float64"))
_CORNERS = (layout.LOWER_ATTR, layout.UPPER_ATTR, layout.CENTER_ATTR, layout.SIZE_ATTR)


def mark(group: h5py.Group, kind: str) -> None:
    """Says on the group what it is."""
    group.attrs[layout.KIND_ATTR] = kind
    group.attrs[layout.ENCODING_ATTR] = layout.ENCODING_VERSION


def check_mark(group: h5py.Group, kind: str) -> None:
    """Raises when the group is no `kind`, or one of a newer major version.

    Raises:
        CorruptDataError: The group says nothing, or something else.
        UnsupportedVersionError: It was written by a newer h5scene.
    """
    found = group.attrs.get(layout.KIND_ATTR)
    if found != kind:
        raise CorruptDataError(
            f"{group.name} should be a {kind}, but its attribute 'kind' is {found!r}"
        )
    version = group.attrs.get(layout.ENCODING_ATTR)
    if major(version) != major(layout.ENCODING_VERSION):
        raise UnsupportedVersionError(
            f"{group.name} is a {kind} of encoding version {version}; this h5scene knows version "
            f"{layout.ENCODING_VERSION}: install a newer one"
        )


def major(version: Any) -> int:
    """Returns the major number of a version such as `1.0`; -1 when it is none."""
    text = version.split(".")[0] if isinstance(version, str) else ""
    return int(text) if text.isdecimal() else -1


# --- descriptions ---------------------------------------------------------------------------------


def attributes_from_description(description: FieldDescription) -> dict[str, Any]:
    """Returns the description as attributes of a field group, or of one frame.

    Raises:
        InvalidInputError: JSON cannot hold the boundary.
    """
    axes = description.bounds.axes
    attributes: dict[str, Any] = {layout.AXES_ATTR: dump_json(list(axes), layout.AXES_ATTR)}
    for key, value in _tree_from_description(description).items():
        if isinstance(value, TensorRecord):
            attributes[key] = value.data
            if value.dims != _corner_dims(axes):
                attributes[key + layout.DIMS_SUFFIX] = dump_json(dims_to_json(value.dims), key)
        else:
            attributes[key] = value if isinstance(value, str) else dump_json(value, key)
    return attributes


def read_description(source: h5py.Group | h5py.Dataset) -> FieldDescription:
    """Returns the description that stands on a field group or frame.

    Embedded fields in it are still without their values.

    Raises:
        FormatError: An attribute is missing, or is not what FORMAT.md says.
    """
    attrs = {name: source.attrs[name] for name in layout.DESCRIPTION_ATTRS if name in source.attrs}
    try:
        axes = load_json(attrs[layout.AXES_ATTR])
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
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise CorruptDataError(
            f"the description of {source.name} is not what the file format says: {error}"
        ) from error


def _corner_dims(axes: Sequence[str]) -> tuple[DimSpec, ...]:
    """Returns the dims of a corner that has no batch dims."""
    return (DimSpec("vector", "channel", tuple(axes)),)


def _tree_from_description(description: FieldDescription) -> dict[str, Any]:
    """Returns the description as a tree of JSON values and tensors."""
    bounds = description.bounds
    tree: dict[str, Any] = {
        layout.FIELD_TYPE_ATTR: description.field_type,
        layout.DIMS_ATTR: dims_to_json(description.dims),
        layout.LOWER_ATTR: bounds.lower,
        layout.UPPER_ATTR: bounds.upper,
        layout.CENTER_ATTR: bounds.center,
        layout.SIZE_ATTR: bounds.size,
        layout.BOUNDARY_ATTR: _with_plain_numbers(description.boundary),
        layout.FIELD_ATTRS_ATTR: dict(description.attrs) or None,
    }
    return {key: value for key, value in tree.items() if value is not None}


def _description_from_tree(tree: Mapping[str, Any]) -> FieldDescription:
    """Returns the description that `_tree_from_description` made into a tree."""
    boundary = tree[layout.BOUNDARY_ATTR]
    corners = [tree.get(key) for key in _CORNERS]
    if not isinstance(boundary, Mapping):
        raise CorruptDataError(f"a boundary must be a JSON object, not {boundary!r}")
    if not all(
        isinstance(corner, TensorRecord) for corner in (*corners[:2], *filter(None, corners))
    ):
        raise CorruptDataError("the bounds lack a corner, or one of them is no tensor")
    return FieldDescription(
        field_type=str(tree[layout.FIELD_TYPE_ATTR]),
        dims=dims_from_json(tree[layout.DIMS_ATTR]),
        bounds=Bounds(*corners),  # type: ignore[arg-type]  # checked above
        boundary=_with_tensors(boundary),
        attrs=tree.get(layout.FIELD_ATTRS_ATTR, {}),
    )


def _with_plain_numbers(boundary: Boundary) -> dict[str, Any]:
    """Returns the boundary with numbers for tensors without dims, where JSON keeps their dtype."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _with_plain_numbers(value)
        if isinstance(value, TensorRecord) and not value.dims and value.data.dtype in _JSON_DTYPES:
            return value.data.item()
        return value

    return {key: plain(value) for key, value in boundary.items()}


def _with_tensors(boundary: Mapping[str, Any]) -> Boundary:
    """Returns the boundary with tensors for plain numbers."""

    def tensor(value: Any) -> Any:
        if isinstance(value, Mapping):
            return value if layout.VALUES_DATASET in value else _with_tensors(value)
        return TensorRecord((), np.asarray(value)) if isinstance(value, (int, float)) else value

    return {key: tensor(value) for key, value in boundary.items()}


# --- arrays in a boundary -------------------------------------------------------------------------


def split_arrays(description: FieldDescription) -> tuple[FieldDescription, dict[str, Array]]:
    """Returns the description with the arrays in its boundary named, and the arrays by name.

    These are the values of embedded fields, and tensors too large for an attribute. Two frames of a
    field share a description when these first parts are equal.
    """
    arrays: dict[str, Array] = {}
    boundary = _split_boundary(description.boundary, arrays)
    return (replace(description, boundary=boundary) if arrays else description), arrays


def _split_boundary(boundary: Boundary, arrays: dict[str, Array]) -> Boundary:
    """Returns the boundary without arrays, which it adds to `arrays`."""

    def named(array: Array) -> dict[str, str]:
        name = f"{layout.BOUNDARY_DATASET_PREFIX}{len(arrays)}"
        arrays[name] = array
        return {layout.VALUES_DATASET: name}

    split: dict[str, Any] = {}
    for key, value in boundary.items():
        if isinstance(value, FieldRecord):
            inner = value.description
            inner = replace(inner, boundary=_split_boundary(inner.boundary, arrays))
            split[key] = {**_tree_from_description(inner), **named(value.values)}
        elif (
            isinstance(value, TensorRecord) and value.data.nbytes > layout.MAX_BOUNDARY_TENSOR_BYTES
        ):
            split[key] = {layout.DIMS_ATTR: dims_to_json(value.dims), **named(value.data)}
        else:
            split[key] = _split_boundary(value, arrays) if isinstance(value, Mapping) else value
    return split


def _join_boundary(boundary: Boundary, read: Callable[[str], Array]) -> Boundary:
    """Returns the boundary with its arrays, which `read` gives by name."""
    joined: dict[str, Any] = {}
    for key, value in boundary.items():
        if isinstance(value, Mapping) and layout.VALUES_DATASET in value:
            array = read(str(value[layout.VALUES_DATASET]))
            if layout.FIELD_TYPE_ATTR in value:
                inner = _description_from_tree(value)
                inner = replace(inner, boundary=_join_boundary(inner.boundary, read))
                joined[key] = FieldRecord(inner, array)
            else:
                joined[key] = TensorRecord(dims_from_json(value[layout.DIMS_ATTR]), array)
        else:
            joined[key] = _join_boundary(value, read) if isinstance(value, Mapping) else value
    return joined


# --- frames ---------------------------------------------------------------------------------------


def write_frame(
    field: h5py.Group,
    link: str,
    values: Array,
    arrays: Mapping[str, Array],
    attributes: Mapping[str, Any],
    compression: Compression,
) -> None:
    """Writes one frame, which must not exist yet."""
    if arrays:
        frame = field.create_group(link)
        mark(frame, layout.FRAME_KIND)
        for name, array in {layout.VALUES_DATASET: values, **arrays}.items():
            _create_dataset(frame, name, array, compression)
    else:
        _create_dataset(field, link, values, compression)
    if attributes:
        field[link].attrs.update(attributes)


def read_frame(field: h5py.Group, link: str, shared: FieldDescription) -> FieldRecord:
    """Returns one frame, which must exist.

    `shared` is the description of the field, for frames that have none of their own.

    Raises:
        CorruptDataError: The frame is not what FORMAT.md says.
    """
    frame = field[link]
    description = read_description(frame) if layout.FIELD_TYPE_ATTR in frame.attrs else shared
    if isinstance(frame, h5py.Dataset):
        values = read_values(frame)
    else:
        check_mark(frame, layout.FRAME_KIND)
        values = _read_member(frame, layout.VALUES_DATASET)
        boundary = _join_boundary(description.boundary, lambda name: _read_member(frame, name))
        description = replace(description, boundary=boundary)
    if values.ndim != len(description.dims):
        names = ", ".join(dim.name for dim in description.dims)
        raise CorruptDataError(
            f"{frame.name} has {values.ndim} axes, its description the dims ({names})"
        )
    return FieldRecord(description, values)


def check_values(record: FieldRecord, what: str) -> None:
    """Raises when the values of a record cannot be stored.

    Raises:
        InvalidInputError: They have another number of axes than their description has dims.
        UnsupportedFieldError: They are no numbers or booleans.
    """
    dtype = record.values.dtype
    if dtype.kind not in _VALUE_KINDS or dtype.itemsize > _MAX_ITEM_BYTES[dtype.kind]:
        raise UnsupportedFieldError(
            f"{what} has values of dtype {dtype}; only booleans, integers, floats up to float64 "
            "and complex numbers of these can be stored"
        )
    dims = record.description.dims
    if record.values.ndim != len(dims):
        names = ", ".join(dim.name for dim in dims)
        raise InvalidInputError(f"{what} has {record.values.ndim} axes, but the dims ({names})")


def _create_dataset(group: h5py.Group, name: str, array: Array, compression: Compression) -> None:
    """Creates a dataset with the values of `array`, bit by bit."""
    array = np.ascontiguousarray(array)
    # h5py's create_dataset costs several times as much as a small frame.
    dataset = h5py.h5d.create(
        group.id,
        name.encode(),
        h5py.h5t.py_create(array.dtype, logical=True),
        h5py.h5s.create_simple(array.shape),
        dcpl=creation_properties(array.shape, array.dtype.itemsize, compression),
    )
    if array.size:
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array)


def _read_member(frame: h5py.Group, name: str) -> Array:
    """Returns the values of one dataset of a frame that is a group."""
    member = frame.get(name)
    if not isinstance(member, h5py.Dataset):
        raise CorruptDataError(f"{frame.name} has no dataset {name!r}")
    return read_values(member)


def read_values(dataset: h5py.Dataset) -> Array:
    """Returns all values, in the byte order of this machine."""
    dtype = dataset.dtype
    if dtype.kind not in _VALUE_KINDS:
        raise CorruptDataError(f"{dataset.name} holds no numbers but {dtype}")
    values = np.empty(dataset.shape, dtype.newbyteorder("="))
    if values.size:
        dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values
