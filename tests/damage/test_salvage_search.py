"""The search of a damaged file for its structures: no file keeps it busy for ever."""

from __future__ import annotations

import struct

import pytest

from h5scene.handling.salvage import structures
from h5scene.handling.salvage.structures import Link, find_structures, read_header

KIB = 1 << 10


class Counted:
    """Gives bytes, and counts them."""

    def __init__(self, data: bytes):
        self.data = data
        self.count = 0

    def __call__(self, offset: int, byte_count: int) -> bytes:
        found = self.data[offset : offset + byte_count]
        self.count += len(found)
        return found


def test_headers_that_overlap_are_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    summed = 0

    def lookup3(data: bytes) -> int:
        nonlocal summed
        summed += len(data)
        return 1

    monkeypatch.setattr(structures, "lookup3", lookup3)
    header = struct.pack("<4sBBI", b"OHDR", 2, 2, 256 * KIB)
    data = header.ljust(4 * KIB, b"\0") * 256  # a MiB
    assert find_structures(Counted(data), len(data), 0).headers == {}
    assert summed <= len(data)


def test_a_header_as_long_as_the_file_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structures, "lookup3", lambda _: pytest.fail("it was looked at"))
    data = struct.pack("<4sBBI", b"OHDR", 2, 2, 4 * KIB * KIB).ljust(5 * KIB * KIB, b"\0")
    assert read_header(Counted(data), 0, 0) is None


def test_blocks_of_links_are_read_once() -> None:
    read = Counted(b"FHDB\0xyz" * (128 * KIB))  # a MiB
    assert find_structures(read, len(read.data), 0).heaps == {}
    assert read.count <= 2 * len(read.data)


def test_blocks_of_links_are_still_found() -> None:
    link = struct.pack("<BBB5sQ", 1, 0, 5, b"smoke", 4096)
    for before in (0, (16 << 20) - 20):  # the second one crosses the end of what is read at once
        data = bytes(before) + b"FHDB\0" + struct.pack("<Q", 77) + bytes(8) + link + bytes(40)
        found = find_structures(Counted(data), len(data), 0)
        assert found.heaps == {77: [Link("smoke", 4096)]}
