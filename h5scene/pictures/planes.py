"""What of a field is drawn: 3D grids as a slice, or projected along an axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from phi.field import CenteredGrid
from phiml import math

from h5scene.errors import InvalidInputError

Projection = Literal["slice", "max", "mean"]


@dataclass(frozen=True)
class View:
    """How 3D grids become 2D. Other fields are drawn as they are.

    Attributes:
        axis: Name of the axis to look along; the last one by default.
        position: Where to slice, in physical space; in the middle by default.
        projection: `slice`, or the `max` or `mean` along the axis.
    """

    axis: str | None = None
    position: float | None = None
    projection: Projection = "slice"


def drawn(field: Any, view: View) -> tuple[Any, str]:
    """Returns the field that is drawn in place of this one, and which part of it that is.

    Raises:
        InvalidInputError: A grid has no such axis, or the position is outside of it.
    """
    if field.values.dtype.kind is bool:
        field = field.with_values(math.to_float(field.values))
    # Volumes hide what is in them; points and meshes are drawn in 3D.
    if not field.is_grid or field.spatial_rank != 3:
        return field, ""
    axes = tuple(field.geometry.vector.item_names)
    axis = view.axis or axes[-1]
    if axis not in axes:
        raise InvalidInputError(f"the field has no axis {axis!r}; it has {', '.join(axes)}")
    grid = field.at_centers() if field.is_staggered else field
    bounds = grid.bounds
    kept = [name for name in axes if name != axis]
    if view.projection == "slice":
        lower, upper = float(bounds.lower.vector[axis]), float(bounds.upper.vector[axis])
        position = (lower + upper) / 2 if view.position is None else view.position
        if not lower <= position <= upper:
            raise InvalidInputError(
                f"{axis} = {position:g} is outside of the field, which reaches from {lower:g} to "
                f"{upper:g}"
            )
        count = grid.shape.get_size(axis)
        index = min(int((position - lower) / (upper - lower) * count), count - 1)
        values, words = grid.values[{axis: index}], f"{axis} = {position:g}"
    else:
        reduce = math.max if view.projection == "max" else math.mean
        values, words = reduce(grid.values, axis), f"{view.projection} along {axis}"
    if "vector" in values.shape and values.shape.get_item_names("vector") == axes:
        values = values.vector[kept]
    return CenteredGrid(values, 0, bounds.vector[kept]), words
