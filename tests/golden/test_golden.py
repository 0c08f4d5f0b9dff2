"""Files of every released format version are read as they were written, for ever."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests.plain_reader as plain
from h5scene import SceneFile
from h5scene.format import layout
from tests.golden.content import as_json
from tests.golden.make_golden import make
from tests.records import centered

HERE = Path(__file__).parent
RELEASED = ("1.0",)

each_version = pytest.mark.parametrize("version", RELEASED)


def expected(folder: Path) -> Any:
    return json.loads((folder / "expected.json").read_text(encoding="utf-8"))


def found_by_h5scene(path: Path) -> Any:
    """Returns all that SceneFile reads, in the form of expected.json."""
    with SceneFile(path, "r") as file:
        found = {}
        for scene in file.scenes:
            frames = file.frames(scene)
            curves = {
                name: np.column_stack([curve.steps, curve.values]).tolist()
                for name, curve in file.curves(scene).items()
            }
            found[scene] = {
                "fields": {
                    name: {n: file.read_frame(scene, name, n) for n in numbers}
                    for name, numbers in frames.items()
                },
                "properties": file.properties(scene),
                "times": file.times(scene),
                "curves": curves,
                "files": {name: file.read_file(scene, name) for name in file.files(scene)},
            }
        return comparable(found)


def found_by_plain_reader(path: Path) -> Any:
    """Returns all that a reader without h5scene finds, in the form of expected.json."""
    with plain.SceneFile(path) as file:
        found = {}
        for scene in file.scenes():
            curves = {
                name: np.column_stack(list(columns.values())).tolist()
                for name, columns in file.curves(scene).items()
            }
            found[scene] = {
                "fields": {
                    link: {n: file.field(scene, link, n) for n in file.frames(scene, link)}
                    for link in file.fields(scene).values()
                },
                "properties": file.properties(scene),
                "times": {frame: float(time) for frame, time in file.times(scene).items()},
                "curves": curves,
                "files": file.files(scene),
            }
        return comparable(found)


def comparable(found: Any) -> Any:
    """Returns what was found as JSON gives it back."""
    return json.loads(json.dumps(as_json(found)))


def links(scenes: Any) -> Any:
    """Returns what is expected, its fields by the names under which they are stored."""
    changed = {"fluid.velocity": "fluid_velocity", "Δ ρ": "Delta-rho"}
    return {
        scene: {
            **content,
            "fields": {changed.get(name, name): f for name, f in content["fields"].items()},
        }
        for scene, content in scenes.items()
    }


@each_version
def test_the_files_are_there(version: str) -> None:
    names = {path.name for path in (HERE / version).iterdir()}
    assert names == {"runs.h5", "expected.json"}
    assert (HERE / version / "runs.h5").stat().st_size < 200_000


def test_the_version_that_is_written_is_released() -> None:
    assert layout.FORMAT_VERSION in RELEASED


@each_version
def test_h5scene_reads_it(version: str, tmp_path: Path) -> None:
    copy = tmp_path / "runs.h5"  # so that nothing can happen to the file itself
    shutil.copyfile(HERE / version / "runs.h5", copy)
    assert found_by_h5scene(copy) == links(expected(HERE / version))
    assert copy.read_bytes() == (HERE / version / "runs.h5").read_bytes()


@each_version
def test_a_reader_without_h5scene_reads_it(version: str) -> None:
    assert found_by_plain_reader(HERE / version / "runs.h5") == links(expected(HERE / version))


@each_version
def test_it_can_be_written_on(version: str, tmp_path: Path) -> None:
    copy = tmp_path / "runs.h5"
    shutil.copyfile(HERE / version / "runs.h5", copy)
    with SceneFile(copy, "r+") as file:
        file.write_frame(44, {"sim_000000": {"smoke": centered(4.0)}})
        file.put_properties({"sim_000001": {"new": 1}})
        assert file.create_scenes("sim") == ("sim_000002",)
    wanted = links(expected(HERE / version))
    wanted["sim_000000"]["fields"]["smoke"]["44"] = comparable(centered(4.0))
    wanted["sim_000001"]["properties"]["new"] = 1
    wanted["sim_000002"] = {name: {} for name in wanted["sim_000001"]}
    assert found_by_h5scene(copy) == wanted
    assert found_by_plain_reader(copy) == wanted


def test_what_would_be_made_today_is_read_alike(tmp_path: Path) -> None:
    make(tmp_path / "today")
    wanted = links(expected(tmp_path / "today"))
    assert found_by_h5scene(tmp_path / "today" / "runs.h5") == wanted
    assert found_by_plain_reader(tmp_path / "today" / "runs.h5") == wanted
    with pytest.raises(FileExistsError):
        make(tmp_path / "today")
