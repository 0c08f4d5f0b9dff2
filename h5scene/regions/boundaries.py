"""What lies outside of a part of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from h5scene.errors import CorruptDataError

if TYPE_CHECKING:
    from h5scene.record import Boundary

_NEAREST: Boundary = {"type": "zero-gradient"}


def faces_kept(boundary: Boundary, axis: str) -> tuple[bool, bool]:
    """Returns whether a staggered grid has values of its own on the lower and upper outer faces.

    It has none where the boundary determines them.
    """
    return not _determines(boundary, axis, "-"), not _determines(boundary, axis, "+")


def _determines(boundary: Any, axis: str, side: str) -> bool:
    """Whether a boundary says what the values on the outer faces of one side are."""
    kind = boundary["type"]
    if kind in ("constant", "periodic"):
        return bool(kind == "constant" or side == "+")
    if kind == "mixed":
        return _determines(side_of_boundary(boundary, axis, side), axis, side)
    inner = {"undefined": "derived_from", "normal-tangential": "normal", "conditional": "true"}
    return kind in inner and _determines(boundary[inner[kind]], axis, side)


def side_of_boundary(boundary: Any, axis: str, side: str) -> Boundary:
    """Returns what holds at one side of a grid, as a boundary that is not mixed."""
    if boundary["type"] == "mixed":
        sides = boundary["sides"]
        for key in (axis + side, axis):
            if key in sides:
                return side_of_boundary(sides[key], axis, side)
        raise CorruptDataError(f"the boundary does not say what holds at {axis + side!r}")
    return {
        key: side_of_boundary(value, axis, side) if _is_boundary(value) else value
        for key, value in boundary.items()
    }


def _is_boundary(value: Any) -> bool:
    """Whether a value in a boundary is a boundary."""
    return isinstance(value, Mapping) and "type" in value


def holds_boundary(boundary: Boundary, kind: str) -> bool:
    """Whether a boundary, or a part of it, is of this kind."""
    if boundary.get("type") == kind:
        return True
    inner = (value for value in boundary.values() if isinstance(value, Mapping))
    return any(holds_boundary(value, kind) for value in inner)


def boundary_of_sides(sides: Mapping[tuple[str, str], Boundary]) -> Boundary:
    """Returns the simplest boundary with these sides, by axis and `-` or `+`."""
    first = next(iter(sides.values()))
    if all(side == first for side in sides.values()):
        return first
    merged: dict[str, Any] = {}
    for axis in dict.fromkeys(axis for axis, _ in sides):
        lower, upper = sides[axis, "-"], sides[axis, "+"]
        merged |= {axis: lower} if lower == upper else {f"{axis}-": lower, f"{axis}+": upper}
    return {"type": "mixed", "sides": merged}


def cut_boundary(
    boundary: Boundary, cut: Mapping[str, tuple[bool, bool]], axes: Sequence[str]
) -> Boundary:
    """Returns the boundary of a part that was cut out at these lower and upper sides."""
    if not any(map(any, cut.values())):
        return boundary
    sides: dict[tuple[str, str], Boundary] = {}
    for axis in axes:
        is_cut = cut.get(axis, (False, False))
        for side, is_cut_here in zip("-+", is_cut, strict=True):
            kept = side_of_boundary(boundary, axis, side)
            # What lies at the other end of a periodic axis was not read.
            lost = is_cut_here or (any(is_cut) and holds_boundary(kept, "periodic"))
            sides[axis, side] = _NEAREST if lost else kept
    return boundary_of_sides(sides)


def component_boundary(boundary: Boundary, component: str, axes: Sequence[str]) -> Boundary:
    """Returns the boundary of one component of a vector."""
    if not holds_boundary(boundary, "normal-tangential"):
        return boundary

    def resolved(part: Any, axis: str) -> Boundary:
        if part["type"] == "normal-tangential":
            return resolved(part["normal" if axis == component else "tangential"], axis)
        return {
            key: resolved(value, axis) if _is_boundary(value) else value
            for key, value in part.items()
        }

    return boundary_of_sides(
        {
            (axis, side): resolved(side_of_boundary(boundary, axis, side), axis)
            for axis in axes
            for side in "-+"
        }
    )
