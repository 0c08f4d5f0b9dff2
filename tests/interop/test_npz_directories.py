"""Whole directories of scenes into a scene file and back, with PhiFlow on the other side."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from phi.field import CenteredGrid
from phi.field import Scene as PhiScene
from phiml import math
from phiml.math import batch, instance, spatial, vec

from h5scene import Scene, SceneFile, export_scenes, import_scenes
from h5scene.errors import InvalidInputError, NotFoundError, SceneNotFoundError
from h5scene.interop import importing, stored
from tests.compare import assert_same_field
from tests.crash.children import Child
from tests.interop.scene_trees import make_scene, smoke, tree, velocity
from tests.records import content


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A directory of three scenes, one of another name."""
    for seed in range(2):
        make_scene(tmp_path / "data", seed=seed)
    extra = make_scene(tmp_path / "data", frames=1, seed=2)
    extra.rename(extra.with_name("test run ü"))
    return tmp_path / "data"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the scene file goes."""
    return tmp_path / "data.h5"


def without_modes(path: Path) -> dict[str, Any]:
    """Returns the content of a file, without the modes that files get in a directory."""
    found = content(path)
    for name, value in found.items():
        attributes = value if isinstance(value, dict) else value[0]
        if "/_files/" in name:
            attributes.pop("mode", None)
    return found


# --- round trips ----------------------------------------------------------------------------------


def test_directory_to_file_to_directory_is_the_same_directory(parent: Path, file: Path) -> None:
    done = import_scenes(parent, file, verify=True)
    assert done.is_complete
    assert done.scenes == ["sim_000000", "sim_000001", "test run ü"]
    assert (done.frames, done.is_verified) == (14, True)
    out = parent.with_name("out")
    done = export_scenes(file, out, verify=True)
    assert done.is_complete
    assert done.beside == []
    assert tree(out) == tree(parent)


def test_fields_and_properties_are_those_that_phiflow_reads(parent: Path, file: Path) -> None:
    import_scenes(parent, file)
    theirs, ours = PhiScene.at(str(parent), 0), Scene.at(file, 0)
    assert ours.fieldnames == theirs.fieldnames
    assert ours.frames == theirs.frames
    for frame in theirs.frames:
        for name in theirs.fieldnames:
            assert_same_field(ours.read(name, frame=frame), theirs.read(name, frame=frame))
    assert ours.properties["viscosity"] == 0.1
    assert ours.properties["names"] == ["a", "ü"]
    assert np.isnan(ours.properties["nan"])
    weights = ours.properties["weights"]
    assert weights.shape == theirs.properties["weights"].shape
    description = json.loads((parent / "sim_000000" / "description.json").read_text())
    with math.precision(64):
        assert weights.numpy("run").tolist() == description["weights"]["data"]


def test_curves_come_from_logs_and_whatever_is_no_curve_is_a_file(parent: Path, file: Path) -> None:
    import_scenes(parent, file)
    with SceneFile(file, "r") as opened:
        curves = opened.curves("sim_000000")
        assert sorted(curves) == ["loss", "odd"]
        assert curves["loss"].steps.tolist() == [0, 1, 2]
        assert curves["odd"].values.tolist() == [[1.5, 2000.0], [1.0, -0.0]]
        files = opened.files("sim_000000")
    assert "log_words.txt" in files
    assert "log_odd.txt" in files  # 1.50 is 1.5 to a curve
    assert "log_loss.txt" not in files


def test_a_curve_that_was_continued_continues_its_text(parent: Path, file: Path) -> None:
    import_scenes(parent, file, scenes="sim_000000")
    with SceneFile(file) as opened:
        opened.log_scalars(2, {"sim_000000": {"odd": [0.5, float("nan")], "loss": [0.125]}})
    export_scenes(file, parent.with_name("out"))
    out = parent.with_name("out") / "sim_000000"
    assert (out / "log_odd.txt").read_text() == "0 1.50 2e3\n1 1 -0\n2 0.5 nan\n"
    assert (out / "log_loss.txt").read_text() == "0 1.0\n1 0.5\n2 0.25\n2 0.125\n"


def write_everything(path: Path) -> None:
    """Writes a scene with all that npz cannot hold."""
    scene = Scene.create(path, copy_calling_script=False)
    labelled = CenteredGrid(smoke().values, vec(x=1, y=2), smoke().bounds)
    embedded = CenteredGrid(smoke().values, smoke(9, x=2, y=2).as_boundary(), smoke().bounds)
    scene.write({"Smoke": smoke(1), "smoke": smoke(2), "a.b": labelled}, frame=0)
    scene.write(smoke=smoke(3), embedded=embedded, velocity=velocity(), frame=1_000_000)
    scene.write({"Only Upper": smoke(4)}, frame=7)
    bounds = math.tensor([[10.0, 20.0], [30.0, 40.0]], batch("b"), math.channel(vector="x,y"))
    values = math.ones(batch(b=2), spatial(x=3, y=2))
    from phi.geom import Box  # after phi.field

    scene.write(batched=CenteredGrid(values, 0, Box(vec(x=0, y=0), bounds)), frame=0)
    scene.put_properties(
        {"complex": 1j, "__tensors__": ["complex"], "plain": 1.5, "name with / and ü": "x"},
        single=math.tensor(np.float32([0.1, 0.2]), instance("i")),
        nested={"inside": vec(x=1, y=2)},
    )
    scene.put_time(0, 0.1)
    scene.put_time(1_000_000, 1 / 3)
    scene.log_scalars(0.5, loss=1, other=float("nan"))
    scene.write_file("aux.txt", b"a device on Windows")
    scene.write_file("dir./x", b"a name that ends in a dot")
    scene.write_file("_h5scene/scene.json", b"{}")
    with SceneFile(path) as opened:
        opened.create_scene("NUL")
        record = opened.read_frame("sim_000000", "smoke", 0)
        opened.write_frame(1, {"NUL": {"rounded": record}}, keep_digits=3)


def test_file_to_directory_to_file_is_the_same_file(tmp_path: Path) -> None:
    first, second, out = tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "out"
    write_everything(first)
    done = export_scenes(first, out, verify=True)
    assert done.problems == []
    done = import_scenes(out, second, verify=True)
    assert done.problems == []
    assert without_modes(second) == without_modes(first)


def test_what_npz_cannot_hold_is_listed_before_anything_is_written(tmp_path: Path) -> None:
    write_everything(tmp_path / "a.h5")
    listed: list[str] = []

    def note(plan: Any) -> None:
        assert list((tmp_path / "out").iterdir()) == []
        listed.extend(plan.beside)

    export_scenes(tmp_path / "a.h5", tmp_path / "out", on_plan=note)
    text = "\n".join(listed)
    for part in (
        "999,999",
        "in case only",
        "batch dim",
        "a field",
        "physical times",
        "aux.txt",
        "complex",
    ):
        assert part in text, part
    assert any(line.startswith("NUL: its name") for line in listed)


def test_phiflow_reads_what_it_can_of_a_lossy_export(tmp_path: Path) -> None:
    write_everything(tmp_path / "a.h5")
    export_scenes(tmp_path / "a.h5", tmp_path / "out")
    scene = PhiScene.at(str(tmp_path / "out"), 0)
    assert scene.fieldnames == ("a_b", "only-upper", "smoke")
    assert_same_field(scene.read("Smoke", frame=0), smoke(2))
    assert scene.properties["plain"] == 1.5


def test_what_phiflow_wrote_since_holds(tmp_path: Path) -> None:
    write_everything(tmp_path / "a.h5")
    export_scenes(tmp_path / "a.h5", tmp_path / "out")
    scene = PhiScene.at(str(tmp_path / "out"), 0)
    scene.write_field(smoke(50), "a_b", 0)
    scene.put_property("complex", "changed")
    import_scenes(tmp_path / "out", tmp_path / "b.h5")
    ours = Scene.at(tmp_path / "b.h5", 0)
    assert_same_field(ours.read("a.b", frame=0), smoke(50))
    assert ours.properties["complex"] == "changed"
    assert ours.properties["nested"]["inside"].shape == math.channel(vector="x,y")


def test_a_hundred_scenes_both_ways(tmp_path: Path) -> None:
    first = make_scene(tmp_path / "data", frames=1)
    for name in ("images", "src", "empty"):
        shutil.rmtree(first / name)
    for i in range(1, 100):
        shutil.copytree(first, first.with_name(f"sim_{i:06d}"))
    done = import_scenes(tmp_path / "data", tmp_path / "a.h5", verify=True)
    assert (len(done.scenes), done.frames, done.problems) == (100, 200, [])
    done = export_scenes(tmp_path / "a.h5", tmp_path / "out", verify=True)
    assert (len(done.scenes), done.frames, done.problems) == (100, 200, [])
    assert tree(tmp_path / "out") == tree(tmp_path / "data")


# --- options --------------------------------------------------------------------------------------


def test_several_processes_do_the_same(parent: Path, file: Path) -> None:
    done = import_scenes(parent, file, jobs=2, verify=True)
    assert (done.problems, done.frames) == ([], 14)
    alone = file.with_name("alone.h5")
    import_scenes(parent, alone)
    assert content(file) == content(alone)
    done = export_scenes(file, parent.with_name("out"), jobs=2, verify=True)
    assert (done.problems, done.frames) == ([], 14)
    assert tree(parent.with_name("out")) == tree(parent)
    assert [path.name for path in file.parent.iterdir() if "part" in path.name] == []


def test_scenes_fields_and_frames_can_be_chosen(parent: Path, file: Path) -> None:
    choice: dict[str, Any] = {"scenes": ["sim_*"], "fields": "smoke", "frames": slice(0, None, 2)}
    done = import_scenes(parent, file, **choice)
    assert (done.scenes, done.frames) == (["sim_000000", "sim_000001"], 4)
    with SceneFile(file, "r") as opened:
        assert opened.frames("sim_000001") == {"smoke": (0, 2)}
    done = export_scenes(file, parent.with_name("out"), scenes="sim_000001", frames=[2, 3])
    names = {path.name for path in parent.with_name("out").glob("*/*.npz")}
    assert names == {"smoke_000002.npz"}


def test_one_scene_can_be_imported(parent: Path, file: Path) -> None:
    assert import_scenes(parent / "sim_000001", file).scenes == ["sim_000001"]


def test_dry_run_writes_nothing(parent: Path, file: Path) -> None:
    done = import_scenes(parent, file, dry_run=True)
    assert (done.frames, file.exists()) == (14, False)
    import_scenes(parent, file)
    before = file.read_bytes()
    out = parent.with_name("out")
    done = export_scenes(file, out, dry_run=True)
    assert (done.frames, out.exists(), file.read_bytes() == before) == (14, False, True)


def test_what_is_there_stays_or_is_replaced(parent: Path, file: Path) -> None:
    import_scenes(parent, file)
    PhiScene.at(str(parent), 0).write(smoke=smoke(77), frame=1)
    PhiScene.at(str(parent), 0).write(smoke=smoke(78), frame=9)
    done = import_scenes(parent, file)
    assert done.frames == 1
    assert_same_field(Scene.at(file, 0).read("smoke", frame=1), smoke(1))
    assert_same_field(Scene.at(file, 0).read("smoke", frame=9), smoke(78))
    problems = import_scenes(parent, file, verify=True).problems
    assert [Path(problem.path).name for problem in problems] == ["smoke_000001.npz"]
    done = import_scenes(parent, file, overwrite=True, verify=True)
    assert (done.frames, done.problems) == (15, [])
    assert_same_field(Scene.at(file, 0).read("smoke", frame=1), smoke(77))


def test_exported_files_stay_or_are_replaced(parent: Path, file: Path) -> None:
    import_scenes(parent, file)
    out = parent.with_name("out")
    export_scenes(file, out)
    spoilt = out / "sim_000000" / "smoke_000001.npz"
    spoilt.write_bytes(b"spoilt")
    done = export_scenes(file, out, verify=True)
    assert done.frames == 0
    assert [Path(problem.path).name for problem in done.problems] == ["smoke_000001.npz"]
    assert spoilt.read_bytes() == b"spoilt"
    assert export_scenes(file, out, overwrite=True, verify=True).problems == []
    assert tree(out) == tree(parent)


def test_wrong_arguments_are_named(parent: Path, file: Path) -> None:
    with pytest.raises(NotFoundError):
        import_scenes(parent / "no", file)
    with pytest.raises(SceneNotFoundError):
        import_scenes(parent, file, scenes="no")
    with pytest.raises(InvalidInputError, match="jobs"):
        import_scenes(parent, file, jobs=0)
    with pytest.raises(InvalidInputError, match="upwards"):
        import_scenes(parent, file, frames=slice(None, None, -1))
    with pytest.raises(NotFoundError):
        export_scenes(file, parent.with_name("out"))
    import_scenes(parent, file)
    with pytest.raises(SceneNotFoundError):
        export_scenes(file, parent.with_name("out"), scenes="no")


def test_progress_ends_at_all(parent: Path, file: Path) -> None:
    states: list[Any] = []
    import_scenes(parent, file, on_progress=states.append)
    assert (states[0].scenes, states[0].bytes) == (0, 0)
    assert states[-1].scenes == states[-1].scene_count == 3
    assert states[-1].bytes > 0.9 * states[-1].byte_count


# --- other programs' files ------------------------------------------------------------------------


def test_arrays_of_mantaflow_are_kept_as_arrays(tmp_path: Path, file: Path) -> None:
    scene = tmp_path / "data" / "sim_000000"
    scene.mkdir(parents=True)
    flat = np.arange(12, dtype=np.float32).reshape(1, 4, 3, 1)
    solid = np.asfortranarray(np.arange(24, dtype=">f8").reshape(2, 4, 3))
    np.savez_compressed(scene / "density_000000.npz", flat)
    np.savez(scene / "vel_000001.npz", solid, b=np.arange(3))
    done = import_scenes(tmp_path / "data", file, verify=True)
    assert done.is_complete
    assert len([note for note in done.notes if "plain arrays" in note]) == 2
    with h5py.File(file) as h5:
        assert h5["sim_000000/_arrays/density_000000/0"][...].tolist() == flat.tolist()
    export_scenes(file, tmp_path / "out", verify=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "data")
    assert import_scenes(tmp_path / "data", file).skipped == 2


def test_other_npz_are_kept_as_files(tmp_path: Path, file: Path) -> None:
    scene = tmp_path / "data" / "sim_000000"
    scene.mkdir(parents=True)
    np.savez(scene / "names_000000.npz", names=np.asarray(["a", "b"]))
    np.savez(scene / "weights.npz", w=np.ones(3))
    done = import_scenes(tmp_path / "data", file, verify=True)
    assert done.is_complete
    assert len(done.notes) == 1
    with SceneFile(file, "r") as opened:
        content = opened.read_file("sim_000000", "weights.npz")
        assert opened.files("sim_000000") == ("names_000000.npz", "weights.npz")
    assert content == (scene / "weights.npz").read_bytes()
    export_scenes(file, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "data")


def test_names_that_phiflow_does_not_write_come_back(tmp_path: Path, file: Path) -> None:
    scene = make_scene(tmp_path / "data", frames=1)
    for name in (
        "Velocity_000003.npz",
        "my field_000000.npz",
        "smoke_1234567.npz",
        "_x_000000.npz",
    ):
        shutil.copy(scene / "smoke_000000.npz", scene / name)
    done = import_scenes(tmp_path / "data", file, verify=True)
    assert done.is_complete
    with SceneFile(file, "r") as opened:
        assert opened.frames("sim_000000") == {
            "Velocity": (3,), "my-field": (0,), "smoke": (0, 1234567), "velocity": (0,), "x": (0,),
        }  # fmt: skip
    export_scenes(file, tmp_path / "out", verify=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "data")


def test_details_of_npz_do_not_keep_scenes_from_being_stacked(tmp_path: Path, file: Path) -> None:
    for _ in range(2):
        make_scene(tmp_path / "data", frames=1)
    path = tmp_path / "data" / "sim_000000" / "smoke_000000.npz"
    with np.load(path, allow_pickle=True) as npz:
        arrays = {name: npz[name] for name in npz.files}
    np.savez(path, **{**arrays, "data": np.asfortranarray(arrays["data"])})
    import_scenes(tmp_path / "data", file)
    both = Scene.list(file, dim=batch("b")).read("smoke", frame=0)
    assert both.shape.get_size("b") == 2


def test_files_beside_scenes_are_said_to_be_left_out(parent: Path, file: Path) -> None:
    (parent / "README.md").write_text("hello")
    done = import_scenes(parent, file)
    assert done.is_complete
    assert any("README.md" in note for note in done.notes)


def test_a_directory_of_directories_of_scenes_is_not_guessed_at(parent: Path, file: Path) -> None:
    done = import_scenes(parent.parent, file, scenes="data")
    assert [problem.error for problem in done.problems] == ["InvalidInputError"]


# --- damage ---------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    """Truncates a file."""
    path.write_bytes(path.read_bytes()[:-30])


def flip(path: Path) -> None:
    """Changes a byte of the values."""
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("data.npy").header_offset + 90
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 0x55
    path.write_bytes(bytes(damaged))


@pytest.mark.parametrize(
    "damage", [cut, flip, lambda path: path.write_bytes(b"")], ids=["cut", "flip", "empty"]
)
def test_a_damaged_npz_is_named_and_the_rest_imported(
    parent: Path, file: Path, damage: Any
) -> None:
    damage(parent / "sim_000001" / "smoke_000001.npz")
    done = import_scenes(parent, file)
    assert [problem.error for problem in done.problems] == ["CorruptDataError"]
    assert done.problems[0].path.endswith("sim_000001/smoke_000001.npz")
    assert done.frames == 13
    with SceneFile(file, "r") as opened:
        assert opened.frames("sim_000001")["smoke"] == (0, 2)


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", '{"__tensors__": ["a"], "a": 1}', "[" * 100_000, b"\xff\xfe"],
    ids=["no JSON", "no object", "no tensor", "deep", "no UTF-8"],
)
def test_a_broken_description_is_named_and_the_rest_imported(
    parent: Path, file: Path, text: str | bytes
) -> None:
    content = text if isinstance(text, bytes) else text.encode()
    (parent / "sim_000001" / "description.json").write_bytes(content)
    done = import_scenes(parent, file)
    assert [Path(problem.path).name for problem in done.problems] == ["description.json"]
    assert done.frames == 14
    with SceneFile(file, "r") as opened:
        assert opened.properties("sim_000001") == {}
        assert opened.properties("sim_000000")["seed"] == 0


def test_a_property_that_cannot_be_stored_does_not_stop_the_others(
    parent: Path, file: Path
) -> None:
    path = parent / "sim_000001" / "description.json"
    path.write_text(json.dumps({"a": {"__kind__": "tensor"}, "b": 2}))
    done = import_scenes(parent, file)
    assert len(done.problems) == 1
    with SceneFile(file, "r") as opened:
        assert opened.properties("sim_000001") == {"b": 2}


# --- interruption ---------------------------------------------------------------------------------


class _EnoughError(Exception):
    """Stands for the end of a process."""


def test_an_interrupted_import_goes_on(
    parent: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_TRANSACTION_ITEMS", 2)
    seen = []

    def stop(state: Any) -> None:
        seen.append(state)
        if len(seen) > 25:
            raise _EnoughError

    with pytest.raises(_EnoughError):
        import_scenes(parent, file, on_progress=stop)
    with SceneFile(file, "r") as opened:
        stored_frames = sum(len(f) for s in opened.scenes for f in opened.frames(s).values())
    assert 0 < stored_frames < 14
    done = import_scenes(parent, file, verify=True)
    assert (done.frames, done.problems) == (14 - stored_frames, [])
    export_scenes(file, parent.with_name("out"))
    assert tree(parent.with_name("out")) == tree(parent)


def test_a_killed_export_leaves_whole_files_and_goes_on(parent: Path, file: Path) -> None:
    import_scenes(parent, file)
    out = parent.with_name("out")
    expected = tree(parent)
    for delay in (3, 9, 15):
        shutil.rmtree(out, ignore_errors=True)

        def export(report: Any) -> None:
            export_scenes(file, out, on_progress=lambda state: report(state.bytes))

        child = Child(export)
        for _ in range(delay):
            child.receive()
        child.kill()
        found = {name: value for name, value in tree(out).items() if not name.endswith("-part")}
        files = {name: value for name, value in found.items() if value[0] != "directory"}
        assert files == {name: expected[name] for name in files}
        assert export_scenes(file, out, verify=True).problems == []
        assert tree(out) == expected


def test_what_a_killed_export_left_is_not_imported(parent: Path, file: Path) -> None:
    (parent / "sim_000000" / ".smoke_000009.npz.h5scene-part").write_bytes(b"half")
    import_scenes(parent, file)
    with SceneFile(file, "r") as opened:
        assert not any("part" in name for name in opened.files("sim_000000"))


def test_work_of_a_dead_process_is_removed(parent: Path, file: Path) -> None:
    import platform

    dead = file.with_name(f".{file.name}.{platform.node()}.999999999.h5scene-part")
    dead.mkdir()
    alive = file.with_name(f".{file.name}.{platform.node()}.{os.getppid()}.h5scene-part")
    alive.mkdir()
    import_scenes(parent, file, jobs=2)
    assert not dead.exists()
    assert alive.exists()


# --- what stands in the file ----------------------------------------------------------------------


def test_modes_and_empty_directories_stand_in_the_file(parent: Path, file: Path) -> None:
    import_scenes(parent, file)
    with h5py.File(file) as h5:
        files = h5["sim_000000/_files"]
        assert files["run.sh"].attrs["mode"] == 0o750
        assert list(files["empty/inside"]) == []
        assert files["nothing"].shape == (0,)
    with SceneFile(file, "r") as opened:
        assert "empty/inside" in stored.directories(opened, "sim_000000")


def test_verifying_finds_a_changed_value_and_a_changed_description(
    parent: Path, file: Path
) -> None:
    import_scenes(parent, file)
    with h5py.File(file, "r+") as h5:
        scene = h5["sim_000000"]
        scene["_curves/loss"][0, 1] = 7
        scene["_files/run.sh"][0] = 0
        scene["_files/info.log"].attrs["mode"] = 0o600
        scene.attrs["viscosity"] = "0.2"
        scene["velocity"].attrs["boundary"] = '{"type": "periodic"}'
        del (
            scene["velocity"].attrs["description_checksum"],
            scene["_files/run.sh"].attrs["checksum"],
        )
        del scene["_files/nothing"]
        h5["sim_000001/smoke/000000"].attrs["max_relative_error"] = 0.5
    problems = import_scenes(parent / "sim_000000", file, verify=True, frames=[0]).problems
    found = {Path(problem.path).name: problem.message for problem in problems}
    assert found == {
        "velocity_000000.npz": "the descriptions of the field differ",
        "description.json": "properties differ: viscosity",
        "curves": "curves differ: loss",
        "run.sh": "the files differ",
        "info.log": "the mode is 600",
    }
    problems = import_scenes(parent / "sim_000001", file, verify=True).problems
    assert [problem.message for problem in problems] == ["the values are rounded differently"]


MEMORY = """
import sys
import h5scene
h5scene.import_scenes, h5scene.SceneFile

def peak():
    status = open("/proc/self/status").read()
    return int(status.partition("VmHWM:")[2].split()[0])

before = peak()
directory, file, out = sys.argv[1:]
done = h5scene.import_scenes(directory, file, verify=True)
exported = h5scene.export_scenes(file, out, verify=True)
print(done.frames, exported.frames, len(done.problems + exported.problems), peak() - before)
"""


def test_memory_stays_below_three_frames(tmp_path: Path, file: Path) -> None:
    frame_bytes = 48 << 20  # large enough that libraries and threads do not count
    scene = tmp_path / "data" / "sim_000000"
    scene.mkdir(parents=True)
    values = np.zeros((frame_bytes // 4 // 256, 256), np.float32)
    values[:, ::16] = np.random.default_rng(0).normal(size=(len(values), 16))
    arrays = {
        "dim_names": ["x", "y"],
        "dim_types": ["spatial", "spatial"],
        "field_type": "CenteredGrid",
        "lower": [0, 0],
        "upper": [1, 1],
        "extrapolation": np.asarray({"type": "periodic"}),
    }
    for frame in range(4):
        np.savez(scene / f"smoke_{frame:06d}.npz", **arrays, data=values)
    command = [sys.executable, "-c", MEMORY, *map(str, (tmp_path / "data", file, tmp_path / "out"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    frames, exported, problems, peak_kib = map(int, done.stdout.split())
    assert (frames, exported, problems) == (4, 4, 0)
    assert peak_kib << 10 < 3 * frame_bytes
