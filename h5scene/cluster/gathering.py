"""Scenes that many MPI ranks write at the same time, gathered into one file at the end.

Each rank writes a shard, as the jobs of an array do, so that nobody waits for anybody. That the
ranks are known to each other adds the end: when all have left the block, one of them merges.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phiml.math import EMPTY_SHAPE, Shape

from h5scene.cluster.ranks import (
    Outcome,
    checked_root,
    everyones,
    from_root,
    own_communicator,
    tried,
)
from h5scene.errors import InvalidInputError, RankError, StorageError
from h5scene.handling.merging import merge
from h5scene.paths import SHARDS_SUFFIX, scene_file_path
from h5scene.scene import Scene
from h5scene.scene_file import SceneFile
from h5scene.shards import ShardedFile, shard_path
from h5scene.store import open_store

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

_LEAVE = "leave the block of gathered()"


class GatheredFile:
    """What one rank of several writes to a scene file.

    Attributes:
        path: Path of the scene file.
        rank: Number of this rank.
        size: Number of all ranks.
    """

    def __init__(self, path: str, rank: int, size: int):
        self.path = path
        self.rank = rank
        self.size = size

    @property
    def shard(self) -> str:
        """Path of the file that this rank writes to; it exists once it has created a scene."""
        return shard_path(self.path, self.rank, self.size)

    @property
    def scenes(self) -> tuple[str, ...]:
        """Names of the scenes that this rank has created, sorted; those it can go on with."""
        if not Path(self.shard).exists():
            return ()
        with SceneFile(self.shard, "r") as file:
            return file.scenes

    def create(
        self,
        shape: Shape = EMPTY_SHAPE,
        name: str = "sim",
        copy_calling_script: bool = True,
        **options: Any,
    ) -> Scene:
        """Creates a new scene of this rank, or a batch of them.

        No other rank gets the same number: rank 3 of 8 creates the scenes 3, 11, 19.

        Args:
            shape: As of `Scene.create`.
            name: As of `Scene.create`.
            copy_calling_script: As of `Scene.create`.
            **options: Other arguments of `Scene.create`.

        Raises:
            H5SceneError: As `Scene.create`.
        """
        shard = (self.rank, self.size)
        return Scene.create(self.path, shape, name, copy_calling_script, shard=shard, **options)

    def __repr__(self) -> str:
        return f"GatheredFile({self.path!r}, rank={self.rank}, size={self.size})"


@contextmanager
def gathered(
    path: str | os.PathLike[str],
    comm: Any,
    *,
    root: int = 0,
    lock_timeout_s: float = 60.0,
    on_progress: Callable[[int, int], object] | None = None,
) -> Iterator[GatheredFile]:
    """Context in which each rank creates and writes scenes of its own; its end makes them one file.

    All ranks of `comm` enter and leave it together; in between, they need not talk to each other,
    and may call `write_blocks`. When the last one leaves, `root` merges what they wrote into the
    file, and all wait for it. Scenes that were created inside are found anew with `Scene.at`.

    A batch that was cut off is kept: each rank has what it wrote in a shard, in the directory
    `<path>.shards`, and until they are merged, `Scene.at(path, …)` and `Scene.list(path)` find the
    scenes there. Entered again by as many ranks, the block goes on with them.

    Args:
        path: Path of the scene file. `./data` stands for `./data.h5`.
        comm: Communicator of mpi4py.
        root: The rank that merges.
        lock_timeout_s: How long the merge waits for others that write to the file, in seconds.
        on_progress: Called on `root` with the bytes of the shards that are merged, and of all.

    Durability:
        What a rank writes is safe at once, in its shard. A shard is removed when all of its scenes
        are in the file, were read again there, and survive a power loss.

    Raises:
        RankError: Another rank left the block with an error. What it was, and where the scenes are
            kept, stands in the message; that rank raises its own error.
        InvalidInputError: `comm` is no communicator, or there are shards of another number of
            ranks.
        StorageError: Not all could be merged; the rest is kept.
        H5SceneError: As `merge`. All ranks raise the same error.

    Example:
        >>> from mpi4py import MPI  # doctest: +SKIP
        >>> with gathered("runs.h5", MPI.COMM_WORLD) as file:  # doctest: +SKIP
        ...     scene = file.create()
    """
    own = own_communicator(comm)
    asked = everyones(
        own, "enter gathered()", lambda: (scene_file_path(path), checked_root(own, root))
    )
    if len(set(asked)) > 1:
        raise InvalidInputError(
            f"all ranks must enter gathered() with the same path and root, not {sorted(set(asked))}"
        )
    file = GatheredFile(asked[0][0], own.rank, own.size)
    from_root(own, root, "enter gathered()", lambda: _check_shards(file))
    try:
        yield file
    except BaseException as error:
        _leave(own, file, error)
        if hasattr(error, "add_note"):  # from Python 3.11 on
            error.add_note(_kept(file.path))
        raise
    shards = _leave(own, file, None)
    from_root(own, root, "merge", lambda: _merge(file, shards, lock_timeout_s, on_progress))


def _check_shards(file: GatheredFile) -> None:
    """Raises when there are shards that this block would not merge.

    Raises:
        InvalidInputError: They are those of another number of ranks.
    """
    expected = {shard_path(file.path, rank, file.size) for rank in range(file.size)}
    others = set(ShardedFile(file.path).shards) - expected
    if others:
        raise InvalidInputError(
            f"{file.path} has shards that are not those of {file.size} ranks, such as "
            f"{min(others)}; start as many ranks as wrote them, or merge them first: "
            f"{_how_to_merge(file.path)}"
        )


def _leave(own: Any, file: GatheredFile, error: BaseException | None) -> list[str]:
    """Waits until all ranks leave the block; returns the shards that they have.

    Raises:
        RankError: Another one left it with an error, and this one did not.
        H5SceneError: The shard of a rank could not be closed.
    """

    def close() -> str | None:
        if not Path(file.shard).exists():
            return None
        SceneFile(file.shard, "r+").close()  # with all that waits
        open_store(file.shard).close()  # also for scenes in use, for the rank that merges
        return file.shard

    outcome = tried(_LEAVE, own.rank, close)
    if error is not None:
        text = f"rank {own.rank} left with {type(error).__name__}: {error}"
        outcome = Outcome(_LEAVE, None, RankError(text))
    while True:
        outcomes = own.allgather(outcome)
        if all(other.step == _LEAVE for other in outcomes):
            break  # else somebody was in write_blocks(), and learns now that this rank has left
    failed = [other.error for other in outcomes if other.error is not None]
    if failed and error is None:
        raise RankError(f"{failed[0].message}; {_kept(file.path)}") from failed[0]
    return [other.value for other in outcomes if other.value is not None]


def _merge(
    file: GatheredFile,
    shards: Sequence[str],
    lock_timeout_s: float,
    on_progress: Callable[[int, int], object] | None,
) -> None:
    """Merges the shards into the file, and removes them.

    Raises:
        StorageError: Some could not be merged.
        H5SceneError: As `merge`.
    """
    # By their names as well: where directories are cached, they may show here much later.
    directory = file.path + SHARDS_SUFFIX
    inputs = [directory, *shards] if Path(directory).is_dir() else shards
    if not shards and not ShardedFile(file.path).shards:
        return
    report = merge(
        inputs, file.path, move=True, lock_timeout_s=lock_timeout_s, on_progress=on_progress
    )
    if report.problems:
        told = "\n  ".join(f"{path}: {problem}" for path, problem in report.problems.items())
        raise StorageError(
            f"not all could be merged into {file.path}:\n  {told}\n{_kept(file.path)}",
            file=file.path,
        )


def _kept(path: str) -> str:
    """Returns where scenes are that were not merged."""
    shards = ShardedFile(path).shards
    if not shards:
        return "no scene was written"
    return (
        f"what was written is kept in {', '.join(shards[:8])}{', …' if len(shards) > 8 else ''}; "
        f"the block goes on with it when it is entered again, or merge it: {_how_to_merge(path)}"
    )


def _how_to_merge(path: str) -> str:
    return f"h5scene merge {path}{SHARDS_SUFFIX} -o {path} --move"
