"""Numbers about one frame, and the few values that a small picture of it needs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.format import codec, layout
from h5scene.handling.stored_objects import ObjectSummary, summarize_object
from h5scene.handling.summaries import read_attributes
from h5scene.record import STAGGERED
from h5scene.store.gate import SafeGroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from h5scene.record import Array
    from h5scene.scene_file import SceneFile

_SLAB_BYTES = 64 << 20


@dataclass(frozen=True)
class StoredValues:
    """The values of a frame, before they are read.

    Attributes:
        description: The description of the frame, as `read_attributes` gives it.
        dims: A JSON object for each axis: `name`, `type`, `labels`.
        shape: Shape of the values.
        dtype: Their dtype.
        stored_bytes: What they take in the file.
        geometry: Where they are, if that is an object of the frame.
    """

    description: dict[str, Any]
    dims: tuple[dict[str, Any], ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored_bytes: int
    geometry: ObjectSummary | None = None

    @property
    def value_bytes(self) -> int:
        """What they take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_staggered(self) -> bool:
        """Whether components stand at faces, in a padded array."""
        return self.description.get(layout.FIELD_TYPE_ATTR) == STAGGERED

    def axes_of(self, dim_type: str) -> list[int]:
        """Returns the axes whose dims have this type."""
        return [i for i, dim in enumerate(self.dims) if dim.get("type") == dim_type]


@dataclass(frozen=True)
class Statistics:
    """What the values of a frame are like. Padding of staggered grids does not count.

    Attributes:
        count: Number of values.
        finite_count: Number of those that are neither NaN nor infinite.
        minimum: Smallest finite value; of complex numbers, of their magnitudes. NaN without any.
        maximum: Largest one.
        mean: Mean of the finite values.
        std: Standard deviation of the finite values.
    """

    count: int
    finite_count: int
    minimum: float
    maximum: float
    mean: float
    std: float


def stored_values(file: SceneFile, scene: str, name: str, frame: int) -> StoredValues:
    """Returns what is known of the values of a frame without reading them.

    Raises:
        FrameNotFoundError: The field is not stored for this frame.
        FieldNotFoundError: There is no such field.
        SceneNotFoundError: There is no such scene.
        CorruptDataError: The frame is not what FORMAT.md says.
    """

    def read(
        tree: Any,
    ) -> tuple[tuple[int, ...], np.dtype[Any], int, ObjectSummary | None]:
        path, _ = tree.stored_frame(scene, name, frame)
        group = tree.h5[path]
        dataset = codec.values_of(group)
        is_group = isinstance(group, SafeGroup)
        geometry = summarize_object(group, layout.GEOMETRY_GROUP) if is_group else None
        return dataset.shape, dataset.dtype, dataset.id.get_storage_size(), geometry

    description = read_attributes(file, scene, name, frame)
    shape, dtype, stored_bytes, geometry = file._read(read, scene)
    dims = description.get(layout.DIMS_ATTR)
    known = dims if isinstance(dims, list) and len(dims) == len(shape) else [{} for _ in shape]
    return StoredValues(description, tuple(known), shape, dtype, stored_bytes, geometry)


def frame_statistics(
    file: SceneFile,
    scene: str,
    name: str,
    frame: int,
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> Statistics:
    """Returns what the values of a frame are like, read piece by piece; raises as `read_frame`."""
    stored = stored_values(file, scene, name, frame)
    count = finite_count = 0
    minimum, maximum = math.inf, -math.inf
    total, squares, shift = 0.0, 0.0, None
    pieces = list(_pieces(stored))
    for done, region in enumerate(pieces):
        values = _without_names(file, scene, name, frame, stored, region)
        values = np.abs(values) if values.dtype.kind == "c" else values
        numbers = values.astype(np.float64, copy=False).ravel()
        finite = numbers[np.isfinite(numbers)]
        count += numbers.size
        finite_count += finite.size
        if finite.size:
            minimum, maximum = min(minimum, finite.min()), max(maximum, finite.max())
            shift = float(finite[0]) if shift is None else shift  # so that squares stay small
            moved = finite - shift
            total += float(moved.sum())
            squares += float(np.dot(moved, moved))
        if on_progress is not None:
            on_progress(done + 1, len(pieces))
    if not finite_count:
        return Statistics(count, 0, math.nan, math.nan, math.nan, math.nan)
    mean = total / finite_count
    variance = max(squares / finite_count - mean**2, 0.0)
    return Statistics(
        count,
        finite_count,
        float(minimum),
        float(maximum),
        mean + (shift or 0.0),
        math.sqrt(variance),
    )


def value_range(file: SceneFile, scene: str, name: str, frame: int) -> tuple[float, float]:
    """Returns the smallest and largest finite value of a frame."""
    found = frame_statistics(file, scene, name, frame)
    return found.minimum, found.maximum


def small_picture(
    file: SceneFile, scene: str, name: str, frame: int, most: int
) -> tuple[Array, str] | None:
    """Returns a few values of a frame to be shown, and what they are.

    Of vectors the magnitude, of 3D fields the middle slice, of batches the first one. Only what is
    shown is read.

    Args:
        file: The scene file.
        scene: Name of the scene.
        name: Name of the field.
        frame: Frame number.
        most: How many values to return along an axis at most, more or less.

    Returns:
        `None` for fields that are no grids of one to three dims. Else an array `(x, y)`, or `(x,)`,
        and a text that is empty where nothing was left out.
    """
    stored = stored_values(file, scene, name, frame)
    spatial = stored.axes_of("spatial")
    if not 1 <= len(spatial) <= 3 or math.prod(stored.shape) == 0:
        return None
    region, notes = {}, []
    shown = spatial[:2]
    for axis, dim in enumerate(stored.dims):
        size = stored.shape[axis]
        if axis in shown:
            # Steps only as large as leave several values for each that is shown.
            region[str(dim["name"])] = slice(None, None, max(size // (4 * most), 1))
        elif axis in spatial:
            region[str(dim["name"])] = slice(size // 2, size // 2 + 1)
            notes.append(f"{dim['name']} = {size // 2} of {size}")
        elif dim.get("type") != "channel" and size > 1:
            region[str(dim["name"])] = slice(0, 1)
            notes.append(f"{str(dim['name']).lstrip('~')} = 0 of {size}")
    if stored.is_staggered:
        region = {key: part for key, part in region.items() if part.step is None}
    values = file.read_values(scene, name, frame, region)
    channels = [axis for axis in range(values.ndim) if axis not in shown]
    if stored.is_staggered:
        values = _at_centers(values, stored)
    values = np.abs(values) if values.dtype.kind == "c" else values.astype(np.float64)
    if channels:
        components = math.prod(values.shape[axis] for axis in channels)
        if components > 1:
            notes.append("magnitude")
            values = np.sqrt(np.sum(values**2, axis=tuple(channels)))
        else:
            values = values.reshape([values.shape[axis] for axis in shown])
    return values, ", ".join(notes)


def _pieces(stored: StoredValues) -> Iterator[dict[str, slice]]:
    """Yields regions that cover a frame, each of them small enough to be read at once."""
    names = [dim.get("name") for dim in stored.dims]
    if stored.value_bytes <= _SLAB_BYTES or not all(names):
        yield {}
        return
    sizes = list(stored.shape)
    steps = list(sizes)
    axes = [i for i in range(len(sizes)) if stored.dims[i].get("type") != "channel"]
    for axis in axes:
        rest = math.prod(steps) * stored.dtype.itemsize
        if rest > _SLAB_BYTES:
            steps[axis] = max(int(steps[axis] * _SLAB_BYTES / rest), 1)
    ranges = [range(0, size, step) for size, step in zip(sizes, steps, strict=True)]
    for corner in itertools.product(*ranges):
        yield {
            str(name): slice(start, min(start + step, size))
            for name, start, step, size in zip(names, corner, steps, sizes, strict=True)
        }


def _without_names(
    file: SceneFile,
    scene: str,
    name: str,
    frame: int,
    stored: StoredValues,
    region: dict[str, slice],
) -> Array:
    """Returns the values of a region, without the padding of staggered grids."""
    values = file.read_values(scene, name, frame, region)
    if not stored.is_staggered:
        return values
    spatial = stored.axes_of("spatial")
    parts = []
    for i, label in _components(stored):
        cut: list[Any] = [slice(None)] * values.ndim
        for axis in spatial:
            dim = str(stored.dims[axis]["name"])
            at_end = region.get(dim, slice(0, stored.shape[axis])).stop == stored.shape[axis]
            if dim != label and at_end:
                cut[axis] = slice(0, -1)
        cut[-1] = i
        parts.append(values[tuple(cut)].ravel())
    return np.concatenate(parts)


def _components(stored: StoredValues) -> list[tuple[int, str]]:
    """Returns the components of a staggered grid with the axes that they belong to."""
    return list(enumerate(stored.dims[-1].get("labels") or ()))


def _at_centers(values: Array, stored: StoredValues) -> Array:
    """Returns the components of a staggered grid at cell centres."""
    spatial = stored.axes_of("spatial")
    parts = []
    for i, label in _components(stored):
        component = values[..., i].astype(np.float64)
        for axis in spatial:
            if component.shape[axis] < 2:
                continue  # one slice was read
            low: list[Any] = [slice(None)] * component.ndim
            high = list(low)
            low[axis], high[axis] = slice(0, -1), slice(1, None)
            if stored.dims[axis]["name"] == label:
                component = 0.5 * (component[tuple(low)] + component[tuple(high)])
            else:
                component = component[tuple(low)]
        parts.append(component)
    return np.stack(parts, -1)
