"""Scenes as xarray datasets: `xarray.open_dataset('runs.h5', engine='h5scene')`.

Fields are variables with the dims `(frame, x, y, …)` and read only what is asked for. What a dim
is called:

* A cell-centred axis has the name of its axis, `x`; the faces along it are `x_faces`. A staggered
  grid has one variable per component, `velocity_x` along `(frame, x_faces, y)`.
* Dims of one name in PhiFlow are one in xarray where size, positions and labels agree. Of several
  that do not, the one of most fields keeps the name (of the first by name, if as many have it);
  others have the name of their first field behind it: `x_smoke`.
* The same goes for frames: fields that are stored for other frames have a dim of their own,
  `frame_pressure`. Nothing is filled in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from h5scene.errors import H5SceneError, InvalidInputError, SceneNotFoundError
from h5scene.format.names import listed
from h5scene.interop import xarray_attrs
from h5scene.interop.source import (
    FrameSeries,
    SceneSources,
    SourceFile,
    frame_series,
    grid_bounds,
    read_part,
)
from h5scene.paths import HDF5_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from h5scene.record import Array, FieldDescription

FRAME_DIM = "frame"
SCENE_DIM = "scene"
TIME_COORD = "time"


class SceneBackend(BackendEntrypoint):
    """xarray's entry to scene files.

    Example:
        >>> import xarray
        >>> scene = Scene.create("runs", name="sim")
        >>> scene.write(smoke=CenteredGrid(1.0, 0, x=4, y=3), frame=5)
        >>> with xarray.open_dataset("runs.h5", engine="h5scene", scene="sim_000000") as data:
        ...     data.smoke.dims, data.frame.values.tolist()
        (('frame', 'x', 'y'), [5])
    """

    description = "PhiFlow simulations in HDF5 files of h5scene"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj",
        "drop_variables",
        "scene",
        "fields",
        "complete_frames",
    )
    supports_groups = True

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        scene: str | Sequence[str] | None = None,
        fields: str | Sequence[str] | None = None,
        complete_frames: bool = False,
    ) -> xr.Dataset:
        """Returns one scene, or several, as a dataset that reads when its values are needed.

        Others may go on writing: the dataset has the frames that were there when it was opened.

        Args:
            filename_or_obj: Path of a scene file, or of a scene in one, `runs.h5/sim_000000`.
            drop_variables: Variables to leave out.
            scene: Name of a scene; several names make a dim `scene`, of the fields and frames that
                all of them have. May be left out where the file has one scene.
            fields: Names of fields, all by default. Dims are named among these.
            complete_frames: Whether to leave out frames that not all fields have.

        Raises:
            InvalidInputError: No scene is named, or fields of several scenes differ in form.
            SceneNotFoundError: There is no such scene.
            FieldNotFoundError: There is no such field.
            H5SceneError: As `SceneFile`.
        """
        sources = SceneSources(filename_or_obj)
        scenes = [scene] if isinstance(scene, str) else scene
        if scenes is None:
            scenes = [sources.named or _only_scene(sources)]
        names = [fields] if isinstance(fields, str) else fields
        is_batch = scene is not None and not isinstance(scene, str)
        places = tuple(Place(sources.find(name), name) for name in scenes)
        builder = _DatasetBuilder(places, is_batch, names, complete_frames)
        built: xr.Dataset = builder.build()
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or ()
        built = built.drop_vars([name for name in dropped if name in built.variables])
        built.set_close(partial(_close, places))
        return built

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        fields: str | Sequence[str] | None = None,
        complete_frames: bool = False,
    ) -> xr.DataTree:
        """Returns all scenes of a file as a tree, each as `open_dataset` returns it."""
        groups = self.open_groups_as_dict(
            filename_or_obj,
            drop_variables=drop_variables,
            fields=fields,
            complete_frames=complete_frames,
        )
        tree: xr.DataTree = xr.DataTree.from_dict(groups)
        for node in tree.children.values():
            node.set_close(groups[node.path].close)
        return tree

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        fields: str | Sequence[str] | None = None,
        complete_frames: bool = False,
    ) -> dict[str, xr.Dataset]:
        """Returns all scenes of a file by path, each as `open_dataset` returns it."""
        sources = SceneSources(filename_or_obj)
        opened = {
            f"/{name}": self.open_dataset(
                sources.find(name).path,
                scene=name,
                drop_variables=drop_variables,
                fields=fields,
                complete_frames=complete_frames,
            )
            for name in (sources.names() if sources.named is None else (sources.named,))
        }
        return {"/": xr.Dataset(), **opened}

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Whether this is the path of a scene file."""
        if not isinstance(filename_or_obj, (str, Path)):
            return False
        if Path(filename_or_obj).suffix not in HDF5_SUFFIXES:
            return False
        try:
            SourceFile(filename_or_obj).open()
        except H5SceneError:
            return False
        return True


class Place(NamedTuple):
    """A scene, and the file that it stands in."""

    source: SourceFile
    scene: str


def _only_scene(sources: SceneSources) -> str:
    """Returns the name of the only scene of a file."""
    scenes = sources.names()
    if len(scenes) == 1:
        return scenes[0]
    if not scenes:
        raise SceneNotFoundError(f"{sources.path} has no scene", file=sources.path)
    raise InvalidInputError(
        f"{sources.path} has {len(scenes)} scenes; name one, such as scene={scenes[0]!r}, or "
        f"several, or use open_datatree; {listed(scenes)}",
        file=sources.path,
    )


def _close(places: Iterable[Place]) -> None:
    """Closes the files of scenes in this process, until they are used again."""
    for place in places:
        place.source.close()


# --- reading --------------------------------------------------------------------------------------


class FrameArray(BackendArray):
    """The frames of a field as one array, from which indexing reads. Pickles as path and names.

    Args:
        places: Scenes along the first axis.
        series: The field in each of the scenes.
        frames: Numbers of the frames along the next axis.
        shape: Sizes of the further axes.
        component: Of a staggered grid; its axis is not among the axes.
        is_batch: Whether there is an axis of scenes.
    """

    def __init__(
        self,
        places: tuple[Place, ...],
        series: FrameSeries,
        frames: Array,
        shape: tuple[int, ...],
        component: int | None,
        *,
        is_batch: bool,
    ):
        self._places = places
        self._series = series
        self._frames = frames
        self._component = component
        self._is_batch = is_batch
        self.shape = (len(places),) * is_batch + (len(frames), *shape)
        self.dtype = series.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> Array:
        """Returns the part that a slice, an integer or integers along each axis choose."""
        wanted = [_Wanted.of(part, size) for part, size in zip(key, self.shape, strict=True)]
        sizes = tuple(part.size for part in wanted)
        values = np.empty(sizes, self.dtype) if 0 in sizes else self._values(wanted, sizes)
        return values[tuple(0 if part.is_dropped else slice(None) for part in wanted)]

    def _values(self, wanted: list[_Wanted], sizes: tuple[int, ...]) -> Array:
        """Returns the values, those along axes of integers too."""
        scenes = wanted[0].indices if self._is_batch else range(1)
        frames, *inner = wanted[self._is_batch :]
        axis = self._series.component_axis if self._component is not None else None
        region = [part.read for part in inner]
        if axis is not None and self._component is not None:
            region.insert(axis, slice(self._component, self._component + 1))
        values = None
        for place, (i, j) in enumerate((i, j) for i in scenes for j in frames.indices):
            part = read_part(
                self._places[i].source.open(),
                self._places[i].scene,
                self._series.link,
                int(self._frames[j]),
                self._series.form,
                region,
            )
            if axis is not None:
                part = part[(slice(None),) * axis + (0,)]
            for k, chosen in enumerate(inner):
                if chosen.take is not None:
                    part = part[(slice(None),) * k + (chosen.take,)]
            if len(scenes) * frames.size == 1:
                return part.reshape(sizes)
            if values is None:
                values = np.empty((len(scenes) * frames.size, *part.shape), self.dtype)
            values[place] = part
        assert values is not None
        return values.reshape(sizes)


@dataclass(frozen=True)
class _Wanted:
    """What is wanted along one axis: which part to read, and what to take of it then."""

    read: slice
    size: int
    take: Any = None
    is_dropped: bool = False
    _given: Any = None

    @classmethod
    def of(cls, key: Any, size: int) -> _Wanted:
        """Returns what a slice, an integer or an array of integers means along an axis."""
        if isinstance(key, slice):
            chosen = range(size)[key]
            if chosen.step < 0:
                return cls(
                    _as_slice(chosen[::-1]), len(chosen), slice(None, None, -1), False, chosen
                )
            return cls(_as_slice(chosen), len(chosen), None, False, chosen)
        if isinstance(key, (int, np.integer)):
            index = range(size)[int(key)]
            return cls(slice(index, index + 1), 1, None, True, range(index, index + 1))
        indices = np.asarray(key)
        indices = np.where(indices < 0, indices + size, indices)
        if not indices.size:
            return cls(slice(0, 0), 0, None, False, indices)
        first, last = int(indices.min()), int(indices.max())
        if first < 0 or last >= size:
            raise IndexError(f"index {last} is out of bounds for an axis of size {size}")
        return cls(slice(first, last + 1), indices.size, indices - first, False, indices)

    @property
    def indices(self) -> Any:
        """All wanted indices, in order."""
        return self._given


def _as_slice(chosen: range) -> slice:
    """Returns the slice with a positive step of a range."""
    return slice(chosen.start, chosen.stop, chosen.step) if chosen else slice(0, 0)


# --- building -------------------------------------------------------------------------------------


@dataclass
class _Variable:
    """One variable in the making.

    Attributes:
        name: Of the variable.
        fieldname: Of the field, with a number where it has several forms.
        series: The field in the first scene.
        frames: Numbers of its frames.
        descriptions: By scene and frame, where they differ; else empty.
        component: Of a staggered grid, its number.
        dims: Base name and key of each inner dim. Dims of one key may be shared.
        shape: Sizes of these.
    """

    name: str
    fieldname: str
    series: FrameSeries
    frames: tuple[int, ...]
    descriptions: Mapping[tuple[int, int], FieldDescription]
    component: int | None = None
    dims: list[tuple[str, Hashable]] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)


class _DatasetBuilder:
    """Makes the dataset of one or several scenes of a file."""

    def __init__(
        self,
        places: tuple[Place, ...],
        is_batch: bool,
        fields: Sequence[str] | None,
        complete_frames: bool,
    ):
        if not places:
            raise InvalidInputError("scene=[] names no scene; name at least one")
        self._places = places
        self._names = [place.scene for place in places]
        self._is_batch = is_batch
        self._fields = fields
        self._complete_frames = complete_frames
        self._coords: dict[Hashable, Any] = {}

    def build(self) -> xr.Dataset:
        """Returns the dataset."""
        variables = [
            variable for name in self._fieldnames() for variable in self._variables_of_field(name)
        ]
        if self._complete_frames and variables:
            common = set(variables[0].frames).intersection(*(v.frames for v in variables))
            for variable in variables:
                variable.frames = tuple(frame for frame in variable.frames if frame in common)
        taken: set[str] = {v.name for v in variables if v.component is None}
        for variable in variables:
            while variable.component is not None and variable.name in taken:
                variable.name += "_"
            taken.add(variable.name)
        names = self._named_dims(variables)
        self._add_frames(variables, names)
        data = {v.name: self._data(v, names) for v in variables}
        for variable in variables:
            self._add_descriptions(variable, names)
        first = self._places[0]
        attrs = {} if self._is_batch else first.source.open().properties(first.scene)
        if self._is_batch:
            self._coords[SCENE_DIM] = xr.Variable((SCENE_DIM,), np.array(self._names))
        dataset = xr.Dataset(data, self._coords, xarray_attrs.attrs_from_properties(attrs))
        dataset.encoding["source"] = first.source.path
        return dataset

    def _fieldnames(self) -> list[str]:
        """Returns the fields to open: those that are named, or that all scenes have."""
        if self._fields is not None:
            return list(dict.fromkeys(self._fields))
        names, *others = (source.open().fieldnames(scene) for source, scene in self._places)
        in_all = set(names).intersection(*others)
        return [name for name in names if name in in_all]

    def _variables_of_field(self, name: str) -> list[_Variable]:
        """Returns the variables of one field: one for each form, or for each component of it."""
        by_scene = [frame_series(source.open(), scene, name) for source, scene in self._places]
        if not all(by_scene):
            return []  # a field without frames
        if self._is_batch and any(len(found) > 1 for found in by_scene):
            raise InvalidInputError(
                f"field {name!r} has frames of several forms; open one scene at a time",
                file=self._places[0].source.path,
            )
        variables = []
        for number, series in enumerate(by_scene[0]):
            in_scenes = [series, *(found[0] for found in by_scene[1:])]
            for scene, other in zip(self._names, in_scenes, strict=True):
                if _form(other) != _form(series):
                    raise InvalidInputError(
                        f"field {name!r} of {scene!r} has sizes {other.shape} and dtype "
                        f"{other.dtype}, that of {self._names[0]!r} {series.shape} and "
                        f"{series.dtype}; open scenes of one form",
                        file=self._places[0].source.path,
                    )
            frames = set(series.frames).intersection(*(other.frames for other in in_scenes))
            label = series.link if number == 0 else f"{series.link}_{number + 1}"
            variables += self._components(label, in_scenes, tuple(sorted(frames)))
        return variables

    def _components(
        self, label: str, in_scenes: list[FrameSeries], frames: tuple[int, ...]
    ) -> list[_Variable]:
        """Returns a variable for the field, or one for each component of a staggered grid."""
        series = in_scenes[0]
        descriptions = {}
        if any(other.own or other.description != series.description for other in in_scenes):
            descriptions = {
                (i, frame): other.own.get(frame, other.description)
                for i, other in enumerate(in_scenes)
                for frame in frames
            }
        is_placed = series.is_grid and len({d.bounds for d in descriptions.values()}) <= 1
        axis = series.component_axis
        if axis is None:
            variable = _Variable(label, label, series, frames, descriptions)
            self._place(variable, is_placed)
            return [variable]
        found = []
        for i, own in enumerate(series.axes):
            variable = _Variable(f"{label}_{own}", label, series, frames, descriptions, i)
            self._place(variable, is_placed)
            found.append(variable)
        return found

    def _place(self, variable: _Variable, is_placed: bool) -> None:
        """Finds the inner dims of a variable, their sizes and what tells them from others."""
        series = variable.series
        described = series.description
        axes = series.axes
        for i, (dim, size) in enumerate(zip(described.dims, series.shape, strict=True)):
            if i == series.component_axis:
                continue
            base = dim.name.replace("~", "dual_")
            key: Hashable = ("labels", size, dim.labels)
            if dim.name in axes:
                is_face = variable.component is not None and axes[variable.component] == dim.name
                cells = size - (variable.component is not None)
                base, size = (f"{base}_faces", size) if is_face else (base, cells)
                key = ("axis", is_face, cells, self._ends(described, dim.name, is_placed))
            variable.dims.append((base, key))
            variable.shape.append(size)

    def _ends(self, described: FieldDescription, axis: str, is_placed: bool) -> Any:
        """Returns where an axis begins and ends; `None` where that is not the same for all."""
        bounds = grid_bounds(described)
        lower, upper = bounds.lower, bounds.upper
        if not is_placed or lower.data.ndim != 1 or upper.data.ndim != 1:
            return None
        i = bounds.axes.index(axis)
        ends = (float(lower.data[i]), float(upper.data[i]))
        return ends if np.isfinite(ends).all() else None

    def _named_dims(self, variables: list[_Variable]) -> dict[tuple[str, Hashable], str]:
        """Returns the name of each dim, by base name and key, and adds the coordinates of dims."""
        wanted: dict[str, dict[Hashable, list[str]]] = {}
        for variable in variables:
            frame_dim = (FRAME_DIM, ("frames", variable.frames))
            for base, key in (frame_dim, *variable.dims):
                fields = wanted.setdefault(base, {}).setdefault(key, [])
                if variable.fieldname not in fields:
                    fields.append(variable.fieldname)
        taken = {variable.name for variable in variables}
        taken |= {SCENE_DIM, TIME_COORD} if self._is_batch else {TIME_COORD}
        names: dict[tuple[str, Hashable], str] = {}
        for base, by_key in sorted(wanted.items(), key=lambda item: item[0] != FRAME_DIM):
            ranked = sorted(by_key, key=lambda key: (-len(by_key[key]), sorted(by_key[key])[0]))
            for place, key in enumerate(ranked):
                name = base if place == 0 and base not in taken else f"{base}_{by_key[key][0]}"
                while name in taken:
                    name += "_"
                taken.add(name)
                names[base, key] = name
                self._add_coordinate(name, key)
        return names

    def _add_coordinate(self, name: str, key: Any) -> None:
        """Adds the coordinate of a dim, where it has one."""
        if key[0] == "labels" and key[2] is not None:
            self._coords[name] = xr.Variable((name,), np.array(key[2]))
        elif key[0] == "axis" and key[3] is not None:
            _, is_face, cells, (lower, upper) = key
            place = xarray_attrs.faces if is_face else xarray_attrs.cell_centers
            self._coords[name] = xr.Variable((name,), place(lower, upper, cells))
        elif key[0] == "frames":
            self._coords[name] = xr.Variable((name,), np.array(key[1], np.int64))

    def _add_frames(self, variables: list[_Variable], names: Mapping[Any, str]) -> None:
        """Adds the physical times of frames, where any of them has one."""
        times = [source.open().times(scene) for source, scene in self._places]
        for frames in dict.fromkeys(variable.frames for variable in variables):
            dim = names[FRAME_DIM, ("frames", frames)]
            found = np.array([[by.get(f, np.nan) for f in frames] for by in times], np.float64)
            if not np.isfinite(found).any():
                continue
            name = TIME_COORD + dim.removeprefix(FRAME_DIM)
            if self._is_batch and not np.array_equal(found, found[:1].repeat(len(found), 0), True):
                self._coords[name] = xr.Variable((SCENE_DIM, dim), found)
            else:
                self._coords[name] = xr.Variable((dim,), found[0])

    def _data(self, variable: _Variable, names: Mapping[Any, str]) -> xr.Variable:
        """Returns the variable, which reads when it is asked."""
        series = variable.series
        frame_dim = names[FRAME_DIM, ("frames", variable.frames)]
        inner = [names[dim] for dim in variable.dims]
        attrs: dict[str, Any] = {xarray_attrs.FIELD_ATTR: variable.fieldname}
        of_dims = iter(inner)
        axis = series.component_axis
        renamed = [None if i == axis else next(of_dims) for i in range(len(series.dims))]
        attrs |= xarray_attrs.attrs_from_description(series.description)
        if variable.component is not None:
            attrs[xarray_attrs.COMPONENT_ATTR] = series.axes[variable.component]
        attrs[xarray_attrs.VARIABLE_DIMS_ATTR] = json.dumps(renamed)
        attrs[xarray_attrs.SIZES_ATTR] = json.dumps(series.shape)
        attrs[xarray_attrs.FRAME_DIM_ATTR] = frame_dim
        array = FrameArray(
            self._places,
            series,
            np.array(variable.frames, np.int64),
            tuple(variable.shape),
            variable.component,
            is_batch=self._is_batch,
        )
        dims = [SCENE_DIM] * self._is_batch + [frame_dim, *inner]
        chunks = dict(zip(dims, (1,) * (1 + self._is_batch) + tuple(variable.shape), strict=True))
        return xr.Variable(
            dims,
            indexing.LazilyIndexedArray(array),
            attrs,
            encoding={"preferred_chunks": chunks, "source": self._places[0].source.path},
        )

    def _add_descriptions(self, variable: _Variable, names: Mapping[Any, str]) -> None:
        """Adds a coordinate with the description of each frame, where they differ."""
        name = xarray_attrs.description_coord(variable.fieldname)
        if not variable.descriptions or name in self._coords:
            return
        texts: dict[int, str] = {}  # frames mostly share their descriptions
        for described in variable.descriptions.values():
            if id(described) not in texts:
                texts[id(described)] = json.dumps(xarray_attrs.attrs_from_description(described))
        table = [
            [texts[id(variable.descriptions[i, frame])] for frame in variable.frames]
            for i in range(len(self._places))
        ]
        frame_dim = names[FRAME_DIM, ("frames", variable.frames)]
        if self._is_batch:
            coordinate = xr.Variable((SCENE_DIM, frame_dim), np.array(table, object))
        else:
            coordinate = xr.Variable((frame_dim,), np.array(table[0], object))
        self._coords[name] = coordinate


def _form(series: FrameSeries) -> Any:
    """Returns what must agree for two series to be one array."""
    described = series.description
    return series.shape, series.dtype, described.field_type, described.dims
