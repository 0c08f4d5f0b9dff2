"""What stands beside the npz files of an exported scene, in `_h5scene/`: all that they cannot hold.

`scene.json` says what is there; the rest are npz files without pickled data, and files. The form is
described in DIRECTORIES.md.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from h5scene.errors import CorruptDataError, H5SceneError, UnsupportedVersionError
from h5scene.format import descriptions, groups, layout
from h5scene.format.json_values import dump_json, load_json
from h5scene.interop import deflate
from h5scene.interop.npy import ForeignNpzError
from h5scene.interop.npz_archive import NpzArchive, PackedMember, pack
from h5scene.interop.safe_files import opened_for_reading, read_small
from h5scene.objects import ObjectRecord, without_repetition
from h5scene.record import FieldRecord
from h5scene.tensors import TensorRecord, dims_from_json, dims_to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from h5scene.record import Array, FieldDescription

FOLDER: Final = "_h5scene"
INDEX: Final = "scene.json"
VERSION_KEY: Final = "h5scene_directory"
VERSION: Final = "1.0"
VALUES: Final = "values"
GEOMETRY: Final = "geometry"
STRUCTURE: Final = "structure"
ROWS: Final = "rows"
_MAX_INDEX_BYTES = 1 << 28
_MAX_DEPTH = 32
_NAME = re.compile(r"(?:descriptions|frames|curves|files)/[0-9]{6,12}(?:\.npz)?", re.ASCII)


@dataclass
class Sidecar:
    """The content of `scene.json`.

    Attributes:
        scene: Name of the scene, where the directory cannot have it.
        names: Given names of fields, by the beginning of the names of their npz files.
        described: For npz files by name: the file with the description that the npz cannot hold,
            and a fingerprint of the npz that it belongs to.
        apart: Fields and frames that have no npz of PhiFlow's, and the file that holds each.
        rounded: By how much of their magnitude values were rounded, by field and frame.
        properties: By name, the property, and what stands for it in `description.json`.
        times: Physical times of frames.
        curves: Files of curves that have no text.
        files: Attached files whose names cannot stand in the directory, and the files of them.
        modes: Their modes.
        directories: Directories whose names cannot stand there, with their modes.
    """

    scene: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    described: dict[str, tuple[str, str]] = field(default_factory=dict)
    apart: dict[tuple[str, int], str] = field(default_factory=dict)
    rounded: dict[tuple[str, int], float] = field(default_factory=dict)
    properties: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)
    curves: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    directories: dict[str, int] = field(default_factory=dict)

    @property
    def is_needed(self) -> bool:
        """Whether there is anything in it."""
        return self != Sidecar()

    def to_json(self) -> str:
        """Returns the text of `scene.json`."""
        content = {
            VERSION_KEY: VERSION,
            "scene": self.scene,
            "names": self.names,
            "described": {name: list(pair) for name, pair in self.described.items()},
            "apart": [[*key, value] for key, value in self.apart.items()],
            "rounded": [[*key, value] for key, value in self.rounded.items()],
            "properties": {name: list(pair) for name, pair in self.properties.items()},
            "times": [[frame, time] for frame, time in self.times.items()],
            "curves": self.curves,
            "files": self.files,
            "modes": self.modes,
            "directories": self.directories,
        }
        kept = {key: value for key, value in content.items() if value not in (None, {}, [])}
        return json.dumps(kept, indent=1)


def read_sidecar(directory: Path) -> Sidecar | None:
    """Returns what `scene.json` of a scene directory says; `None` where there is none of ours.

    Raises:
        CorruptDataError: It is damaged.
        UnsafeFileError: It is a link, or too large.
    """
    path = directory / FOLDER / INDEX
    if (directory / FOLDER).is_symlink() or not path.is_file():
        return None
    content = read_small(path, _MAX_INDEX_BYTES)
    try:
        given = json.loads(content.decode())
        if not isinstance(given, dict) or VERSION_KEY not in given:
            return None
        version = str(given[VERSION_KEY]).split(".")[0]
        if version != VERSION.split(".")[0]:
            raise CorruptDataError(
                f"{path} has version {given[VERSION_KEY]!r:.20}; this h5scene knows {VERSION}"
            )
        return _sidecar(given)
    except H5SceneError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as error:
        raise CorruptDataError(f"{path} is damaged: {error!r}") from error
    except ValueError as error:
        raise CorruptDataError(f"{path} is damaged: {error}") from error


def _sidecar(given: dict[str, Any]) -> Sidecar:
    """Returns the content, checked."""
    return Sidecar(
        scene=None if given.get("scene") is None else str(given["scene"]),
        names={str(key): str(name) for key, name in given.get("names", {}).items()},
        described={
            str(npz): (_checked(place), str(fingerprint))
            for npz, (place, fingerprint) in given.get("described", {}).items()
        },
        apart={
            (str(name), int(frame)): _checked(place)
            for name, frame, place in given.get("apart", [])
        },
        rounded={
            (str(name), int(frame)): float(error) for name, frame, error in given.get("rounded", [])
        },
        properties={
            str(name): (value, written)
            for name, (value, written) in given.get("properties", {}).items()
        },
        times={int(frame): float(time) for frame, time in given.get("times", [])},
        curves={str(name): _checked(place) for name, place in given.get("curves", {}).items()},
        files={str(name): _checked(place) for name, place in given.get("files", {}).items()},
        modes={str(name): int(mode) for name, mode in given.get("modes", {}).items()},
        directories={str(name): int(mode) for name, mode in given.get("directories", {}).items()},
    )


def _checked(place: Any) -> str:
    """Returns the name of a file in the folder, which leads nowhere else."""
    if not isinstance(place, str) or not _NAME.fullmatch(place):
        raise CorruptDataError(f"{place!r:.60} is no name of a file beside {INDEX}")
    return place


def fingerprint(archive: NpzArchive) -> str:
    """Returns what tells the content of an npz from others'."""
    parts = [f"{m.name} {m.crc:08x} {m.bytes}" for m in archive.members.values()]
    return f"{deflate.crc32(';'.join(parts).encode()):08x}"


def packed_description(
    description: FieldDescription,
) -> tuple[dict[str, PackedMember | Array], Any]:
    """Returns the arrays that describe a field, named as the attributes in FORMAT.md are."""
    described, parts = descriptions.split_arrays(description)
    attributes = descriptions.attributes_from_description(described)
    members: dict[str, PackedMember | Array] = {
        name: pack(np.asarray(value)) for name, value in attributes.items()
    }
    for name, part in parts.items():
        members |= _packed_part(name, part)
    return members, described


def packed_record(record: FieldRecord) -> dict[str, PackedMember | Array]:
    """Returns the arrays that hold a field completely."""
    members, _ = packed_description(record.description)
    if record.geometry is not None:
        members |= _packed_part(GEOMETRY, record.geometry)
    if record.structure is not None:
        members |= _packed_part(STRUCTURE, record.structure)
    return {**members, VALUES: record.values}


def _packed_part(name: str, part: Array | ObjectRecord) -> dict[str, PackedMember | Array]:
    """Returns the arrays of an object: a text that says what it is, and each of its parts."""
    if not isinstance(part, ObjectRecord):
        return {name: part}
    about: dict[str, Any] = {
        "kind": part.kind,
        "encoding_version": layout.ENCODING_VERSION,
        "attributes": dict(part.attrs),
        "parts": {},
    }
    members: dict[str, PackedMember | Array] = {}
    for key, inner in part.parts.items():
        if isinstance(inner, ObjectRecord):
            about["parts"][key] = None
            members |= _packed_part(f"{name}.{key}", inner)
        else:
            sizes = list(inner.data.shape)
            about["parts"][key] = {"dims": dims_to_json(inner.dims), "sizes": sizes}
            members[f"{name}.{key}"] = without_repetition(inner.data)
    return {name: pack(np.asarray(dump_json(about, name))), **members}


def _object(name: str, arrays: Mapping[str, Array], depth: int = 0) -> ObjectRecord:
    """Returns the object that `_packed_part` made into arrays."""
    about = load_json(arrays[name].item())
    if groups.major(about["encoding_version"]) != groups.major(layout.ENCODING_VERSION):
        raise UnsupportedVersionError(f"{name} is of a newer version; install a newer h5scene")
    if depth > _MAX_DEPTH:
        raise CorruptDataError(f"{name} is nested too deeply")
    parts: dict[str, TensorRecord | ObjectRecord] = {}
    for key, dims in about["parts"].items():
        inner = f"{name}.{key}"
        if dims is None:
            parts[key] = _object(inner, arrays, depth + 1)
        else:
            array = np.broadcast_to(arrays[inner], dims["sizes"])
            array = arrays[inner] if array.shape == arrays[inner].shape else array
            parts[key] = TensorRecord(dims_from_json(dims["dims"]), array)
    return ObjectRecord(about["kind"], about["attributes"], parts)


def read_description(path: Path, limit_bytes: int) -> FieldDescription:
    """Returns the description in a file of the folder.

    Raises:
        FormatError: It is damaged, or holds something else.
    """
    return _read(path, limit_bytes)[0]


def read_record(path: Path, limit_bytes: int) -> FieldRecord:
    """Returns the field in a file of the folder.

    Raises:
        FormatError: It is damaged, or holds something else.
    """
    description, arrays = _read(path, limit_bytes)
    values = arrays.get(VALUES)
    if values is None or values.ndim != len(description.dims):
        raise CorruptDataError("it lacks the values, or some of its dims")
    with _described(path):
        geometry, structure = (
            _object(name, arrays) if name in arrays else None for name in (GEOMETRY, STRUCTURE)
        )
    return FieldRecord(description, values, geometry, structure)


def _read(path: Path, limit_bytes: int) -> tuple[FieldDescription, dict[str, Array]]:
    """Returns the description in a file of the folder, and all of its arrays."""
    with opened_for_reading(path) as file:
        archive = NpzArchive(file, limit_bytes)
        arrays: dict[str, Any] = {}
        for name, member in archive.members.items():
            array = archive.begin(member)
            if array.header.is_pickled:
                raise CorruptDataError("it holds pickled data, which h5scene never writes")
            arrays[name] = array.values()
    attrs = {name: _attribute(value) for name, value in arrays.items()}
    description = descriptions.read_description(SimpleNamespace(attrs=attrs, name=path.name))

    def part(name: str) -> Array | ObjectRecord:
        array: Array = arrays[name]
        return _object(name, arrays) if array.dtype.kind == "U" else array

    with _described(path):
        boundary = descriptions.join_boundary(description.boundary, part)
    return replace(description, boundary=boundary), arrays


@contextmanager
def _described(path: Path) -> Iterator[None]:
    """Turns what Python raises for arrays that do not fit together into an error of ours."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AssertionError, AttributeError) as error:
        raise CorruptDataError(
            f"{path.name} lacks an array, or one does not fit: {error}"
        ) from error


def _attribute(array: Array) -> Any:
    """Returns an array as HDF5 gives an attribute: text as `str`."""
    return array.item() if array.dtype.kind == "U" and array.ndim == 0 else array


def read_rows(path: Path, limit_bytes: int) -> Array:
    """Returns the rows of a curve.

    Raises:
        FormatError: It is damaged.
    """
    with opened_for_reading(path) as file:
        archive = NpzArchive(file, limit_bytes)
        if list(archive.members) != [ROWS]:
            raise ForeignNpzError("it holds no curve")
        rows = archive.read(archive.members[ROWS])
    if rows.dtype != np.float64 or rows.ndim != 2 or rows.shape[1] < 2:
        raise CorruptDataError("it holds no curve")
    return rows
