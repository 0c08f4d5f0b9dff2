"""What the user block of a file says, for people who want to know whether all is well."""

from __future__ import annotations

from h5scene.store.journal import read_journal
from h5scene.store.userblock import (
    REDO,
    USER_BLOCK_BYTES,
    read_header,
    superblock_end,
)
from h5scene.store.view import open_disk


def inspect_headers(path: str) -> list[str]:
    """Returns what is unusual about a file as a whole, and does no harm.

    Raises:
        NotFoundError: There is no such file.
        NotASceneFileError: It is no HDF5 file.
        CorruptDataError: It has no superblock.
        UnsupportedVersionError: A newer h5scene wrote it.
        StorageError: The disk failed.
    """
    disk = open_disk(path, writable=False)
    try:
        header = read_header(disk)
        if header is None:
            return ["has no header of h5scene: it can be read, and not written"]
        notes = []
        if header.state == REDO and read_journal(disk, header) is not None:
            notes.append("was left in the middle of a commit, which the next write finishes")
        end = superblock_end(disk.read(64, USER_BLOCK_BYTES), path)
        if header.state != REDO and disk.size() > end:
            left = disk.size() - end
            notes.append(f"has {left:,} bytes behind its end, which the next write drops")
        return notes
    finally:
        disk.close()
