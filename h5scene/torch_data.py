"""Windows of frames for PyTorch: `FrameDataset`, to be given to a `torch.utils.data.DataLoader`.

Needs PyTorch: `pip install 'h5scene[torch]'`.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import operator
import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from h5scene.errors import FieldNotFoundError, InvalidInputError, SceneNotFoundError
from h5scene.interop.source import (
    SceneSources,
    SourceFile,
    frame_series,
)
from h5scene.interop.statistics import FieldStatistics, field_statistics
from h5scene.interop.tensor_arrays import (
    FieldReader,
    Region,
    StaggeredLayout,
    check_dims,
    region_by_field,
)

try:
    import torch
    from torch.utils.data import Dataset, get_worker_info
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ModuleNotFoundError(
        "h5scene.torch_data needs PyTorch: pip install 'h5scene[torch]'", name="torch"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from h5scene.record import Array

__all__ = ["FieldStatistics", "FrameDataset", "Window"]

PathLike: TypeAlias = "str | os.PathLike[str]"


class Window(NamedTuple):
    """Where an item of a `FrameDataset` comes from.

    Attributes:
        file: Path of the scene file.
        scene: Name of the scene.
        frames: Numbers of its frames.
    """

    file: str
    scene: str
    frames: tuple[int, ...]


class FrameDataset(Dataset[Any]):
    """Windows over the frames of all scenes of files, as tensors. A map-style dataset.

    It reads when an item is asked for, and only what the item needs. It pickles, and works in
    `DataLoader` with any number of workers, forked or spawned: each process has its own handles.
    Another process may go on writing the files; frames that come later need a new dataset.

    Args:
        files: Paths of scene files, or of scenes in them (`runs.h5/sim_000000`), or one path.
        fields: Names of fields, or one name.
        window: Number of frames of an item; by default an item is one frame, without an axis for
            frames.
        stride: Distance between the first frames of two windows, in frames that are stored.
        region: Part to read, by name of the dim: slices in cells, or the label of a channel. Dims
            that a field does not have are passed over. For fields of several resolutions: such a
            mapping by name of the field.
        frames: Which of the stored frames of each scene to use, such as `slice(10, None, 2)`.
        scenes: Names or patterns (`sim_00000[0-7]`) of scenes; all by default.
        staggered: Components of staggered grids `"centers"`: at cell centres, the mean of both
            faces, with the shape that centered grids have; or `"faces"`: as stored, one entry more
            than cells along each axis, where entries without a face are 0.

    Shapes:
        A field `(x, y, vector)` gives a tensor `(vector, x, y)`, with `window` `(window, vector, x,
        y)`. A field without channels has one: `(1, x, y)`. Batch dims come before channels.

    Raises:
        InvalidInputError: An argument is none of those above, no scene has frames of all fields
            for a window, or fields have several forms.
        SceneNotFoundError: There is no such scene.
        FieldNotFoundError: No scene has a field of this name.
        H5SceneError: As `SceneFile`.

    Example:
        >>> scene = Scene.create("runs", name="sim")
        >>> for frame in range(10):
        ...     scene.write(smoke=CenteredGrid(frame, 0, x=8, y=4), frame=frame)
        >>> data = FrameDataset("runs.h5", "smoke", window=2)
        >>> len(data), data[3].shape
        (9, torch.Size([2, 1, 8, 4]))
    """

    def __init__(
        self,
        files: PathLike | Iterable[PathLike],
        fields: str | Sequence[str],
        *,
        window: int | None = None,
        stride: int = 1,
        region: Region | Mapping[str, Region] | None = None,
        frames: slice = slice(None),
        scenes: str | Sequence[str] | None = None,
        staggered: StaggeredLayout = "centers",
    ):
        _check_count("window", 1 if window is None else window)
        _check_count("stride", stride)
        if not isinstance(frames, slice):
            raise InvalidInputError(f"frames must be a slice, not {frames!r}")
        if staggered not in ("centers", "faces"):
            raise InvalidInputError(f"staggered must be 'centers' or 'faces', not {staggered!r}")
        self.fields = (fields,) if isinstance(fields, str) else tuple(fields)
        if not self.fields:
            raise InvalidInputError("fields names no field; name at least one")
        self._is_single = isinstance(fields, str)
        self._window = window
        paths = [files] if isinstance(files, (str, os.PathLike)) else list(files)
        self._scenes = _found_scenes(paths, scenes)
        by_field = region_by_field(region, self.fields)
        self._readers: dict[str, FieldReader] = {}
        self._frames: list[Array] = []
        self._statistics: Mapping[str, FieldStatistics] | None = None
        kept = []
        for source, scene in self._scenes:
            found = self._frames_of_scene(source, scene, by_field, frames, staggered)
            if found is not None and len(found) >= (window or 1):
                kept.append((source, scene))
                self._frames.append(found)
        if not kept and not any(self._has_fields(*entry) for entry in self._scenes):
            held = ", ".join(map(repr, self._scenes[0][0].open().fieldnames(self._scenes[0][1])))
            raise FieldNotFoundError(
                f"no scene has fields named {', '.join(map(repr, self.fields))}; "
                f"{self._scenes[0][1]!r} of {self._scenes[0][0].path} has {held or 'none'}"
            )
        self._scenes = kept
        check_dims(by_field, self._readers)
        starts = [_window_starts(found, window or 1, stride) for found in self._frames]
        # Arrays rather than lists: a forked worker that counts references to an object copies it.
        self._starts = np.concatenate([np.empty(0, np.int64), *starts])
        self._scene_of_item = np.repeat(np.arange(len(starts)), [len(found) for found in starts])
        if not len(self._starts):
            raise InvalidInputError(
                f"no scene has {window or 1} evenly spaced frames that all of "
                f"{', '.join(map(repr, self.fields))} are stored for"
            )
        for source in {source for source, _ in self._scenes}:
            source.close()  # workers open it themselves

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Any:
        """Returns an item: a tensor if `fields` was one name, else a dict of tensors by field.

        The tensors own their memory, and share none with others.

        Raises:
            IndexError: There are fewer items.
            FrameNotFoundError: The frame is gone.
            InvalidInputError: The frame was replaced by one of another form.
            H5SceneError: As `SceneFile.read_values`.
        """
        place = self._place(index)
        source, scene = self._scenes[self._scene_of_item[place]]
        # Workers are as many as somebody wanted: they start no threads of their own.
        file = source.open(workers=None if get_worker_info() is None else 1)
        numbers = self._frames_of_item(place)
        item = {}
        for name, reader in self._readers.items():
            values = reader.read(file, scene, numbers)
            values = values[0] if self._window is None else values
            if self._statistics is not None:
                values = _normalized(values, self._statistics[name])
            item[name] = torch.from_numpy(values)
        return item[self.fields[0]] if self._is_single else item

    def __repr__(self) -> str:
        return (
            f"FrameDataset({len(self)} items of {', '.join(self.fields)}; "
            f"{len(self._scenes)} scenes)"
        )

    @property
    def scenes(self) -> tuple[tuple[str, str], ...]:
        """Paths of files and names of scenes in them from which items come, in order."""
        return tuple((source.path, scene) for source, scene in self._scenes)

    def window(self, index: int) -> Window:
        """Returns where an item comes from.

        Raises:
            IndexError: There are fewer items.
        """
        place = self._place(index)
        source, scene = self._scenes[self._scene_of_item[place]]
        return Window(source.path, scene, tuple(self._frames_of_item(place)))

    def split(self, *fractions: float, seed: int = 0) -> tuple[FrameDataset, ...]:
        """Returns datasets that share no scene, each with this fraction of the scenes.

        Which scene goes where depends on the seed and the names of files and scenes alone.

        Args:
            *fractions: Above 0, and together at most 1. Each dataset gets at least one scene.
            seed: Another one gives another split.

        Raises:
            InvalidInputError: The fractions are none, or there are fewer scenes than datasets.

        Example:
            >>> for _ in range(5):
            ...     Scene.create("many", name="sim").write(smoke=CenteredGrid(0, 0, x=2), frame=0)
            >>> train, test = FrameDataset("many.h5", "smoke").split(0.8, 0.2)
            >>> len(train), len(test)
            (4, 1)
        """
        if not fractions or min(fractions) <= 0 or sum(fractions) > 1 + 1e-9:
            raise InvalidInputError(
                f"fractions must be above 0 and at most 1 together, not {fractions}"
            )
        count = len(self._scenes)
        if count < len(fractions):
            raise InvalidInputError(
                f"{count} scenes cannot be split into {len(fractions)} datasets; with frames=slice("
                "…) datasets can take different frames of one scene"
            )

        def rank(i: int) -> tuple[bytes, str]:
            source, scene = self._scenes[i]
            name = f"{seed}/{Path(source.path).name}/{scene}"
            return hashlib.sha256(name.encode(errors="surrogateescape")).digest(), source.path

        order = sorted(range(count), key=rank)
        sizes = _shares(fractions, count)
        ends = list(itertools.accumulate(sizes, initial=0))
        return tuple(self._of_scenes(sorted(order[a:b])) for a, b in itertools.pairwise(ends))

    def statistics(
        self, progress: Callable[[int, int], object] | None = None, *, client: Any = None
    ) -> dict[str, FieldStatistics]:
        """Returns mean, deviation and range of each field, over all frames that items come from.

        They are those of whole frames as stored, whatever the region; staggered grids on faces.
        Numbers of each frame are kept in its file, if that can be written, so that it is read once.
        They are exact to the rounding of float64. Values that are not finite are left out.

        Args:
            progress: Called with the number of frames that were read, and of all to read.
            client: A `dask.distributed.Client`, whose workers read the frames. They must see the
                files under the same paths.

        Raises:
            UnsupportedFieldError: The values are complex numbers.
            StorageError: The workers of `client` died of a task again and again.
            H5SceneError: As `SceneFile`.
        """
        entries = []
        for (source, scene), frames in zip(self._scenes, self._frames, strict=True):
            entries.append((source, scene, frozenset(frames.tolist())))
        return field_statistics(entries, self.fields, progress=progress, client=client)

    def normalized(self, statistics: Mapping[str, FieldStatistics]) -> FrameDataset:
        """Returns a dataset of the same items, each field less its mean and by its deviation.

        Args:
            statistics: By name of the field: mostly those of the frames to train on.

        Raises:
            InvalidInputError: A field is missing.
        """
        missing = [name for name in self.fields if name not in statistics]
        if missing:
            raise InvalidInputError(
                f"there are no statistics of {', '.join(map(repr, missing))}, only of "
                f"{', '.join(map(repr, statistics)) or 'nothing'}"
            )
        other = copy.copy(self)
        other._statistics = dict(statistics)
        return other

    # --- inside -----------------------------------------------------------------------------------

    def _place(self, index: Any) -> int:
        """Returns the place of an item, counted from the front."""
        try:
            return range(len(self))[operator.index(index)]
        except IndexError:
            raise IndexError(f"there is no item {index}, only {len(self)} items") from None

    def _frames_of_item(self, place: int) -> list[int]:
        """Returns the numbers of the frames of an item."""
        start = self._starts[place]
        frames = self._frames[self._scene_of_item[place]][start : start + (self._window or 1)]
        numbers: list[int] = frames.tolist()
        return numbers

    def _has_fields(self, source: SourceFile, scene: str) -> bool:
        """Whether a scene has all fields."""
        held = source.open().fieldnames(scene)
        return all(name in held for name in self.fields)

    def _frames_of_scene(
        self,
        source: SourceFile,
        scene: str,
        region: Mapping[str, Region],
        chosen: slice,
        staggered: StaggeredLayout,
    ) -> Array | None:
        """Returns the frames that all fields are stored for; `None` if the scene lacks a field.

        Raises:
            InvalidInputError: A field has another form than in scenes before.
        """
        common: set[int] | None = None
        for name in self.fields:
            try:
                found = frame_series(source.open(), scene, name)
            except FieldNotFoundError:
                return None
            if not found:
                return None
            if len(found) > 1:
                shapes = " and ".join(str(series.shape) for series in found)
                raise InvalidInputError(
                    f"field {name!r} of {source.path}/{scene} has frames of several forms, {shapes}"
                )
            reader = FieldReader.of(found[0], name, region[name], staggered)
            known = self._readers.setdefault(name, reader)
            if reader != known:
                raise InvalidInputError(
                    f"field {name!r} of {source.path}/{scene} gives tensors {reader.form.dtype} "
                    f"{reader.result_shape}, other scenes {known.form.dtype} {known.result_shape}; "
                    "put scenes of one form into a dataset"
                )
            common = set(found[0].frames) if common is None else common & set(found[0].frames)
        return np.array(sorted(common or ()), np.int64)[chosen]

    def _of_scenes(self, places: Sequence[int]) -> FrameDataset:
        """Returns a dataset of some of the scenes."""
        other = copy.copy(self)
        other._scenes = [self._scenes[i] for i in places]
        other._frames = [self._frames[i] for i in places]
        new_place = np.full(len(self._scenes), -1)
        new_place[list(places)] = np.arange(len(places))
        moved = new_place[self._scene_of_item]
        other._starts, other._scene_of_item = self._starts[moved >= 0], moved[moved >= 0]
        return other


# --- which items ----------------------------------------------------------------------------------


def _check_count(name: str, value: object) -> None:
    """Raises InvalidInputError when a number of frames is none."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidInputError(f"{name} must be a number of frames from 1, not {value!r}")


def _found_scenes(
    paths: Sequence[PathLike], patterns: str | Sequence[str] | None
) -> list[tuple[SourceFile, str]]:
    """Returns the scenes of files, each once."""
    if not paths:
        raise InvalidInputError("files names no file; name at least one")
    wanted = [patterns] if isinstance(patterns, str) else patterns
    known: dict[SourceFile, SourceFile] = {}
    found: dict[tuple[SourceFile, str], None] = {}
    for path in paths:
        sources = SceneSources(path)
        for scene in sources.names() if sources.named is None else (sources.named,):
            if wanted is None or any(fnmatchcase(scene, pattern) for pattern in wanted):
                source = sources.find(scene)
                found[known.setdefault(source, source), scene] = None
    if not found:
        which = "" if wanted is None else f" named {', '.join(map(repr, wanted))}"
        raise SceneNotFoundError(f"no scene{which} in {', '.join(map(str, paths))}")
    return list(found)


def _window_starts(frames: Array, window: int, stride: int) -> Array:
    """Returns where windows start: those of evenly spaced frames, as far apart as most are."""
    starts = np.arange(0, len(frames) - window + 1, stride)
    if window == 1:
        return starts
    gaps = np.diff(frames)
    spacings, counts = np.unique(gaps, return_counts=True)
    uneven = np.concatenate([[0], np.cumsum(gaps != spacings[np.argmax(counts)])])
    even: Array = starts[uneven[starts + window - 1] == uneven[starts]]
    return even


def _shares(fractions: Sequence[float], count: int) -> list[int]:
    """Returns how many of `count` each fraction gets: at least one, and what is nearest then."""
    sizes = [max(1, int(fraction * count)) for fraction in fractions]
    total = max(len(sizes), min(count, round(sum(fractions) * count)))
    while sum(sizes) != total:
        step = 1 if sum(sizes) < total else -1
        able = [i for i, size in enumerate(sizes) if size + step > 0]
        lack = {i: (fractions[i] * count - sizes[i]) * step for i in able}
        sizes[max(able, key=lambda i: lack[i])] += step
    return sizes


def _normalized(values: Array, statistics: FieldStatistics) -> Array:
    """Returns values less their mean, by their deviation; in place where they are floats."""
    if values.dtype.kind not in "fc":
        values = values.astype(np.float32)
    values -= statistics.mean
    values /= statistics.scale
    return values
