"""Mean, deviation and range of fields, pooled over frames, scenes and files.

The numbers of each frame are kept in the file, so that a frame is read for them once. Writers drop
those of a frame that they replace.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.dask_tasks import on_workers
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
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from h5scene.record import Array

# Others write a frame in less; if they take longer, the numbers are not kept.
_LOCK_TIMEOUT_S = 10.0
_KEPT_AT_A_TIME = 256
_SENT_BYTES = 1 << 28  # what a worker reads for one task
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
    client: Any = None,
) -> dict[str, FieldStatistics]:
    """Returns the statistics of fields, pooled over all frames that are given.

    Sums are taken in float64. A staggered grid counts the values on its faces, not the padding.
    What is found out of a frame is kept in the file, where that can be written, and used the next
    time.

    Args:
        scenes: Files, scenes in them, and the frames of these; `None` for all frames.
        fields: Names of fields.
        progress: Called with the number of frames read, and that of those to read.
        client: A `dask.distributed.Client`, whose workers read the frames. They must see the files
            under the same paths. The table in a file is written here.

    Raises:
        SceneNotFoundError: There is no such scene.
        FieldNotFoundError: A scene has no such field.
        FrameNotFoundError: There are no frames at all of a field.
        InvalidInputError: A field has other numbers of components in different places.
        UnsupportedFieldError: The values are complex numbers.
        StorageError: The workers of `client` died of a task again and again.
        H5SceneError: As `SceneFile`.
    """
    wanted = []
    for source, scene, frames in scenes:
        for name in fields:
            for series in frame_series(source.open(), scene, name):
                chosen = [f for f in series.frames if frames is None or f in frames]
                wanted.append(_Wanted(name, source, scene, series, chosen))
    total = sum(len(one.missing) for one in wanted)
    done = 0

    def advance(count: int = 1) -> None:
        nonlocal done
        for _ in range(count):
            done += 1
            if progress is not None:
                progress(done, total)

    if client is None:
        for one in wanted:
            for portion in one.portions():
                portion.keep(portion.task.numbers(advance))
    else:
        sent: list[_Portion] = []

        def tasks() -> Iterator[tuple[Any, ...]]:
            for one in wanted:
                for portion in one.portions(_SENT_BYTES):
                    sent.append(portion)
                    yield (portion.task,)

        for new, number in on_workers(client, _Task.numbers, tasks()):
            sent[number].keep(new)
            advance(len(new))
    rows: dict[str, list[Array]] = {name: [] for name in fields}
    for one in wanted:
        rows[one.name] += one.rows()
    return {name: _pooled(name, found) for name, found in rows.items()}


@dataclass(frozen=True)
class _Task:
    """Frames of one form of a field of one scene. Pickles."""

    source: SourceFile
    scene: str
    series: FrameSeries
    frames: tuple[int, ...]

    def numbers(self, advance: Callable[[], object] = lambda: None) -> dict[int, Array]:
        """Returns the numbers of each frame, which is read for them."""
        file, series, found = self.source.open(), self.series, {}
        for frame in self.frames:
            values = read_part(file, self.scene, series.link, frame, series.form)
            found[frame] = frame_numbers(values, series)
            advance()
        return found


class _Wanted:
    """The frames of one form of a field of one scene, and what is known of them."""

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
        self.found: dict[int, Array] = source.open()._read(
            lambda tree: stored.read_rows(tree.scene(scene), series.link, self._components), scene
        )
        self.missing = [frame for frame in frames if frame not in self.found]

    def portions(self, most_bytes: int | None = None) -> Iterator[_Portion]:
        """Yields the frames whose numbers are not known, some at a time, reserved in the table.

        They are reserved before they are read: a writer that replaces one meanwhile drops the
        reservation, and what was read of the old one is not kept.
        """
        count = _KEPT_AT_A_TIME
        if most_bytes is not None:
            frame_bytes = math.prod(self._series.shape) * self._series.dtype.itemsize
            count = min(max(most_bytes // max(frame_bytes, 1), 1), count)
        for start in range(0, len(self.missing), count):
            frames = self.missing[start : start + count]
            token = secrets.randbits(53) / 2**53  # not of `random`, which programs seed
            reserve = partial(
                stored.reserve_rows,
                field_link=self._series.link,
                components=self._components,
                frames=frames,
                token=token,
            )
            is_kept = self._write(reserve)
            task = _Task(self._source, self._scene, self._series, tuple(frames))
            yield _Portion(self, task, token if is_kept else None)

    def keep(self, new: dict[int, Array], token: float | None) -> None:
        """Takes the numbers of frames, and notes them in the file if they were reserved there."""
        if token is not None:
            put = partial(stored.put_rows, field_link=self._series.link, found=new, token=token)
            self._write(put)
        self.found |= new

    def rows(self) -> list[Array]:
        """Returns the numbers of all frames, in order."""
        return [self.found[frame] for frame in self._frames]

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


@dataclass(frozen=True)
class _Portion:
    """Some of these frames, whose numbers are kept together; reserved, if there is a token."""

    wanted: _Wanted
    task: _Task
    token: float | None

    def keep(self, new: dict[int, Array]) -> None:
        """Takes the numbers, and notes them in the file."""
        self.wanted.keep(new, self.token)


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
