"""`Scene`: the API of `phi.field.Scene`, kept in one HDF5 file.

A scene file stands where PhiFlow has the directory of scenes, a group in it where PhiFlow has a
directory of npz files. COMPATIBILITY.md lists what differs on purpose.
"""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phiml import math
from phiml.math import EMPTY_SHAPE, Shape, Tensor, batch, channel, spatial

from h5scene.calling_script import calling_scripts, context, is_library_file
from h5scene.errors import (
    BatchMismatchError,
    H5SceneError,
    InvalidInputError,
    NotFoundError,
    SceneNotFoundError,
)
from h5scene.format.names import numbered_scene, scene_number, whole_number
from h5scene.paths import scene_file_path
from h5scene.phi_fields import field_from_record
from h5scene.scene_batch import SceneBatch, arranged, in_all
from h5scene.scene_file import DEFAULT_LOCK_TIMEOUT_S, SceneFile
from h5scene.scene_properties import SceneProperties, stored_property

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from phi.field import Field

    from h5scene.format.filters import Compression
    from h5scene.store import Durability


class Scene(SceneBatch):
    """One simulation, or a batch of them, in a scene file.

    Use `Scene.create` for new scenes, `Scene.at` for an existing one and `Scene.list` for all of a
    file.

    A scene has *fields* by name and *frame*, *properties*, scalar *curves* and *attached files*.
    Everything that is written is committed when the call returns, and a call that is cut off has
    changed nothing; `transaction` makes several calls one. A batch may span several files; each of
    them is a transaction of its own.

    Args:
        paths: Path of a scene, such as `runs.h5/sim_000000`, or a `Tensor` of paths for a batch.
        durability: `process`: what a call wrote survives the death of this process. `power`: a
            power loss, too.
        lock_timeout_s: How long to wait for other processes, in seconds.
        compression: `fast`, `small`, or `None` for none. All are lossless and readable by every
            HDF5 library.
        workers: Number of threads that compress and decompress; by default one for each processor
            that this process may use.
        background: Whether `write`, `put_time` and `log_scalars` return before what they write is
            committed, so that the simulation goes on meanwhile; see `flush`.

    Raises:
        InvalidInputError: A path names no scene in a file.

    Example:
        >>> scene = Scene.create("runs")
        >>> scene.write(smoke=CenteredGrid(1.0, 0, x=4, y=3), frame=5)
        >>> scene.frames
        (5,)
    """

    @staticmethod
    def stack(
        *scenes: Scene,
        dim: Shape = batch("batch"),  # noqa: B008  # PhiFlow's signature; shapes are immutable
    ) -> Scene:
        """Returns the scenes as one batch along `dim`."""
        if not scenes:
            raise InvalidInputError("no scenes to stack; give at least one")
        return scenes[0]._with_paths(math.stack([scene._paths for scene in scenes], dim))

    # --- create, list, find -----------------------------------------------------------------------

    @staticmethod
    def create(
        parent_directory: str | os.PathLike[str],
        shape: Shape = EMPTY_SHAPE,
        name: str = "sim",
        copy_calling_script: bool = True,
        *,
        durability: Durability = "process",
        lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
        compression: Compression = "fast",
        workers: int | None = None,
        background: bool = False,
        **dimensions: Any,
    ) -> Scene:
        """Creates a new scene, or a batch of them, in a scene file.

        The file is created when there is none.
        The scenes are numbered on from the highest number in the file; two processes never get the
        same.

        Args:
            parent_directory: Path of the scene file. `./data` stands for `./data.h5`.
            shape: Number of scenes by dim; a single scene when it is empty.
            name: Name of the scenes without their number.
            copy_calling_script: Whether to attach the script that calls this, see
                `copy_calling_script`.
            durability: See `Scene`.
            lock_timeout_s: See `Scene`.
            compression: See `Scene`.
            workers: See `Scene`.
            background: See `Scene`.
            **dimensions: Sizes of further batch dims by name.

        Raises:
            InvalidNameError: `name` cannot be the name of a scene.
            NotASceneFileError: The path is a directory, another kind of file, or an HDF5 file of
                another program.
            ReadOnlyError: The file or its directory cannot be written.
            BusyError: Another process is writing and did not finish within the timeout.

        Example:
            >>> Scene.create("runs", batch(b=3)).shape
            (bᵇ=3)
        """
        dims = shape & batch(**dimensions)
        path = scene_file_path(parent_directory)
        options: dict[str, Any] = {
            "durability": durability,
            "lock_timeout_s": lock_timeout_s,
            "compression": compression,
            "workers": workers,
            "background": background,
        }
        created = SceneFile(path, "a", **options).create_scenes(name, dims.volume)
        paths = [f"{path}/{scene}" for scene in created]
        scene = Scene(arranged(paths, dims), **options)
        if copy_calling_script:
            try:
                scene.copy_calling_script()
            except OSError as error:
                warnings.warn(
                    f"the calling script was not attached to {scene}: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return scene

    @staticmethod
    def list(
        parent_directory: str | os.PathLike[str],
        name: str = "sim",
        include_other: bool = False,
        dim: Shape | None = None,
    ) -> Scene | tuple[Scene, ...]:
        """Returns all scenes of a scene file, by number; none where there is no file.

        Args:
            parent_directory: Path of the scene file. `./data` stands for `./data.h5`.
            name: Name of the scenes without their number.
            include_other: Whether to list scenes of other names as well.
            dim: Dim of the batch to return. A tuple of single scenes when it is `None`.

        Raises:
            NotASceneFileError: The path is a directory, another kind of file, or an HDF5 file of
                another program.
        """
        path = scene_file_path(parent_directory)
        if not Path(path).exists():
            return ()
        found = [
            link
            for link in SceneFile(path, "r").scenes
            if include_other or scene_number(link, name) is not None
        ]
        found.sort(
            key=lambda link: (scene_number(link, name) is None, scene_number(link, name) or 0, link)
        )
        paths = [f"{path}/{link}" for link in found]
        if dim is None:
            return tuple(Scene(path) for path in paths)
        return Scene(math.wrap(paths, dim))

    @staticmethod
    def at(
        directory: str | os.PathLike[str] | Sequence[str] | Tensor | Scene,
        id: int | Tensor | None = None,  # PhiFlow's name
        *,
        durability: Durability = "process",
        lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
        compression: Compression = "fast",
        workers: int | None = None,
        background: bool = False,
    ) -> Scene:
        """Returns an existing scene, or a batch of them.

        Args:
            directory: Path of a scene such as `runs.h5/sim_000000`, or of the scene file when `id`
                is given. A sequence of paths, or a `Tensor` of them, stands for a batch; a sequence
                gets the dim `batch('scenes')`.
            id: Number of the scene, or a `Tensor` of numbers for a batch. Negative numbers count
                from the last scene.
            durability: See `Scene`.
            lock_timeout_s: See `Scene`.
            compression: See `Scene`.
            workers: See `Scene`.
            background: See `Scene`.

        Raises:
            SceneNotFoundError: There is no such scene.
            InvalidInputError: `directory` is a scene already and `id` is given as well, or it is no
                path of a scene.
        """
        if isinstance(directory, Scene):
            if id is not None:
                raise InvalidInputError(f"got id={id}, but {directory} is a scene already")
            return directory
        if not isinstance(directory, (str, os.PathLike, tuple, list, Tensor)):
            raise InvalidInputError(
                f"a scene is found by its path, not by {type(directory).__name__} {directory!r}"
            )
        if isinstance(directory, (tuple, list)):
            directory = math.wrap([os.fspath(path) for path in directory], batch("scenes"))
        elif isinstance(directory, os.PathLike):
            directory = os.fspath(directory)
        paths = math.wrap(directory)
        if id is not None:
            paths = math.map(_numbered_path, paths, math.wrap(id))
        scene = Scene(
            paths,
            durability=durability,
            lock_timeout_s=lock_timeout_s,
            compression=compression,
            workers=workers,
            background=background,
        )
        scene._check_existence()
        return scene

    def mkdir(self) -> None:
        """Creates these scenes where they do not exist, and their file with them."""
        for file, members in self._by_file("a"):
            with file.transaction():
                for member in members:
                    file.create_scene(member.scene)

    def remove(self) -> None:
        """Removes these scenes with all they hold; those that do not exist are passed over."""
        for file, members in self._by_file(existing_only=True):
            file.remove_scenes(member.scene for member in members)

    def rename(self, name: str) -> Scene:
        """Gives the scene another name, and returns it; this object keeps the old name.

        Raises:
            AlreadyExistsError: There is a scene of that name.
            SceneNotFoundError: This scene does not exist.
            InvalidNameError: `name` cannot be the name of a scene.
            InvalidInputError: This is a batch.
        """
        if self.is_batch:
            raise InvalidInputError(
                f"cannot give {len(self._members)} scenes one name {name!r}; rename each of them"
            )
        (member,) = self._members
        self._file(member.file).rename_scene(member.scene, name)
        return self._with_paths(math.wrap(f"{member.file}/{name}"))

    @contextmanager
    def transaction(self) -> Iterator[Scene]:
        """Makes everything that is written inside one commit; on an error, nothing of it happens.

        Other processes that want to write to the file wait until the transaction ends; readers do
        not.

        Example:
            >>> scene = Scene.create("runs")
            >>> with scene.transaction():
            ...     scene.write(smoke=CenteredGrid(1.0, 0, x=4, y=3), frame=0)
            ...     scene.put_time(0, 0.0)

        Raises:
            ReadOnlyError: The file cannot be written.
            BusyError: Another process is writing and did not finish within the timeout.
            StorageError: The disk is full or failed; the file is at its last committed state.
        """
        with ExitStack() as stack:
            for file, _ in self._by_file():
                stack.enter_context(file.transaction())
            yield self

    def flush(self) -> None:
        """Waits until all that was written in the background is committed.

        Scenes with the option `background` write in another thread: `write`, `put_time` and
        `log_scalars` copy what they are given, put it into a queue, and return. Everything else,
        reading too, flushes first. So does leaving a `with` block on the scene, a transaction, and
        Python before it exits. A queue belongs to a file; at most 256 MiB wait in it, and a call
        that would add more waits for room.

        Durability:
            What was written is safe when this has returned, and not before: a process that is
            killed loses what waits. It never loses a frame and keeps a later one: changes are made
            in the order of their calls, each of them completely or not at all.

        Example:
            >>> with Scene.create("runs", background=True) as scene:
            ...     for frame in range(3):
            ...         scene.write(smoke=CenteredGrid(frame, 0, x=4, y=3), frame=frame)
            ...     scene.flush()  # frames 0 to 2 are committed

        Raises:
            H5SceneError: What a write in the background raised. Every such error is raised once, by
                the next call, which then does nothing else. What that write was to change has not
                changed; later ones have been done.
        """
        for file, _ in self._by_file():
            file.flush()

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.flush()
        except H5SceneError:
            if error is None:  # else the one that ended the block says more
                raise

    # --- fields -----------------------------------------------------------------------------------

    def write(
        self,
        data: Mapping[str, Field] | None = None,
        frame: int = 0,
        *,
        keep_digits: int | Mapping[str, int] | None = None,
        **kw_data: Field,
    ) -> None:
        """Writes the fields of one frame: all of them become visible, or none.

        A field already stored under this name and frame is replaced.

        Args:
            data: Maps field names to fields.
            frame: Frame index, at least 0. A label, not a time; see `put_time`.
            keep_digits: Number of decimal digits to keep, of all fields or by name of the field,
                such as `{"smoke": 3}`; all of them by default. The values are rounded, which makes
                them smaller, by at most `0.5 * 10 ** -keep_digits` of their magnitude. The file
                says by how much. Fields of whole numbers stay as they are.
            **kw_data: Further fields; on a name clash these win over `data`.

        Shapes:
            Scene `(bᵇ=B)` and field `(bᵇ=B, xˢ, yˢ, vectorᶜ)`: one `(x, y, vector)` dataset per
            scene. A field without `b` is stored in each of the `B` scenes.

        Durability:
            On return the frame survives the death of this process. If the process dies earlier, the
            file still holds the frame as it was before the call. A batch over several files is one
            such step for each file. With the option `background`, see `flush`.

        Raises:
            InvalidInputError: `frame` is negative or no whole number, a value is no field, or
                `keep_digits` is no number of digits or names a field that is not written.
            InvalidNameError: A name is empty or reserved once normalised, or stands for a field
                spelled otherwise.
            BatchMismatchError: A field has a dim of this scene with another size, type or labels.
            UnsupportedFieldError: A field is of a kind that cannot be stored.
            SceneNotFoundError: The scene does not exist.
            ReadOnlyError: The file cannot be written.
            BusyError: Another process is writing and did not finish within the timeout.
            StorageError: The disk is full or failed; the file is at its last committed state.

        Example:
            >>> scene = Scene.create("runs")
            >>> scene.write({"smoke": CenteredGrid(1.0, 0, x=4, y=3)}, frame=5)
        """
        fields = _merged(data or {}, kw_data, "fields")
        records = {name: self._records(field, name) for name, field in fields.items()}
        for file, members in self._by_file():
            file.write_frame(
                frame,
                {
                    m.scene: {name: by_scene[m.path] for name, by_scene in records.items()}
                    for m in members
                },
                keep_digits=keep_digits,
            )

    def write_field(self, field: Field, name: str, frame: int) -> None:
        """Writes one field; see `write`, which raises the same errors."""
        self.write({name: field}, frame)

    def read(
        self, *names: str | Sequence[str], frame: int = 0, convert_to_backend: bool = True
    ) -> Any:
        """Returns one field, or a list of fields: all from the same state of the file.

        Args:
            *names: Field names, or one sequence of them.
            frame: Frame index.
            convert_to_backend: Whether the values become tensors of PhiML's default backend; NumPy
                else. The precision is the stored one either way.

        Shapes:
            Scene `(bᵇ=B)` with stored `(x, y, vector)`: field `(bᵇ=B, xˢ, yˢ, vectorᶜ)`. Bounds and
            boundary values that differ between the scenes get `b` as well.

        Raises:
            SceneNotFoundError: The scene does not exist.
            FieldNotFoundError: The scene has no field of this name.
            FrameNotFoundError: The field is not stored for this frame.
            BatchMismatchError: The fields of a batch differ in a way that cannot be stacked.
            CorruptDataError: What is stored is not what the file format says.
        """
        is_sequence = len(names) == 1 and isinstance(names[0], (tuple, list))
        wanted: Any = names[0] if is_sequence else names
        stacked = self._read_records(wanted, frame)
        fields = [
            field_from_record(record, convert_to_backend=convert_to_backend) for record in stacked
        ]
        return fields[0] if len(fields) == 1 else fields

    def read_field(self, name: str, frame: int, convert_to_backend: bool = True) -> Field:
        """Returns one field; see `read`, which raises the same errors."""
        return self.read(name, frame=frame, convert_to_backend=convert_to_backend)

    read_array = read_field

    @property
    def fieldnames(self) -> tuple[str, ...]:
        """Names of all fields, sorted; of all scenes of a batch."""
        return tuple(
            sorted(set().union(*self._from_each(lambda file, scene: file.fieldnames(scene))))
        )

    @property
    def frames(self) -> tuple[int, ...]:
        """Numbers of all frames for which a field is stored, sorted; of all scenes of a batch."""
        return tuple(
            sorted(
                {
                    frame
                    for fields in self._from_each(lambda file, scene: file.frames(scene))
                    for frames in fields.values()
                    for frame in frames
                }
            )
        )

    @property
    def complete_frames(self) -> tuple[int, ...]:
        """Numbers of the frames for which every field of the scene is stored, sorted.

        Of a batch, the frames that are complete in every scene.
        """
        complete = [
            set.intersection(*map(set, fields.values())) if fields else set()
            for fields in self._from_each(lambda file, scene: file.frames(scene))
        ]
        return tuple(sorted(set.intersection(*complete)))

    # --- time and curves --------------------------------------------------------------------------

    def put_time(self, frame: int, seconds: float | Tensor) -> None:
        """Sets the physical time of a frame. The frame itself need not be stored yet.

        Args:
            frame: Frame index, at least 0.
            seconds: Physical time, in the unit of the simulation, usually seconds. A `Tensor` may
                have dims of this batch.

        Raises:
            InvalidInputError: `frame` is negative or no whole number, or the time is no finite
                number.
            BatchMismatchError: The time has a dim that this batch has not.
        """
        for file, members in self._by_file():
            file.put_times(frame, {m.scene: self._number(seconds, m, "a time") for m in members})

    @property
    def times(self) -> dict[int, Any]:
        """Physical time by frame, where one is known.

        Shapes:
            In a batch, times that differ between the scenes are a `Tensor` with its dims.
        """
        times = self._from_each(lambda file, scene: file.times(scene))
        return {frame: self._combined([known[frame] for known in times]) for frame in in_all(times)}

    def log_scalars(self, step: float, **values: float | Tensor) -> None:
        """Appends one step to scalar curves: to all of them, or to none.

        A curve is created with its first step.

        Args:
            step: Step or frame number of the values.
            **values: Numbers by the name of the curve. A `Tensor` may have dims of this batch, and
                one further dim for curves of several values a step.

        Raises:
            InvalidNameError: A name holds a slash.
            InvalidInputError: A curve has another number of values a step, or a value is no number.
        """
        for file, members in self._by_file():
            file.log_scalars(
                self._number(step, members[0], "a step"),
                {
                    m.scene: {
                        name: self._numbers(value, m, f"curve {name!r}")
                        for name, value in values.items()
                    }
                    for m in members
                },
            )

    @property
    def curves(self) -> dict[str, Tensor]:
        """Scalar curves by name, as `phi.vis.load_scalars` gives them.

        Shapes:
            `(iterationˢ, vectorᶜ=steps,<name>)`, and `batchᵇ` for curves of several values a step.
            In a batch, curves of equal length get the dims of the batch; of curves of unequal
            length the first steps, which all have.
        """
        curves = self._from_each(lambda file, scene: file.curves(scene))
        combined = {}
        for name in in_all(curves):
            length = min(len(curve[name].steps) for curve in curves)
            tensors = []
            for curve in curves:
                values = curve[name].values[:length]
                dims = (
                    [spatial("iteration")]
                    if values.ndim == 1
                    else [spatial("iteration"), batch("batch")]
                )
                steps = math.wrap(curve[name].steps[:length], spatial("iteration"))
                tensors.append(
                    math.stack([steps, math.wrap(values, *dims)], channel(vector=["steps", name]))
                )
            combined[name] = math.stack(tensors, self.shape) if self.is_batch else tensors[0]
        return combined

    # --- properties -------------------------------------------------------------------------------

    def exist_properties(self) -> bool:
        """Whether the scene, or the first one of a batch, has properties."""
        first = self._members[0]
        return bool(self._file(first.file).properties(first.scene))

    def exists_config(self) -> bool:
        """Whether the scene has properties; whether any scene of a batch has."""
        return any(self._from_each(lambda file, scene: bool(file.properties(scene))))

    @property
    def properties(self) -> dict[str, Any]:
        """Properties by name, read from the file at each access.

        Setting, updating and deleting entries of this dict changes the file; changing a list or
        dict *in* it does not. Assigning a dict to `scene.properties` replaces all properties.

        Shapes:
            In a batch, values that are equal in all scenes stay as they are; others become a
            `Tensor` with its dims.

        Raises:
            BatchMismatchError: A property exists in some scenes of a batch but not in all.
        """
        stored = self._from_each(lambda file, scene: file.properties(scene))
        for name in sorted(set().union(*stored)):
            having = sum(name in properties for properties in stored)
            if having != len(stored):
                raise BatchMismatchError(
                    f"property {name!r} exists in {having} of {len(stored)} scenes; "
                    "set it in all, or read the properties one scene at a time"
                )
        return SceneProperties(
            self,
            {
                name: self._combined([properties[name] for properties in stored])
                for name in stored[0]
            },
        )

    @properties.setter
    def properties(self, properties: Mapping[str, Any]) -> None:
        self._put_properties(_merged(properties, {}, "properties"), replace=True)

    def put_property(self, key: str, value: Any) -> None:
        """Sets one property; see `put_properties`, which raises the same errors."""
        self._put_properties({key: value})

    def put_properties(self, update: Mapping[str, Any] | None = None, **kw_updates: Any) -> None:
        """Sets properties, all of them or none; other properties stay.

        Args:
            update: Values by name: numbers, strings, booleans, None, lists and dicts of these,
                tensors.
            **kw_updates: Further values; on a name clash these win over `update`.

        Shapes:
            A `Tensor` is sliced along the dims of this batch; what is left without dims is stored
            as a number.

        Raises:
            InvalidInputError: JSON cannot hold a value. Nothing is changed.
            InvalidNameError: A name is no string.
            SceneNotFoundError: The scene does not exist.
        """
        self._put_properties(_merged(update or {}, kw_updates, "properties"))

    def _put_properties(self, update: Mapping[str, Any], *, replace: bool = False) -> None:
        for file, members in self._by_file():
            sliced = {
                m.scene: {
                    name: stored_property(name, value, partial(self._sliced, member=m))
                    for name, value in update.items()
                }
                for m in members
            }
            file.put_properties(sliced, replace=replace)

    def remove_property(self, name: str) -> None:
        """Removes one property, where the scene, or scenes of a batch, have it."""
        for file, members in self._by_file():
            file.remove_property([m.scene for m in members], name)

    # --- attached files ---------------------------------------------------------------------------

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the attached files, such as `src/plume.py`, sorted; of all scenes of a batch."""
        return tuple(sorted(set().union(*self._from_each(lambda file, scene: file.files(scene)))))

    def read_file(self, name: str) -> bytes:
        """Returns the content of an attached file.

        Raises:
            NotFoundError: No file of this name is attached.
            BatchMismatchError: The scenes of a batch have different files of this name.
        """
        contents = self._from_each(lambda file, scene: file.read_file(scene, name))
        if any(content != contents[0] for content in contents):
            raise BatchMismatchError(
                f"the scenes have different files {name!r}; read them one scene at a time"
            )
        return contents[0]

    def write_file(self, name: str, content: bytes | str) -> None:
        """Attaches a file to the scene, or to each of a batch; one that has this name is replaced.

        Args:
            name: Path relative to the scene, such as `src/plume.py`.
            content: Bytes, or text to be stored as UTF-8.

        Raises:
            InvalidNameError: `name` is empty, absolute, or leaves the scene.
            AlreadyExistsError: A part of `name` is an attached file.
        """
        self._write_files({name: content})

    def remove_file(self, name: str) -> None:
        """Removes an attached file, from all scenes of a batch.

        Raises:
            NotFoundError: No file of this name is attached.
        """
        for file, members in self._by_file():
            file.remove_file([m.scene for m in members], name)

    def _write_files(self, files: Mapping[str, bytes | str]) -> None:
        contents: dict[str, bytes] = {}
        for name, content in files.items():
            if not isinstance(content, (str, bytes, bytearray, memoryview)):
                raise InvalidInputError(
                    f"the content of {name!r} must be bytes or text, not {type(content).__name__}"
                )
            if isinstance(content, str):
                # Text of the file system may hold bytes that are no UTF-8; these stay as they were.
                content = content.encode(errors="surrogateescape")
            contents[name] = bytes(content)
        for file, members in self._by_file():
            file.write_files({m.scene: contents for m in members})

    def subpath(
        self,
        name: str,
        create: bool = False,  # noqa: ARG002  # as PhiFlow's signature
        create_parent: bool = False,  # noqa: ARG002  # as PhiFlow's signature
    ) -> str | Tensor:
        """Returns the path of an attached file; a `Tensor` of paths in a batch.

        It is that of the scene, a slash, and `name`: a place in the scene file, which `open` does
        not know. Use `read_file` and `write_file`.

        Args:
            name: Path relative to the scene, such as `src/plume.py`.
            create: Has no effect: directories of attached files need not be created.
            create_parent: Has no effect either.
        """
        return math.map(lambda path: f"{path}/{name}", self._paths)

    def copy_calling_script(
        self, full_trace: bool = False, include_context_information: bool = True
    ) -> None:
        """Attaches the script that calls this as `src/<name>`.

        In IPython, the cells so far as `src/ipython.py`.

        Args:
            full_trace: Whether to attach all scripts that lead to the call.
            include_context_information: Whether to attach `src/context.json` with versions and
                `sys.argv`.

        Raises:
            ReadOnlyError: The file cannot be written.
        """
        scripts = calling_scripts(full_trace=full_trace)
        files: dict[str, bytes | str] = {f"src/{name}": text for name, text in scripts.items()}
        if include_context_information:
            files["src/context.json"] = context()
        self._write_files(files)

    def copy_src(self, script_path: str | os.PathLike[str], only_external: bool = True) -> None:
        """Attaches a script as `src/<name>`.

        Args:
            script_path: Path of the script.
            only_external: Whether to pass over files of PhiFlow, PhiML and h5scene.

        Raises:
            NotFoundError: There is no such script.
        """
        if only_external and is_library_file(os.fspath(script_path)):
            return
        try:
            content = Path(script_path).read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(
                f"there is no script {os.fspath(script_path)!r} to attach"
            ) from error
        self._write_files({f"src/{Path(script_path).name}": content})

    def copy_src_text(self, filename: str, text: str) -> None:
        """Attaches text as `src/<filename>`.

        Raises:
            InvalidNameError: `filename` is empty, absolute, or leaves the scene.
        """
        self._write_files({f"src/{filename}": text})


def _merged(values: Any, more: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Returns what a call was given as a dict, and as keywords, which win."""
    try:
        return {**dict(values), **more}
    except (TypeError, ValueError) as error:
        raise InvalidInputError(
            f"{what} must be a dict by name, not {type(values).__name__} {values!r}"
        ) from error


def _numbered_path(directory: str, number: Any) -> str:
    """Returns the path of scene `number` of a file; negative ones count from the last scene."""
    number = whole_number(number, "the id of a scene")
    if number >= 0:
        return f"{scene_file_path(directory)}/{numbered_scene('sim', number)}"
    scenes = Scene.list(directory)
    if len(scenes) < -number:
        raise SceneNotFoundError(
            f"no scene {number} in {scene_file_path(directory)}; it has {len(scenes)} scenes"
        )
    return scenes[number].path
