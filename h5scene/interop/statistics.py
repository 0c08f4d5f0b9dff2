"""Mean, deviation and range of fields, pooled over frames, scenes and files.

The numbers of each frame are kept in the file, so that a frame is read for them once. Writers drop
those of a frame that they replace.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import (
    BusyError,
    FrameNotFoundError,
    InvalidInputError,
    ReadOnlyError,
    StorageError,
    UnsupportedFieldError,
)
from h5scene.format import statistics as stored
from h5scene.interop.source import FrameSeries, SourceFile, frame_series, read_part
from h5scene.record import STAGGERED
from h5scene.scene_file import SceneFile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from h5scene.record import Array

# Others write a frame in less; if they take longer, the numbers are not kept.
_LOCK_TIMEOUT_S = 10.0
_KEPT_AT_A_TIME = 256
_PIECE = 1 << 18


@dataclass(frozen=True)
class FieldStatistics:
    """What the values of a field are like. Values that are not finite are left out.

    Attributes:
        count: Number of values.
        mean: Their mean.
        std: Their standard deviation, divided by `count`.
        min: The smallest.
        max: The largest.
        components: The same for each component of a vector field, in order; else empty.

    Units:
        Those of the field.
    """

    count: int
    mean: float
    std: float
    min: float
    max: float
    components: tuple[FieldStatistics, ...] = ()

    @property
    def scale(self) -> float:
        """What to divide by to normalise: `std`, or 1 where all values are the same."""
        return self.std if self.std > 0 else 1.0

    def normalized(self, values: Any) -> Any:
        """Returns values of the field, an array or tensor, with mean 0 and deviation 1."""
        return (values - self.mean) / self.scale

    def denormalized(self, values: Any) -> Any:
        """Returns the values of which `normalized` made these."""
        return values * self.scale + self.mean


def field_statistics(
    scenes: Iterable[tuple[SourceFile, str, Collection[int] | None]],
    fields: Sequence[str],
    *,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, FieldStatistics]:
    """Returns the statistics of fields, pooled over all frames that are given.

    Sums are taken in float64. A staggered grid counts the values on its faces, not the padding.
    What is found out of a frame is kept in the file, where that can be written, and used the next
    time.

    Args:
        scenes: Files, scenes in them, and the frames of these; `None` for all frames.
        fields: Names of fields.
        progress: Called with the number of frames read, and that of those to read.

    Raises:
        SceneNotFoundError: There is no such scene.
        FieldNotFoundError: A scene has no such field.
        FrameNotFoundError: There are no frames at all of a field.
        InvalidInputError: A field has other numbers of components in different places.
        UnsupportedFieldError: The values are complex numbers.
        H5SceneError: As `SceneFile`.
    """
    tasks = []
    for source, scene, frames in scenes:
        for name in fields:
            for series in frame_series(source.open(), scene, name):
                wanted = [f for f in series.frames if frames is None or f in frames]
                tasks.append(_Task(name, source, scene, series, wanted))
    total = sum(len(task.missing) for task in tasks)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    rows: dict[str, list[Array]] = {name: [] for name in fields}
    for task in tasks:
        rows[task.name] += task.rows(advance)
    return {name: _pooled(name, found) for name, found in rows.items()}


class _Task:
    """The frames of one form of a field of one scene."""

    def __init__(
        self, name: str, source: SourceFile, scene: str, series: FrameSeries, frames: list[int]
    ):
        if series.dtype.kind == "c":
            raise UnsupportedFieldError(
                f"field {name!r} has complex values, of which there is no minimum; take statistics "
                "of its parts",
                file=source.path,
                location=f"/{scene}",
            )
        self.name = name
        self._source = source
        self._scene = scene
        self._series = series
        self._frames = frames
        self._components = _component_count(series)
        self._known: dict[int, Array] = source.open()._read(
            lambda tree: stored.read_rows(tree.scene(scene), series.link, self._components), scene
        )
        self.missing = [frame for frame in frames if frame not in self._known]

    def rows(self, advance: Callable[[], None]) -> list[Array]:
        """Returns the numbers of all frames, after reading those whose numbers are not known."""
        file, link = self._source.open(), self._series.link
        found = {frame: self._known[frame] for frame in self._frames if frame in self._known}
        for start in range(0, len(self.missing), _KEPT_AT_A_TIME):
            frames = self.missing[start : start + _KEPT_AT_A_TIME]
            # Reserved before the frames are read: a writer that replaces one meanwhile drops the
            # reservation, and what was read of the old one is not kept.
            token = random.random()
            reserve = partial(
                stored.reserve_rows,
                field_link=link,
                components=self._components,
                frames=frames,
                token=token,
            )
            is_kept = self._write(reserve)
            new = {}
            for frame in frames:
                values = read_part(file, self._scene, link, frame, self._series.form)
                new[frame] = frame_numbers(values, self._series)
                advance()
            if is_kept:
                self._write(partial(stored.put_rows, field_link=link, found=new, token=token))
            found |= new
        return list(found.values())

    def _write(self, change: Callable[[Any], None]) -> bool:
        """Changes the table in the file; returns whether that was possible."""
        try:
            with (
                SceneFile(self._source.path, "r+", lock_timeout_s=_LOCK_TIMEOUT_S) as file,
                file._transaction(self._scene) as tree,
            ):
                change(tree.scene(self._scene))
        except (ReadOnlyError, BusyError, StorageError):
            return False
        return True


def _component_count(series: FrameSeries) -> int:
    """Returns how many components a field has: entries along its channel dims, or faces."""
    if series.description.field_type == STAGGERED:
        return len(series.axes)
    dims = zip(series.description.dims, series.shape, strict=True)
    return math.prod(size for dim, size in dims if dim.type == "channel")


def components_of(values: Array, series: FrameSeries) -> list[Array]:
    """Returns the values of each component of one frame, without padding."""
    dims, axis = series.description.dims, series.component_axis
    if axis is not None:
        faces = np.moveaxis(values, axis, 0)
        inner = [dim.name for i, dim in enumerate(dims) if i != axis]
        axes = series.axes
        return [
            face[tuple(slice(-1) if n in axes and n != own else slice(None) for n in inner)]
            for own, face in zip(axes, faces, strict=True)
        ]
    channels = [i for i, dim in enumerate(dims) if dim.type == "channel"]
    moved = np.moveaxis(values, channels, range(len(channels)))
    sizes = moved.shape[: len(channels)]
    return [moved[index] for index in np.ndindex(*sizes)]


def frame_numbers(values: Array, series: FrameSeries) -> Array:
    """Returns count, mean, variance, minimum and maximum of each component of one frame."""
    parts = components_of(values, series)
    found = np.empty((len(parts), stored.NUMBERS))
    for i, part in enumerate(parts):
        found[i] = _numbers(part)
    return found


def _numbers(values: Array) -> Array:
    """Returns count, mean, variance, minimum and maximum, in pieces that need little memory."""
    if values.size > _PIECE and values.ndim and values.shape[0] > 1:
        half = values.shape[0] // 2
        return merged(np.stack([_numbers(values[:half]), _numbers(values[half:])]))
    exact = values.astype(np.float64)
    finite = np.isfinite(exact)
    if not finite.all():
        exact = exact[finite]
    if not exact.size:
        return np.array([0, np.nan, np.nan, np.nan, np.nan])
    mean = exact.mean()
    variance = np.square(exact - mean).mean()
    return np.array([exact.size, mean, variance, exact.min(), exact.max()])


def merged(rows: Array) -> Array:
    """Returns the numbers of all values together, of rows of numbers of parts of them."""
    rows = rows[rows[:, 0] > 0]
    if not len(rows):
        return np.array([0, np.nan, np.nan, np.nan, np.nan])
    counts, means, variances = rows[:, 0], rows[:, 1], rows[:, 2]
    count = counts.sum()
    mean = (counts / count * means).sum()
    variance = (counts / count * (variances + np.square(means - mean))).sum()
    return np.array([count, mean, variance, rows[:, 3].min(), rows[:, 4].max()])


def _pooled(name: str, rows: list[Array]) -> FieldStatistics:
    """Returns the statistics of a field, of the numbers of its frames."""
    if not rows:
        raise FrameNotFoundError(f"there is no frame of field {name!r}")
    if len({len(row) for row in rows}) > 1:
        counts = " and ".join(sorted({str(len(row)) for row in rows}))
        raise InvalidInputError(
            f"field {name!r} has {counts} components in different scenes; take statistics of these "
            "apart"
        )
    table = np.stack(rows)
    components = [_statistics(merged(table[:, i])) for i in range(table.shape[1])]
    if len(components) == 1:
        return components[0]
    return _statistics(merged(table.reshape(-1, stored.NUMBERS)), tuple(components))


def _statistics(numbers: Array, components: tuple[FieldStatistics, ...] = ()) -> FieldStatistics:
    """Returns numbers as an object."""
    count, mean, variance, smallest, largest = numbers.tolist()
    return FieldStatistics(int(count), mean, math.sqrt(variance), smallest, largest, components)
