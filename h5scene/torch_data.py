"""Windows of frames for PyTorch: `FrameDataset`, to be given to a `torch.utils.data.DataLoader`.

Needs PyTorch: `pip install 'h5scene[torch]'`.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from h5scene.errors import FieldNotFoundError, InvalidInputError, SceneNotFoundError
from h5scene.interop.source import (
    FrameSeries,
    SceneSources,
    SourceFile,
    frame_series,
    read_part,
)
from h5scene.interop.statistics import FieldStatistics, field_statistics

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
    from h5scene.format.forms import FrameForm
    from h5scene.record import Array, DimSpec
    from h5scene.scene_file import SceneFile

__all__ = ["FieldStatistics", "FrameDataset", "Window"]

PathLike: TypeAlias = "str | os.PathLike[str]"
Region: TypeAlias = Mapping[str, "slice | str"]
StaggeredLayout: TypeAlias = Literal["centers", "faces"]

# Axes of a tensor, in order. What has none of the third kind gets an axis of one channel.
_ORDER = {"batch": 0, "dual": 1, "channel": 2, "instance": 3, "spatial": 3}


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
        by_field = _region_by_field(region, self.fields)
        self._readers: dict[str, _Reader] = {}
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
        _check_dims(by_field, self._readers)
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
        self, progress: Callable[[int, int], object] | None = None
    ) -> dict[str, FieldStatistics]:
        """Returns mean, deviation and range of each field, over all frames that items come from.

        They are those of whole frames as stored, whatever the region; staggered grids on faces.
        Numbers of each frame are kept in its file, if that can be written, so that it is read once.
        They are exact to the rounding of float64. Values that are not finite are left out.

        Args:
            progress: Called with the number of frames that were read, and of all to read.

        Raises:
            UnsupportedFieldError: The values are complex numbers.
            H5SceneError: As `SceneFile`.
        """
        entries = []
        for (source, scene), frames in zip(self._scenes, self._frames, strict=True):
            entries.append((source, scene, frozenset(frames.tolist())))
        return field_statistics(entries, self.fields, progress=progress)

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
            reader = _Reader.of(found[0], name, region[name], staggered)
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


# --- what to read ---------------------------------------------------------------------------------


def _region_by_field(
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


def _check_dims(regions: Mapping[str, Region], readers: Mapping[str, _Reader]) -> None:
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
class _Reader:
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
    ) -> _Reader:
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


def _normalized(values: Array, statistics: FieldStatistics) -> Array:
    """Returns values less their mean, by their deviation; in place where they are floats."""
    if values.dtype.kind not in "fc":
        values = values.astype(np.float32)
    values -= statistics.mean
    values /= statistics.scale
    return values
