"""The file object that HDF5 writes to. It changes no committed byte on disk before `commit`.

Invariants (DURABILITY.md, "Why it holds"):

    I1  Bytes below the committed end E0 change only between the REDO header and the CLEAN header.
    I2  A REDO header names a journal with the final content of all bytes below E0 that change.
    I3  Appended data lie at or above E0, the journal at or above max(E0, E1). So until the REDO
        header is written the old state is whole, and from then on the new state can be built any
        number of times.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from h5scene.errors import CorruptDataError, InternalError, StorageError, UnsafeFileError
from h5scene.store.failures import from_system
from h5scene.store.journal import Run, coalesced, write_journal
from h5scene.store.structures import check_structure
from h5scene.store.userblock import (
    HEADER_BYTES,
    USER_BLOCK_BYTES,
    Header,
    read_header,
    superblock_end,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from h5scene.store.system import Disk

# Small enough that adding one link to a 64 KB heap block costs one or two pages. The user block is
# two pages, so none holds a part of it.
PAGE_BYTES = 1024
_JOURNAL_ALIGNMENT = 512
# While a transaction is lost, writes go to memory so that HDF5's caches stay sane. Anything longer
# is nobody's metadata, will not be committed, and is dropped.
_MAX_GHOST_BYTES = 1 << 20
# HDF5 changes much the same pages in every transaction. So many of them need not be read again.
_MAX_KEPT_PAGES = 64
# HDF5 asks for headers of objects in pieces of 512 bytes, and lists ask for many.
_SMALL_BYTES = 4096
_WINDOW_BYTES = 1 << 15


class Pager:
    """A file object for `h5py.File`, open on one committed state of the file.

    It is called back by HDF5 in the middle of HDF5's work, so none of its methods raises: an
    exception there leaves HDF5's caches unusable and later crashes the process. The first error is
    kept in `error`; from then on writes go to memory only, and `commit` raises it.

    Attributes:
        base: The committed end E0.
        error: What went wrong first, or None.
        is_open: Whether HDF5 has opened the file, which it does once.
        is_writing: Whether a transaction is open. Writes outside one are errors.
        reads_ahead: Whether small reads that follow one another share a larger one. Only for who
            never writes: a commit of somebody else makes this pager useless.
    """

    def __init__(
        self,
        disk: Disk,
        *,
        base: int,
        header: Header | None = None,
        overlay: list[Run] | None = None,
    ):
        self.disk = disk
        self.header = header
        self.base = base
        self.error: BaseException | None = None
        self.is_open = False
        self.is_writing = False
        self._size = base
        self._position = 0
        self._pid = os.getpid()
        self._is_lost = False
        self._pages: dict[int, bytearray] = {}
        self._kept: dict[int, bytearray] = {}  # as they were committed last
        self._ghosts: dict[int, bytearray] = {}
        self.reads_ahead = False
        self._window, self._window_start, self._last_small = b"", 0, 0
        for offset, data in overlay or ():
            self._hold_back(data, offset)

    @classmethod
    def of_new_file(cls, disk: Disk) -> Pager:
        """Returns a pager on an empty file that nobody knows yet: all goes straight to the disk."""
        pager = cls(disk, base=USER_BLOCK_BYTES)
        pager._size = 0  # HDF5 creates a file only where it finds none
        pager.is_writing = True
        return pager

    @classmethod
    def of_unpublished_file(cls, disk: Disk) -> Pager:
        """Returns a pager on a file that only its maker knows: all goes straight to the disk."""
        pager = cls(disk, base=USER_BLOCK_BYTES)
        pager._size = disk.size()
        pager.is_writing = True
        return pager

    # What h5py calls ------------------------------------------------------------------------------

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves to `offset`; HDF5 asks for the size with `whence` at the end."""
        if whence == os.SEEK_SET:
            self._position = offset
        elif whence == os.SEEK_END:
            self._position = self._size + offset
            if self.is_open:
                # HDF5 opens the file a second time. It takes this pager for any file that a link
                # or a virtual dataset names, and would write through two caches.
                self._lose(
                    UnsafeFileError(
                        f"{self.disk.path} refers to another file by an external link or a virtual "
                        "dataset, which is not followed",
                        file=self.disk.path,
                    )
                )
        else:
            self._position += offset
        return self._position

    def tell(self) -> int:
        """Returns the position."""
        return self._position

    def read(self, byte_count: int = -1) -> bytes:
        """Returns the bytes at the position."""
        if byte_count < 0:
            byte_count = max(self._size - self._position, 0)
        buffer = bytearray(byte_count)
        self.readinto(buffer)
        return bytes(buffer)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fills the buffer, behind the end with zeros: h5py ignores the returned count."""
        view = memoryview(buffer).cast("B")
        offset = self._position
        self._position += len(view)
        try:
            self._read_view(view, offset)
        except BaseException as error:  # noqa: BLE001 (must not reach HDF5, see the class)
            self._lose(error)
            view[:] = bytes(len(view))
        return len(view)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Takes the bytes: appended ones to the disk, changes to committed ones to memory."""
        offset, count = self._position, len(data)
        self._position = offset + count
        try:
            if os.getpid() != self._pid:
                return count  # a forked child that closes its parent's file must change nothing
            try:
                self._write_at(data, offset, count)
            except BaseException as error:  # noqa: BLE001 (must not reach HDF5, see the class)
                self._lose(error)
                self._write_ghost(data, offset)
        except BaseException as error:  # noqa: BLE001 (even that can run out of memory)
            self._lose(error)
        return count

    def truncate(self, byte_count: int | None = None) -> int:
        """Sets the size that HDF5 sees; the disk is cut only after a commit."""
        if self.is_writing:
            self._size = self._position if byte_count is None else byte_count
        return self._size

    def flush(self) -> None:
        """Does nothing: `commit` decides what reaches the disk when."""

    # Transactions ---------------------------------------------------------------------------------

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child's copy of its parent's pager."""
        return os.getpid() != self._pid

    @property
    def has_changes(self) -> bool:
        """Whether a commit has anything to do."""
        return bool(self._pages) or self._size != self.base

    def begin(self) -> None:
        """Writing is allowed from here on."""
        self.is_writing = True

    def end(self) -> None:
        """Writing is an error from here on."""
        self.is_writing = False

    def give_up(self) -> None:
        """Lets HDF5 write to memory only. To be called before a lost `h5py.File` is closed."""
        self._is_lost = True

    def commit(self, *, sync: bool) -> bool:
        """Makes the transaction the state of the file.

        The caller has flushed HDF5 and keeps readers out. Steps 3 to 6 of DURABILITY.md. An error
        up to the commit point leaves the old state and is raised; an error after it leaves the new
        state, to be finished by recovery.

        Returns:
            Whether the pages are in place. If not, the file must be recovered before it is used
            again.
        """
        if self.error is not None:
            raise self.error
        if self._is_lost or self.header is None:
            raise InternalError("commit of a lost transaction", file=self.disk.path)
        self._is_lost = True  # until the last step has succeeded
        end = self.end_of_data()
        runs = list(coalesced(self._pages_below(end)))
        offset = -(-max(end, self.base) // _JOURNAL_ALIGNMENT) * _JOURNAL_ALIGNMENT
        byte_count, checksum = write_journal(self.disk, runs, offset)  # step 3
        if sync:
            self.disk.sync()  # the appended data and the journal, before a header speaks of them
        redo = self.header.redo(
            end=end, previous_end=self.base, offset=offset, byte_count=byte_count, checksum=checksum
        )
        try:
            write_header(self.disk, redo)  # step 4: the commit point
            if sync:
                self.disk.sync()
        except BaseException as failure:
            if not _withdraw(self.disk, redo, sync=sync):
                raise StorageError(
                    f"{self.disk.path} was committed, but the disk failed before that was certain: "
                    f"{failure}; the next use of the file finishes it",
                    errno=getattr(failure, "errno", None),
                    file=self.disk.path,
                ) from failure
            raise
        try:
            self.header = apply(self.disk, redo, runs, sync=sync)  # steps 5 and 6
        except Exception:  # noqa: BLE001 (it is committed: recovery repeats this, or reports it)
            return False
        self.base = self._size = end
        self._keep_pages()
        self._is_lost = False
        return True

    # Beside HDF5 ----------------------------------------------------------------------------------

    def read_stored(self, view: memoryview, offset: int) -> None:
        """Fills a view with committed bytes. For any thread, outside transactions.

        Raises:
            CorruptDataError: The file does not have them.
            StorageError: The disk failed.
        """
        path = self.disk.path
        if not 0 <= offset <= self.base - len(view):
            raise CorruptDataError(f"{path} is damaged: it says that data lie behind its end")
        try:
            done = self.disk.read_into(view, offset)
        except OSError as error:
            raise from_system(error, f"read {path}", path) from error
        if done < len(view):
            raise CorruptDataError(f"{path} was cut short", file=path)
        if self._pages:  # what a killed process has committed, but not put in place
            _lay_over(view, offset, self._pages)

    # Inside ---------------------------------------------------------------------------------------

    def _lose(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
        self._is_lost = True

    def _keep_pages(self) -> None:
        """Keeps the pages of a transaction that is in place, as what is known to be committed.

        Not those that reach beyond the end: the file may have become shorter, and what is appended
        there next does not come by here. Whoever else commits makes this pager useless, and what it
        knows with it.
        """
        self._kept.update(self._pages)
        self._pages = {}
        if len(self._kept) > _MAX_KEPT_PAGES:
            self._kept.clear()
        for start in [start for start in self._kept if start + PAGE_BYTES > self.base]:
            del self._kept[start]

    def end_of_data(self) -> int:
        """Returns where the HDF5 data end, as the superblock that HDF5 has flushed says."""
        page = self._pages.get(USER_BLOCK_BYTES)
        superblock = self.disk.read(64, USER_BLOCK_BYTES) if page is None else bytes(page[:64])
        end = superblock_end(superblock, self.disk.path)
        if end > self._size:
            raise InternalError(f"HDF5 ends at {end} and wrote {self._size}", file=self.disk.path)
        return end

    def _pages_below(self, end: int) -> Iterator[tuple[int, bytes | bytearray]]:
        for start in sorted(self._pages):
            if start >= end:
                return
            page = self._pages[start]
            yield start, page if start + len(page) <= end else page[: end - start]

    def _read_view(self, view: memoryview, offset: int) -> None:
        if not (self.reads_ahead and len(view) <= _SMALL_BYTES and self._from_window(view, offset)):
            self._read_disk(view, offset)
        for pages in (self._pages, self._ghosts):
            if pages:
                _lay_over(view, offset, pages)
        check_structure(view, self.disk.path, self._size)

    def _from_window(self, view: memoryview, offset: int) -> bool:
        """Fills the view from what was read ahead, if it stands there or not far behind."""
        at = offset - self._window_start
        if at < 0 or at + len(view) > len(self._window):
            is_near = 0 <= offset - self._last_small < _WINDOW_BYTES
            self._last_small = offset
            if not is_near:
                return False
            self._window, self._window_start = self.disk.read(_WINDOW_BYTES, offset), offset
            at = 0
        self._last_small = offset
        data = self._window[at : at + len(view)]
        if len(data) < len(view):
            return False  # behind the end
        view[:] = data
        return True

    def _read_disk(self, view: memoryview, offset: int) -> None:
        done = self.disk.read_into(view, offset)
        if done < len(view):
            view[done:] = bytes(len(view) - done)
            if offset + done < min(self.base, offset + len(view)):
                raise CorruptDataError(f"{self.disk.path} was cut short", file=self.disk.path)

    def _write_at(self, data: bytes | bytearray | memoryview, offset: int, count: int) -> None:
        end, base = offset + count, self.base
        if self._is_lost:
            self._write_ghost(data, offset)
        elif not self.is_writing:
            raise InternalError(
                f"{self.disk.path} was written to outside a transaction", file=self.disk.path
            )
        elif offset >= base:
            self.disk.write(data, offset)
        elif end <= base:
            self._hold_back(bytes(data), offset)
        else:
            view = memoryview(data)
            self._hold_back(bytes(view[: base - offset]), offset)
            self.disk.write(view[base - offset :], base)
        if end > self._size:
            self._size = end

    def _hold_back(self, data: bytes, offset: int) -> None:
        """Keeps a change below the committed end in memory, by pages, if it is one.

        HDF5 rewrites 64 KB heap blocks to add one link; the unchanged rest must reach neither
        journal nor disk.
        """
        at = offset % PAGE_BYTES
        low, end = offset - at, offset + len(data)
        if at + len(data) <= PAGE_BYTES:
            # One page: most of what HDF5 writes is some hundred bytes of metadata.
            page = self._pages.get(low)
            if page is None:
                high = min(low + PAGE_BYTES, self.base)
                old = self._kept.get(low, b"")
                if len(old) < high - low:  # also where the file ended in this page and goes on
                    old = self._committed(low, high)
                if old[at : at + len(data)] == data:
                    return
                page = self._pages[low] = bytearray(old)
            page[at : at + len(data)] = data
            return
        old = self._committed(low, min(end + -end % PAGE_BYTES, self.base))
        for start in range(low, end, PAGE_BYTES):
            new = data[max(start - offset, 0) : start + PAGE_BYTES - offset]
            at = max(offset - start, 0)
            page = self._pages.get(start)
            if page is None:
                was = old[start - low : start - low + PAGE_BYTES]
                if was[at : at + len(new)] == new:
                    continue
                page = self._pages[start] = bytearray(was)
            page[at : at + len(new)] = new

    def _committed(self, low: int, high: int) -> bytes | bytearray:
        data = self.disk.read(high - low, low)
        if len(data) < high - low:
            raise CorruptDataError(f"{self.disk.path} was cut short", file=self.disk.path)
        return data

    def _write_ghost(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Keeps a write of a lost transaction where HDF5 can read it back, and nowhere else."""
        if len(data) > _MAX_GHOST_BYTES:
            return
        data = bytes(data)
        for start in range(offset - offset % PAGE_BYTES, offset + len(data), PAGE_BYTES):
            page = self._ghosts.get(start)
            if page is None:
                page = bytearray(PAGE_BYTES)
                self.disk.read_into(memoryview(page), start)
                _lay_over(memoryview(page), start, self._pages)
                self._ghosts[start] = page
            new = data[max(start - offset, 0) : start + PAGE_BYTES - offset]
            at = max(offset - start, 0)
            page[at : at + len(new)] = new
        self._size = max(self._size, offset + len(data))


def _lay_over(view: memoryview, offset: int, pages: dict[int, bytearray]) -> None:
    """Puts what the pages say over the bytes of `view`, which begin at `offset`."""
    end = offset + len(view)
    touched = range(offset - offset % PAGE_BYTES, end, PAGE_BYTES)
    for start in touched if len(touched) <= len(pages) else tuple(pages):
        page = pages.get(start)
        if page is None:
            continue
        a, b = max(start, offset), min(start + len(page), end)
        if a < b:
            view[a - offset : b - offset] = page[a - start : b - start]


def write_header(disk: Disk, header: Header) -> None:
    """Writes the header into its slot."""
    disk.write(header.packed(), header.slot_offset)


def apply(disk: Disk, redo: Header, runs: list[Run], *, sync: bool) -> Header:
    """Puts the runs in place and marks the file clean: steps 5 and 6. Returns the header."""
    for offset, data in runs:
        disk.write(data, offset)  # step 5
    if sync:
        disk.sync()
    clean = redo.clean(end=redo.end)
    write_header(disk, clean)  # step 6
    cut(disk, redo.end)
    return clean


def cut(disk: Disk, end: int) -> None:
    """Drops what lies behind the committed end, if the disk lets us: HDF5 does not look there."""
    try:
        disk.truncate(end)
    except OSError:
        return


def _withdraw(disk: Disk, redo: Header, *, sync: bool) -> bool:
    """Takes a REDO header back whose write was reported as failed: nothing has been applied yet.

    It spoils the slot, and leaves alone the other one, which holds the header before. If this
    fails too, the REDO header may stand. Both are consistent: the journal is whole. Returns
    whether the old state stands.
    """
    try:
        disk.write(bytes(HEADER_BYTES), redo.slot_offset)
        if sync:
            disk.sync()
    except Exception:  # noqa: BLE001 (the first error is the one to report)
        header = read_header(disk)
        return header is None or header.sequence < redo.sequence
    return True
