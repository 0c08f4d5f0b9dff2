"""The lock file beside a scene file: one writer at a time, and readers undisturbed by commits.

Bytes of the lock file, each a lock of its own (the file itself stays empty):

    0  queue     held while waiting for the writer lock: who has just written cannot overtake
    1  writer    held exclusively for the whole of a transaction
    2  pending   held exclusively during a commit; a reader takes it shared for a moment before the
                 next one, so that readers cannot starve a commit
    3  commit    held exclusively during a commit, shared during a read
    4  users     held shared while the lock file is open; who gets it exclusively is the last user
                 and removes the file
    5  authors   held shared from the first transaction on, until the file is closed: tells that
                 somebody may go on writing
    6  merger    held exclusively by who merges other files into this one, for as long as it takes

It is a file of its own because HDF5 locks the data file as a whole, and the two would collide on
NFS.
"""

from __future__ import annotations

import errno
import os
import random
import stat
import time
import warnings

from h5scene.errors import BusyError, ReadOnlyError, StorageError
from h5scene.store import system
from h5scene.store.safety import may_be_interrupted

QUEUE, WRITER, PENDING, COMMIT, USERS, AUTHORS, MERGER = range(7)

# How long a reader and a committing writer wait for each other before they go on without the lock.
# Both stay correct: the reader verifies its snapshot and repeats it. The writer waits only briefly
# again after it had to do that once, so that a stopped reader cannot slow a simulation down.
PATIENCE_S = 2.0
IMPATIENCE_S = 0.02

_warned_about: set[int] = set()


@may_be_interrupted
def doze(seconds: float) -> None:
    """Sleeps; here a signal handler may raise."""
    time.sleep(seconds)


class SideLocks:
    """The locks of one handle on a scene file."""

    def __init__(self, data_path: str):
        self.data_path = data_path
        self.path = data_path + ".lock"
        self._fd = -1
        self._identity = (-1, -1)
        self._can_write = False
        self._has_no_locks = False
        self._reader_was_slow = False
        self._is_author = False

    # Writers --------------------------------------------------------------------------------------

    def take_writer(self, deadline: float) -> None:
        """Gives this handle the right to write, when it is its turn.

        Raises:
            BusyError: Another process kept it past the deadline (a `time.monotonic` value).
            ReadOnlyError: The lock file cannot be written.
        """
        while True:
            self._open_for_writing()
            if self._has_no_locks:
                return
            try:
                self._wait_for(QUEUE, deadline)
                try:
                    self._wait_for(WRITER, deadline)
                finally:
                    self._unlock(QUEUE)
            except system.LocksUnsupported:
                self._warn_about_missing_locks()
                return
            if self.is_in_place():
                self._become_author()
                return
            self.close()  # its last user removed it while we waited; the next one is somewhere else

    def release_writer(self) -> None:
        """Lets the next process write."""
        self._unlock(WRITER)

    def take_merger(self, deadline: float) -> None:
        """Makes this handle the only one that merges into the file, until it is closed.

        Raises:
            BusyError: Another one did past the deadline (a `time.monotonic` value).
            ReadOnlyError: The lock file cannot be written.
        """
        while True:
            self._open_for_writing()
            if self._has_no_locks:
                return
            while not system.try_lock(self._fd, MERGER, exclusive=True):
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"others are being merged into {self.data_path} already; wait for that",
                        file=self.data_path,
                    )
                doze(0.01)
            if self.is_in_place():
                return
            self.close()

    def has_authors(self) -> bool:
        """Whether some other handle has written to the file, and still has it open.

        False where there are no locks to tell.
        """
        try:
            if not self._open_existing() or self._has_no_locks or not self._can_write:
                return False
            if not system.try_lock(self._fd, AUTHORS, exclusive=True):
                return True
        except system.LocksUnsupported:
            return False
        self._unlock(AUTHORS)
        return False

    def is_in_place(self) -> bool:
        """Whether the lock file that this handle has open is still the one others would find."""
        if self._has_no_locks:
            return True
        if self._fd < 0:
            return False
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == self._identity

    def exclude_readers(self) -> None:
        """Returns when no reader is at work, or after a while with some reader still there.

        Who is still there will notice. Ends with `admit_readers`. Step 2 of DURABILITY.md.
        """
        deadline = time.monotonic() + (IMPATIENCE_S if self._reader_was_slow else PATIENCE_S)
        got_both = [self._try_until(byte, deadline, exclusive=True) for byte in (PENDING, COMMIT)]
        self._reader_was_slow = not all(got_both)

    def admit_readers(self) -> None:
        """Lets readers go on."""
        self._unlock(COMMIT)
        self._unlock(PENDING)

    # Readers --------------------------------------------------------------------------------------

    def keep_commits_out(self) -> None:
        """Returns when no commit is in progress, or after a while in which one was.

        Ends with `admit_commits`. Creates no file: without a lock file there is no writer, and one
        who comes while we read is noticed at the end.
        """
        if not self._open_existing():
            return
        deadline = time.monotonic() + PATIENCE_S
        if self._try_until(PENDING, deadline, exclusive=False):
            self._try_until(COMMIT, deadline, exclusive=False)
            self._unlock(PENDING)

    def admit_commits(self) -> None:
        """Lets writers commit again."""
        self._unlock(COMMIT)

    # Both -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Gives all locks back, and removes the lock file if nobody else uses it."""
        if self._fd < 0:
            return
        try:
            if (
                self._can_write
                and system.HAS_HANDLE_LOCKS
                and not self._has_no_locks
                and system.try_lock(self._fd, USERS, exclusive=True)
                and self.is_in_place()
                and os.fstat(self._fd).st_size == 0  # not ours otherwise
            ):
                os.unlink(self.path)
        except (OSError, system.LocksUnsupported):
            pass  # it stays behind, which harms nobody
        finally:
            self.forget()

    def forget(self) -> None:
        """Closes the descriptor without touching any lock, as a forked child must."""
        fd, self._fd = self._fd, -1
        self._is_author = False
        if fd >= 0:
            os.close(fd)

    def _open_for_writing(self) -> None:
        if self._fd >= 0 and self._can_write:
            return  # whether it is still in place is checked under the lock
        self.close()
        try:
            found = self._open(create=True)
        except FileNotFoundError as error:
            raise StorageError(
                f"the directory of {self.data_path} is gone",
                errno=errno.ENOENT,
                file=self.data_path,
            ) from error
        if not found or not self._can_write:
            self.close()
            raise ReadOnlyError(
                f"cannot lock {self.data_path} for writing: its directory or {self.path} is not "
                "writable",
                file=self.data_path,
            )

    def _become_author(self) -> None:
        if not self._is_author:
            # Waits only for somebody who is asking whether there is one.
            self._is_author = self._try_until(
                AUTHORS, time.monotonic() + PATIENCE_S, exclusive=False
            )

    def _open_existing(self) -> bool:
        if self._fd >= 0:
            if self.is_in_place():
                return True
            self.close()
        return not self._has_no_locks and self._open(create=False)

    def _open(self, *, create: bool) -> bool:
        """Opens the lock file and becomes one of its users; False when there is none to open."""
        while True:
            try:
                self._fd, self._can_write = system.open_lock_file(self.path, create=create)
            except FileNotFoundError:
                if create:
                    raise  # there is no directory for it
                return False
            except OSError as error:
                if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                    return False
                raise StorageError(
                    f"cannot open {self.path}: {error.strerror}",
                    errno=error.errno,
                    file=self.data_path,
                ) from error
            status = os.fstat(self._fd)
            self._identity = status.st_dev, status.st_ino
            if not stat.S_ISREG(status.st_mode):
                self.forget()
                raise StorageError(f"{self.path} is not a file; remove it", file=self.data_path)
            if create and self._can_write:
                system.same_permissions(self._fd, self.data_path)
            try:
                # Waits only for a last user that is about to remove the file.
                is_user = self._try_until(USERS, time.monotonic() + PATIENCE_S, exclusive=False)
            except system.LocksUnsupported:
                self._warn_about_missing_locks()
                return True
            if is_user and self.is_in_place():
                return True
            self.forget()

    def _wait_for(self, byte: int, deadline: float) -> None:
        """Takes an exclusive lock; may be interrupted."""
        started = time.monotonic()
        while not system.try_lock(self._fd, byte, exclusive=True):
            now = time.monotonic()
            if now >= deadline:
                raise BusyError(
                    f"another process has been writing {self.data_path} for too long; wait for it, "
                    "or raise lock_timeout_s",
                    file=self.data_path,
                )
            # Random, so that each of many waiting processes has the same chance. Who waits for the
            # writer lock is first in the queue and alone, and may ask more often.
            longest = 0.001 if byte == WRITER else 0.002 if now - started < 0.2 else 0.005
            doze(min(random.uniform(0.2, 1.0) * longest, max(deadline - now, 0)))

    def _try_until(self, byte: int, deadline: float, *, exclusive: bool) -> bool:
        """Takes a lock if that is possible in time; is not interrupted."""
        if self._fd < 0 or self._has_no_locks:
            return True
        pause_s = 0.0001
        while not system.try_lock(self._fd, byte, exclusive=exclusive):
            if time.monotonic() >= deadline:
                return False
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.002)
        return True

    def _unlock(self, byte: int) -> None:
        if self._fd >= 0 and not self._has_no_locks:
            system.unlock(self._fd, byte)

    def _warn_about_missing_locks(self) -> None:
        self._has_no_locks = True
        try:
            device = os.stat(os.path.dirname(self.data_path)).st_dev  # the file may not exist yet
        except OSError:
            device = -1
        if device not in _warned_about:
            _warned_about.add(device)
            warnings.warn(
                f"the file system of {self.data_path} has no file locks: make sure that only one "
                "process writes it",
                RuntimeWarning,
                stacklevel=2,
            )
