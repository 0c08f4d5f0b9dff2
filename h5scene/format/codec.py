"""Field descriptions as attributes, frames as datasets or groups.

Everything here works on an open HDF5 group or dataset and says what FORMAT.md says. A description
stands on the group of its field, once; a frame with another one carries its own. A frame is a
dataset; where its boundary embeds whole fields it is a group that holds their values as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import (
    CorruptDataError,
    InvalidInputError,
    UnsupportedFieldError,
    UnsupportedVersionError,
)
from h5scene.format import layout
from h5scene.format.chunks import Reading, new_array, read_array, read_into, write_array
from h5scene.format.json_values import (
    dims_from_json,
    dims_to_json,
    dump_json,
    has_usual_nans,
    load_json,
)
from h5scene.format.rounding import max_relative_error
from h5scene.record import (
    Array,
    Boundary,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    TensorRecord,
    outlined,
)
from h5scene.regions import Part, Region, part_of_parts, runs

if TYPE_CHECKING:
    from h5scene.format.filters import Compression

_MAX_ITEM_BYTES = {"b": 1, "i": 8, "u": 8, "f": 8, "c": 16}  # long double differs by machine
_VALUE_KINDS = "".join(_MAX_ITEM_BYTES)
# PhiML makes int32 of a Python int, float64 of a float.
_JSON_DTYPES = {bool: np.dtype("bool"), int: np.dtype("int32"), float: np.dtype("float64")}
_FIELD_TYPE = layout.FIELD_TYPE_ATTR.encode()
_CORNERS = (layout.LOWER_ATTR, layout.UPPER_ATTR, layout.CENTER_ATTR, layout.SIZE_ATTR)


def mark(group: h5py.Group, kind: str) -> None:
    """Says on the group what it is."""
    group.attrs[layout.KIND_ATTR] = kind
    group.attrs[layout.ENCODING_ATTR] = layout.ENCODING_VERSION


def read_attribute(source: h5py.Group | h5py.Dataset, name: str) -> Any:
    """Returns the value of an attribute, strings of fixed length too as `str`; else `None`."""
    value = source.attrs.get(name)
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value


def text_names(names: Iterable[Any]) -> list[str]:
    """Returns the names of members or attributes that are UTF-8; h5py gives others as bytes."""
    return [name for name in names if isinstance(name, str)]


def link_names(group: h5py.Group) -> list[str]:
    """Returns the names of the members of a group that are UTF-8, faster than h5py does."""
    links: list[bytes] = []
    group.id.links.iterate(links.append)
    try:
        return [link.decode() for link in links]
    except UnicodeDecodeError:
        return text_names(group)


def has_member(group: h5py.Group, path: str) -> bool:
    """Whether a group has a member of this path, whose earlier parts must exist."""
    return bool(group.id.links.exists(path.encode()))


def member_kind(group: h5py.Group, link: str) -> str | None:
    """Returns what a member of a group says it is; `None` where it says nothing, or is no group.

    Listing 10,000 scenes comes here for each, and h5py's objects take several times as long.
    """
    try:
        member, name = link.encode(errors="surrogateescape"), layout.KIND_ATTR.encode()
    except UnicodeEncodeError:
        return None  # no link has this name
    if not member or b"\0" in member or not h5py.h5o.exists_by_name(group.id, member):
        return None
    if not h5py.h5a.exists(group.id, name, obj_name=member):
        return None
    attribute = h5py.h5a.open(group.id, name, obj_name=member)
    if attribute.shape != () or not isinstance(attribute.get_type(), h5py.h5t.TypeStringID):
        return None
    if h5py.h5o.get_info(group.id, member).type != h5py.h5o.TYPE_GROUP:
        return None
    value = np.empty((), attribute.dtype)
    attribute.read(value)
    text = value.item()
    return text.decode(errors="surrogateescape") if isinstance(text, bytes) else str(text)


def check_mark(group: h5py.Group, kind: str) -> None:
    """Raises when the group is no `kind`, or one of a newer major version.

    Raises:
        CorruptDataError: The group says nothing, or something else.
        UnsupportedVersionError: It was written by a newer h5scene.
    """
    found = read_attribute(group, layout.KIND_ATTR)
    if found != kind:
        raise CorruptDataError(
            f"{group.name} should be a {kind}, but its attribute 'kind' is {found!r}"
        )
    version = read_attribute(group, layout.ENCODING_ATTR)
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
    found = {name: read_attribute(source, name) for name in layout.DESCRIPTION_ATTRS}
    attrs = {name: value for name, value in found.items() if value is not None}
    try:
        axes = load_json(attrs[layout.AXES_ATTR])
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


def _names_array(value: Mapping[str, Any]) -> bool:
    """Whether this is an embedded field or tensor; `values` may also be an axis with boundaries."""
    return isinstance(value.get(layout.VALUES_DATASET), str)


def join_boundary(boundary: Boundary, read: Callable[[str], Array]) -> Boundary:
    """Returns the boundary with its arrays, which `read` gives by name."""

    def joined(key: str, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        if not _names_array(value):
            return join_boundary(value, read)
        array = read(value[layout.VALUES_DATASET])
        if layout.FIELD_TYPE_ATTR not in value:
            dims = dims_from_json(value[layout.DIMS_ATTR])
            return TensorRecord(dims, _check_axes(array, dims, key))
        inner = _description_from_tree(value)
        inner = replace(inner, boundary=join_boundary(inner.boundary, read))
        return FieldRecord(inner, _check_axes(array, inner.dims, key))

    return {key: joined(key, value) for key, value in boundary.items()}


def _check_axes(values: Array, dims: Sequence[DimSpec], what: str) -> Array:
    """Returns the values, which must have an axis for each dim."""
    if values.ndim != len(dims):
        names = ", ".join(dim.name for dim in dims)
        raise CorruptDataError(f"{what} has {values.ndim} axes, its description the dims ({names})")
    return values


# --- frames ---------------------------------------------------------------------------------------


def write_frame(
    field: h5py.Group,
    link: str,
    values: Array,
    arrays: Mapping[str, Array],
    attributes: Mapping[str, Any],
    compression: Compression,
    *,
    workers: int = 1,
    keep_digits: int | None = None,
) -> None:
    """Writes one frame, which must not exist yet.

    Its values are rounded to `keep_digits` decimal digits, and the frame then says so.
    """
    parent, name = field, link
    if arrays:
        parent, name = field.create_group(link), layout.VALUES_DATASET
        mark(parent, layout.FRAME_KIND)
        for key, array in arrays.items():
            write_array(parent, key, array, compression, workers=workers)
    write_array(parent, name, values, compression, workers=workers, digits=keep_digits)
    error = None if keep_digits is None else max_relative_error(values.dtype, keep_digits)
    if error is not None:
        parent[name].attrs[layout.MAX_RELATIVE_ERROR_ATTR] = error
    if attributes:
        field[link].attrs.update(attributes)


@dataclass(frozen=True)
class StoredFrame:
    """One frame, open, with its values still in the file."""

    dataset: Any
    dtype: np.dtype[Any]
    description: FieldDescription

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values as stored."""
        return tuple(self.dataset.shape)

    def outline(self) -> FieldRecord:
        """Returns the frame with zeros, which take no memory, as its values."""
        return FieldRecord(self.description, outlined(self.shape, self.dtype))

    def part(self, region: Region | Sequence[Region]) -> Part:
        """Returns what a region of this frame is; raises as `part_of_parts` does."""
        return part_of_parts(self.description, self.shape, region)

    def readings(self, part: Part, values: Array) -> Iterator[Reading]:
        """Yields what to read for a part of this frame, and into which views of its values."""
        for slices, place in runs(part.picks):
            ranges = tuple(
                range(size)[wanted] for size, wanted in zip(self.shape, slices, strict=True)
            )
            yield Reading(self.dataset, self.dtype, ranges, values[place])


def open_frame(
    field: h5py.Group, link: str, shared: FieldDescription, *, workers: int = 1
) -> StoredFrame:
    """Returns one frame, which must exist; of its values only what its boundary needs is read.

    `shared` is the description of the field, for frames that have none of their own.

    Raises:
        CorruptDataError: The frame is not what FORMAT.md says.
    """
    opened = h5py.h5o.open(field.id, link.encode())
    if isinstance(opened, h5py.h5d.DatasetID) and not h5py.h5a.exists(opened, _FIELD_TYPE):
        # Nearly every frame; h5py's objects take longer than reading a small one.
        return _stored_frame(opened, shared, f"{field.name}/{link}")
    frame = field[link]
    description = read_description(frame) if layout.FIELD_TYPE_ATTR in frame.attrs else shared
    if not isinstance(frame, h5py.Dataset):

        def read(name: str) -> Array:
            return read_values(_member(frame, name), workers=workers)

        check_mark(frame, layout.FRAME_KIND)
        try:
            boundary = join_boundary(description.boundary, read)
        except (KeyError, TypeError) as error:
            raise CorruptDataError(
                f"the boundary of {frame.name} is not what the file format says: {error!r}"
            ) from error
        description = replace(description, boundary=boundary)
    return _stored_frame(_values_of(frame).id, description, frame.name)


def _stored_frame(dataset: Any, description: FieldDescription, where: str) -> StoredFrame:
    """Returns a frame with these values, given by the HDF5 identifier of their dataset."""
    dtype = _dtype_of_numbers(dataset)
    rank = dataset.rank
    if rank != len(description.dims):
        names = ", ".join(dim.name for dim in description.dims)
        raise CorruptDataError(f"{where} has {rank} axes, its description the dims ({names})")
    return StoredFrame(dataset, dtype, description)


def read_frame(
    field: h5py.Group,
    link: str,
    shared: FieldDescription,
    region: Region | Sequence[Region] | None = None,
    *,
    workers: int = 1,
) -> FieldRecord:
    """Returns one frame, or a part of it; see `open_frame`, which raises the same errors.

    Raises:
        CorruptDataError: A chunk is not what the filters of the dataset make.
        InvalidInputError: There is no such region.
        UnsupportedFieldError: The region is no field that could be described.
    """
    frame = open_frame(field, link, shared, workers=workers)
    if not region:
        values = read_array(frame.dataset, frame.dtype, workers=workers)
        return FieldRecord(frame.description, values)
    part = frame.part(region)
    values = new_array(frame.dataset, frame.dtype, part.shape)
    read_into(frame.readings(part, values), workers=workers)
    return FieldRecord(part.description, values)


def read_region(
    field: h5py.Group,
    link: str,
    shared: FieldDescription,
    region: Mapping[str, slice],
    *,
    workers: int = 1,
) -> Array:
    """Returns values of a frame as stored: a slice by name of the dim, all of other dims.

    Raises:
        CorruptDataError: The frame is not what FORMAT.md says.
        InvalidInputError: The frame has no such dim, or a step is not positive.
    """
    frame = open_frame(field, link, shared, workers=workers)
    names = [dim.name for dim in frame.description.dims]
    for name, part in region.items():
        if name not in names:
            raise InvalidInputError(
                f"{field.name}/{link} has no dim {name!r}; it has ({', '.join(names)})"
            )
        if not isinstance(part, slice) or (part.step is not None and part.step < 1):
            raise InvalidInputError(
                f"the region along {name!r} must be a slice with a positive step, not {part!r}"
            )
    slices = [region.get(name, slice(None)) for name in names]
    return read_array(frame.dataset, frame.dtype, slices, workers=workers)


def read_max_relative_error(field: h5py.Group, link: str) -> float:
    """Returns by how much of their magnitude the values of a frame were rounded; 0 if not at all.

    Raises:
        CorruptDataError: The frame is not what FORMAT.md says.
    """
    dataset = _values_of(field[link])
    error = read_attribute(dataset, layout.MAX_RELATIVE_ERROR_ATTR)
    try:
        return 0.0 if error is None else float(error)
    except (TypeError, ValueError) as cause:
        raise CorruptDataError(
            f"{dataset.name} gives {error!r} as its largest relative error"
        ) from cause


def check_values(record: FieldRecord, what: str) -> None:
    """Raises when the values of a record cannot be stored.

    Raises:
        InvalidInputError: They have another number of axes than their description has dims.
        UnsupportedFieldError: They are no numbers or booleans.
    """
    check_dtype(record.values.dtype, what)
    dims = record.description.dims
    if record.values.ndim != len(dims):
        names = ", ".join(dim.name for dim in dims)
        raise InvalidInputError(f"{what} has {record.values.ndim} axes, but the dims ({names})")


def check_dtype(dtype: np.dtype[Any], what: str) -> None:
    """Raises when numbers of this dtype cannot be stored.

    Raises:
        UnsupportedFieldError: They are no numbers or booleans.
    """
    if dtype.kind not in _VALUE_KINDS or dtype.itemsize > _MAX_ITEM_BYTES[dtype.kind]:
        raise UnsupportedFieldError(
            f"{what} has values of dtype {dtype}; only booleans, integers, floats up to float64 "
            "and complex numbers of these can be stored"
        )


def _values_of(frame: h5py.Group | h5py.Dataset) -> h5py.Dataset:
    """Returns the dataset that holds the values of a frame."""
    if isinstance(frame, h5py.Dataset):
        return frame
    check_mark(frame, layout.FRAME_KIND)
    return _member(frame, layout.VALUES_DATASET)


def _member(frame: h5py.Group, name: str) -> h5py.Dataset:
    """Returns one dataset of a frame that is a group."""
    member = None if "/" in name else frame.get(name)
    if not isinstance(member, h5py.Dataset):
        raise CorruptDataError(f"{frame.name} has no dataset {name!r}")
    return member


def read_values(dataset: h5py.Dataset, *, workers: int = 1) -> Array:
    """Returns all values, in the byte order of this machine.

    Raises:
        CorruptDataError: The dataset holds no numbers, or not what its filters make.
    """
    return read_array(dataset.id, _dtype_of_numbers(dataset.id), workers=workers)


def _dtype_of_numbers(dataset: Any) -> np.dtype[Any]:
    """Returns the dtype of a dataset, given by its HDF5 identifier."""
    dtype: np.dtype[Any] = dataset.dtype
    if dtype.kind not in _VALUE_KINDS:
        name = h5py.h5i.get_name(dataset).decode()
        raise CorruptDataError(f"{name} holds no numbers but {dtype}")
    return dtype
