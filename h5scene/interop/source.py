"""Scene files for readers that are pickled, forked and shared by threads: `SourceFile`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.format import layout
from h5scene.format.forms import FrameForm, read_form
from h5scene.paths import scene_file_path, split_scene_path
from h5scene.record import CENTERED, STAGGERED
from h5scene.scene_file import SceneFile

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


def file_and_scene(path: str | os.PathLike[str]) -> tuple[str, str | None]:
    """Returns the path of a scene file, and the scene where the path names one in it."""
    if not Path(scene_file_path(path)).is_file():
        try:
            file, scene = split_scene_path(path)
        except InvalidInputError:
            return scene_file_path(path), None
        if Path(file).is_file():
            return file, scene
    return scene_file_path(path), None


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
