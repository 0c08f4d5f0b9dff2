"""One scene directory as the scene that it holds: looked at first, read piece by piece later.

Nothing here changes anything, follows a link out of the directory, or takes more memory than the
largest single array or file.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from h5scene.errors import (
    CorruptDataError,
    FormatError,
    H5SceneError,
    InvalidNameError,
    UnsafeFileError,
)
from h5scene.format import names
from h5scene.interop import sidecar as beside
from h5scene.interop.description_json import (
    DESCRIPTION_FILE,
    MAX_DESCRIPTION_BYTES,
    properties_from_description,
    property_from_plain,
)
from h5scene.interop.log_text import curve_name, log_from_rows, rows_from_log
from h5scene.interop.npy import ForeignNpzError, NpyHeader
from h5scene.interop.npz import (
    DATA,
    ArrayForm,
    NpzForm,
    description_from_npz,
    reproduces,
    with_stem,
)
from h5scene.interop.npz_archive import MAX_SMALL_BYTES, NpzArchive
from h5scene.interop.safe_files import PART_SUFFIX, opened_for_reading, read_small
from h5scene.record import Array, FieldDescription, FieldRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NPZ_SUFFIX: Final = ".npz"
_FRAME_FILE = re.compile(r"(.+)_([0-9]{6}|[1-9][0-9]{6,17})\.npz", re.ASCII | re.DOTALL)
_MAX_LOG_BYTES = 1 << 26
_MAX_KNOWN_FORMS = 64


field_link = lru_cache(maxsize=1024)(names.field_link)
"""Names of a few fields, asked for with each of their frames."""


def frame_of_file(name: str) -> tuple[str, int] | None:
    """Returns the beginning of the name of an npz file, and the frame; `None` for other files."""
    match = _FRAME_FILE.fullmatch(name)
    return None if match is None else (match[1], int(match[2]))


def frame_file(stem: str, frame: int) -> str:
    """Returns the name of the npz file of a frame, as PhiFlow has it."""
    return f"{stem}_{frame:06d}{NPZ_SUFFIX}"


def usual_stem(link: str) -> str:
    """Returns the beginning of the names of a field's npz files: PhiFlow reads lower case only."""
    return link.lower()


@dataclass(frozen=True)
class FrameFile:
    """An npz file with a frame of a field, or what stands for it.

    Attributes:
        field: Name of the field.
        path: Relative to the scene directory.
        is_apart: Whether it is one of those beside the npz files of PhiFlow.
    """

    field: str
    frame: int
    path: str
    size_bytes: int
    is_apart: bool = False


@dataclass(frozen=True)
class OtherFile:
    """Any other file.

    Attributes:
        name: Under which it is attached.
        path: Relative to the scene directory.
    """

    name: str
    path: str
    size_bytes: int
    mode: int


@dataclass
class SceneContent:
    """What a scene directory holds.

    Attributes:
        path: The directory.
        scene: Name of the scene.
        frames: Frames of fields, by frame, then by name.
        others: Other files, by name.
        directories: All directories in it with their modes.
        notes: What a user should know.
        problems: What cannot be imported, and why, by path.
    """

    path: Path
    scene: str
    limit_bytes: int
    frames: list[FrameFile] = field(default_factory=list)
    others: list[OtherFile] = field(default_factory=list)
    directories: dict[str, int] = field(default_factory=dict)
    sidecar: beside.Sidecar = field(default_factory=beside.Sidecar)
    has_description: bool = False
    notes: list[str] = field(default_factory=list)
    problems: list[tuple[str, H5SceneError]] = field(default_factory=list)
    _forms: OrderedDict[Any, tuple[FieldDescription, NpzForm]] = field(default_factory=OrderedDict)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(frame.size_bytes for frame in self.frames) + sum(
            one.size_bytes for one in self.others
        )

    # --- frames -----------------------------------------------------------------------------------

    def read_record(self, file: FrameFile) -> FieldRecord:
        """Returns the field that a file holds.

        Raises:
            ForeignNpzError: It holds no field.
            UnsafeFileError: It asks for something that data must not ask for.
            CorruptDataError: It is damaged.
        """
        path = self.path / file.path
        if file.is_apart:
            return beside.read_record(path, self.limit_bytes)
        with opened_for_reading(path) as stream:
            archive = NpzArchive(stream, self.limit_bytes)
            if DATA not in archive.members:
                raise ForeignNpzError("it has no array 'data'")
            data = archive.begin(archive.members[DATA])
            description, form = self._form(archive, file, data.header)
            described = self.sidecar.described.get(file.path)
            if described is not None and described[1] == beside.fingerprint(archive):
                description = beside.read_description(
                    self.path / beside.FOLDER / described[0], self.limit_bytes
                )
            values = form.values_from_data(data.values())
        return FieldRecord(description, values)

    def _form(
        self, archive: NpzArchive, file: FrameFile, header: NpyHeader
    ) -> tuple[FieldDescription, NpzForm]:
        """Returns the description of a field; the same one for all files that say the same."""
        members = archive.members
        if header.is_pickled:
            raise ForeignNpzError("its values are no numbers")
        others = [member for name, member in members.items() if name != DATA]
        if sum(member.packed_bytes for member in others) > MAX_SMALL_BYTES:
            raise ForeignNpzError("it holds large arrays beside its values")
        packed = tuple((member.name, *archive.packed(member)) for member in others)
        stem = self._stem(file)
        key = (packed, tuple(members), header, stem)
        if key in self._forms:
            self._forms.move_to_end(key)
            return self._forms[key]
        small = {member.name: archive.read(member) for member in others}
        data = ArrayForm(header.dtype, header.shape, is_fortran(header.shape, header.is_fortran))
        description, form = description_from_npz(small, tuple(members), data)
        if not reproduces(description, form):
            raise ForeignNpzError("h5scene could not write the same arrays again")
        if stem is not None:
            description = with_stem(description, stem)
        self._forms[key] = description, form
        if len(self._forms) > _MAX_KNOWN_FORMS:
            self._forms.popitem(last=False)
        return description, form

    def _stem(self, file: FrameFile) -> str | None:
        """Returns the beginning of the name of a file, where export would choose another name."""
        parts = frame_of_file(file.path)
        assert parts is not None
        link = field_link(file.field)
        usual = frame_file(usual_stem(link), file.frame)
        return None if usual == file.path and file.frame <= 999_999 else parts[0]

    def read_arrays(self, file: FrameFile) -> dict[str, Array]:
        """Returns the arrays of an npz that is no field.

        Raises:
            ForeignNpzError: One of them holds no numbers.
            UnsafeFileError: It asks for something that data must not ask for.
            CorruptDataError: It is damaged.
        """
        with opened_for_reading(self.path / file.path) as stream:
            archive = NpzArchive(stream, self.limit_bytes)
            arrays = {}
            total_bytes = 0
            for name, member in archive.members.items():
                arrays[name] = array = archive.read(member)  # a pickle is checked here
                total_bytes += array.nbytes
                if total_bytes > self.limit_bytes:
                    raise UnsafeFileError(
                        f"it unpacks to more than the limit of {self.limit_bytes} bytes"
                    )
            if not arrays or any(array.dtype.kind not in "biufc" for array in arrays.values()):
                raise ForeignNpzError("it holds other things than numbers")
            return arrays

    # --- the rest ---------------------------------------------------------------------------------

    def read_properties(self) -> dict[str, Any]:
        """Returns the properties.

        Raises:
            CorruptDataError: They are no JSON object.
        """
        properties: dict[str, Any] = {}
        if self.has_description:
            path = self.path / DESCRIPTION_FILE
            properties = properties_from_description(read_small(path, MAX_DESCRIPTION_BYTES))
            written = _plain_description(path)
        else:
            written = {}
        for name, (value, stands) in self.sidecar.properties.items():
            if written.get(name) == stands or (stands is None and name not in written):
                properties[name] = property_from_plain(value)
        return properties

    def read_other(self, file: OtherFile) -> bytes:
        """Returns the content of another file.

        Raises:
            UnsafeFileError: It is larger than the limit, or no ordinary file any more.
        """
        return read_small(self.path / file.path, self.limit_bytes)

    def read_curves(self) -> tuple[dict[str, Array], set[str]]:
        """Returns the curves, and the names of those logs that say no more than these.

        Raises:
            FormatError: A file beside the npz files is damaged.
        """
        curves: dict[str, Array] = {}
        needless = set()
        for other in self.others:
            name = curve_name(other.name)
            if name is None or other.size_bytes > _MAX_LOG_BYTES or not _is_curve(name):
                continue
            text = self.read_other(other)
            rows = rows_from_log(text)
            if rows is not None:
                curves[name] = rows
                if log_from_rows(rows) == text and other.path == other.name:
                    needless.add(other.name)
        for name, place in self.sidecar.curves.items():
            curves[name] = beside.read_rows(self.path / beside.FOLDER / place, self.limit_bytes)
        return curves, needless


def _plain_description(path: Path) -> dict[str, Any]:
    """Returns `description.json` as it stands there."""
    found = json.loads(read_small(path, MAX_DESCRIPTION_BYTES).decode())
    return found if isinstance(found, dict) else {}


def is_fortran(shape: tuple[int, ...], declared: bool) -> bool:
    """Whether an array that is declared to be in Fortran's order is not in C's as well."""
    return declared and sum(size != 1 for size in shape) > 1 and 0 not in shape


def _is_curve(name: str) -> bool:
    try:
        names.curve_link(name)
    except InvalidNameError:
        return False
    return True


# --- looking at a directory -----------------------------------------------------------------------


def scan_scene(path: Path, scene: str, limit_bytes: int) -> SceneContent:
    """Returns what a scene directory holds, without reading its data."""
    content = SceneContent(path, scene, limit_bytes)
    try:
        content.sidecar = beside.read_sidecar(path) or content.sidecar
    except FormatError as error:
        content.problems.append((f"{beside.FOLDER}/{beside.INDEX}", error))
    is_ours = content.sidecar.is_needed
    if content.sidecar.scene is not None:
        content.scene = content.sidecar.scene
    links: dict[str, str] = {}
    for name, entry in _walk(content):
        if name.endswith(PART_SUFFIX):
            continue
        if is_ours and (name == beside.FOLDER or name.startswith(f"{beside.FOLDER}/")):
            continue
        if stat.S_ISDIR(entry.st_mode):
            content.directories[name] = stat.S_IMODE(entry.st_mode)
        elif name == DESCRIPTION_FILE:
            content.has_description = True
        elif not _add_frame(content, name, entry.st_size, links):
            mode = stat.S_IMODE(entry.st_mode)
            content.others.append(OtherFile(name, name, entry.st_size, mode))
    _add_from_sidecar(content)
    content.frames.sort(key=lambda frame: (frame.frame, frame.field))
    content.others = _attachable(content)
    return content


def _walk(content: SceneContent) -> Iterator[tuple[str, os.stat_result]]:
    """Gives the names of all files and directories with what they are, sorted."""
    root = os.path.realpath(content.path)
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(content.path / prefix) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            content.problems.append((prefix, CorruptDataError(f"cannot be listed: {error}")))
            continue
        for entry in found:
            name = f"{prefix}/{entry.name}".lstrip("/")
            about = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(about.st_mode):
                target = os.path.realpath(entry.path)
                if os.path.commonpath([root, target]) == root and os.path.exists(target):
                    # What it points to comes along under its own name.
                    content.notes.append(f"{name} is a link inside the directory; it is left out")
                else:
                    problem = "a link that leads out of the directory; it was not followed"
                    content.problems.append((name, UnsafeFileError(problem)))
            elif stat.S_ISDIR(about.st_mode):
                yield name, about
                pending.append(name)
            elif stat.S_ISREG(about.st_mode):
                yield name, about
            else:
                content.problems.append((name, UnsafeFileError("no ordinary file")))


def _add_frame(content: SceneContent, name: str, size_bytes: int, links: dict[str, str]) -> bool:
    """Adds a file to the frames, if it is one."""
    parts = frame_of_file(name)
    if parts is None or "/" in name:
        return False
    stem, frame = parts
    given = content.sidecar.names.get(stem, stem)
    try:
        link = names.field_link(given)
        if given != stem and usual_stem(link) != stem:
            given, link = stem, names.field_link(stem)
    except InvalidNameError:
        content.notes.append(f"{name} cannot be the name of a field; it is attached as a file")
        return False
    if links.setdefault(link, given) != given:
        content.notes.append(f"{name} would be the field {links[link]!r}; it is attached as a file")
        return False
    content.frames.append(FrameFile(given, frame, name, size_bytes))
    return True


def _add_from_sidecar(content: SceneContent) -> None:
    """Adds what stands beside the npz files."""
    sidecar = content.sidecar
    for (name, frame), place in sidecar.apart.items():
        path = f"{beside.FOLDER}/{place}"
        content.frames.append(FrameFile(name, frame, path, _length(content, path), True))
    for name, place in sidecar.files.items():
        path = f"{beside.FOLDER}/{place}"
        mode = sidecar.modes.get(name, 0o644)
        content.others.append(OtherFile(name, path, _length(content, path), mode))
    content.directories.update(sidecar.directories)


def _length(content: SceneContent, path: str) -> int:
    """Returns the length of a file, which may be missing."""
    try:
        return (content.path / path).lstat().st_size
    except OSError:
        return 0


def _attachable(content: SceneContent) -> list[OtherFile]:
    """Returns the other files that a scene file can hold; the rest are problems."""
    kept = []
    for other in sorted(content.others, key=lambda other: other.name):
        try:
            names.attached_file_link(other.name)
            kept.append(other)
        except InvalidNameError as error:
            content.problems.append((other.path, error))
    for name in list(content.directories):
        try:
            names.attached_file_link(name)
        except InvalidNameError as error:
            del content.directories[name]
            content.problems.append((name, error))
    return kept
