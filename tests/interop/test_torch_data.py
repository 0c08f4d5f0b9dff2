"""Windows of frames for PyTorch: which, in what layout, in any process."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from h5scene import SceneFile
from h5scene.errors import (
    FieldNotFoundError,
    InvalidInputError,
    NotFoundError,
    SceneNotFoundError,
)
from h5scene.record import DimSpec, FieldRecord
from tests.records import centered, spatial, staggered

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from h5scene.torch_data import FrameDataset, Window  # noqa: E402  # needs torch

RANDOM = np.random.default_rng(13)
VECTOR = (*spatial("xy"), DimSpec("vector", "channel", ("x", "y")))


def numbered(frame: int, scene: int = 0) -> FieldRecord:
    """Returns a scalar grid that tells which frame it is."""
    return centered(np.full((4, 3), scene * 1000 + frame, np.float32))


def vectors(*sizes: int) -> FieldRecord:
    """Returns a vector field."""
    return centered(RANDOM.random(sizes or (4, 3, 2), np.float32), dims=VECTOR)


def flow() -> FieldRecord:
    """Returns a staggered grid whose padding is NaN: nobody may see it."""
    values = RANDOM.random((5, 4, 2), np.float32)
    values[:, -1, 0] = values[-1, :, 1] = np.nan
    return staggered(values)


def write(path: Path, scene: str, fields: dict[str, dict[int, FieldRecord]]) -> None:
    """Writes a scene, given by field and frame."""
    with SceneFile(path) as file, file.transaction():
        file.create_scene(scene)
        for name, frames in fields.items():
            for frame, record in frames.items():
                file.write_frame(frame, {scene: {name: record}})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where to write."""
    return tmp_path / "runs.h5"


@pytest.fixture
def many(path: Path, tmp_path: Path) -> list[Path]:
    """Two files: three scenes of ten frames, and one of five."""
    for scene in range(3):
        write(path, f"sim_{scene:06d}", {"smoke": {f: numbered(f, scene) for f in range(10)}})
    other = tmp_path / "more.h5"
    write(other, "sim_000000", {"smoke": {f: numbered(f, 3) for f in range(5)}})
    return [path, other]


def content(item: Any) -> list[int]:
    """Returns the numbers of `numbered` in an item."""
    return [int(frame.flatten()[0]) for frame in item.reshape(-1, 12)]


# --- which windows --------------------------------------------------------------------------------


def test_each_frame_of_each_scene_is_an_item(many: list[Path]) -> None:
    data = FrameDataset(many, "smoke")
    assert len(data) == 35
    assert data[0].shape == (1, 4, 3)
    expected = [1000 * s + f for s in range(3) for f in range(10)] + [3000 + f for f in range(5)]
    assert [content(data[i])[0] for i in range(35)] == expected
    assert content(data[-1]) == [3004]
    assert data.window(12) == Window(str(many[0]), "sim_000001", (2,))
    with pytest.raises(IndexError, match="only 35 items"):
        data[35]
    assert len(list(data)) == 35  # a loop over it ends


def test_windows_do_not_cross_scenes(many: list[Path]) -> None:
    data = FrameDataset(many, "smoke", window=4, stride=3)
    assert data[0].shape == (4, 1, 4, 3)
    starts = [0, 3, 6, 1000, 1003, 1006, 2000, 2003, 2006, 3000]
    assert [content(item) for item in data] == [list(range(s, s + 4)) for s in starts]
    assert data.window(9) == Window(str(many[1]), "sim_000000", (0, 1, 2, 3))


def test_short_scenes_are_left_out(many: list[Path]) -> None:
    data = FrameDataset(many, "smoke", window=6)
    assert [Path(file).name for file, _ in data.scenes] == ["runs.h5"] * 3
    with pytest.raises(InvalidInputError, match="no scene has 11 evenly spaced frames"):
        FrameDataset(many, "smoke", window=11)


def test_some_of_the_frames(many: list[Path]) -> None:
    data = FrameDataset(many[0] / "sim_000001", "smoke", window=2, frames=slice(1, None, 4))
    assert [content(item) for item in data] == [[1001, 1005], [1005, 1009]]
    assert [data.window(i).frames for i in range(2)] == [(1, 5), (5, 9)]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ((0, 1, 2, 4, 5, 6), [(0, 1), (1, 2), (4, 5), (5, 6)]),
        ((0, 10, 20, 30), [(0, 10), (10, 20), (20, 30)]),
        ((0, 1, 10, 20, 30), [(10, 20), (20, 30)]),  # the first two were written by hand
    ],
)
def test_windows_do_not_cross_gaps(
    path: Path, frames: Sequence[int], expected: list[tuple[int, ...]]
) -> None:
    write(path, "s", {"smoke": {f: numbered(f) for f in frames}})
    data = FrameDataset(path, "smoke", window=2)
    assert [data.window(i).frames for i in range(len(data))] == expected


def test_only_frames_that_all_fields_have(path: Path) -> None:
    fields = {"a": (0, 1, 2, 3), "b": (1, 2, 3, 5)}
    write(path, "s", {name: {f: numbered(f) for f in frames} for name, frames in fields.items()})
    write(path, "t", {"a": {0: numbered(7)}})
    data = FrameDataset(path, ["a", "b"], window=3)
    assert [content(data[0][name]) for name in ("a", "b")] == [[1, 2, 3]] * 2
    assert data.scenes == ((str(path), "s"),)


def test_scenes_can_be_chosen(many: list[Path]) -> None:
    chosen = FrameDataset(many, "smoke", scenes="sim_00000[12]")
    assert [scene for _, scene in chosen.scenes] == ["sim_000001", "sim_000002"]
    listed = FrameDataset(many, "smoke", scenes=["sim_000000"])
    assert [Path(file).name for file, _ in listed.scenes] == ["runs.h5", "more.h5"]
    twice = FrameDataset([many[0], many[0] / "sim_000000", many[0]], "smoke")
    assert len(twice) == 30


# --- layout ---------------------------------------------------------------------------------------


def test_channels_come_first(path: Path) -> None:
    vector, dims = vectors(), (DimSpec("vector", "channel"), DimSpec("b", "batch"), *spatial("xy"))
    mixed = centered(RANDOM.random((2, 5, 4, 3)), dims=dims)
    write(path, "s", {"v": {0: vector}, "m": {0: mixed}})
    item = FrameDataset(path, ["v", "m"])[0]
    assert np.array_equal(item["v"], vector.values.transpose(2, 0, 1))
    assert np.array_equal(item["m"], mixed.values.transpose(1, 0, 2, 3))
    assert (item["v"].dtype, item["m"].dtype) == (torch.float32, torch.float64)


def test_staggered_grids_at_centers_and_on_faces(path: Path) -> None:
    record = flow()
    write(path, "s", {"v": {0: record}})
    x, y = record.values[:, :-1, 0], record.values[:-1, :, 1]
    centers = FrameDataset(path, "v")[0]
    assert np.array_equal(centers, [(x[:-1] + x[1:]) / 2, (y[:, :-1] + y[:, 1:]) / 2])
    faces = FrameDataset(path, "v", staggered="faces")[0]
    assert faces.shape == (2, 5, 4)
    assert np.array_equal(faces[0, :, :-1], x)
    assert np.array_equal(faces[1, :-1], y)
    assert not faces[0, :, -1].any()
    assert not faces[1, -1].any()


def test_regions(path: Path) -> None:
    vector, staggered_one = vectors(), flow()
    write(path, "s", {"v": {0: vector}, "u": {0: staggered_one}, "s": {0: numbered(0)}})
    region = {"x": slice(1, 4, 2), "vector": "y"}
    item = FrameDataset(path, ["v", "u", "s"], region=region)[0]
    whole = FrameDataset(path, ["v", "u", "s"])[0]
    assert torch.equal(item["v"], whole["v"][1:, 1:4:2])
    assert torch.equal(item["u"], whole["u"][1:, 1:4:2])
    assert item["s"].shape == (1, 2, 3)
    faces = FrameDataset(path, "u", region={"x": slice(1, 3)}, staggered="faces")[0]
    full = FrameDataset(path, "u", staggered="faces")[0]
    assert torch.equal(faces[0], full[0, 1:4])
    assert torch.equal(faces[1, :-1], full[1, 1:3])
    assert not faces[1, -1].any()
    apart = FrameDataset(path, ["v", "s"], region={"v": {"y": slice(-2, None)}})[0]
    assert (apart["v"].shape, apart["s"].shape) == ((2, 4, 2), (1, 4, 3))


def test_tensors_own_their_memory(path: Path) -> None:
    write(path, "s", {"v": {f: vectors() for f in range(2)}})
    for data in (FrameDataset(path, "v"), FrameDataset(path, "v", window=2)):
        first = data[0]
        first.zero_()
        assert data[0].any()
        assert data[0].numpy().flags.writeable


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window must be a number of frames"),
        ({"stride": 0}, "stride must be"),
        ({"stride": 1.5}, "stride must be"),
        ({"frames": 3}, "frames must be a slice"),
        ({"staggered": "nodes"}, "'centers' or 'faces'"),
        ({"region": {"z": slice(2)}}, "names a dim 'z'"),
        ({"region": {"x": slice(9, None)}}, "is empty"),
        ({"region": {"x": slice(None, None, -1)}}, "positive step"),
        ({"region": {"x": 3}}, "must be a slice"),
        ({"region": {"vector": "z"}}, "no label 'z'; it has 'x', 'y'"),
        ({"region": {"w": {"x": slice(2)}}}, "region names 'w'"),
        ({"region": 3}, "must map"),
    ],
)
def test_bad_options_are_told(path: Path, options: dict[str, Any], message: str) -> None:
    write(path, "s", {"v": {0: vectors()}})
    with pytest.raises(InvalidInputError, match=message):
        FrameDataset(path, "v", **options)


def test_what_is_missing_is_told(path: Path) -> None:
    write(path, "s", {"v": {0: vectors()}})
    with pytest.raises(FieldNotFoundError, match=r"no scene has fields named 'w'; .* has 'v'"):
        FrameDataset(path, ["w"])
    with pytest.raises(SceneNotFoundError, match="'t'"):
        FrameDataset(path, "v", scenes="t")
    with pytest.raises(SceneNotFoundError, match="'t'"):
        FrameDataset(path / "t", "v")
    with pytest.raises(NotFoundError):
        FrameDataset(path.with_name("none.h5"), "v")
    with pytest.raises(InvalidInputError, match="names no f"):
        FrameDataset([], "v")
    with pytest.raises(InvalidInputError, match="names no f"):
        FrameDataset(path, [])


def test_scenes_of_different_sizes_are_told(path: Path) -> None:
    write(path, "s", {"v": {0: vectors()}})
    write(path, "t", {"v": {0: vectors(8, 8, 2)}})
    with pytest.raises(InvalidInputError, match=r"\(2, 8, 8\), other scenes float32 \(2, 4, 3\)"):
        FrameDataset(path, "v")
    write(path, "s", {"v": {1: vectors(8, 8, 2)}})
    with pytest.raises(InvalidInputError, match="frames of several forms"):
        FrameDataset(path, "v", scenes="s")


# --- splitting and normalising --------------------------------------------------------------------


def test_split_shares_no_scene_and_is_the_same_each_time(many: list[Path]) -> None:
    data = FrameDataset(many, "smoke")
    parts = data.split(0.5, 0.25, 0.25)
    assert [len(part.scenes) for part in parts] == [2, 1, 1]
    assert sorted(scene for part in parts for scene in part.scenes) == sorted(data.scenes)
    assert sum(map(len, parts)) == len(data)
    for part in parts:
        assert {part.window(i)[:2] for i in range(len(part))} == set(part.scenes)
    again = FrameDataset(many[::-1], "smoke").split(0.5, 0.25, 0.25)
    assert [set(part.scenes) for part in again] == [set(part.scenes) for part in parts]
    others = [{p.scenes for p in data.split(0.5, 0.5, seed=seed)} for seed in range(8)]
    assert any(other != others[0] for other in others)


def test_split_gives_each_part_a_scene(many: list[Path]) -> None:
    data = FrameDataset(many, "smoke")
    assert [len(part.scenes) for part in data.split(0.98, 0.01, 0.01)] == [2, 1, 1]
    assert [len(part.scenes) for part in data.split(0.5)] == [2]
    for fractions, message in [
        ((0.5,) * 5, "at most 1"),
        ((), "above 0"),
        ((0.2,) * 5, "4 scenes"),
    ]:
        with pytest.raises(InvalidInputError, match=message):
            data.split(*fractions)


def test_normalized_items_have_mean_0_and_deviation_1(many: list[Path]) -> None:
    train, test = FrameDataset(many, "smoke").split(0.75, 0.25)
    statistics = train.statistics()
    items = torch.stack([item.double() for item in train])
    assert statistics["smoke"].mean == pytest.approx(items.mean().item())
    assert statistics["smoke"].std == pytest.approx(items.std(correction=0).item())
    normal = torch.stack(list(train.normalized(statistics))).double()
    assert normal.mean().item() == pytest.approx(0, abs=1e-5)
    assert normal.std(correction=0).item() == pytest.approx(1, rel=1e-4)
    other = test.normalized(statistics)[0]
    assert torch.allclose(statistics["smoke"].denormalized(other), test[0], rtol=1e-4, atol=1e-2)
    assert test[len(test) - 1].max() > 1  # the dataset itself is as it was
    with pytest.raises(InvalidInputError, match="no statistics of 'smoke'"):
        test.normalized({})


# --- processes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "workers"), [("fork", 4), ("spawn", 2)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork")
def test_workers_of_a_loader_read_all_items(many: list[Path], method: str, workers: int) -> None:
    data = FrameDataset(many, "smoke", window=2)
    _ = data[0]  # the parent has the files open
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=4,
        shuffle=True,
        generator=torch.Generator().manual_seed(1),
        num_workers=workers,
        multiprocessing_context=method,
        persistent_workers=True,
    )
    expected = sorted(content(item) for item in data)
    for _ in range(2):
        found = [content(item) for batch in loader for item in batch]
        assert sorted(found) == expected
        assert found != expected
    assert [content(data[i]) for i in (0, 1)] == [[0, 1], [1, 2]]


def test_pickle_holds_names_only(many: list[Path]) -> None:
    data = FrameDataset(many, "smoke", window=2)
    _ = data[0]
    text = pickle.dumps(data)
    assert b"h5py" not in text
    assert [content(item) for item in pickle.loads(text)] == [content(item) for item in data]


_WRITER = """
import sys
import numpy as np
from h5scene import SceneFile
path = sys.argv[1]
with SceneFile(path) as file:
    record = file.read_frame("sim_000000", "smoke", 0)
    for frame in range(10, 10_000):
        file.write_frame(frame, {"sim_000000": {"smoke": record}})
        print(frame, flush=True)
"""


def test_others_write_meanwhile(many: list[Path]) -> None:
    command = [sys.executable, "-c", _WRITER, str(many[0])]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None
        frame = int(writer.stdout.readline())
        data = FrameDataset(many[0], "smoke", scenes="sim_000000")
        assert len(data) > frame
        for _ in range(3):
            writer.stdout.readline()
            assert [content(data[i]) for i in (0, 9, 10)] == [[0], [9], [0]]
    finally:
        writer.kill()
        writer.communicate()


def test_module_without_torch_says_what_to_install(tmp_path: Path) -> None:
    code = """
        import sys
        sys.modules["torch"] = None
        try:
            import h5scene.torch_data
        except ModuleNotFoundError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert "pip install 'h5scene[torch]'" in done.stdout
