"""Any scenes in any files, merged in portions and stopped anywhere, arrive as they were."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from h5scene import SceneFile, compare, merge
from h5scene.handling import scene_copies
from h5scene.store import close_all
from tests.merging import members
from tests.records import centered


class Stop(Exception):
    """What ends a merge early."""


@st.composite
def scenes(draw: st.DrawFn) -> dict[str, Any]:
    """Returns what stands in a scene."""
    sizes = st.sampled_from([(3,), (40, 40), (200, 40)])  # in one piece, and in chunks
    frames = st.sets(st.integers(0, 9), max_size=4)
    return {
        "fields": draw(st.dictionaries(st.sampled_from("uvw"), st.tuples(frames, sizes))),
        "properties": draw(st.dictionaries(st.text(max_size=8), st.integers() | st.text())),
        "files": draw(st.dictionaries(st.sampled_from(["a", "src/b.py"]), st.binary())),
        "steps": draw(st.lists(st.integers(0, 9), max_size=4)),
        "seed": draw(st.integers(0, 2)),
    }


def write(path: Path, content: dict[str, dict[str, Any]]) -> None:
    """Writes a file of such scenes."""
    with SceneFile(path) as file, file.transaction():
        for scene, things in content.items():
            file.create_scene(scene)
            random = np.random.default_rng(things["seed"])
            for name, (frames, shape) in things["fields"].items():
                for frame in frames:
                    values = random.normal(size=shape).astype(np.float32)
                    grid = centered(values, "xy"[: len(shape)])
                    file.write_frame(frame, {scene: {name: grid}})
            known = {k: v for k, v in things["properties"].items() if k != "__kind__"}
            file.put_properties({scene: known})
            file.write_files({scene: things["files"]})
            for step in things["steps"]:
                file.log_scalars(step, {scene: {"loss": [step / 3]}})


@settings(max_examples=25)
@given(
    files=st.lists(
        st.dictionaries(st.sampled_from(["sim_000000", "sim_000001", "x"]), scenes(), max_size=2),
        min_size=1,
        max_size=3,
    ),
    portion=st.sampled_from([1, 2, 3, 5, 8, 13, scene_copies.PORTION_OBJECTS]),
    stops=st.lists(st.integers(0, 5), max_size=3),
    move=st.booleans(),
)
def test_every_scene_arrives_whole(
    files: list[dict[str, Any]], portion: int, stops: list[int], move: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{i}.h5" for i in range(len(files))]
        for path, content in zip(paths, files, strict=True):
            write(path, content)
            close_all()
            path.with_suffix(".before.h5").write_bytes(path.read_bytes())
        usual, scene_copies.PORTION_OBJECTS = scene_copies.PORTION_OBJECTS, portion
        named: dict[tuple[str, str], str] = {}
        try:
            for stop in [*stops, None]:
                left = [path for path in paths if path.exists()]
                if not left:
                    break
                try:
                    done = merge(
                        left, folder / "all.h5", ids="renumber", move=move,
                        on_progress=_stopping(stop),
                    )  # fmt: skip
                except Stop:
                    continue
                assert done.problems == {}
                assert set(done.removed) == ({str(path) for path in left} if move else set())
                named |= done.scenes
        finally:
            scene_copies.PORTION_OBJECTS = usual
        count = sum(map(len, files))
        with SceneFile(folder / "all.h5", "r") as merged:
            names = merged.scenes
            origins = {
                (o["file"].split("/")[1], o["scene"]): scene
                for scene, o in ((s, merged.properties(s)["merged_from"]) for s in names)
            }
        assert len(names) == len(origins) == count
        assert members(str(folder / "all.h5")) == sorted(names)
        for path, content in zip(paths, files, strict=True):
            for scene in content:
                before = f"{path.with_suffix('.before.h5')}/{scene}"
                found = compare(before, f"{folder}/all.h5/{origins[path.name, scene]}")
                assert [one.path for one in found] == ["@merged_from"]
        close_all()


def _stopping(after: int | None) -> Any:
    """Returns what ends a merge after some of its transactions."""
    calls = 0

    def stop(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if after is not None and calls > after:
            raise Stop

    return stop
