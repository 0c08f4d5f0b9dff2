"""A full or failing disk, too little memory, Ctrl-C: at every operation, and life goes on."""

# ruff: noqa: PT012 (a transaction is a block, and all of it is what must raise)

import errno
import os
import resource
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from h5scene.errors import StorageError
from h5scene.store import Store, create_store
from tests.crash.children import in_child
from tests.crash.faults import FAULTS, failing_disk, prepare, sweep_faults
from tests.crash.simulation import Findings

# tools/crash_sweep runs every combination.
CASES = [
    ("ENOSPC", "once", "process"),
    ("ENOSPC", "lasting, half written", "power"),
    ("EDQUOT", "lasting", "process"),
    ("EIO", "once, half written", "power"),
    ("EIO", "lasting", "power"),
    ("MemoryError", "once", "process"),
    ("KeyboardInterrupt", "once", "process"),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with three transactions in it."""
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.mark.parametrize(("fault", "manner", "durability"), CASES, ids=lambda value: value)
def test_a_fault_at_every_operation(scratch, prepared, fault, manner, durability):
    findings = Findings()
    sweep_faults(scratch, prepared, findings, fault=fault, manner=manner, durability=durability)
    assert not findings.wrong
    assert findings.tried.total() > 10, "there were operations to fail"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return create_store(tmp_path / "runs.h5", lambda file: None)


def test_a_long_transaction_fails_at_the_next_call_not_at_its_end(store):
    with failing_disk(1, FAULTS["ENOSPC"], is_lasting=True) as disk:
        store.close()
        calls = 0
        with pytest.raises(StorageError), store.transaction():
            disk.is_armed = True
            for number in range(10):
                with store.transaction() as file:
                    calls += 1
                    file.create_dataset(f"{number}", data=np.zeros(100_000))
        assert calls == 1
        disk.is_armed = False
    assert store.read(list) == []


def fill(store: Store, directory: Path) -> int:
    """Writes until the disk is full; returns how many frames returned."""
    written = 0
    with pytest.raises(StorageError) as caught:
        while written < 1000:
            with store.transaction() as file:
                file.create_dataset(f"{written:04d}", data=np.full(20_000, written, "f8"))
            written += 1
    assert caught.value.errno in (errno.ENOSPC, errno.EFBIG)
    with h5py.File(store.path, locking=False) as file:
        assert len(file) == written
        for number in range(written):
            assert (file[f"{number:04d}"][...] == number).all()
    return written


def go_on(store: Store, written: int) -> None:
    """Goes on with the same store once there is room."""
    with store.transaction() as file:
        file["more"] = np.zeros(50_000)
    assert len(store.read(list)) == written + 1


def test_a_file_size_limit(store, tmp_path):
    """Without any privileges: the system refuses to let the file grow."""

    def run():
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
        written = fill(store, tmp_path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        go_on(store, written)
        return written

    assert in_child(run) > 5


def test_a_really_full_file_system(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not allowed here")
    try:
        ballast = tmp_path / "ballast"
        ballast.write_bytes(bytes(1_000_000))
        store = create_store(tmp_path / "full.h5", lambda file: None)
        written = fill(store, tmp_path)
        assert written > 5
        (tmp_path / "rest").write_bytes(bytes(os.statvfs(tmp_path).f_bavail * 4096))
        with pytest.raises(StorageError):
            create_store(
                tmp_path / "other.h5", lambda file: file.create_dataset("x", data=np.zeros(9999))
            )
        assert [each for each in tmp_path.iterdir() if "other" in each.name] == []
        with pytest.raises(StorageError), store.transaction() as file:
            del file["0000"]
            file["x"] = 1
        assert "0000" in store.read(list)
        ballast.unlink()
        go_on(store, written)
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
