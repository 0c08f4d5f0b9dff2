"""`Scene`: the API of `phi.field.Scene`, kept in one HDF5 file.

A scene file stands where PhiFlow has the directory of scenes, a group in it where PhiFlow has a
directory of npz files. COMPATIBILITY.md lists what differs on purpose.
"""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

from phiml import math
from phiml.math import EMPTY_SHAPE, Shape, Tensor, batch

from h5scene.errors import (
    H5SceneError,
    InvalidInputError,
    SceneNotFoundError,
)
from h5scene.format.names import numbered_scene, scene_number, whole_number
from h5scene.paths import scene_file_path, split_scene_path
from h5scene.scene_attachments import SceneAttachments
from h5scene.scene_batch import arranged
from h5scene.scene_fields import SceneFields
from h5scene.scene_file import DEFAULT_LOCK_TIMEOUT_S, SceneFile
from h5scene.scene_values import SceneValues
from h5scene.shards import Places, ShardedFile, create_scenes, shard_of_job, shard_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from h5scene.format.filters import Compression
    from h5scene.store import Durability


class Scene(SceneFields, SceneValues, SceneAttachments):
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
        shard: tuple[int, int] | Literal["slurm"] | None = None,
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
            shard: For many workers that write at the same time, such as the jobs of an array: the
                number of this one, from 0, and how many there are, or `slurm`, which asks the
                variables of Slurm. Each then writes a file of its own in `<file>.shards`, without
                locks, and numbers its scenes so that no two workers take the same: worker 3 of 8
                gets 3, 11, 19. The shards and the file are used as one; `merge` makes them one.
            **dimensions: Sizes of further batch dims by name.

        Raises:
            InvalidNameError: `name` cannot be the name of a scene.
            InvalidInputError: `shard` is no such pair, or not that of the shards that there are; or
                it is not given, and there are shards.
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
        places, opened = Places(), None
        if shard is None:
            if ShardedFile(path).shards:
                raise InvalidInputError(
                    f"{path} has shards, whose workers may be taking numbers of scenes; merge them "
                    "first with --move, or give shard=…"
                )
            created = SceneFile(path, "a", **options).create_scenes(name, dims.volume)
        else:
            worker, workers = shard_of_job(path) if shard == "slurm" else _checked_pair(shard)
            opened, created = create_scenes(path, name, dims.volume, (worker, workers), **options)
            places.note(path, dict.fromkeys(created, shard_path(path, worker, workers)))
        paths = [f"{path}/{scene}" for scene in created]
        scene = Scene(arranged(paths, dims), **options, _places=places)
        if opened is not None:
            scene._keep(opened)
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
        """Returns all scenes of a file and its shards, by number; none where there is no file.

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
        sharded, places = ShardedFile(path), Places()
        if not sharded.exists:
            return ()
        scenes = sharded.scenes()
        places.note(path, scenes)
        found = [link for link in scenes if include_other or scene_number(link, name) is not None]
        found.sort(
            key=lambda link: (scene_number(link, name) is None, scene_number(link, name) or 0, link)
        )
        paths = [f"{path}/{link}" for link in found]
        if dim is None:
            return tuple(Scene(path, _places=places) for path in paths)
        return Scene(math.wrap(paths, dim), _places=places)

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

    @staticmethod
    def resume(
        directory: str | os.PathLike[str] | Sequence[str] | Tensor | Scene,
        id: int | Tensor | None = None,  # as in `at`
        *,
        frame: int | None = None,
        durability: Durability = "process",
        lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
        compression: Compression = "fast",
        workers: int | None = None,
        background: bool = False,
    ) -> Scene:
        """Returns an existing scene, or a batch of them, without what is later than a frame.

        For jobs that go on where an earlier one was killed: frames, times and curve entries later
        than `frame` are removed in one transaction, so that two histories are never mixed.
        Properties and attached files stay.

        Args:
            directory: As `at`.
            id: As `at`.
            frame: Frame to go on from. By default the last one for which all fields are stored, in
                all scenes of a batch. Fields of a single frame, such as an obstacle that does not
                move, do not count beside others. A scene without fields loses its times and curves.
            durability: See `Scene`.
            lock_timeout_s: See `Scene`.
            compression: See `Scene`.
            workers: See `Scene`.
            background: See `Scene`.

        Raises:
            SceneNotFoundError: There is no such scene.
            FrameNotFoundError: No field is stored for this frame; or `frame` is not given, and no
                frame is stored for all fields.
            InvalidInputError: As `at`.

        Example:
            >>> scene = Scene.create("runs")
            >>> for frame in range(8):
            ...     scene.write(smoke=CenteredGrid(frame, 0, x=4, y=3), frame=frame)
            >>> scene = Scene.resume("runs", 0, frame=5)
            >>> scene.frames
            (0, 1, 2, 3, 4, 5)
        """
        scene = Scene.at(
            directory,
            id,
            durability=durability,
            lock_timeout_s=lock_timeout_s,
            compression=compression,
            workers=workers,
            background=background,
        )
        with scene.transaction():
            last = scene._frame_to_resume_from(frame)
            for file, members in scene._by_file():
                file.remove_after([member.scene for member in members], last)
        return scene

    def mkdir(self) -> None:
        """Creates these scenes where they do not exist, and their file with them."""
        for file, members in self._by_file("a"):
            with file.transaction():
                for member in members:
                    file.create_scene(member.scene)

    def remove(self) -> None:
        """Removes these scenes with all they hold; those that do not exist are passed over.

        A scene that was merged, and is still in its shard, is removed from both: from the file
        first, so that a call that is cut off never leaves the older one of them alone.
        """
        for path, scenes in self._copies().items():
            self._file(path).remove_scenes(scenes)
        for file, members in self._by_file(existing_only=True):
            file.remove_scenes(member.scene for member in members)

    def rename(self, name: str) -> Scene:
        """Gives the scene another name, and returns it; this object keeps the old name.

        Raises:
            AlreadyExistsError: There is a scene of that name.
            SceneNotFoundError: This scene does not exist.
            InvalidNameError: `name` cannot be the name of a scene.
            InvalidInputError: This is a batch, or the scene is in a shard and in the scene file.
        """
        if self.is_batch:
            raise InvalidInputError(
                f"cannot give {len(self._members)} scenes one name {name!r}; rename each of them"
            )
        (member,) = self._members
        parent = split_scene_path(member.path)[0]
        ShardedFile(parent).check_rename(member.scene, name, member.file)
        self._file(member.file).rename_scene(member.scene, name)
        return self._with_paths(math.wrap(f"{parent}/{name}"))

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


def _checked_pair(shard: Any) -> tuple[int, int]:
    """Returns the number of a worker and that of all, which somebody gave.

    Raises:
        InvalidInputError: These are no two numbers.
    """
    if not isinstance(shard, (tuple, list)) or len(shard) != 2:
        raise InvalidInputError(
            f"shard must be 'slurm', or a pair such as (0, 8), not {type(shard).__name__} {shard!r}"
        )
    return whole_number(shard[0], "the first of shard"), whole_number(shard[1], "the second")


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
