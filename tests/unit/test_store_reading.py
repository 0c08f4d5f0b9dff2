"""Reading: one committed state, whatever others do meanwhile."""

# ruff: noqa: PT012 (a transaction is a block, and all of it is what must raise)

import os
import shutil
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from h5scene.errors import (
    BusyError,
    CorruptDataError,
    NotASceneFileError,
    NotFoundError,
    ReadOnlyError,
    StorageError,
    UnsafeFileError,
)
from h5scene.store import Store, channel, create_store, locks, open_store, pager, system
from tests.crash.children import Child, in_child


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "runs.h5", lambda file: file.attrs.__setitem__("number", 0))


def number(file: h5py.File) -> int:
    return int(file.attrs["number"])


def set_number(path: str, value: int) -> None:
    """Commits from another process."""

    def write():
        with open_store(path).transaction() as file:
            file.attrs["number"] = value
            file[f"n{value}"] = np.full(1000, value)

    in_child(write)


def test_reading_inside_a_transaction_sees_what_it_wrote(store):
    with store.transaction() as file:
        file.attrs["number"] = 1
        assert store.read(number) == 1
        assert in_child(lambda: open_store(store.path).read(number)) == 0
    assert store.read(number) == 1


def test_another_thread_reads_the_last_committed_state(store):
    seen = {}

    def read():
        seen["number"] = store.read(number)
        seen["cache"] = store.read(lambda file: dict(store.cache))
        store.read(lambda file: store.cache.update(mine=1))

    with store.transaction() as file:
        file.attrs["number"] = 1
        store.cache["uncommitted"] = True
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        assert store.cache == {"uncommitted": True}
    assert seen == {"number": 0, "cache": {}}
    assert store.read(number) == 1


def test_commits_of_other_processes_are_noticed(store):
    for value in range(1, 4):
        set_number(store.path, value)
        assert store.read(number) == value
    with store.transaction() as file:
        assert number(file) == 3
        file.attrs["number"] = 10
    assert in_child(lambda: open_store(store.path).read(number)) == 10


def test_a_commit_in_the_middle_repeats_the_read(store, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.05)  # the writer goes on without the reader
    calls = []

    def slow(file):
        calls.append(number(file))
        if len(calls) == 1:
            set_number(store.path, 5)
        return number(file), "n5" in file

    assert store.read(slow) == (5, True)
    assert calls == [0, 5]


def test_a_reader_that_never_gets_through_keeps_writers_out(store, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.01)
    calls = []

    def slow(file):
        calls.append(number(file))
        if len(calls) <= channel._POLITE_ATTEMPTS:
            set_number(store.path, len(calls))
        else:
            blocked = Child(lambda report: set_number_in_this_process(store.path))
            assert blocked.result() == "busy"
        return number(file)

    assert store.read(slow) == channel._POLITE_ATTEMPTS


def set_number_in_this_process(path):
    try:
        with open_store(path).transaction(lock_timeout_s=0.1):
            return "wrote"
    except BusyError:
        return "busy"


def test_a_file_that_changes_too_fast(store, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.01)
    monkeypatch.setattr(locks.SideLocks, "take_writer", refuse)

    def slow(file):
        os.utime(store.path)
        data = Path(store.path).read_bytes()
        Path(store.path + ".new").write_bytes(data)
        Path(store.path + ".new").replace(store.path)

    with pytest.raises(BusyError, match="faster"):
        store.read(slow, lock_timeout_s=0)


def refuse(self, deadline):
    raise ReadOnlyError("not here")


def test_reading_survives_a_replaced_file(store, tmp_path):
    other = create_store(tmp_path / "other.h5", lambda file: file.attrs.__setitem__("number", 99))
    other.close()
    assert store.read(number) == 0
    (tmp_path / "other.h5").replace(store.path)
    assert store.read(number) == 99
    with store.transaction() as file:
        file.attrs["number"] = 100
    with h5py.File(store.path) as file:
        assert number(file) == 100


def test_a_file_replaced_during_a_transaction(store, tmp_path):
    create_store(tmp_path / "other.h5", lambda file: file.attrs.__setitem__("number", 99)).close()
    with pytest.raises(StorageError, match="replaced"), store.transaction() as file:
        file.attrs["number"] = 1
        (tmp_path / "other.h5").replace(store.path)
    assert store.read(number) == 99


def test_a_removed_file(store):
    Path(store.path).unlink()
    with pytest.raises(NotFoundError):
        store.read(number)
    with pytest.raises(NotFoundError), store.transaction():
        pass
    with pytest.raises(NotFoundError):
        open_store(store.path)
    again = create_store(store.path, lambda file: file.attrs.__setitem__("number", 4))
    assert again.read(number) == 4


@pytest.mark.parametrize("libver", ["earliest", ("v108", "v108"), "latest"], ids=str)
def test_plain_hdf5_is_read(tmp_path, libver):
    path = tmp_path / "plain.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["x"] = np.arange(10)
    store = open_store(path)
    assert store.read(lambda file: file["x"][...].sum()) == 45
    with h5py.File(path, "r+") as file:
        file["y"] = 1
    assert store.read(sorted) == ["x", "y"]


def test_not_a_scene_file(tmp_path):
    (tmp_path / "text.h5").write_text("once upon a time" * 1000)
    (tmp_path / "empty.h5").touch()
    (tmp_path / "directory.h5").mkdir()
    os.mkfifo(tmp_path / "fifo.h5")
    for name in ("text.h5", "empty.h5", "directory.h5", "fifo.h5"):
        with pytest.raises(NotASceneFileError, match=name):
            open_store(tmp_path / name)
    with pytest.raises(NotFoundError, match=r"nothing\.h5"):
        open_store(tmp_path / "nothing.h5")
    with pytest.raises(NotFoundError):
        open_store(tmp_path / "text.h5" / "x.h5")


def test_a_truncated_file(store):
    with store.transaction() as file:
        file["x"] = np.arange(10_000)
    store.close()
    os.truncate(store.path, 20_000)
    with pytest.raises(CorruptDataError, match="truncated"):
        store.read(len)
    with pytest.raises(CorruptDataError, match="truncated"), store.transaction():
        pass
    assert Path(store.path).stat().st_size == 20_000


def test_a_damaged_superblock(store):
    store.close()
    data = bytearray(Path(store.path).read_bytes())
    data[2048 + 40] ^= 1  # inside, under its checksum
    Path(store.path).write_bytes(data)
    with pytest.raises(CorruptDataError):
        store.read(len)


def interrupted(path, value):
    """Leaves the file behind its commit point, in a child that dies there."""

    def write():
        original = pager.apply

        def die(*arguments, **options):
            os._exit(7)

        pager.apply = die
        assert original
        with open_store(path).transaction() as file:
            file.attrs["number"] = value
            file["x"] = np.full(5000, value)

    assert Child(lambda report: write()).wait() == 7


def test_an_interrupted_commit_is_shown_without_touching_the_disk(store):
    interrupted(store.path, 3)
    before = Path(store.path).read_bytes()
    assert store.read(lambda file: (number(file), file["x"][-1])) == (3, 3)
    assert Path(store.path).read_bytes() == before
    with store.transaction() as file:
        assert number(file) == 3
    with h5py.File(store.path) as file:
        assert number(file) == 3
        assert file["x"][0] == 3


def test_copying_an_interrupted_commit_finishes_it(store, tmp_path):
    interrupted(store.path, 3)
    shutil.copy(store.path, tmp_path / "raw.h5")
    store.copy_to(tmp_path / "copy.h5")
    assert open_store(tmp_path / "raw.h5").read(number) == 3
    with h5py.File(tmp_path / "copy.h5") as file:
        assert number(file) == 3


def test_an_incomplete_copy_of_an_interrupted_commit(store, tmp_path):
    interrupted(store.path, 3)
    data = Path(store.path).read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[:-1])
    with pytest.raises(CorruptDataError, match="incomplete copy"):
        open_store(tmp_path / "cut.h5").read(number)


def test_read_only_file_and_directory(store):
    interrupted(store.path, 3)
    directory = Path(store.path).parent
    Path(store.path).chmod(0o444)
    directory.chmod(0o555)
    for parent in directory.parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    Path(store.path + ".lock").unlink(missing_ok=True)

    def read():
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        assert open_store(store.path).read(number) == 3
        with pytest.raises(ReadOnlyError), open_store(store.path).transaction():
            pass

    try:
        in_child(read)
    finally:
        directory.chmod(0o755)


def test_links_into_other_files_are_not_followed(store, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["secret"] = np.arange(10)
    layout = h5py.VirtualLayout((10,), "i8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "secret", (10,))
    with store.transaction() as file:
        file["soft"] = h5py.SoftLink("/mine")
        file["link"] = h5py.ExternalLink("secret.h5", "/secret")
        file["own"] = h5py.ExternalLink("runs.h5", "/")
        file.create_virtual_dataset("virtual", layout)
        file["mine"] = 1
    for name in ("soft", "link", "own", "virtual"):
        with pytest.raises(UnsafeFileError, match=r"is not followed|of another file"):
            store.read(lambda file, name=name: file[name][()])
        with pytest.raises(UnsafeFileError), store.transaction() as file:
            file["never"] = np.zeros(1000)
            file[name][()]
    assert store.read(sorted) == ["link", "mine", "own", "soft", "virtual"]
    with h5py.File(store.path) as file:
        np.testing.assert_array_equal(file["link"], np.arange(10))


def test_virtual_datasets_within_the_file(store):
    layout = h5py.VirtualLayout((3, 4), "i8")
    with store.transaction() as file:
        for number in range(3):
            file[f"x{number}"] = np.full(4, number)
            layout[number] = h5py.VirtualSource(".", f"x{number}", (4,))
        file.create_virtual_dataset("all", layout)
    assert store.read(lambda file: file["all"][:, 0].tolist()) == [0, 1, 2]


def test_nested_reads(store):
    assert store.read(lambda file: store.read(lambda inner: inner == file)) is True


def test_an_io_error_while_reading(store, monkeypatch):
    store.read(number)
    original = system.Disk.read_into

    def fail(self, view, offset):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(system.Disk, "read_into", fail)
    store.close()
    with pytest.raises(StorageError) as caught:
        store.read(number)
    assert caught.value.errno == 5
    monkeypatch.setattr(system.Disk, "read_into", original)
    assert store.read(number) == 0


def test_interrupting_a_read(store):
    def interrupt(file):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.read(interrupt)
    assert store.read(number) == 0
    with store.transaction() as file:
        file.attrs["number"] = 1
