"""A new scene file of all that can be read of a damaged one."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from h5scene.errors import (
    CorruptDataError,
    H5SceneError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    UnsupportedVersionError,
)
from h5scene.format import names
from h5scene.format.tree import initialise
from h5scene.format.workers import check_workers, default_workers
from h5scene.handling.salvage import reading, sources
from h5scene.handling.salvage.parts import PARTS, raise_if_not_about_file, write_found
from h5scene.handling.salvage.reading import Source
from h5scene.handling.salvage.rebuilding import MADE_UP, Place
from h5scene.handling.salvage.writing import Writer
from h5scene.paths import scene_file_path
from h5scene.record import TENSOR, DimSpec, FieldDescription, FieldRecord
from h5scene.sandbox import Sandbox
from h5scene.store import create_store
from h5scene.store.system import memory_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    import h5py

    from h5scene.format.filters import Compression
    from h5scene.record import Array
    from h5scene.store import Durability

T = TypeVar("T")

_MAX_LOST = 10_000
_LISTS_LOST = "its list of frames is damaged; frames may be missing that nothing leads to"
_LINKS_LOST = (
    "its frames were found without what leads to them, and put together by the order in which they "
    "stand; they may be of different scenes"
)
_NAME_LOST = "was found without what leads to it; its name, or that of its scene, is lost"


@dataclass(frozen=True)
class Lost:
    """Something that could not be saved, or not all of it.

    Attributes:
        path: HDF5 path in the damaged file; `@name` for a property.
        message: Why.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True)
class Recovered:
    """What `recover` has saved.

    Attributes:
        file: Path of the new file.
        counts: How many `scenes`, `fields`, `frames`, `files` (attached ones), `properties`,
            `curves`, `times` and `arrays` are in it, and how many of the frames have lost their
            `descriptions` and are plain tensors.
        lost: What could not be read; 10,000 entries at most.
        lost_count: How many there are.
    """

    file: str
    counts: dict[str, int] = field(default_factory=dict)
    lost: tuple[Lost, ...] = ()
    lost_count: int = 0


def recover(
    bad: str | os.PathLike[str],
    good: str | os.PathLike[str],
    *,
    compression: Compression = "fast",
    workers: int | None = None,
    max_array_bytes: int | None = None,
    durability: Durability = "process",
    on_progress: Callable[[str, int, int], object] | None = None,
) -> Recovered:
    """Saves all that can be read of a damaged file into a new one.

    These are frames, properties, curves, times, attached files and arrays. What has a checksum is
    saved only if it is as it was written. Where the way to it is gone, the file is searched for it;
    scenes and fields whose names are lost get made-up ones, and fields whose descriptions are lost
    become tensors. Statistics of frames are left out.

    The file is read by processes with limits, so that nothing in it can end this one.

    Args:
        bad: Path of the damaged file, which is not changed.
        good: Path of the new file, which must not exist.
        compression: Of the new file; see `SceneFile`.
        workers: Number of threads; by default one for each processor that may be used.
        max_array_bytes: How large one array in the file may be; all of the memory by default.
        durability: Of the new file; see `SceneFile`.
        on_progress: Called with what is being done (`saving`, `searching`), and how many bytes of
            how many are done.

    Durability:
        The new file appears when it is complete.

    Raises:
        NotFoundError: There is no damaged file.
        AlreadyExistsError: The new file exists.
        CorruptDataError: Nothing was found that could be saved.
        UnsupportedVersionError: A newer h5scene wrote the file.
        InvalidInputError: `workers` or `max_array_bytes` is no such number.
        ReadOnlyError: The new file cannot be written there.
        StorageError: The disk is full or failed.
    """
    check_workers(workers)
    threads = default_workers() if workers is None else workers
    place = _existing(bad)
    if max_array_bytes is not None and max_array_bytes < 1:
        raise InvalidInputError(
            f"max_array_bytes must be a positive whole number, not {max_array_bytes!r}"
        )
    sandbox = Sandbox(max_array_bytes or memory_bytes())
    run = _Run(place, sandbox, max_array_bytes, on_progress)
    target = scene_file_path(good)
    try:

        def fill(h5: h5py.Group) -> None:
            run.save_all(Writer(h5, target, compression, threads))

        create_store(target, initialise, durability=durability, fill=fill).close()
    finally:
        sandbox.stop()
    return Recovered(target, dict(run.counts), tuple(run.lost), run.lost_count)


def _existing(path: str | os.PathLike[str]) -> str:
    """Returns the path of a file that exists, with or without its suffix."""
    for candidate in (os.fspath(path), scene_file_path(path)):
        if Path(candidate).is_file():
            return candidate
    raise NotFoundError(f"there is no file {os.fspath(path)}", file=os.fspath(path))


@dataclass
class _FieldState:
    """What is known of a field of the damaged file.

    Attributes:
        name: The name that was given.
        saved: Frames that are in the new file.
        failed: Frames that are listed and could not be read, and why.
        is_listed: Whether all its frames are known.
        description: That of its frames.
    """

    name: str
    saved: set[int] = field(default_factory=set)
    failed: dict[int, str] = field(default_factory=dict)
    is_listed: bool = False
    description: FieldDescription | None = None


class _Run:
    """One recovery.

    Attributes:
        counts: What was saved.
        lost: What was not.
        lost_count: How much that is.
    """

    def __init__(
        self,
        path: str,
        sandbox: Sandbox,
        max_array_bytes: int | None,
        on_progress: Callable[[str, int, int], object] | None,
    ):
        self._path = path
        self._sandbox = sandbox
        self._max_array_bytes = max_array_bytes
        self._on_progress = on_progress
        self._size_bytes = Path(path).stat().st_size
        self._saved_bytes = 0
        self._fields: dict[tuple[str, str], _FieldState] = {}
        self._listed: set[str] = set()  # scenes whose fields are all known
        self._parts: set[tuple[str, str]] = set()  # what is saved of scenes beside fields
        self._part_problems: dict[tuple[str, str], str] = {}
        self._is_root_listed = False
        self._is_complete = False  # nothing can be there that is not listed
        self._known: set[str] = set()  # scenes that the file lists
        self._renamed: dict[str, str] = {}  # what scenes are called in the new file
        self._donors: dict[str, FieldDescription] = {}
        self._is_damaged = False
        self._lost_scenes: list[str] = []
        self._orphaned: set[tuple[str, str]] = set()
        self.counts: Counter[str] = Counter()
        self.lost: list[Lost] = []
        self.lost_count = 0

    def save_all(self, writer: Writer) -> None:
        """Saves what can be reached, and then what can be found."""
        whole = Source(self._path, None, 0, self._max_array_bytes)
        places = self._places_of(whole)
        if not places and not self._is_root_listed:
            without_store = sources.mended(self._path, self._max_array_bytes)
            if without_store is not None:
                whole = without_store
                places = self._places_of(whole)
        for place in places:
            self._save_place(writer, whole, place)
        self._is_complete = (
            self._is_root_listed
            and self._known <= self._listed
            and all(state.is_listed for state in self._fields.values())
        )
        if self._is_damaged:
            report = None if self._on_progress is None else partial(self._on_progress, "searching")
            source, rebuilt = sources.searched(self._path, self._max_array_bytes, report)
            taken = {place.scene for place in rebuilt.places} | self._known
            for found in rebuilt.places:
                place = replace(found, scene=self._usable(found.scene, taken))
                self._save_place(writer, source, place, is_found=True)
            if not self._is_complete:
                self._save_orphans(writer, source, rebuilt.orphans)
        if not self._is_root_listed:
            self._lose("/", "the list of scenes is damaged; some may be missing")
        self._note_lost()
        self.counts["scenes"] = len(
            {scene for scene, _ in self._fields} | {scene for scene, _ in self._parts}
        )
        self.counts["fields"] = sum(bool(state.saved) for state in self._fields.values())
        if self._is_damaged and not (self.counts["scenes"] or self._is_root_listed):
            raise CorruptDataError(f"nothing of {self._path} was found that could be saved")

    # --- where to read ----------------------------------------------------------------------------

    def _places_of(self, source: Source) -> list[Place]:
        """Returns the scenes of a file that HDF5 opens."""
        try:
            found, problems = self._ask(reading.scenes, source)
        except UnsupportedVersionError:
            raise
        except H5SceneError as error:
            self._damaged("/", error)
            return []
        self._is_root_listed = not problems
        for path, message in problems:
            self._lose(path, message)
        places = [Place(scene, self._usable(scene, found)) for scene in found]
        self._known.update(place.scene for place in places)
        return places

    def _usable(self, scene: str, taken: Collection[str]) -> str:
        """Returns the name that a scene gets: its own, unless no scene can have that."""
        if scene not in self._renamed:
            try:
                self._renamed[scene] = names.scene_link(scene)
            except InvalidNameError as error:
                free = self._made_up({*taken, *self._renamed.values()})
                self._renamed[scene] = free
                self._lose(f"/{scene}", f"its name: {error}; the scene is now {free!r}")
        return self._renamed[scene]

    # --- one scene --------------------------------------------------------------------------------

    def _save_place(
        self, writer: Writer, source: Source, place: Place, *, is_found: bool = False
    ) -> None:
        """Saves a scene, or what was found of one and is not saved yet."""
        if is_found and place.scene not in self._known and self._is_complete:
            return  # it was removed, and its bytes are still there
        if place.fields is None:
            for which in PARTS:
                self._save_part(writer, source, place, which)
            if is_found:
                return
        if is_found:
            stored = {
                link: self._given_name(source, place, link, name)
                for link, name in (place.fields or {}).items()
            }
        else:
            try:
                stored = self._ask(reading.fields, source, place.stand_in)
                self._listed.add(place.scene)
            except H5SceneError as error:
                self._damaged(f"/{place.scene}", error)
                return
        for link, name in stored.items():
            self._save_field(writer, source, place, link, name, is_found=is_found)

    def _given_name(self, source: Source, place: Place, link: str, name: str) -> str:
        """Returns the name that was given to a field that was found; else the stored one."""
        try:
            return self._ask(reading.given_name, source, place.stand_in, link, name)
        except H5SceneError as error:
            raise_if_not_about_file(error)
            return name

    def _save_part(self, writer: Writer, source: Source, place: Place, which: str) -> None:
        """Saves the properties, times, curves, attached files or arrays of a scene."""
        key = (place.scene, which)
        if key in self._parts:
            return
        path = f"/{place.scene}/{which}"
        try:
            problems = PARTS[which](partial(self._ask_of, source), writer, place, self.counts)
        except H5SceneError as error:
            self._damaged(path, error)
            self._part_problems.setdefault(key, _said(error, place))
            return
        self._parts.add(key)
        self._part_problems.pop(key, None)
        for where, message in problems:
            self._is_damaged = True
            self._lose(f"/{place.scene}/{where}", message)

    # --- one field --------------------------------------------------------------------------------

    def _save_field(
        self,
        writer: Writer,
        source: Source,
        place: Place,
        link: str,
        name: str,
        *,
        is_found: bool,
    ) -> None:
        """Saves the frames of a field that are not saved yet."""
        is_new = (place.scene, name) not in self._fields
        if is_found and is_new and place.scene in self._listed:
            return  # it was removed, and its bytes are still there
        state = self._fields.setdefault((place.scene, name), _FieldState(name))
        try:
            numbers = self._ask(reading.frames, source, place.stand_in, link)
        except H5SceneError as error:
            self._damaged(f"/{place.scene}/{name}", error)
            self._learn_description(source, place, link, name)
            return
        if is_found and state.is_listed:
            numbers = [number for number in numbers if number in state.failed]
        if not is_found:
            state.is_listed = True
        for number in numbers:
            if number not in state.saved:
                self._save_frame(writer, source, place, link, state, number)

    def _learn_description(self, source: Source, place: Place, link: str, name: str) -> None:
        """Reads the description of a field of which no frames are listed."""
        try:
            found = self._ask(reading.description, source, place.stand_in, link)
        except H5SceneError as error:
            raise_if_not_about_file(error)
        else:
            self._donors.setdefault(name, found)

    def _save_orphans(self, writer: Writer, source: Source, paths: Iterable[str]) -> None:
        """Saves frames that nothing leads to any more.

        Their checksums tell their numbers. Those that follow one another are taken for one field,
        as scenes are written one after the other, or a frame of each in turn.
        """
        expected = 0
        scenes: dict[tuple[str, tuple[int, ...]], list[_FieldState]] = {}
        for path in paths:
            try:
                found = self._ask(reading.orphan, source, path, expected)
            except H5SceneError as error:
                raise_if_not_about_file(error)
                continue
            if found is None:
                continue
            expected, values = found
            kind = (values.dtype.name, values.shape)
            states = scenes.setdefault(kind, [])
            free = (i for i, one in enumerate(states) if max(one.saved, default=-1) < expected)
            which = next(free, len(states))
            if which == len(states):
                states.append(_FieldState(self._name_by_form(kind)))
            state, scene = states[which], self._lost_scene(which)
            self._fields[scene, state.name] = state
            self._orphaned.add((scene, state.name))
            self._write(writer, scene, state, expected, self._without_description(state, values))

    def _name_by_form(self, kind: tuple[str, tuple[int, ...]]) -> str:
        """Returns the name of the only field that can have such values, or else a made-up one."""
        dtype, shape = kind
        fitting = [name for name, one in self._donors.items() if len(one.dims) == len(shape)]
        if len(fitting) == 1:
            return fitting[0]
        return "_".join(["values", dtype, *map(str, shape)])

    def _lost_scene(self, number: int) -> str:
        """Returns the name of a scene for frames that nothing leads to."""
        while number >= len(self._lost_scenes):
            taken = {scene for scene, _ in self._fields} | {*self._known, *self._lost_scenes}
            self._lost_scenes.append(self._made_up({*taken, *self._renamed.values()}))
        return self._lost_scenes[number]

    def _made_up(self, taken: Collection[str]) -> str:
        """Returns a name for a scene that no other one has."""
        free = (f"{MADE_UP}{i:06d}" for i in itertools.count())
        return next(name for name in free if name not in taken)

    def _save_frame(
        self,
        writer: Writer,
        source: Source,
        place: Place,
        link: str,
        state: _FieldState,
        number: int,
    ) -> None:
        """Saves a frame, without its description if need be."""
        try:
            record, error = self._ask(reading.frame, source, place.stand_in, link, number)
        except H5SceneError as cause:
            self._damaged(f"/{place.scene}/{state.name}/{number:06d}", cause)
            try:
                found = self._ask(reading.values, source, place.stand_in, link, number)
            except H5SceneError as again:
                raise_if_not_about_file(again)
                state.failed.setdefault(number, _said(cause, place, link, state.name))
                return
            record, error = self._without_description(state, found), 0.0
        else:
            state.description = record.description
            self._donors[state.name] = record.description
        self._write(writer, place.scene, state, number, record, error)

    def _write(
        self,
        writer: Writer,
        scene: str,
        state: _FieldState,
        number: int,
        record: FieldRecord,
        error: float = 0.0,
    ) -> None:
        """Writes a frame into the new file."""
        why = write_found(writer.frame, scene, state.name, number, record, error)
        if why is not None:
            state.failed[number] = why
            self._is_damaged = True
            return
        state.saved.add(number)
        state.failed.pop(number, None)
        self.counts["frames"] += 1
        self._saved_bytes += record.values.nbytes
        if self._on_progress is not None:
            self._on_progress("saving", min(self._saved_bytes, self._size_bytes), self._size_bytes)

    def _without_description(self, state: _FieldState, values: Array) -> FieldRecord:
        """Returns values with the description of their field elsewhere, or as a tensor."""
        donor = state.description or self._donors.get(state.name)
        if donor is not None and len(donor.dims) == values.ndim and not _needs_members(donor):
            return FieldRecord(donor, values)
        self.counts["descriptions"] += 1
        dims = tuple(DimSpec(f"axis_{i}", "spatial") for i in range(values.ndim))
        return FieldRecord(FieldDescription(TENSOR, dims, None, {}, {}), values)

    # --- inside -----------------------------------------------------------------------------------

    def _ask_of(self, source: Source, function: Callable[..., T], *arguments: Any) -> T:
        """Returns what the child reads, of a source that is given first."""
        return self._ask(function, source, *arguments)

    def _ask(self, function: Callable[..., T], source: Source, *arguments: Any) -> T:
        """Returns what the child reads."""
        found: T = self._sandbox.call(
            function, source, *arguments, size_bytes=self._size_bytes // 16
        )
        return found

    def _damaged(self, path: str, error: H5SceneError) -> None:  # noqa: ARG002
        """Notes that something could not be read where it should be."""
        raise_if_not_about_file(error)
        self._is_damaged = True

    def _lose(self, path: str, message: str) -> None:
        """Notes something that is not saved."""
        self._is_damaged = True
        self.lost_count += 1
        if len(self.lost) < _MAX_LOST:
            self.lost.append(Lost(path, message))

    def _note_lost(self) -> None:
        """Notes what is known to have been there, and was found nowhere."""
        for (scene, which), message in self._part_problems.items():
            self._lose(f"/{scene}/{which}", message)
        for (scene, name), state in self._fields.items():
            for number, message in sorted(state.failed.items()):
                self._lose(f"/{scene}/{name}/{number:06d}", message)
            if not state.is_listed:
                is_made_up = scene.startswith(MADE_UP) and scene not in self._known
                message = _NAME_LOST if is_made_up else _LISTS_LOST
                if (scene, name) in self._orphaned:
                    message = _LINKS_LOST
                self._lose(f"/{scene}/{name}", message)


def _said(error: H5SceneError, place: Place, link: str = "", name: str = "") -> str:
    """Returns what an error says, with the names that things have in the damaged file."""
    message = str(error).replace(f"/{place.stand_in}/{link}/", f"/{place.scene}/{name}/")
    return message.replace(f"/{place.stand_in}/", f"/{place.scene}/")


def _needs_members(description: FieldDescription) -> bool:
    """Whether a description is not enough to make a field of values."""
    return description.field_type == "Field" or "field" in str(description.boundary)
