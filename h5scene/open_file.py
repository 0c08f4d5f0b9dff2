"""An open scene file: its options, its transactions, and what is still to be written to it.

`SceneFile` and its parts read and change the file through here and nowhere else.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeAlias, TypeVar

from h5scene import background as background_writing
from h5scene.errors import (
    AlreadyExistsError,
    CorruptDataError,
    H5SceneError,
    InvalidInputError,
    NotASceneFileError,
    ReadOnlyError,
)
from h5scene.format import tree
from h5scene.format.workers import check_workers, default_workers
from h5scene.paths import scene_file_path
from h5scene.sandbox import Sandbox
from h5scene.store import create_store, open_store
from h5scene.store.access import Policy, checked_limit
from h5scene.store.failures import from_system

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from h5scene.format.filters import Compression
    from h5scene.store import Durability, Store
    from h5scene.store.gate import SafeFile

P = ParamSpec("P")
T = TypeVar("T")
Mode: TypeAlias = Literal["r", "r+", "a", "x"]

DEFAULT_LOCK_TIMEOUT_S = 60.0


class OpenFile:
    """An open scene file, without a word on what is in it; `SceneFile` describes the options."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        mode: Mode = "a",
        *,
        durability: Durability = "process",
        lock_timeout_s: float = DEFAULT_LOCK_TIMEOUT_S,
        compression: Compression = "fast",
        workers: int | None = None,
        background: bool = False,
        trusted: bool = False,
        max_array_bytes: int | None = None,
        sandbox: bool = False,
    ):
        _check_option("mode", mode, ("r", "r+", "a", "x"))
        _check_option("durability", durability, ("process", "power"))
        _check_option("compression", compression, ("fast", "small", None))
        check_workers(workers)
        _check_option("background", background, (True, False))
        _check_option("trusted", trusted, (True, False))
        self._policy = Policy(trusted, checked_limit(max_array_bytes))
        self._path = scene_file_path(path)
        self._mode = mode
        self._durability: Durability = durability
        self._lock_timeout_s = lock_timeout_s
        self._is_closed = False  # of a file in a sandbox
        self._child_options: dict[str, Any] = {
            "lock_timeout_s": lock_timeout_s,
            "workers": workers,
            "max_array_bytes": max_array_bytes,
        }
        self._compression: Compression = compression
        self._workers = default_workers() if workers is None else workers
        self._is_background = background
        self._store: Store | None = None
        self._sandbox = _checked_sandbox(sandbox, self)
        if self._sandbox is not None:
            self._call_in_sandbox("_ask_for_nothing", (), {})
            return
        self._store = self._open_or_create()
        self._read(lambda _: None)  # a file that is none of ours is refused here, not at first use
        if background:
            background_writing.prepare()

    @property
    def path(self) -> str:
        """Path of the file, as given, with its suffix."""
        return self._path

    @property
    def mode(self) -> Mode:
        """How the file was opened: `r` for reading only, else `r+`, `a` or `x`."""
        return self._mode

    def flush(self) -> None:
        """Waits until all that was written to this file in the background is committed.

        Nothing is waited for where nothing is written in the background. Changes that wait are made
        in the order of their calls, each of them completely or not at all. All other calls on the
        file do this first, so that they see what was written before. Python does it before it
        exits; a process that is killed loses what waits. At most 256 MiB wait for a file: a call
        that would add more waits for room.

        Raises:
            H5SceneError: What a change in the background raised. Every error is raised once, by the
                next call on this file, which then does nothing else; those changes have not
                happened, later ones have.
        """
        with self._located(None):
            background_writing.flush(self._opened().path)

    def close(self) -> None:
        """Closes the file; later calls fail. Everything that was written is committed then.

        Raises:
            H5SceneError: As `flush`.
        """
        if self._sandbox is not None:
            self._sandbox.stop()
            self._is_closed = True
        store = self._store
        if store is not None:
            try:
                background_writing.flush(store.path)
            finally:
                self._store = None
                store.keepers.discard(self)
                if not store.keepers:
                    store.close_if_idle()

    def stay_open(self) -> None:
        """Keeps others in this process from closing the file when they close theirs.

        Until this one is closed or forgotten: its locks tell other processes that somebody may go
        on writing.
        """
        self._opened().keepers.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._path!r}, mode={self._mode!r})"

    @contextmanager
    def transaction(self) -> Iterator[Self]:
        """Makes everything that is written inside one commit; on an error, nothing of it happens.

        Other processes that want to write wait until the transaction ends; readers do not.

        Raises:
            ReadOnlyError: The file cannot be written.
            BusyError: Another process is writing and did not finish within the timeout.
            StorageError: The disk is full or failed; the file is at its last committed state.
        """
        with self._transaction(), background_writing.direct(self._opened().path):
            yield self

    # --- for the parts of a scene file ------------------------------------------------------------

    def _open_or_create(self) -> Store | None:
        """Returns the store of the file, which is created first where the mode says so."""
        if Path(self._path).is_dir():
            raise NotASceneFileError(
                f"{self._path} is a directory, not a scene file; choose another path",
                file=self._path,
            )
        if self._mode == "x" or (self._mode == "a" and not Path(self._path).exists()):
            make_directory(self._path)
            try:
                return create_store(self._path, tree.initialise, durability=self._durability)
            except AlreadyExistsError:
                if self._mode == "x":
                    raise
                # another process was faster
        return open_store(self._path)

    def _opened(self) -> Store:
        """Returns the store."""
        if self._sandbox is not None and not self._is_closed:
            raise InvalidInputError(
                f"{self._path} is open in a sandbox, where this cannot be done; open it without"
            )
        if self._store is None:
            raise InvalidInputError(f"{self._path} is closed; open it again")
        return self._store

    def _read(self, function: Callable[[tree.SceneTree], T], scene: str | None = None) -> T:
        """Returns what the function returns for a consistent state; it may be called again."""
        with self._located(scene):
            store = self._opened()
            background_writing.flush(store.path)
            try:
                return store.read(
                    lambda h5: function(self._tree(store, h5)),
                    lock_timeout_s=self._lock_timeout_s,
                )
            except KeyError as error:  # so h5py says that an object cannot be opened
                raise CorruptDataError(f"{self._path} is damaged: {error.args[0]}") from error

    @contextmanager
    def _transaction(self, scene: str | None = None) -> Iterator[tree.SceneTree]:
        """Gives the file for writing, in a transaction of its own or the one that is open."""
        with self._located(scene):
            store = self._writable()
            background_writing.flush(store.path)
            with store.transaction(
                durability=self._durability, lock_timeout_s=self._lock_timeout_s
            ) as h5:
                yield self._tree(store, h5)
                if self._policy.is_trusted:
                    store.cache.clear()  # which does not know of these changes

    def _tree(self, store: Store, h5: SafeFile) -> tree.SceneTree:
        """Returns the scenes of an open file, as far as it is trusted."""
        # What somebody learns who follows links holds for nobody else.
        cache = {} if self._policy.is_trusted else store.cache
        return tree.SceneTree(h5.with_policy(self._policy), cache, self._path)

    def _call_in_sandbox(
        self, name: str, arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> Any:
        """Returns what a method of this class returns in a process of its own."""
        if self._is_closed:
            raise InvalidInputError(f"{self._path} is closed; open it again")
        assert self._sandbox is not None
        return self._sandbox.call(
            _call_method,
            type(self),
            self._path,
            self._child_options,
            name,
            arguments,
            dict(options),
            size_bytes=Path(self._path).stat().st_size if Path(self._path).exists() else 0,
        )

    def _ask_for_nothing(self) -> None:
        """Does nothing; a file that cannot be opened says so."""

    def _writable(self) -> Store:
        """Returns the store, which may be written to."""
        store = None if self._sandbox is not None and not self._is_closed else self._opened()
        if self._mode == "r" or store is None:
            raise ReadOnlyError(
                f"{self._path} is open for reading only; open it with mode 'a' to write"
            )
        return store

    def _change(self, change: Callable[[tree.SceneTree], object], byte_count: int = 0) -> None:
        """Makes a change in a transaction of its own, now or in the background.

        Args:
            change: What to do. If it may be done later, its data must not change any more.
            byte_count: Size of these data.
        """

        def make() -> None:
            with self._transaction() as file:
                change(file)

        with self._located(None):
            path = self._writable().path
        if self._may_wait():
            background_writing.put(path, make, byte_count)
        else:
            make()

    def _may_wait(self) -> bool:
        """Whether changes are made in the background now."""
        return self._is_background and not background_writing.is_direct(self._opened().path)

    @contextmanager
    def _located(self, scene: str | None) -> Iterator[None]:
        """Adds to an error in which file, and where in it, it happened."""
        try:
            yield
        except H5SceneError as error:
            error.file = error.file or self._path
            if error.location is None and scene is not None:
                error.location = f"/{scene}"
            raise


def make_directory(path: str) -> None:
    """Makes the directory of a scene file where there is none.

    Raises:
        NotASceneFileError: Something else has its name.
        ReadOnlyError: It may not be made.
        StorageError: The disk is full or failed.
    """
    directory = Path(path).absolute().parent
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise NotASceneFileError(
            f"cannot create {path}: {directory} is no directory", file=path
        ) from error
    except PermissionError as error:
        raise ReadOnlyError(
            f"cannot create {path}: {directory} cannot be written", file=path
        ) from error
    except OSError as error:
        raise from_system(error, f"create {directory}", path) from error


def in_sandbox(method: Callable[P, T]) -> Callable[P, T]:
    """Lets a method that reads do so in a process of its own, of files that are opened like that.

    What it takes can be pickled; what it returns are plain values and records.
    """

    @functools.wraps(method)
    def call(*arguments: P.args, **options: P.kwargs) -> T:
        file: Any = arguments[0]
        if file._sandbox is None:
            return method(*arguments, **options)
        with file._located(None):
            found: T = file._call_in_sandbox(method.__name__, arguments[1:], options)
            return found

    return call


_open_files: dict[tuple[Any, ...], OpenFile] = {}
"""The file that is open in the process of a sandbox."""


def _call_method(
    cls: type[OpenFile],
    path: str,
    file_options: dict[str, Any],
    name: str,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> Any:
    """Returns what a method of an open file returns: in the process of a sandbox."""
    key = (cls, path, *file_options.items())
    if key not in _open_files:
        _open_files[key] = cls(path, "r", **file_options)
    file = _open_files[key]
    is_property = isinstance(getattr(cls, name), property)
    return getattr(file, name) if is_property else getattr(file, name)(*arguments, **options)


def _checked_sandbox(sandbox: object, file: OpenFile) -> Sandbox | None:
    """Returns a sandbox for a file that is to be read in one; `None` if it is not.

    Raises:
        InvalidInputError: Other options of the file make no sense with it.
    """
    _check_option("sandbox", sandbox, (True, False))
    if not sandbox:
        return None
    if file._mode != "r":
        raise InvalidInputError(
            f"a file can be read in a sandbox, and not written; open {file._path} with mode 'r'"
        )
    if file._policy.is_trusted:
        raise InvalidInputError("a file that is trusted needs no sandbox; give one of both")
    return Sandbox(file._policy.array_limit_bytes)


def _check_option(name: str, value: object, allowed: tuple[object, ...]) -> None:
    """Raises InvalidInputError when an option has none of its values."""
    if value not in allowed:
        expected = ", ".join(map(repr, allowed))
        raise InvalidInputError(f"{name} must be one of {expected}, not {value!r}")
