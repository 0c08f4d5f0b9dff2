"""What the store asks of the operating system: bytes of a file, locks, syncs, names.

Everything Linux-only is here. Other systems get the nearest thing they have; what that costs is
said beside each fallback and in DURABILITY.md ("Other systems"). Tests replace `Disk` to count,
delay or fail single operations.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
import threading
from functools import lru_cache
from typing import Any

fcntl: Any
msvcrt: Any
try:
    import fcntl

    msvcrt = None
except ImportError:  # Windows
    import msvcrt

    fcntl = None

# Locks that belong to the open file (Linux 3.15): two handles of one process exclude each other,
# and closing one of them leaves the other's locks alone. The lock structure below has the layout
# of 64-bit systems.
HAS_HANDLE_LOCKS = (
    sys.platform == "linux" and hasattr(fcntl, "F_OFD_SETLK") and struct.calcsize("P") == 8
)

_BINARY = getattr(os, "O_BINARY", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
# Answers of file systems that have no locks: NFS without a lock service, Lustre mounted without
# `flock`, some FUSE.
_NO_LOCKS = {
    getattr(errno, name)
    for name in ("ENOLCK", "ENOSYS", "EOPNOTSUPP", "ENOTSUP", "EINVAL")
    if hasattr(errno, name)
}
_HELD_BY_OTHERS = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}


_lock_structures: dict[tuple[int, int], bytes] = {}


class LocksUnsupported(Exception):
    """This file system or system has no locks."""


class Disk:
    """The bytes of one open file: all that the store reads and changes goes through here."""

    def __init__(self, path: str, *, writable: bool, create: bool = False):
        flags = (os.O_RDWR if writable else os.O_RDONLY) | _CLOEXEC | _BINARY
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        self.path = path
        self.fd = os.open(path, flags, 0o666)
        self._seek_lock = None if hasattr(os, "pread") else threading.Lock()

    def size(self) -> int:
        """Returns the length of the file in bytes."""
        return os.fstat(self.fd).st_size

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fills `view` from `offset` on; returns how many bytes the file had there."""
        done = 0
        while done < len(view):
            if hasattr(os, "preadv"):
                count = os.preadv(self.fd, [view[done:]], offset + done)
            else:
                data = self._read_some(len(view) - done, offset + done)
                count = len(data)
                view[done : done + count] = data
            if not count:
                break
            done += count
        return done

    def read(self, byte_count: int, offset: int) -> bytes:
        """Returns up to `byte_count` bytes from `offset` on; fewer at the end of the file."""
        if self._seek_lock is None:
            data = os.pread(self.fd, byte_count, offset)
        else:
            data = self._read_some(byte_count, offset)
        if len(data) == byte_count or not data:
            return data
        buffer = bytearray(byte_count)
        buffer[: len(data)] = data
        rest = self.read_into(memoryview(buffer)[len(data) :], offset + len(data))
        return bytes(buffer[: len(data) + rest])

    def write(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Puts `data` at `offset`, all of it or an error."""
        while True:
            if self._seek_lock is None:
                count = os.pwrite(self.fd, data, offset)
            else:
                with self._seek_lock:
                    os.lseek(self.fd, offset, os.SEEK_SET)
                    count = os.write(self.fd, data)
            if count == len(data):
                return
            data = memoryview(data)[count:]
            offset += count

    def truncate(self, byte_count: int) -> None:
        """Cuts the file at `byte_count`."""
        os.ftruncate(self.fd, byte_count)

    def sync(self) -> None:
        """Returns when everything written so far survives a power loss."""
        if sys.platform == "darwin":
            # fsync leaves the data in the drive's cache there.
            fcntl.fcntl(self.fd, fcntl.F_FULLFSYNC)
        elif hasattr(os, "fdatasync"):
            os.fdatasync(self.fd)
        else:
            os.fsync(self.fd)

    def close(self) -> None:
        """Closes the file; again does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _read_some(self, byte_count: int, offset: int) -> bytes:
        if self._seek_lock is None:
            return os.pread(self.fd, byte_count, offset)
        with self._seek_lock:
            os.lseek(self.fd, offset, os.SEEK_SET)
            return os.read(self.fd, byte_count)


def open_lock_file(path: str, *, create: bool) -> tuple[int, bool]:
    """Returns a descriptor of the lock file and whether it can take exclusive locks.

    Raises:
        OSError: There is no lock file (and none may be created), or it cannot be opened.
    """
    flags = _CLOEXEC | _BINARY | _NOFOLLOW
    try:
        return os.open(path, os.O_RDWR | flags | (os.O_CREAT if create else 0), 0o666), True
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        try:
            return os.open(path, os.O_RDONLY | flags), False
        except FileNotFoundError:
            raise error from None  # it is not there, and may not be created


def same_permissions(fd: int, data_path: str) -> None:
    """Lets everybody who may write the data file lock it too, if this user may allow that."""
    if not (hasattr(os, "fchmod") and hasattr(os, "geteuid")):
        return
    try:
        data, lock = os.stat(data_path), os.fstat(fd)
        if lock.st_uid != os.geteuid():
            return
        if data.st_gid != lock.st_gid:
            os.fchown(fd, -1, data.st_gid)
        if (data.st_mode ^ lock.st_mode) & 0o666:
            os.fchmod(fd, data.st_mode & 0o666)
    except OSError:
        return  # the lock file works for this user; a colleague gets a ReadOnlyError that names it


def try_lock(fd: int, byte: int, *, exclusive: bool) -> bool:
    """Locks one byte of the lock file, or returns False because another handle holds it.

    Raises:
        LocksUnsupported: There are no locks here.
    """
    try:
        if fcntl is None:
            # Exclusive locks only. Readers go without and rely on the check at their end.
            if exclusive:
                os.lseek(fd, byte, os.SEEK_SET)
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        elif HAS_HANDLE_LOCKS:
            kind = fcntl.F_WRLCK if exclusive else fcntl.F_RDLCK
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _lock_structure(kind, byte))
        else:
            # These belong to the process: two handles of one process do not exclude each other,
            # and closing one drops the locks of both. `Store` therefore opens no second handle on
            # such systems.
            kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
            fcntl.lockf(fd, kind | fcntl.LOCK_NB, 1, byte)
    except OSError as error:
        if error.errno in _HELD_BY_OTHERS:
            return False
        if error.errno in _NO_LOCKS:
            raise LocksUnsupported from error
        raise
    return True


def unlock(fd: int, byte: int) -> None:
    """Gives one byte of the lock file back."""
    if HAS_HANDLE_LOCKS:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _lock_structure(fcntl.F_UNLCK, byte))
    elif fcntl is not None:
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, byte)
    else:
        os.lseek(fd, byte, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        except OSError:
            return  # it was a shared one, which is none here


def _lock_structure(kind: int, byte: int) -> bytes:
    key = kind, byte
    packed = _lock_structures.get(key)
    if packed is None:
        packed = _lock_structures[key] = struct.pack("@hhqqi", kind, os.SEEK_SET, byte, 1, 0)
    return packed


def try_share_with_hdf5(fd: int) -> bool:
    """Lets other HDF5 programs read the data file and not write it, by HDF5's own lock.

    Returns False when another program has the file open for writing. Without `flock` it returns
    True: there HDF5 locks nothing either.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _HELD_BY_OTHERS
    return True


def stop_sharing(fd: int) -> None:
    """Gives the lock of `try_share_with_hdf5` back."""
    if fcntl is None:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    except OSError:
        return  # no locks here, so there is none to give back


def give_name(temporary: str, path: str) -> None:
    """Gives the finished file its name, and never replaces a file that has it already.

    Raises:
        FileExistsError: `path` exists.
    """
    if os.name == "nt":
        os.rename(temporary, path)  # refuses to replace, unlike POSIX
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # No hard links (exFAT, some FUSE and SMB mounts): reserve the name, then rename over the
        # reservation. A crash between the two leaves an empty file of that name.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC, 0o666))
        os.replace(temporary, path)
        return
    os.unlink(temporary)


def replace_by(temporary: str, path: str) -> None:
    """Gives the finished file its name, in place of the file that has it."""
    os.replace(temporary, path)


def same_access(fd: int, path: str) -> None:
    """Gives an open file the permissions of another one, and its owner where that is allowed."""
    status = os.stat(path)
    if hasattr(os, "fchown"):
        for owner in ((status.st_uid, -1), (-1, status.st_gid)):
            try:
                os.fchown(fd, *owner)
            except OSError:
                continue  # only the superuser gives files away; the permissions still hold
    if hasattr(os, "fchmod"):
        os.fchmod(fd, status.st_mode & 0o777)


def sync_directory(path: str) -> None:
    """Returns when the names in the directory survive a power loss."""
    if os.name == "nt":
        return  # a directory cannot be opened for that
    fd = os.open(path, os.O_RDONLY | _CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@lru_cache(maxsize=1)
def memory_bytes() -> int:
    """Returns how much memory this machine has, or the group of processes may use."""
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        found = 1 << 32
    with (
        contextlib.suppress(OSError, ValueError),
        open("/sys/fs/cgroup/memory.max", encoding="ascii") as file,
    ):
        found = min(found, int(file.read()))
    return found
