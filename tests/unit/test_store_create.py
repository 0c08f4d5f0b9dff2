"""Creating a file: whole or not at all, and never in the place of another one."""

import errno
import os
from pathlib import Path

import h5py
import pytest

from h5scene.errors import AlreadyExistsError, NotFoundError, ReadOnlyError, StorageError
from h5scene.store import create_store, open_store, system
from tests.crash.children import Child, in_child


def nothing(file):
    """Writes nothing into a new file."""


def as_nobody(function):
    """Runs in a child without root's right to write everywhere."""

    def run():
        if os.geteuid() == 0:
            os.setegid(65534)
            os.seteuid(65534)
        return function()

    return in_child(run)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """A directory that another user can reach."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.geteuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o011)
    return tmp_path


def test_a_new_file_is_plain_hdf5(tmp_path):
    path = tmp_path / "runs.h5"
    store = create_store(path, lambda file: file.attrs.__setitem__("kind", "test"))
    assert store.path == str(path)
    with h5py.File(path) as file:
        assert file.attrs["kind"] == "test"
        assert file.userblock_size == 2048
    assert [each.name for each in tmp_path.iterdir()] == ["runs.h5"]


def test_an_existing_file_is_not_replaced(tmp_path):
    path = tmp_path / "runs.h5"
    path.write_bytes(b"precious")
    with pytest.raises(AlreadyExistsError):
        create_store(path, nothing)
    assert path.read_bytes() == b"precious"
    assert [each.name for each in tmp_path.iterdir()] == ["runs.h5"]


def test_somebody_faster_wins(tmp_path):
    path = tmp_path / "runs.h5"

    def initialise(file):
        path.write_bytes(b"precious")

    with pytest.raises(AlreadyExistsError):
        create_store(path, initialise)
    assert path.read_bytes() == b"precious"
    assert [each.name for each in tmp_path.iterdir()] == ["runs.h5"]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_of_many_creators_one_wins(tmp_path, monkeypatch, links):
    if not links:

        def refuse(source, target):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "runs.h5"

    def create(number, report):
        report("ready")
        while not (tmp_path / "go").exists():
            pass
        try:
            create_store(path, lambda file: file.attrs.__setitem__("number", number))
        except AlreadyExistsError:
            return "late"
        return number

    children = [Child(lambda report, number=number: create(number, report)) for number in range(4)]
    for child in children:
        child.receive()
    (tmp_path / "go").touch()
    results = [child.result() for child in children]
    winners = [result for result in results if result != "late"]
    assert len(winners) == 1
    assert open_store(path).read(lambda file: file.attrs["number"]) == winners[0]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["go", "runs.h5"]


def test_an_error_while_filling_leaves_nothing(tmp_path):
    def initialise(file):
        file["half"] = 1
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        create_store(tmp_path / "runs.h5", initialise)
    assert [each.name for each in tmp_path.iterdir()] == []


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, operation):
    def fail(self, *arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(system.Disk, operation, fail)
    with pytest.raises(StorageError) as caught:
        create_store(tmp_path / "runs.h5", nothing, durability="power")
    assert caught.value.errno == errno.ENOSPC
    assert [each.name for each in tmp_path.iterdir()] == []


def test_missing_directory(tmp_path):
    with pytest.raises(NotFoundError):
        create_store(tmp_path / "no" / "runs.h5", nothing)


def test_read_only_directory(public):
    closed = public / "closed"
    closed.mkdir(mode=0o755)
    if os.geteuid() != 0:
        closed.chmod(0o555)

    def create():
        with pytest.raises(ReadOnlyError):
            create_store(closed / "runs.h5", nothing)

    as_nobody(create)
    assert [each.name for each in closed.iterdir()] == []


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        create_store(tmp_path / "runs.h5", nothing)
    finally:
        os.umask(before)
    assert (tmp_path / "runs.h5").stat().st_mode & 0o777 == 0o640


def test_a_symlink_to_nothing_creates_its_target(tmp_path):
    (tmp_path / "link.h5").symlink_to(tmp_path / "real.h5")
    assert create_store(tmp_path / "link.h5", nothing) is open_store(tmp_path / "real.h5")
    assert (tmp_path / "link.h5").is_symlink()


def test_a_copy_holds_the_committed_state(tmp_path):
    store = create_store(tmp_path / "runs.h5", lambda file: file.attrs.__setitem__("number", 0))
    with store.transaction() as file:
        file.attrs["number"] = 1
        child = in_child(lambda: open_store(tmp_path / "runs.h5").copy_to(tmp_path / "early.h5"))
        assert child is None
    store.copy_to(tmp_path / "late.h5", durability="power")
    for name, number in (("early.h5", 0), ("late.h5", 1)):
        with h5py.File(tmp_path / name) as file:
            assert file.attrs["number"] == number
        with open_store(tmp_path / name).transaction() as file:
            file.attrs["number"] = 5
    with pytest.raises(AlreadyExistsError):
        store.copy_to(tmp_path / "late.h5")


def test_a_copy_of_plain_hdf5_is_the_same_bytes(tmp_path):
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["x"] = range(100)
    open_store(tmp_path / "plain.h5").copy_to(tmp_path / "copy.h5")
    assert (tmp_path / "copy.h5").read_bytes() == (tmp_path / "plain.h5").read_bytes()
