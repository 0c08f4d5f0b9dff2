"""Files of a directory that nobody vouches for: opened without following links, written aside.

Reading never waits for a pipe and never leaves the directory through a link. Writing puts the
content beside the final name and moves it there when it is complete.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import IO, TYPE_CHECKING, Any

from h5scene.errors import NotFoundError, ReadOnlyError, StorageError, UnsafeFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PART_SUFFIX = ".h5scene-part"
"""Of files that are being written. One that is left over after a crash is no data."""

_NOT_FOLLOWED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)

# Windows takes these for devices, with any suffix; a directory may be moved there.
_DEVICES = {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"} | {
    f"{name}{digit}" for name in ("com", "lpt") for digit in "0123456789¹²³"
}


@contextlib.contextmanager
def opened_for_reading(path: Path) -> Iterator[IO[bytes]]:
    """Gives an ordinary file for reading; links are not followed.

    Raises:
        UnsafeFileError: It is a link, a pipe, a device or a directory.
        NotFoundError: There is none.
        ReadOnlyError: It may not be read.
        StorageError: It cannot be read.
    """
    with translated(path, "read"):
        try:
            handle = os.open(path, os.O_RDONLY | _NOT_FOLLOWED | _NO_WAITING | _BINARY)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise UnsafeFileError(f"{path} is a link; it is not followed") from error
            raise
        with os.fdopen(handle, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise UnsafeFileError(f"{path} is no ordinary file")
            yield file


def read_small(path: Path, limit_bytes: int) -> bytes:
    """Returns the content of an ordinary file.

    Raises:
        UnsafeFileError: It is none, or larger than the limit.
        StorageError: It cannot be read.
    """
    with opened_for_reading(path) as file:
        found_bytes = os.fstat(file.fileno()).st_size
        if found_bytes > limit_bytes:
            raise UnsafeFileError(
                f"{path} has {found_bytes} bytes, more than the limit of {limit_bytes}"
            )
        # It may have changed its length since; what is added now does not belong to it.
        return _at_most(file, found_bytes)


def _at_most(file: IO[bytes], count: int) -> bytes:
    """Returns the rest of a file, up to some bytes."""
    pieces = []
    while count and (piece := file.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def write_aside(path: Path, write: Callable[[IO[bytes]], Any], mode: int | None = None) -> None:
    """Makes `path` what `write` writes; until that is complete, `path` stays as it was.

    Durability:
        Whenever this process dies, there is the old file, the new one, or none; never a part. A
        power loss soon after may leave an incomplete file.

    Raises:
        ReadOnlyError: The directory cannot be written.
        StorageError: The disk is full, or failed.
    """
    part = path.with_name(f".{path.name[:200]}{PART_SUFFIX}")
    with translated(path, "write"):
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOT_FOLLOWED | _BINARY, 0o666)
        try:
            with os.fdopen(handle, "w+b") as file:
                write(file)
                if mode is not None and hasattr(os, "fchmod"):
                    os.fchmod(handle, mode & 0o777)
            # A sync for each of thousands of files would take most of the time of an export.
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink()
            raise


def make_directory(root: Path, relative: str) -> Path:
    """Returns the directory `root/relative`, which is made where it is missing.

    Raises:
        UnsafeFileError: A part of `relative` is a link, or exists and is no directory.
        StorageError: It cannot be made.
    """
    here = root
    for part in relative.split("/") if relative else ():
        here = here / part
        with translated(here, "write"):
            with contextlib.suppress(FileExistsError):
                here.mkdir()
            if not stat.S_ISDIR(here.lstat().st_mode):
                raise UnsafeFileError(f"{here} is a link or a file, where a directory is needed")
    return here


def is_device_name(name: str) -> bool:
    """Whether Windows takes the name of a file for a device, or drops its end."""
    return name.split(".")[0].rstrip(" ").lower() in _DEVICES or name[-1:] in (".", " ")


def ignores_case(directory: Path) -> bool:
    """Whether names in an existing directory that differ in case only are one name."""
    probe = directory / f".case{PART_SUFFIX}"
    with translated(directory, "write"):
        probe.touch()
        try:
            return probe.with_name(probe.name.upper()).exists()
        finally:
            probe.unlink()


@contextlib.contextmanager
def translated(path: Path, verb: str) -> Iterator[None]:
    """Makes errors of the operating system errors of h5scene."""
    try:
        yield
    except (UnsafeFileError, NotFoundError, ReadOnlyError, StorageError):
        raise
    except FileNotFoundError as error:
        raise NotFoundError(f"cannot {verb} {path}: there is none", file=str(path)) from error
    except PermissionError as error:
        raise ReadOnlyError(
            f"cannot {verb} {path}: permission denied; change its mode", file=str(path)
        ) from error
    except OSError as error:
        raise StorageError(
            f"cannot {verb} {path}: {error.strerror}", errno=error.errno, file=str(path)
        ) from error
