"""Whether the frames of a field differ: said when they are written, asked when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import SceneFile
from h5scene.errors import InvalidInputError, SceneNotFoundError
from h5scene.format.forms import FrameForm
from h5scene.interop.source import SceneSources, SourceFile, frame_series, read_part
from h5scene.record import Bounds, FieldRecord
from tests.records import PERIODIC, centered, vector

SCENE = "sim_000000"
MOVED = Bounds(vector([1.0, 1.0], "xy"), vector([2.0, 2.0], "xy"))


@pytest.fixture
def file(tmp_path: Path) -> SceneFile:
    """A file with an empty scene."""
    file = SceneFile(tmp_path / "runs.h5")
    file.create_scene(SCENE)
    return file


def _write(file: SceneFile, *records: FieldRecord) -> None:
    for frame, record in enumerate(records):
        file.write_frame(frame, {SCENE: {"smoke": record}})


def _varies(file: SceneFile) -> bool:
    with h5py.File(file.path) as h5:
        return "frames_vary" in h5[f"{SCENE}/smoke"].attrs


def test_frames_of_one_form_say_nothing(file: SceneFile) -> None:
    _write(file, centered(1), centered(2), centered(3))
    _write(file, centered(4))  # in place of the first
    assert not _varies(file)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(centered(np.ones((8, 4), np.float32)), id="shape"),
        pytest.param(centered(1, dtype=np.float64), id="dtype"),
        pytest.param(centered(1, boundary=PERIODIC), id="boundary"),
        pytest.param(centered(1, bounds=MOVED), id="bounds"),
    ],
)
@pytest.mark.parametrize("reopened", [False, True])
def test_a_frame_that_differs_is_noted(file: SceneFile, other: FieldRecord, reopened: bool) -> None:
    _write(file, centered(1), centered(2))
    if reopened:
        from h5scene.store import close_all

        close_all()  # and with it all that is known of the file
    file.write_frame(7, {SCENE: {"smoke": other}})
    assert _varies(file)
    file.write_frame(8, {SCENE: {"smoke": centered(3)}})
    series = frame_series(file, SCENE, "smoke")
    found = {frame: s.own.get(frame, s.description) for s in series for frame in s.frames}
    assert sorted(found) == [0, 1, 7, 8]
    assert found[7] == other.description
    assert found[0] == found[8] == centered(1).description
    assert [s.form for s in series if 7 in s.frames] == [
        FrameForm(other.values.shape, other.values.dtype)
    ]


def test_one_frame_is_enough_where_they_do_not_differ(file: SceneFile, monkeypatch: Any) -> None:
    _write(file, *[centered(i) for i in range(20)])
    looked_at = []
    from h5scene.interop import source

    original = source.read_form

    def read_form(field: Any, frame: int) -> FrameForm:
        looked_at.append(frame)
        return original(field, frame)

    monkeypatch.setattr(source, "read_form", read_form)
    (series,) = frame_series(file, SCENE, "smoke")
    assert series.frames == tuple(range(20))
    assert looked_at == [0]


def test_replaced_frame_is_not_read_as_the_old_one(file: SceneFile) -> None:
    _write(file, centered(1), centered(2))
    (series,) = frame_series(file, SCENE, "smoke")
    assert read_part(file, SCENE, "smoke", 1, series.form).tolist() == [[2.0] * 4] * 4
    file.write_frame(1, {SCENE: {"smoke": centered(np.ones((8, 4), np.float32))}})
    region = [slice(0, 2), slice(0, 2)]  # which the new frame has, too
    with pytest.raises(InvalidInputError, match="open the file again"):
        read_part(file, SCENE, "smoke", 1, series.form, region)


def test_source_reads_after_it_was_closed(file: SceneFile) -> None:
    source = SourceFile(file.path)
    assert source.open() is source.open()
    source.close()
    source.close()
    assert source.open().scenes == (SCENE,)


def test_path_may_name_a_scene(file: SceneFile, tmp_path: Path) -> None:
    path = str(tmp_path / "runs.h5")

    def found(name: Path) -> tuple[str, str | None]:
        sources = SceneSources(name)
        return sources.path, sources.named

    assert found(tmp_path / "runs.h5") == (path, None)
    assert found(tmp_path / "runs") == (path, None)
    assert found(tmp_path / "runs.h5" / SCENE) == (path, SCENE)
    assert found(tmp_path / "none.h5") == (str(tmp_path / "none.h5"), None)
    assert SceneSources(path).find(SCENE).path == path
    with pytest.raises(SceneNotFoundError, match="it has 'sim_000000'"):
        SceneSources(path).find("none")
