"""Scene files for readers that are pickled, forked and shared by threads: `SourceFile`."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h5scene.errors import CorruptDataError, InvalidInputError, SceneNotFoundError
from h5scene.format import layout
from h5scene.format.forms import FrameForm, read_form
from h5scene.format.names import listed
from h5scene.paths import scene_file_path, split_scene_path
from h5scene.record import CENTERED, STAGGERED
from h5scene.scene_file import SceneFile
from h5scene.shards import ShardedFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from h5scene.format.readings import Slices
    from h5scene.record import Array, Bounds, FieldDescription

GRIDS = (CENTERED, STAGGERED)


class SourceFile:
    """A scene file to read from, in any thread of any process. Pickles as its path.

    The file is opened on first use in each process, and again on the next use once it was closed.

    Attributes:
        path: Absolute path.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = str(Path(scene_file_path(path)).absolute())
        self._opened: tuple[int, int | None, SceneFile] | None = None

    def open(self, workers: int | None = None) -> SceneFile:
        """Returns the open file of this process.

        Args:
            workers: Number of threads to read with; by default one for each processor.
        """
        wanted = (os.getpid(), workers)
        opened = self._opened
        if opened is None or opened[:2] != wanted:
            # Two threads may both come here: both files then share one handle, in the store.
            opened = (*wanted, SceneFile(self.path, "r", workers=workers))
            self._opened = opened
        return opened[2]

    def close(self) -> None:
        """Closes the file in this process, until it is used again."""
        opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid():
            opened[2].close()

    def __reduce__(self) -> tuple[type[SourceFile], tuple[str]]:
        return SourceFile, (self.path,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SourceFile) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"SourceFile({self.path!r})"


def grid_bounds(description: FieldDescription) -> Bounds:
    """Returns the extent of a grid.

    Raises:
        CorruptDataError: It has none.
    """
    if description.bounds is None:
        raise CorruptDataError(f"a field of type {description.field_type!r} has no bounds")
    return description.bounds


def component_axis(description: FieldDescription) -> int:
    """Returns the axis of the components of a staggered grid.

    Raises:
        CorruptDataError: There is none.
    """
    names = [dim.name for dim in description.dims]
    for name in ("~vector", "vector"):  # the values may have a dim `vector` of their own
        if name in names:
            return names.index(name)
    raise CorruptDataError(f"the staggered values have no dim 'vector', only {names}")


class SceneSources:
    """Where the scenes of a file and its shards are read from.

    Args:
        path: Path of a scene file, or of a scene in one, such as `runs.h5/sim_000000`.

    Attributes:
        path: Path of the scene file.
        named: The scene that the path names, if it names one.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._sharded = ShardedFile(path)
        self.named: str | None = None
        if not self._sharded.exists:
            with suppress(InvalidInputError):
                file, scene = split_scene_path(path)
                inside = ShardedFile(file)
                if inside.exists:
                    self._sharded, self.named = inside, scene
        self.path = self._sharded.path
        self._sources: dict[str, SourceFile] = {}

    def names(self) -> tuple[str, ...]:
        """Returns the names of all scenes, sorted.

        Raises:
            H5SceneError: As `SceneFile`.
        """
        if self._sharded.shards:
            return tuple(self._sharded.scenes())
        return self._source(self.path).open().scenes

    def find(self, scene: str) -> SourceFile:
        """Returns the file that holds a scene.

        Raises:
            SceneNotFoundError: There is no such scene.
            H5SceneError: As `SceneFile`.
        """
        source = self._source(self._sharded.file_of(scene))
        if not Path(source.path).exists() and self._sharded.shards:
            raise SceneNotFoundError(f"no scene {scene!r} in the shards of {self.path}")
        if not source.open().has_scene(scene):
            raise SceneNotFoundError(
                f"no scene {scene!r} in {source.path}; {listed(source.open().scenes)}",
                file=source.path,
            )
        return source

    def _source(self, path: str) -> SourceFile:
        """Returns the file of a path, the same one each time."""
        if path not in self._sources:
            self._sources[path] = SourceFile(path)
        return self._sources[path]


@dataclass(frozen=True)
class FrameSeries:
    """The frames of one field of one scene, as arrays of one shape.

    Attributes:
        link: Name under which the field is stored.
        description: What the frames share; that of the first frame where it has its own.
        form: Shape and dtype of the values.
        frames: Frame numbers, sorted.
        own: Descriptions of frames that differ from `description`.
    """

    link: str
    description: FieldDescription
    form: FrameForm
    frames: tuple[int, ...]
    own: Mapping[int, FieldDescription]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the values."""
        return self.form.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return self.form.dtype

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dims of the values, in order."""
        return tuple(dim.name for dim in self.description.dims)

    @property
    def is_grid(self) -> bool:
        """Whether the field is a grid, whose dims are axes in space."""
        return self.description.field_type in GRIDS

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of a grid, in the order of its corners; empty for other fields."""
        return grid_bounds(self.description).axes if self.is_grid else ()

    @property
    def component_axis(self) -> int | None:
        """The axis of the components of a staggered grid; `None` for other fields."""
        if self.description.field_type != STAGGERED:
            return None
        return component_axis(self.description)


def frame_series(file: SceneFile, scene: str, name: str) -> list[FrameSeries]:
    """Returns the frames of a field: one series for each form they have, the longest first.

    Frames whose numbers are not one array, of sparse tensors and such of varying sizes, are left
    out.

    Only one frame is opened, unless the file says that they differ.

    Raises:
        SceneNotFoundError: There is no such scene.
        FieldNotFoundError: The scene has no such field.
        CorruptDataError: A frame is not what FORMAT.md says.
    """

    def read(tree: Any) -> list[FrameSeries]:
        group = tree.scene(scene)
        link = tree.find_field(scene, name)
        field, frames = group[link], tree.frames(scene, link)
        shared = tree._description(scene, link)
        varies = layout.FRAMES_VARY_ATTR in field.attrs
        by_form: dict[Any, dict[int, FieldDescription]] = {}
        for frame in frames if varies else frames[:1]:
            form = read_form(field, frame)
            if form.has_structure:
                continue
            described = form.own or shared
            key = (form.shape, form.dtype, described.field_type, described.dims)
            by_form.setdefault(key, {})[frame] = described
        found = []
        for (shape, dtype, _, dims), described in by_form.items():
            if len(shape) != len(dims):
                raise CorruptDataError(
                    f"{field.name} has frames of {len(shape)} axes, its description has {len(dims)}"
                )
            first = next(iter(described.values()))
            own = {frame: other for frame, other in described.items() if other != first}
            numbers = tuple(described) if varies else frames
            found.append(FrameSeries(link, first, FrameForm(shape, dtype), numbers, own))
        return sorted(found, key=lambda series: (-len(series.frames), series.frames))

    found: list[FrameSeries] = file._read(read, scene)
    return found


def read_part(
    file: SceneFile,
    scene: str,
    link: str,
    frame: int,
    form: FrameForm,
    region: Slices | None = None,
) -> Array:
    """Returns the values of one frame, or those in a region, in an array of its own.

    Args:
        file: Where to read.
        scene: Which scene.
        link: Which field.
        frame: Which frame.
        form: Shape and dtype that it must have.
        region: A slice for each axis.

    Raises:
        InvalidInputError: The frame has another shape or dtype.
        H5SceneError: As `SceneFile.read_values`.
    """
    values: Array = file._read(
        lambda tree: tree.read_part(scene, link, frame, form, region, workers=file._workers), scene
    )
    return values
