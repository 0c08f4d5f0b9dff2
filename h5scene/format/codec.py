"""Frames as datasets or groups.

Everything here works on an open HDF5 group or dataset and says what FORMAT.md says. A frame is a
dataset; where its boundary embeds whole fields it is a group that holds their values as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, InvalidInputError, UnsupportedFieldError
from h5scene.format import layout
from h5scene.format.chunks import MAX_ITEM_BYTES, write_array
from h5scene.format.descriptions import Member, check_axes, join_boundary, read_description
from h5scene.format.groups import check_mark, create, describe, read_attribute
from h5scene.format.json_values import dump_json
from h5scene.format.objects import read_object, write_object
from h5scene.format.readings import Reading, new_array, read_array, read_into, shape_of_numbers
from h5scene.format.rounding import max_relative_error
from h5scene.record import FIELD, Array, FieldDescription, FieldRecord, ObjectRecord
from h5scene.regions import part_of_parts, runs
from h5scene.store.access import access_of
from h5scene.store.datasets import check_dataset
from h5scene.store.gate import checked
from h5scene.store.links import open_member
from h5scene.tensors import outlined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from h5scene.format.filters import Compression
    from h5scene.regions import Part, Region
    from h5scene.store.datasets import CheckedDataset

_FIELD_TYPE = layout.FIELD_TYPE_ATTR.encode()
_NO_VALUES = np.zeros(0, bool)


PutObject: TypeAlias = "Callable[[str, str, ObjectRecord], None]"
"""Makes an object a member of a frame, given by its path, under a name."""
PutValues: TypeAlias = "Callable[[h5py.Group, str], None]"
"""Writes the values of a frame as a dataset of a name, rounded as they are to be."""


def write_frame(
    field: h5py.Group,
    link: str,
    values: Array,
    members: Mapping[str, Member],
    attributes: Mapping[str, Any],
    compression: Compression,
    *,
    workers: int = 1,
    keep_digits: int | None = None,
    put_object: PutObject | None = None,
    put_values: PutValues | None = None,
) -> None:
    """Writes one frame, which must not exist yet.

    Its values are rounded to `keep_digits` decimal digits, and the frame then says so. Objects
    among its members are given to `put_object`. `put_values` writes values that are not at hand, of
    which there is an outline.
    """
    parent, name = field, link
    if members:
        parent, name = create(field, link, layout.FRAME_KIND), layout.VALUES_DATASET
        for key, member in members.items():
            if not isinstance(member, ObjectRecord):
                write_array(parent, key, member, compression, workers=workers)
            elif put_object is None:
                write_object(parent, key, member, compression, workers=workers)
            else:
                put_object(link, key, member)
    if put_values is None:
        write_array(parent, name, values, compression, workers=workers, digits=keep_digits)
    else:
        put_values(parent, name)
    error = None if keep_digits is None else max_relative_error(values.dtype, keep_digits)
    if error is not None:
        parent[name].attrs[layout.MAX_RELATIVE_ERROR_ATTR] = error
    if attributes:
        describe(field[link], attributes)


ReadObject: TypeAlias = "Callable[[h5py.Group], ObjectRecord]"
"""Returns the object in a group."""


@dataclass(frozen=True)
class StoredFrame:
    """One frame, open, with its values still in the file.

    Attributes:
        dataset: The dataset of the values.
        record: The frame with zeros, which take no memory, as its values.
    """

    dataset: CheckedDataset
    record: FieldRecord

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values as stored."""
        return self.dataset.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values as stored."""
        return self.record.values.shape

    def part(self, region: Region | Sequence[Region]) -> Part:
        """Returns what a region of this frame is; raises as `part_of_parts` does."""
        return part_of_parts(self.record, region)

    def readings(self, part: Part, values: Array) -> Iterator[Reading]:
        """Yields what to read for a part of this frame, and into which views of its values."""
        for slices, place in runs(part.picks):
            ranges = tuple(
                range(size)[wanted] for size, wanted in zip(self.shape, slices, strict=True)
            )
            yield Reading(self.dataset, ranges, values[place])


def open_frame(
    field: h5py.Group,
    link: str,
    shared: FieldDescription,
    *,
    workers: int = 1,
    get_object: ReadObject | None = None,
) -> StoredFrame:
    """Returns one frame, which must exist. Everything but its values is read.

    `shared` is the description of the field, for frames that have none of their own. Objects come
    from `get_object`, which may know them already.

    Raises:
        CorruptDataError: The frame is not what FORMAT.md says.
    """
    opened = open_member(field, link)
    where = f"{field.name.rstrip('/')}/{link}"
    if isinstance(opened, h5py.h5d.DatasetID) and not h5py.h5a.exists(opened, _FIELD_TYPE):
        # Nearly every frame; h5py's objects take longer than reading a small one.
        dataset = check_dataset(opened, access_of(field), where)
        return _stored_frame(dataset, FieldRecord(shared, _NO_VALUES), where)
    frame = field[link]
    description = read_description(frame) if layout.FIELD_TYPE_ATTR in frame.attrs else shared
    dataset = checked(values_of(frame))
    objects: dict[str, ObjectRecord] = {}
    if not isinstance(frame, h5py.Dataset):

        def read(name: str) -> Member:
            member = None if "/" in name else frame.get(name)
            if not isinstance(member, h5py.Group):
                return read_values(_member(frame, name), workers=workers)
            return get_object(member) if get_object else read_object(member, workers=workers)

        for name in (layout.GEOMETRY_GROUP, layout.STRUCTURE_GROUP):
            if name in frame:
                part = read(name)
                if not isinstance(part, ObjectRecord):
                    raise CorruptDataError(f"{name} of {frame.name} is no group")
                objects[name] = part
        try:
            boundary = join_boundary(description.boundary, read)
        except (KeyError, TypeError) as error:
            raise CorruptDataError(
                f"the boundary of {frame.name} is not what the file format says: {error!r}"
            ) from error
        description = replace(description, boundary=boundary)
    if description.field_type == FIELD and layout.GEOMETRY_GROUP not in objects:
        raise CorruptDataError(f"{frame.name} has no geometry")
    geometry, structure = map(objects.get, (layout.GEOMETRY_GROUP, layout.STRUCTURE_GROUP))
    return _stored_frame(dataset, FieldRecord(description, _NO_VALUES, geometry, structure), where)


def _stored_frame(dataset: CheckedDataset, record: FieldRecord, where: str) -> StoredFrame:
    """Returns an open frame; its record gets an outline of the values in the dataset."""
    shape = shape_of_numbers(dataset)
    try:
        values = outlined(shape, dataset.dtype)
    except ValueError as error:
        raise CorruptDataError(f"{where} says that its sizes are {shape}") from error
    check_axes(values, record.description.dims, where)
    return StoredFrame(dataset, replace(record, values=values))


def read_frame(
    field: h5py.Group,
    link: str,
    shared: FieldDescription,
    region: Region | Sequence[Region] | None = None,
    *,
    workers: int = 1,
    get_object: ReadObject | None = None,
) -> FieldRecord:
    """Returns one frame, or a part of it; see `open_frame`.

    Raises:
        CorruptDataError: The frame is not what FORMAT.md says.
        InvalidInputError: There is no such region.
        UnsupportedFieldError: The region is no field that could be described.
    """
    frame = open_frame(field, link, shared, workers=workers, get_object=get_object)
    if not region:
        values = read_array(frame.dataset, workers=workers)
        return replace(frame.record, values=values)
    part = frame.part(region)
    values = new_array(frame.dataset, part.shape)
    read_into(frame.readings(part, values), workers=workers)
    return part.record(values)


def read_region(frame: StoredFrame, region: Mapping[str, slice], *, workers: int = 1) -> Array:
    """Returns values of a frame as stored: a slice by name of the dim, all of other dims.

    Raises:
        CorruptDataError: A chunk is not what the filters of the dataset make.
        InvalidInputError: The frame has no such dim, or a step is not positive.
    """
    names = [dim.name for dim in frame.record.description.dims]
    for name, part in region.items():
        if name not in names:
            raise InvalidInputError(f"the field has no dim {name!r}; it has ({', '.join(names)})")
        if not isinstance(part, slice) or (part.step is not None and part.step < 1):
            raise InvalidInputError(
                f"the region along {name!r} must be a slice with a positive step, not {part!r}"
            )
    slices = [region.get(name, slice(None)) for name in names]
    return read_array(frame.dataset, slices, workers=workers)


def read_max_relative_error(field: h5py.Group, link: str) -> float:
    """Returns by how much of their magnitude the values of a frame were rounded; 0 if not at all.

    Raises:
        CorruptDataError: The frame is not what FORMAT.md says.
    """
    dataset = values_of(field[link])
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
    if dtype.itemsize > MAX_ITEM_BYTES.get(dtype.kind, -1):
        raise UnsupportedFieldError(
            f"{what} has values of dtype {dtype}; only booleans, integers, floats up to float64 "
            "and complex numbers of these can be stored"
        )


def check_member(member: Member, what: str) -> None:
    """Raises when a member of a frame cannot be stored.

    Raises:
        InvalidInputError: JSON cannot hold what is said of an object.
        UnsupportedFieldError: An array holds no numbers or booleans.
    """
    if not isinstance(member, ObjectRecord):
        check_dtype(member.dtype, what)
    elif member.known.get("is_checked") is None:
        for key, value in member.attrs.items():
            dump_json(value, f"{key} of {what}")
        for name, part in member.parts.items():
            inner = part if isinstance(part, ObjectRecord) else part.data
            check_member(inner, f"{name} of {what}")
        member.known["is_checked"] = True


def values_of(frame: h5py.Group | h5py.Dataset) -> h5py.Dataset:
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


def read_values(
    dataset: h5py.Dataset, slices: Sequence[slice] | None = None, *, workers: int = 1
) -> Array:
    """Returns all values of a dataset, or those in a slice for each axis, in our byte order.

    Raises:
        CorruptDataError: The dataset holds no numbers, or not what its filters make.
    """
    return read_array(checked(dataset), slices, workers=workers)
