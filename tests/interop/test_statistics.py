"""Statistics of fields: equal to NumPy's over all values, kept in the file, dropped by writers."""

from __future__ import annotations

import json
import random as generator
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h5scene import SceneFile
from h5scene.errors import FieldNotFoundError, FrameNotFoundError, UnsupportedFieldError
from h5scene.interop import statistics
from h5scene.interop.source import SourceFile
from h5scene.interop.statistics import FieldStatistics, field_statistics
from h5scene.record import Array, DimSpec, FieldRecord
from tests.records import centered, spatial, staggered

SCENE = "sim_000000"
RANDOM = np.random.default_rng(11)


def random(*shape: int) -> Array:
    """Returns numbers far from zero, where sums of squares in float32 go wrong."""
    return (RANDOM.random(shape) + 1000).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to write."""
    return tmp_path / "runs.h5"


def write(path: Path, records: Sequence[FieldRecord], scene: str = SCENE, first: int = 0) -> None:
    """Writes frames of the field `v`."""
    with SceneFile(path) as file:
        file.create_scene(scene)
        for frame, record in enumerate(records, first):
            file.write_frame(frame, {scene: {"v": record}})


def read(
    *paths: Path, scene: str = SCENE, frames: Any = None
) -> tuple[FieldStatistics, list[tuple[int, int]]]:
    """Returns the statistics of `v`, and what was told of the progress."""
    steps: list[tuple[int, int]] = []
    entries = [(SourceFile(path), scene, frames) for path in paths]
    found = field_statistics(entries, ["v"], progress=lambda *step: steps.append(step))
    return found["v"], steps


def assert_equal(found: FieldStatistics, values: Array) -> None:
    """Checks statistics against all values at once."""
    exact = values.astype(np.float64)
    assert found.count == exact.size
    assert found.mean == pytest.approx(exact.mean(), rel=1e-14)
    assert found.std == pytest.approx(exact.std(), rel=1e-9)
    assert (found.min, found.max) == (exact.min(), exact.max())


def test_pooled_over_frames_scenes_and_files(path: Path, tmp_path: Path) -> None:
    parts = [random(9, 7), random(9, 7), random(9, 7), random(5, 3)]
    write(path, [centered(part) for part in parts[:2]])
    write(path, [centered(parts[2])], "other")
    write(tmp_path / "more.h5", [centered(parts[3])])
    entries = [(path, SCENE), (path, "other"), (tmp_path / "more.h5", SCENE)]
    found = field_statistics([(SourceFile(file), scene, None) for file, scene in entries], ["v"])
    assert_equal(found["v"], np.concatenate([part.reshape(-1) for part in parts]))
    assert found["v"].components == ()


def test_some_of_the_frames(path: Path) -> None:
    parts = [random(9, 7) for _ in range(4)]
    write(path, [centered(part) for part in parts])
    assert_equal(read(path, frames={1, 3})[0], np.stack(parts[1::2]))
    assert_equal(read(path)[0], np.stack(parts))


def test_components_apart_and_together(path: Path) -> None:
    dims = (DimSpec("vector", "channel", ("x", "y")), *spatial("xy"))
    values = random(2, 9, 7)
    values[1] -= 2000
    write(path, [centered(values, dims=dims)])
    found, _ = read(path)
    assert_equal(found, values)
    for component, part in zip(found.components, values, strict=True):
        assert_equal(component, part)


def test_staggered_grid_counts_faces_and_no_padding(path: Path) -> None:
    values = random(6, 5, 2)
    values[:, -1, 0] = values[-1, :, 1] = np.nan
    write(path, [staggered(values)])
    found, _ = read(path)
    x, y = values[:, :-1, 0], values[:-1, :, 1]
    assert_equal(found, np.concatenate([x.reshape(-1), y.reshape(-1)]))
    assert_equal(found.components[0], x)
    assert_equal(found.components[1], y)


def test_large_frames_are_summed_in_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_PIECE", 10)
    values = random(33, 7)
    write(path, [centered(values)])
    assert_equal(read(path)[0], values)


def test_values_that_are_not_finite_are_left_out(path: Path) -> None:
    values = random(9, 7)
    values[0, :3] = [np.nan, np.inf, -np.inf]
    write(path, [centered(values), centered(np.full((9, 7), np.nan, np.float32))])
    assert_equal(read(path)[0], values[np.isfinite(values)])


def test_integers_and_constants(path: Path) -> None:
    values = np.arange(12).reshape(4, 3) % 2 == 0
    write(path, [centered(values)])
    assert_equal(read(path)[0], values)
    write(path, [centered(np.full((4, 3), 7, np.int64))], "other")
    found, _ = read(path, scene="other")
    assert (found.mean, found.std, found.scale) == (7, 0, 1)
    assert found.normalized(np.array([7, 9])).tolist() == [0, 2]


def test_normalizing_can_be_undone(path: Path) -> None:
    values = random(9, 7).astype(np.float64)
    write(path, [centered(values)])
    found, _ = read(path)
    normal = found.normalized(values)
    assert normal.mean() == pytest.approx(0, abs=1e-9)
    assert normal.std() == pytest.approx(1)
    assert np.allclose(found.denormalized(normal), values, rtol=1e-12)


def test_each_frame_is_read_once(path: Path) -> None:
    parts = [random(9, 7) for _ in range(5)]
    write(path, [centered(part) for part in parts[:3]])
    first, steps = read(path)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert read(path) == (first, [])
    write(path, [centered(part) for part in parts[3:]], first=3)
    second, steps = read(path)
    assert steps == [(1, 2), (2, 2)]
    assert_equal(second, np.stack(parts))


def test_replaced_frame_is_read_again(path: Path) -> None:
    parts = [random(9, 7) for _ in range(3)]
    write(path, [centered(part) for part in parts])
    read(path)
    parts[1] = random(9, 7)
    write(path, [centered(parts[1])], first=1)
    found, steps = read(path)
    assert steps == [(1, 1)]
    assert_equal(found, np.stack(parts))


def test_frame_replaced_while_it_was_read_is_read_again(path: Path) -> None:
    parts = [random(9, 7) for _ in range(3)]
    write(path, [centered(part) for part in parts])
    new = random(9, 7)

    def replace(done: int, total: int) -> None:
        if done == 2:  # the frame has been read, what was found is not yet in the file
            write(path, [centered(new)], first=1)

    field_statistics([(SourceFile(path), SCENE, None)], ["v"], progress=replace)
    found, steps = read(path)
    assert steps == [(1, 1)]
    assert_equal(found, np.stack([parts[0], new, parts[2]]))


def test_interrupted_work_is_done_again(path: Path) -> None:
    parts = [random(9, 7) for _ in range(3)]
    write(path, [centered(part) for part in parts])

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        field_statistics([(SourceFile(path), SCENE, None)], ["v"], progress=interrupt)
    found, steps = read(path)
    assert len(steps) == 3
    assert_equal(found, np.stack(parts))


def test_file_that_is_busy_gives_statistics_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_LOCK_TIMEOUT_S", 0.01)
    values = random(9, 7)
    write(path, [centered(values)])
    begun, ended = threading.Event(), threading.Event()

    def keep_busy() -> None:
        with SceneFile(path) as file, file.transaction():
            begun.set()
            ended.wait()

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        begun.wait()
        assert_equal(read(path)[0], values)
    finally:
        ended.set()
        thread.join()
    assert len(read(path)[1]) == 1  # it could not be kept


def test_table_is_readable_without_h5scene(path: Path) -> None:
    values = random(9, 7)
    write(path, [centered(values)], first=42)
    read(path)
    with h5py.File(path) as h5:
        table = h5[f"{SCENE}/_statistics/v"]
        columns = ["frame", "count", "mean", "variance", "min", "max"]
        assert json.loads(table.attrs["columns"]) == columns
        assert table[0, :2].tolist() == [42, 63]
        assert table[0, 2:4] == pytest.approx([values.mean(dtype=float), values.var(dtype=float)])
        assert table[0, 4:].tolist() == [values.min(), values.max()]


def test_what_has_no_statistics_is_named(path: Path) -> None:
    write(path, [centered(np.ones((4, 3), np.complex64))])
    with pytest.raises(UnsupportedFieldError, match="complex"):
        read(path)
    with pytest.raises(FieldNotFoundError):
        field_statistics([(SourceFile(path), SCENE, None)], ["w"])
    write(path, [centered(1)], "other")
    with pytest.raises(FrameNotFoundError, match="no frame of field 'v'"):
        read(path, scene="other", frames={7})


@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), max_size=6), min_size=1, max_size=6))
def test_parts_merge_to_the_whole(parts: list[list[float]]) -> None:
    rows = np.stack([statistics._numbers(np.array(part, np.float32)) for part in parts])
    merged = statistics.merged(rows)
    whole = np.concatenate([np.array(part, np.float64) for part in parts])
    assert merged[0] == whole.size
    if whole.size:
        scale = max(np.abs(whole).max(), 1e-30)
        assert merged[1] == pytest.approx(whole.mean(), abs=1e-12 * scale)
        assert merged[2] == pytest.approx(whole.var(), abs=1e-12 * scale**2)
        assert merged[3:].tolist() == [whole.min(), whole.max()]


def test_frames_that_a_resumed_job_replaces_are_read_again(path: Path) -> None:
    from h5scene import Scene

    parts = [random(9, 7) for _ in range(4)]
    write(path, [centered(part) for part in parts])
    read(path)
    Scene.resume(path, 0, frame=1)
    parts[2:] = [random(9, 7)]
    write(path, [centered(part) for part in parts[2:]], first=2)
    found, steps = read(path)
    assert steps == [(1, 1)]
    assert_equal(found, np.stack(parts))


def test_removed_frames_and_fields_are_read_again(path: Path) -> None:
    parts = [random(9, 7) for _ in range(3)]
    write(path, [centered(part) for part in parts])
    read(path)
    with SceneFile(path) as file:
        file.remove_frames(SCENE, "v", [1])
    assert_equal(read(path)[0], np.stack(parts[::2]))
    parts[1] = random(9, 7)
    write(path, [centered(parts[1])], first=1)
    found, steps = read(path)
    assert steps == [(1, 1)]
    assert_equal(found, np.stack(parts))
    with SceneFile(path) as file:
        file.remove_fields(SCENE, ["v"])
    write(path, [centered(parts[0])])
    found, steps = read(path)
    assert steps == [(1, 1)]
    assert_equal(found, parts[0])


def test_statistics_are_no_content_of_a_scene(path: Path, tmp_path: Path) -> None:
    from h5scene import compare, copy_file, repack

    write(path, [centered(random(9, 7))])
    copy_file(path, tmp_path / "copy.h5")
    found, _ = read(path)
    assert compare(path, tmp_path / "copy.h5") == ()
    repack(path)
    assert read(path) == (found, [])


def test_the_random_numbers_of_a_program_are_left_alone(path: Path) -> None:
    write(path, [centered(random(3, 2))])
    before = generator.getstate()
    field_statistics([(SourceFile(path), SCENE, None)], ["v"])
    assert generator.getstate() == before
