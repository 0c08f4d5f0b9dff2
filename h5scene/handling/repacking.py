"""A scene file written anew: without gaps, packed again if wanted, metadata side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from h5scene.format.workers import check_workers, default_workers
from h5scene.handling.hdf5_trees import (
    Packing,
    TreeCopy,
    check_same,
    copy_attributes,
    links_of,
    stored_bytes_below,
)
from h5scene.scene_file import DEFAULT_LOCK_TIMEOUT_S, SceneFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import h5py

    from h5scene.store import Durability

Repacking: TypeAlias = Literal["keep", "fast", "small", "none"]


@dataclass(frozen=True)
class Repacked:
    """What repacking has done.

    Attributes:
        before_bytes: Length of the file before.
        after_bytes: Length of the file now.
    """

    before_bytes: int
    after_bytes: int


def repack(
    path: str | os.PathLike[str],
    *,
    compression: Repacking = "keep",
    workers: int | None = None,
    durability: Durability = "power",
    lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
    on_progress: Callable[[str, int, int], object] | None = None,
) -> Repacked:
    """Writes a scene file anew, and puts it in the place of the old one when it is whole.

    Space of what was removed is given back, the values of each frame lie together, and the metadata
    stand side by side: somebody who reads the file over a network asks for few pieces. All that is
    in the file is kept, and compared with the old file, bit by bit, before that goes.

    Others may read meanwhile; who wants to write waits. Needs room for both files on the disk.

    Args:
        path: Path of the scene file.
        compression: `keep` moves the chunks as they are; else all numbers of fields are packed
            `fast`, `small` or not at all.
        workers: Number of threads; by default one for each processor that may be used.
        durability: See `SceneFile`. By default also a power loss leaves one of the two files whole:
            it concerns everything that the file holds.
        lock_timeout_s: How long to wait for other processes, in seconds.
        on_progress: Called with what is being done (`copying`, `comparing`), and how many bytes of
            how many are done.

    Durability:
        The old file stays as it is until the new one is complete and compared; then it has the
        name at once.

    Raises:
        InvalidInputError: A transaction on the file is open in this thread.
        UnsupportedFieldError: Something of another program in the file cannot be moved.
        NotASceneFileError: It is no scene file.
        CorruptDataError: Something in the file cannot be read. It stays as it is.
        ReadOnlyError: The file or its directory cannot be written.
        BusyError: Others did not stop writing in time.
        StorageError: The disk is full or failed; the old file is there.
    """
    check_workers(workers)
    threads = default_workers() if workers is None else workers
    packing = None
    if compression != "keep":
        packing = Packing(None if compression == "none" else compression, threads)
    with SceneFile(path, "r+", durability=durability, lock_timeout_s=lock_timeout_s) as file:
        before_bytes = Path(file.path).stat().st_size
        _, total = file._read(lambda tree: stored_bytes_below(tree.h5))
        done = 0

        def reporter(what: str) -> Callable[[int], None]:
            nonlocal done
            done = 0

            def add(stored_bytes: int) -> None:
                nonlocal done
                done += stored_bytes
                if on_progress is not None:
                    on_progress(what, done, total)

            return add

        def fill(old: h5py.Group, new: h5py.Group) -> None:
            copy_all(old, new, TreeCopy(reporter("copying"), packing))

        def check(old: h5py.Group, new: h5py.Group) -> None:
            check_same(old, new, workers=threads, on_object=reporter("comparing"))

        file._opened().rebuild(
            _nothing,
            fill,
            check,
            durability=durability,
            lock_timeout_s=lock_timeout_s,
        )
        return Repacked(before_bytes, Path(file.path).stat().st_size)


def copy_all(old: h5py.Group, new: h5py.Group, copy: TreeCopy) -> None:
    """Copies all that is in a file, its attributes too."""
    copy_attributes(old.id, new.id)
    for link in links_of(old.id):
        copy.copy_member(old, link, new, link)
    copy.copy_values()


def _nothing(_: h5py.Group) -> None:
    """Writes nothing: all comes from the old file."""
