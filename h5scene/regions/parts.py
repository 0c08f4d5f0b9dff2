"""Parts of fields: their description, and which stored entries they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from h5scene.errors import CorruptDataError, InvalidInputError, UnsupportedFieldError
from h5scene.objects import tensors_in
from h5scene.record import (
    CENTERED,
    NPZ_ATTR,
    STAGGERED,
    Array,
    Boundary,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    ObjectRecord,
    TensorRecord,
    named_dims,
)
from h5scene.regions.boundaries import component_boundary, cut_boundary, faces_kept
from h5scene.regions.selections import Pick, Region, cells, entries
from h5scene.regions.tensors import Sizes, named, picked_dims, picked_tensor, taken
from h5scene.tensors import outlined


@dataclass(frozen=True)
class Part:
    """A part of a field without its values.

    Attributes:
        description: What it is.
        picks: What to take along each axis of the stored values.
        geometry: Where the values are, of fields that are no grids.
        structure: What makes the values sparse or ragged, of whole fields only.
    """

    description: FieldDescription
    picks: tuple[Pick, ...]
    geometry: ObjectRecord | None = None
    structure: ObjectRecord | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the values."""
        return tuple(len(pick) for pick in self.picks if not isinstance(pick, int))

    def record(self, values: Array) -> FieldRecord:
        """Returns the part with its values."""
        return FieldRecord(self.description, values, self.geometry, self.structure)

    def part(self, region: Region) -> Part:
        """Returns the part of this part that a region takes; raises as `part_of` does."""
        inner = part_of(self.record(outlined(self.shape, np.dtype(bool))), region)
        inner_picks = iter(inner.picks)
        return replace(
            inner,
            picks=tuple(
                pick if isinstance(pick, int) else _picked(pick, next(inner_picks))
                for pick in self.picks
            ),
        )


def part_of_parts(record: FieldRecord, regions: Region | Sequence[Region]) -> Part:
    """Returns the part that a region takes, or several regions, each of what the last one took.

    Raises as `part_of` does.
    """
    if isinstance(regions, Mapping):
        return part_of(record, regions)
    part = part_of(record, {})
    for region in regions:
        part = part.part(region)
    return part


def part_of(record: FieldRecord, region: Region) -> Part:
    """Returns the part of a field that a region takes; of its values, only the shape is asked for.

    Raises:
        InvalidInputError: The field has no such dim, label or entry, or a selection is none.
        UnsupportedFieldError: What is selected is no field that could be described.
        CorruptDataError: The description does not fit the shape.
    """
    described, shape = record.description, record.values.shape
    if len(shape) != len(described.dims):
        raise CorruptDataError(f"values of {len(shape)} axes have {len(described.dims)} dims")
    if not region:
        return Part(described, tuple(map(range, shape)), record.geometry, record.structure)
    if record.structure is not None:
        raise UnsupportedFieldError(
            "a field whose values are sparse, or of different sizes, has no regions that could be "
            "read alone; read all of it, and slice it"
        )
    sizes = named_dims(record)
    for name in region:
        if name not in sizes:
            raise InvalidInputError(f"there is no dim {name!r}; the field has ({', '.join(sizes)})")
    if described.field_type in (CENTERED, STAGGERED):
        return _grid_part(described, sizes, region)
    picks = {
        name: entries(taken, *sizes[name], has_positions=False) for name, taken in region.items()
    }
    geometry = record.geometry
    return Part(
        replace(
            described,
            dims=picked_dims(described.dims, picks),
            boundary=_picked_boundary(described.boundary, picks, sizes),
            attrs=_lasting(described.attrs),
        ),
        _picks(described, picks, sizes),
        None if geometry is None else _picked_geometry(geometry, picks, sizes),
    )


_POINTWISE = ("point", "sphere", "box", "cylinder")
"""Geometries of elements that stand for themselves: some of them are the same kind of geometry."""


def _picked_geometry(
    geometry: ObjectRecord, picks: Mapping[str, Pick], sizes: Sizes
) -> ObjectRecord:
    """Returns the elements of a geometry that are taken; all where it does not have these dims.

    Raises:
        UnsupportedFieldError: Its elements belong together, as the cells of a mesh do.
    """
    # Components of the values are not those of positions.
    wanted = {name: pick for name, pick in picks.items() if sizes[name][0].type != "channel"}
    touched = {dim.name for tensor in tensors_in(geometry) for dim in tensor.dims}
    if not touched.intersection(wanted):
        return geometry
    tensors = {n: part for n, part in geometry.parts.items() if isinstance(part, TensorRecord)}
    if geometry.kind not in _POINTWISE or len(tensors) < len(geometry.parts):
        raise UnsupportedFieldError(
            f"the elements of a {geometry.kind} along {', '.join(wanted)} belong together; "
            "read the whole field"
        )
    parts = {name: picked_tensor(tensor, wanted, sizes) for name, tensor in tensors.items()}
    return ObjectRecord(geometry.kind, geometry.attrs, parts)


def _picked(pick: Sequence[int], inner: Pick) -> Pick:
    """Returns what is taken of what was taken."""
    if isinstance(inner, range) and inner.step > 0:
        return pick[inner.start : inner.stop : inner.step]
    return pick[inner] if isinstance(inner, int) else tuple(pick[i] for i in inner)


def _picks(
    described: FieldDescription, picks: Mapping[str, Pick], sizes: Sizes
) -> tuple[Pick, ...]:
    """Returns what to take along each axis of the stored values."""
    return tuple(picks.get(dim.name, range(sizes[dim.name][1])) for dim in described.dims)


def _axes(bounds: Bounds, sizes: Sizes) -> tuple[str, ...]:
    """Returns the axes of a grid, all of which are dims of its values."""
    try:
        axes = bounds.axes
    except ValueError as error:
        raise CorruptDataError(f"the bounds do not name their axes: {error}") from error
    missing = [axis for axis in axes if axis not in sizes]
    if missing:
        raise CorruptDataError(f"the bounds have axes that the values lack: {missing}")
    return axes


def _grid_part(described: FieldDescription, sizes: Sizes, region: Region) -> Part:
    """Returns a part of a grid."""
    if described.bounds is None:
        raise CorruptDataError("a grid has no bounds")
    axes = _axes(described.bounds, sizes)
    padding = int(described.field_type == STAGGERED)
    resolution = {axis: sizes[axis][1] - padding for axis in axes}
    if not all(resolution[axis] > 0 for axis in axes):
        raise InvalidInputError(
            f"a grid without cells has no parts; its resolution is {resolution}"
        )
    inside: dict[str, int | range] = {
        axis: cells(region[axis], sizes[axis][0], resolution[axis], described.bounds)
        for axis in axes
        if axis in region
    }
    picks = {
        name: entries(selection, *sizes[name], has_positions=True)
        for name, selection in region.items()
        if name not in axes
    }
    ranges = {axis: inside.get(axis, range(resolution[axis])) for axis in axes}
    kept = {axis: taken for axis, taken in ranges.items() if isinstance(taken, range)}
    if not kept:
        raise InvalidInputError(
            "a single cell is no grid; take a slice of one cell along one of the axes"
        )
    cut = {axis: (taken.start > 0, taken.stop < resolution[axis]) for axis, taken in kept.items()}
    boundary = cut_boundary(described.boundary, cut, axes)
    cell_sizes = {**sizes, **{axis: (sizes[axis][0], n) for axis, n in resolution.items()}}
    ends = {axis: (float(taken.start), float(taken.stop)) for axis, taken in kept.items()}
    own: str | None = None  # the axis of the one component of a staggered grid that is taken
    if described.field_type == STAGGERED:
        own = _component(described, axes, picks)
        if len(kept) < len(axes):
            raise InvalidInputError(
                "a layer of a staggered grid is no such grid; take a slice of one cell"
            )
        taken_values = {axis: range(taken.start, taken.stop + 1) for axis, taken in kept.items()}
        outside = {name: pick for name, pick in picks.items() if name not in ("vector", "~vector")}
        if own is not None:
            # A centered grid, whose cells have their centres at the faces.
            lower, upper = faces_kept(boundary, own)
            faces = range(kept[own].start + int(not lower), kept[own].stop + int(upper))
            if not faces:
                raise InvalidInputError(f"the region holds no face along {own!r} that has a value")
            taken_values = {**kept, own: faces}
            ends[own] = (faces.start - 0.5, faces.stop - 0.5)
            outside["vector"] = axes.index(own)
            cell_sizes["vector"] = (DimSpec("vector", "channel", axes), len(axes))
        values: dict[str, Pick] = {**taken_values, **picks}
    else:
        outside = picks
        values = {**ranges, **picks}
    boundary = _picked_boundary(boundary, {**outside, **inside}, cell_sizes, axes)
    component = outside.get("vector")
    if isinstance(component, int):
        labels = cell_sizes["vector"][0].labels or axes
        name = labels[component] if component < len(labels) else ""  # neither of the axes
        boundary = component_boundary(boundary, name, axes)
    fractions = {
        axis: (start / resolution[axis], stop / resolution[axis])
        for axis, (start, stop) in ends.items()
    }
    return Part(
        FieldDescription(
            field_type=described.field_type if own is None else CENTERED,
            dims=picked_dims(described.dims, values),
            bounds=_part_bounds(described.bounds, fractions, picks, sizes),
            boundary=boundary,
            attrs=_grid_attrs(described.attrs, ranges, own),
        ),
        _picks(described, values, sizes),
    )


def _component(
    described: FieldDescription, axes: tuple[str, ...], picks: dict[str, Pick]
) -> str | None:
    """Returns the axis of the one component of a staggered grid that is taken; `None` for all."""
    face = described.dims[-1]
    pick = picks.get(face.name)
    if isinstance(pick, int):
        return (face.labels or axes)[pick]
    if pick is not None:
        if list(pick) != list(range(len(axes))):
            raise UnsupportedFieldError(
                "a staggered grid has a component for each axis; take one of them by its number or "
                f"label, or all, not {list(pick)}"
            )
        del picks[face.name]
    return None


def _part_bounds(
    bounds: Bounds,
    ends: Mapping[str, tuple[float, float]],
    picks: Mapping[str, Pick],
    sizes: Sizes,
) -> Bounds:
    """Returns the bounds of a part.

    Args:
        bounds: Those of the whole grid.
        ends: Where the part begins and ends along each axis that it has, as a fraction of it.
        picks: What to take along dims that are no axes.
        sizes: All dims.
    """
    taken_dims = {name: pick for name, pick in picks.items() if sizes[name][0].type == "batch"}
    if len(ends) < len(bounds.axes):
        taken_dims["vector"] = tuple(bounds.axes.index(axis) for axis in ends)
        sizes = {**sizes, "vector": (DimSpec("vector", "channel"), len(bounds.axes))}
    corners = [bounds.lower, bounds.upper, bounds.center, bounds.size]
    lower, upper, center, size = (
        None if corner is None else picked_tensor(corner, taken_dims, sizes) for corner in corners
    )
    assert lower is not None
    assert upper is not None
    if all(end == (0.0, 1.0) for end in ends.values()):
        return Bounds(lower, upper, center, size)
    begin, end, dims = _aligned(lower, upper)
    axis = [dim.name for dim in dims].index("vector")
    starts, stops = (
        np.array(fractions).reshape([-1 if i == axis else 1 for i in range(len(dims))])
        for fractions in zip(*ends.values(), strict=True)
    )
    new_lower = np.where(starts == 0.0, begin, begin + starts * (end - begin))
    new_upper = np.where(stops == 1.0, end, begin + stops * (end - begin))
    # As in PhiFlow: whole numbers become float32, floats keep their precision.
    floats = [corner.data.dtype for corner in (lower, upper) if corner.data.dtype.kind == "f"]
    dtype = np.result_type(np.float32, *floats)
    return Bounds(
        TensorRecord(dims, new_lower.astype(dtype)), TensorRecord(dims, new_upper.astype(dtype))
    )


def _aligned(a: TensorRecord, b: TensorRecord) -> tuple[Array, Array, tuple[DimSpec, ...]]:
    """Returns two tensors as float64 arrays of the same dims."""
    dims = (*(dim for dim in b.dims if dim not in a.dims), *a.dims)
    sizes = {dim.name: size for dim, size in (*named(a), *named(b))}
    arrays = []
    for tensor in (a, b):
        names = [dim.name for dim in tensor.dims]
        array = tensor.data.astype(np.float64)
        array = array.transpose([names.index(dim.name) for dim in dims if dim.name in names])
        array = array[tuple(slice(None) if dim.name in names else None for dim in dims)]
        arrays.append(np.broadcast_to(array, [sizes[dim.name] for dim in dims]))
    return arrays[0], arrays[1], dims


def _grid_attrs(
    attrs: Mapping[str, Any], ranges: Mapping[str, int | range], own: str | None
) -> dict[str, Any]:
    """Returns the attributes of a part of a grid."""
    lasting = _lasting(attrs)
    given = lasting.get("resolution_labels")
    if isinstance(given, Mapping):
        labels = {
            axis: [names[i] for i in taken] if names else names
            for axis, names in given.items()
            if isinstance(taken := ranges.get(axis), range) and axis != own
        }
        lasting |= {"resolution_labels": labels}
        if not labels:
            del lasting["resolution_labels"]
    return lasting


def _lasting(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the attributes that hold for parts as well."""
    return {name: value for name, value in attrs.items() if name != NPZ_ATTR}


def _picked_boundary(
    boundary: Boundary,
    picks: Mapping[str, Pick],
    sizes: Mapping[str, tuple[DimSpec, int]],
    axes: Sequence[str] = (),
) -> Boundary:
    """Returns a boundary with the entries of its tensors that are taken.

    Embedded fields have a place of their own in space: they are taken along other dims only.
    """
    if not picks:
        return boundary
    picked: dict[str, Any] = {}
    for key, value in boundary.items():
        if isinstance(value, TensorRecord):
            picked[key] = picked_tensor(value, picks, sizes)
        elif isinstance(value, FieldRecord):
            own = named_dims(value)
            inner = {name: p for name, p in picks.items() if name in own and name not in axes}
            part = part_of(value, inner)
            picked[key] = part.record(taken(value.values, part.picks))
        elif isinstance(value, Mapping):
            picked[key] = _picked_boundary(value, picks, sizes, axes)
        else:
            picked[key] = value
    return picked
