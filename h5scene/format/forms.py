"""What a frame is beside its numbers: its description, shape and dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py

from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.format import codec, descriptions, layout, names

if TYPE_CHECKING:
    import numpy as np

    from h5scene.format.readings import Slices
    from h5scene.record import Array, FieldDescription


@dataclass(frozen=True)
class FrameForm:
    """The form of one frame.

    Attributes:
        shape: Of the values.
        dtype: Of the values, in the byte order of this machine.
        own: Its own description; `None` where it has that of its field.
        has_structure: Whether the values are not an array but make up a tensor in another way.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    own: FieldDescription | None = None
    has_structure: bool = False


def read_form(field: h5py.Group, frame: int) -> FrameForm:
    """Returns the form of one frame, which must exist.

    Raises:
        CorruptDataError: The frame is not what FORMAT.md says.
    """
    member = field[names.frame_link(frame)]
    is_own = layout.FIELD_TYPE_ATTR in member.attrs
    dataset = dataset_of(member)
    return FrameForm(
        dataset.shape,
        dataset.dtype.newbyteorder("="),
        descriptions.read_description(member) if is_own else None,
        dataset is not member and layout.STRUCTURE_GROUP in member,
    )


def read_part(
    h5: h5py.Group,
    frame_path: str,
    form: FrameForm,
    region: Slices | None = None,
    *,
    workers: int = 1,
) -> Array:
    """Returns the values of a frame, which must exist and have this form, or those in a region.

    Args:
        h5: Where the path starts.
        frame_path: Which frame.
        form: Shape and dtype; the description is not looked at.
        region: A slice for each axis.
        workers: Number of threads to read with.

    Raises:
        InvalidInputError: The frame has another shape or dtype.
        CorruptDataError: The frame is not what FORMAT.md says.
    """
    dataset = dataset_of(h5[frame_path])
    dtype = dataset.dtype.newbyteorder("=")
    if dataset.shape != form.shape or dtype != form.dtype:
        raise InvalidInputError(
            f"{dataset.name} has {dtype} {dataset.shape} in place of {form.dtype} {form.shape}: it "
            "was replaced by a frame of another form; open the file again",
        )
    return codec.read_values(dataset, region, workers=workers)


def dataset_of(member: h5py.Group | h5py.Dataset) -> h5py.Dataset:
    """Returns the dataset that holds the values of a frame.

    Raises:
        CorruptDataError: There is none, or it holds nothing.
    """
    dataset = member if isinstance(member, h5py.Dataset) else member.get(layout.VALUES_DATASET)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise CorruptDataError(f"{member.name} has no values")
    return dataset


def some_frame(field: h5py.Group) -> int | None:
    """Returns one of the frames of a field, without listing all; `None` if it has none."""
    found: list[int] = []

    def take(link: bytes) -> bool | None:
        frame = names.frame_of_link(link.decode(errors="replace"))
        if frame is not None:
            found.append(frame)
        return True if found else None  # anything but None ends it

    field.id.links.iterate(take)
    return found[0] if found else None


def makes_vary(field: h5py.Group, form: FrameForm) -> bool:
    """Whether a new frame of this form would differ from those of a field that do not differ."""
    if layout.FRAMES_VARY_ATTR in field.attrs:
        return False
    frame = some_frame(field)
    return frame is not None and (form.own is not None or read_form(field, frame) != form)
