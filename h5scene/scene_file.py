"""One HDF5 file of scenes as records: the room where the file format and the store meet.

`SceneFile` needs no PhiFlow. Every call that changes the file is one transaction and happens
completely or not at all; `SceneFile.transaction` makes several calls one.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from h5scene import background as background_writing
from h5scene.errors import (
    AlreadyExistsError,
    CorruptDataError,
    H5SceneError,
    InvalidInputError,
    NotASceneFileError,
    NotFoundError,
    ReadOnlyError,
)
from h5scene.format import attached_files, codec, layout, names, properties, tables, tree
from h5scene.format.rounding import digits_by_field
from h5scene.format.workers import check_workers, default_workers
from h5scene.paths import scene_file_path
from h5scene.record import copied_records
from h5scene.store import create_store, open_store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    import h5py

    from h5scene.format.filters import Compression
    from h5scene.record import Array, FieldRecord
    from h5scene.store import Durability, Store

T = TypeVar("T")
Mode: TypeAlias = Literal["r", "r+", "a", "x"]

DEFAULT_LOCK_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Curve:
    """A scalar over steps.

    Attributes:
        steps: Step of each entry, of shape `(n,)`.
        values: Value at each step, of shape `(n,)`; `(n, k)` for curves of `k` values a step.
    """

    steps: Array
    values: Array


class SceneFile:
    """One HDF5 file of scenes; their fields, frames, properties, curves and attached files.

    Args:
        path: Path of the file; `.h5` is added where it has no HDF5 suffix.
        mode: `r` reads an existing file, `r+` reads and writes it, `a` creates it when there is
            none, `x` creates it and fails when there is one.
        durability: `process`: what a call wrote survives the death of this process. `power`: a
            power loss, too.
        lock_timeout_s: How long to wait for other processes, in seconds.
        compression: `fast`, `small`, or `None` for none. All are lossless and readable by every
            HDF5 library.
        workers: Number of threads that compress and decompress; by default one for each processor
            that this process may use.
        background: Whether `write_frame`, `put_times` and `log_scalars` return before they have
            happened; see `flush`.

    Durability:
        Each call that changes the file is a transaction: when it has returned, its changes survive;
        a call that did not return has happened completely or not at all.
        In the background, that holds from `flush` on.

    Raises:
        NotFoundError: Mode `r` or `r+`, and there is no such file.
        AlreadyExistsError: Mode `x`, and there is one.
        NotASceneFileError: The path is a directory, another kind of file, or an HDF5 file of
            another program.
        UnsupportedVersionError: The file was written by a newer h5scene.
        ReadOnlyError: The file has to be created, and the directory cannot be written.

    Example:
        >>> with SceneFile("runs.h5") as file:
        ...     file.create_scenes("sim", 2)
        ('sim_000000', 'sim_000001')
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Mode = "a",
        *,
        durability: Durability = "process",
        lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
        compression: Compression = "fast",
        workers: int | None = None,
        background: bool = False,
    ):
        _check_option("mode", mode, ("r", "r+", "a", "x"))
        _check_option("durability", durability, ("process", "power"))
        _check_option("compression", compression, ("fast", "small", None))
        check_workers(workers)
        _check_option("background", background, (True, False))
        self._path = scene_file_path(path)
        self._mode = mode
        self._durability: Durability = durability
        self._lock_timeout_s = lock_timeout_s
        self._compression: Compression = compression
        self._workers = default_workers() if workers is None else workers
        self._is_background = background
        self._store: Store | None = self._open_or_create()
        self._read(lambda _: None)  # a file that is none of ours is refused here, not at first use
        if background:
            background_writing.prepare()

    @property
    def path(self) -> str:
        """Path of the file, as given, with its suffix."""
        return self._path

    @property
    def mode(self) -> Mode:
        """How the file was opened: `r` for reading only, else `r+`, `a` or `x`."""
        return self._mode

    def flush(self) -> None:
        """Waits until all that was written to this file in the background is committed.

        Nothing is waited for where nothing is written in the background. Changes that wait are made
        in the order of their calls, each of them completely or not at all. All other calls on the
        file do this first, so that they see what was written before. Python does it before it
        exits; a process that is killed loses what waits. At most 256 MiB wait for a file: a call
        that would add more waits for room.

        Raises:
            H5SceneError: What a change in the background raised. Every error is raised once, by the
                next call on this file, which then does nothing else; those changes have not
                happened, later ones have.
        """
        with self._located(None):
            background_writing.flush(self._opened().path)

    def close(self) -> None:
        """Closes the file; later calls fail. Everything that was written is committed then.

        Raises:
            H5SceneError: As `flush`.
        """
        store = self._store
        if store is not None:
            try:
                background_writing.flush(store.path)
            finally:
                self._store = None
                store.close_if_idle()

    def __enter__(self) -> SceneFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SceneFile({self._path!r}, mode={self._mode!r})"

    @contextmanager
    def transaction(self) -> Iterator[SceneFile]:
        """Makes everything that is written inside one commit; on an error, nothing of it happens.

        Other processes that want to write wait until the transaction ends; readers do not.

        Raises:
            ReadOnlyError: The file cannot be written.
            BusyError: Another process is writing and did not finish within the timeout.
            StorageError: The disk is full or failed; the file is at its last committed state.
        """
        with self._transaction(), background_writing.direct(self._opened().path):
            yield self

    # --- scenes -----------------------------------------------------------------------------------

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of all scenes, sorted."""
        return self._read(lambda file: file.scene_names())

    def has_scene(self, scene: str) -> bool:
        """Whether there is a scene of this name."""
        return self._read(lambda file: file.has_scene(scene))

    def create_scenes(self, name: str, count: int = 1) -> tuple[str, ...]:
        """Creates new scenes of the series `name`, and returns their names.

        They are numbered on from the highest number; two processes never get the same.

        Raises:
            InvalidNameError: `name` cannot be the name of a scene.
        """
        with self._located(None):
            names.scene_link(name)
        with self._transaction() as file:
            numbers = [names.scene_number(link, name) for link in codec.text_names(file.h5)]
            first = max((number for number in numbers if number is not None), default=-1) + 1
            created = [names.numbered_scene(name, first + i) for i in range(count)]
            for scene in created:
                names.scene_link(scene)  # with its number it may be too long
            for scene in created:
                file.create_scene(scene)
        return tuple(created)

    def create_scene(self, scene: str) -> None:
        """Creates the scene when there is none of this name.

        Raises:
            InvalidNameError: `scene` cannot be the name of a scene.
            AlreadyExistsError: Something that is no scene has this name.
        """
        with self._located(None):
            names.scene_link(scene)
        with self._transaction(scene) as file:
            if not file.has_scene(scene):
                if scene in file.h5:
                    raise AlreadyExistsError(
                        f"{self._path} holds something named {scene!r} that is no scene"
                    )
                file.create_scene(scene)

    def remove_scenes(self, scenes: Iterable[str]) -> None:
        """Removes these scenes with all they hold; those that do not exist are passed over.

        Later writes may use the space again; the file itself does not become smaller.
        """
        with self._transaction() as file:
            for scene in scenes:
                if file.has_scene(scene):
                    file.remove_scene(scene)

    def rename_scene(self, scene: str, new_name: str) -> None:
        """Gives the scene another name.

        Raises:
            SceneNotFoundError: There is no such scene.
            AlreadyExistsError: The new name is taken.
            InvalidNameError: `new_name` cannot be the name of a scene.
        """
        with self._located(scene):
            names.scene_link(new_name)
        with self._transaction(scene) as file:
            file.scene(scene)
            if new_name == scene:
                return
            if new_name in file.h5:
                raise AlreadyExistsError(
                    f"cannot rename {scene!r} to {new_name!r}: {self._path} has it already; "
                    "remove it first, or choose another name"
                )
            file.move_scene(scene, new_name)

    # --- fields and frames ------------------------------------------------------------------------

    def fieldnames(self, scene: str) -> tuple[str, ...]:
        """Returns the names of all fields of the scene, sorted.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        return self._read(lambda file: file.fieldnames(scene), scene)

    def frames(self, scene: str) -> dict[str, tuple[int, ...]]:
        """Returns the numbers of the frames of each field, sorted.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        return self._read(
            lambda file: {name: file.frames(scene, name) for name in file.fieldnames(scene)}, scene
        )

    def write_frame(
        self,
        frame: int,
        fields: Mapping[str, Mapping[str, FieldRecord]],
        *,
        keep_digits: int | Mapping[str, int] | None = None,
    ) -> None:
        """Writes fields of one frame, given by scene and name: all of them become visible, or none.

        A field that is stored under this name and frame already is replaced.

        Args:
            frame: Frame number, at least 0.
            fields: Fields by scene and name.
            keep_digits: Number of decimal digits to keep of floats and complex numbers, of all
                fields or by name of the field. Every value then differs by less than half a unit
                in its last digit; `max_relative_error` tells by how much at most. All bits by
                default.

        Raises:
            InvalidInputError: `frame` is negative or no whole number, or `keep_digits` is none or
                names a field that is not written.
            InvalidNameError: A name is empty or reserved once normalised, or stands for a field
                spelled otherwise.
            SceneNotFoundError: There is no such scene.
            ReadOnlyError: The file cannot be written.
            BusyError: Another process is writing and did not finish within the timeout.
            StorageError: The disk is full or failed; the file is at its last committed state.
        """
        with self._located(None):
            names.frame_link(frame)
            digits = digits_by_field(keep_digits, {name for f in fields.values() for name in f})
        for scene, records in fields.items():
            with self._located(scene):
                names.check_distinct(records)
        byte_count = 0
        if self._may_wait():
            fields, byte_count = copied_records(fields)

        def write(file: tree.SceneTree) -> None:
            planned = []
            for scene, records in fields.items():
                with self._located(scene):
                    file.check_scene(scene)
                    planned += [
                        file.plan_frame(scene, name, frame, record, keep_digits=digits.get(name))
                        for name, record in records.items()
                    ]
            for plan in planned:
                file.write_frame(plan, self._compression, workers=self._workers)

        self._change(write, byte_count)

    def read_frames(
        self, scenes: Sequence[str], fieldnames: Sequence[str], frame: int
    ) -> list[tuple[FieldRecord, ...]]:
        """Returns, for each scene, fields of one frame: all from the same state of the file.

        Raises:
            SceneNotFoundError: There is no such scene.
            FieldNotFoundError: A scene has no field of this name.
            FrameNotFoundError: The field is not stored for this frame.
            CorruptDataError: What is stored is not what the file format says.
        """

        def read(file: tree.SceneTree) -> list[tuple[FieldRecord, ...]]:
            found = []
            for scene in scenes:
                with self._located(scene):
                    found.append(
                        tuple(
                            file.read_field(scene, name, frame, workers=self._workers)
                            for name in fieldnames
                        )
                    )
            return found

        return self._read(read)

    def read_frame(self, scene: str, name: str, frame: int) -> FieldRecord:
        """Returns one field of one frame; raises as `read_frames` does."""
        return self._read(
            lambda file: file.read_field(scene, name, frame, workers=self._workers), scene
        )

    def read_values(
        self, scene: str, name: str, frame: int, region: Mapping[str, slice] | None = None
    ) -> Array:
        """Returns the values of one field of one frame, or a part of them.

        Only the chunks that the part touches are read from the file.

        Args:
            scene: Name of the scene.
            name: Name of the field.
            frame: Frame number.
            region: A slice with a positive step by name of the dim. All of the other dims.

        Shapes:
            The axes are those of the stored dims, in their order; a dim in `region` keeps its axis.
            Staggered values are in PhiFlow's padded layout.

        Raises:
            InvalidInputError: The field has no such dim, or a part is no such slice.
            H5SceneError: As `read_frames`.
        """
        return self._read(
            lambda file: file.read_values(scene, name, frame, region or {}, workers=self._workers),
            scene,
        )

    def max_relative_error(self, scene: str, name: str, frame: int) -> float:
        """Returns by how much of their magnitude values were rounded at most; 0 if not at all.

        Raises as `read_frames` does.
        """
        return self._read(lambda file: file.max_relative_error(scene, name, frame), scene)

    # --- properties -------------------------------------------------------------------------------

    def properties(self, scene: str) -> dict[str, Any]:
        """Returns the properties of the scene, sorted by name; tensors in them are `TensorRecord`.

        Raises:
            SceneNotFoundError: There is no such scene.
            CorruptDataError: A property is not what the file format says.
        """
        return self._read(lambda file: properties.read_properties(file.scene(scene)), scene)

    def put_properties(
        self, updates: Mapping[str, Mapping[str, Any]], *, replace: bool = False
    ) -> None:
        """Sets properties, given by scene and name: all of them, or none.

        Other properties stay as they are, or are removed with `replace`.

        Raises:
            InvalidNameError: A name is no string, or `__kind__`.
            InvalidInputError: JSON cannot hold a value.
            SceneNotFoundError: There is no such scene.
        """
        texts = {}
        for scene, update in updates.items():
            with self._located(scene):
                texts[scene] = properties.property_texts(update)
        with self._transaction() as file:
            groups = {scene: file.scene(scene) for scene in texts}
            self._check_properties(groups)
            for scene, group in groups.items():
                properties.write_properties(group, texts[scene], replace=replace)

    def remove_property(self, scenes: Iterable[str], name: str) -> None:
        """Removes one property from these scenes, where they have it.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        with self._transaction() as file:
            groups = {scene: file.scene(scene) for scene in scenes}
            self._check_properties(groups)
            for group in groups.values():
                properties.remove_property(group, name)

    def _check_properties(self, groups: Mapping[str, h5py.Group]) -> None:
        """Raises CorruptDataError where the stored properties of a scene cannot be changed."""
        for scene, group in groups.items():
            with self._located(scene):
                properties.check_properties(group)

    # --- times and curves -------------------------------------------------------------------------

    def times(self, scene: str) -> dict[int, float]:
        """Returns the physical time of each frame that has one, by frame.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        rows = self._read(
            lambda file: tables.read_table(file.scene(scene), layout.TIMES_DATASET), scene
        )
        return {int(frame): float(time) for frame, time in sorted(rows.tolist())}

    def put_times(self, frame: int, times: Mapping[str, float]) -> None:
        """Sets the physical time of a frame, given by scene. The frame need not be stored yet.

        Raises:
            InvalidInputError: `frame` is negative or no whole number, or a time is not finite.
            SceneNotFoundError: There is no such scene.
        """
        with self._located(None):
            number = int(names.frame_link(frame))
            if number > layout.MAX_TIMED_FRAME:
                raise InvalidInputError(
                    f"frame {number} cannot have a time; frames up to {layout.MAX_TIMED_FRAME} can"
                )
        for scene, time in times.items():
            with self._located(scene):
                if not isfinite(time):
                    raise InvalidInputError(
                        f"the time of frame {number} must be finite, not {time!r}"
                    )
        rows = {scene: (number, float(time)) for scene, time in times.items()}

        def put(file: tree.SceneTree) -> None:
            groups = {scene: file.scene(scene) for scene in rows}
            for scene, group in groups.items():  # all that can be refused, before any change
                if layout.TIMES_DATASET in group:
                    with self._located(scene):
                        tables.check_table(group[layout.TIMES_DATASET])
            for scene, row in rows.items():
                tables.put_row(groups[scene], layout.TIMES_DATASET, layout.TIME_COLUMNS, row)

        self._change(put)

    def curves(self, scene: str) -> dict[str, Curve]:
        """Returns the scalar curves of the scene, sorted by name.

        Raises:
            SceneNotFoundError: There is no such scene.
        """

        def read(file: tree.SceneTree) -> dict[str, Array]:
            group = file.scene(scene).get(layout.CURVES_GROUP)
            return {
                name: tables.read_table(group, name)
                for name in sorted(codec.text_names(group or ()))
            }

        return {
            name: Curve(rows[:, 0], rows[:, 1] if rows.shape[1] == 2 else rows[:, 1:])
            for name, rows in self._read(read, scene).items()
        }

    def log_scalars(self, step: float, rows: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Appends one step to curves, given by scene and name: to all of them, or to none.

        Raises:
            InvalidNameError: A name is empty or holds a slash.
            InvalidInputError: A curve has another number of values a step.
            SceneNotFoundError: There is no such scene.
        """
        for scene, values in rows.items():
            with self._located(scene):
                for name in values:
                    names.curve_link(name)
        rows = {
            scene: {name: tuple(row) for name, row in values.items()}
            for scene, values in rows.items()
        }

        def log(file: tree.SceneTree) -> None:
            for scene, values in rows.items():
                group = file.scene(scene).get(layout.CURVES_GROUP, {})
                for name, row in values.items():
                    stored = group.get(name)
                    if stored is not None:
                        with self._located(scene):
                            tables.check_table(stored)
                    if stored is not None and stored.shape[1:] != (1 + len(row),):
                        raise InvalidInputError(
                            f"curve {name!r} of {file.where(scene)} has {stored.shape[1] - 1} "
                            f"values a step, not {len(row)}; log it under another name",
                            location=f"/{scene}",
                        )
            for scene, values in rows.items():
                group = file.scene(scene).require_group(layout.CURVES_GROUP)
                for name, row in values.items():
                    columns = names.curve_columns(name, len(row))
                    tables.append_row(group, name, columns, (step, *row))

        self._change(log)

    # --- attached files ---------------------------------------------------------------------------

    def files(self, scene: str) -> tuple[str, ...]:
        """Returns the names of the files attached to the scene, such as `src/plume.py`, sorted.

        Raises:
            SceneNotFoundError: There is no such scene.
        """
        return self._read(lambda file: attached_files.attached_files(file.scene(scene)), scene)

    def read_file(self, scene: str, name: str) -> bytes:
        """Returns the content of an attached file.

        Raises:
            NotFoundError: No file of this name is attached.
            SceneNotFoundError: There is no such scene.
        """
        with self._located(scene):
            link = names.attached_file_link(name)

        def read(file: tree.SceneTree) -> bytes:
            group = file.scene(scene)
            files = attached_files.attached_files(group)
            if link not in files:
                raise NotFoundError(
                    f"no file {name!r} is attached to {file.where(scene)}; {names.listed(files)}"
                )
            return attached_files.read_bytes(group[layout.FILES_GROUP][link])

        return self._read(read, scene)

    def write_files(self, files: Mapping[str, Mapping[str, bytes]]) -> None:
        """Attaches files, given by scene and name, in place of those that have the name.

        All of them become visible, or none.

        Raises:
            InvalidNameError: A name is empty, absolute, or leaves the scene.
            AlreadyExistsError: A path would be a file and a directory.
            SceneNotFoundError: There is no such scene.
        """
        for scene, contents in files.items():
            with self._located(scene):
                for name in contents:
                    names.attached_file_link(name)
        with self._transaction() as file:
            for scene, contents in files.items():
                with self._located(scene):
                    attached_files.check_attachable(file.scene(scene), contents, file.where(scene))
            for scene, contents in files.items():
                group = file.scene(scene).require_group(layout.FILES_GROUP)
                for name, content in contents.items():
                    attached_files.write_bytes(group, name, content)

    def remove_file(self, scenes: Iterable[str], name: str) -> None:
        """Removes an attached file from these scenes.

        Raises:
            NotFoundError: One of the scenes has no such file.
            SceneNotFoundError: There is no such scene.
        """
        with self._located(None):
            link = names.attached_file_link(name)
        with self._transaction() as file:
            groups = {scene: file.scene(scene) for scene in scenes}
            for scene, group in groups.items():
                files = attached_files.attached_files(group)
                if link not in files:
                    raise NotFoundError(
                        f"no file {name!r} is attached to {file.where(scene)}; "
                        f"{names.listed(files)}",
                        location=f"/{scene}",
                    )
            for group in groups.values():
                del group[layout.FILES_GROUP][link]

    # --- the store --------------------------------------------------------------------------------

    def _open_or_create(self) -> Store:
        """Returns the store of the file, which is created first where the mode says so."""
        if Path(self._path).is_dir():
            raise NotASceneFileError(
                f"{self._path} is a directory, not a scene file; choose another path",
                file=self._path,
            )
        if self._mode == "x" or (self._mode == "a" and not Path(self._path).exists()):
            directory = Path(self._path).absolute().parent
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise NotASceneFileError(
                    f"cannot create {self._path}: {directory} is no directory", file=self._path
                ) from error
            except PermissionError as error:
                raise ReadOnlyError(
                    f"cannot create {self._path}: {directory} cannot be written", file=self._path
                ) from error
            try:
                return create_store(self._path, tree.initialise, durability=self._durability)
            except AlreadyExistsError:
                if self._mode == "x":
                    raise
                # another process was faster
        return open_store(self._path)

    def _opened(self) -> Store:
        """Returns the store."""
        if self._store is None:
            raise InvalidInputError(f"{self._path} is closed; open it again")
        return self._store

    def _read(self, function: Callable[[tree.SceneTree], T], scene: str | None = None) -> T:
        """Returns what the function returns for a consistent state; it may be called again."""
        with self._located(scene):
            store = self._opened()
            background_writing.flush(store.path)
            try:
                return store.read(
                    lambda h5: function(tree.SceneTree(h5, store.cache, self._path)),
                    lock_timeout_s=self._lock_timeout_s,
                )
            except KeyError as error:  # so h5py says that an object cannot be opened
                raise CorruptDataError(f"{self._path} is damaged: {error.args[0]}") from error

    @contextmanager
    def _transaction(self, scene: str | None = None) -> Iterator[tree.SceneTree]:
        """Gives the file for writing, in a transaction of its own or the one that is open."""
        with self._located(scene):
            store = self._writable()
            background_writing.flush(store.path)
            with store.transaction(
                durability=self._durability, lock_timeout_s=self._lock_timeout_s
            ) as h5:
                yield tree.SceneTree(h5, store.cache, self._path)

    def _writable(self) -> Store:
        """Returns the store, which may be written to."""
        store = self._opened()
        if self._mode == "r":
            raise ReadOnlyError(
                f"{self._path} is open for reading only; open it with mode 'a' to write"
            )
        return store

    def _change(self, change: Callable[[tree.SceneTree], object], byte_count: int = 0) -> None:
        """Makes a change in a transaction of its own, now or in the background.

        Args:
            change: What to do. If it may be done later, its data must not change any more.
            byte_count: Size of these data.
        """

        def make() -> None:
            with self._transaction() as file:
                change(file)

        with self._located(None):
            path = self._writable().path
        if self._may_wait():
            background_writing.put(path, make, byte_count)
        else:
            make()

    def _may_wait(self) -> bool:
        """Whether changes are made in the background now."""
        return self._is_background and not background_writing.is_direct(self._opened().path)

    @contextmanager
    def _located(self, scene: str | None) -> Iterator[None]:
        """Adds to an error in which file, and where in it, it happened."""
        try:
            yield
        except H5SceneError as error:
            error.file = error.file or self._path
            if error.location is None and scene is not None:
                error.location = f"/{scene}"
            raise


def _check_option(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raises InvalidInputError when an option has none of its values."""
    if value not in allowed:
        expected = ", ".join(map(repr, allowed))
        raise InvalidInputError(f"{name} must be one of {expected}, not {value!r}")
