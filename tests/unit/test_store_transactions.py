"""Transactions: one commit or nothing, nesting, and what becomes of errors."""

# ruff: noqa: PT012 (a transaction is a block, and all of it is what must raise)

import gc
import random
import shutil
import subprocess
import threading
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from h5scene.errors import (
    BusyError,
    CorruptDataError,
    H5SceneError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
    StorageError,
)
from h5scene.store import Store, create_store, open_store, pager, system
from tests.crash.children import in_child


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "runs.h5", lambda file: file.attrs.__setitem__("number", 0))


def names(store: Store) -> list[str]:
    """What plain h5py sees in the file."""
    with h5py.File(store.path, locking=False) as file:
        return sorted(file)


def test_a_transaction_is_in_the_file_when_it_returns(store):
    with store.transaction() as file:
        file["a"] = 1
        assert names(store) == [], "nothing shows before the commit"
    assert names(store) == ["a"]


def test_an_exception_rolls_everything_back(store):
    before = Path(store.path).read_bytes()
    with pytest.raises(ZeroDivisionError), store.transaction() as file:
        file["a"] = np.zeros(100_000)
        file.attrs["number"] = 7
        raise ZeroDivisionError
    assert Path(store.path).read_bytes() == before
    assert store.read(lambda file: file.attrs["number"]) == 0
    with store.transaction() as file:
        file["b"] = 1
    assert names(store) == ["b"]


def test_a_transaction_that_changes_nothing_writes_nothing(store):
    before = Path(store.path).read_bytes()
    with store.transaction() as file:
        list(file)
    assert Path(store.path).read_bytes() == before


def test_an_inner_transaction_joins(store):
    with store.transaction() as outer:
        outer["a"] = 1
        with store.transaction() as inner:
            assert inner == outer
            inner["b"] = 1
        assert names(store) == []
    assert names(store) == ["a", "b"]


def test_the_outer_exception_undoes_the_inner_transaction(store):
    with pytest.raises(KeyError), store.transaction():
        with store.transaction() as file:
            file["b"] = 1
        raise KeyError("outer")
    assert names(store) == []


def test_an_error_of_ours_may_be_caught_inside(store):
    with store.transaction() as file:
        file["a"] = 1
        with pytest.raises(NotFoundError), store.transaction():
            raise NotFoundError("before any change")
        with store.transaction():
            file["b"] = 1
    assert names(store) == ["a", "b"]


@pytest.mark.parametrize(
    "error",
    [
        StorageError("full", errno=28),
        InternalError("bug"),
        ValueError("half done"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_any_other_error_caught_inside_spoils_the_transaction(store, error):
    with pytest.raises(H5SceneError, match="rolled back") as caught, store.transaction() as file:
        file["a"] = 1
        with pytest.raises(type(error)), store.transaction():
            file["half"] = 1
            raise error
        with pytest.raises(H5SceneError, match="rolled back"), store.transaction():
            pytest.fail("nobody should work on in vain")
    assert caught.value.__cause__ is error
    assert isinstance(caught.value, StorageError) == isinstance(error, StorageError)
    assert getattr(caught.value, "errno", None) == getattr(error, "errno", None)
    assert names(store) == []
    with store.transaction() as file:
        file["b"] = 1
    assert names(store) == ["b"]


def test_power_inside_process_makes_the_commit_sync(store, monkeypatch):
    syncs = []
    monkeypatch.setattr(system.Disk, "sync", lambda disk: syncs.append(1))
    with store.transaction() as file:
        file["a"] = 1
        with store.transaction(durability="power"):
            pass
    assert len(syncs) == 3
    with store.transaction() as file:
        file["b"] = 1
    assert len(syncs) == 3


def test_other_threads_wait_for_their_turn(store):
    def add(number):
        for step in range(10):
            with store.transaction() as file:
                file.attrs["number"] += 1
                file[f"{number}-{step}"] = number

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(lambda file: file.attrs["number"]) == 40
    assert len(names(store)) == 40


def test_a_thread_that_waits_too_long_is_told(store):
    caught = []

    def write():
        try:
            with store.transaction(lock_timeout_s=0.05):
                pass
        except BusyError as error:
            caught.append(error)

    with store.transaction():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(caught) == 1
    assert "thread" in str(caught[0])


def test_two_files_in_one_transaction_body(store, tmp_path):
    other = create_store(tmp_path / "other.h5", lambda file: None)
    with store.transaction() as file, other.transaction() as second:
        file["a"] = 1
        second["b"] = 1
    assert (names(store), names(other)) == (["a"], ["b"])


def test_a_file_without_header_is_read_and_not_written(tmp_path):
    path = tmp_path / "repacked.h5"
    with h5py.File(path, "w") as file:
        file["a"] = 1
    store = open_store(path)
    assert store.read(list) == ["a"]
    before = path.read_bytes()
    with pytest.raises(ReadOnlyError, match=r"h5repack.*copy its scenes"), store.transaction():
        pytest.fail("must not be opened")
    assert path.read_bytes() == before
    assert store.read(list) == ["a"]


def test_errors_of_h5py_become_ours(store):
    with store.transaction() as file:
        file.create_dataset("a", data=np.arange(100), chunks=(100,), fletcher32=True)
    data = bytearray(Path(store.path).read_bytes())
    place = data.index(np.arange(50, 60).tobytes())
    data[place] ^= 1
    Path(store.path).write_bytes(data)
    with pytest.raises(CorruptDataError, match=r"runs\.h5"):
        store.read(lambda file: file["a"][...])
    with pytest.raises(CorruptDataError), store.transaction() as file:
        file["a"][...]
    with pytest.raises(KeyError):
        store.read(lambda file: file["missing"])

    def own_error(file):
        raise OSError("not about this file")

    with pytest.raises(OSError, match="not about this file") as caught:
        store.read(own_error)
    assert type(caught.value) is OSError


def test_cache_lives_as_long_as_its_facts(store):
    def remember(file):
        store.cache["number"] = int(file.attrs["number"])

    store.read(remember)
    assert store.cache == {"number": 0}
    with store.transaction() as file:
        file["a"] = 1
        store.cache["names"] = list(file)
    assert store.cache == {"number": 0, "names": ["a"]}, "own commits keep it"
    store.read(len)
    assert store.cache == {"number": 0, "names": ["a"]}
    with pytest.raises(KeyError), store.transaction() as file:
        store.cache["names"] = ["never"]
        raise KeyError
    assert store.cache == {}, "a rollback empties it"


def test_cache_is_emptied_by_a_foreign_write(store):
    store.read(lambda file: store.cache.update(known=True))
    assert store.cache
    store.close()
    with h5py.File(store.path, "r+") as file:
        file["foreign"] = 1
    store.cache["stale"] = True
    assert store.read(lambda file: dict(store.cache)) == {}


def test_the_same_thread_cannot_close_what_it_uses(store):
    with store.transaction(), pytest.raises(InvalidInputError):
        store.close()
    with pytest.raises(InvalidInputError):
        store.read(lambda file: store.close())
    with pytest.raises(InvalidInputError), store.transaction():
        store.copy_to(store.path + ".copy")


def test_a_transaction_cannot_begin_inside_a_read(store):
    def write(file):
        with store.transaction():
            pytest.fail("would close the file that is read")

    with pytest.raises(InternalError):
        store.read(write)


def test_the_collector_is_paused_and_comes_back(store):
    assert gc.isenabled()
    with store.transaction():
        assert not gc.isenabled()
        with store.transaction():
            assert not gc.isenabled()
        assert not gc.isenabled()
        assert store.read(lambda file: gc.isenabled()) is False
    assert gc.isenabled()
    gc.disable()
    try:
        with store.transaction():
            pass
        assert not gc.isenabled(), "who disabled it wants it disabled"
    finally:
        gc.enable()


def test_garbage_with_h5py_objects_in_cycles(store, monkeypatch):
    """Closing such an object inside a callback of HDF5 crashed the process."""
    write = pager.Pager.write

    def collector_comes_due(self, data):
        if gc.isenabled():
            gc.collect()
        return write(self, data)

    def run():
        monkeypatch.setattr(pager.Pager, "write", collector_comes_due)
        gc.set_threshold(0)  # only there
        rng = random.Random(0)
        for number in range(150):
            with store.transaction() as file:
                group = file.require_group("g")
                dataset = group.create_dataset(
                    f"{number}", data=np.zeros((16, 16)), chunks=(8, 8), compression="gzip"
                )
                other = group[rng.choice(list(group))]
                other[...] = 7
                names = list(group)
                cycle = [dataset, other, group, dataset.attrs, file[f"g/{rng.choice(names)}"]]
                cycle.append(cycle)
                if number % 3 == 2:
                    del group[rng.choice(names)]
                del cycle, dataset, other, group

    in_child(run)
    assert len(store.read(lambda file: list(file["g"]))) == 100


def test_chunks_compressed_elsewhere(store):
    data = np.arange(40_000, dtype="f4").reshape(200, 200)
    with store.transaction() as file:
        dataset = file.create_dataset("x", (200, 200), "f4", chunks=(200, 200), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(data.tobytes(), 1))
    with h5py.File(store.path) as file:
        np.testing.assert_array_equal(file["x"], data)
    mask, raw = store.read(lambda file: file["x"].id.read_direct_chunk((0, 0)))
    assert (mask, zlib.decompress(raw)) == (0, data.tobytes())


def test_old_hdf5_tools_read_the_file_while_it_is_written(store):
    dump = shutil.which("h5dump")
    if dump is None:
        pytest.skip("h5dump is not installed")
    with store.transaction() as file:
        file.create_dataset("sim/x", data=np.arange(40), chunks=(8,), compression="gzip")
    with store.transaction() as file:
        file["sim/y"] = 1
        ended = subprocess.run([dump, store.path], capture_output=True, text=True, check=False)
    assert ended.returncode == 0
    assert "36, 37, 38, 39" in ended.stdout
    assert '"y"' not in ended.stdout


def test_freed_space_and_shrinking(store):
    with store.transaction() as file:
        file["large"] = np.zeros(500_000)
        file["keep"] = np.arange(10)
    full = Path(store.path).stat().st_size
    with store.transaction() as file:
        del file["large"]
    with store.transaction() as file:
        file["again"] = np.arange(5)
    assert Path(store.path).stat().st_size <= full + 4096
    with h5py.File(store.path) as file:
        np.testing.assert_array_equal(file["keep"], np.arange(10))
        np.testing.assert_array_equal(file["again"], np.arange(5))


def test_overwriting_a_large_dataset_in_place(store):
    first, second = np.arange(300_000.0), np.arange(300_000.0)[::-1].copy()
    with store.transaction() as file:
        file["x"] = first
    with pytest.raises(KeyError), store.transaction() as file:
        file["x"][...] = second
        np.testing.assert_array_equal(file["x"], second)
        raise KeyError
    with h5py.File(store.path) as file:
        np.testing.assert_array_equal(file["x"], first)
    with store.transaction() as file:
        file["x"][...] = second
    with h5py.File(store.path) as file:
        np.testing.assert_array_equal(file["x"], second)
    assert store.path == str(Path(store.path).resolve())


def test_a_file_that_shrinks_and_grows_again(store):
    """What is appended does not pass the pages that the pager remembers."""
    dice = random.Random(0)
    expected = {}
    for turn in range(200):
        with store.transaction() as file:
            for name in dice.sample(sorted(expected), min(len(expected), 2)):
                del file[name], expected[name]
            for i in range(dice.randrange(4)):
                name, size = f"{turn}_{i}", dice.choice([3, 200, 900, 5000])
                expected[name] = file.create_group(name)["values"] = np.arange(turn, turn + size)
                file[name].attrs["turn"] = turn
        with h5py.File(store.path, locking=False) as plain:
            assert set(plain) == set(expected)
            for name, values in expected.items():
                assert np.array_equal(plain[name]["values"], values)
                assert plain[name].attrs["turn"] == values[0]
