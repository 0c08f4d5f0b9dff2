"""New files: built under another name in the same directory, and named when they are whole."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import h5py

from h5scene.errors import AlreadyExistsError, H5SceneError
from h5scene.store import system
from h5scene.store.failures import from_hdf5, from_pager, from_system
from h5scene.store.pager import Pager, cut, write_header
from h5scene.store.safety import runs_user_code
from h5scene.store.userblock import USER_BLOCK_BYTES, new_header, text_block
from h5scene.store.view import open_hdf5

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


@dataclass(frozen=True)
class Content:
    """What a new file gets before anybody sees it.

    Attributes:
        fill: Writes it.
        check: Reads it again, and raises if it is not what it should be.
    """

    fill: Callable[[h5py.File], None]
    check: Callable[[h5py.File], None] | None = None


class NewFile:
    """Context manager of a file without its final name: left before `publish`, nothing remains.

    A process killed in between leaves `.<name>.<random>.new`, which may be deleted.

    Attributes:
        path: The name that the file will have.
        disk: Its bytes.
    """

    def __init__(self, path: str | os.PathLike[str], *, sync: bool, replaces: bool = False):
        self.path = os.path.realpath(path)
        self._directory, name = os.path.split(self.path)
        self._temporary = os.path.join(self._directory, f".{name}.{secrets.token_hex(4)}.new")
        self._sync = sync
        self._replaces = replaces
        self.disk: system.Disk

    def __enter__(self) -> NewFile:
        if not self._replaces and os.path.lexists(self.path):
            raise AlreadyExistsError(f"{self.path} exists already", file=self.path)
        try:
            self.disk = system.Disk(self._temporary, writable=True, create=True)
            if self._replaces:
                system.same_access(self.disk.fd, self.path)
        except OSError as error:
            raise from_system(error, f"create {self.path}", self.path) from error
        return self

    def publish(self) -> None:
        """Gives the file its name, after syncing it if it is to survive a power loss.

        Raises:
            AlreadyExistsError: Somebody was faster.
            StorageError: The disk is full or failed.
        """
        try:
            if self._sync:
                self.disk.sync()
            self.disk.close()
            give = system.replace_by if self._replaces else system.give_name
            give(self._temporary, self.path)
            if self._sync:
                system.sync_directory(self._directory)
        except OSError as error:
            raise from_system(error, f"create {self.path}", self.path) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disk.close()
        with contextlib.suppress(OSError):  # it has its name, or cannot be removed
            os.unlink(self._temporary)
        if not isinstance(error, OSError) or isinstance(error, H5SceneError):
            return
        # With a name it is about some other file that `initialise` looked for.
        if error.errno is not None and error.filename is None:
            raise from_system(error, f"create {self.path}", self.path) from error


@runs_user_code
def create(
    path: str,
    initialise: Callable[[h5py.File], None],
    *,
    sync: bool,
    content: Content | None = None,
    replaces: bool = False,
) -> None:
    """Makes a scene file with what `initialise` writes into it, and then `content`.

    With `replaces`, it takes the place of the file of this name when it is whole; the caller keeps
    others from writing to that one.
    """
    with NewFile(path, sync=sync, replaces=replaces) as new:
        pager = Pager.of_new_file(new.disk)
        new.disk.write(text_block(), 0)
        # Superblock 2, the newest that opens again after its writer was killed.
        options = {"libver": ("v108", "v108"), "userblock_size": USER_BLOCK_BYTES}
        _use(pager, partial(h5py.File, pager, "w", **options), initialise, path)
        if content is not None:
            pager = Pager.of_unpublished_file(new.disk)
            _use(pager, partial(open_hdf5, pager, is_writable=True), content.fill, path)
        end = pager.end_of_data()
        write_header(new.disk, new_header().clean(end=end))
        cut(new.disk, end)
        if content is not None and content.check is not None:
            pager = Pager(new.disk, base=end)
            _use(pager, partial(open_hdf5, pager, is_writable=False), content.check, path)
        new.publish()


@runs_user_code
def _use(
    pager: Pager,
    opened: Callable[[], h5py.File],
    function: Callable[[h5py.File], None],
    path: str,
) -> None:
    """Calls the function with a file that is opened for it."""
    try:
        with opened() as file:
            try:
                function(file)
            except BaseException:
                pager.give_up()
                raise
    except BaseException as error:
        if pager.error is not None:
            raise from_pager(pager.error, path) from error
        meaning = from_hdf5(error, path)
        if meaning is error:
            raise
        raise meaning from error
    if pager.error is not None:
        raise from_pager(pager.error, path) from pager.error
