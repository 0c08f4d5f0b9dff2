"""Files that are built whole, and take the place of others; moments for signals."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene.errors import AlreadyExistsError, CorruptDataError, InvalidInputError
from h5scene.store import close_all, create_store, interruption_point, open_store


def nothing(file: Any) -> None:
    """Writes nothing."""


def put(name: str, value: int) -> Any:
    """Returns a function that writes a dataset into a file."""

    def write(file: Any) -> None:
        file.create_dataset(name, data=np.full(100, value))

    return write


def copy(old: Any, new: Any) -> None:
    for name in old:
        old.copy(name, new)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    create_store(path, put("x", 1))
    return path


def only_files(path: Path) -> list[str]:
    close_all()
    return sorted(one.name for one in path.parent.iterdir())


def test_a_new_file_gets_its_content_before_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"

    def fill(file: Any) -> None:
        assert not path.exists()
        put("y", 2)(file)

    create_store(path, put("x", 1), fill=fill)
    assert open_store(path).read(lambda file: (file["x"][0], file["y"][0])) == (1, 2)
    with h5py.File(path) as file:
        assert sorted(file) == ["x", "y"]


def test_a_new_file_that_cannot_be_filled_is_not_there(tmp_path: Path) -> None:
    def fail(file: Any) -> None:
        put("y", 2)(file)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        create_store(tmp_path / "a.h5", nothing, fill=fail)
    assert list(tmp_path.iterdir()) == []


def test_rebuild_replaces_the_file(path: Path) -> None:
    path.chmod(0o640)
    inode = path.stat().st_ino
    store = open_store(path)
    checked = []

    def check(old: Any, new: Any) -> None:
        assert new.mode == "r"
        checked.append((old["x"][0], new["x"][0], new["y"][0]))

    def fill(old: Any, new: Any) -> None:
        copy(old, new)
        put("y", 2)(new)

    assert store.read(lambda file: sorted(file)) == ["x"]  # open, as it is now
    store.rebuild(nothing, fill, check)
    assert checked == [(1, 1, 2)]
    assert store.read(lambda file: sorted(file)) == ["x", "y"]
    assert path.stat().st_ino != inode
    assert path.stat().st_mode & 0o777 == 0o640
    with store.transaction() as file:
        file["z"] = 3
    assert store.read(lambda file: sorted(file)) == ["x", "y", "z"]
    assert only_files(path) == ["a.h5"]


@pytest.mark.parametrize("place", ["fill", "check"])
def test_a_file_stays_when_its_successor_fails(path: Path, place: str) -> None:
    before = path.read_bytes()

    def fail(old: Any, new: Any) -> None:
        raise CorruptDataError("not the same")

    steps = {"fill": copy, "check": lambda old, new: None} | {place: fail}
    with pytest.raises(CorruptDataError, match="not the same"):
        open_store(path).rebuild(nothing, steps["fill"], steps["check"])
    assert path.read_bytes() == before
    assert only_files(path) == ["a.h5"]


def test_nobody_writes_while_a_file_is_rebuilt(path: Path) -> None:
    """Another thread's transaction comes before or after, never in between."""
    is_filling, may_go_on = threading.Event(), threading.Event()
    store = open_store(path)

    def fill(old: Any, new: Any) -> None:
        is_filling.set()
        assert may_go_on.wait(60)
        copy(old, new)

    rebuilding = threading.Thread(target=store.rebuild, args=(nothing, fill, lambda old, new: None))
    rebuilding.start()
    assert is_filling.wait(60)
    assert store.read(lambda file: file["x"][0]) == 1  # readers go on

    def write() -> None:
        with store.transaction() as file:
            file["z"] = 3

    writing = threading.Thread(target=write)
    writing.start()
    may_go_on.set()
    rebuilding.join(60)
    writing.join(60)
    assert store.read(lambda file: sorted(file)) == ["x", "z"]


def test_no_rebuild_inside_a_transaction(path: Path) -> None:
    store = open_store(path)
    with store.transaction(), pytest.raises(InvalidInputError, match="inside a transaction"):
        store.rebuild(nothing, copy, lambda old, new: None)


def test_a_copy_says_how_far_it_is(path: Path) -> None:
    said: list[tuple[int, int]] = []
    store = open_store(path)
    store.copy_to(
        path.with_name("b.h5"), on_progress=lambda done, total: said.append((done, total))
    )
    assert said[-1] == (path.stat().st_size, path.stat().st_size)
    with pytest.raises(AlreadyExistsError):
        store.copy_to(path.with_name("b.h5"))


def test_a_signal_is_handled_at_an_interruption_point(path: Path) -> None:
    """One that comes inside h5py waits, and is heard before the next step."""

    class Stopped(Exception):
        pass

    def stop(number: int, frame: Any) -> None:
        raise Stopped

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        store = open_store(path)
        pager_read = []

        def read(file: Any) -> None:
            signal.raise_signal(signal.SIGUSR1)
            pager_read.append(True)
            while True:
                interruption_point()

        with pytest.raises(Stopped):
            store.read(read)

        def write() -> None:
            with store.transaction() as file:
                file["lost"] = 1
                signal.raise_signal(signal.SIGUSR1)
                interruption_point()

        with pytest.raises(Stopped):
            write()
        assert store.read(lambda file: sorted(file)) == ["x"]
    finally:
        signal.signal(signal.SIGUSR1, before)
