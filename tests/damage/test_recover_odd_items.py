"""`h5scene.recover`: one thing that cannot be read or written costs that thing, and no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from h5scene import SceneFile, check, recover
from h5scene.store import close_all
from tests.records import centered

S, OTHER = "sim_000000", "sim_000001"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Returns a small file with some of everything."""
    place = tmp_path / "runs.h5"
    with SceneFile(place) as file:
        for scene in (S, OTHER):
            file.create_scene(scene)
            file.write_frame(0, {scene: {"smoke": centered(1.0)}})
            file.put_times(0, {scene: 0.5})
            file.log_scalars(0, {scene: {"loss": [1.0]}})
            file.put_properties({scene: {"dt": 0.5}})
            file.write_files({scene: {"plume.py": b"pass"}})
    close_all()
    return place


def property_of_the_format(h5: h5py.File) -> str:
    h5[S].attrs["__kind__"] = json.dumps(3)
    return f"/{S}/@__kind__"


def three_columns_of_times(h5: h5py.File) -> str:
    del h5[S]["_times"]
    h5[S].create_dataset("_times", data=np.zeros((1, 3))).attrs["columns"] = "[]"
    return f"/{S}/_times"


def curve_without_columns(h5: h5py.File) -> str:
    h5[S]["_curves"].create_dataset("none", shape=(2, 0), dtype="f8").attrs["columns"] = "[]"
    return f"/{S}/_curves/none"


def long_name_of_a_file(h5: h5py.File) -> str:
    name = "x" * 1025
    h5[S]["_files"].create_dataset(name, data=np.zeros(3, np.uint8))
    return f"/{S}/_files/{name}"


def list_of_properties(h5: h5py.File) -> str:
    h5[S].create_dataset("_properties", data=np.frombuffer(b"[1]", np.uint8))
    return f"/{S}/_properties"


@pytest.mark.parametrize(
    "damage",
    [
        property_of_the_format,
        three_columns_of_times,
        curve_without_columns,
        long_name_of_a_file,
        list_of_properties,
    ],
)
def test_one_odd_thing_is_lost_alone(path: Path, damage: Callable[[h5py.File], str]) -> None:
    with h5py.File(path, "r+") as h5:
        where = damage(h5)
    done = recover(path, path.with_name("good.h5"))
    assert [one.path for one in done.lost] == [where]
    expected = {"scenes": 2, "fields": 2, "frames": 2, "files": 2, "properties": 2, "curves": 2}
    assert {name: done.counts[name] for name in expected} == expected
    assert done.counts["times"] == (1 if "times" in where else 2)
    assert check(done.file).is_sound


@pytest.mark.parametrize("name", ["  ", "y" * 1025])
def test_a_scene_whose_name_no_scene_can_have_gets_another(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as h5:
        h5.move(S, name)
    done = recover(path, path.with_name("good.h5"))
    (lost,) = done.lost
    assert lost.path == f"/{name}"
    assert "recovered_000000" in lost.message
    with SceneFile(done.file, "r") as file:
        assert file.scenes == ("recovered_000000", OTHER)
        assert file.read_frame("recovered_000000", "smoke", 0) == centered(1.0)
        assert file.read_file("recovered_000000", "plume.py") == b"pass"
        assert file.properties("recovered_000000") == {"dt": 0.5}
    assert check(done.file).is_sound


def test_a_scene_whose_name_is_no_utf8_is_told(path: Path) -> None:
    with h5py.File(path, "r+") as h5:
        h5.id.links.move(S.encode(), h5.id, b"sim\xff")
    done = recover(path, path.with_name("good.h5"))
    assert "/sim\\xff" in {one.path for one in done.lost}
    with SceneFile(done.file, "r") as file:
        assert file.scenes == ("recovered_000000", OTHER)
        assert file.read_frame("recovered_000000", "smoke", 0) == centered(1.0)
        assert file.read_frame(OTHER, "smoke", 0) == centered(1.0)


def test_many_small_things_are_no_large_array(path: Path) -> None:
    """A limit for arrays is none for all properties of a scene together, nor for small frames."""
    texts = {f"p{number}": "x" * 3000 for number in range(200)}
    chance = np.random.default_rng(1)
    with SceneFile(path) as file:
        file.put_properties({S: texts})
        file.write_frame(1, {S: {"smoke": centered(chance.normal(size=(450, 450)))}})
        file.write_frame(2, {S: {"smoke": centered(2.0)}})
    close_all()
    done = recover(path, path.with_name("good.h5"), max_array_bytes=500_000)
    assert done.lost == ()
    with SceneFile(done.file, "r") as file:
        assert file.properties(S) == {"dt": 0.5, **texts}
        assert file.frames(S)["smoke"] == (0, 1, 2)
