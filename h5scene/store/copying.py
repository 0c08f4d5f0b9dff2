"""A copy of a scene file that others may be writing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from h5scene.errors import StorageError
from h5scene.store.pager import write_header
from h5scene.store.safety import interruption_point, runs_user_code
from h5scene.store.userblock import new_header, text_block

if TYPE_CHECKING:
    from collections.abc import Callable

    from h5scene.store.system import Disk
    from h5scene.store.view import View

_BLOCK_BYTES = 4 << 20


@runs_user_code
def copy_view(
    view: View, disk: Disk, on_progress: Callable[[int, int], object] | None = None
) -> None:
    """Writes the state that the view shows to an open file.

    `on_progress` is called with the number of bytes that are done, and of all; after each block
    a signal that came in between is handled.

    The caller checks afterwards that the state still held. The copy of a scene file gets a user
    block of its own, so an interrupted commit is not copied but finished.

    Raises:
        StorageError: The disk is full or failed.
    """
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    try:
        disk.truncate(0)  # of an earlier attempt
        position, end = 0, view.pager.base
        while position < end:
            part = buffer[: min(_BLOCK_BYTES, end - position)]
            view.pager.seek(position)
            view.pager.readinto(part)
            disk.write(part, position)
            position += len(part)
            if on_progress is not None:
                on_progress(position, end)
            interruption_point()
        if view.pager.header is not None:
            disk.write(text_block(), 0)
            write_header(disk, new_header().clean(end=end))
    except OSError as error:
        raise StorageError(
            f"cannot copy {view.disk.path}: {error.strerror}",
            errno=error.errno,
            file=view.disk.path,
        ) from error
