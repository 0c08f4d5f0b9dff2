"""Reading and writing through one handle: what a view and the locks beside it do together.

A `Store` has one channel, and a second one for threads that read while another thread's
transaction is open.
"""

from __future__ import annotations

import errno
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from h5scene.errors import BusyError, InternalError, ReadOnlyError, StorageError
from h5scene.store import system
from h5scene.store.failures import from_hdf5, from_pager
from h5scene.store.locks import SideLocks, doze
from h5scene.store.safety import runs_user_code
from h5scene.store.view import ChangedMeanwhile, View, share_with_other_programs, take_stamp

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# After this many spoilt snapshots a reader keeps writers out while it reads.
_POLITE_ATTEMPTS = 2


class _OtherProgramWrites(Exception):
    """A program without h5scene has the file open for writing."""


class Channel:
    """One handle on a scene file, opened when it is needed and kept open.

    Not thread-safe: the store has a lock for each channel.

    Attributes:
        view: The open file, or None.
        cache: Facts derived from the state that `view` shows.
        reader: Identifier of the thread that reads through this channel, or None.
        before_opening: Called before a file is opened, to keep the number of open files bounded.
    """

    def __init__(self, path: str, before_opening: Callable[[], None]):
        self.path = path
        self.locks = SideLocks(path)
        self.view: View | None = None
        self.cache: dict[Any, Any] = {}
        self.reader: int | None = None
        self.before_opening = before_opening

    # Reading --------------------------------------------------------------------------------------

    def read(self, function: Callable[[Any], T], deadline: float, what: Callable[[View], Any]) -> T:
        """Returns `function(what(view))` of one committed state of the file.

        Raises:
            BusyError: Another program has the file open for writing, or it changes faster than it
                can be read.
            CorruptDataError: HDF5 cannot make sense of it.
            StorageError: The disk failed.
        """
        attempt = 0
        while True:
            keeps_writers_out = attempt >= _POLITE_ATTEMPTS and self._try_writer_lock(deadline)
            self.locks.keep_commits_out()
            try:
                return self._attempt(function, what)
            except ChangedMeanwhile:
                self.drop()
                attempt += 1
                if attempt > _POLITE_ATTEMPTS and time.monotonic() >= deadline:
                    raise BusyError(
                        f"{self.path} changes faster than it can be read", file=self.path
                    ) from None
            except _OtherProgramWrites:
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"another program has {self.path} open for writing without h5scene; "
                        "close it there",
                        file=self.path,
                    ) from None
                doze(0.01)
            finally:
                self.locks.admit_commits()
                if keeps_writers_out:
                    self.locks.release_writer()

    @runs_user_code
    def _attempt(self, function: Callable[[Any], T], what: Callable[[View], Any]) -> T:
        view = self._readable_view()
        if not view.is_writable and not system.try_share_with_hdf5(view.disk.fd):
            raise _OtherProgramWrites
        self.reader = threading.get_ident()
        try:
            result = function(what(view))
            if view.pager.error is not None:
                raise from_pager(view.pager.error, self.path) from view.pager.error
            if not view.still_holds():
                raise ChangedMeanwhile
            return result
        except ChangedMeanwhile:
            raise
        except Exception as error:
            if not view.still_holds():
                raise ChangedMeanwhile from error
            kept = view.pager.error
            if kept is not None:
                self.drop()
                raise from_pager(kept, self.path) from error
            meaning = from_hdf5(error, self.path)
            if meaning is error:
                raise
            raise meaning from error
        finally:
            self.reader = None
            if not view.is_writable and view.disk.fd >= 0:
                system.stop_sharing(view.disk.fd)

    def _readable_view(self) -> View:
        if self.view is not None and self.view.is_current():
            return self.view
        self.drop()
        self.before_opening()
        self.view = View.for_reading(self.path)
        return self.view

    def _try_writer_lock(self, deadline: float) -> bool:
        try:
            self.locks.take_writer(deadline)
        except ReadOnlyError:
            return False
        return True

    # Writing --------------------------------------------------------------------------------------

    def begin(self, deadline: float) -> View:
        """Opens a transaction: nobody else writes until `finish`.

        Raises:
            BusyError: Another process or program writes, and still did past the deadline.
            H5SceneError: The file cannot be opened for writing; see `View.for_writing`.
        """
        self.locks.take_writer(deadline)
        try:
            view = self._writable_view(deadline)
            view.pager.begin()
            return view
        except BaseException:
            self.locks.release_writer()
            raise

    def commit(self, *, sync: bool) -> None:
        """Makes what was written since `begin` the state of the file: steps 1 to 6.

        Raises:
            StorageError: The disk is full or failed; the caller rolls back.
        """
        view = self.view
        if view is None:
            raise InternalError("commit without a transaction", file=self.path)
        view.file.flush()  # step 1
        if view.pager.error is not None:
            raise view.pager.error
        if not view.pager.has_changes:
            return
        self.locks.exclude_readers()  # step 2
        try:
            if not (view.still_holds() and self.locks.is_in_place()):
                raise StorageError(
                    f"{self.path} or its lock file was replaced, removed or written by another "
                    "program during the transaction, which is lost",
                    errno=getattr(errno, "ESTALE", None),
                    file=self.path,
                )
            is_applied = view.pager.commit(sync=sync)
        finally:
            self.locks.admit_readers()
        if is_applied:
            view.stamp = take_stamp(view.disk)
        else:
            self._finish_applying()

    def _finish_applying(self) -> None:
        """Repairs the file after a commit that failed behind its commit point."""
        self._close_view()
        try:
            self.view = View.for_writing(self.path, self.locks, time.monotonic())
        except Exception as error:
            raise StorageError(
                f"{self.path} was committed, but the disk failed before all of it was in place: "
                f"{error}; the next use of the file repairs it",
                errno=getattr(error, "errno", None),
                file=self.path,
            ) from error

    def roll_back(self) -> None:
        """Drops what was written since `begin`; the file is at its last committed state."""
        self.cache.clear()
        self._close_view(drop_leftovers=self.locks.is_in_place())

    def finish(self) -> None:
        """Ends the transaction: other processes may write."""
        if self.view is not None:
            self.view.pager.end()
        self.locks.release_writer()

    def _writable_view(self, deadline: float) -> View:
        view = self.view
        if view is not None and view.is_writable and view.is_current():
            # Held already; asked for again because on NFS this also drops what this machine has
            # cached of the file.
            share_with_other_programs(view.disk, deadline)
            return view
        known = view.stamp if view is not None else None
        self._close_view()
        self.before_opening()
        self.view = view = View.for_writing(self.path, self.locks, deadline)
        if view.stamp != known:
            self.cache.clear()
        return view

    # Both -----------------------------------------------------------------------------------------

    def drop(self) -> None:
        """Forgets what is known of the file and closes it, but keeps the locks open."""
        self.cache.clear()
        self._close_view()

    def close(self) -> None:
        """Closes everything; the next use opens it again."""
        self.drop()
        self.locks.close()

    def abandon_to_parent(self) -> None:
        """Lets go, in a forked child, of what belongs to the parent."""
        view, self.view = self.view, None
        if view is not None:
            view.abandon_to_parent()
        self.locks.forget()
        self.cache.clear()
        self.reader = None

    def _close_view(self, *, drop_leftovers: bool = False) -> None:
        view, self.view = self.view, None
        if view is not None:
            view.close(drop_leftovers=drop_leftovers)
