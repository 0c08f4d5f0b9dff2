"""The user block: exactly the bytes that DURABILITY.md describes."""

import os
import struct
import zlib
from pathlib import Path

import h5py
import pytest

from h5scene.errors import UnsupportedVersionError
from h5scene.store import create_store, open_store, pager
from h5scene.store.system import Disk
from h5scene.store.userblock import (
    CLEAN,
    HEADER_BYTES,
    REDO,
    new_header,
    read_header,
    superblock_end,
    superblock_offset,
)
from tests.crash.children import Child


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.h5"
    create_store(path, lambda file: file.create_group("g")).close()
    return path


def slot(data: bytes, offset: int) -> tuple[int, ...]:
    """The header slot, taken apart without the code under test."""
    assert data[offset : offset + 7] == b"H5SCENE"
    fields = struct.unpack_from("<7sB16sQIIQQQQII", data, offset)
    assert fields[-1] == zlib.crc32(data[offset : offset + 76])
    return fields[3:5] + fields[6:11]


def test_user_block_of_a_new_file(path):
    data = path.read_bytes()
    text = data[: data.index(b"\n")].decode("ascii")
    assert "h5scene" in text
    assert "HDF5" in text
    assert not any(data[len(text) + 1 : 1024])
    sequence, state, end, previous, offset, count, checksum = slot(data, 1536)
    assert (sequence, state, previous, offset, count, checksum) == (1, 0, 0, 0, 0, 0)
    assert end == len(data)
    assert data[2048:2056] == b"\x89HDF\r\n\x1a\n"
    assert data[2056] == 2, "superblock version"


def test_header_slots_alternate(path):
    for number in range(3):
        with open_store(path).transaction() as file:
            file.attrs["number"] = number
    data = path.read_bytes()
    newest = max(slot(data, 1024), slot(data, 1536))
    assert newest[:2] == (7, CLEAN), "one header for creation, two for each commit"
    assert {slot(data, 1024)[1], slot(data, 1536)[1]} == {CLEAN, REDO}
    assert newest[2] == len(data)


def test_the_newest_whole_header_counts(path):
    disk = Disk(str(path), writable=True)
    first = new_header()
    second = first.redo(end=10, previous_end=9, offset=512, byte_count=7, checksum=1)
    third = second.clean(end=10)
    for header in (first, second, third):
        disk.write(header.packed(), header.slot_offset)
    assert read_header(disk) == third
    assert len(third.packed()) == HEADER_BYTES == 80
    disk.write(b"\xff", third.slot_offset + 30)  # torn
    assert read_header(disk) == second
    disk.write(b"\0" * 80, second.slot_offset)
    assert read_header(disk) is None
    disk.close()


def test_a_newer_version_is_refused(path):
    data = bytearray(path.read_bytes())
    data[1536 + 7] = 2
    data[1536 + 76 : 1536 + 80] = struct.pack("<I", zlib.crc32(data[1536 : 1536 + 76]))
    path.write_bytes(data)
    with pytest.raises(UnsupportedVersionError, match="upgrade"):
        open_store(path).read(list)


@pytest.mark.parametrize(
    "libver", [("earliest", "v108"), ("v108", "v108"), ("v110", "v110")], ids=str
)
@pytest.mark.parametrize("user_block", [0, 512, 2048])
def test_end_in_every_superblock_version(tmp_path, libver, user_block):
    path = tmp_path / "plain.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=user_block) as file:
        file["x"] = 1
    disk = Disk(str(path), writable=False)
    assert superblock_offset(disk) == user_block
    end = superblock_end(disk.read(64, user_block), str(path))
    assert end == path.stat().st_size
    disk.close()


def test_the_journal_of_an_interrupted_commit(path, monkeypatch):
    old = path.read_bytes()

    def die(*arguments, **options):
        os._exit(7)

    def write():
        monkeypatch.setattr(pager, "apply", die)
        with open_store(path).transaction() as file:
            file["g"].attrs["x"] = 1.5
            file["g/d"] = range(1000)

    assert Child(lambda report: write()).wait() == 7
    data = path.read_bytes()
    sequence, state, end, previous, offset, count, checksum = slot(data, 1024)
    assert (sequence, state, previous) == (2, REDO, len(old))
    assert end > previous + 8000
    assert offset == -(-end // 512) * 512
    assert offset + count == len(data)
    assert checksum == zlib.crc32(data[offset:])
    assert data[2048 : len(old)] == old[2048:], "nothing of the old state has changed"
    new = bytearray(data[:end])
    position = offset
    while position < len(data):
        start, length = struct.unpack_from("<QI", data, position)
        assert start >= 2048
        assert start + length <= previous
        new[start : start + length] = data[position + 12 : position + 12 + length]
        position += 12 + length
    path.with_name("by_hand.h5").write_bytes(new)
    with h5py.File(path.with_name("by_hand.h5")) as file:
        assert file["g"].attrs["x"] == 1.5
        assert list(file["g/d"]) == list(range(1000))
    with open_store(path).transaction():
        pass
    assert path.read_bytes()[2048:] == new[2048:]


def test_text_line_reads_with_head(path):
    with path.open("rb") as file:
        assert file.readline().endswith(b"byte 2048.\n")
