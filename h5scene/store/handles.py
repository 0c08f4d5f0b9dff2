"""`Store`: a scene file with transactions for writing and snapshots for reading."""

from __future__ import annotations

import contextlib
import hashlib
import operator
import os
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from h5scene.errors import BusyError, InternalError, InvalidInputError
from h5scene.store import creation, system
from h5scene.store.channel import Channel
from h5scene.store.copying import copy_view
from h5scene.store.failures import from_system
from h5scene.store.locks import SideLocks, doze
from h5scene.store.registry import registry
from h5scene.store.safety import Guard, runs_user_code
from h5scene.store.transactions import Durability, OpenTransaction, Transaction
from h5scene.store.view import View, open_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import h5py

    from h5scene.store.gate import SafeFile

T = TypeVar("T")

_the_file = operator.attrgetter("file")


class Store:
    """One HDF5 file, shared by everything in this process that uses it. Get one from `open_store`.

    Any number of threads may use it; their transactions take turns.

    Attributes:
        path: Real path of the file.
        keepers: Whoever wants the file to stay open, with its locks, while others are done with it.
    """

    def __init__(self, path: str):
        self.path = path
        self.keepers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.RLock()
        self._channel = Channel(path, self._make_room)
        self._transaction: OpenTransaction | None = None
        self._owner: int | None = None
        # For threads that read while another one's transaction is open.
        self._aside_lock = threading.RLock()
        self._aside: Channel | None = None

    @property
    def cache(self) -> dict[Any, Any]:
        """Facts derived from the content of the file, kept by whoever derives them.

        Emptied when the content may have changed by anything but this store's own committed
        transactions. Use it inside `transaction` and `read` only: each of them sees the facts of
        the state it works on.
        """
        aside = self._aside
        if aside is not None and aside.reader == threading.get_ident():
            return aside.cache
        return self._channel.cache

    def transaction(
        self, *, durability: Durability = "process", lock_timeout_s: float = 60.0
    ) -> Transaction:
        """Returns a context manager that gives the `h5py.File` to write to, and commits at its end.

        An exception that leaves it rolls everything back.

        A transaction inside a transaction of the same thread joins it: there is one commit, at the
        end of the outermost one. An exception that leaves an inner level and is caught by the
        outer one spoils the whole transaction, unless it is one of this package's own, which are
        raised before anything is changed (all but CorruptDataError, UnsafeFileError, StorageError
        and InternalError).

        While a transaction is open the cyclic garbage collector is paused, and signal handlers run
        only between the calls of HDF5.

        Args:
            durability: `'process'`: the commit survives the death of the process. `'power'`: also
                a power loss.
            lock_timeout_s: How long to wait for other threads, processes and programs that write
                the file.

        Durability:
            When the outermost block has been left normally, everything written in it is in the
            file, and otherwise nothing of it.

        Raises:
            BusyError: Others did not stop writing in time.
            CorruptDataError: HDF5 cannot make sense of the file.
            NotFoundError: The file is gone.
            ReadOnlyError: The file or its directory cannot be written, or it has lost its header.
            StorageError: The disk is full or failed; the file is at its last committed state.
        """
        return Transaction(self, durability, lock_timeout_s)

    @runs_user_code
    def read(self, function: Callable[[SafeFile], T], *, lock_timeout_s: float = 60.0) -> T:
        """Returns what `function` returns for one committed state of the file.

        Inside a transaction of this thread it sees what the transaction has written so far.
        Otherwise it may run while others write; if one of them commits in between, it is called
        again. It must not keep h5py objects.

        Args:
            function: Takes the open file, an `h5py.File` behind the gate, and only reads.
            lock_timeout_s: How long to wait for other threads, and for programs without h5scene
                that write the file.

        Raises:
            BusyError: Others did not stop in time.
            CorruptDataError: HDF5 cannot make sense of the file.
            NotFoundError: The file is gone.
            StorageError: The disk failed.
        """
        with Guard():
            if self._owner == threading.get_ident() and self._transaction is not None:
                self._transaction.check()
                return function(self._transaction.file)
            nested = self._view_of_this_thread()
            if nested is not None:
                return function(nested.file)
            return self._read(function, _the_file, lock_timeout_s)

    def copy_to(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "process",
        lock_timeout_s: float = 60.0,
        on_progress: Callable[[int, int], object] | None = None,
    ) -> None:
        """Makes `path` a copy of the last committed state; it has its name only when it is whole.

        Others may go on writing; if the copy takes longer than two seconds and somebody commits
        meanwhile, it is made again with writers waiting.

        Raises:
            AlreadyExistsError: `path` exists.
            InvalidInputError: A transaction of this thread is open.
            H5SceneError: As `read`, and what creating a file can raise.
        """
        with Guard():
            if self._owner == threading.get_ident():
                raise InvalidInputError(
                    f"{self.path} cannot be copied inside a transaction on it", file=self.path
                )
            with creation.NewFile(path, sync=durability == "power") as new:
                copy = partial(copy_view, disk=new.disk, on_progress=on_progress)
                self._read(copy, _the_view, lock_timeout_s)
                new.publish()

    @runs_user_code
    def rebuild(
        self,
        initialise: Callable[[h5py.File], None],
        fill: Callable[[h5py.File, h5py.File], None],
        check: Callable[[h5py.File, h5py.File], None],
        *,
        durability: Durability = "process",
        lock_timeout_s: float = 60.0,
    ) -> None:
        """Replaces the file by a new one, which is built beside it while nobody may write.

        Readers go on with the old file until the new one has its name.

        Args:
            initialise: Writes the first content of the new file.
            fill: Takes the old and the new file, and writes the rest.
            check: Takes both files, the new one as it can be read from the disk, and raises if that
                is not what it should be.
            durability: As of a transaction.
            lock_timeout_s: As of a transaction.

        Durability:
            The old file is there, unchanged, until the new one is whole and checked, and then the
            new one. A process killed before leaves `.<name>.<random>.new`, which may be deleted.

        Raises:
            InvalidInputError: A transaction of this thread is open.
            H5SceneError: As `transaction`, and what creating a file can raise.
        """
        with Guard():
            if self._owner == threading.get_ident():
                raise InvalidInputError(
                    f"{self.path} cannot be replaced inside a transaction on it", file=self.path
                )
            with self.transaction(durability=durability, lock_timeout_s=lock_timeout_s) as old:
                content = creation.Content(partial(fill, old), partial(check, old))
                is_synced = durability == "power"
                creation.create(
                    self.path, initialise, sync=is_synced, content=content, replaces=True
                )
            self.close_if_idle()  # the old file takes its space as long as it is open

    def state(self, *, lock_timeout_s: float = 60.0) -> str:
        """Returns what tells the committed state of the file from its other ones, and from others.

        Inside a read or a transaction, of the state that this began with.

        Raises:
            H5SceneError: As `read`.
        """
        with Guard():
            view = self._view_of_this_thread()
            if view is None and self._owner == threading.get_ident():
                view = self._channel.view
            if view is None:
                return self._read(_state_of, _the_view, lock_timeout_s)
            return _state_of(view)

    def remove(self, state: str, *, lock_timeout_s: float = 60.0) -> None:
        """Removes the file, if it is still in this state.

        Raises:
            BusyError: Others have changed it, or did not stop writing in time.
            H5SceneError: As `transaction`.
        """
        with Guard():
            with self.transaction(lock_timeout_s=lock_timeout_s):
                if self.state() != state:
                    raise BusyError(f"{self.path} has been changed", file=self.path)
                try:
                    os.unlink(self.path)
                except OSError as error:
                    raise from_system(error, f"remove {self.path}", self.path) from error
            self.close_if_idle()

    def close(self) -> None:
        """Closes the file; the next use opens it again."""
        with Guard():
            deadline = time.monotonic() + 60.0
            self._wait_for(self._lock, deadline)
            try:
                self._wait_for(self._aside_lock, deadline)
                try:
                    if self._is_at_work():
                        raise InvalidInputError(
                            f"{self.path} is in use by this thread", file=self.path
                        )
                    self._close()
                finally:
                    self._aside_lock.release()
            finally:
                self._lock.release()

    # For the other modules of the store -----------------------------------------------------------

    def enter_transaction(self, timeout_s: float, *, sync: bool) -> OpenTransaction:
        """Begins a transaction, or joins the one of this thread."""
        if self._owner == threading.get_ident() and self._transaction is not None:
            self._transaction.check()
            self._transaction.depth += 1
            self._transaction.sync |= sync
            return self._transaction
        if self._view_of_this_thread() is not None:
            raise InternalError("a transaction cannot begin inside a read", file=self.path)
        deadline = time.monotonic() + timeout_s
        self._wait_for(self._lock, deadline)
        try:
            self._channel.begin(deadline)
            opened = OpenTransaction(self._channel)
            opened.depth, opened.sync = 1, sync
            self._transaction, self._owner = opened, threading.get_ident()
            registry.used(self)
        except BaseException:
            self._lock.release()
            raise
        return opened

    def leave_transaction(self, opened: OpenTransaction, error: BaseException | None) -> None:
        """Ends one level of a transaction; with the last one, commits or rolls back."""
        if opened is not self._transaction:
            # Forked inside the transaction: it is the parent's.
            if error is None:
                raise InvalidInputError(
                    f"a transaction on {self.path} cannot be continued in a forked process; what "
                    "this process wrote in it is lost",
                    file=self.path,
                )
            return
        opened.depth -= 1
        if opened.depth:
            opened.leave_inner(error)
            return
        try:
            opened.leave_outermost(error)
        finally:
            self._transaction = self._owner = None
            try:
                self._channel.finish()
            finally:
                self._lock.release()

    @property
    def is_open(self) -> bool:
        """Whether the store has the file open now."""
        return self._channel.view is not None

    def close_if_idle(self) -> bool:
        """Closes the file unless some thread is using it; returns whether it did."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if not self._aside_lock.acquire(blocking=False):
                return False
            try:
                if self._is_at_work():  # of this very thread, for which the locks are open
                    return False
                with Guard():
                    self._close()
                return True
            finally:
                self._aside_lock.release()
        finally:
            self._lock.release()

    def close_at_exit(self) -> None:
        """Closes the file before the interpreter ends, which HDF5 could not call back any more."""
        if self._transaction is not None and self._owner == threading.get_ident():
            with Guard():
                self._transaction = self._owner = None
                self._channel.roll_back()
                self._channel.finish()
        self.close_if_idle()

    def abandon_to_parent(self) -> None:
        """Starts afresh in a forked child."""
        self._lock, self._aside_lock = threading.RLock(), threading.RLock()
        self.keepers = weakref.WeakSet()
        self._transaction = self._owner = None
        self._channel.abandon_to_parent()
        if self._aside is not None:
            self._aside.abandon_to_parent()

    # Inside ---------------------------------------------------------------------------------------

    def _read(
        self, function: Callable[[Any], T], what: Callable[[View], Any], timeout_s: float
    ) -> T:
        deadline = time.monotonic() + timeout_s
        while not self._lock.acquire(blocking=False):
            if self._owner is not None and system.HAS_HANDLE_LOCKS:
                return self._read_aside(function, what, deadline)
            self._pause(deadline)
        try:
            registry.used(self)
            return self._channel.read(function, deadline, what)
        finally:
            self._lock.release()

    def _read_aside(
        self, function: Callable[[Any], T], what: Callable[[View], Any], deadline: float
    ) -> T:
        """Reads the last committed state while another thread's transaction is open."""
        self._wait_for(self._aside_lock, deadline)
        try:
            if self._aside is None:
                self._aside = Channel(self.path, self._make_room)
            return self._aside.read(function, deadline, what)
        finally:
            self._aside_lock.release()

    def _view_of_this_thread(self) -> View | None:
        me = threading.get_ident()
        for channel in (self._channel, self._aside):
            if channel is not None and channel.reader == me:
                return channel.view
        return None

    def _is_at_work(self) -> bool:
        channels = (self._channel, self._aside)
        return self._transaction is not None or any(
            c is not None and c.reader is not None for c in channels
        )

    def _close(self) -> None:
        self._channel.close()
        if self._aside is not None:
            self._aside.close()
            self._aside = None
        registry.closed(self)

    def _make_room(self) -> None:
        registry.make_room(self)

    def _wait_for(self, lock: Any, deadline: float) -> None:
        while not lock.acquire(timeout=min(max(deadline - time.monotonic(), 0.0), 0.02)):
            self._pause(deadline)

    def _pause(self, deadline: float) -> None:
        """Lets signal handlers run, and gives up when it is time to."""
        if time.monotonic() >= deadline:
            raise BusyError(
                f"another thread of this process has been using {self.path} for too long",
                file=self.path,
            )
        doze(0.003)


def _the_view(view: View) -> View:
    return view


def _state_of(view: View) -> str:
    return hashlib.sha256(repr(tuple(view.stamp)).encode()).hexdigest()


def open_store(path: str | os.PathLike[str]) -> Store:
    """Returns this process's store of the file, which must exist.

    Raises:
        NotASceneFileError: It is a directory or no HDF5 file.
        NotFoundError: There is no such file.
        ReadOnlyError: It may not even be read.
        StorageError: The disk failed.
    """
    real_path = os.path.realpath(path)
    store = registry.get(real_path)
    if store is not None and store.is_open and os.path.exists(real_path):
        return store
    open_disk(real_path, writable=False).close()
    return store or registry.add(Store(real_path))


@runs_user_code
def create_store(
    path: str | os.PathLike[str],
    initialise: Callable[[h5py.File], None],
    *,
    durability: Durability = "process",
    fill: Callable[[h5py.File], None] | None = None,
) -> Store:
    """Creates the file with what `initialise` writes into it, and returns its store.

    `fill` may write the rest of a larger file, in the newer format of HDF5 that transactions use.

    The file appears under its name when it is whole, and never in the place of another one: of two
    processes that create it at the same time, one gets AlreadyExistsError.

    Raises:
        AlreadyExistsError: There is a file or directory of this name.
        NotFoundError: The directory does not exist.
        ReadOnlyError: The directory cannot be written.
        StorageError: The disk is full or failed; there is no file.
    """
    real_path = os.path.realpath(path)
    with Guard():
        content = None
        if fill is not None:
            content = creation.Content(fill)
        creation.create(real_path, initialise, sync=durability == "power", content=content)
    return open_store(real_path)


def is_being_written(path: str | os.PathLike[str]) -> bool:
    """Whether somebody has written to the file, and still has it open.

    A process counts from its first transaction until it closes the file or ends. False where the
    file system has no locks to tell.
    """
    real_path = os.path.realpath(path)
    store = registry.get(real_path)
    if store is not None and not store.close_if_idle():
        return True  # another thread is at work on it
    locks = SideLocks(real_path)
    try:
        return locks.has_authors()
    finally:
        locks.close()


@contextlib.contextmanager
def only_merger(path: str | os.PathLike[str], *, lock_timeout_s: float = 60.0) -> Iterator[None]:
    """Context in which nobody else is in here for the same file, which need not exist.

    Others may write to it and read it. Where the file system has no locks, nobody is kept out.

    Raises:
        BusyError: Another one did not finish in time.
        ReadOnlyError: The directory cannot be written.
    """
    locks = SideLocks(os.path.realpath(path))
    try:
        locks.take_merger(time.monotonic() + lock_timeout_s)
        yield
    finally:
        locks.close()


def close_all() -> None:
    """Closes every open file of this process."""
    registry.close_all()
