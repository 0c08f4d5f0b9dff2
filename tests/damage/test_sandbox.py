"""Reading in a process of its own: the same answers, and no file that ends this process."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import SceneFile, errors
from h5scene.record import ObjectRecord, TensorRecord
from h5scene.sandbox import Sandbox, plain
from tests.damage.damaged import SCENES, data_of, flip, make_file
from tests.records import centered, tensor

S = SCENES[0]
MEMORY_BYTES = 1 << 30


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("sandbox") / "runs.h5")


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    place = tmp_path / "runs.h5"
    place.write_bytes(original.read_bytes())
    return place


# --- files ----------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[SceneFile], Any]] = {
    "scenes": lambda file: file.scenes,
    "has_scene": lambda file: (file.has_scene(S), file.has_scene("none")),
    "fieldnames": lambda file: file.fieldnames(S),
    "fields_of": lambda file: file.fields_of(S, "fluid"),
    "frames": lambda file: file.frames(S),
    "common_frames": lambda file: file.common_frames(SCENES, ["smoke", "heat"]),
    "read_frames": lambda file: file.read_frames(SCENES, ["smoke", "heat"], -1),
    "read_stacks": lambda file: file.read_stacks([S], ["heat"], "all", {"x": slice(0, 8)}),
    "describe_frames": lambda file: file.describe_frames([S], ["smoke"], 3),
    "read_frame": lambda file: file.read_frame(S, "heat", 3, {"x": 2}),
    "read_values": lambda file: file.read_values(S, "heat", 3, {"x": slice(0, 8, 2)}).tolist(),
    "max_relative_error": lambda file: file.max_relative_error(S, "heat", 3),
    "properties": lambda file: file.properties(S),
    "times": lambda file: file.times(S),
    "curves": lambda file: file.curves(S)["loss"].values.tolist(),
    "files": lambda file: file.files(S),
    "read_file": lambda file: file.read_file(S, "src/plume.py"),
}


def test_all_that_is_read_is_the_same(path: Path) -> None:
    with SceneFile(path, "r") as here, SceneFile(path, "r", sandbox=True) as there:
        for name, call in CALLS.items():
            assert call(there) == call(here), name
        assert type(there.frames(S)["smoke"]) is tuple
        values = there.read_frame(S, "smoke", 0).values
        values[0] = 7  # the array belongs to the caller, as every other does


def test_errors_are_the_same(path: Path) -> None:
    flip(path, data_of(path, f"{S}/smoke/000003"))
    with SceneFile(path, "r") as here, SceneFile(path, "r", sandbox=True) as there:
        for call in (
            lambda file: file.read_frame(S, "smoke", 3),
            lambda file: file.read_frame(S, "smok", 3),
            lambda file: file.read_frame(S, "smoke", 99),
            lambda file: file.frames("none"),
            lambda file: file.read_frame(S, "smoke", "three"),
            lambda file: file.read_file(S, "../x"),
        ):
            with pytest.raises(errors.H5SceneError) as expected:
                call(here)
            with pytest.raises(type(expected.value)) as found:
                call(there)
            assert str(found.value) == str(expected.value)
            assert found.value.location == expected.value.location
            assert found.value.file == expected.value.file


def test_what_makes_no_sense_is_refused(path: Path) -> None:
    for options in ({"mode": "r+"}, {"mode": "a"}, {"mode": "r", "trusted": True}):
        with pytest.raises(errors.InvalidInputError):
            SceneFile(path, sandbox=True, **options)  # type: ignore[arg-type]
    with pytest.raises(errors.NotFoundError):
        SceneFile(path.with_name("none.h5"), "r", sandbox=True)
    file = SceneFile(path, "r", sandbox=True)
    with pytest.raises(errors.ReadOnlyError):
        file.put_properties({S: {"dt": 1}})
    file.close()
    with pytest.raises(errors.InvalidInputError, match="closed"):
        file.frames(S)


def test_commits_of_others_are_seen(path: Path) -> None:
    with SceneFile(path, "r", sandbox=True) as file:
        assert 99 not in file.frames(S)["smoke"]
        with SceneFile(path) as other:
            other.write_frame(99, {S: {"smoke": centered(9.0)}})
        assert file.read_frame(S, "smoke", 99) == centered(9.0)


def test_a_file_that_ends_the_process_is_an_error_and_no_more(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes, time\n"
        "from h5scene.format import tree\n"
        "read = tree.SceneTree.read_field\n"
        "def deadly(self, scene, name, frame, *a, **k):\n"
        "    if frame == 5:\n"
        "        ctypes.string_at(0)\n"
        "    if frame == 6:\n"
        "        bytearray(1 << 42)\n"
        "    if frame == 7:\n"
        "        raise RuntimeError('a bug')\n"
        "    return read(self, scene, name, frame, *a, **k)\n"
        "tree.SceneTree.read_field = deadly\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with SceneFile(path, "r", sandbox=True) as file:
        with pytest.raises(errors.CorruptDataError, match="SIGSEGV") as found:
            file.read_frame(S, "smoke", 5)
        assert found.value.file == str(path)
        with pytest.raises(errors.CorruptDataError, match="memory"):
            file.read_frame(S, "smoke", 6)
        with pytest.raises(errors.H5SceneError, match="a bug"):
            file.read_frame(S, "smoke", 7)
        assert file.read_frame(S, "smoke", 4).values[0, 0] == 4


# --- the process ----------------------------------------------------------------------------------


def _sleep_for_ever() -> None:
    while True:
        time.sleep(60)


def _process_id() -> int:
    return os.getpid()


def _write_a_file(path: str) -> None:
    with Path(path).open("wb") as file:
        file.write(bytes(100))


def _print_much() -> int:
    print("x" * 100_000)
    sys.stderr.write("y" * 100_000)
    return 3


def _lie(data: bytes) -> None:
    """Answers something else than what is expected, as a process that was taken over might."""
    for fd in range(3, 20):
        try:
            os.write(fd, data)
        except OSError:
            continue
    os._exit(0)


def _half() -> bytes:
    return bytes(MEMORY_BYTES // 2)


@pytest.fixture
def sandbox() -> Any:
    made = Sandbox(MEMORY_BYTES)
    yield made
    made.stop()


def test_a_call_that_never_ends_is_ended() -> None:
    sandbox = Sandbox(MEMORY_BYTES, timeout_s=0.0)
    with pytest.raises(errors.CorruptDataError, match="longer than 0 s"):
        sandbox.call(_sleep_for_ever)
    sandbox.stop()


def test_a_process_is_kept_and_replaced(sandbox: Sandbox) -> None:
    first = sandbox.call(_process_id)
    assert first not in (os.getpid(), None)
    assert sandbox.call(_process_id) == first
    sandbox.stop()
    assert sandbox.call(_process_id) != first
    assert sandbox.call(_print_much) == 3
    assert len(sandbox.call(_half)) == MEMORY_BYTES // 2


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")
def test_it_cannot_write_files(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(errors.H5SceneError):
        sandbox.call(_write_a_file, str(tmp_path / "new"))
    assert not (tmp_path / "new").exists() or not (tmp_path / "new").read_bytes()


def test_a_forked_process_gets_one_of_its_own(sandbox: Sandbox) -> None:
    first = sandbox.call(_process_id)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(sandbox.call(_process_id)).encode())
        sandbox.stop()
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reading, 100)) != first
    assert sandbox.call(_process_id) == first


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")
def test_libraries_that_take_much_address_space_leave_as_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those do that start a thread for each of many processors."""
    (tmp_path / "sitecustomize.py").write_text(
        "import mmap\ntaken = mmap.mmap(-1, 8 << 30, mmap.MAP_PRIVATE, mmap.PROT_READ)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    sandbox = Sandbox(MEMORY_BYTES)
    try:
        assert len(sandbox.call(_half)) == MEMORY_BYTES // 2
    finally:
        sandbox.stop()


def test_an_answer_that_was_not_waited_for_is_given_to_nobody(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(plain, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sandbox.call(_print_much)
    assert sandbox.call(_process_id) != 3


def answer(text: bytes) -> bytes:
    """Returns an answer without arrays."""
    return struct.pack("<QQ", len(text), 0) + text


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/h5scene_was_here",)


LIES = (
    b"",
    b"\xff" * 16,
    pickle.dumps(_Hostile()),
    struct.pack("<QQ", 1 << 60, 0),
    struct.pack("<QQ", 2, 1 << 60) + b"{}",
    struct.pack("<QQ", 2, 0) + b"{}",
    struct.pack("<QQ", 200_000, 0) + b"[" * 200_000,
    answer(b'{"buffers": [1], "value": null}'),
    answer(b'{"buffers": [], "value": {"class": "Popen", "fields": {}}}'),
    answer(b'{"buffers": [], "value": {"array": 0, "dtype": "|O"}}'),
    answer(b'{"buffers": [], "error": {}, "message": "x"}'),
)


def test_nothing_that_it_answers_is_trusted(sandbox: Sandbox) -> None:
    for data in LIES:
        with pytest.raises(errors.CorruptDataError):
            sandbox.call(_lie, data)
    assert sandbox.call(_process_id)
    assert not Path("/tmp/h5scene_was_here").exists()


# --- values ---------------------------------------------------------------------------------------


def through(value: Any) -> Any:
    """Returns what arrives of a value."""
    stream = io.BytesIO()
    plain.send(stream, value)
    stream.seek(0)
    return plain.receive(stream, most_bytes=1 << 30)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1 << 70,
        0.1,
        float("inf"),
        "text \ud800 ü",
        b"\0\xff",
        [1, (2, [3])],
        {(1, 2): "pair", "array": {"bytes": 3}, 5: None},
        np.float32(1.5),
        centered(3.0),
        tensor([1.0, 2.0]),
        ObjectRecord("layout", {"items": [None, {"class": "x"}]}, {"a": tensor([1, 2, 3])}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_arrive_as_they_were(value: Any) -> None:
    arrived = through(value)
    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize("dtype", ["?", "i1", "<u2", ">f4", "<f2", "<f8", ">c8", "<c16"])
@pytest.mark.parametrize("shape", [(), (0, 3), (4, 5)])
def test_arrays_arrive_bit_by_bit(dtype: str, shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(1).integers(0, 2, size=shape).astype(dtype)
    for array in (data, data.T, np.broadcast_to(data, (3, *shape))):
        arrived = through(array)
        assert arrived.dtype == array.dtype
        assert arrived.shape == array.shape
        assert arrived.tobytes() == array.tobytes()
    big = through(np.broadcast_to(np.zeros(1), (1 << 40,)))
    assert big.shape == (1 << 40,)  # and takes no memory


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array(["a"]), np.array([None]), print])
def test_nothing_else_goes_through(value: Any) -> None:
    with pytest.raises(errors.InternalError, match="cannot be sent"):
        plain.send(io.BytesIO(), value)


def test_a_record_that_contradicts_itself_is_refused() -> None:
    stream = io.BytesIO()
    plain.send(stream, TensorRecord((), np.zeros(())))
    text = stream.getvalue().replace(b'"dims": {"tuple": []}', b'"dims": {"list": [1]}')
    assert text != stream.getvalue()
    with pytest.raises(plain.NoAnswerError):
        plain.receive(io.BytesIO(text), most_bytes=1 << 20)


def lie(name: str, /, **fields: Any) -> bytes:
    """Returns an answer with a record of which the parts are given as they are sent."""
    tree = {"value": {"class": name, "fields": fields}, "buffers": []}
    return answer(json.dumps(tree).encode())


@pytest.mark.parametrize(
    "data",
    [
        lie("TensorRecord", dims={"tuple": []}, data="text"),
        lie("FieldRecord", description="x", values="y", geometry=None, structure=None),
        lie("FieldRecord"),
        lie("DimSpec", name=3, type="spatial", labels=None),
        lie("DimSpec", name="x", type="spatial", labels={"tuple": [1]}),
        lie("ObjectRecord", kind="sphere", attrs={"list": []}, parts={"dict": []}),
        lie("Curve", steps=None, values=None),
        lie("Curve", steps=None, values=None, more=None),
        answer(b'{"buffers": [], "value": {"dict": [[{"list": []}, 1]]}}'),
        answer(b"[]"),
        answer(b'{"buffers": [], "error": "StorageError", "message": "x"}'),
    ],
)
def test_records_of_the_wrong_parts_are_no_answers(data: bytes) -> None:
    with pytest.raises(plain.NoAnswerError):
        plain.receive(io.BytesIO(data), most_bytes=1 << 20)


def test_plain_hdf5_still_opens_what_was_read(path: Path) -> None:
    with SceneFile(path, "r", sandbox=True), h5py.File(path, "r") as h5:
        assert S in h5
    assert subprocess.run([sys.executable, "-c", ""], check=True).returncode == 0
