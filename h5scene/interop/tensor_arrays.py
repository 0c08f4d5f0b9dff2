"""Frames of a field as arrays with the axes of a PyTorch tensor; needs no PyTorch itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from h5scene.errors import InvalidInputError
from h5scene.interop.source import FrameSeries, read_part

if TYPE_CHECKING:
    from h5scene.format.forms import FrameForm
    from h5scene.record import Array, DimSpec
    from h5scene.scene_file import SceneFile

Region: TypeAlias = Mapping[str, "slice | str"]
StaggeredLayout: TypeAlias = Literal["centers", "faces"]

# Axes of a tensor, in order. What has none of the third kind gets an axis of one channel.
_ORDER = {"batch": 0, "dual": 1, "channel": 2, "instance": 3, "spatial": 3}


def region_by_field(
    region: Region | Mapping[str, Region] | None, fields: Sequence[str]
) -> dict[str, Region]:
    """Returns the region of each field."""
    region = region or {}
    if not isinstance(region, Mapping):
        raise InvalidInputError(f"region must map dims to slices, not {region!r}")
    nested = {name: part for name, part in region.items() if isinstance(part, Mapping)}
    if nested:
        unknown = [name for name in region if name not in fields or name not in nested]
        if unknown:
            raise InvalidInputError(
                f"region names {', '.join(map(repr, unknown))}, but the fields are "
                f"{', '.join(map(repr, fields))}"
            )
        return {name: nested.get(name, {}) for name in fields}
    return dict.fromkeys(fields, region)  # type: ignore[arg-type]  # no value is a mapping


def check_dims(regions: Mapping[str, Region], readers: Mapping[str, FieldReader]) -> None:
    """Raises InvalidInputError when a region names a dim that none of its fields has."""
    for name, region in regions.items():
        sharing = [reader for other, reader in readers.items() if regions[other] is region]
        known = {dim for reader in sharing for dim in reader.dims}
        known |= {"vector"} if "~vector" in known else set()
        unknown = [dim for dim in region if dim not in known]
        if unknown and sharing:
            raise InvalidInputError(
                f"the region of field {name!r} names a dim {unknown[0]!r}; there are "
                f"{', '.join(map(repr, sorted(known)))}"
            )


@dataclass(frozen=True)
class FieldReader:
    """How to read a field, the same for all scenes.

    Attributes:
        link: Name of the field.
        form: Shape and dtype of its frames.
        dims: Names of its dims.
        region: What to read of a frame: start, stop and step along each axis.
        read_shape: Sizes of that.
        order: The axes of what was read, in the order of the tensor.
        new_axis: Where the tensor gets an axis of one channel, if the field has none.
        components: Axis of the components of a staggered grid, as read.
        own: For each component, its axis as read.
        spatial: Axes of a staggered grid, as read.
        steps: Of the cells along these.
        staggered: What to make of the faces.
    """

    link: str
    form: FrameForm
    dims: tuple[str, ...]
    region: tuple[tuple[int, int, int], ...]
    read_shape: tuple[int, ...]
    order: tuple[int, ...]
    new_axis: int | None
    components: int | None
    own: tuple[int, ...]
    spatial: tuple[int, ...]
    steps: tuple[int, ...]
    staggered: StaggeredLayout

    @classmethod
    def of(
        cls, series: FrameSeries, name: str, region: Region, staggered: StaggeredLayout
    ) -> FieldReader:
        """Returns how to read a field.

        Raises:
            InvalidInputError: The region is none of this field.
        """
        dims, components = series.description.dims, series.component_axis
        axes = series.axes if components is not None else ()
        names = [dim.name for dim in dims]
        parts: dict[str, range] = {}
        steps: dict[str, int] = {}
        for dim, size in zip(dims, series.shape, strict=True):
            is_axis = dim.name in axes
            cells = range(size - is_axis)
            key = "vector" if len(parts) == components and "vector" not in names else dim.name
            chosen = _chosen(region.get(key, slice(None)), dim, cells, name)
            steps[dim.name] = chosen.step
            if is_axis:  # faces around these cells
                if staggered == "faces" and chosen.step != 1:
                    raise InvalidInputError(
                        f"the region of field {name!r} leaves out cells along {dim.name!r}; faces "
                        "of a staggered grid can be read only of neighbours"
                    )
                chosen = range(chosen[0], chosen[-1] + 2)
            parts[dim.name] = chosen
        order = sorted(range(len(dims)), key=lambda i: _ORDER[dims[i].type])
        taken = [] if components is None else list(parts[names[components]])
        return cls(
            link=series.link,
            form=series.form,
            dims=series.dims,
            region=tuple((part.start, part.stop, part.step) for part in parts.values()),
            read_shape=tuple(map(len, parts.values())),
            order=tuple(order),
            new_axis=None
            if any(dim.type == "channel" for dim in dims)
            else sum(_ORDER[dim.type] < _ORDER["channel"] for dim in dims),
            components=components,
            own=tuple(names.index(axes[i]) for i in taken),
            spatial=tuple(names.index(axis) for axis in axes),
            steps=tuple(steps[axis] for axis in axes),
            staggered=staggered,
        )

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Sizes of the tensor of one frame."""
        example = np.broadcast_to(np.zeros((), self.form.dtype), (1, *self.read_shape))
        return self._arranged(example).shape[1:]

    def read(self, file: SceneFile, scene: str, frames: Sequence[int]) -> Array:
        """Returns frames along a first axis, with the axes of a tensor; an array of its own."""
        region = [slice(*part) for part in self.region]
        stack = None
        for i, frame in enumerate(frames):
            part = read_part(file, scene, self.link, frame, self.form, region)
            if len(frames) == 1:
                stack = part[None]
                break
            if stack is None:
                stack = np.empty((len(frames), *part.shape), part.dtype)
            stack[i] = part
        assert stack is not None
        return self._arranged(stack)

    def _arranged(self, stack: Array) -> Array:
        """Returns frames as read with the axes of a tensor; a view, unless they are staggered."""
        if self.components is not None:
            return self._from_faces(stack)
        moved = stack.transpose(0, *(1 + i for i in self.order))
        return moved if self.new_axis is None else np.expand_dims(moved, 1 + self.new_axis)

    def _from_faces(self, stack: Array) -> Array:
        """Returns the components of a staggered grid, at cell centres or on faces."""
        axis = 1 + (self.components or 0)
        spatial = [1 + i for i in self.spatial]
        is_centered = self.staggered == "centers"
        dtype = np.result_type(stack.dtype, np.float16) if is_centered else stack.dtype
        found = []
        for i, own in enumerate(self.own):
            cut: list[Any] = [slice(None)] * stack.ndim
            for k in spatial:
                cut[k] = slice(None, -1)
            cut[axis] = i
            lower = stack[tuple(cut)]
            if is_centered:
                cut[1 + own] = slice(1, None)
                values = np.add(lower, stack[tuple(cut)], dtype=dtype)
                values *= 0.5
            else:
                cut[1 + own] = slice(None)
                shape = [n for k, n in enumerate(stack.shape) if k != axis]
                values = np.zeros(shape, dtype)
                ends = [part for k, part in enumerate(cut) if k != axis]
                values[tuple(ends)] = stack[tuple(cut)]
            found.append(values)
        kept = np.stack(found, axis)
        if is_centered and set(self.steps) != {1}:
            picked: list[Any] = [slice(None)] * kept.ndim
            for k, step in zip(spatial, self.steps, strict=True):
                picked[k] = slice(None, None, step)
            kept = kept[tuple(picked)]
        arranged: Array = kept.transpose(0, *(1 + i for i in self.order))
        return arranged


def _chosen(part: object, dim: DimSpec, entries: range, field: str) -> range:
    """Returns which entries of a dim a part of a region means.

    Raises:
        InvalidInputError: It means none.
    """
    if isinstance(part, str):
        if dim.labels is None or part not in dim.labels:
            held = ", ".join(map(repr, dim.labels or ())) or "no labels"
            raise InvalidInputError(
                f"dim {dim.name!r} of field {field!r} has no label {part!r}; it has {held}"
            )
        index = dim.labels.index(part)
        return range(index, index + 1)
    if not isinstance(part, slice) or (part.step is not None and part.step < 1):
        raise InvalidInputError(
            f"the region along {dim.name!r} must be a slice with a positive step, or a label, not "
            f"{part!r}"
        )
    chosen = entries[part]
    if not chosen:
        raise InvalidInputError(
            f"the region {part} along {dim.name!r} of field {field!r} is empty; there are "
            f"{len(entries)} entries"
        )
    return chosen
