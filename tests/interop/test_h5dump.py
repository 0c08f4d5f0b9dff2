"""HDF5's own tools show the layout of FORMAT.md, and the filters that every library has."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from h5scene import SceneFile
from tests.records import PERIODIC, centered, tensor

TOOLS = ("h5dump", "h5ls", "h5stat")
MISSING = [name for name in TOOLS if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed: Debian has them in hdf5-tools"
)

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


@pytest.fixture(scope="module", params=["fast", "small", None])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with something of everything, in small and large, for each compression."""
    path = tmp_path_factory.mktemp("tools") / "runs.h5"
    large = np.random.default_rng(0).normal(size=(300, 1000)).astype(np.float32)  # 1.2 MB
    with SceneFile(path, compression=request.param) as file:
        sim, other = file.create_scenes("sim", 2)
        file.write_frame(0, {sim: {"smoke": centered(np.arange(12).reshape(4, 3))}})
        file.write_frame(42, {sim: {"smoke": centered(large)}})
        file.write_frame(1_000_000, {sim: {"smoke": centered(boundary=PERIODIC)}})
        embedded = centered(boundary={"type": "field", "field": centered()})
        file.write_frame(0, {sim: {"fluid.velocity": embedded}})
        file.write_frame(0, {other: {name: centered(np.ones((40, 40), name)) for name in DTYPES}})
        file.put_properties({sim: {"dt": 0.5, "Δ": [1, "ü"], "kind": 1, "t": tensor([1.0])}})
        file.put_properties({other: {"long": "x" * (2 << 20)}})
        file.put_times(0, {sim: 0.25})
        for step in range(3):
            file.log_scalars(step, {sim: {"loss": [0.5], "u": [1.0, 2.0]}})
        file.write_files({sim: {"src/plume.py": b"print()\n" * 1000, "empty": b""}})
    return path


def run(*command: Any) -> str:
    """Returns what a tool prints; nothing may be said about errors."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


LAYOUT = """
/ Group
/sim_000000 Group
/sim_000000/_curves Group
/sim_000000/_curves/loss Dataset {3/Inf, 2}
/sim_000000/_curves/u Dataset {3/Inf, 3}
/sim_000000/_files Group
/sim_000000/_files/empty Dataset {0}
/sim_000000/_files/src Group
/sim_000000/_files/src/plume.py Dataset {8000}
/sim_000000/_properties Dataset {13}
/sim_000000/_times Dataset {1/Inf, 2}
/sim_000000/fluid_velocity Group
/sim_000000/fluid_velocity/000000 Group
/sim_000000/fluid_velocity/000000/boundary_0 Dataset {4, 4}
/sim_000000/fluid_velocity/000000/values Dataset {4, 4}
/sim_000000/smoke Group
/sim_000000/smoke/000000 Dataset {4, 3}
/sim_000000/smoke/000042 Dataset {300, 1000}
/sim_000000/smoke/1000000 Dataset {4, 4}
/sim_000001 Group
/sim_000001/_properties Dataset {2097168}
"""


def test_h5ls_shows_the_layout(path: Path) -> None:
    lines = [" ".join(line.split()) for line in run("h5ls", "-r", path).splitlines()]
    found = [line for line in lines if not re.match(f"/sim_000001/({'|'.join(DTYPES)})", line)]
    assert found == LAYOUT.split("\n")[1:-1]
    for name in DTYPES:
        assert f"/sim_000001/{name} Group" in lines
        assert f"/sim_000001/{name}/000000 Dataset {{40, 40}}" in lines


def attributes(dump: str) -> dict[str, str]:
    """Returns the values of the attributes in the output of h5dump, by name.

    Quotes inside of text have a backslash in some versions of h5dump.
    """
    pattern = r'ATTRIBUTE "([^"]+)" \{.*?DATA \{\s*\(0\): (.*?)\s*\}'
    found: dict[str, str] = {}
    for name, value in re.findall(pattern, dump, re.DOTALL):
        found.setdefault(name, " ".join(value.split()).replace("\\", ""))
    return found


def test_h5dump_shows_attributes_as_text(path: Path) -> None:
    found = attributes(run("h5dump", "-A", "-g", "/sim_000000/smoke", path))
    assert found["kind"] == '"field"'
    assert found["encoding_version"] == '"1.0"'
    assert found["field_type"] == '"CenteredGrid"'
    assert found["axes"] == '"["x", "y"]"'
    assert found["lower"] == "0, 0"
    assert found["upper"] == "1, 1"
    assert '"type": "constant"' in found["boundary"]
    file = attributes(run("h5dump", "-A", "-N", "h5scene_format", path))
    assert file == {"h5scene_format": '"1.0"'}
    scene = attributes(run("h5dump", "-A", "-N", "dt", path))
    assert scene == {"dt": '"0.5"'}


def test_h5dump_shows_values(path: Path) -> None:
    dump = run("h5dump", "-y", "-w", "0", "-d", "/sim_000000/smoke/000000", path)
    data = dump[dump.index("DATA {") : dump.index("ATTRIBUTE")]
    assert [int(number) for number in re.findall(r"\d+", data)] == list(range(12))
    table = run("h5dump", "-y", "-d", "/sim_000000/_curves/u", path)
    assert re.search(r"DATA \{\s*0, 1, 2,\s*1, 1, 2,\s*2, 1, 2\s*\}", table)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("bool", r"H5T_ENUM \{.*\"FALSE\" +0;.*\"TRUE\" +1;"),
        ("int8", "H5T_STD_I8LE"),
        ("uint64", "H5T_STD_U64LE"),
        ("float16", "16-bit little-endian floating-point|H5T_IEEE_F16LE"),
        ("float32", "H5T_IEEE_F32LE"),
        ("float64", "H5T_IEEE_F64LE"),
        ("complex64", r"H5T_COMPOUND \{.*H5T_IEEE_F32LE \"r\";.*H5T_IEEE_F32LE \"i\";"),
        ("complex128", r"H5T_COMPOUND \{.*H5T_IEEE_F64LE \"r\";.*H5T_IEEE_F64LE \"i\";"),
    ],
)
def test_h5dump_knows_every_dtype(path: Path, name: str, says: str) -> None:
    header = run("h5dump", "-H", "-d", f"/sim_000001/{name}/000000", path)
    assert re.search(says, header, re.DOTALL)
    if name != "float16":  # which HDF5 before 2.0 does not name, but reads
        run("h5dump", "-d", f"/sim_000001/{name}/000000", path)


def test_only_filters_that_are_built_in(path: Path) -> None:
    header = run("h5dump", "-p", "-H", path)
    blocks = re.findall(r"FILTERS \{\s*(.*?)\s*\}", header, re.DOTALL)
    assert blocks
    used = {line.strip() for block in blocks for line in block.split("\n")}
    allowed = {"NONE", "PREPROCESSING SHUFFLE", "CHECKSUM FLETCHER32"} | {
        f"COMPRESSION DEFLATE {{ LEVEL {i}" for i in range(10)
    }
    assert used <= allowed
    assert "USER_DEFINED_FILTER" not in header
    layouts = set(re.findall(r"STORAGE_LAYOUT \{\s*(\w+)", header))
    assert layouts <= {"CONTIGUOUS", "CHUNKED"}
    assert "EXTERNAL" not in header
    assert "VIRTUAL" not in header


def test_large_frames_are_cut_into_chunks_of_at_most_one_mebibyte(path: Path) -> None:
    header = run("h5dump", "-p", "-H", "-d", "/sim_000000/smoke/000042", path)
    chunk = re.search(r"CHUNKED \(([\d, ]+)\)", header)
    if chunk is None:
        assert "CONTIGUOUS" in header
    else:
        assert np.prod([int(edge) for edge in chunk[1].split(",")]) * 4 <= 1 << 20


def test_superblock_version_2_behind_a_user_block(path: Path) -> None:
    block = run("h5dump", "-B", "-H", path)
    assert re.search(r"SUPERBLOCK_VERSION 2\s", block)
    assert re.search(r"USERBLOCK_SIZE 2048\s", block)
    head = path.read_bytes()[:2060]
    assert b"\x89HDF\r\n\x1a\n" not in head[:2048]
    assert head[2048:2056] == b"\x89HDF\r\n\x1a\n"
    assert head[2056] == 2


def test_objects_have_headers_of_version_2(path: Path) -> None:
    data = path.read_bytes()
    found = re.findall(rb"OHDR(.)", data, re.DOTALL)
    assert len(found) > 20
    assert set(found) == {b"\x02"}


def test_the_user_block_begins_with_text_for_people(path: Path) -> None:
    assert b"HDF5" in path.read_bytes()[:2048]


def test_h5stat_finds_nothing_unusual(path: Path) -> None:
    report = run("h5stat", path)
    assert "# of unique named datatypes: 0" in report
    assert "# of unique other: 0" in report
    assert re.search(r"Max\. # of links to object: 1\s", report)


def test_repacking_by_h5repack_keeps_everything(path: Path, tmp_path: Path) -> None:
    if shutil.which("h5repack") is None:
        pytest.skip("h5repack is not installed")
    copy = tmp_path / "copy.h5"
    run("h5repack", path, copy)
    with SceneFile(path, "r") as file, SceneFile(copy, "r") as repacked:
        assert repacked.scenes == file.scenes
        for scene in file.scenes:
            assert repacked.frames(scene) == file.frames(scene)
            assert repacked.properties(scene) == file.properties(scene)
            for name, frames in file.frames(scene).items():
                for frame in frames:
                    ours = file.read_frame(scene, name, frame)
                    assert repacked.read_frame(scene, name, frame) == ours
