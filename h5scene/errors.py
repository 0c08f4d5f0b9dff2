"""Errors of h5scene, grouped by what a caller would do about them.

Each class also derives from the builtin that PhiFlow or the file system raises for the same
mistake, so `except` clauses written for those keep working. All of them cross processes: they
pickle with their message, file, location and errno.
"""

from __future__ import annotations

from typing import Any


class H5SceneError(Exception):
    """Base of all errors that h5scene raises on purpose.

    Attributes:
        message: What was asked, what was found, and the next step.
        file: Path of the scene file, where one is involved.
        location: HDF5 path inside that file, where one is involved.
    """

    def __init__(self, message: str = "", *, file: str | None = None, location: str | None = None):
        super().__init__(message)
        self.message = message
        self.file = file
        self.location = location

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError rebuilds itself from (errno, strerror) and loses everything else.
        return _rebuild, (type(self), self.message, dict(self.__dict__))


def _rebuild(cls: type[H5SceneError], message: str, state: dict[str, Any]) -> H5SceneError:
    """Returns the error that was pickled."""
    error = cls(message)
    for name, value in state.items():
        setattr(error, name, value)
    return error


class NotFoundError(H5SceneError, FileNotFoundError):
    """What was asked for does not exist: use another name, or create it."""


class SceneNotFoundError(NotFoundError):
    """There is no scene of this name in the scene file."""


class FieldNotFoundError(NotFoundError):
    """The scene holds no field of this name."""


class FrameNotFoundError(NotFoundError):
    """The field is not stored for this frame."""


class AlreadyExistsError(H5SceneError, FileExistsError):
    """The name is taken: choose another one, or remove what is there."""


class MergeConflictError(AlreadyExistsError):
    """Scenes cannot be merged under their names: give them new numbers, or rename them.

    Attributes:
        conflicts: All of them, a sentence each.
    """

    def __init__(
        self,
        message: str = "",
        *,
        conflicts: tuple[str, ...] = (),
        file: str | None = None,
        location: str | None = None,
    ):
        super().__init__(message, file=file, location=location)
        self.conflicts = conflicts


class InvalidInputError(H5SceneError, ValueError):
    """The call cannot be carried out as written: fix its arguments."""


class InvalidNameError(InvalidInputError):
    """A name is empty, reserved, or would collide with a stored one."""


class BatchMismatchError(InvalidInputError):
    """A value does not match the batch of scenes it is written to or read from."""


class UnsupportedFieldError(InvalidInputError, NotImplementedError):
    """This kind of field, boundary or value cannot be stored yet."""


class ReadOnlyError(H5SceneError, PermissionError):
    """The file or its directory cannot be written: reopen it, or change its permissions."""


class BusyError(H5SceneError, BlockingIOError):
    """Another process holds the file: wait and try again."""


class StorageError(H5SceneError, OSError):
    """The disk is full or failed; `errno` says which. The file is at its last committed state."""

    def __init__(
        self,
        message: str = "",
        *,
        errno: int | None = None,
        file: str | None = None,
        location: str | None = None,
    ):
        super().__init__(message, file=file, location=location)
        self.errno = errno

    def __reduce__(self) -> tuple[Any, ...]:
        # `errno` is a slot of OSError, not an entry of `__dict__`.
        return _rebuild, (type(self), self.message, {**self.__dict__, "errno": self.errno})


class FormatError(H5SceneError, ValueError):
    """The bytes of the file are not what FORMAT.md says."""


class NotASceneFileError(FormatError):
    """The path is no scene file: a directory, another kind of file, or another program's HDF5."""


class UnsupportedVersionError(FormatError):
    """The file was written by a newer h5scene: upgrade to read it."""


class UnsafeFileError(FormatError):
    """The file asks for something that a shared file must not ask for."""


class CorruptDataError(FormatError):
    """Stored bytes are damaged."""


class RankError(H5SceneError, RuntimeError):
    """A rank of an MPI job failed, or does something else than the others: see what it says."""


class InternalError(H5SceneError):
    """A bug in h5scene. Please report it."""
