"""Fields and frames side by side: a row for each field, which has one colour scale."""

from __future__ import annotations

import math as pymath
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from phi.vis import plot
from phiml import math
from phiml.math import batch, channel

from h5scene.errors import InvalidInputError
from h5scene.pictures.planes import View, drawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST_PANELS = 60
_PANEL_INCHES = (4.2, 3.4)
_WIDEST_INCHES = 40.0
Limits = tuple[float, float]


@dataclass(frozen=True)
class Panel:
    """One field at one frame, as it is drawn.

    Attributes:
        field: What `phi.vis.plot` gets.
        title: Stands above it.
    """

    field: Any
    title: str


def panel(field: Any, name: str, frame: int, time: float | None, view: View) -> Panel:
    """Returns a field with its title; raises as `drawn` does."""
    shown, words = drawn(field, view)
    when = f"frame {frame}" if time is None else f"frame {frame}, t = {time:g}"
    return Panel(shown, ", ".join(part for part in (name, words, when) if part))


def limits_of(field: Any) -> Limits | None:
    """Returns the smallest and largest finite value that a picture of the field shows.

    Those of the magnitude where it is a vector. `None` where no value is finite.
    """
    values = field.at_centers().values if field.is_grid and field.is_staggered else field.values
    if values.dtype.kind in (complex,):
        values = math.abs(values)
    if "vector" in channel(values):
        values = math.norm(values, "vector")
    low, high = (float(find(values, values.shape)) for find in (math.finite_min, math.finite_max))
    return (low, high) if pymath.isfinite(low) and pymath.isfinite(high) else None


def joined(limits: Sequence[Limits | None]) -> Limits | None:
    """Returns limits that hold all of these."""
    known = [one for one in limits if one is not None]
    if not known:
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def draw(
    rows: Mapping[str, Sequence[Panel]],
    limits: Mapping[str, Limits | None] | None = None,
    *,
    is_row: bool = False,
) -> Any:
    """Returns a Matplotlib figure: a row for each field, a column for each frame.

    Args:
        rows: Panels by name of the field, as many in each row.
        limits: Values at the ends of the colour scale of each field, where they are not those of
            its panels.
        is_row: Whether fields stand side by side instead, which is for one frame of each.

    Raises:
        InvalidInputError: There are too many panels, or none.
    """
    panels = [[part for one in row for part in _without_batch(one)] for row in rows.values()]
    fields = [[one.field for one in row] for row in panels]
    columns = max(map(len, fields), default=0)
    if not columns:
        raise InvalidInputError("there is nothing to draw")
    if len(fields) * columns > MOST_PANELS:
        raise InvalidInputError(
            f"{len(fields)} × {columns} panels are too many for one picture; choose fewer frames "
            "or fields, or make a movie"
        )
    titles = [[one.title for one in row] + [""] * (columns - len(row)) for row in panels]
    down, across = (columns, len(fields)) if is_row else (len(fields), columns)
    if is_row:
        titles = [list(column) for column in zip(*titles, strict=True)]
    size = min(_PANEL_INCHES[0] * across, _WIDEST_INCHES), _PANEL_INCHES[1] * down
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Matplotlib about margins, of PhiML about itself
        figure = plot(
            *fields,
            lib="matplotlib",
            row_dims=_all_but_args if is_row else "args",
            col_dims="args" if is_row else batch,
            same_scale=any(_needs_scale(field) for row in fields for field in row),
            title=math.wrap(titles, batch("rows"), batch("cols")),
            size=size,
            max_subfigures=MOST_PANELS,
        )
        _give_bars(figure)
        found = [joined([limits_of(field) for field in row]) for row in fields]
        for i, name in enumerate(rows):
            given = (limits or {}).get(name)
            panels_of = list(_axes_of(figure, i, is_row=is_row, count=len(fields)))
            _set_limits(panels_of, given or found[i])
            _set_bounds(panels_of, fields[i][0])
            _order_corners(panels_of, fields[i][0])
    return figure


def _without_batch(one: Panel) -> list[Panel]:
    """Returns a panel for each entry of a batch."""
    dims = batch(one.field)
    if not dims:
        return [one]
    return [
        Panel(
            one.field[index],
            ", ".join([one.title, *(f"{name} = {i}" for name, i in index.items())]),
        )
        for index in dims.meshgrid(names=True)
    ]


def _needs_scale(field: Any) -> bool:
    """Whether PhiFlow draws in 3D, for which it wants a colour scale from its caller."""
    return bool(field.spatial_rank == 3)


def _all_but_args(shape: Any) -> Any:
    """Returns the batch dims of a shape that are not the arguments of `plot`."""
    return batch(shape).without("args")


def _axes_of(figure: Any, index: int, *, is_row: bool, count: int) -> Iterator[Any]:
    """Yields Matplotlib's 2D axes of all panels of a field, and of their colour bars."""
    for axes in figure.axes:
        place = axes.get_subplotspec()
        if place is None or hasattr(axes, "zaxis"):
            continue
        place = place.get_topmost_subplotspec()  # a colour bar divides the place of its panel
        grid = place.get_gridspec()
        total, span = (grid.ncols, place.colspan) if is_row else (grid.nrows, place.rowspan)
        if total == count and span.start == index:
            yield axes


def _color_bar(axes: Any) -> Any:
    """Returns the colour bar that axes are; `None` where they are a panel."""
    return getattr(axes, "_colorbar", None)  # Matplotlib has no other way


def _give_bars(figure: Any) -> None:
    """Gives each panel a colour bar of its own, where one for all lies across the last panel."""
    common = [axes for axes in figure.axes if _color_bar(axes) and axes.get_subplotspec() is None]
    if not common:
        return
    for axes in common:
        axes.remove()
    for axes in tuple(figure.axes):
        artists = [one for one in (*axes.images, *axes.collections) if one.get_array() is not None]
        if artists and not hasattr(axes, "zaxis"):
            figure.colorbar(artists[0], ax=axes)
    figure.tight_layout()


def _set_limits(panels: Sequence[Any], limits: Limits | None) -> None:
    """Gives all panels of a field one colour scale, or one value axis."""
    if limits is None:
        return
    low, high = limits
    if low == high:
        low, high = low - 0.5, high + 0.5
    for axes in panels:
        color_bar = _color_bar(axes)
        if color_bar is not None:
            color_bar.mappable.set_clim(low, high)  # not always the image: PhiFlow makes its own
            continue
        for artist in (*axes.images, *axes.collections):
            if artist.get_array() is not None:
                artist.set_clim(low, high)
        if axes.lines and not axes.images and not axes.collections:
            margin = 0.05 * (high - low)
            axes.set_ylim(low - margin, high + margin)


def _set_bounds(panels: Sequence[Any], field: Any) -> None:
    """Lets stream lines fill their panels.

    PhiFlow leaves as much room around a grid of vectors as arrows of their length would take.
    """
    if not field.is_grid or field.spatial_rank != 2 or "vector" not in channel(field):
        return
    across, up = (
        (float(field.bounds.lower.vector[axis]), float(field.bounds.upper.vector[axis]))
        for axis in field.geometry.vector.item_names
    )
    for axes in panels:
        if _color_bar(axes) is None:
            axes.set(xlim=across, ylim=up)


def _order_corners(panels: Sequence[Any], field: Any) -> None:
    """Draws cells of a mesh with their corners in order, around their middle.

    PhiFlow takes corners by number, so that most cells of four would cross themselves.
    """
    if not field.is_mesh or field.spatial_rank != 2:
        return
    for axes in panels:
        for artist in axes.collections:
            for path in artist.get_paths():
                corners = path.vertices[:-1]  # the last one is the first again
                x, y = (corners - corners.mean(0)).T
                ordered = corners[np.argsort(np.arctan2(y, x))]
                path.vertices = np.concatenate([ordered, ordered[:1]])
