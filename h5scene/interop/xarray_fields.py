"""Variables of xarray back to PhiFlow's fields: `field_from_xarray`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from h5scene.errors import InvalidInputError, UnsupportedFieldError
from h5scene.format.json_values import load_json
from h5scene.interop import xarray_attrs
from h5scene.interop.source import GRIDS, component_axis, grid_bounds
from h5scene.phi_fields import field_from_record
from h5scene.record import (
    STAGGERED,
    Boundary,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    TensorRecord,
    map_boundary,
    stack_records,
)
from h5scene.regions.boundaries import cut_boundary

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from phi.field import Field

    from h5scene.record import Array

# Positions are computed in float64, and may have passed through float32.
_TOLERANCE = 1e-4


def field_from_xarray(data: xr.Dataset | xr.DataArray, name: str | None = None) -> Field:
    """Returns the field that variables of a scene hold, with its bounds and boundary.

    A part of it, such as `data.isel(x=slice(0, 32))`, has the bounds of that part, and where it was
    cut inside of the grid, `ZERO_GRADIENT` as its boundary. Values are read if they were not yet.

    Args:
        data: What `xarray.open_dataset(…, engine='h5scene')` returned, a part of it, or computed
            from it. A variable that is not staggered may come alone.
        name: Name of the field; may be left out where `data` holds one field.

    Shapes:
        Dims of the field as in the file. Frames become a batch dim `frame`, labelled with their
        numbers; other dims that xarray has and the field has not become batch dims as well.
        A dim from which one entry was selected is gone.

    Raises:
        InvalidInputError: No field of this name is there, its attributes or some of its components
            are missing, or its positions are not evenly spaced.
        UnsupportedFieldError: It is no grid, or its boundary is made of arrays that only the file
            has: read it with `Scene.read`.

    Example:
        >>> import xarray
        >>> scene = Scene.create("runs", name="sim")
        >>> scene.write(smoke=CenteredGrid(1.0, 0, Box(x=2.0, y=1.0), x=4, y=3), frame=5)
        >>> data = xarray.open_dataset("runs.h5", engine="h5scene")
        >>> part = field_from_xarray(data.smoke.isel(frame=-1, x=slice(2, 4)))
        >>> part.resolution.sizes, part.bounds.lower.numpy("vector").tolist()
        ((2, 3), [1.0, 0.0])
    """
    variables = _variables(data, name)
    return field_from_record(_record(variables), convert_to_backend=False)


def _variables(data: xr.Dataset | xr.DataArray, name: str | None) -> list[xr.DataArray]:
    """Returns the variables of one field."""
    if isinstance(data, xr.DataArray):
        found = [data]
    elif isinstance(data, xr.Dataset):
        by_field: dict[Any, list[xr.DataArray]] = {}
        for variable in data.data_vars.values():
            if xarray_attrs.FIELD_ATTR in variable.attrs:
                by_field.setdefault(variable.attrs[xarray_attrs.FIELD_ATTR], []).append(variable)
        if name is None and len(by_field) == 1:
            (name,) = by_field
        if name not in by_field:
            asked = "name one of the fields" if name is None else f"there is no field {name!r}"
            held = ", ".join(map(repr, by_field)) or "no fields of h5scene"
            raise InvalidInputError(f"{asked}; the dataset holds {held}")
        found = by_field[name]
    else:
        raise InvalidInputError(
            f"data must be an xarray Dataset or DataArray, not {type(data).__name__}"
        )
    return found


def _record(variables: list[xr.DataArray]) -> FieldRecord:
    """Returns the record of a field; one for each description where these differ, stacked."""
    first = variables[0]
    coordinate = first.coords.get(
        xarray_attrs.description_coord(first.attrs.get(xarray_attrs.FIELD_ATTR))
    )
    attrs: Mapping[Hashable, Any] = first.attrs
    if coordinate is not None:
        if coordinate.ndim:
            dim = coordinate.dims[0]
            parts = [
                _record([variable.isel({dim: i}) for variable in variables])
                for i in range(first.sizes[dim])
            ]
            if not parts:
                raise InvalidInputError(f"the part of {first.name!r} along {dim!r} is empty")
            return stack_records(parts, _batch_dim(first, dim))
        attrs = {**attrs, **json.loads(str(coordinate.item()))}
    description = xarray_attrs.description_from_attrs(attrs, f"variable {first.name!r}")
    _check_supported(description, first)
    if description.field_type == STAGGERED:
        return _Staggered(variables, description).record()
    return _Part(first, description).record()


def _check_supported(description: FieldDescription, variable: xr.DataArray) -> None:
    """Raises UnsupportedFieldError where attributes do not hold all of a field."""
    text = variable.attrs[xarray_attrs.FIELD_ATTR]
    if description.field_type not in GRIDS:
        raise UnsupportedFieldError(
            f"field {text!r} is a {description.field_type}; only grids can be made of xarray's "
            "variables: read it with Scene.read"
        )
    if _names_arrays(description.boundary):
        raise UnsupportedFieldError(
            f"the boundary of field {text!r} is made of arrays, which attributes do not hold: read "
            "it with Scene.read"
        )


def _names_arrays(boundary: Mapping[str, Any]) -> bool:
    """Whether a boundary has parts that stand in datasets of their own."""
    return any(
        isinstance(value.get("values"), str) or _names_arrays(value)
        for value in boundary.values()
        if isinstance(value, dict)
    )


def _batch_dim(variable: xr.DataArray, dim: Hashable) -> DimSpec:
    """Returns the batch dim for a dim of xarray that the field does not have."""
    name = "frame" if dim == variable.attrs.get(xarray_attrs.FRAME_DIM_ATTR) else str(dim)
    labels = None
    if dim in variable.coords and variable.coords[dim].ndim == 1:
        labels = tuple(map(str, variable.coords[dim].values))
    return DimSpec(name, "batch", labels if labels and len(set(labels)) == len(labels) else None)


class _Part:
    """One variable, or a part of it, and where it lies in its grid.

    Args:
        variable: The part.
        description: Of the whole field.
    """

    def __init__(self, variable: xr.DataArray, description: FieldDescription):
        self.variable = variable
        self.description = description
        self.axes = grid_bounds(description).axes
        names = load_json(variable.attrs[xarray_attrs.VARIABLE_DIMS_ATTR])
        sizes = load_json(variable.attrs[xarray_attrs.SIZES_ATTR])
        specs = zip(description.dims, names, sizes, strict=True)
        self.whole = {name: (dim, size) for dim, name, size in specs if name is not None}
        for name, (dim, _) in self.whole.items():
            if dim.name in self.axes and name not in variable.dims:
                raise InvalidInputError(
                    f"{variable.name!r} has no dim {name!r} left; a grid needs all its axes "
                    f"({', '.join(self.axes)})"
                )
        self.extra = [dim for dim in variable.dims if dim not in self.whole]
        self.inner = [name for name in self.whole if name in variable.dims]

    def values(self) -> Array:
        """Returns the values, batch dims first, then dims as in the file."""
        if any(self.variable.sizes[name] == 0 for name in self.inner):
            raise InvalidInputError(f"the part of {self.variable.name!r} is empty")
        values = np.asarray(self.variable.transpose(*self.extra, *self.inner).values)
        flip = tuple(
            slice(None, None, -1) if name in self.whole and self._falls(name) else slice(None)
            for name in [*self.extra, *self.inner]
        )
        return values[flip]

    def _falls(self, name: str) -> bool:
        """Whether the positions along a dim run the other way than in the file."""
        if self.whole[name][0].name not in self.axes or name not in self.variable.coords:
            return False
        positions = self.variable.coords[name].values
        lower, upper = self.grid_ends(self.whole[name][0].name)
        return bool((positions[-1] - positions[0]) * np.sign(upper - lower) < 0)

    def positions(self, name: str) -> Array | None:
        """Returns the positions along a dim as in the file; `None` where it has none."""
        if name not in self.variable.coords:
            return None
        positions = np.asarray(self.variable.coords[name].values, np.float64)
        return positions[::-1] if self._falls(name) else positions

    def cell_ends(self, name: str) -> tuple[float | None, float | None]:
        """Returns where the cells of the part begin and end; `None` where the grid does.

        Raises:
            InvalidInputError: They are not evenly spaced.
        """
        dim, size = self.whole[name]
        found = self.positions(name)
        if found is None:
            if self.variable.sizes[name] != size:
                raise InvalidInputError(
                    f"{name!r} has {self.variable.sizes[name]} of {size} cells, and no coordinate "
                    "that says which"
                )
            return None, None
        lower, upper = self.grid_ends(dim.name)
        width = (upper - lower) / size
        if len(found) > 1:
            steps = np.diff(found)
            width = (found[-1] - found[0]) / len(steps)
            if not np.allclose(steps, width, rtol=0, atol=_near(width, found)):
                raise InvalidInputError(
                    f"the positions along {name!r} are not evenly spaced; a grid's are"
                )
        return self.cut(found[0] - width / 2, found[-1] + width / 2, dim.name, width)

    def cut(
        self, start: float, stop: float, axis: str, width: float
    ) -> tuple[float | None, float | None]:
        """Returns both ends of a part, `None` where they are those of the grid."""
        lower, upper = self.grid_ends(axis)
        near = _near(width, np.array([lower, upper]))
        return (
            None if abs(start - lower) <= near else start,
            None if abs(stop - upper) <= near else stop,
        )

    def grid_ends(self, axis: str) -> tuple[float, float]:
        """Returns where the whole grid begins and ends."""
        i, bounds = self.axes.index(axis), grid_bounds(self.description)
        return float(bounds.lower.data[..., i].flat[0]), float(bounds.upper.data[..., i].flat[0])

    def dims(self) -> tuple[DimSpec, ...]:
        """Returns the dims of `values()`, with the labels of the entries that are left."""
        dims = [_batch_dim(self.variable, dim) for dim in self.extra]
        for name in self.inner:
            dim, size = self.whole[name]
            if dim.labels is not None and self.variable.sizes[name] != size:
                labels = self.variable.coords.get(name)
                is_axis = dim.name in self.axes
                kept = None if labels is None or is_axis else tuple(map(str, labels.values))
                dim = replace(dim, labels=kept)
            dims.append(dim)
        return tuple(dims)

    def boundary(self) -> Boundary:
        """Returns the boundary, its values those of the entries that are left."""
        gone = {
            dim.name: (dim, name) for name, (dim, _) in self.whole.items() if name not in self.inner
        }

        def select(tensor: TensorRecord) -> TensorRecord:
            for axis, dim in reversed(list(enumerate(tensor.dims))):
                if dim.name in gone:
                    entry = self._entry(*gone[dim.name])
                    kept = tensor.dims[:axis] + tensor.dims[axis + 1 :]
                    tensor = TensorRecord(kept, np.take(tensor.data, entry, axis))
            return tensor

        return (
            map_boundary(self.description.boundary, select) if gone else self.description.boundary
        )

    def _entry(self, dim: DimSpec, name: str) -> int:
        """Returns which entry of a dim was selected."""
        coordinate = self.variable.coords.get(name)
        if dim.labels is None or coordinate is None or coordinate.ndim:
            raise InvalidInputError(
                f"{self.variable.name!r} does not say which entry of {name!r} it is, and its "
                "boundary differs along it"
            )
        return dim.labels.index(str(coordinate.item()))

    def record(self) -> FieldRecord:
        """Returns the record of a centered grid."""
        ends = {
            self.whole[name][0].name: self.cell_ends(name)
            for name in self.inner
            if self.whole[name][0].name in self.axes
        }
        return FieldRecord(
            _cut_description(self.description, self.boundary(), self.dims(), ends), self.values()
        )


class _Staggered:
    """The components of a staggered grid, or the same part of each.

    Args:
        variables: One for each component.
        description: Of the whole field.
    """

    def __init__(self, variables: list[xr.DataArray], description: FieldDescription):
        self._description = description
        axes = grid_bounds(description).axes
        found = {
            variable.attrs.get(xarray_attrs.COMPONENT_ATTR): _Part(variable, description)
            for variable in variables
        }
        missing = [axis for axis in axes if axis not in found]
        if missing:
            raise InvalidInputError(
                f"field {variables[0].attrs[xarray_attrs.FIELD_ATTR]!r} is staggered, and its "
                f"components {', '.join(missing)} are missing; give a dataset with all of them"
            )
        self._parts = {axis: found[axis] for axis in axes}

    def record(self) -> FieldRecord:
        """Returns the record, in PhiFlow's padded layout."""
        axes, described = grid_bounds(self._description).axes, self._description
        cells: dict[str, int] = {}
        ends: dict[str, tuple[float | None, float | None]] = {}
        for own, part in self._parts.items():
            for name in part.inner:
                axis = part.whole[name][0].name
                if axis in axes:
                    self._note(part, name, is_face=axis == own, cells=cells, ends=ends)
        arrays = {own: part.values() for own, part in self._parts.items()}
        first = self._parts[axes[0]]
        dims = first.dims()
        names = [dim.name for dim in dims]
        shape = tuple(
            cells[name] + 1 if name in axes else size
            for name, size in zip(names, arrays[axes[0]].shape, strict=True)
        )
        padded = np.zeros((*shape, len(axes)), np.result_type(*arrays.values()))
        for i, own in enumerate(axes):
            if [dim.name for dim in self._parts[own].dims()] != names:
                raise InvalidInputError(
                    f"the components of {first.variable.name!r} and the others differ in their dims"
                )
            place: tuple[Any, ...] = (*map(slice, arrays[own].shape), i)
            padded[place] = arrays[own]
        components = described.dims[component_axis(described)]
        description = _cut_description(described, described.boundary, (*dims, components), ends)
        return FieldRecord(description, padded)

    def _note(
        self, part: _Part, name: str, *, is_face: bool, cells: dict[str, int], ends: dict[str, Any]
    ) -> None:
        """Notes how many cells a component has along an axis, and where they end.

        Raises:
            InvalidInputError: Another component has others.
        """
        axis = part.whole[name][0].name
        count = part.variable.sizes[name] - is_face
        whole = part.whole[name][1] - 1
        found = part.positions(name)
        if count < 1 or (found is None and count != whole):
            raise InvalidInputError(
                f"{part.variable.name!r} has {count + is_face} positions along {name!r}, which do "
                "not enclose cells of the grid"
            )
        if found is None:
            own: tuple[float | None, float | None] = (None, None)
        else:
            lower, upper = part.grid_ends(axis)
            width = (upper - lower) / whole
            steps = np.diff(found)
            if not np.allclose(steps, width, rtol=0, atol=_near(width, found)):
                raise InvalidInputError(
                    f"the positions along {name!r} are no neighbours; a staggered grid needs all"
                )
            half = 0.0 if is_face else width / 2
            own = part.cut(found[0] - half, found[-1] + half, axis, width)
        before = ends.setdefault(axis, own)
        if cells.setdefault(axis, count) != count or not np.allclose(
            [x or 0.0 for x in own], [x or 0.0 for x in before], rtol=_TOLERANCE
        ):
            raise InvalidInputError(
                f"the components of field {part.variable.attrs[xarray_attrs.FIELD_ATTR]!r} cover "
                f"different parts of the axis {axis}; choose the cells x[a:b] and the faces "
                "x_faces[a:b+1] together"
            )


def _near(width: float, positions: Array) -> float:
    """Returns how far apart two positions may be that mean the same, where cells are so wide."""
    return _TOLERANCE * abs(width) + 1e-14 * float(np.abs(positions).max())


def _cut_description(
    description: FieldDescription,
    boundary: Boundary,
    dims: tuple[DimSpec, ...],
    ends: Mapping[str, tuple[float | None, float | None]],
) -> FieldDescription:
    """Returns the description of a part that ends there along each axis."""
    described = replace(description, dims=dims, boundary=boundary)
    if all(end is None for both in ends.values() for end in both):
        return described
    attrs = {name: value for name, value in described.attrs.items() if name != "resolution_labels"}
    corners = []
    bounds = grid_bounds(described)
    for k, corner in enumerate((bounds.lower, bounds.upper)):
        data = corner.data.astype(np.float64)
        for i, axis in enumerate(bounds.axes):
            end = ends[axis][k]
            if end is not None:
                data[..., i] = end
        corners.append(TensorRecord(corner.dims, data))
    cut = {axis: (lower is not None, upper is not None) for axis, (lower, upper) in ends.items()}
    boundary = cut_boundary(boundary, cut, bounds.axes)
    return replace(described, bounds=Bounds(*corners), boundary=boundary, attrs=attrs)
