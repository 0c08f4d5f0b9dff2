"""What import and export need of a scene file beside the calls of `SceneFile`.

Like those, each is one transaction, or part of the one that is open, and sees one state of the
file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import NotFoundError
from h5scene.format import (
    attached_files,
    descriptions,
    forms,
    groups,
    layout,
    names,
    plain_arrays,
    tables,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from h5scene.record import Array, FieldDescription
    from h5scene.scene_file import SceneFile


@dataclass(frozen=True)
class StoredFrame:
    """A frame without its numbers. An embedded field in its boundary has none either."""

    description: FieldDescription
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    max_relative_error: float = 0.0


@dataclass(frozen=True)
class StoredField:
    """A field without its numbers.

    Attributes:
        link: Name under which it is stored.
        name: Name that was given to it.
        frames: Its frames by number.
    """

    link: str
    name: str
    frames: Mapping[int, StoredFrame]


def stored_fields(file: SceneFile, scene: str) -> list[StoredField]:
    """Returns the fields of a scene and their frames.

    Raises:
        CorruptDataError: A description is not what FORMAT.md says.
    """

    def read(tree: Any) -> list[StoredField]:
        return [_stored_field(tree, scene, link) for link in tree.fieldnames(scene)]

    return file._read(read, scene)


def _stored_field(tree: Any, scene: str, link: str) -> StoredField:
    """Returns one field."""
    group = tree.scene(scene)[link]
    name = groups.read_attribute(group, layout.NAME_ATTR)
    shared = tree._description(scene, link)
    # Frames of one field nearly always have one form, and each is an object of its own.
    known: dict[Any, StoredFrame] = {}
    frames = {}
    for frame in tree.frames(scene, link):
        member = group[names.frame_link(frame)]
        is_own = layout.FIELD_TYPE_ATTR in member.attrs
        dataset = forms.dataset_of(member)
        error = groups.read_attribute(dataset, layout.MAX_RELATIVE_ERROR_ATTR)
        key = (dataset.shape, dataset.dtype.str, error)
        if not is_own and key in known:
            frames[frame] = known[key]
            continue
        frames[frame] = StoredFrame(
            descriptions.read_description(member) if is_own else shared,
            dataset.shape,
            dataset.dtype.newbyteorder("="),
            0.0 if error is None else float(error),
        )
        if not is_own:
            known[key] = frames[frame]
    return StoredField(link, name if isinstance(name, str) else link, frames)


def put_max_relative_error(
    file: SceneFile, scene: str, name: str, frame: int, error: float
) -> None:
    """Notes by how much of their magnitude the values of a frame were rounded."""
    with file._transaction(scene) as tree:
        member = tree.scene(scene)[names.field_link(name)][names.frame_link(frame)]
        dataset = forms.dataset_of(member)
        dataset.attrs[layout.MAX_RELATIVE_ERROR_ATTR] = float(error)


def curve_rows(file: SceneFile, scene: str) -> dict[str, Array]:
    """Returns the curves of a scene: a row for each step, and its values."""
    return {
        name: np.column_stack([curve.steps, curve.values])
        for name, curve in file.curves(scene).items()
    }


def write_curves(file: SceneFile, scene: str, curves: Mapping[str, Array]) -> None:
    """Stores curves, each in place of the one that has its name.

    Raises:
        InvalidNameError: A name is empty or holds a slash.
    """
    for name in curves:
        names.curve_link(name)
    if not curves:
        return
    with file._transaction(scene) as tree:
        group = tree.scene(scene).require_group(layout.CURVES_GROUP)
        for name, rows in curves.items():
            tables.write_table(group, name, names.curve_columns(name, rows.shape[1] - 1), rows)


def read_attached(file: SceneFile, scene: str, name: str) -> bytes:
    """Returns the content of an attached file, without looking at all others first.

    Raises:
        InvalidNameError: The name cannot be that of an attached file.
        NotFoundError: There is none.
        CorruptDataError: It is no file.
    """
    link = names.attached_file_link(name)

    def read(tree: Any) -> bytes:
        group = tree.scene(scene).get(layout.FILES_GROUP, {})
        if link not in group:
            raise NotFoundError(f"no file {name!r} is attached to {tree.where(scene)}")
        return attached_files.read_bytes(group[link])

    return file._read(read, scene)


def file_modes(file: SceneFile, scene: str) -> dict[str, int | None]:
    """Returns the mode of each attached file; `None` where it is not known."""
    return file._read(lambda tree: attached_files.attached_modes(tree.scene(scene)), scene)


def directories(file: SceneFile, scene: str) -> dict[str, int | None]:
    """Returns the directories of attached files, empty ones too, with their modes."""
    return file._read(lambda tree: attached_files.attached_directories(tree.scene(scene)), scene)


def put_modes(file: SceneFile, scene: str, modes: Mapping[str, int]) -> None:
    """Notes modes of attached files and directories; directories are made where they are missing.

    Raises:
        InvalidNameError: A name cannot be that of an attached file.
    """
    for name in modes:
        names.attached_file_link(name)
    if modes:
        with file._transaction(scene) as tree:
            group = tree.scene(scene)
            for name, mode in modes.items():
                attached_files.set_mode(group, name, mode)


def array_names(file: SceneFile, scene: str) -> tuple[str, ...]:
    """Returns the names of the arrays of a scene that are no fields."""
    return file._read(lambda tree: plain_arrays.array_names(tree.scene(scene)), scene)


def read_arrays(file: SceneFile, scene: str, name: str) -> dict[str, Array]:
    """Returns arrays that are no fields."""
    return file._read(
        lambda tree: plain_arrays.read_arrays(tree.scene(scene), name, workers=file._workers), scene
    )


def write_arrays(file: SceneFile, scene: str, name: str, arrays: Mapping[str, Array]) -> None:
    """Stores arrays that are no fields, in place of those that have the name.

    Raises:
        InvalidNameError: The name is empty or not printable.
        UnsupportedFieldError: One of them holds no numbers.
    """
    names.curve_link(name)
    with file._transaction(scene) as tree:
        plain_arrays.write_arrays(
            tree.scene(scene), name, arrays, file._compression, workers=file._workers
        )


def adopt_scene(file: SceneFile, other: SceneFile, scene: str) -> None:
    """Copies a scene from another file, its chunks as they are; there must be none of its name."""

    def copy(tree: Any) -> None:
        with file._transaction(scene) as own:
            tree.h5.copy(tree.scene(scene), own.h5, name=scene)

    other._read(copy, scene)
