"""What a child reads of a damaged file, one thing at a time.

Each function takes a `Source`, and returns plain values. Where several things stand together, those
that can be read are returned, with what is wrong with the others.
"""

from __future__ import annotations

import itertools
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import h5py
import numpy as np

from h5scene.errors import BusyError, CorruptDataError, FormatError, H5SceneError, StorageError
from h5scene.format import (
    attached_files,
    checksums,
    codec,
    groups,
    layout,
    names,
    plain_arrays,
    tables,
)
from h5scene.format.descriptions import read_description
from h5scene.format.json_values import is_json, load_json
from h5scene.format.readings import read_array
from h5scene.format.tree import SceneTree
from h5scene.scene_file import SceneFile
from h5scene.store.access import access_of
from h5scene.store.datasets import check_dataset
from h5scene.store.links import open_member
from h5scene.store.patching import PatchedDisk, open_patched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from h5scene.record import Array, FieldDescription
    from h5scene.store.datasets import CheckedDataset
    from h5scene.store.journal import Run

T = TypeVar("T")
Problems: TypeAlias = "list[tuple[str, str]]"
"""What could not be read, below the scene or in it, and why."""

_HDF5_ERRORS = (KeyError, OSError, RuntimeError, ValueError, TypeError)
_ROWS_AT_A_TIME = 512
_MAX_TRIED = 20_000  # numbers of frames; takes a third of a second
_MAX_CHUNK_BYTES = 1 << 30


@dataclass(frozen=True)
class Source:
    """How to open a damaged file.

    Attributes:
        path: The file.
        patches: What to lay over it; `None` to open it as any other scene file.
        size_bytes: Length of the file with the patches.
        max_array_bytes: See `SceneFile`.
    """

    path: str
    patches: tuple[Run, ...] | None = None
    size_bytes: int = 0
    max_array_bytes: int | None = None


class _LenientTree(SceneTree):
    """Scenes and fields that need not say that they are any."""

    def has_scene(self, scene: str) -> bool:
        """Whether there is a group of this name."""
        return isinstance(self.h5.get(scene), h5py.Group)

    def scene(self, scene: str) -> h5py.Group:
        """Returns a group."""
        group = self.h5[scene]
        if not isinstance(group, h5py.Group):
            raise CorruptDataError(f"/{scene} is no group")
        return group

    def check_scene(self, scene: str) -> None:
        """Asks for nothing."""

    def fieldnames(self, scene: str) -> tuple[str, ...]:
        """Returns the names of the groups that are fields, or hold frames."""
        found = groups.link_names(self.scene(scene))
        return tuple(sorted(link for link in found if self._is_field(scene, link)))

    def find_field(self, scene: str, name: str) -> str:  # noqa: ARG002  # as the other's
        """Returns the name."""
        return name

    def _checked_format(self) -> str:
        """Refuses newer versions, and nothing else."""
        version = groups.read_attribute(self.h5, layout.FORMAT_ATTR)
        is_newer = groups.major(version) > groups.major(layout.FORMAT_VERSION)
        return super()._checked_format() if is_newer else layout.FORMAT_VERSION

    def _is_field(self, scene: str, link: str) -> bool:
        if link.startswith(layout.RESERVED_PREFIX) or not names.may_be_listed(link):
            return False
        try:
            if not isinstance(self.h5[scene].get(link, getlink=True), h5py.HardLink):
                return False
            group = self.h5[scene][link]
        except (FormatError, *_HDF5_ERRORS):
            return True  # something of this name is lost, and whoever asks for it is told why
        if not isinstance(group, h5py.Group):
            return False
        try:
            if groups.read_attribute(group, layout.KIND_ATTR) == layout.FIELD_KIND:
                return True
            return any(names.frame_of_link(one) is not None for one in groups.link_names(group))
        except (FormatError, *_HDF5_ERRORS):
            return True


class _DamagedFile(SceneFile):
    """A scene file that is read as far as it can be."""

    def _tree(self, store: Any, h5: Any) -> SceneTree:
        return _LenientTree(h5.with_policy(self._policy), store.cache, self._path)

    def _read(self, function: Callable[[SceneTree], T], scene: str | None = None) -> T:
        try:
            return super()._read(function, scene)
        except H5SceneError:
            raise
        except _HDF5_ERRORS as error:
            raise CorruptDataError(f"{self._path} is damaged: {error}") from error


class _PatchedFile(_DamagedFile):
    """A damaged file with patches, which no store could open."""

    def __init__(self, source: Source):
        self._source = source
        super().__init__(source.path, "r", max_array_bytes=source.max_array_bytes)

    def close(self) -> None:
        """Closes the file."""
        self._h5.close()
        self._pager.disk.close()

    def _open_or_create(self) -> None:
        source = self._source
        self._h5, self._pager = open_patched(source.path, source.patches or (), source.size_bytes)

    def _read(self, function: Callable[[SceneTree], T], scene: str | None = None) -> T:
        disk = self._pager.disk
        assert isinstance(disk, PatchedDisk)
        with self._located(scene):
            for is_last in (False, True):
                disk.read_missing = False
                try:
                    found = function(_LenientTree(self._h5, {}, self._path))
                except H5SceneError:
                    raise
                except _HDF5_ERRORS as error:
                    raise CorruptDataError(f"{self._path} is damaged: {error}") from error
                finally:
                    kept, self._pager.error = self._pager.error, None
                if isinstance(kept, H5SceneError):
                    raise kept
                if kept is not None:
                    raise StorageError(f"cannot read {self._path}: {kept}") from kept
                # HDF5 reads more than it needs of what it does not know yet; the second time it
                # knows that, and reads what it needs.
                if not disk.read_missing:
                    break
                if is_last:
                    raise CorruptDataError(f"{self._path} was cut off before the end of this")
        return found


_open: dict[Source, _DamagedFile] = {}


def _file(source: Source) -> _DamagedFile:
    """Returns a file, which stays open until another one is asked for."""
    if source not in _open:
        for file in _open.values():
            file.close()
        _open.clear()
        if source.patches is None:
            _open[source] = _DamagedFile(
                source.path, "r", max_array_bytes=source.max_array_bytes, lock_timeout_s=10
            )
        else:
            _open[source] = _PatchedFile(source)
    return _open[source]


# --- what the parent asks for ---------------------------------------------------------------------


def scenes(source: Source) -> tuple[list[str], Problems]:
    """Returns the names of all groups of the root that may be scenes."""

    def read(tree: SceneTree) -> tuple[list[str], Problems]:
        problems: Problems = []
        found = []
        for link in tree.h5:
            if not isinstance(link, str):
                shown = link.decode(errors="backslashreplace")
                problems.append((f"/{shown}", "has a name that is no UTF-8"))
                continue
            if link.startswith(layout.RESERVED_PREFIX) or not names.may_be_listed(link):
                continue
            with _noted(problems, f"/{link}"):
                kind = groups.member_kind(tree.h5, link)
                if kind == layout.SCENE_KIND or (tree.has_scene(link) and tree.fieldnames(link)):
                    found.append(link)
        return sorted(found), problems

    return _file(source)._read(read)


def fields(source: Source, scene: str) -> dict[str, str]:
    """Returns the fields of a scene: stored names, and the names that were given."""

    def read(tree: SceneTree) -> dict[str, str]:
        group = tree.h5[scene]
        return {link: _given_name(group, link, link) for link in tree.fieldnames(scene)}

    return _file(source)._read(read)


def given_name(source: Source, scene: str, link: str, stored: str) -> str:
    """Returns the name that was given to a field, which was stored under another one."""
    return _file(source)._read(lambda tree: _given_name(tree.h5[scene], link, stored))


def frames(source: Source, scene: str, link: str) -> list[int]:
    """Returns the numbers of the frames of a field."""
    return _file(source)._read(lambda tree: list(tree.frames(scene, link)))


def frame(source: Source, scene: str, link: str, number: int) -> tuple[Any, float]:
    """Returns a frame, and by how much it was rounded."""
    file = _file(source)

    def read(tree: SceneTree) -> tuple[Any, float]:
        record = tree.read_field(scene, link, number, workers=file._workers)
        return record, tree.max_relative_error(scene, link, number)

    return file._read(read)


def values(source: Source, scene: str, link: str, number: int) -> Array:
    """Returns the values of a frame, whatever is said of them."""
    file = _file(source)

    def read(tree: SceneTree) -> Array:
        member = tree.h5[scene][link][names.frame_link(number)]
        return codec.read_values(codec.values_of(member), workers=file._workers)

    return file._read(read)


def description(source: Source, scene: str, link: str) -> FieldDescription:
    """Returns the description of a field."""
    return _file(source)._read(lambda tree: read_description(tree.h5[scene][link]))


def orphan(source: Source, path: str, expected: int) -> tuple[int, Array] | None:
    """Returns a frame that nothing leads to, with its number, which its checksum tells.

    Args:
        source: The file.
        path: Of the dataset.
        expected: Which number to try first.

    Returns:
        `None` if it is no frame, or not what was written.
    """
    file = _file(source)

    def read(tree: SceneTree) -> tuple[int, Array] | None:
        identifier, access = open_member(tree.h5, path), access_of(tree.h5)
        checksum = checksums.read_checksum(identifier)
        dataset = check_dataset(identifier, access)
        if checksum is None or dataset.shape is None:
            return None
        pieces = _stored_pieces(dataset)
        for number in (*range(expected, expected + _MAX_TRIED), *range(expected)):
            dataset = check_dataset(identifier, access, names.frame_link(number))
            with suppress(CorruptDataError):
                checksums.check(dataset, checksum, pieces)
                return number, read_array(dataset, workers=file._workers)
        return None

    return file._read(read)


def properties(source: Source, scene: str) -> tuple[dict[str, Any], Problems]:
    """Returns the properties of a scene that can be read."""

    def read(tree: SceneTree) -> tuple[dict[str, Any], Problems]:
        problems: Problems = []
        found: dict[str, Any] = {}
        group = tree.scene(scene)
        for name in groups.text_names(group.attrs):
            if name in layout.SCENE_ATTRS:
                continue
            with _noted(problems, f"@{name}"):
                text = groups.read_attribute(group, name, may_be_array=True)
                if isinstance(text, str) and is_json(text):
                    found[name] = load_json(text)
                elif isinstance(text, str):
                    problems.append((f"@{name}", "is no JSON"))
        with _noted(problems, layout.PROPERTIES_DATASET):
            if layout.PROPERTIES_DATASET in group:
                content = attached_files.read_bytes(group[layout.PROPERTIES_DATASET])
                texts = load_json(content.decode(errors="surrogateescape"))
                if not isinstance(texts, dict):
                    raise CorruptDataError(f"is a JSON {type(texts).__name__}, and no object")
                for name, text in texts.items():
                    with _noted(problems, f"@{name}"):
                        found[name] = load_json(text)
        return found, problems

    return _file(source)._read(read)


def tables_of(source: Source, scene: str, which: str) -> tuple[dict[str, Array], Problems]:
    """Returns the rows of the times, or of all curves, of a scene that can be read.

    Args:
        source: The file.
        scene: Name of the scene.
        which: Name of the dataset of times or of the group of curves.
    """

    def read(tree: SceneTree) -> tuple[dict[str, Array], Problems]:
        problems: Problems = []
        found: dict[str, Array] = {}
        group = tree.scene(scene)
        if which not in group:
            return found, problems
        member = group[which]
        holder, links = group, [which]
        if isinstance(member, h5py.Group):
            holder, links = member, groups.link_names(member)
        for link in links:
            where = link if holder is group else f"{which}/{link}"
            with _noted(problems, where):
                tables.check_table(holder[link])
                found[link] = _rows(holder[link], problems, where)
        return found, problems

    return _file(source)._read(read)


def attachments(source: Source, scene: str) -> tuple[list[str], Problems]:
    """Returns the names of the attached files of a scene that can be listed."""

    def read(tree: SceneTree) -> tuple[list[str], Problems]:
        problems: Problems = []
        found: list[str] = []
        group = tree.scene(scene)
        if layout.FILES_GROUP in group:
            _list_files(group[layout.FILES_GROUP], "", found, problems, 0)
        return sorted(found), problems

    return _file(source)._read(read)


def attachment(source: Source, scene: str, name: str) -> tuple[bytes, int | None]:
    """Returns the content of an attached file, and its mode."""

    def read(tree: SceneTree) -> tuple[bytes, int | None]:
        file = tree.scene(scene)[layout.FILES_GROUP][name]
        content = attached_files.read_bytes(file)
        return content, attached_files.mode_of(file)

    return _file(source)._read(read)


def array_groups(source: Source, scene: str) -> list[str]:
    """Returns the names of the arrays of a scene that are no fields."""
    return _file(source)._read(lambda tree: list(plain_arrays.array_names(tree.scene(scene))))


def arrays(source: Source, scene: str, name: str) -> dict[str, Array]:
    """Returns arrays that are no fields."""
    return _file(source)._read(lambda tree: plain_arrays.read_arrays(tree.scene(scene), name))


def _stored_pieces(dataset: CheckedDataset) -> bytes:
    """Returns what the checksum of a dataset takes of its bytes."""
    identifier, shape = dataset.identifier, dataset.shape or ()
    if dataset.chunk is None:
        values = np.empty(shape, dataset.dtype)
        if not values.size:
            return b""
        identifier.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        return checksums.summed(0, values)
    pieces = b""
    steps = (range(0, size, edge) for size, edge in zip(shape, dataset.chunk, strict=True))
    for corner in itertools.product(*steps):
        info = identifier.get_chunk_info_by_coord(corner)
        if info.byte_offset is None or info.size > _MAX_CHUNK_BYTES:
            raise CorruptDataError(f"{dataset.name} lacks a chunk")
        data = identifier.read_direct_chunk(corner)[1]
        pieces += checksums.summed(info.filter_mask, data)
    return pieces


# --- inside ---------------------------------------------------------------------------------------


@contextmanager
def _noted(problems: Problems, where: str) -> Iterator[None]:
    """Notes what is wrong with something, and goes on."""
    try:
        yield
    except H5SceneError as error:
        if isinstance(error, (BusyError, StorageError)):
            raise
        problems.append((where, str(error)))
    except _HDF5_ERRORS as error:
        problems.append((where, f"is damaged: {error}"))


def _given_name(scene: h5py.Group, link: str, stored: str) -> str:
    """Returns the name that was given to a field; that under which it is stored if it is lost."""
    try:
        given = groups.read_attribute(scene[link], layout.NAME_ATTR)
        if isinstance(given, str) and names.field_link(given) == stored:
            return given
    except (FormatError, *_HDF5_ERRORS):
        pass
    return stored


def _rows(table: h5py.Dataset, problems: Problems, where: str) -> Array:
    """Returns the rows of a table; without those that stand in damaged chunks."""
    pieces = [np.empty((0, table.shape[1]))]
    for start in range(0, table.shape[0], _ROWS_AT_A_TIME):
        some = slice(start, min(start + _ROWS_AT_A_TIME, table.shape[0]))
        with _noted(problems, f"{where}[{some.start}:{some.stop}]"):
            pieces.append(codec.read_values(table, (some, slice(None))))
    return np.concatenate(pieces)


def _list_files(
    group: h5py.Group, prefix: str, found: list[str], problems: Problems, depth: int
) -> None:
    """Lists attached files."""
    for link in groups.link_names(group):
        path = f"{prefix}{link}"
        with _noted(problems, f"{layout.FILES_GROUP}/{path}"):
            names.attached_file_link(path)
            member = group[link]
            if isinstance(member, h5py.Dataset):
                found.append(path)
            elif depth < 64:
                _list_files(member, f"{path}/", found, problems, depth + 1)
