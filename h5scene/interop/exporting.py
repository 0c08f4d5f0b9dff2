"""One scene of a scene file into a directory that PhiFlow reads.

First comes a plan, from the descriptions alone: which frame goes where, and what npz cannot hold.
Then each file is written beside its final name and moved there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import CorruptDataError, H5SceneError, UnsafeFileError
from h5scene.format import names
from h5scene.interop import sidecar as beside
from h5scene.interop import stored
from h5scene.interop.description_json import (
    DESCRIPTION_FILE,
    TENSORS_KEY,
    description_from_properties,
)
from h5scene.interop.log_text import log_name, log_of_curve
from h5scene.interop.npz import DATA, NpzForm, form_of, stem_of, without_stem
from h5scene.interop.npz_archive import NpzArchive, PackedMember, pack, write_npz
from h5scene.interop.npz_boundaries import CannotHoldError
from h5scene.interop.safe_files import (
    is_device_name,
    make_directory,
    opened_for_reading,
    write_aside,
)
from h5scene.interop.scene_content import frame_file, frame_of_file, usual_stem
from h5scene.interop.sidecar import FOLDER, INDEX, ROWS, Sidecar
from h5scene.interop.transfer import Options, Transfer

if TYPE_CHECKING:
    from pathlib import Path

    from h5scene.interop.stored import StoredField, StoredFrame
    from h5scene.record import Array
    from h5scene.scene_file import SceneFile

_MAX_STEM_BYTES = 200
_MAX_FRAME = 999_999  # PhiFlow takes the last six digits of a name for the frame

Advance = Callable[[int], Any]


@dataclass(frozen=True)
class PlannedFrame:
    """Where one frame goes.

    Attributes:
        path: Relative to the scene directory.
        form: Form of the npz; `None` for a file beside the npz files.
        described: File beside them that holds the description; `None` if the npz holds it.
    """

    name: str
    frame: int
    path: str
    size_bytes: int
    form: int | None = None
    described: str | None = None


@dataclass
class ScenePlan:
    """What an export of a scene will write.

    Attributes:
        directory: Name of the directory of the scene.
        names: Files by the names that are attached, and where they go.
        beside: What npz cannot hold, a line each.
    """

    scene: str
    directory: str
    frames: list[PlannedFrame] = field(default_factory=list)
    forms: list[NpzForm] = field(default_factory=list)
    descriptions: dict[str, Any] = field(default_factory=dict)
    arrays: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    modes: dict[str, int | None] = field(default_factory=dict)
    directories: dict[str, int | None] = field(default_factory=dict)
    logs: dict[str, bytes] = field(default_factory=dict)
    curves: dict[str, Array] = field(default_factory=dict)
    description: bytes | None = None
    sidecar: Sidecar = field(default_factory=Sidecar)
    beside: list[str] = field(default_factory=list)
    problems: list[tuple[str, H5SceneError]] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(frame.size_bytes for frame in self.frames)


class _Names:
    """The names that are taken in a directory, as the file system compares them."""

    def __init__(self, ignores_case: bool):
        self._ignores_case = ignores_case
        self._taken: set[str] = set()

    def take(self, name: str) -> bool:
        """Whether the name was free; it is taken now."""
        key = name.casefold() if self._ignores_case else name
        if key in self._taken:
            return False
        self._taken.add(key)
        return True


# --- the plan -------------------------------------------------------------------------------------


def plan_scene(
    file: SceneFile, scene: str, directory: str, options: Options, *, ignores_case: bool
) -> ScenePlan:
    """Returns what the export of a scene will write."""
    plan = ScenePlan(scene, directory)
    if directory != scene:
        plan.sidecar.scene = scene
    taken = _Names(ignores_case)
    taken.take(FOLDER)
    properties = _plan_properties(file, scene, plan)
    if properties:
        taken.take(DESCRIPTION_FILE)
    _plan_fields(file, scene, plan, options, taken)
    for name in stored.array_names(file, scene):
        where = f"{name}.npz"
        if not _is_plain(where) or "/" in where or not taken.take(where):
            error = UnsafeFileError(f"arrays {name!r} have a name that no file can have")
            plan.problems.append((f"_arrays/{name}", error))
        else:
            plan.arrays.append(name)
    _plan_files(file, scene, plan, taken)
    times = file.times(scene)
    if times:
        plan.sidecar.times = times
        plan.beside.append(f"physical times of {len(times)} frames")
    return plan


def _plan_properties(file: SceneFile, scene: str, plan: ScenePlan) -> bool:
    """Plans `description.json`; returns whether there is one."""
    try:
        properties = file.properties(scene)
        if not properties:
            return False
        plan.description, inexact = description_from_properties(properties)
    except CorruptDataError as error:
        plan.problems.append(("properties", error))
        return False
    plan.sidecar.properties = inexact
    if inexact:
        shown = ", ".join(name for name in sorted(inexact) if name != TENSORS_KEY) or TENSORS_KEY
        plan.beside.append(f"the exact values of properties: {shown}")
    return True


def _plan_fields(
    file: SceneFile, scene: str, plan: ScenePlan, options: Options, taken: _Names
) -> None:
    """Plans where the frames go."""
    choice = options.choice
    fields = [f for f in stored.stored_fields(file, scene) if choice.has_field(f.link, f.name)]
    # The field that has the name of its files in lower case already has the better claim to it.
    fields.sort(key=lambda f: (f.link != usual_stem(f.link), f.link))
    owners: dict[str, str] = {}
    known: list[tuple[StoredFrame, Any]] = []
    for stored_field in fields:
        reasons: dict[str, list[int]] = {}
        try:
            is_safe = names.field_link(stored_field.link) == stored_field.link
            is_named = names.field_link(stored_field.name) == stored_field.link
        except H5SceneError:
            is_safe = is_named = False
        if not is_safe or not is_named:
            error = UnsafeFileError(f"{stored_field.link!r} is no name of a field")
            plan.problems.append((stored_field.link, error))
            continue
        for frame, about in stored_field.frames.items():
            if choice.has_frame(frame):
                form = _form(about, known, plan)
                reason = _plan_frame(plan, stored_field, frame, about, form, owners, taken)
                if reason:
                    reasons.setdefault(reason, []).append(frame)
        for reason, frames in reasons.items():
            plan.beside.append(f"{stored_field.name}, {_counted(frames)}: {reason}")


def _form(about: StoredFrame, known: list[tuple[StoredFrame, Any]], plan: ScenePlan) -> Any:
    """Returns the number of the form of a frame and whether it is exact, or why there is none."""
    for other, earlier in reversed(known):
        if other is about or _is_alike(other, about):
            return earlier
    description = about.description
    found: Any
    try:
        if _has_arrays(description.boundary):
            raise CannotHoldError("a boundary with a field or a large array")
        form, again = form_of(description, about.shape, about.dtype)
        stem = stem_of(description)
        is_exact = again == without_stem(description)
        described = None
        if not is_exact:
            described = f"descriptions/{len(plan.descriptions):06d}.npz"
            plan.descriptions[described] = description
        plan.forms.append(form)
        found = (len(plan.forms) - 1, described, stem)
    except CannotHoldError as error:
        found = str(error)
    known.append((about, found))
    return found


def _is_alike(a: StoredFrame, b: StoredFrame) -> bool:
    same_array = (a.shape, a.dtype) == (b.shape, b.dtype)
    return same_array and (a.description is b.description or a.description == b.description)


def _has_arrays(boundary: Any) -> bool:
    """Whether a boundary, as it is described, names datasets."""
    if not isinstance(boundary, dict):
        return False
    is_named = isinstance(boundary.get("values"), str)
    return is_named or any(_has_arrays(part) for part in boundary.values())


def _plan_frame(
    plan: ScenePlan,
    stored_field: StoredField,
    frame: int,
    about: StoredFrame,
    form: Any,
    owners: dict[str, str],
    taken: _Names,
) -> str | None:
    """Plans where one frame goes; returns what npz cannot hold of it."""
    name, link = stored_field.name, stored_field.link
    size_bytes = int(np.prod(about.shape, dtype=np.int64)) * about.dtype.itemsize
    if about.max_relative_error:
        plan.sidecar.rounded[name, frame] = about.max_relative_error
    reason = None
    if isinstance(form, str):
        reason = form
    else:
        number, described, given = form
        stem = usual_stem(link)
        if given is not None and _is_stem(given, link):
            stem = given
        path = frame_file(stem, frame)
        if frame > _MAX_FRAME and stem != given:
            reason = "frames above 999,999"
        elif len(stem.encode()) > _MAX_STEM_BYTES:
            reason = "a name that is too long for a file"
        elif owners.setdefault(stem, name) != name or not taken.take(path):
            reason = f"a name that differs from {owners[stem]!r} in case only"
        else:
            planned = PlannedFrame(name, frame, path, size_bytes, number, described)
            plan.frames.append(planned)
            if stem != name:
                plan.sidecar.names[stem] = name
            return None if described is None else "details of the bounds, boundary or dims"
    place = f"frames/{len(plan.sidecar.apart):06d}.npz"
    plan.sidecar.apart[name, frame] = place
    plan.frames.append(PlannedFrame(name, frame, f"{FOLDER}/{place}", size_bytes))
    return f"{reason}, so PhiFlow will not see it"


def _is_stem(stem: str, link: str) -> bool:
    """Whether files of a field may begin like this."""
    try:
        is_of_field = names.field_link(stem) == link and frame_of_file(frame_file(stem, 0))
        names.attached_file_link(frame_file(stem, 0))
    except H5SceneError:
        return False
    return bool(is_of_field) and "/" not in stem


def _counted(frames: list[int]) -> str:
    """Returns frames for a message."""
    return f"frame {frames[0]}" if len(frames) == 1 else f"{len(frames)} frames"


def _plan_files(file: SceneFile, scene: str, plan: ScenePlan, taken: _Names) -> None:
    """Plans attached files, directories and curves."""
    plan.modes = stored.file_modes(file, scene)
    attached = dict.fromkeys(plan.modes)
    try:
        curves = stored.curve_rows(file, scene)
    except CorruptDataError as error:
        plan.problems.append(("_curves", error))
        curves = {}
    for name, rows in curves.items():
        where = log_name(name)
        given = stored.read_attached(file, scene, where) if where in attached else None
        text = log_of_curve(rows, given) if _is_plain(where) and "/" not in where else None
        if text is not None and taken.take(where):
            plan.logs[where] = text
            attached.pop(where, None)
        else:
            place = f"curves/{len(plan.curves):06d}.npz"
            plan.curves[place] = rows
            plan.sidecar.curves[name] = place
            plan.beside.append(f"curve {name!r}, of which no text says the same")
    directories = stored.directories(file, scene)
    for name, mode in directories.items():
        if not _is_attachable(name):
            plan.problems.append((f"_files/{name}", UnsafeFileError("no name of a directory")))
        elif _is_plain(name) and name.split("/")[0] != FOLDER and taken.take(name):
            plan.directories[name] = mode
        else:
            plan.sidecar.directories[name] = 0o755 if mode is None else mode
            plan.beside.append(f"directory {name!r}, whose name cannot stand there")
    for name in attached:
        folder = name.rpartition("/")[0]
        is_placed = not folder or folder in plan.directories
        if not _is_attachable(name):
            plan.problems.append((f"_files/{name}", UnsafeFileError("no name of a file")))
        elif _is_plain(name) and is_placed and taken.take(name):
            plan.files[name] = name
        else:
            place = f"files/{len(plan.sidecar.files):06d}"
            plan.files[name] = f"{FOLDER}/{place}"
            plan.sidecar.files[name] = place
            mode = plan.modes[name]
            plan.sidecar.modes[name] = 0o644 if mode is None else mode
            plan.beside.append(f"file {name!r}, whose name cannot stand there")


def _is_attachable(name: str) -> bool:
    try:
        names.attached_file_link(name)
    except H5SceneError:
        return False
    return True


def _is_plain(name: str) -> bool:
    """Whether every system takes a path for that of an ordinary file below the directory."""
    return _is_attachable(name) and not any(
        is_device_name(part) or len(part.encode()) > 240 for part in name.split("/")
    )


# --- writing --------------------------------------------------------------------------------------


def export_scene(
    file: SceneFile, plan: ScenePlan, parent: Path, options: Options, advance: Advance
) -> Transfer:
    """Writes a scene as planned.

    Raises:
        UnsafeFileError: The directory of the scene is a link.
        StorageError: The disk is full or failed.
    """
    done = Transfer(scenes=[plan.scene])
    for where, error in plan.problems:
        done.fail(f"{file.path}/{plan.scene}/{where}", error)
    root = make_directory(parent, plan.directory)
    writer = _Writer(file, plan, root, options, done)
    writer.write_rest()
    for frame in plan.frames:
        writer.write_frame(frame)
        advance(frame.size_bytes)
    writer.write_sidecar()
    return done


class _Writer:
    """The files of one scene directory, one after the other."""

    def __init__(
        self, file: SceneFile, plan: ScenePlan, root: Path, options: Options, done: Transfer
    ):
        self._file = file
        self._plan = plan
        self._root = root
        self._options = options
        self._done = done
        self._packed: dict[int, dict[str, PackedMember]] = {}

    def write_rest(self) -> None:
        """Writes everything but the frames."""
        plan = self._plan
        for name in plan.directories:
            make_directory(self._root, name)
        if plan.description is not None:
            self._write(DESCRIPTION_FILE, plan.description)
        for name, text in plan.logs.items():
            self._write(name, text, plan.modes.get(name))
        for name, path in plan.files.items():
            self._write_attached(name, path)
        for name in plan.arrays:
            self._write_arrays(name)
        for name, mode in sorted(plan.directories.items(), reverse=True):
            if mode is not None:
                (self._root / name).chmod(mode & 0o777 | 0o700)

    def write_frame(self, frame: PlannedFrame) -> None:
        """Writes one frame."""
        plan = self._plan
        if not self._is_wanted(frame.path):
            self._done.skipped += 1
            self._note_description(frame)
            return
        try:
            record = self._file.read_frame(plan.scene, frame.name, frame.frame)
            if frame.form is None:
                members = beside.packed_record(record)
            else:
                form = plan.forms[frame.form]
                if record.values.shape != form.values_shape:
                    raise CorruptDataError("it changed while it was exported; export it again")
                data = form.data_from_values(record.values)
                small = self._packed_members(frame.form)
                members = {name: data if name == DATA else small[name] for name in form.order}
        except H5SceneError as error:
            self._done.fail(f"{self._file.path}/{plan.scene}/{frame.name}/{frame.frame:06d}", error)
            return
        self._write_npz(frame.path, members)
        self._done.frames += 1
        self._done.bytes += record.values.nbytes
        self._note_description(frame)

    def write_sidecar(self) -> None:
        """Writes what stands beside the npz files; removes what an earlier export left there."""
        plan, index = self._plan, f"{FOLDER}/{INDEX}"
        if not plan.sidecar.is_needed:
            if (self._root / index).is_file() and beside.read_sidecar(self._root) is not None:
                (self._root / index).unlink()
            return
        for name, description in plan.descriptions.items():
            packed, _ = beside.packed_description(description)
            self._write_npz(f"{FOLDER}/{name}", packed)
        for name, rows in plan.curves.items():
            self._write_npz(f"{FOLDER}/{name}", {ROWS: rows})
        text = plan.sidecar.to_json().encode()
        write_aside(self._place(index), lambda stream: stream.write(text))

    def _packed_members(self, number: int) -> dict[str, PackedMember]:
        """Returns the small arrays of a form, packed once for all frames."""
        if number not in self._packed:
            form = self._plan.forms[number]
            self._packed[number] = {name: pack(array) for name, array in form.small.items()}
        return self._packed[number]

    def _note_description(self, frame: PlannedFrame) -> None:
        """Notes to which npz a description beside it belongs."""
        if frame.described is not None:
            with opened_for_reading(self._root / frame.path) as stream:
                known = beside.fingerprint(NpzArchive(stream, self._options.limit_bytes))
            self._plan.sidecar.described[frame.path] = (frame.described, known)

    def _write_attached(self, name: str, path: str) -> None:
        """Writes an attached file."""
        if not self._is_wanted(path):
            self._done.skipped += 1
            return
        try:
            content = stored.read_attached(self._file, self._plan.scene, name)
        except H5SceneError as error:
            self._done.fail(f"{self._file.path}/{self._plan.scene}/_files/{name}", error)
            return
        mode = self._plan.modes[name]
        write_aside(self._place(path), lambda stream: stream.write(content), mode)
        self._done.files += 1
        self._done.bytes += len(content)

    def _write_arrays(self, name: str) -> None:
        """Writes arrays that are no fields."""
        path = f"{name}.npz"
        if not self._is_wanted(path):
            self._done.skipped += 1
            return
        try:
            arrays = stored.read_arrays(self._file, self._plan.scene, name)
        except H5SceneError as error:
            self._done.fail(f"{self._file.path}/{self._plan.scene}/_arrays/{name}", error)
            return
        self._write_npz(path, arrays)
        self._done.files += 1
        self._done.bytes += sum(array.nbytes for array in arrays.values())

    def _write(self, path: str, content: bytes, mode: int | None = None) -> None:
        """Writes a file of the scene directory."""
        if self._is_wanted(path):
            write_aside(self._place(path), lambda stream: stream.write(content), mode)
            self._done.files += 1
            self._done.bytes += len(content)
        else:
            self._done.skipped += 1

    def _write_npz(self, path: str, members: Mapping[str, PackedMember | Array]) -> None:
        """Writes an npz."""
        write_aside(self._place(path), lambda stream: write_npz(stream, members))

    def _is_wanted(self, path: str) -> bool:
        """Whether a file has to be written: it is not there, or is to be replaced."""
        return self._options.is_overwriting or not (self._root / path).exists()

    def _place(self, path: str) -> Path:
        """Returns the place of a file, whose directory is made where it is missing."""
        folder, _, name = path.rpartition("/")
        return make_directory(self._root, folder) / name
