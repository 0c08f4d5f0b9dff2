"""What stands in a scene file, read as quickly as it can be listed.

A file of 10,000 scenes or 100,000 frames is listed within a second: names are read as they lie, and
of the frames of a field only a few are looked at, unless all of them are asked for.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError, FormatError
from h5scene.format import attached_files, groups, layout, names, plain_arrays, properties
from h5scene.format.json_values import load_json
from h5scene.handling.stored_objects import CountedObjects
from h5scene.record import TensorRecord
from h5scene.store.access import access_of
from h5scene.store.gate import SafeGroup, text_attribute
from h5scene.store.links import open_member

if TYPE_CHECKING:
    from collections.abc import Callable

    from h5scene.scene_file import SceneFile

SAMPLED_FRAMES = 9
"""Frames of a field that are measured, spread over all of them."""

# What h5py raises for objects that are damaged, or are not what they should be.
_CHECKSUMS = (layout.CHECKSUM_ATTR, layout.DESCRIPTION_CHECKSUM_ATTR)
_DAMAGE = (FormatError, KeyError, OSError, RuntimeError, ValueError, TypeError, AttributeError)


@dataclass(frozen=True)
class StoredSize:
    """How much room values take.

    Attributes:
        stored_bytes: In the file, without metadata.
        value_bytes: In memory.
        is_exact: Whether each frame was measured. Else a few were, and the rest is taken to be
            like them.
    """

    stored_bytes: int = 0
    value_bytes: int = 0
    is_exact: bool = True

    @property
    def ratio(self) -> float | None:
        """How many times smaller the values are in the file."""
        return self.value_bytes / self.stored_bytes if self.stored_bytes else None

    def __add__(self, other: StoredSize) -> StoredSize:
        return StoredSize(
            self.stored_bytes + other.stored_bytes,
            self.value_bytes + other.value_bytes,
            self.is_exact and other.is_exact,
        )


@dataclass(frozen=True)
class FieldSummary:
    """One field of a scene.

    Attributes:
        name: Of the field.
        frame_count: Number of frames.
        first_frame: Smallest frame number, or None without frames.
        last_frame: Largest frame number.
        field_type: Such as `CenteredGrid`; None where it was not looked at, or is damaged.
        dims: Names of the dims of the values.
        shape: Shape of the first frame.
        dtype: Of the first frame.
        size: Of the values of all frames.
        objects: Of what else stands in the frames: geometries, and arrays of boundaries. What
            frames and fields share counts for the first of them that was measured.
        problem: What is damaged, or None.
    """

    name: str
    frame_count: int = 0
    first_frame: int | None = None
    last_frame: int | None = None
    field_type: str | None = None
    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str | None = None
    size: StoredSize = field(default_factory=StoredSize)
    objects: StoredSize = field(default_factory=StoredSize)
    problem: str | None = None

    @property
    def whole_size(self) -> StoredSize:
        """Room that the frames take, with all that stands in them."""
        return self.size + self.objects


@dataclass(frozen=True)
class SceneSummary:
    """One scene.

    Attributes:
        name: Of the scene.
        fields: Its fields, sorted by name.
        properties: Its properties; tensors in them are `TensorRecord`.
        files: Names of the attached files.
        curves: Names of the scalar curves.
        arrays: Names of arrays that are no fields.
        is_timed: Whether frames have physical times.
        problem: What is damaged, or None.
    """

    name: str
    fields: tuple[FieldSummary, ...] = ()
    properties: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    arrays: tuple[str, ...] = ()
    is_timed: bool = False
    problem: str | None = None

    @property
    def size(self) -> StoredSize:
        """Room that all frames take."""
        return sum((one.whole_size for one in self.fields), StoredSize())

    @property
    def frame_range(self) -> tuple[int, int] | None:
        """Smallest and largest frame number of all fields."""
        found = [
            (one.first_frame, one.last_frame) for one in self.fields if one.first_frame is not None
        ]
        if not found:
            return None
        return min(first for first, _ in found), max(last or 0 for _, last in found)


@dataclass(frozen=True)
class FileSummary:
    """A scene file.

    Attributes:
        path: Of the file.
        size_bytes: Its length.
        format_version: Of the file format.
        creator: Which program made it.
        scene_count: Number of its scenes.
    """

    path: str
    size_bytes: int
    format_version: str
    creator: str
    scene_count: int


def summarize_file(file: SceneFile) -> FileSummary:
    """Returns what is known of a file without looking into its scenes."""

    def read(tree: Any) -> FileSummary:
        return FileSummary(
            path=file.path,
            size_bytes=Path(file.path).stat().st_size,
            format_version=str(groups.read_attribute(tree.h5, layout.FORMAT_ATTR)),
            creator=str(groups.read_attribute(tree.h5, layout.CREATOR_ATTR) or "unknown"),
            scene_count=len(tree.scene_names()),
        )

    return file._read(read)


def summarize_scenes(
    file: SceneFile,
    scenes: list[str] | tuple[str, ...] | None = None,
    *,
    is_exact: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> list[SceneSummary]:
    """Returns what stands in scenes, damaged ones too.

    Args:
        file: The scene file.
        scenes: Names of the scenes; all of them by default.
        is_exact: Whether to measure each frame.
        on_progress: Is called with the number of scenes that are done, and of all.

    Raises:
        SceneNotFoundError: There is no such scene.
    """

    def read(tree: Any) -> list[SceneSummary]:
        chosen = tree.scene_names() if scenes is None else scenes
        found, counted = [], CountedObjects()
        for i, name in enumerate(chosen):
            if on_progress is not None:
                on_progress(i, len(chosen))
            tree.check_scene(name)
            group = SafeGroup.of(h5py.h5g.open(tree.h5.id, name.encode()), access_of(tree.h5))
            try:
                found.append(_scene(name, group, counted, is_exact))
            except _DAMAGE as error:
                found.append(SceneSummary(name, problem=_said(error)))
        return found

    return file._read(read)


def summarize_field(
    file: SceneFile,
    scene: str,
    name: str,
    *,
    is_exact: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> FieldSummary:
    """Returns what stands in one field.

    Raises:
        FieldNotFoundError: There is no such field.
        SceneNotFoundError: There is no such scene.
    """

    def read(tree: Any) -> FieldSummary:
        link = tree.find_field(scene, name)
        group = tree.scene(scene)[link]
        return _field(group, link, CountedObjects(), is_exact=is_exact, on_progress=on_progress)

    return file._read(read, scene)


def read_attributes(
    file: SceneFile, scene: str, name: str, frame: int | None = None
) -> dict[str, Any]:
    """Returns the description of a field, or of one of its frames, as it stands in the file.

    JSON is read; whatever kind of field it is.

    Raises:
        FrameNotFoundError: The field is not stored for this frame.
        FieldNotFoundError: There is no such field.
        SceneNotFoundError: There is no such scene.
    """

    def read(tree: Any) -> dict[str, Any]:
        link = tree.find_field(scene, name)
        source = tree.scene(scene)[link]
        if frame is not None:
            path, _ = tree.stored_frame(scene, name, frame)
            member = tree.h5[path]
            if layout.FIELD_TYPE_ATTR in member.attrs:
                source = member
        found = {}
        for key in groups.text_names(source.attrs):
            if key in _CHECKSUMS:
                continue
            if key in layout.SCENE_ATTRS:
                continue
            value = groups.read_attribute(source, key, may_be_array=True)
            if isinstance(value, str):
                with suppress(FormatError):  # plain text
                    value = load_json(value)
            found[key] = value
        return found

    return file._read(read, scene)


def attached_sizes(file: SceneFile, scene: str) -> dict[str, int]:
    """Returns how many bytes each attached file of a scene has.

    Raises:
        SceneNotFoundError: There is no such scene.
    """

    def read(tree: Any) -> dict[str, int]:
        group = tree.scene(scene)
        found = attached_files.attached_files(group)
        return {name: int(group[layout.FILES_GROUP][name].size) for name in found}

    return file._read(read, scene)


def json_value(value: Any) -> Any:
    """Returns a value of a file as what `json.dumps` takes; NaN and the like as strings."""
    if isinstance(value, TensorRecord):
        dims = [{"name": dim.name, "type": dim.type, "labels": dim.labels} for dim in value.dims]
        return {"dims": dims, "dtype": str(value.data.dtype), "data": json_value(value.data)}
    if isinstance(value, dict):
        return {str(key): json_value(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(one) for one in value]
    if isinstance(value, np.ndarray):
        return json_value(value.tolist())
    if isinstance(value, np.generic):
        return json_value(value.item())
    if isinstance(value, complex):
        return [json_value(value.real), json_value(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)


# --- inside ---------------------------------------------------------------------------------------


def _scene(name: str, group: SafeGroup, counted: CountedObjects, is_exact: bool) -> SceneSummary:
    """Returns what stands in one scene."""
    links: list[bytes] = []
    group.id.links.iterate(links.append)
    fields = []
    for link in sorted(links):
        text = link.decode(errors="surrogateescape")
        if text.startswith(layout.RESERVED_PREFIX):
            continue
        try:
            opened = open_member(group, link)
        except _DAMAGE as error:
            fields.append(FieldSummary(text, problem=_said(error)))
            continue
        if groups.kind_of(opened) != layout.FIELD_KIND:
            continue
        member = SafeGroup.of(opened, group.access)
        fields.append(_field(member, text, counted, is_exact))
    problem = None
    values: dict[str, Any] = {}
    try:
        values = properties.read_properties(group)
    except _DAMAGE as error:
        problem = _said(error)
    return SceneSummary(
        name,
        tuple(fields),
        values,
        attached_files.attached_files(group) if layout.FILES_GROUP.encode() in links else (),
        _member_names(group, links, layout.CURVES_GROUP),
        plain_arrays.array_names(group) if layout.ARRAYS_GROUP.encode() in links else (),
        layout.TIMES_DATASET.encode() in links,
        problem,
    )


def _member_names(scene: h5py.Group, links: list[bytes], name: str) -> tuple[str, ...]:
    """Returns the names in a group of a scene, which need not exist."""
    group = scene[name] if name.encode() in links else None
    return tuple(sorted(groups.text_names(group))) if isinstance(group, h5py.Group) else ()


def _frames_of(group: SafeGroup, name: str) -> tuple[FieldSummary, list[int]]:
    """Returns name and frames of a field, and the numbers of the frames, in no order."""
    links: list[bytes] = []
    group.id.links.iterate(links.append)
    numbers = [
        # Nearly all of them are six digits, and there may be very many.
        int(link) if len(link) == layout.MIN_FRAME_DIGITS and link.isdigit() else _number(link)
        for link in links
    ]
    frames = [number for number in numbers if number is not None]
    if not frames:
        return FieldSummary(name), []
    return FieldSummary(name, len(frames), min(frames), max(frames)), frames


def _number(link: bytes) -> int | None:
    """Returns the number of a frame; `None` where the link is none."""
    return names.frame_of_link(link.decode(errors="surrogateescape"))


def _field(
    group: SafeGroup,
    name: str,
    counted: CountedObjects,
    is_exact: bool = False,
    on_progress: Callable[[int, int], object] | None = None,
) -> FieldSummary:
    """Returns what stands in one field."""
    found, frames = _frames_of(group, name)
    try:
        field_type = text_attribute(group.id, layout.FIELD_TYPE_ATTR.encode())
        if field_type is None:
            raise CorruptDataError("the description of the field is missing")
        found = replace(found, field_type=field_type)
        stored_dims = text_attribute(group.id, layout.DIMS_ATTR.encode())
        if stored_dims is not None:
            dims = tuple(str(dim["name"]) for dim in load_json(stored_dims))
            found = replace(found, dims=dims)
        if found.first_frame is not None:
            values, _ = _values(group, found.first_frame)
            found = replace(found, shape=values.shape, dtype=str(values.dtype))
            size, objects = _sizes(group, frames, counted, is_exact, on_progress)
            found = replace(found, size=size, objects=objects)
    except _DAMAGE as error:
        found = replace(found, problem=_said(error))
    return found


def _values(field_group: SafeGroup, frame: int) -> tuple[Any, SafeGroup | None]:
    """Returns the dataset of the values of a frame, as HDF5's identifier, and its group if any."""
    opened = open_member(field_group, names.frame_link(frame))
    group = None
    if isinstance(opened, h5py.h5g.GroupID):
        group = SafeGroup.of(opened, field_group.access)
        opened = open_member(group, layout.VALUES_DATASET)
    if not isinstance(opened, h5py.h5d.DatasetID):
        raise CorruptDataError(f"frame {frame} has no values")
    return opened, group


def _sizes(
    group: SafeGroup,
    frames: list[int],
    counted: CountedObjects,
    is_exact: bool,
    on_progress: Callable[[int, int], object] | None,
) -> tuple[StoredSize, StoredSize]:
    """Returns how much room frames take, values and the rest: of all, or as a few let expect."""
    count = len(frames)
    if is_exact or count <= SAMPLED_FRAMES:
        measured = frames
    else:
        frames = sorted(frames)
        measured = [
            frames[round(i * (count - 1) / (SAMPLED_FRAMES - 1))] for i in range(SAMPLED_FRAMES)
        ]
    stored = in_memory = 0
    further: list[tuple[int, int]] = []
    for i, number in enumerate(measured):
        values, frame = _values(group, number)
        stored += values.get_storage_size()
        in_memory += math.prod(values.shape) * values.dtype.itemsize
        if frame is not None:
            further.append(counted.count(frame))
        if on_progress is not None and i % 256 == 0:
            on_progress(i, len(measured))
    share, has_all = count / len(measured), count == len(measured)
    size = StoredSize(round(stored * share), round(in_memory * share), has_all)
    # A frame that brings nothing new shares what it has; the first one may bring what others share.
    if all(size_bytes == 0 for size_bytes, _ in further[1:]):
        share = 1
    objects = StoredSize(
        round(sum(size_bytes for size_bytes, _ in further) * share),
        round(sum(size_bytes for _, size_bytes in further) * share),
        has_all,
    )
    return size, objects


def _said(error: Exception) -> str:
    """Returns what an error says, in one line."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__
