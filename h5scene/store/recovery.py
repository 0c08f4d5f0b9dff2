"""What is done with a file before it is used: a commit that a crash interrupted is finished.

For writing this happens on disk, for reading in memory. Both may be interrupted and repeated at
any point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h5scene.errors import CorruptDataError, ReadOnlyError
from h5scene.store.journal import read_journal
from h5scene.store.pager import Pager, apply, cut, write_header
from h5scene.store.userblock import (
    CLEAN,
    HDF5_SIGNATURE,
    REDO,
    USER_BLOCK_BYTES,
    Header,
    read_header,
    superblock_end,
)

if TYPE_CHECKING:
    from h5scene.store.system import Disk


def needs_recovery(disk: Disk) -> bool:
    """Whether a commit was interrupted after its commit point."""
    header = read_header(disk)
    return header is not None and header.state == REDO


def pager_for_reading(disk: Disk) -> Pager:
    """Returns a pager on the last committed state, and leaves the disk as it is.

    An unfinished commit is applied in memory.

    Raises:
        CorruptDataError: The file is shorter than its HDF5 data, or a power loss destroyed it.
        UnsupportedVersionError: A newer h5scene wrote the file.
    """
    pager = _committed_pager(disk)
    pager.reads_ahead = True
    return pager


def _committed_pager(disk: Disk) -> Pager:
    """Returns a pager on the last committed state; see `pager_for_reading`."""
    header = read_header(disk)
    if header is None or disk.read(len(HDF5_SIGNATURE), USER_BLOCK_BYTES) != HDF5_SIGNATURE:
        return Pager(disk, base=disk.size())  # plain HDF5: any superblock, wherever HDF5 finds it
    if header.state == REDO:
        runs = read_journal(disk, header)
        if runs is not None:
            return Pager(disk, base=header.end, header=header, overlay=runs)
        _check_already_applied(disk, header)
    return Pager(disk, base=_committed_end(disk), header=header)


def pager_for_writing(disk: Disk) -> Pager:
    """Returns a pager on the last committed state, which is now whole on the disk too.

    The caller holds the writer lock and, if the file needs recovery, keeps readers out.

    Raises:
        CorruptDataError: The file is shorter than its HDF5 data, or a power loss destroyed it.
        ReadOnlyError: The file has no header of ours.
        UnsupportedVersionError: A newer h5scene wrote the file.
    """
    header = read_header(disk)
    if header is None or disk.read(len(HDF5_SIGNATURE), USER_BLOCK_BYTES) != HDF5_SIGNATURE:
        raise ReadOnlyError(
            f"{disk.path} has lost its h5scene header (h5repack and other copying tools drop it), "
            "so it can be read and not written; copy its scenes into a new scene file to write on",
            file=disk.path,
        )
    if header.state == REDO:
        header = _finish_commit(disk, header)
    end = _committed_end(disk)
    if disk.size() > end:
        cut(disk, end)  # what a killed transaction appended
    return Pager(disk, base=end, header=header)


def _finish_commit(disk: Disk, redo: Header) -> Header:
    """Applies the journal and returns the CLEAN header written.

    It syncs whatever the durability of this process: the commit may be one that promised to
    survive a power loss, of which not everything has reached the disk yet.
    """
    runs = read_journal(disk, redo)
    if runs is not None:
        disk.sync()
        return apply(disk, redo, runs, sync=True)
    _check_already_applied(disk, redo)
    clean = redo.clean(end=redo.end)
    write_header(disk, clean)
    return clean


def _check_already_applied(disk: Disk, redo: Header) -> None:
    """The journal is dropped only once its pages are in place, the superblock among them."""
    if _committed_end(disk) != redo.end:
        raise CorruptDataError(
            f"{disk.path} was damaged by a power loss or an incomplete copy in the middle of a "
            "commit; restore it from a backup, and write with durability='power' where power may "
            "fail",
            file=disk.path,
        )


def _committed_end(disk: Disk) -> int:
    end = superblock_end(disk.read(64, USER_BLOCK_BYTES), disk.path)
    size = disk.size()
    if size < end:
        raise CorruptDataError(
            f"{disk.path} is truncated: it has {size} bytes, and its HDF5 data end at {end}",
            file=disk.path,
        )
    return end


def drop_leftovers(disk: Disk) -> None:
    """Cuts what a lost transaction appended, unless it is a journal that is still needed."""
    try:
        header = read_header(disk)
        if header is not None and header.state == CLEAN:
            cut(disk, _committed_end(disk))
    except Exception:  # noqa: BLE001 (nothing depends on it, and another error is on its way)
        return
