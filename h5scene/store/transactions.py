"""`Store.transaction`: many calls, one commit. Also what becomes of errors inside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from h5scene.errors import (
    CorruptDataError,
    H5SceneError,
    InternalError,
    StorageError,
    UnsafeFileError,
)
from h5scene.store.failures import from_hdf5, from_pager
from h5scene.store.safety import Guard, collect_if_due

if TYPE_CHECKING:
    from types import TracebackType

    from h5scene.store.channel import Channel
    from h5scene.store.gate import SafeFile
    from h5scene.store.handles import Store

Durability: TypeAlias = Literal["process", "power"]

# Damage is met in the middle of a change as well.
_HALF_DONE = (StorageError, InternalError, CorruptDataError, UnsafeFileError)


class OpenTransaction:
    """The transaction of a store that is open now, with all its levels.

    Attributes:
        channel: What it writes through.
        depth: How many `with` blocks of it are open.
        sync: Whether its commit survives a power loss.
        spoilt_by: The exception after which it can only be rolled back.
    """

    def __init__(self, channel: Channel):
        self.channel = channel
        self.depth = 0
        self.sync = False
        self.spoilt_by: BaseException | None = None

    @property
    def file(self) -> SafeFile:
        """The file to write to."""
        view = self.channel.view
        if view is None:
            raise InternalError("the transaction has no open file", file=self.channel.path)
        return view.file

    def check(self) -> None:
        """Raises what spoilt this transaction, so that nobody works on in vain."""
        kept = self.kept_error()
        if kept is not None:
            raise from_pager(kept, self.channel.path) from kept
        if self.spoilt_by is not None:
            raise self.explanation() from self.spoilt_by

    def kept_error(self) -> BaseException | None:
        """Returns the error that the pager could not raise, or None."""
        view = self.channel.view
        return view.pager.error if view is not None else None

    def explanation(self) -> H5SceneError:
        """Returns the error that says why a transaction whose body ended normally is undone."""
        cause = self.spoilt_by
        message = (
            f"the transaction on {self.channel.path} was rolled back: an error inside it was "
            f"caught which may have left something half done ({type(cause).__name__}: {cause}); "
            "let such errors leave the transaction"
        )
        if isinstance(cause, StorageError):
            return StorageError(message, errno=cause.errno, file=self.channel.path)
        return H5SceneError(message, file=self.channel.path)

    def leave_inner(self, error: BaseException | None) -> None:
        """Ends one inner level. What may have left something half done spoils the whole."""
        kept = self.kept_error()
        if kept is not None:
            self.spoilt_by = self.spoilt_by or kept
            raise from_pager(kept, self.channel.path) from (error or kept)
        if error is None:
            return
        # Errors of ours are raised before anything is changed, except these kinds.
        if not isinstance(error, H5SceneError) or isinstance(error, _HALF_DONE):
            self.spoilt_by = self.spoilt_by or error

    def leave_outermost(self, error: BaseException | None) -> None:
        """Commits, or rolls back and raises what is to be said beyond `error` itself."""
        if error is None and self.spoilt_by is None:
            try:
                self.channel.commit(sync=self.sync)
            except BaseException as failure:
                kept = self.kept_error() or failure
                self.channel.roll_back()
                meaning = from_hdf5(from_pager(kept, self.channel.path), self.channel.path)
                if meaning is failure:
                    raise
                raise meaning from failure
            return
        kept_error = self.kept_error()
        self.channel.roll_back()
        if kept_error is not None:
            raise from_pager(kept_error, self.channel.path) from (error or kept_error)
        if error is None:
            raise self.explanation() from self.spoilt_by
        meaning = from_hdf5(error, self.channel.path)
        if meaning is not error:
            raise meaning from error


class Transaction:
    """Context manager of one level of a transaction; gives the `h5py.File` to write to."""

    def __init__(self, store: Store, durability: Durability, lock_timeout_s: float):
        self._store = store
        self._sync = durability == "power"
        self._timeout_s = lock_timeout_s
        self._guard = Guard()
        self._open: OpenTransaction | None = None

    def __enter__(self) -> SafeFile:
        self._guard.__enter__()
        try:
            self._open = self._store.enter_transaction(self._timeout_s, sync=self._sync)
            return self._open.file
        except BaseException:
            self._guard.__exit__(None, None, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened, self._open = self._open, None
        try:
            if opened is not None:
                self._store.leave_transaction(opened, error)
            if opened is not None and opened.depth:
                collect_if_due()
        finally:
            self._guard.__exit__(None, None, None)
