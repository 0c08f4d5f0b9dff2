"""Errors of the system and of h5py as the package's own, translated once and here."""

from __future__ import annotations

import errno
import os

from h5scene.errors import (
    AlreadyExistsError,
    CorruptDataError,
    H5SceneError,
    NotASceneFileError,
    NotFoundError,
    ReadOnlyError,
    StorageError,
)

# What h5py raises where HDF5 fails, or where it has no NumPy type for what stands in the file.
_OF_H5PY = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)


def from_system(error: OSError, doing: str, path: str) -> H5SceneError:
    """Returns what a failed system call means: `doing` completes the sentence "cannot ...".

    Args:
        error: What the system said.
        doing: What was tried, with the name of the file.
        path: The scene file.
    """
    if isinstance(error, H5SceneError):
        return error
    message = f"cannot {doing}: {error.strerror or error}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ReadOnlyError(message, file=path)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return NotFoundError(message, file=path)
    if error.errno == errno.EEXIST:
        return AlreadyExistsError(f"{path} exists already", file=path)
    if error.errno == errno.EISDIR:
        return NotASceneFileError(message, file=path)
    return StorageError(message, errno=error.errno, file=path)


def from_pager(error: BaseException, path: str) -> BaseException:
    """Returns what to raise for an error that the pager kept to itself."""
    if isinstance(error, OSError) and not isinstance(error, H5SceneError):
        return StorageError(
            f"reading or writing {path} failed: {error.strerror or error}; it is at its last "
            "committed state",
            errno=error.errno,
            file=path,
        )
    if isinstance(error, OverflowError):
        return CorruptDataError(
            f"{path} is damaged: HDF5 looks for something where no file has anything", file=path
        )
    return error


def from_hdf5(error: BaseException, path: str) -> BaseException:
    """Returns what to raise for an exception that came out of code using the file.

    Only what h5py itself raised is changed, and only the classes that it uses for failures inside
    HDF5: a KeyError for a missing name stays what it is.
    """
    if isinstance(error, H5SceneError) or type(error) not in _OF_H5PY:
        return error
    if isinstance(error, KeyError) and (not error.args or "doesn't exist" in str(error.args[0])):
        return error
    traceback = error.__traceback__
    if traceback is None:
        return error
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    place = traceback.tb_frame.f_code.co_filename.replace(os.sep, "/")
    if "h5py/" not in place:
        return error
    return CorruptDataError(f"HDF5 cannot make sense of {path}: {error}", file=path)
