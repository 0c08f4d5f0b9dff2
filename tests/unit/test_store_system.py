"""What other systems lack, tried out here by leaving it away."""

import errno
import os
import threading

import pytest

from h5scene.store import create_store, open_store, system
from h5scene.store.system import Disk


def test_reading_and_writing_without_pread(tmp_path):
    disk = Disk(str(tmp_path / "file"), writable=True, create=True)
    disk._seek_lock = threading.Lock()
    disk.write(b"0123456789", 5)
    assert disk.read(4, 7) == b"2345"
    assert disk.read(100, 10) == b"56789"
    assert disk.read(5, 0) == bytes(5)
    buffer = bytearray(8)
    assert disk.read_into(memoryview(buffer), 9) == 6
    assert bytes(buffer) == b"456789\0\0"
    disk.sync()
    disk.close()
    disk.close()


def test_short_writes_are_continued(tmp_path, monkeypatch):
    original = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: original(fd, data[:3], offset))
    disk = Disk(str(tmp_path / "file"), writable=True, create=True)
    disk.write(b"0123456789", 2)
    assert disk.read(20, 0) == b"\0\x000123456789"
    disk.close()


def test_the_whole_store_without_pread_preadv_and_fdatasync(tmp_path, monkeypatch):
    for name in ("pread", "preadv", "pwrite", "fdatasync"):
        monkeypatch.delattr(os, name)
    store = create_store(tmp_path / "runs.h5", lambda file: None)
    with store.transaction(durability="power") as file:
        file["a"] = range(1000)
    store.close()
    assert open_store(tmp_path / "runs.h5").read(lambda file: file["a"][-1]) == 999


def test_names_without_links_are_reserved_first(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EOPNOTSUPP, "no links")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "new").write_text("whole")
    (tmp_path / "taken").write_text("precious")
    with pytest.raises(FileExistsError):
        system.give_name(str(tmp_path / "new"), str(tmp_path / "taken"))
    assert (tmp_path / "taken").read_text() == "precious"
    system.give_name(str(tmp_path / "new"), str(tmp_path / "free"))
    assert (tmp_path / "free").read_text() == "whole"
    assert not (tmp_path / "new").exists()
