"""Whether a scene directory and a scene of a file hold the same: both are read, all is compared."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from h5scene.errors import CorruptDataError, H5SceneError
from h5scene.interop import stored
from h5scene.interop.description_json import DESCRIPTION_FILE, same_value
from h5scene.interop.importing import is_chosen
from h5scene.interop.npy import ForeignNpzError
from h5scene.interop.plain_trees import same
from h5scene.record import same_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from h5scene.interop.scene_content import FrameFile, SceneContent
    from h5scene.interop.transfer import Options
    from h5scene.scene_file import SceneFile

Difference = tuple[str, H5SceneError]


def differences(
    content: SceneContent, file: SceneFile, options: Options, *, is_export: bool
) -> Iterator[Difference]:
    """Gives what differs between a scene directory and the scene of its name, by path.

    What cannot be read from the directory is left out: that was said when it was imported.

    Args:
        content: The directory.
        file: The scene file.
        options: Which fields and frames are compared.
        is_export: Whether the scene file is the original: all that it holds must be there.
    """
    scene = content.scene
    if not file.has_scene(scene):
        yield scene, CorruptDataError("there is no such scene in the file")
        return
    frames = [frame for frame in content.frames if is_chosen(frame, options)]
    compared = set()
    for frame in frames:
        compared.add((frame.field, frame.frame))
        yield from _checked(frame.path, partial(_compare_frame, content, file, frame))
    if is_export:
        choice = options.choice
        for one in stored.stored_fields(file, scene):
            for number in one.frames if choice.has_field(one.link, one.name) else ():
                if choice.has_frame(number) and (one.name, number) not in compared:
                    yield one.name, CorruptDataError(f"frame {number} was not written")
    yield from _checked(DESCRIPTION_FILE, lambda: _compare_properties(content, file, is_export))
    yield from _checked("curves", lambda: _compare_curves(content, file, is_export))
    yield from _compare_others(content, file, is_export)
    times = file.times(scene)
    if any(times.get(frame) != time for frame, time in content.sidecar.times.items()) or (
        is_export and times != content.sidecar.times
    ):
        yield "times", CorruptDataError("the physical times differ")


def _checked(path: str, compare: Callable[[], str | None]) -> Iterator[Difference]:
    """Gives a difference, or the error that it could not be looked for."""
    try:
        found = compare()
    except H5SceneError as error:
        yield path, error
    else:
        if found is not None:
            yield path, CorruptDataError(found)


def _compare_frame(content: SceneContent, file: SceneFile, frame: FrameFile) -> str | None:
    """Returns how a frame differs."""
    scene = content.scene
    try:
        record = content.read_record(frame)
    except ForeignNpzError:
        return _compare_foreign(content, file, frame)
    found = file.read_frame(scene, frame.field, frame.frame)
    if found.description != record.description:
        return "the descriptions of the field differ"
    if found.geometry != record.geometry or found.structure != record.structure:
        return "the geometry differs, or where the values belong"
    if not same_bits(found.values, record.values):
        return "the values differ"
    error = content.sidecar.rounded.get((frame.field, frame.frame), 0.0)
    if file.max_relative_error(scene, frame.field, frame.frame) != error:
        return "the values are rounded differently"
    return None


def _compare_foreign(content: SceneContent, file: SceneFile, frame: FrameFile) -> str | None:
    """Returns how an npz that is no field differs."""
    name = frame.path.removesuffix(".npz")
    if name in stored.array_names(file, content.scene):
        arrays = content.read_arrays(frame)
        if not same(arrays, stored.read_arrays(file, content.scene, name)):
            return "the arrays differ"
        return None
    known = {other.path for other in content.others}
    if frame.path in known or frame.path in file.files(content.scene):
        return None
    return "neither the arrays nor the file are there"


def _compare_properties(content: SceneContent, file: SceneFile, is_export: bool) -> str | None:
    """Returns how the properties differ."""
    ours, theirs = file.properties(content.scene), content.read_properties()
    wrong = [
        name
        for name, value in theirs.items()
        if name not in ours or not same_value(ours[name], value)
    ]
    if is_export:
        wrong += [name for name in ours if name not in theirs]
    return f"properties differ: {', '.join(sorted(wrong))}" if wrong else None


def _compare_curves(content: SceneContent, file: SceneFile, is_export: bool) -> str | None:
    """Returns how the curves differ."""
    ours = stored.curve_rows(file, content.scene)
    theirs, _ = content.read_curves()
    wrong = [
        name for name, rows in theirs.items() if name not in ours or not same_bits(ours[name], rows)
    ]
    if is_export:
        wrong += [name for name in ours if name not in theirs]
    return f"curves differ: {', '.join(sorted(wrong))}" if wrong else None


def _compare_others(
    content: SceneContent, file: SceneFile, is_export: bool
) -> Iterator[Difference]:
    """Gives the attached files and directories that differ."""
    scene = content.scene
    modes = stored.file_modes(file, scene)
    _, needless = content.read_curves()
    for other in content.others:
        if other.name in needless:
            continue
        if other.name not in modes:
            yield other.name, CorruptDataError("the file is not there")
            continue

        def compare(other: Any = other) -> str | None:
            if content.read_other(other) != stored.read_attached(file, scene, other.name):
                return "the files differ"
            mode = modes[other.name]
            return None if mode in (None, other.mode) else f"the mode is {mode:o}"

        yield from _checked(other.name, compare)
    directories = stored.directories(file, scene)
    for name in content.directories:
        if name not in directories:
            yield name, CorruptDataError("the directory is not there")
    if is_export:
        names = {other.name for other in content.others} | {frame.path for frame in content.frames}
        for name in modes:
            if name not in names:
                yield name, CorruptDataError("the file was not written")
        for name in directories:
            if name not in content.directories:
                yield name, CorruptDataError("the directory was not made")
