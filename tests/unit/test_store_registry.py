"""One store for each file and process, few descriptors, processes that end or fork."""

import gc
import multiprocessing
import os
import resource
import sys
import threading
import warnings
from pathlib import Path

import h5py
import pytest

from h5scene.errors import InvalidInputError
from h5scene.store import Store, close_all, create_store, open_store, registry
from tests.crash.children import Child, fork, in_child, python


def nothing(file):
    """Writes nothing into a new file."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "runs.h5", lambda file: file.attrs.__setitem__("number", 0))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_one_store_for_each_real_path(store, tmp_path, monkeypatch):
    (tmp_path / "link.h5").symlink_to(store.path)
    monkeypatch.chdir(tmp_path)
    assert open_store("runs.h5") is open_store(tmp_path / "link.h5") is store


def test_threads_get_the_same_store(tmp_path):
    create_store(tmp_path / "runs.h5", nothing)
    close_all()
    gc.collect()
    found: list[Store] = []
    threads = [
        threading.Thread(target=lambda: found.append(open_store(tmp_path / "runs.h5")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in found}) == 1


def test_closing_and_using_again(store):
    before = descriptors()
    for number in range(3):
        with store.transaction() as file:
            file[f"a{number}"] = 1
        assert store.read(len) == number + 1
        store.close()
        store.close()
        assert descriptors() == before
    close_all()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_many_files_do_not_run_out_of_descriptors(tmp_path):
    def use_many():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        stores = []
        for number in range(300):
            stores.append(create_store(tmp_path / f"{number}.h5", nothing))
            with stores[-1].transaction() as file:
                file.attrs["number"] = number
        assert descriptors() < 150
        for number, each in enumerate(stores):
            assert each.read(lambda file: file.attrs["number"]) == number
        assert descriptors() < 150
        close_all()
        return [each.name for each in tmp_path.iterdir() if each.suffix != ".h5"]

    assert in_child(use_many) == []


def test_a_store_at_work_is_not_closed(store, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "MAX_OPEN_FILES", 2)
    with store.transaction() as file:
        for number in range(6):
            with create_store(tmp_path / f"{number}.h5", nothing).transaction() as other:
                other["x"] = number
        file["still"] = 1

    def read(file):
        for number in range(6):
            assert (
                open_store(tmp_path / f"{number}.h5").read(lambda inner: inner["x"][()]) == number
            )
        return list(file)

    assert store.read(read) == ["still"]


def test_ending_without_closing(tmp_path):
    code = """
import sys, h5py
from h5scene.store import create_store
store = create_store(sys.argv[1], lambda file: None)
with store.transaction() as file:
    file["a"] = 1
keep = file["a"]
transaction = store.transaction()
transaction.__enter__()["never"] = 1
"""
    path = str(tmp_path / "runs.h5")
    ended = python(code, path)
    assert (ended.returncode, ended.stderr) == (0, "")
    with h5py.File(path) as file:
        assert list(file) == ["a"]
    with open_store(path).transaction(lock_timeout_s=0):
        pass


def test_ending_inside_a_transaction(tmp_path):
    code = """
import sys
from h5scene.store import create_store
store = create_store(sys.argv[1], lambda file: None)
with store.transaction() as file:
    file["never"] = 1
    sys.exit(3)
"""
    path = tmp_path / "runs.h5"
    ended = python(code, str(path))
    assert (ended.returncode, ended.stderr) == (3, "")
    with h5py.File(path) as file:
        assert list(file) == []
    assert [each.name for each in tmp_path.iterdir()] == ["runs.h5"], "the lock file is gone too"


def test_a_forked_child_writes_for_itself(store):
    with store.transaction() as file:
        file["parent"] = 1

    def write():
        with store.transaction(lock_timeout_s=5) as file:
            file["child"] = 1
        assert open_store(store.path) is store

    in_child(write)
    assert store.read(sorted) == ["child", "parent"]
    with store.transaction() as file:
        file["again"] = 1
    assert store.read(len) == 3


def test_a_fork_inside_a_transaction(store):
    with store.transaction() as file:
        file["parent"] = 1
        before = Path(store.path).read_bytes()

        def child():
            file["child"] = 1
            file.flush()
            file.close()
            assert open_store(store.path).read(list) == []

        in_child(child)
        assert Path(store.path).read_bytes()[: len(before)] == before
        file["parent2"] = 1
    assert store.read(sorted) == ["parent", "parent2"]


def test_a_child_leaves_its_parents_transaction(store):
    transaction = store.transaction()
    transaction.__enter__()["parent"] = 1

    def leave():
        with pytest.raises(InvalidInputError, match="forked"):
            transaction.__exit__(None, None, None)
        return "told"

    assert in_child(leave) == "told"
    transaction.__exit__(None, None, None)
    assert store.read(list) == ["parent"]


def test_a_child_does_not_keep_its_parents_locks(store):
    def parent(report):
        with store.transaction():
            child = fork()
            if child == 0:
                import time

                time.sleep(30)
                os._exit(0)
            report(child)
            os._exit(0)

    forked = Child(parent)
    sleeping = forked.receive()
    forked.wait()
    try:
        with store.transaction(lock_timeout_s=5) as file:
            file["mine"] = 1
    finally:
        os.kill(sleeping, 9)


def test_a_child_that_ends_like_a_program(store, capfd):
    with store.transaction() as file:
        file["parent"] = 1
        sys.stdout.flush()
        code = """
import os, sys
from h5scene.store import create_store
store = create_store(sys.argv[1], lambda file: None)
with store.transaction() as file:
    file["parent"] = 1
    if os.fork() == 0:
        file["child"] = 1
        sys.exit(0)
    print(os.wait()[1], flush=True)
"""
    path = store.path + ".second"
    ended = python(code, path)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("0\n", "", 0)
    with h5py.File(path) as file:
        assert list(file) == ["parent"]


def add_in_worker(path: str, name: str) -> int:
    """What a data loader's worker does; at module level, so that a spawned process finds it."""
    store = open_store(path)
    with store.transaction() as file:
        file[name] = 1
    return store.read(len)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_beside_an_open_store(store, method):
    with store.transaction() as file:
        file["parent"] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, Python 3.12
        context = multiprocessing.get_context(method)
        workers = [
            context.Process(target=add_in_worker, args=(store.path, f"w{number}"))
            for number in range(2)
        ]
        for worker in workers:
            worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert store.read(sorted) == ["parent", "w0", "w1"]


def test_a_fork_while_another_thread_writes(store):
    go_on = threading.Event()
    inside = threading.Event()

    def write():
        with store.transaction() as file:
            file["thread"] = 1
            inside.set()
            go_on.wait(30)

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait(30)

    def child():
        assert gc.isenabled()
        return store.read(list)

    try:
        assert in_child(child) == []
    finally:
        go_on.set()
        thread.join()
    assert store.read(list) == ["thread"]
