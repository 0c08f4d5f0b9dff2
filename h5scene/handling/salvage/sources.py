"""The ways in which a damaged file can be opened, from the usual one on."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from h5scene.handling.salvage.reading import Source
from h5scene.handling.salvage.rebuilding import Rebuilt, rebuild, superblock_patch
from h5scene.handling.salvage.structures import find_structures
from h5scene.store.patching import PatchedDisk, committed_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from h5scene.handling.salvage.structures import Read
    from h5scene.store.patching import CommittedState


def mended(path: str, max_array_bytes: int | None) -> Source | None:
    """Returns a file with a superblock that fits it, without what the store knows of it.

    `None` if the superblock does not say where the root group is.
    """
    with _committed(path) as (state, read):
        more = superblock_patch(read, state.base, state.size_bytes)
    if not more:
        return None
    return Source(path, (*state.runs, *more), state.size_bytes, max_array_bytes)


def searched(
    path: str, max_array_bytes: int | None, on_progress: Callable[[int, int], object] | None
) -> tuple[Source, Rebuilt]:
    """Returns a file with a new root for all that a search finds in it, and what that is.

    Args:
        path: The file.
        max_array_bytes: See `Source`.
        on_progress: Called with how many bytes were looked at, and of how many.
    """
    with _committed(path) as (state, read):
        found = find_structures(read, state.size_bytes, state.base, on_progress)
        rebuilt = rebuild(found, read, state.size_bytes, state.base)
    patches = (*state.runs, *rebuilt.patches)
    return Source(path, patches, rebuilt.size_bytes, max_array_bytes), rebuilt


@contextmanager
def _committed(path: str) -> Iterator[tuple[CommittedState, Read]]:
    """Gives what is known of a file, and what reads its bytes as they were committed."""
    state = committed_state(path)
    disk = PatchedDisk(path, state.runs, state.size_bytes)
    try:
        yield state, partial(_read_at, disk)
    finally:
        disk.close()


def _read_at(disk: PatchedDisk, offset: int, byte_count: int) -> bytes:
    """Returns bytes; none at offsets that no file has."""
    return disk.read(byte_count, offset) if 0 <= offset < 1 << 62 else b""
