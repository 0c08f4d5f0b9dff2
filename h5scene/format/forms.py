"""What a frame is beside its numbers: its description, shape and dtype."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py

from h5scene.errors import CorruptDataError
from h5scene.format import codec, descriptions, layout, names

if TYPE_CHECKING:
    import numpy as np

    from h5scene.record import FieldDescription


@dataclass(frozen=True)
class FrameForm:
    """The form of one frame.

    Attributes:
        shape: Of the values.
        dtype: Of the values, in the byte order of this machine.
        own: Its own description; `None` where it has that of its field.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    own: FieldDescription | None = None


def read_form(field: h5py.Group, frame: int) -> FrameForm:
    """Returns the form of one frame, which must exist.

    Raises:
        CorruptDataError: The frame is not what FORMAT.md says.
    """
    member = field[names.frame_link(frame)]
    is_own = layout.FIELD_TYPE_ATTR in member.attrs
    dataset = member if isinstance(member, h5py.Dataset) else member.get(layout.VALUES_DATASET)
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise CorruptDataError(f"{member.name} has no values")
    return FrameForm(
        dataset.shape,
        dataset.dtype.newbyteorder("="),
        descriptions.read_description(member) if is_own else None,
    )


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
