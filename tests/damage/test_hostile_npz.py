"""Directories and scene files made to do harm: nothing runs, leaks out, or explodes."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import socket
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h5scene import SceneFile, export_scenes, import_scenes
from h5scene.errors import CorruptDataError, UnsafeFileError
from h5scene.interop.npy import ForeignNpzError
from h5scene.interop.npz_archive import NpzArchive
from h5scene.interop.pickled_data import read_pickled
from tests.interop.scene_trees import make_scene
from tests.records import centered


class Executes:
    """Pickled, it is an order to make a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


def objects(*items: Any) -> Any:
    """Returns an array of objects."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A scene directory with two frames of two fields."""
    return make_scene(tmp_path / "data", frames=2)


def with_member(path: Path, name: str, content: bytes) -> None:
    """Puts bytes in place of one array of an npz."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, old in members.items():
            archive.writestr(member, content if member == f"{name}.npy" else old)


def npy(array: Any) -> bytes:
    """Returns an array as NumPy writes it."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


# --- pickles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("member", ["extrapolation", "dim_item_names", "bounds_item_names", "data"])
def test_code_in_an_npz_does_not_run(scene: Path, tmp_path: Path, member: str) -> None:
    target = tmp_path / "ran"
    evil = objects(Executes(target))
    evil = evil.reshape(()) if member == "extrapolation" else evil
    with_member(scene / "smoke_000001.npz", member, npy(evil))
    done = import_scenes(scene, tmp_path / "a.h5", verify=True)
    assert not target.exists()
    assert [(p.error, Path(p.path).name) for p in done.problems] == [
        ("UnsafeFileError", "smoke_000001.npz")
    ]
    assert done.frames == 3
    # The file does run code where it is unpickled, so that this test can fail.
    with np.load(scene / "smoke_000001.npz", allow_pickle=True) as npz:
        _ = npz[member]
    assert target.exists()


def handmade(*parts: bytes) -> bytes:
    """Returns a pickle of protocol 4."""
    return b"\x80\x04" + b"".join(parts) + b"."


HOSTILE = {
    "a call": pickle.dumps(Executes(Path("x"))),
    "builtins": handmade(b"cbuiltins\neval\n", b"\x8c\x011\x85R"),
    "numpy function": handmade(b"cnumpy\nfromfile\n", b"\x8c\x01x\x85R"),
    "subclass of ndarray": handmade(
        b"cnumpy._core.multiarray\n_reconstruct\n", b"cnumpy\nrecarray\n", b"K\x00\x85C\x01b\x87R"
    ),
    "extension": handmade(b"\x82\x01"),
    "persistent id": handmade(b"Px\n"),
    "old object": handmade(b"(ios\nsystem\n"),
    "new object": handmade(b"cnumpy\ndtype\n", b")\x81"),
    "inst": b"(S'x'\nios\nsystem\n.",
    "dict with arrays as keys": handmade(b"}", b")", b"N", b"s"),
    "name alone": handmade(b"cnumpy\nndarray\n"),
    "dtype alone": pickle.dumps(np.dtype("f4")),
    "dtype of fields": pickle.dumps(np.zeros(1, [("a", "f4")])),
    "dtype of dates": pickle.dumps(np.zeros(1, "M8[s]")),
    "dtype with huge text": pickle.dumps(np.zeros(1, "U5000")),
    "several values": handmade(b"NN"),
    "append to a tuple": handmade(b")", b"N", b"a"),
    "no stack": handmade(b"\x85"),
    "set": pickle.dumps({1, 2}),
    "number of numpy": pickle.dumps(np.float64(1)),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_pickles_that_are_more_than_data_are_refused(data: bytes) -> None:
    with pytest.raises(UnsafeFileError, match="pickled data"):
        read_pickled(data)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_is_read(protocol: int) -> None:
    value = {"a": [1, -5, 2**70, 2.5, None, True, "ü" * 300], "b": ("x", {"c": ()}), "d": b"e"}
    if protocol < 3:
        value.pop("d")
    assert read_pickled(pickle.dumps(value, protocol)) == value


def test_arrays_are_read_as_they_were() -> None:
    for array in (
        np.arange(6, dtype=">i2").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.asarray(["a", "bc"]),
        np.asarray(1 + 2j),
        objects(None, ("x", "y"), {"a": np.asarray(False)}),
    ):
        found = read_pickled(pickle.dumps(array))
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert repr(found.tolist()) == repr(array.tolist())


def test_few_bytes_do_not_become_many_values() -> None:
    data = b"\x80\x02)q\x00" + b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(40))
    with pytest.raises(UnsafeFileError):
        read_pickled(data + b".")


def test_a_list_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(UnsafeFileError):
        read_pickled(pickle.dumps(loop))


def test_many_arrays_of_the_same_bytes_are_refused() -> None:
    block = b"x" * (1 << 20)
    arrays = [np.frombuffer(block, np.uint8) for _ in range(200)]
    data = pickle.dumps(arrays, 4)
    assert len(data) > 1 << 24
    with pytest.raises(UnsafeFileError):
        read_pickled(data)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60), st.integers(0, 400), st.integers(1, 8))
def test_damaged_pickles_are_refused_or_data(noise: bytes, place: int, length: int) -> None:
    value = objects({"type": "constant", "value": np.asarray(1.5)}, ("x", "y"), None)
    data = bytearray(pickle.dumps(value))
    data[place : place + length] = noise[:length]
    try:
        found = read_pickled(bytes(data))
    except (UnsafeFileError, CorruptDataError):
        return
    assert type(found) in (type(None), int, float, bool, str, bytes, tuple, list, dict, np.ndarray)


def test_every_operation_of_pickle_is_known_or_refused() -> None:
    for operation in pickletools.opcodes:
        with pytest.raises((UnsafeFileError, CorruptDataError)):
            read_pickled(operation.code.encode("latin-1"))


# --- zip files and headers ------------------------------------------------------------------------


def read_all(path: Path, limit_bytes: int = 1 << 24) -> dict[str, Any]:
    """Returns all arrays of an npz."""
    with path.open("rb", buffering=0) as file:
        archive = NpzArchive(file, limit_bytes)
        return {name: archive.read(member) for name, member in archive.members.items()}


def header(text: str) -> bytes:
    """Returns the header of an array that says this."""
    content = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content


def described(descr: str = "'<f4'", shape: str = "(3,)", fortran: str = "False") -> bytes:
    """Returns a header with these parts."""
    return header(f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}")


LYING = {
    "more than there is": described(shape="(1000000000,)"),
    "more than memory": described(shape="(4611686018427387904, 4611686018427387904)"),
    "less than there is": described(shape="(2,)"),
    "negative": described(shape="(-3,)"),
    "no numbers": described(shape="(a,)"),
    "no shape": header("{'descr': '<f4', 'fortran_order': False}"),
    "no header": b"\x93NUMPY\x01\x00\xff\xff",
    "no magic": b"NUMPY" * 10,
    "code": described(descr="__import__('os')"),
    "parts": described(descr="[('a', '<f4')]"),
    "dates": described(descr="'<M8[s]'"),
    "nothing": b"",
    "too many axes": described(shape="(1, " * 40 + ")"),
}


@pytest.mark.parametrize("content", LYING.values(), ids=LYING)
def test_headers_are_not_believed(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", content + bytes(12))
    with pytest.raises((CorruptDataError, UnsafeFileError, ForeignNpzError)):
        read_all(path)


def test_a_sound_file_of_that_kind_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", described() + bytes(12))
    assert read_all(path)["data"].tolist() == [0, 0, 0]


def bomb(path: Path, gigabytes: int, *, declared_bytes: int | None = None) -> None:
    """Writes an npz of zeros: a thousandth of its size."""
    count = gigabytes << 30
    head = described(shape=f"({count // 4},)")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed += block * (count >> 24) + packer.flush()
    size = count + len(head) if declared_bytes is None else declared_bytes
    entry = b"data.npy"
    numbers = (20, 0, 8, 0, 33, 0, len(packed), size, len(entry))
    local = struct.pack("<4s5H3L2H", b"PK\3\4", *numbers, 0)
    central = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, *numbers, 0, 0, 0, 0, 0, 0)
    body = local + entry + packed
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central + entry), len(body), 0)
    path.write_bytes(body + central + entry + end)


def test_a_bomb_is_one(tmp_path: Path) -> None:
    bomb(tmp_path / "a.npz", 1)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive, archive.open("data.npy") as member:
        assert member.read(1 << 20).endswith(bytes(1000))
        assert archive.getinfo("data.npy").file_size > 1 << 30


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
from h5scene import import_scenes
done = import_scenes(sys.argv[1], sys.argv[2], max_array_bytes=int(sys.argv[3]))
print([p.error for p in done.problems], done.frames)
# Not of getrusage(), which counts the process that started this one.
print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
"""


def imported_within_limits(scene: Path, file: Path, limit_bytes: int) -> tuple[str, int]:
    """Imports in a process with 2 GiB of memory; returns what it says, and its peak in KiB."""
    command = [sys.executable, "-c", LIMITED, str(scene), str(file), str(limit_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said, peak = done.stdout.split("\n")[:2]
    return said, int(peak)


def test_gigabytes_in_megabytes_are_refused(scene: Path, tmp_path: Path) -> None:
    bomb(scene / "smoke_000001.npz", 3)
    assert (scene / "smoke_000001.npz").stat().st_size < 5 << 20
    said, peak = imported_within_limits(scene, tmp_path / "a.h5", 1 << 30)
    assert said == "['UnsafeFileError'] 3"
    assert peak < 200 << 10


def test_gigabytes_that_are_said_to_be_bytes_are_refused(scene: Path, tmp_path: Path) -> None:
    bomb(scene / "smoke_000001.npz", 1, declared_bytes=1000)
    said, peak = imported_within_limits(scene, tmp_path / "a.h5", 1 << 30)
    assert said == "['CorruptDataError'] 3"
    assert peak < 200 << 10


def test_bytes_that_are_said_to_be_gigabytes_take_no_memory(scene: Path, tmp_path: Path) -> None:
    count = 1 << 28
    head = described(shape=f"({count},)")
    path = scene / "smoke_000001.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.npy", head + bytes(100))
    sound = path.read_bytes()
    true, false = (struct.pack("<L", n) for n in (len(head) + 100, len(head) + 4 * count))
    path.write_bytes(sound.replace(true, false))
    said, peak = imported_within_limits(scene, tmp_path / "a.h5", 2 << 30)
    assert said == "['CorruptDataError'] 3"
    assert peak < 200 << 10


def test_a_large_attached_file_is_refused(scene: Path, tmp_path: Path) -> None:
    with (scene / "huge").open("wb") as file:
        file.truncate(3 << 30)
    said, peak = imported_within_limits(scene, tmp_path / "a.h5", 1 << 28)
    assert said == "['UnsafeFileError'] 4"
    assert peak < 200 << 10


def test_a_million_members_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(3000):
            archive.writestr(f"{i}.npy", b"")
    with pytest.raises(UnsafeFileError, match="table of contents"):
        read_all(path)


def test_members_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, data=np.arange(3.0))
    content = bytearray(path.read_bytes())
    central = content.rindex(b"PK\1\2")
    content[central + 42 : central + 46] = struct.pack("<L", 7)
    path.write_bytes(content)
    with pytest.raises(CorruptDataError):
        read_all(path)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_changed_bytes_are_found_or_change_nothing(data: st.DataObject) -> None:
    stream = io.BytesIO()
    array = np.arange(64, dtype=np.float32).reshape(8, 8)
    np.savez_compressed(stream, data=array, extrapolation=np.asarray({"type": "periodic"}))
    content = bytearray(stream.getvalue())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path = Path(os.environ["H5SCENE_TEST_NPZ"])
    path.write_bytes(content)
    try:
        found = read_all(path, 1 << 20)
    except (CorruptDataError, UnsafeFileError, ForeignNpzError):
        return
    if "data" in found:
        assert found["data"].tobytes() == array.tobytes()


@pytest.fixture(autouse=True)
def _place_for_npz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says where examples of one test may write; a fixture would be made for each of them."""
    monkeypatch.setenv("H5SCENE_TEST_NPZ", str(tmp_path / "changed.npz"))


# --- paths in ------------------------------------------------------------------------------------


def test_links_are_not_followed_out(scene: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (scene / "stolen").symlink_to(secret / "key")
    (scene / "folder").symlink_to(secret)
    (scene / "smoke_000001.npz").rename(tmp_path / "elsewhere.npz")
    (scene / "smoke_000001.npz").symlink_to(tmp_path / "elsewhere.npz")
    (scene / "inside").symlink_to("run.sh")
    (scene.parent / "linked").symlink_to(secret)
    done = import_scenes(scene.parent, tmp_path / "a.h5")
    names = sorted(Path(problem.path).name for problem in done.problems)
    assert names == ["folder", "linked", "smoke_000001.npz", "stolen"]
    assert {problem.error for problem in done.problems} == {"UnsafeFileError"}
    with SceneFile(tmp_path / "a.h5", "r") as file:
        assert not {"stolen", "folder/key", "inside"} & set(file.files("sim_000000"))
    assert b"secret" not in (tmp_path / "a.h5").read_bytes()


def test_pipes_sockets_and_devices_are_not_opened(scene: Path, tmp_path: Path) -> None:
    os.mkfifo(scene / "pipe")
    os.mkfifo(scene / "pipe_000000.npz")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(scene / "socket"))
        done = import_scenes(scene, tmp_path / "a.h5")
    names = sorted(Path(problem.path).name for problem in done.problems)
    assert names == ["pipe", "pipe_000000.npz", "socket"]
    assert done.frames == 4


def test_names_that_cannot_be_attached_are_named(scene: Path, tmp_path: Path) -> None:
    for name in ("a\\b", "new\nline", os.fsdecode(b"\xff\xfe")):
        (scene / name).write_text("x")
    done = import_scenes(scene, tmp_path / "a.h5", verify=True)
    assert {problem.error for problem in done.problems} == {"InvalidNameError"}
    assert len(done.problems) == 3
    assert done.frames == 4


HOSTILE_SIDECARS = {
    "leads out": '{"h5scene_directory": "1.0", "files": {"x": "../../secret"}}',
    "absolute": '{"h5scene_directory": "1.0", "apart": [["x", 0, "/etc/passwd"]]}',
    "newer": '{"h5scene_directory": "2.0"}',
    "no JSON": '{"h5scene_directory": ',
    "other types": '{"h5scene_directory": "1.0", "apart": 3}',
}


@pytest.mark.parametrize("text", HOSTILE_SIDECARS.values(), ids=HOSTILE_SIDECARS)
def test_hostile_sidecars_are_refused(scene: Path, tmp_path: Path, text: str) -> None:
    (scene / "_h5scene").mkdir()
    (scene / "_h5scene" / "scene.json").write_text(text)
    done = import_scenes(scene, tmp_path / "a.h5")
    assert [Path(problem.path).name for problem in done.problems] == ["scene.json"]
    assert done.frames == 4


def test_names_in_a_sidecar_are_checked(scene: Path, tmp_path: Path) -> None:
    (scene / "_h5scene" / "files").mkdir(parents=True)
    (scene / "_h5scene" / "files" / "000000").write_text("x")
    text = '{"h5scene_directory": "1.0", "files": {"../x": "files/000000"}, "scene": "../up"}'
    (scene / "_h5scene" / "scene.json").write_text(text)
    done = import_scenes(scene, tmp_path / "a.h5")
    assert done.scenes == []
    assert [problem.error for problem in done.problems] == ["InvalidNameError"]


def test_pickles_in_a_sidecar_are_refused(scene: Path, tmp_path: Path) -> None:
    (scene / "_h5scene" / "frames").mkdir(parents=True)
    np.savez(scene / "_h5scene" / "frames" / "000000.npz", dims=objects(1), values=np.ones(3))
    text = '{"h5scene_directory": "1.0", "apart": [["x", 0, "frames/000000.npz"]]}'
    (scene / "_h5scene" / "scene.json").write_text(text)
    done = import_scenes(scene, tmp_path / "a.h5")
    assert [problem.error for problem in done.problems] == ["CorruptDataError"]


# --- paths out ------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A scene file with one small scene."""
    path = tmp_path / "a.h5"
    with SceneFile(path) as opened:
        opened.create_scene("sim")
        opened.write_frame(0, {"sim": {"smoke": centered(1.0)}})
        opened.write_files({"sim": {"src/a.py": b"a"}})
    return path


def below(directory: Path) -> set[str]:
    """Returns the names of everything in a directory."""
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*")}


def test_no_name_in_a_file_leads_out(file: Path, tmp_path: Path) -> None:
    with h5py.File(file, "r+") as h5:
        scene = h5["sim"]
        for name in ("..", "a\\b", "back\\..\\slash", "line\nbreak"):
            scene["_files"].create_dataset(name.encode(), data=np.frombuffer(b"evil", np.uint8))
            scene["_files"].create_group((name + "d").encode())
        scene["_files"].create_group(b"...").create_dataset(b"..", data=np.zeros(1, np.uint8))
        h5py.h5g.create(h5.id, b"..")
        for name in (b"..", b"up\\..\\x"):
            if name in h5:
                del h5[name]
            group = h5.create_group(name)
            group.attrs["kind"], group.attrs["encoding_version"] = "scene", "1.0"
        for name in (b"..", b"x\\y"):
            h5.copy(scene["smoke"], scene, name=name)
        arrays = scene.create_group("_arrays").create_group(b"..")
        arrays.attrs["members"] = "[]"
        arrays = scene["_arrays"].create_group(b"a\\b")
        arrays.attrs["members"] = "[]"
        scene.create_group("_curves").create_dataset(b"..", data=np.zeros((1, 2)))
        scene["_curves"][".."].attrs["columns"] = '["step", ".."]'
    before = below(tmp_path)
    done = export_scenes(file, tmp_path / "deep" / "out")
    assert not done.is_complete
    assert {problem.error for problem in done.problems} <= {"UnsafeFileError", "InvalidNameError"}
    new = below(tmp_path) - before
    assert {name for name in new if not name.startswith("deep/out/")} <= {"deep", "deep/out"}
    out = {name.removeprefix("deep/out/") for name in new}
    assert {"sim/smoke_000000.npz", "sim/src/a.py"} <= out
    assert not any(".." in name.split("/") or "\\" in name or "\n" in name for name in out)


@pytest.mark.parametrize("name", ["CON", "nul.txt", "Com1.x.y", "aux", "LPT¹", "end.", "space "])
def test_names_of_devices_are_kept_aside(file: Path, tmp_path: Path, name: str) -> None:
    with SceneFile(file) as opened:
        opened.write_files({"sim": {name: b"x", f"{name}d/y": b"y"}})
        opened.rename_scene("sim", name)
    done = export_scenes(file, tmp_path / "out", verify=True)
    assert done.problems == []
    assert not any(name in Path(path).parts for path in below(tmp_path / "out"))
    import_scenes(tmp_path / "out", tmp_path / "b.h5")
    with SceneFile(tmp_path / "b.h5", "r") as opened:
        assert opened.scenes == (name,)
        assert opened.read_file(name, name) == b"x"


def test_links_in_the_target_are_not_followed(file: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "sim").symlink_to(elsewhere)
    with pytest.raises(UnsafeFileError, match="link"):
        export_scenes(file, out)
    (out / "sim").unlink()
    (out / "sim").mkdir()
    (out / "sim" / "src").symlink_to(elsewhere)
    with pytest.raises(UnsafeFileError, match="link"):
        export_scenes(file, out)
    assert list(elsewhere.iterdir()) == []


def test_a_link_in_place_of_a_file_is_replaced_and_not_written_through(
    file: Path, tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "out" / "sim").mkdir(parents=True)
    npz = tmp_path / "out" / "sim" / "smoke_000000.npz"
    npz.symlink_to(target)
    export_scenes(file, tmp_path / "out", overwrite=True)
    assert target.read_text() == "precious"
    assert not npz.is_symlink()


def test_modes_that_run_as_somebody_else_are_cut(file: Path, tmp_path: Path) -> None:
    with h5py.File(file, "r+") as h5:
        h5["sim/_files/src/a.py"].attrs["mode"] = 0o106777
        h5["sim/_files/src"].attrs["mode"] = 0o7000
    export_scenes(file, tmp_path / "out")
    assert (tmp_path / "out" / "sim" / "src" / "a.py").stat().st_mode & 0o7777 == 0o777
    assert (tmp_path / "out" / "sim" / "src").stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize(
    "npz",
    [
        '{"stem": "../x"}',
        '{"stem": "/tmp/x"}',
        '{"stem": ""}',
        '{"stem": "smoke/../smoke"}',
        '{"order": ["../../data", "data"]}',
        '{"arrays": {"extrapolation": {"objects": [{"dict": []}], "shape": [], "order": "C"}}}',
        '{"arrays": {"data": 3}}',
        '{"axes": [5, 6]}',
        '{"dtype": "|O"}',
        "3",
    ],
)
def test_hostile_descriptions_of_npz_are_passed_over(file: Path, tmp_path: Path, npz: str) -> None:
    with h5py.File(file, "r+") as h5:
        h5["sim/smoke"].attrs["field_attrs"] = f'{{"npz": {npz}}}'
        del h5["sim/smoke"].attrs["description_checksum"]
    done = export_scenes(file, tmp_path / "out")
    assert done.problems == []
    names = {name for name in below(tmp_path / "out") if "_h5scene" not in name}
    assert names == {"sim", "sim/src", "sim/src/a.py", "sim/smoke_000000.npz"}
    with np.load(tmp_path / "out" / "sim" / "smoke_000000.npz", allow_pickle=True) as arrays:
        assert arrays.files[-1] == "data"
        assert arrays["extrapolation"].item() == {"type": "constant", "value": np.asarray(0)}


def test_errors_name_the_file(scene: Path, tmp_path: Path) -> None:
    (scene / "smoke_000001.npz").write_bytes(b"no zip")
    done = import_scenes(scene, tmp_path / "a.h5")
    assert done.problems[0].path == str(scene / "smoke_000001.npz")


def test_a_member_whose_two_names_differ_is_refused(tmp_path: Path) -> None:
    """No checksum covers the names in a zip file; NumPy reads such a file under a false name."""
    path = tmp_path / "smoke_000000.npz"
    np.savez(path, arr_0=np.arange(4.0))
    content = bytearray(path.read_bytes())
    content[content.rfind(b"arr_0")] = ord("P")
    path.write_bytes(content)
    with path.open("rb") as file:
        archive = NpzArchive(file, 1 << 20)
        with pytest.raises(CorruptDataError, match="another name"):
            archive.read(archive.members["Prr_0"])


def test_an_infinite_frame_in_what_stands_beside_is_a_problem(tmp_path: Path) -> None:
    with SceneFile(tmp_path / "runs.h5") as file:
        file.create_scene("sim_000000")
        file.write_frame(0, {"sim_000000": {"smoke": centered(1.0)}})
        file.put_times(0, {"sim_000000": 0.25})
    export_scenes(tmp_path / "runs.h5", tmp_path / "out")
    (index,) = (tmp_path / "out").rglob("_h5scene/*.json")
    text = index.read_text()
    assert "   0,\n   0.25" in text
    index.write_text(text.replace("   0,\n   0.25", "   1e999,\n   0.25"))
    done = import_scenes(tmp_path / "out", tmp_path / "again.h5")
    assert [problem.error for problem in done.problems] == ["CorruptDataError"]
