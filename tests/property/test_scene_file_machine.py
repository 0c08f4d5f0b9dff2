"""SceneFile against a dict: any history of calls, with transactions, leaves what the dict says."""

from __future__ import annotations

import copy
import json
import os
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from h5scene import SceneFile
from h5scene.errors import (
    AlreadyExistsError,
    FieldNotFoundError,
    FrameNotFoundError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    SceneNotFoundError,
)
from h5scene.record import STAGGERED, Bounds, DimSpec, FieldRecord
from h5scene.store import close_all
from tests.records import PERIODIC, centered, spatial, tensor, vector

# Given names and where they are stored; some share a place, and only one of those may be written.
FIELDS = {
    "smoke": "smoke",
    "Smoke": "Smoke",
    "fluid.velocity": "fluid_velocity",
    "fluid_velocity": "fluid_velocity",
    "ρ": "rho",
    "a b": "a-b",
}
SERIES = ("sim", "b")
SCENES = ("sim_000000", "sim_000001", "sim_000007", "b_000000", "Größe", "backup")
FRAMES = (0, 1, 42, 999_999, 1_000_000, 10**17 + 1)
PROPERTIES = ("dt", "kind", "", "a/b", "x" * 1500)
VALUES = (0.5, None, "text", [1, {"a": True}], tensor([1.0, 2.0]), "y" * (1 << 20), 10**30)
VALUES_DRAWN = st.integers(0, len(VALUES) - 1).map(VALUES.__getitem__)  # their repr takes long
CURVES = ("loss", "u v", "_")
FILES = ("log", "src", "src/a.py", "src/b.py", "log/1")


def record(number: int) -> FieldRecord:
    """Returns one of a few records that differ in all that a record can differ in."""
    dims = (*spatial("xy"), DimSpec("vector", "channel", ("x", "y")))
    rng = np.random.default_rng(number)
    match number:
        case 0:
            return centered(1.0)
        case 1:
            return centered(2.0)
        case 2:
            return centered(np.arange(6, dtype=np.int8).reshape(2, 3), boundary=PERIODIC)
        case 3:
            return centered(rng.normal(size=(300, 40)))  # chunked
        case 4:
            bounds = Bounds(vector([-1, 0], "xy", np.float32), vector([1, 7], "xy", np.int32))
            return centered(np.zeros((0, 3), bool), bounds=bounds)
        case 5:
            return centered(boundary={"type": "field", "field": centered(3.0)})
        case 6:
            large = vector(np.arange(1000.0), [str(i) for i in range(1000)])
            return centered(boundary={"type": "constant", "value": large})
        case _:
            values = rng.normal(size=(5, 4, 2)).astype(np.complex64)
            found = centered(values, dims=dims, boundary=PERIODIC, attrs={"value_attrs": []})
            described = replace(found.description, field_type=STAGGERED)
            return FieldRecord(described, values)


RECORDS = tuple(record(number) for number in range(8))


def new_scene() -> dict[str, Any]:
    """Returns what the model has of a scene."""
    return {"fields": {}, "properties": {}, "times": {}, "curves": {}, "files": {}}


class Stop(Exception):
    """Ends a transaction."""


class SceneFileMachine(RuleBasedStateMachine):
    """Calls on one or two `SceneFile` of one path, and what must come of them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.path = Path(self.directory.name) / "runs.h5"
        self.files = [SceneFile(self.path)]
        self.model: dict[str, dict[str, Any]] = {}
        self.committed: dict[str, dict[str, Any]] | None = None
        self.open: list[AbstractContextManager[SceneFile]] = []

    def teardown(self) -> None:
        while self.open:
            self.end_transaction(commit=True)
        for file in self.files:
            file.close()
        self.check_structure(self.model)
        close_all()
        with SceneFile(self.path, "r") as file:
            self.check_content(file)
        close_all()
        self.directory.cleanup()

    # --- what can be drawn ------------------------------------------------------------------------

    @initialize(names=st.lists(st.sampled_from(SCENES), min_size=1, max_size=2, unique=True))
    def begin_with_scenes(self, names: list[str]) -> None:
        for name in names:
            self.files[0].create_scene(name)
            self.model[name] = new_scene()

    def any_file(self, data: st.DataObject) -> SceneFile:
        return data.draw(st.sampled_from(self.files))

    def any_scene(self, data: st.DataObject) -> str:
        """Draws a name that is a scene, if there is one; sometimes another."""
        names = sorted(self.model)
        return data.draw(st.sampled_from([*names[:3] * 3, SCENES[0]]))

    def any_scenes(self, data: st.DataObject) -> list[str]:
        count = data.draw(st.integers(1, 2))
        return list(dict.fromkeys(self.any_scene(data) for _ in range(count)))

    def refused(self, error: type[Exception]) -> Any:
        return pytest.raises(error)

    # --- scenes -----------------------------------------------------------------------------------

    @rule(data=st.data(), series=st.sampled_from(SERIES), count=st.integers(0, 2))
    def create_scenes(self, data: st.DataObject, series: str, count: int) -> None:
        numbers = [
            int(name[len(series) + 1 :]) for name in self.model if name.startswith(f"{series}_")
        ]
        first = max(numbers, default=-1) + 1
        expected = tuple(f"{series}_{first + i:06d}" for i in range(count))
        assert self.any_file(data).create_scenes(series, count) == expected
        self.model |= {name: new_scene() for name in expected}

    @rule(data=st.data(), name=st.sampled_from(SCENES))
    def create_scene(self, data: st.DataObject, name: str) -> None:
        self.any_file(data).create_scene(name)
        self.model.setdefault(name, new_scene())

    @rule(data=st.data())
    def remove_scenes(self, data: st.DataObject) -> None:
        names = self.any_scenes(data)
        self.any_file(data).remove_scenes(names)
        for name in names:
            self.model.pop(name, None)

    @rule(data=st.data(), new=st.sampled_from([*SCENES, "new", "_reserved"]))
    def rename_scene(self, data: st.DataObject, new: str) -> None:
        old, file = self.any_scene(data), self.any_file(data)
        if new.startswith("_"):
            with self.refused(InvalidNameError):
                file.rename_scene(old, new)
        elif old not in self.model:
            with self.refused(SceneNotFoundError):
                file.rename_scene(old, new)
        elif new in self.model and new != old:
            with self.refused(AlreadyExistsError):
                file.rename_scene(old, new)
        else:
            file.rename_scene(old, new)
            self.model[new] = self.model.pop(old)

    # --- fields -----------------------------------------------------------------------------------

    @rule(
        data=st.data(),
        frame=st.sampled_from(FRAMES),
        names=st.lists(st.sampled_from(list(FIELDS)), min_size=1, max_size=3, unique=True),
    )
    def write_frame(self, data: st.DataObject, frame: int, names: list[str]) -> None:
        scenes, file = self.any_scenes(data), self.any_file(data)
        numbers = st.integers(0, len(RECORDS) - 1)
        written = {s: {name: RECORDS[data.draw(numbers)] for name in names} for s in scenes}
        places = [FIELDS[name] for name in names]
        other_spelling = len(set(places)) < len(places) or any(
            FIELDS[name] == FIELDS[stored] and name != stored
            for scene in scenes
            for stored in self.model.get(scene, new_scene())["fields"]
            for name in names
        )
        if other_spelling or not all(scene in self.model for scene in scenes):
            with self.refused((InvalidNameError, SceneNotFoundError)):  # type: ignore[arg-type]
                file.write_frame(frame, written)
            return
        file.write_frame(frame, written)
        for scene, fields in written.items():
            for name, value in fields.items():
                self.model[scene]["fields"].setdefault(name, {})[frame] = value

    @rule(data=st.data(), name=st.sampled_from(list(FIELDS)), frame=st.sampled_from(FRAMES))
    def read_frame(self, data: st.DataObject, name: str, frame: int) -> None:
        scene, file = self.any_scene(data), self.any_file(data)
        if scene not in self.model:
            with self.refused(SceneNotFoundError):
                file.read_frame(scene, name, frame)
            return
        by_link = {FIELDS[n]: frames for n, frames in self.model[scene]["fields"].items()}
        if FIELDS[name] not in by_link:
            same = [link for link in by_link if link.lower() == FIELDS[name].lower()]
            if not same:
                with self.refused(FieldNotFoundError):
                    file.read_frame(scene, name, frame)
            return
        frames = by_link[FIELDS[name]]
        if frame not in frames:
            with self.refused(FrameNotFoundError):
                file.read_frame(scene, name, frame)
        else:
            assert file.read_frame(scene, name, frame) == frames[frame]

    # --- properties, times, curves, files ---------------------------------------------------------

    @rule(
        data=st.data(),
        values=st.dictionaries(st.sampled_from(PROPERTIES), VALUES_DRAWN, max_size=3),
        replace=st.booleans(),
    )
    def put_properties(self, data: st.DataObject, values: dict[str, Any], replace: bool) -> None:
        scenes, file = self.any_scenes(data), self.any_file(data)
        if not all(scene in self.model for scene in scenes):
            with self.refused(SceneNotFoundError):
                file.put_properties(dict.fromkeys(scenes, values), replace=replace)
            return
        file.put_properties(dict.fromkeys(scenes, values), replace=replace)
        for scene in scenes:
            old = {} if replace else self.model[scene]["properties"]
            self.model[scene]["properties"] = old | values

    @rule(data=st.data(), name=st.sampled_from(PROPERTIES))
    def remove_property(self, data: st.DataObject, name: str) -> None:
        scenes, file = self.any_scenes(data), self.any_file(data)
        if not all(scene in self.model for scene in scenes):
            with self.refused(SceneNotFoundError):
                file.remove_property(scenes, name)
            return
        file.remove_property(scenes, name)
        for scene in scenes:
            self.model[scene]["properties"].pop(name, None)

    @rule(data=st.data(), frame=st.sampled_from(FRAMES), time=st.floats(allow_nan=True))
    def put_times(self, data: st.DataObject, frame: int, time: float) -> None:
        scenes, file = self.any_scenes(data), self.any_file(data)
        times = {scene: time + i for i, scene in enumerate(scenes)}
        if frame > 2**53 or not all(map(np.isfinite, times.values())):
            with self.refused(InvalidInputError):
                file.put_times(frame, times)
        elif not all(scene in self.model for scene in scenes):
            with self.refused(SceneNotFoundError):
                file.put_times(frame, times)
        else:
            file.put_times(frame, times)
            for scene in scenes:
                self.model[scene]["times"][frame] = times[scene]

    @rule(
        data=st.data(),
        step=st.integers(0, 5),
        rows=st.dictionaries(
            st.sampled_from(CURVES), st.lists(st.floats(-9, 9), min_size=1, max_size=2), max_size=2
        ),
    )
    def log_scalars(self, data: st.DataObject, step: int, rows: dict[str, list[float]]) -> None:
        scene, file = self.any_scene(data), self.any_file(data)
        if scene not in self.model:
            with self.refused(SceneNotFoundError):
                file.log_scalars(step, {scene: rows})
            return
        curves = self.model[scene]["curves"]
        if any(
            name in curves and len(curves[name][0]) != 1 + len(row) for name, row in rows.items()
        ):
            with self.refused(InvalidInputError):
                file.log_scalars(step, {scene: rows})
            return
        file.log_scalars(step, {scene: rows})
        for name, row in rows.items():
            curves.setdefault(name, []).append([float(step), *row])

    @rule(
        data=st.data(),
        contents=st.dictionaries(st.sampled_from(FILES), st.binary(max_size=20), max_size=2),
    )
    def write_files(self, data: st.DataObject, contents: dict[str, bytes]) -> None:
        scene, file = self.any_scene(data), self.any_file(data)
        if scene not in self.model:
            with self.refused(SceneNotFoundError):
                file.write_files({scene: contents})
            return
        together = {**self.model[scene]["files"], **contents}
        if any(a.startswith(f"{b}/") for a in together for b in together):
            with self.refused(AlreadyExistsError):
                file.write_files({scene: contents})
            return
        file.write_files({scene: contents})
        self.model[scene]["files"] = together

    @rule(data=st.data(), name=st.sampled_from(FILES))
    def remove_file(self, data: st.DataObject, name: str) -> None:
        scene, file = self.any_scene(data), self.any_file(data)
        if scene not in self.model:
            with self.refused(SceneNotFoundError):
                file.remove_file([scene], name)
        elif name not in self.model[scene]["files"]:
            with self.refused(NotFoundError):
                file.remove_file([scene], name)
        else:
            file.remove_file([scene], name)
            del self.model[scene]["files"][name]

    # --- transactions -----------------------------------------------------------------------------

    @precondition(lambda self: len(self.open) < 2)
    @rule(data=st.data())
    def begin_transaction(self, data: st.DataObject) -> None:
        if self.committed is None:
            self.committed = copy.deepcopy(self.model)
        transaction = self.any_file(data).transaction()
        transaction.__enter__()
        self.open.append(transaction)

    @precondition(lambda self: self.open)
    @rule(commit=st.booleans())
    def end_transaction(self, commit: bool) -> None:
        """Commits one level; or rolls back all, for an error leaves every one of them."""
        if commit:
            self.open.pop().__exit__(None, None, None)
        else:
            assert self.committed is not None
            while self.open:
                try:
                    raise Stop
                except Stop as error:
                    with pytest.raises(Stop):
                        leave(self.open.pop(), error)
            self.model = self.committed
        if not self.open:
            self.committed = None

    # --- closing and opening ----------------------------------------------------------------------

    @precondition(lambda self: not self.open)
    @rule(forget=st.booleans())
    def reopen(self, forget: bool) -> None:
        for file in self.files:
            file.close()
        if forget:
            close_all()
        self.check_structure(self.model)
        self.files = [SceneFile(self.path, "r+")]

    @precondition(lambda self: len(self.files) < 3)
    @rule()
    def open_another(self) -> None:
        self.files.append(SceneFile(self.path))

    # --- what must always hold --------------------------------------------------------------------

    @invariant()
    def reads_what_was_written(self) -> None:
        for file in self.files:
            self.check_content(file)

    @invariant()
    def other_programs_see_what_was_committed(self) -> None:
        self.check_structure(self.model if self.committed is None else self.committed)

    def check_content(self, file: SceneFile) -> None:
        """Compares all that SceneFile reads with the model."""
        assert file.scenes == tuple(sorted(self.model))
        for scene, expected in self.model.items():
            fields = {FIELDS[name]: frames for name, frames in expected["fields"].items()}
            assert file.frames(scene) == {n: tuple(sorted(fields[n])) for n in sorted(fields)}
            for name, frames in expected["fields"].items():
                for frame, value in frames.items():
                    assert file.read_frame(scene, name, frame) == value
            assert file.properties(scene) == expected["properties"]
            assert file.times(scene) == expected["times"]
            curves = {
                name: np.column_stack([curve.steps, curve.values]).tolist()
                for name, curve in file.curves(scene).items()
            }
            assert curves == expected["curves"]
            assert file.files(scene) == tuple(sorted(expected["files"]))
            for name, content in expected["files"].items():
                assert file.read_file(scene, name) == content

    def check_structure(self, model: dict[str, dict[str, Any]]) -> None:
        """Compares what plain h5py sees with the model: nothing is missing, or left over."""
        with h5py.File(self.path, "r") as h5:
            assert set(h5) == set(model)
            for scene, expected in model.items():
                group = h5[scene]
                assert group.attrs["kind"] == b"scene"
                fields = {
                    FIELDS[name]: (name, frames) for name, frames in expected["fields"].items()
                }
                assert {link for link in group if link[0] != "_"} == set(fields)
                for link, (name, frames) in fields.items():
                    assert set(group[link]) == {f"{frame:06d}" for frame in frames}
                    assert group[link].attrs.get("name", link.encode()) == name.encode()
                texts = {
                    name: text
                    for name, text in group.attrs.items()
                    if name not in ("kind", "encoding_version")
                }
                if "_properties" in group:
                    texts |= json.loads(group["_properties"][()].tobytes())
                assert set(texts) == set(expected["properties"])
                assert ("_times" in group) == bool(expected["times"])
                assert set(group.get("_curves", ())) == set(expected["curves"])


def leave(transaction: AbstractContextManager[SceneFile], error: BaseException) -> None:
    """Ends a transaction by an error."""
    if not transaction.__exit__(type(error), error, error.__traceback__):
        raise error


TestSceneFile = SceneFileMachine.TestCase
TestSceneFile.settings = settings(
    deadline=None,
    max_examples=int(os.environ.get("H5SCENE_HISTORIES", "25")),
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
