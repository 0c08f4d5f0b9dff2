"""Files that somebody has forged byte by byte, with checksums that fit.

Each kills or misleads plain HDF5, and is refused here, for the process to live on.
"""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from h5scene import SceneFile, check
from h5scene.errors import CorruptDataError, FormatError, H5SceneError, UnsafeFileError
from h5scene.store import close_all
from h5scene.store.structures import lookup3
from tests.damage.damaged import FRAMES, SCENES, make_file, overwrite
from tests.damage.interrupted import leave_in_commit
from tests.records import centered

S = SCENES[0]
SLOTS = (1024, 1536)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("forged") / "runs.h5")


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    place = tmp_path / "runs.h5"
    place.write_bytes(original.read_bytes())
    return place


def forge(data: bytearray, at: int, end: int, changes: dict[int, bytes]) -> None:
    """Changes a structure, and makes its checksum fit."""
    for offset, new in changes.items():
        data[at + offset : at + offset + len(new)] = new
    data[end : end + 4] = struct.pack("<I", lookup3(bytes(data[at:end])))


def forge_all(path: Path, signature: bytes, size: int, changes: dict[int, bytes]) -> None:
    """Changes all structures that begin like this."""
    data = bytearray(path.read_bytes())
    at = data.find(signature)
    assert at > 0
    while at >= 0:
        forge(data, at, at + size, changes)
        at = data.find(signature, at + 1)
    path.write_bytes(data)


# --- structures of HDF5 that end the process ------------------------------------------------------

TREE, HEAP = (b"BTHD\0", 34), (b"FRHP\0", 142)
DEADLY = {
    "records without a size": (*TREE, {10: b"\0\0"}),
    "nodes of no bytes": (*TREE, {6: b"\0\0\0\0"}),
    "nodes of too many bytes": (*TREE, {6: b"\xff\xff\xff\x7f"}),
    "very many records": (*TREE, {28: b"\xff"}),
    "more records than fit": (*TREE, {24: b"\xff\xff"}),
    "a very high tree": (*TREE, {12: b"\xff\xff"}),
    "rows of no blocks": (*HEAP, {110: b"\0\0"}),
    "blocks of no bytes": (*HEAP, {112: bytes(8)}),
    "blocks of an odd size": (*HEAP, {112: b"\x03"}),
    "direct blocks of any size": (*HEAP, {120: b"\xff" * 8}),
    "no address space": (*HEAP, {128: b"\0\0"}),
}


@pytest.mark.parametrize("name", DEADLY)
def test_impossible_structures_never_reach_hdf5(path: Path, name: str) -> None:
    signature, size, changes = DEADLY[name]
    forge_all(path, signature, size, changes)
    with SceneFile(path, "r") as file:
        assert file.scenes == SCENES  # which stand in no tree
        with pytest.raises(CorruptDataError, match="damaged"):
            file.frames(S)
        with pytest.raises(CorruptDataError, match="damaged"):
            file.read_frame(S, "smoke", 0)
    done = check(path)
    assert {one.path for one in done.problems} >= {f"/{scene}/smoke" for scene in SCENES}


@pytest.mark.parametrize("name", ["records without a size", "very many records"])
def test_plain_h5py_dies_of_them(path: Path, name: str) -> None:
    signature, size, changes = DEADLY[name]
    forge_all(path, signature, size, changes)
    code = f"import h5py, sys; list(h5py.File(sys.argv[1])['{S}/smoke'])"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False)
    assert done.returncode < 0  # a signal


def test_a_structure_is_only_what_has_its_checksum(path: Path) -> None:
    """An attached file may begin like a tree that is impossible."""
    content = b"BTHD\0" + bytes(200)
    with SceneFile(path) as file:
        file.write_files({S: {"tree": content, "heap": b"FRHP\0" + bytes(200)}})
        assert file.read_file(S, "tree") == content
    with SceneFile(path, "r") as file:
        assert file.read_file(S, "heap").startswith(b"FRHP")


# --- links of a kind of its own -------------------------------------------------------------------


def test_a_link_of_a_kind_of_its_own_is_not_followed(path: Path) -> None:
    """HDF5 would call whatever a plugin has registered for it."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as h5:
        h5[SCENES[1]]["own"] = h5py.SoftLink("/" + SCENES[2])
    data = bytearray(path.read_bytes())
    message = data.index(b"\x03own\x0b\x00/sim_000002") - 3
    assert data[message : message + 3] == b"\x01\x08\x01"  # version, flags, soft
    start = max(data.rfind(b"OHDR", 0, message), data.rfind(b"OCHK", 0, message))
    end = next(
        end
        for end in range(message, message + 4096)
        if data[end : end + 4] == struct.pack("<I", lookup3(bytes(data[start:end])))
    )
    data[message + 2] = 0xC0
    data[end : end + 4] = struct.pack("<I", lookup3(bytes(data[start:end])))
    path.write_bytes(data)
    with h5py.File(path, "r") as h5:
        assert h5[SCENES[1]].id.links.get_info(b"own").type == 0xC0
    with SceneFile(path, "r") as file:
        assert file.fieldnames(SCENES[1]) == ("heat", "smoke")
        with pytest.raises((UnsafeFileError, FileNotFoundError)):
            file.read_frame(SCENES[1], "own", 0)
        assert file.read_frame(SCENES[1], "smoke", 3).values[0, 0] == 103
    assert {one.path: one.kind for one in check(path).problems} == {f"/{SCENES[1]}/own": "unsafe"}


# --- links in circles -----------------------------------------------------------------------------


def test_a_geometry_in_itself_ends(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        frame = h5[S].create_group("loop/000000")
        h5[S]["loop"].attrs.update(
            {
                "kind": "field",
                "encoding_version": "1.0",
                "field_type": "Field",
                "dims": '[{"name": "points", "type": "instance"}]',
                "boundary": '{"type": "none"}',
            }
        )
        frame.attrs.update({"kind": "frame", "encoding_version": "1.0"})
        frame["values"] = np.zeros(3, np.float32)
        geometry = frame.create_group("geometry")
        geometry.attrs.update({"kind": "embedded", "encoding_version": "1.0"})
        for i in range(8):
            geometry[f"g{i}"] = geometry  # with eight arms, 8^n of them n levels down
    with SceneFile(path, "r") as file, pytest.raises(FormatError, match="itself"):
        file.read_frame(S, "loop", 0)
    with h5py.File(path, "r") as h5:
        assert h5[f"{S}/loop/000000/geometry/g0/g1/g2/g3/g4/g5/g6/g7"] is not None


def test_a_scene_in_itself_ends(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        h5[S]["smoke/again"] = h5[S]
        h5[S]["again"] = h5["/"]
    with SceneFile(path, "r") as file:
        assert file.fieldnames(S) == ("heat", "smoke")
        assert len(file.frames(S)["smoke"]) == FRAMES
    assert check(path).counts["frames"] == 6 * FRAMES


# --- attributes -----------------------------------------------------------------------------------


def test_an_attribute_that_is_very_large_is_not_read(path: Path) -> None:
    with h5py.File(path, "r+", libver=("v110", "v110")) as h5:
        field = h5[S]["smoke"]
        del field.attrs["boundary"]
        field.attrs.create("boundary", np.zeros((65 << 20) // 8 + 1))
    with SceneFile(path, "r") as file:
        with pytest.raises(FormatError, match="says that it has"):
            file.read_frame(S, "smoke", 0)
        assert file.read_frame(S, "heat", 0).values.shape == (40, 40)
    with h5py.File(path, "r") as h5:
        assert h5[S]["smoke"].attrs["boundary"].nbytes > 65 << 20


# --- the headers and the journal of the store -----------------------------------------------------


def newest_slot(data: bytes | bytearray) -> int:
    """Returns where the header stands that counts."""
    return max(SLOTS, key=lambda at: struct.unpack_from("<Q", data, at + 24)[0])


def with_journal(path: Path, entries: list[tuple[int, bytes]], *, end: int | None = None) -> bytes:
    """Returns a file whose header commits these entries."""
    data = bytearray(path.read_bytes())
    slot = newest_slot(data)
    journal = b"".join(struct.pack("<QI", at, len(new)) + new for at, new in entries)
    size = len(data) if end is None else end
    offset = -(-max(size, len(data)) // 512) * 512
    data += bytes(offset - len(data)) + journal
    sequence = struct.unpack_from("<Q", data, slot + 24)[0]
    fields = (sequence, 1, 0, size, size, offset, len(journal), zlib.crc32(journal))
    struct.pack_into("<QIIQQQQI", data, slot + 24, *fields)
    data[slot + 76 : slot + 80] = struct.pack("<I", zlib.crc32(data[slot : slot + 76]))
    return bytes(data)


def read_and_write(path: Path) -> list[str]:
    """Reads all of a file and writes to it; returns the errors, which are all ours."""
    said = []
    calls: tuple[Callable[[], object], ...] = (
        lambda: SceneFile(path, "r").read_frame(S, "smoke", 1),
        lambda: SceneFile(path).write_frame(1, {S: {"smoke": centered(5.0)}}),
    )
    for call in calls:
        try:
            call()
        except H5SceneError as error:
            said.append(str(error))
    close_all()
    return said


JOURNALS: dict[str, Callable[[int], list[tuple[int, bytes]]]] = {
    "the user block": lambda size: [(0, b"evil" * 8)],
    "a header": lambda size: [(1536, bytes(80))],
    "across the user block": lambda size: [(2040, bytes(16))],
    "behind the end": lambda size: [(size, b"evil")],
    "across the end": lambda size: [(size - 2, b"evil")],
    "far behind the end": lambda size: [(1 << 62, b"evil")],
}


@pytest.mark.parametrize("name", JOURNALS)
def test_a_journal_changes_nothing_that_it_may_not(path: Path, name: str) -> None:
    before = path.read_bytes()
    forged = with_journal(path, JOURNALS[name](len(before)))
    path.write_bytes(forged)
    said = read_and_write(path)
    # It is not applied: its pages are in place, for all that the file says.
    after = path.read_bytes()
    assert b"evil" not in after[: len(before)]
    assert len(after) < 2 * len(forged)
    assert not said or all("damaged" in one for one in said)
    with SceneFile(path, "r") as file:
        assert file.scenes == SCENES


def test_a_journal_that_claims_too_much_is_not_read(path: Path) -> None:
    before = path.read_bytes()
    for byte_count in (1 << 62, (1 << 64) - 1, 1 << 40):
        data = bytearray(with_journal(path, [(4096, b"evil")]))
        slot = newest_slot(data)
        struct.pack_into("<Q", data, slot + 64, byte_count)
        data[slot + 76 : slot + 80] = struct.pack("<I", zlib.crc32(data[slot : slot + 76]))
        path.write_bytes(data)
        read_and_write(path)
        assert path.stat().st_size < 2 * len(before)
        path.write_bytes(before)


@pytest.mark.parametrize("end", [0, 2048, 1 << 40, (1 << 64) - 1])
def test_a_header_with_an_impossible_end(path: Path, end: int) -> None:
    size = path.stat().st_size
    data = bytearray(path.read_bytes())
    slot = newest_slot(data)
    struct.pack_into("<Q", data, slot + 40, end)
    data[slot + 76 : slot + 80] = struct.pack("<I", zlib.crc32(data[slot : slot + 76]))
    path.write_bytes(data)
    assert read_and_write(path) == []  # the superblock counts
    assert path.stat().st_size < 2 * size


def test_a_genuine_journal_is_applied(path: Path) -> None:
    leave_in_commit(path, S, "dt", 0.75)
    with SceneFile(path, "r") as file:
        assert file.properties(S)["dt"] == 0.75


def test_a_superblock_that_points_anywhere(path: Path) -> None:
    original = path.read_bytes()
    for offset, value in ((28, 1 << 60), (28, 100), (36, 1 << 60), (36, 8), (12, 5), (20, 96)):
        data = bytearray(original)
        forge(data, 2048, 2048 + 44, {offset: struct.pack("<Q", value)})
        path.write_bytes(data)
        with pytest.raises(H5SceneError):
            SceneFile(path, "r").frames(S)
        close_all()


def test_a_superblock_of_another_kind(path: Path) -> None:
    for version in (0, 1, 3, 4, 255):
        data = bytearray(path.read_bytes())
        forge(data, 2048, 2048 + 44, {8: bytes([version])})
        path.write_bytes(data)
        with contextlib.suppress(H5SceneError):
            SceneFile(path, "r").frames(S)
        close_all()
    overwrite(path, 2048, b"\x89HDF\r\n\x1a\n")
