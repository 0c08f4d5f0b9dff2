"""`h5scene.recover`: what is left of a damaged file is saved, and nothing else is made of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from h5scene import SceneFile, check, errors, recover
from h5scene.cli import run
from h5scene.handling.recovering import Recovered
from h5scene.record import DimSpec, FieldDescription, FieldRecord, ObjectRecord, TensorRecord
from h5scene.store import close_all
from tests.damage.damaged import (
    FRAMES,
    SCENES,
    address_of,
    data_of,
    flip,
    make_file,
    overwrite,
    smoke,
    spoil_header,
)
from tests.damage.interrupted import leave_in_commit
from tests.records import centered

S = SCENES[0]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("recover") / "runs.h5")


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    place = tmp_path / "runs.h5"
    place.write_bytes(original.read_bytes())
    return place


def particles_record() -> FieldRecord:
    """Returns values on spheres."""
    points, vector = DimSpec("points", "instance"), DimSpec("vector", "channel", ("x", "y"))
    chance = np.random.default_rng(3)
    parts = {
        "center": TensorRecord((points, vector), chance.normal(size=(9, 2)).astype(np.float32)),
        "radius": TensorRecord((points,), np.full(9, 0.5, np.float32)),
    }
    description = FieldDescription("Field", (points,), None, {"type": "none"}, {})
    values = chance.normal(size=9).astype(np.float32)
    return FieldRecord(description, values, ObjectRecord("sphere", {}, parts))


def recovered(path: Path) -> tuple[Recovered, dict[str, dict[str, tuple[int, ...]]]]:
    """Returns what was done, and the frames of the new file, all of which are right."""
    before = path.read_bytes()
    good = path.with_name("good.h5")
    done = recover(path, good)
    assert path.read_bytes() == before
    assert check(good).is_sound
    with SceneFile(good, "r") as file:
        frames = {scene: file.frames(scene) for scene in file.scenes}
        for scene in set(frames) & set(SCENES):
            for frame in frames[scene].get("smoke", ()):
                values = file.read_frame(scene, "smoke", frame).values
                assert np.array_equal(values, smoke(scene, frame).values)
    assert done.file == str(good)
    assert done.counts["frames"] == sum(len(n) for of in frames.values() for n in of.values())
    return done, frames


WHOLE = {"heat": tuple(range(FRAMES)), "smoke": tuple(range(FRAMES))}
ALL = dict.fromkeys(SCENES, WHOLE)


def test_a_whole_file_is_copied(path: Path) -> None:
    done, frames = recovered(path)
    assert frames == ALL
    assert done.lost == ()
    with SceneFile(path, "r") as old, SceneFile(done.file, "r") as new:
        for scene in SCENES:
            assert new.properties(scene) == old.properties(scene)
            assert new.times(scene) == old.times(scene)
            assert new.files(scene) == old.files(scene)
            assert new.read_file(scene, "src/plume.py") == b"print('plume')"
            assert np.array_equal(
                new.curves(scene)["loss"].values, old.curves(scene)["loss"].values
            )
            assert new.read_frame(scene, "heat", 3) == old.read_frame(scene, "heat", 3)


def superblock(path: Path) -> None:
    overwrite(path, 2048, bytes(48))


def headers_of_the_store(path: Path) -> None:
    overwrite(path, 0, bytes(2048))


def beginning(path: Path) -> None:
    overwrite(path, 0, b"\x55" * 2096)


def false_length(path: Path) -> None:
    overwrite(path, 2048 + 28, b"\xff" * 8)


def root_group(path: Path) -> None:
    flip(path, 2048 + 48 + 60)


@pytest.mark.parametrize(
    "damage", [superblock, headers_of_the_store, beginning, false_length, root_group]
)
def test_nothing_is_lost_with_the_beginning(path: Path, damage: Callable[[Path], None]) -> None:
    damage(path)
    done, frames = recovered(path)
    assert frames == ALL
    assert done.counts["files"] == 3


def test_values_that_are_not_what_was_written_are_left_out(path: Path) -> None:
    flip(path, data_of(path, f"{S}/smoke/000003"))
    flip(path, data_of(path, f"{S}/heat/000004") + 30)
    done, frames = recovered(path)
    assert set(frames[S]["smoke"]) == set(range(FRAMES)) - {3}
    assert set(frames[S]["heat"]) == set(range(FRAMES)) - {4}
    assert {frames[scene]["smoke"] for scene in SCENES[1:]} == {tuple(range(FRAMES))}
    assert [one.path for one in done.lost] == [f"/{S}/heat/000004", f"/{S}/smoke/000003"]


def test_a_field_whose_header_is_gone(path: Path) -> None:
    spoil_header(path, f"{S}/smoke")
    done, frames = recovered(path)
    assert {scene: frames[scene] for scene in SCENES[1:]} == {
        scene: ALL[scene] for scene in SCENES[1:]
    }
    assert frames[S]["heat"] == ALL[S]["heat"]
    assert frames[S]["smoke"] == ALL[S]["smoke"]  # the only one that lacks its frames
    assert set(frames) == set(SCENES)
    assert any(one.path == f"/{S}/smoke" for one in done.lost)


def test_a_scene_whose_header_is_gone(path: Path) -> None:
    spoil_header(path, S)
    done, frames = recovered(path)
    (rest,) = [frames[scene] for scene in frames if scene not in SCENES]
    assert sorted(len(numbers) for numbers in rest.values()) == [FRAMES, FRAMES]
    assert any(one.path == f"/{S}" for one in done.lost)
    with SceneFile(done.file, "r") as file:
        (scene,) = set(file.scenes) - set(SCENES)
        found = {file.read_frame(scene, name, 3).values.shape for name in rest}
    assert found == {(4, 4), (40, 40)}


def test_links_of_a_field_that_hdf5_cannot_find(path: Path) -> None:
    """The index of the links is gone; the links themselves are there."""
    data = bytearray(path.read_bytes())
    at = data.find(b"BTHD")
    while at >= 0:
        data[at : at + 4] = b"none"
        at = data.find(b"BTHD", at)
    path.write_bytes(data)
    _, frames = recovered(path)
    found = sorted(
        len(numbers) for of in frames.values() for numbers in of.values() if len(numbers) > 1
    )
    assert sum(found) >= 6 * FRAMES


def test_a_description_that_is_gone(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        del h5[S]["smoke"].attrs["dims"]
        del h5[SCENES[1]]["heat"].attrs["dims"]
        for scene in (S, SCENES[2]):
            del h5[scene]["heat"]
    done, frames = recovered(path)
    assert frames[S]["smoke"] == tuple(range(FRAMES))
    assert frames[SCENES[1]]["heat"] == tuple(range(FRAMES))
    with SceneFile(done.file, "r") as file:
        # Other scenes have a field of this name, which says what it is; no other one has heat.
        assert file.read_frame(SCENES[1], "heat", 2).description.field_type == "Tensor"
    assert done.counts["descriptions"] > 0


@pytest.mark.parametrize("share", [0.2, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_off(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    done, frames = recovered(path)
    count = sum(len(numbers) for of in frames.values() for numbers in of.values())
    assert count >= (share - 0.35) * 6 * FRAMES
    assert done.lost or count == 6 * FRAMES
    if share > 0.9:
        assert count >= 6 * FRAMES - 1


def test_nothing_that_was_removed_comes_back(path: Path) -> None:
    with SceneFile(path) as file:
        file.remove_scenes([SCENES[2]])
        file.remove_fields(SCENES[1], ["heat"])
        file.remove_frames(S, "smoke", [1, 2])
    close_all()
    flip(path, data_of(path, f"{S}/smoke/000003"))
    _, frames = recovered(path)
    assert frames == {
        S: {"heat": tuple(range(FRAMES)), "smoke": (0, *range(4, FRAMES))},
        SCENES[1]: {"smoke": tuple(range(FRAMES))},
    }


def test_an_interrupted_commit_is_finished(path: Path) -> None:
    leave_in_commit(path, S, "dt", 0.75)
    overwrite(path, 2048 + 44, b"\xff" * 4)  # and the superblock is damaged, too
    done, frames = recovered(path)
    assert frames == ALL
    with SceneFile(done.file, "r") as file:
        assert file.properties(S)["dt"] == 0.75


def test_particles_and_what_was_rounded(tmp_path: Path) -> None:
    path = tmp_path / "runs.h5"
    record = particles_record()
    rough = centered(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    with SceneFile(path) as file:
        file.create_scene(S)
        for frame in range(3):
            file.write_frame(frame, {S: {"fluid.particles": record}})
            file.write_frame(frame, {S: {"rough": rough}}, keep_digits=3)
        error = file.max_relative_error(S, "rough", 0)
        rounded = file.read_frame(S, "rough", 0)
    close_all()
    overwrite(path, 2048, bytes(48))
    done = recover(path, tmp_path / "good.h5")
    with SceneFile(done.file, "r") as file:
        assert file.read_frame(S, "fluid.particles", 2) == record
        assert file.fields_of(S, "fluid") == ("fluid.particles",)
        assert file.max_relative_error(S, "rough", 0) == error > 0
        assert file.read_frame(S, "rough", 0) == rounded


def test_what_ends_the_process_loses_one_thing(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "from h5scene.format import checksums\n"
        "check = checksums.check\n"
        "def deadly(dataset, *a):\n"
        "    if dataset.shape == (4, 4) and dataset.name.endswith('000005'):\n"
        "        os.abort()\n"
        "    return check(dataset, *a)\n"
        "checksums.check = deadly\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done, frames = recovered(path)
    assert sum(len(numbers) for of in frames.values() for numbers in of.values()) == 6 * FRAMES - 3
    assert {one.path for one in done.lost} == {f"/{scene}/smoke/000005" for scene in SCENES}


def test_what_holds_nothing_gives_no_file(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.h5", tmp_path / "good.h5"
    bad.write_bytes(random.Random(1).randbytes(100_000))
    with pytest.raises(errors.CorruptDataError, match="nothing"):
        recover(bad, good)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bad.h5"]
    with pytest.raises(errors.NotFoundError):
        recover(tmp_path / "none.h5", good)


def test_no_file_is_written_over(path: Path) -> None:
    good = path.with_name("good.h5")
    good.write_bytes(b"mine")
    with pytest.raises(errors.AlreadyExistsError):
        recover(path, good)
    assert good.read_bytes() == b"mine"
    with pytest.raises(errors.AlreadyExistsError):
        recover(path, path)


def test_random_damage_never_makes_something_up(path: Path) -> None:
    whole = path.read_bytes()
    chance = random.Random(7)
    for _ in range(6):
        data = bytearray(whole)
        for _ in range(10):
            at = 512 * chance.randrange(len(data) // 512)
            data[at : at + 512] = bytes(512)
        path.write_bytes(data)
        done, _ = recovered(path)
        Path(done.file).unlink()


def test_the_command(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = path.with_name("good.h5")
    assert run(["recover", str(path), "-o", str(good)]) == 0
    assert f"Saved 3 scenes, 6 fields, 72 frames, 3 files into {good}" in capsys.readouterr().out
    assert run(["recover", str(path), "-o", str(good)]) == 1
    assert "exists" in capsys.readouterr().err
    close_all()
    good.unlink()
    flip(path, data_of(path, f"{S}/smoke/000003"))
    assert run(["recover", str(path), "-o", str(good), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["counts"]["frames"] == 71
    assert [one["path"] for one in told["lost"]] == [f"/{S}/smoke/000003"]
    assert address_of(path, S) > 2048
