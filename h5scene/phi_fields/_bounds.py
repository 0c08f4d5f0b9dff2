"""PhiFlow's boxes around grids to `Bounds`, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phi.geom import Box
from phiml.math import wrap

from h5scene.errors import CorruptDataError, UnsupportedFieldError
from h5scene.phi_fields._tensors import tensor_from_record, tensor_record_from_tensor
from h5scene.record import Bounds, TensorRecord, bounds_from_parts, derived_center, derived_size

if TYPE_CHECKING:
    from collections.abc import Mapping


class NotCompactError(UnsupportedFieldError):
    """The compact form of grids cannot hold a field; the form of all other fields can."""


DEFAULT_BOX_ATTRS = ("pos", "size", "rot")


def bounds_from_box(box: Box) -> Bounds:
    """Returns corners, centre and size of a box, each with its own dims and dtype.

    Infinite sides are stored: PhiFlow describes them by infinite corners.

    Raises:
        NotCompactError: The box is rotated, or declared open by `is_open`.
    """
    if type(box) is not Box:
        raise NotCompactError(
            f"cannot store a grid whose bounds are a {type(box).__name__}; use a Box"
        )
    if is_rotated(box):
        raise NotCompactError("cannot store a grid whose bounds are rotated")
    if box.is_open.any:
        raise NotCompactError(
            "cannot store a grid whose bounds are open by is_open; give the Box infinite corners"
        )
    # Copied, as these outlive the field in caches and are shared between records.
    lower, upper, center, size = (
        _copied(tensor) for tensor in (box.lower, box.upper, box.pos, box.size)
    )
    if not any(dim.name == "vector" and dim.labels is not None for dim in lower.dims):
        raise NotCompactError("cannot store a grid whose lower corner does not name its axes")
    return bounds_from_parts(lower, upper, center, size)


def box_from_bounds(bounds: Bounds, variable_attrs: tuple[str, ...] = DEFAULT_BOX_ATTRS) -> Box:
    """Returns a box with exactly these corners, centre and size."""
    center, size = bounds.center, bounds.size
    center = derived_center(bounds.lower, bounds.upper) if center is None else center
    size = derived_size(bounds.lower, bounds.upper) if size is None else size
    for what, tensor in (
        ("lower", bounds.lower),
        ("upper", bounds.upper),
        ("center", center),
        ("size", size),
    ):
        if all(dim.name != "vector" or dim.type != "channel" for dim in tensor.dims):
            raise CorruptDataError(f"'{what}' of the bounds has no channel dim 'vector'")
    box = Box(
        tensor_from_record(center),
        tensor_from_record(size),
        wrap(None),
        wrap(False),
        variable_attrs,
    )
    # PhiFlow caches the corners it is given: computed from the centre they may differ in a bit.
    box.__dict__["lower"] = tensor_from_record(bounds.lower)
    box.__dict__["upper"] = tensor_from_record(bounds.upper)
    return box


def is_rotated(box: Box) -> bool:
    """Whether a box is not along the axes."""
    return bool(box.rot.rank) or box.rot.native() is not None


def axes_of(bounds: Bounds) -> tuple[str, ...]:
    """Returns the names of the physical axes, after reading."""
    try:
        axes = bounds.axes
    except ValueError as err:
        raise CorruptDataError(f"the bounds do not name their axes: {err}") from err
    if not axes:
        raise CorruptDataError("the bounds have no axes")
    return axes


def attrs_from_box(box: Box) -> Mapping[str, Any]:
    """Returns what a box says beside its geometry, where it is not at its default."""
    return (
        {}
        if box.variable_attrs == DEFAULT_BOX_ATTRS
        else {"bounds_variable_attrs": list(box.variable_attrs)}
    )


def _copied(tensor: Any) -> TensorRecord:
    """Returns the tensor as a record that shares no memory with it."""
    record = tensor_record_from_tensor(tensor)
    return TensorRecord(record.dims, record.data.copy())
