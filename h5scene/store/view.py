"""One open handle on a state of a file: the disk, the pager on it, the `h5py.File` on that."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

import h5py

from h5scene.errors import BusyError, CorruptDataError, H5SceneError, NotASceneFileError
from h5scene.store import recovery, system
from h5scene.store.access import Access
from h5scene.store.failures import from_pager, from_system
from h5scene.store.gate import SafeFile
from h5scene.store.locks import SideLocks, doze
from h5scene.store.userblock import HEAD_BYTES, superblock_offset

if TYPE_CHECKING:
    from h5scene.store.pager import Pager

# The cost of a flush grows with HDF5's metadata cache: with the default of 2 MB and more, a frame
# of 2 KB takes twice as long once a file has some thousand frames.
_METADATA_CACHE_BYTES = 256 * 1024

# HDF5 files that could not be closed, or that belong to the parent of a forked process. Their
# pagers only touch memory.
_graveyard: list[h5py.File] = []


class ChangedMeanwhile(Exception):
    """The file is not what it was when the handle was opened: open it again."""


class Stamp(NamedTuple):
    """What tells two states of a file apart without reading them.

    Attributes:
        device: With `inode`: the file that has the name now.
        inode: See `device`.
        head: User block and superblock; they change with every commit of ours.
        size: Changes also while somebody appends, before the commit.
        mtime_ns: Changes with every write of anybody, within the clock of the file system.
    """

    device: int
    inode: int
    head: bytes
    size: int
    mtime_ns: int


def take_stamp(disk: system.Disk) -> Stamp:
    """Returns the stamp of the file that now has the name of `disk`; its head comes from `disk`."""
    try:
        status = os.stat(disk.path)
    except OSError:
        return Stamp(-1, -1, b"", -1, -1)
    head = disk.read(HEAD_BYTES, 0)
    return Stamp(status.st_dev, status.st_ino, head, status.st_size, status.st_mtime_ns)


def open_disk(path: str, *, writable: bool) -> system.Disk:
    """Opens a file that exists and is HDF5.

    Raises:
        NotASceneFileError: It is a directory, a device, or not HDF5.
        NotFoundError: There is no such file.
        ReadOnlyError: The permissions do not allow it.
        StorageError: The system failed.
    """
    try:
        # Before opening: a FIFO would wait for somebody at its other end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise NotASceneFileError(f"{path} is not a file", file=path)
        disk = system.Disk(path, writable=writable)
    except OSError as error:
        raise from_system(
            error, f"open {path}{' for writing' if writable else ''}", path
        ) from error
    try:
        if superblock_offset(disk) is None:
            raise NotASceneFileError(f"{path} is not an HDF5 file", file=path)
    except OSError as error:
        disk.close()
        raise from_system(error, f"read {path}", path) from error
    except BaseException:
        disk.close()
        raise
    return disk


class View:
    """An open scene file.

    Attributes:
        file: What HDF5 sees.
        stamp: The state that `file` shows.
        is_writable: Whether transactions can run on it.
    """

    def __init__(self, disk: system.Disk, pager: Pager, stamp: Stamp | None, *, is_writable: bool):
        self.disk = disk
        self.pager = pager
        self.is_writable = is_writable
        self.file = open_hdf5(pager, is_writable=is_writable)
        self.stamp = stamp or take_stamp(disk)

    @classmethod
    def for_reading(cls, path: str) -> View:
        """Opens the last committed state.

        Raises:
            ChangedMeanwhile: Somebody committed while it was opened.
            H5SceneError: As `open_disk`; CorruptDataError if HDF5 refuses the file.
        """
        disk = open_disk(path, writable=False)
        stamp = None
        try:
            stamp = take_stamp(disk)
            return cls(disk, recovery.pager_for_reading(disk), stamp, is_writable=False)
        except BaseException as error:  # noqa: BLE001 (raised again, whatever it is)
            try:
                if isinstance(error, Exception) and stamp != take_stamp(disk):
                    raise ChangedMeanwhile from error
                if isinstance(error, OSError) and not isinstance(error, H5SceneError):
                    raise from_system(error, f"read {path}", path) from error
                raise
            finally:
                disk.close()

    @classmethod
    def for_writing(cls, path: str, locks: SideLocks, deadline: float) -> View:
        """Opens the last committed state for transactions, after repairing what a crash left.

        The caller holds the writer lock.

        Raises:
            BusyError: Another program has the file open for writing.
            H5SceneError: As `open_disk`; CorruptDataError, ReadOnlyError as
                `recovery.pager_for_writing`.
        """
        disk = open_disk(path, writable=True)
        try:
            share_with_other_programs(disk, deadline)
            if recovery.needs_recovery(disk):
                locks.exclude_readers()
                try:
                    pager = recovery.pager_for_writing(disk)
                finally:
                    locks.admit_readers()
            else:
                pager = recovery.pager_for_writing(disk)
            pager.begin()
            return cls(disk, pager, None, is_writable=True)
        except BaseException as error:
            disk.close()
            if isinstance(error, OSError) and not isinstance(error, H5SceneError):
                raise from_system(error, f"open {path} for writing", path) from error
            raise

    def is_current(self) -> bool:
        """Whether nobody has written to the file since the stamp, committed or not."""
        try:
            return take_stamp(self.disk) == self.stamp
        except OSError:
            return False  # opening it again says what is wrong

    def still_holds(self) -> bool:
        """Whether nobody has committed since the stamp. Open transactions do not matter."""
        try:
            now = take_stamp(self.disk)
        except OSError:
            return False  # opening it again says what is wrong
        return now == self.stamp if self.pager.header is None else now[:3] == self.stamp[:3]

    def close(self, *, drop_leftovers: bool = False) -> None:
        """Closes the handle; changes that were not committed are gone.

        Args:
            drop_leftovers: Also gives back the disk space that a lost transaction took. Only for
                who holds the writer lock: without it, somebody else may be writing there.
        """
        self.pager.give_up()
        try:
            self.file.close()
        except Exception:  # noqa: BLE001 (HDF5 can only reach memory now, so let it be)
            _graveyard.append(self.file)
        if drop_leftovers and not self.pager.is_inherited:
            recovery.drop_leftovers(self.disk)
        self.disk.close()

    def abandon_to_parent(self) -> None:
        """Closes the descriptor in a forked child, and leaves everything of HDF5 alone."""
        self.pager.give_up()
        _graveyard.append(self.file)
        self.disk.close()


def share_with_other_programs(disk: system.Disk, deadline: float) -> None:
    """Keeps other HDF5 programs from writing the file, not from reading, while `disk` is open.

    Raises:
        BusyError: One of them has it open for writing, and still had past the deadline.
    """
    while not system.try_share_with_hdf5(disk.fd):
        if time.monotonic() >= deadline:
            raise BusyError(
                f"another program has {disk.path} open for writing without h5scene; close it there",
                file=disk.path,
            )
        doze(0.01)


def close_graveyard() -> None:
    """Tries once more to close what could not be closed, while HDF5 can still call back."""
    while _graveyard:
        try:
            _graveyard.pop().close()
        except Exception:  # noqa: BLE001, S112 (nothing depends on it)
            continue


def open_hdf5(pager: Pager, *, is_writable: bool) -> SafeFile:
    """Returns the file that HDF5 sees through a pager.

    Raises:
        CorruptDataError: HDF5 cannot make sense of it.
        H5SceneError: As the pager.
    """
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, pager)
    if is_writable:
        # Compact chunk indexes, readable from HDF5 1.10 on; the superblock stays at version 2.
        access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
        cache = access.get_mdc_config()
        cache.set_initial_size = True
        cache.initial_size = cache.min_size = cache.max_size = _METADATA_CACHE_BYTES
        access.set_mdc_config(cache)
    path = pager.disk.path
    try:
        # The pager is what HDF5 opens; the name is only shown.
        identifier = h5py.h5f.open(
            os.fsencode(path), h5py.h5f.ACC_RDWR if is_writable else h5py.h5f.ACC_RDONLY, access
        )
    except (OSError, RuntimeError) as error:
        if pager.error is not None:
            raise from_pager(pager.error, path) from pager.error
        raise CorruptDataError(f"HDF5 cannot open {path}: {error}", file=path) from error
    finally:
        # The list refers to the pager. Kept alive by the frame of an exception until Python has
        # ended, it would be released by HDF5 into an interpreter that is gone.
        access.close()
    file = SafeFile(identifier, Access(stored=pager))
    pager.is_open = True
    if pager.error is not None:
        pager.give_up()
        file.close()
        raise from_pager(pager.error, path) from pager.error
    return file
