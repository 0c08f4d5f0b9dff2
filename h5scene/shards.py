"""Shards: files beside a scene file, one for each of many workers that write at the same time.

Each worker writes a file of its own, so that nobody waits for anybody and no locks are needed, and
takes its own part of the numbers of scenes. Until the shards are merged, they and the scene file
stand for one file; which of them holds a scene is found out here and nowhere else.
"""

from __future__ import annotations

import errno
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h5scene.errors import AlreadyExistsError, H5SceneError, InvalidInputError, NotFoundError
from h5scene.paths import SHARDS_SUFFIX, scene_file_path
from h5scene.scene_file import SceneFile
from h5scene.store.failures import from_system

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHARD = re.compile(r"([0-9]+)-of-([0-9]+)\.h5", re.ASCII)
_NUMBER = re.compile(r".*_([0-9]+)", re.ASCII)
_ATTEMPTS = 5


def shard_path(path: str | os.PathLike[str], worker: int, count: int) -> str:
    """Returns the path of the shard of one of `count` workers, who are numbered from 0.

    Raises:
        InvalidInputError: These are no such numbers.
    """
    if not (type(worker) is int and type(count) is int and 0 <= worker < count):
        raise InvalidInputError(
            "shard must be 'slurm', or the number of this worker, from 0, and of all workers, such "
            f"as (0, 8), not {(worker, count)!r}"
        )
    name = f"{worker:0{len(str(count - 1))}d}-of-{count}.h5"
    return f"{scene_file_path(path)}{SHARDS_SUFFIX}/{name}"


def shard_of_job(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Returns which worker this process is, and of how many, as Slurm says.

    In an array the task of number 7 is worker 7, so that its first scene has the number 7. Tasks of
    one job are workers each. If there are shards already, their number of workers holds: only some
    tasks of an array may have been submitted again.

    Raises:
        InvalidInputError: This is no task of an array, and no task of a parallel job.
    """
    task, rank = _variable("SLURM_ARRAY_TASK_ID"), _variable("SLURM_PROCID")
    ranks = _variable("SLURM_NTASKS")
    if task is None and (rank is None or ranks is None):
        raise InvalidInputError(
            "shard='slurm' needs the variable SLURM_ARRAY_TASK_ID of an array, or SLURM_PROCID and "
            "SLURM_NTASKS of a job that srun has started; elsewhere, give the number of this "
            "worker and of all workers, such as shard=(0, 8)"
        )
    if task is None:
        return rank or 0, ranks or 1
    ranks = ranks or 1
    last = _variable("SLURM_ARRAY_TASK_MAX")
    worker, count = task * ranks + (rank or 0), (max(last or 0, task) + 1) * ranks
    counts = {all_workers for _, all_workers, _ in _shards(scene_file_path(path))}
    if ranks == 1 and len(counts) == 1 and worker < min(counts):
        (count,) = counts
    return worker, count


def create_scenes(
    path: str, name: str, count: int, shard: tuple[int, int], **options: Any
) -> tuple[SceneFile, tuple[str, ...]]:
    """Creates scenes in the shard of a worker, and returns the open shard and their names.

    As long as the file is open it tells merges that its worker may go on writing.

    Their numbers are those that leave the number of the worker as a remainder, so that no two
    workers take the same: the next ones that neither the shard nor the scene file has.

    Args:
        path: Path of the scene file.
        name: Of the series.
        count: How many scenes.
        shard: Number of the worker, and of all workers.
        **options: Of `SceneFile`.

    Raises:
        InvalidInputError: These are no such numbers, or there are shards of another number of
            workers.
        H5SceneError: As `SceneFile` and its `create_scenes`.
    """
    worker, workers = shard
    place = shard_path(path, worker, workers)
    others = {all_workers for _, all_workers, _ in _shards(path)} - {workers}
    if others:
        raise InvalidInputError(
            f"{path}{SHARDS_SUFFIX} holds shards of {min(others)} workers, and this is one of "
            f"{workers}: their scenes could get the same numbers; give shard=(…, {min(others)}), "
            "merge what is there with --move, or choose another file"
        )
    for attempt in range(_ATTEMPTS):
        try:
            file = SceneFile(place, "a", **options)
            file.stay_open()
            with file.transaction():
                # While this transaction is open no merge removes the shard: scenes of this worker
                # are in it, or have arrived in the scene file.
                first = worker
                if Path(path).exists():
                    with SceneFile(path, "r") as merged:
                        next_number = merged._read(lambda tree: tree.next_number(name))
                    first += -(-max(next_number - worker, 0) // workers) * workers
                created = file.create_scenes(name, count, first=first, step=workers)
            return file, created
        except H5SceneError:
            # A merge may have just removed it, and the directory with it.
            if attempt == _ATTEMPTS - 1 or Path(place).exists():
                raise
        except OSError as error:  # such as a name that is too long
            raise from_system(error, f"create {place}", place) from error
    raise AssertionError


class ShardedFile:
    """A scene file and its shards, as they are now. Either may be missing.

    A scene that was merged, and whose shard is still there, is in both. It is the one in the shard:
    there its worker may go on.

    Attributes:
        path: Path of the scene file.
        shards: Paths of the shards, by the number of the worker.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = scene_file_path(path)
        found = _shards(self.path)
        self.shards = tuple(shard for *_, shard in found)
        self._by_worker = {worker: shard for worker, _, shard in found}
        self._count = found[0][1] if found else 0
        self._scenes: dict[str, frozenset[str]] = {}
        self._unreadable: dict[str, H5SceneError] = {}

    @property
    def exists(self) -> bool:
        """Whether there is the scene file, or a shard."""
        return bool(self.shards) or Path(self.path).exists()

    def file_of(self, scene: str) -> str:
        """Returns the path of the file that holds a scene; of the scene file where none does.

        Raises:
            H5SceneError: None does, and one of them cannot be read.
        """
        if not self.shards:
            return self.path
        found = next(self._files_with(scene), None)
        if found is None and self._unreadable:
            raise next(iter(self._unreadable.values()))
        return found or self.path

    def copies_of(self, scene: str, place: str) -> tuple[str, ...]:
        """Returns the paths of other files that hold a scene, beside the one that `file_of` finds.

        Merging leaves them, as long as it does not remove the shards.
        """
        if not self.shards:
            return ()
        return tuple(file for file in self._files_with(scene) if file != place)

    def check_rename(self, scene: str, new_name: str, place: str) -> None:
        """Raises when a scene that stands in one of the files cannot get another name.

        Raises:
            InvalidInputError: It is in several of them: which one counts depends on its name.
            AlreadyExistsError: Another one of them has a scene of the new name.
        """
        copies = self.copies_of(scene, place)
        if copies:
            raise InvalidInputError(
                f"{scene!r} is in {place} and in {', '.join(copies)}; merge {self.path}"
                f"{SHARDS_SUFFIX} with --move before you rename it"
            )
        taken = self.copies_of(new_name, place)
        if taken:
            raise AlreadyExistsError(
                f"cannot rename {scene!r} to {new_name!r}: {taken[0]} has it already; choose "
                "another name",
                file=taken[0],
            )

    def scenes(self) -> dict[str, str]:
        """Returns the paths of the files that hold the scenes, by their names, which are sorted."""
        found: dict[str, str] = {}
        for file in (self.path, *self.shards):
            for scene in self._scenes_of(file):
                if scene not in found or file == self._likely(scene):
                    found[scene] = file
        return dict(sorted(found.items()))

    def _likely(self, scene: str) -> str | None:
        """Returns the shard that a scene of this name was created in, if it was in any."""
        number = _NUMBER.fullmatch(scene)
        if number is None or not self._count:
            return None
        return self._by_worker.get(int(number[1]) % self._count)

    def _files_with(self, scene: str) -> Iterator[str]:
        """Yields the files that hold a scene, first the one that counts."""
        likely = self._likely(scene) or self.path
        for file in dict.fromkeys((likely, self.path, *self.shards)):
            if scene in self._scenes_of(file):
                yield file

    def _scenes_of(self, file: str) -> frozenset[str]:
        """Returns the scenes of one of the files; none if it is gone, or a shard that is damaged.

        One bad shard does not hide the scenes of thousands of others.
        """
        if file not in self._scenes:
            try:
                with SceneFile(file, "r") as opened:
                    self._scenes[file] = frozenset(opened.scenes)
            except NotFoundError:
                self._scenes[file] = frozenset()
            except H5SceneError as error:
                if file == self.path:
                    raise
                self._scenes[file] = frozenset()
                self._unreadable[file] = error
                warnings.warn(
                    f"the scenes in the shard {file} are left out, it cannot be read: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return self._scenes[file]


class Places:
    """Which files the scenes of scene files stand in, as far as it was asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def find(self, wanted: Sequence[tuple[str, str]]) -> list[str]:
        """Returns the path of the file that each scene stands in; see `ShardedFile.file_of`.

        Args:
            wanted: Scene file and name of each scene.
        """
        sharded: dict[str, ShardedFile] = {}
        found = []
        for file, scene in wanted:
            place = self._known.get((file, scene))
            if place is None or not Path(place).exists():
                if file not in sharded:
                    sharded[file] = ShardedFile(file)
                place = sharded[file].file_of(scene)
                self.note(file, {scene: place})
            found.append(place)
        return found

    def note(self, file: str, places: Mapping[str, str]) -> None:
        """Takes down where scenes of a scene file stand."""
        self._known.update({(file, scene): place for scene, place in places.items()})


def _shards(path: str) -> list[tuple[int, int, str]]:
    """Returns the worker, the number of workers and the path of each shard, sorted."""
    directory = path + SHARDS_SUFFIX
    try:
        names = [entry.name for entry in Path(directory).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return []  # there can be none
        raise from_system(error, f"list {directory}", path) from error
    matches = filter(None, map(_SHARD.fullmatch, names))
    return sorted((int(m[1]), int(m[2]), f"{directory}/{m[0]}") for m in matches)


def _variable(name: str) -> int | None:
    """Returns the number in a variable of the environment; `None` where there is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else None
