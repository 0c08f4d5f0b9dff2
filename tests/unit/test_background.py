"""Writing in the background: order, errors, bounds, transactions, forks and the end of Python."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import SceneFile, background
from h5scene.errors import (
    FieldNotFoundError,
    FrameNotFoundError,
    InvalidInputError,
    ReadOnlyError,
    SceneNotFoundError,
    StorageError,
)
from h5scene.store import Store
from tests.records import centered

S = "s"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SceneFile]:
    """A file that is written in the background, with a scene."""
    with SceneFile(tmp_path / "runs.h5") as plain:
        plain.create_scene(S)
    with SceneFile(tmp_path / "runs.h5", background=True) as file:
        yield file


class Gate:
    """Holds transactions of other threads back until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.opened = threading.Event()
        self.error: BaseException | None = None
        self._tests = threading.get_ident()
        transaction = Store.transaction

        def held(store: Store, **options: Any) -> Any:
            if threading.get_ident() != self._tests:
                assert self.opened.wait(30)
                if self.error is not None:
                    raise self.error
            return transaction(store, **options)

        monkeypatch.setattr(Store, "transaction", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.opened.set()


def committed(file: SceneFile) -> list[str]:
    """Returns the frames that stand in the file, as somebody else sees it."""
    with h5py.File(file.path) as h5:
        return list(h5[S].get("f", ()))


def test_writing_returns_before_it_is_done(file: SceneFile, gate: Gate) -> None:
    record = centered(np.arange(6.0).reshape(2, 3))
    file.write_frame(0, {S: {"f": record}})
    file.put_times(0, {S: 0.5})
    file.log_scalars(0, {S: {"loss": [2.0]}})
    assert committed(file) == []
    gate.opened.set()
    file.flush()
    assert committed(file) == ["000000"]
    assert file.read_frame(S, "f", 0) == record
    assert file.times(S) == {0: 0.5}
    assert file.curves(S)["loss"].values.tolist() == [2.0]


def test_what_is_written_is_what_was_given(file: SceneFile, gate: Gate) -> None:
    values, times, row = np.zeros((3, 4)), {S: 1.0}, [1.0]
    inner = np.ones((3, 4))
    boundary = {"type": "field", "field": centered(inner)}
    file.write_frame(0, {S: {"f": centered(values), "g": centered(boundary=boundary)}})
    file.put_times(0, times)
    rows = {S: {"loss": row}}
    file.log_scalars(0, rows)
    values[:] = inner[:] = times[S] = row[0] = 7
    rows.clear()
    gate.opened.set()
    assert not file.read_frame(S, "f", 0).values.any()
    embedded: Any = file.read_frame(S, "g", 0).description.boundary["field"]
    assert (embedded.values == 1).all()
    assert file.times(S) == {0: 1.0}
    assert file.curves(S)["loss"].values.tolist() == [1.0]


def test_order_is_kept(file: SceneFile) -> None:
    for number in range(40):
        file.write_frame(number % 7, {S: {"f": centered(float(number))}})
    found = [float(file.read_frame(S, "f", number).values.flat[0]) for number in range(7)]
    assert found == [35, 36, 37, 38, 39, 33, 34]


READS: dict[str, Any] = {
    "frames": lambda file: file.frames(S) == {"f": (0,)},
    "read_frame": lambda file: file.read_frame(S, "f", 0) == centered(),
    "flush": lambda file: file.flush() is None,
    "create_scene": lambda file: file.create_scene("other") is None,
    "put_properties": lambda file: file.put_properties({S: {"a": 1}}) is None,
    "close": lambda file: file.close() is None,
    "another object": lambda file: SceneFile(file.path, "r").frames(S) == {"f": (0,)},
}


@pytest.mark.parametrize("name", READS)
def test_everything_else_waits_for_it(file: SceneFile, gate: Gate, name: str) -> None:
    file.write_frame(0, {S: {"f": centered()}})
    threading.Timer(0.05, gate.opened.set).start()
    assert READS[name](file)
    assert committed(file) == ["000000"]


# --- errors ---------------------------------------------------------------------------------------


def test_errors_are_raised_once_by_the_next_call(file: SceneFile, gate: Gate) -> None:
    file.write_frame(0, {"missing": {"f": centered()}})
    file.write_frame(1, {S: {"f": centered()}})  # put while the first has not failed yet
    gate.opened.set()
    with pytest.raises(SceneNotFoundError, match="no scene 'missing'") as caught:
        file.flush()
    assert (caught.value.file, caught.value.location) == (file.path, "/missing")
    file.flush()
    assert committed(file) == ["000001"]


def test_a_write_after_an_error_does_nothing_but_raise(file: SceneFile, gate: Gate) -> None:
    gate.error = StorageError("the disk is full")
    gate.opened.set()
    file.write_frame(0, {S: {"f": centered()}})
    queue = background._queues[file._opened().path]
    with queue._changed:
        assert queue._changed.wait_for(lambda: queue._error is not None, 30)
    gate.error = None
    with pytest.raises(StorageError, match="the disk is full"):
        file.write_frame(1, {S: {"f": centered()}})
    file.write_frame(2, {S: {"f": centered()}})
    file.flush()
    assert committed(file) == ["000002"]


def test_close_raises_and_closes(file: SceneFile) -> None:
    file.write_frame(0, {"missing": {"f": centered()}})
    with pytest.raises(SceneNotFoundError):
        file.close()
    file.close()
    with pytest.raises(InvalidInputError, match="is closed"):
        file.frames(S)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda file: file.write_frame(-1, {S: {"f": centered()}}), InvalidInputError),
        (lambda file: file.put_times(0, {S: float("nan")}), InvalidInputError),
        (lambda file: file.write_frame(0, {S: {"f": centered()}}, keep_digits=0), ValueError),
    ],
)
def test_what_can_be_refused_is_refused_at_once(file: SceneFile, call: Any, error: Any) -> None:
    with pytest.raises(error):
        call(file)
    file.flush()


def test_files_for_reading_only(file: SceneFile) -> None:
    with SceneFile(file.path, "r", background=True) as reader:
        with pytest.raises(ReadOnlyError):
            reader.write_frame(0, {S: {"f": centered()}})
        reader.flush()


@pytest.mark.parametrize("value", ["yes", 2, None])
def test_what_is_no_option(tmp_path: Path, value: Any) -> None:
    with pytest.raises(InvalidInputError, match="background must be one of True, False"):
        SceneFile(tmp_path / "runs.h5", background=value)


# --- bounds ---------------------------------------------------------------------------------------


def test_memory_is_bounded(file: SceneFile, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    record = centered(np.zeros((10, 100)))
    monkeypatch.setattr(background, "MAX_QUEUED_BYTES", 3.5 * record.values.nbytes)
    written: list[int] = []

    def write() -> None:
        for number in range(10):
            file.write_frame(number, {S: {"f": record}})
            written.append(number)

    writer = threading.Thread(target=write)
    gate._tests = threading.get_ident()
    writer.start()
    writer.join(0.3)
    assert written == [0, 1, 2]
    gate.opened.set()
    writer.join(30)
    file.flush()
    assert len(committed(file)) == 10


def test_what_is_larger_than_the_queue_is_written(
    file: SceneFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background, "MAX_QUEUED_BYTES", 10)
    for number in range(3):
        file.write_frame(number, {S: {"f": centered(np.zeros((10, 100)))}})
    file.flush()
    assert len(committed(file)) == 3


def test_the_thread_ends_when_there_is_nothing_to_do(file: SceneFile) -> None:
    file.write_frame(0, {S: {"f": centered()}})
    file.flush()
    for thread in threading.enumerate():
        if thread.name == "h5scene background":
            thread.join(30)
            assert not thread.is_alive()
    file.write_frame(1, {S: {"f": centered()}})
    file.flush()
    assert len(committed(file)) == 2


# --- transactions ---------------------------------------------------------------------------------


def test_a_transaction_is_made_by_its_own_thread(file: SceneFile) -> None:
    file.write_frame(0, {S: {"f": centered()}})
    with file.transaction():
        assert file.frames(S) == {"f": (0,)}
        file.write_frame(1, {S: {"f": centered(1.0)}})
        assert file.read_frame(S, "f", 1) == centered(1.0)
        with SceneFile(file.path, background=True).transaction():
            file.put_times(1, {S: 1.0})
        assert file.times(S) == {1: 1.0}
        assert committed(file) == ["000000"]
    assert committed(file) == ["000000", "000001"]


def test_a_transaction_that_fails_takes_nothing_else_with_it(file: SceneFile) -> None:
    file.write_frame(0, {S: {"f": centered()}})

    def fail() -> None:
        with file.transaction():
            file.write_frame(1, {S: {"f": centered()}})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    file.write_frame(2, {S: {"f": centered()}})
    with pytest.raises(FrameNotFoundError):
        file.read_frame(S, "f", 1)
    assert committed(file) == ["000000", "000002"]


def test_threads_may_share_a_file(file: SceneFile) -> None:
    def write(name: str) -> None:
        for number in range(20):
            file.write_frame(number, {S: {name: centered(float(number))}})

    threads = [threading.Thread(target=write, args=(f"f{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.frames(S) == {f"f{i}": tuple(range(20)) for i in range(4)}


# --- processes ------------------------------------------------------------------------------------

PRELUDE = """
import os, sys, time
from h5scene import SceneFile
from tests.records import centered
import numpy as np
file = SceneFile(sys.argv[1], background=True)
file.create_scene("s")
large = centered(np.random.default_rng(0).random((300, 1000)))
def write(first):
    for number in range(first, first + 20):
        file.write_frame(number, {"s": {"f": large}})
"""


def run(program: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Runs a program that writes frames in the background."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", "-c", PRELUDE + program, str(path)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=root
    )


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise SystemExit(3)", "1 / 0"])
def test_python_writes_everything_before_it_exits(tmp_path: Path, end: str) -> None:
    done = run(f"write(0)\n{end}", tmp_path / "runs.h5")
    assert done.returncode == {"": 0, "1 / 0": 1}.get(end, 3)
    assert done.stderr == "" or "ZeroDivisionError" in done.stderr
    with h5py.File(tmp_path / "runs.h5") as h5:
        assert len(h5["s/f"]) == 20


@pytest.mark.parametrize(
    "calls",
    [
        "atexit.register(write, 20); write(0)",
        "write(0); atexit.register(write, 20)",
        "atexit.register(write, 20); atexit.register(write, 0)",
    ],
)
def test_writing_while_python_exits(tmp_path: Path, calls: str) -> None:
    """Python calls first what was registered last."""
    done = run(f"import atexit; {calls}", tmp_path / "runs.h5")
    assert (done.returncode, done.stderr) == (0, "")
    with h5py.File(tmp_path / "runs.h5") as h5:
        assert len(h5["s/f"]) == 40


def test_an_error_that_nobody_saw_is_printed_at_the_end(tmp_path: Path) -> None:
    done = run("file.write_frame(0, {'none': {'f': large}})", tmp_path / "runs.h5")
    assert "SceneNotFoundError: no scene 'none'" in done.stderr


def test_a_killed_process_loses_what_waits_and_no_more(tmp_path: Path) -> None:
    run("write(0)\nfile.flush()\nwrite(20)\nos._exit(9)", tmp_path / "runs.h5")
    with SceneFile(tmp_path / "runs.h5") as file:
        frames = file.frames("s")["f"]
        assert frames == tuple(range(len(frames)))
        assert len(frames) >= 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_an_empty_queue(tmp_path: Path) -> None:
    program = """
write(0)
child = os.fork()
if child == 0:
    file.flush()
    own = SceneFile(sys.argv[1] + "_child", background=True)
    own.create_scene("s")
    own.write_frame(0, {"s": {"f": large}})
    own.flush()
    os._exit(len(own.frames("s")["f"]))
write(20)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
file.flush()
print(len(file.frames("s")["f"]))
"""
    done = run(program, tmp_path / "runs.h5")
    assert (done.stdout, done.stderr) == ("40\n", "")


# --- scenes ---------------------------------------------------------------------------------------


def test_scenes(tmp_path: Path) -> None:
    from phi.field import CenteredGrid
    from phiml.math import batch

    from h5scene import Scene

    with Scene.create(tmp_path / "runs", batch(b=2), background=True, workers=2) as scenes:
        for frame in range(5):
            scenes.write(smoke=CenteredGrid(frame, 0, x=40, y=30), frame=frame, keep_digits=3)
            scenes.put_time(frame, 0.5 * frame)
            scenes.log_scalars(frame, loss=1.0)
    assert len(h5py.File(tmp_path / "runs.h5")["sim_000001/smoke"]) == 5
    scenes.write(smoke=CenteredGrid(5, 0, x=40, y=30), frame=5)
    assert scenes.b[1].frames == (0, 1, 2, 3, 4, 5)
    assert float(scenes.b[0].read("smoke", frame=5).values.mean) == 5


def test_leaving_a_scene_by_an_error_raises_that_error(tmp_path: Path) -> None:
    from phi.field import CenteredGrid

    from h5scene import Scene

    grid = CenteredGrid(1, 0, x=4, y=3)
    scene = Scene.create(tmp_path / "runs", background=True)
    other = Scene.at(scene.path, background=True)
    scene.remove()

    def fail() -> None:
        with other:
            other.write(smoke=grid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(SceneNotFoundError), other:
        other.write(smoke=grid)
    other.mkdir()
    with pytest.raises(FieldNotFoundError):
        other.read("smoke")
