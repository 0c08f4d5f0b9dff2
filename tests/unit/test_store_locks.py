"""Locks: turns between processes, programs without h5scene, and the file beside the scene file."""

# ruff: noqa: PT012 (a transaction is a block, and all of it is what must raise)

import errno
import fcntl
import os
import time
from pathlib import Path

import h5py
import pytest

from h5scene.errors import BusyError, ReadOnlyError, StorageError
from h5scene.store import (
    Store,
    create_store,
    is_being_written,
    locks,
    only_merger,
    open_store,
    system,
)
from tests.crash.children import Child, in_child, python


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "runs.h5", lambda file: file.attrs.__setitem__("number", 0))


def hold(path):
    """A child that is inside a transaction until it is killed."""

    def write(report):
        with open_store(path).transaction() as file:
            file["uncommitted"] = 1
            report("inside")
            time.sleep(60)

    child = Child(write)
    assert child.receive() == "inside"
    return child


def test_a_process_that_writes_too_long(store):
    child = hold(store.path)
    with pytest.raises(BusyError, match="lock_timeout_s"), store.transaction(lock_timeout_s=0.05):
        pass
    assert store.read(list) == []
    child.kill()


def test_a_process_that_dies_with_the_lock_blocks_nobody(store):
    hold(store.path).kill()
    with store.transaction(lock_timeout_s=0) as file:
        file["mine"] = 1
    with h5py.File(store.path) as file:
        assert list(file) == ["mine"]


def test_the_writer_lock_is_given_back_between_transactions(store):
    def write():
        with open_store(store.path).transaction(lock_timeout_s=0) as file:
            file.attrs["number"] += 1

    for _ in range(3):
        in_child(write)
        with store.transaction(lock_timeout_s=0) as file:
            file.attrs["number"] += 1
    assert store.read(lambda file: file.attrs["number"]) == 6


PLAIN = "import h5py, sys; f = h5py.File(sys.argv[1], sys.argv[2]); print(f.attrs['number'])"


def test_another_program_reads_and_does_not_write(store):
    with store.transaction() as file:
        file.attrs["number"] = 1
        assert python(PLAIN, store.path, "r").stdout.strip() == "0"
        refused = python(PLAIN, store.path, "r+")
        assert "lock" in refused.stderr
    # Until the file is closed, so that nobody blocks a simulation between two of its frames.
    assert "lock" in python(PLAIN, store.path, "r+").stderr
    assert python(PLAIN, store.path, "r").stdout.strip() == "1"
    store.close()
    assert python(PLAIN, store.path, "r+").stdout.strip() == "1"


def test_who_only_reads_does_not_keep_other_programs_from_writing(store):
    store.close()
    assert store.read(lambda file: file.attrs["number"]) == 0
    with h5py.File(store.path, "r+") as file:
        file.attrs["number"] = 7
    assert store.read(lambda file: file.attrs["number"]) == 7


def foreign_writer(path):
    """A program without h5scene that has the file open for writing."""

    def write(report):
        with h5py.File(path, "r+") as file:
            file.attrs["number"] = 5
            report("open")
            time.sleep(60)

    child = Child(write)
    assert child.receive() == "open"
    return child


def test_a_foreign_writer_makes_us_busy(store):
    store.close()
    child = foreign_writer(store.path)
    with pytest.raises(BusyError, match="another program"), store.transaction(lock_timeout_s=0.05):
        pass
    with pytest.raises(BusyError, match="another program"):
        store.read(list, lock_timeout_s=0.05)
    child.kill()
    assert store.read(list) == []
    with store.transaction(lock_timeout_s=0) as file:
        file["mine"] = 1


def test_a_foreign_reader_does_not_disturb(store):
    with h5py.File(store.path, "r"):
        with store.transaction(lock_timeout_s=0) as file:
            file["mine"] = 1
        assert store.read(list) == ["mine"]


def test_the_lock_file_goes_with_its_last_user(store):
    lock = Path(store.path + ".lock")
    assert store.read(list) == []
    assert not lock.exists(), "reading creates nothing"
    with store.transaction() as file:
        file["a"] = 1
        assert lock.exists()
        assert lock.stat().st_size == 0
    child = Child(lambda report: (open_store(store.path).read(len), report("open"), time.sleep(60)))
    assert child.receive() == "open"
    store.close()
    assert lock.exists(), "another process uses it"
    child.kill()
    with store.transaction():
        pass
    store.close()
    assert not lock.exists()


def test_a_file_of_that_name_with_content_is_not_removed(store):
    lock = Path(store.path + ".lock")
    lock.write_text("mine")
    with store.transaction() as file:
        file["a"] = 1
    store.close()
    assert lock.read_text() == "mine"


def test_the_lock_file_is_created_with_the_permissions_of_the_data(store):
    Path(store.path).chmod(0o664)
    with store.transaction():
        mode = Path(store.path + ".lock").stat().st_mode & 0o777
    assert mode == 0o664


def test_a_lock_file_removed_behind_our_back(store):
    with store.transaction() as file:
        file["a"] = 1
    Path(store.path + ".lock").unlink()
    other = hold(store.path)
    with pytest.raises(BusyError), store.transaction(lock_timeout_s=0.05):
        pass
    other.kill()
    with pytest.raises(StorageError, match="lock file"), store.transaction() as file:
        file["b"] = 1
        Path(store.path + ".lock").unlink()
    with store.transaction() as file:
        file["c"] = 1
    assert store.read(sorted) == ["a", "c"]


def test_removal_and_opening_do_not_miss_each_other(store):
    # The last user removes the file while others are opening it: every one must end up with the
    # same file.
    path = store.path

    def come_and_go(report):
        for _ in range(150):
            with open_store(path).transaction() as file:
                file.attrs["number"] += 1
            open_store(path).close()

    children = [Child(come_and_go) for _ in range(3)]
    for child in children:
        child.result()
    assert store.read(lambda file: file.attrs["number"]) == 450
    assert not Path(path + ".lock").exists()


def test_a_stopped_reader_does_not_stop_the_writer(store, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 0.1)
    with store.transaction() as file:
        file["a"] = 1

    def read(report):
        open_store(store.path).read(lambda file: (report("inside"), time.sleep(60)))

    child = Child(read)
    assert child.receive() == "inside"
    for number in range(5):
        with store.transaction() as file:
            file[f"b{number}"] = 1
    assert len(store.read(list)) == 6
    child.kill()


@pytest.mark.parametrize("broken", ["ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks_is_told_once(store, monkeypatch, broken):
    original = fcntl.fcntl

    def refuse(fd, command, argument=0):
        if command == fcntl.F_OFD_SETLK:
            raise OSError(getattr(errno, broken), "no locks")
        return original(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(locks, "_warned_about", set())
    with pytest.warns(RuntimeWarning, match="only one process writes"), store.transaction() as file:
        file["a"] = 1
    with store.transaction() as file:
        file["b"] = 1
    assert store.read(sorted) == ["a", "b"]
    store.close()
    with only_merger(store.path, lock_timeout_s=0), only_merger(store.path, lock_timeout_s=0):
        assert not is_being_written(store.path)


def test_who_has_written_counts_until_the_file_is_closed(store):
    def use(report):
        orders = iter(os.fdopen(end, "r"))
        mine = open_store(store.path)
        for order in orders:
            if order == "read\n":
                mine.read(list)
            elif order == "write\n":
                with mine.transaction() as file:
                    file.attrs["number"] += 1
            else:
                mine.close()
            report(order)

    store.close()
    end, ours = os.pipe()
    child = Child(use)
    for order, is_writer in [("read", False), ("write", True), ("read", True), ("close", False)]:
        os.write(ours, f"{order}\n".encode())
        child.receive()
        assert is_being_written(store.path) is is_writer
    child.kill()
    os.close(end)
    os.close(ours)


def test_process_wide_locks_where_there_are_no_others(store, monkeypatch):
    # What macOS gets: checked here only with the same calls on Linux.
    monkeypatch.setattr(system, "HAS_HANDLE_LOCKS", False)
    child = hold(store.path)
    with pytest.raises(BusyError), store.transaction(lock_timeout_s=0.05):
        pass
    assert store.read(list) == []
    child.kill()
    with store.transaction() as file:
        file["mine"] = 1
    assert store.read(list) == ["mine"]
    store.close()


def test_a_lock_file_of_somebody_else(store):
    lock = Path(store.path + ".lock")
    lock.touch(mode=0o600)
    lock.chmod(0o644)
    if os.geteuid() != 0:
        pytest.skip("needs another user")
    for parent in lock.parents:
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    Path(store.path).chmod(0o666)

    def write():
        os.seteuid(65534)
        with (
            pytest.raises(ReadOnlyError, match=r"runs\.h5\.lock"),
            open_store(store.path).transaction(),
        ):
            pass
        assert open_store(store.path).read(list) == []

    in_child(write)


def test_waiting_for_a_lock_can_be_interrupted(store):
    holder = hold(store.path)

    def wait(report):
        def interrupt(signum, frame):
            raise KeyboardInterrupt

        import signal

        signal.signal(signal.SIGUSR1, interrupt)
        report("waiting")
        try:
            with open_store(store.path).transaction():
                pass
        except KeyboardInterrupt:
            return "interrupted"

    waiting = Child(wait)
    assert waiting.receive() == "waiting"
    time.sleep(0.1)
    os.kill(waiting.pid, 10)
    assert waiting.result() == "interrupted"
    holder.kill()
    with store.transaction(lock_timeout_s=0):
        pass
