"""A damaged file as it would be with some other bytes in it. Nothing is written.

What is missing at its end, and what lies between that and the patches, is zeros; that something
there was read is noted, so that zeros are not taken for data.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from h5scene.errors import FormatError
from h5scene.store import system
from h5scene.store.journal import read_journal
from h5scene.store.pager import Pager
from h5scene.store.userblock import (
    REDO,
    USER_BLOCK_BYTES,
    read_header,
    superblock_end,
    superblock_offset,
)
from h5scene.store.view import open_hdf5

if TYPE_CHECKING:
    from collections.abc import Sequence

    from h5scene.store.gate import SafeFile
    from h5scene.store.journal import Run

_MAX_SIZE_BYTES = 1 << 60  # what a header says beyond is damage


class PatchedDisk(system.Disk):
    """The bytes of a file with others laid over them.

    Args:
        path: The file.
        patches: Offsets and bytes; later ones count.
        size_bytes: Length that the file pretends to have.

    Attributes:
        read_missing: Whether bytes were read that neither the file nor a patch has.
    """

    def __init__(self, path: str, patches: Sequence[Run], size_bytes: int):
        super().__init__(path, writable=False)
        self._patches = patches
        self._size_bytes = size_bytes
        self._real_bytes = super().size()
        self.read_missing = False

    def size(self) -> int:
        """Returns the length that the file pretends to have."""
        return self._size_bytes

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fills the view, and returns how many bytes there would be."""
        end = offset + len(view)
        done = super().read_into(view[: max(self._real_bytes - offset, 0)], offset)
        view[done:] = bytes(len(view) - done)
        missing = offset + done
        for start, data in self._patches:
            low, high = max(start, offset), min(start + len(data), end)
            if low < high:
                view[low - offset : high - offset] = data[low - start : high - start]
                if low <= missing < high:
                    missing = high
        self.read_missing |= missing < end
        return max(min(end, self._size_bytes) - offset, 0)

    def read(self, byte_count: int, offset: int) -> bytes:
        """Returns the bytes at an offset."""
        data = bytearray(byte_count)
        done = self.read_into(memoryview(data), offset)
        return bytes(data[:done])


def open_patched(path: str, patches: Sequence[Run], size_bytes: int) -> tuple[SafeFile, Pager]:
    """Returns a file that is open with patches, and the pager on its `PatchedDisk`.

    Raises:
        CorruptDataError: HDF5 cannot open it.
        OSError: It cannot be read.
    """
    disk = PatchedDisk(path, patches, size_bytes)
    try:
        pager = Pager(disk, base=size_bytes)
        return open_hdf5(pager, is_writable=False), pager
    except BaseException:
        disk.close()
        raise


@dataclass(frozen=True)
class CommittedState:
    """What the user block says of a damaged file, as far as it can be believed.

    Attributes:
        base: Where the HDF5 data begin.
        size_bytes: Where they end, or the file does: the later one.
        runs: The journal of a commit that was interrupted.
    """

    base: int
    size_bytes: int
    runs: list[Run]


def committed_state(path: str) -> CommittedState:
    """Returns what there is to know of a file that cannot be opened.

    Raises:
        OSError: It cannot be read.
    """
    disk = system.Disk(path, writable=False)
    try:
        ends, runs, header = [disk.size()], None, None
        with contextlib.suppress(FormatError):
            header = read_header(disk)
        if header is not None:
            ends.append(header.end)
            if header.state == REDO:
                runs = read_journal(disk, header)
        base = superblock_offset(disk)
        if header is not None or base is None:
            base = USER_BLOCK_BYTES
        with contextlib.suppress(FormatError):
            ends.append(superblock_end(disk.read(64, base), path))
        size_bytes = max(end for end in ends if end < _MAX_SIZE_BYTES)
        return CommittedState(base, size_bytes, runs or [])
    finally:
        disk.close()
