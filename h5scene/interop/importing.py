"""One scene directory into a scene file.

The scene, its properties, files and curves are one transaction, unless the files are large; then
come the frames, some in each transaction. What a killed import has committed is there, and the next
one finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from h5scene.errors import AlreadyExistsError, FormatError, H5SceneError, InvalidInputError
from h5scene.interop import stored
from h5scene.interop.description_json import DESCRIPTION_FILE
from h5scene.interop.npy import ForeignNpzError
from h5scene.interop.scene_content import FrameFile, OtherFile, SceneContent, field_link
from h5scene.interop.transfer import Options, Transfer

if TYPE_CHECKING:
    from h5scene.record import Array
    from h5scene.scene_file import SceneFile

_TRANSACTION_BYTES = 1 << 26
_FILES_BYTES = 1 << 24  # they are all in memory
_TRANSACTION_ITEMS = 500

Advance = Callable[[int], Any]


@dataclass
class _Present:
    """What the scene file has already."""

    frames: dict[str, set[int]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    arrays: set[str] = field(default_factory=set)
    curves: set[str] = field(default_factory=set)
    properties: set[str] = field(default_factory=set)
    times: set[int] = field(default_factory=set)


def import_scene(
    content: SceneContent, file: SceneFile, options: Options, advance: Advance
) -> Transfer:
    """Brings a scene directory into a scene file.

    Args:
        content: What the directory holds.
        file: Open for writing.
        options: How it is done.
        advance: Is told bytes of files that are done.

    Raises:
        BusyError: Another process is writing and did not finish in time.
        StorageError: The disk is full or failed.
    """
    scene = content.scene
    done = Transfer(scenes=[scene], notes=[f"{scene}: {note}" for note in content.notes])
    for path, error in content.problems:
        done.fail(content.path / path, error)
    present = _Present()
    if file.has_scene(scene) and not options.is_overwriting:
        present = _present(file, scene)
    _import_rest(content, file, present, done, advance)
    chosen = [frame for frame in content.frames if is_chosen(frame, options)]
    missing = []
    for frame in chosen:
        if (
            frame.frame in present.frames.get(_link(frame), ())
            or frame.path in present.files
            or frame.path.removesuffix(".npz") in present.arrays
        ):
            done.skipped += 1
            advance(frame.size_bytes)
        else:
            missing.append(frame)
    for group in _groups(missing, lambda frame: frame.size_bytes, _TRANSACTION_BYTES):
        with file.transaction():
            for frame in group:
                _import_frame(content, file, frame, done)
                advance(frame.size_bytes)
    return done


def is_chosen(frame: FrameFile, options: Options) -> bool:
    """Whether a frame is among those that were asked for."""
    choice = options.choice
    return choice.has_frame(frame.frame) and choice.has_field(frame.field, _link(frame))


def _link(frame: FrameFile) -> str:
    try:
        return field_link(frame.field)
    except InvalidInputError:
        return frame.field


def _present(file: SceneFile, scene: str) -> _Present:
    """Returns what the scene file has already."""
    return _Present(
        frames={name: set(frames) for name, frames in file.frames(scene).items()},
        files=set(file.files(scene)),
        arrays=set(stored.array_names(file, scene)),
        curves=set(file.curves(scene)),
        properties=set(file.properties(scene)),
        times=set(file.times(scene)),
    )


def _import_rest(
    content: SceneContent,
    file: SceneFile,
    present: _Present,
    done: Transfer,
    advance: Advance,
) -> None:
    """Brings everything but the frames into the scene file."""
    scene = content.scene
    try:
        properties = content.read_properties()
    except FormatError as error:
        done.fail(content.path / DESCRIPTION_FILE, error)
        properties = {}
    curves: dict[str, Array] = {}
    needless: set[str] = set()
    try:
        curves, needless = content.read_curves()
    except H5SceneError as error:
        done.fail(content.path, error)
    others = [other for other in content.others if other.name not in needless]
    groups = list(_groups(others, lambda other: other.size_bytes, _FILES_BYTES)) or [[]]
    for i, group in enumerate(groups):
        with file.transaction():
            if i == 0:
                file.create_scene(scene)
                _put_properties(content, file, properties, present, done)
                new = {name: rows for name, rows in curves.items() if name not in present.curves}
                stored.write_curves(file, scene, new)
                for frame, time in content.sidecar.times.items():
                    if frame not in present.times:
                        file.put_times(frame, {scene: time})
                stored.put_modes(file, scene, content.directories)
            _import_others(content, file, group, present, done)
        advance(sum(other.size_bytes for other in group))


def _put_properties(
    content: SceneContent,
    file: SceneFile,
    properties: dict[str, Any],
    present: _Present,
    done: Transfer,
) -> None:
    """Sets the properties one by one: one that cannot be stored does not stop the others."""
    for name, value in properties.items():
        if name not in present.properties:
            try:
                file.put_properties({content.scene: {name: value}})
            except InvalidInputError as error:
                done.fail(content.path / DESCRIPTION_FILE, error)


def _import_others(
    content: SceneContent,
    file: SceneFile,
    group: list[OtherFile],
    present: _Present,
    done: Transfer,
) -> None:
    """Attaches files, all in one go: each call looks at everything that is attached already."""
    contents = {}
    for other in group:
        if other.name in present.files:
            done.skipped += 1
            continue
        try:
            contents[other.name] = content.read_other(other)
        except H5SceneError as error:
            done.fail(content.path / other.path, error)
    if not contents:
        return
    try:
        file.write_files({content.scene: contents})
    except AlreadyExistsError as error:  # a file where the scene file has a directory
        done.fail(content.path, error)
        return
    modes = {other.name: other.mode for other in group if other.name in contents}
    stored.put_modes(file, content.scene, modes)
    done.files += len(contents)
    done.bytes += sum(map(len, contents.values()))


def _import_frame(content: SceneContent, file: SceneFile, frame: FrameFile, done: Transfer) -> None:
    """Brings one npz into the scene file: as a field, else as arrays, else as a file."""
    path, scene = content.path / frame.path, content.scene
    try:
        try:
            record = content.read_record(frame)
        except ForeignNpzError as foreign:
            _import_foreign(content, file, frame, foreign, done)
            return
    except H5SceneError as error:
        done.fail(path, error)
        return
    try:
        file.write_frame(frame.frame, {scene: {frame.field: record}})
        error_size = content.sidecar.rounded.get((frame.field, frame.frame))
        if error_size is not None:
            stored.put_max_relative_error(file, scene, frame.field, frame.frame, error_size)
    except InvalidInputError as error:
        done.fail(path, error)
        return
    done.frames += 1
    done.bytes += record.values.nbytes


def _import_foreign(
    content: SceneContent,
    file: SceneFile,
    frame: FrameFile,
    foreign: ForeignNpzError,
    done: Transfer,
) -> None:
    """Brings an npz that is no field of PhiFlow's into the scene file."""
    reason = f"{content.scene}/{frame.path}: no field of PhiFlow's ({foreign.message}); kept as"
    if frame.is_apart:
        raise foreign
    try:
        arrays = content.read_arrays(frame)
    except ForeignNpzError:
        about = (content.path / frame.path).lstat()
        other = OtherFile(frame.path, frame.path, frame.size_bytes, about.st_mode & 0o777)
        _import_others(content, file, [other], _Present(), done)
        done.notes.append(f"{reason} a file")
        return
    stored.write_arrays(file, content.scene, frame.path.removesuffix(".npz"), arrays)
    shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    done.notes.append(f"{reason} plain arrays: {shapes}")
    done.files += 1
    done.bytes += sum(array.nbytes for array in arrays.values())


def _groups(items: list[Any], size: Callable[[Any], int], most_bytes: int) -> Iterator[list[Any]]:
    """Gives the items in groups, each small enough for a transaction."""
    group: list[Any] = []
    total_bytes = 0
    for item in items:
        if group and (total_bytes + size(item) > most_bytes or len(group) >= _TRANSACTION_ITEMS):
            yield group
            group, total_bytes = [], 0
        group.append(item)
        total_bytes += size(item)
    if group:
        yield group
