"""Whatever is written to a scene file comes back exactly: fields, properties, names."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from phi.field import Field
from phiml.math import batch

from h5scene import SceneFile
from h5scene.errors import InvalidNameError
from h5scene.phi_fields import field_from_record, record_from_field
from h5scene.record import (
    DIM_TYPES,
    DimSpec,
    FieldRecord,
    TensorRecord,
    slice_record,
    stack_records,
)
from h5scene.store import close_all
from tests.compare import assert_same_field, assert_same_values
from tests.records import centered
from tests.strategies import DTYPES, LABELS, arrays, grid_fields

few = settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
# Without shrinking, which takes minutes: PhiFlow takes 10 ms to make one staggered field.
fields = settings(
    few,
    max_examples=int(os.environ.get("H5SCENE_FIELD_EXAMPLES", "25")),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)


@contextmanager
def scene_file(**options: Any) -> Iterator[tuple[SceneFile, Path]]:
    """Gives a new file with one scene `s`, for one example."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "runs.h5"
        with SceneFile(path, **options) as file:
            file.create_scene("s")
            yield file, path
        close_all()


def field(record: FieldRecord) -> Field:
    """Returns the field of a record as NumPy's, at its own precision."""
    return field_from_record(record, convert_to_backend=False)


# --- fields ---------------------------------------------------------------------------------------


@given(grid_fields(), grid_fields(boundary_depth=1), st.sampled_from(["fast", "small", None]))
@fields
def test_a_field_comes_back(first: Field, second: Field, compression: Any) -> None:
    with scene_file(compression=compression) as (file, path):
        expected: dict[int, Field] = {}
        for frame, grid in [(7, first), (8, second), (9, first), (8, first), (7, second)]:
            file.write_frame(frame, {"s": {"f": record_from_field(grid)}})
            expected[frame] = grid
        for number, wanted in expected.items():
            assert_same_field(field(file.read_frame("s", "f", number)), wanted)
        file.close()
        close_all()  # what was remembered of the file is gone
        with SceneFile(path, "r") as again:
            assert again.frames("s") == {"f": (7, 8, 9)}
            for number, wanted in expected.items():
                assert_same_field(field(again.read_frame("s", "f", number)), wanted)


@given(st.data(), st.integers(1, 3))
@fields
def test_a_batch_over_scenes_comes_back(data: st.DataObject, count: int) -> None:
    labels = data.draw(st.none() | st.lists(LABELS, min_size=count, max_size=count, unique=True))
    dim = DimSpec("b", "batch", None if labels is None else tuple(labels))
    shape = batch(b=count)
    if labels is not None:
        shape = shape.with_dim_size("b", tuple(labels))
    grid = data.draw(grid_fields(batch_dims=shape))
    record = record_from_field(grid)
    slices = [slice_record(record, {"b": i}) for i in range(count)]
    with scene_file() as (file, _):
        scenes = file.create_scenes("sim", count)
        file.write_frame(3, {s: {"f": part} for s, part in zip(scenes, slices, strict=True)})
        found = [records[0] for records in file.read_frames(scenes, ["f"], 3)]
    assert found == slices
    stacked = stack_records(found, dim)
    assert_same_values(field(stacked), grid)
    for i, part in enumerate(slices):
        assert_same_field(field(slice_record(stacked, {"b": i})), field(part))


# --- properties -----------------------------------------------------------------------------------


@st.composite
def tensor_records(draw: st.DrawFn) -> TensorRecord:
    """Draws a tensor of any dtype, dims and bits."""
    sizes = draw(st.lists(st.integers(0, 3), max_size=3))
    names = draw(st.permutations(["x", "y", "vector", "ü"]))[: len(sizes)]
    dims = []
    for name, size in zip(names, sizes, strict=True):
        kind = draw(st.sampled_from(DIM_TYPES))
        labels = draw(st.none() | st.lists(LABELS, min_size=size, max_size=size))
        name = "~" * (kind == "dual") + name
        dims.append(DimSpec(name, kind, None if labels is None else tuple(labels)))
    return TensorRecord(tuple(dims), draw(arrays(sizes, draw(st.sampled_from(DTYPES)))))


TEXTS = st.text() | st.text(st.characters(), max_size=5)  # the second one also has lone surrogates
KEYS = TEXTS.filter(lambda key: key != "__kind__")
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63, -(2**64), 10**400]),
    st.floats(),
    st.complex_numbers(),
    TEXTS,
    tensor_records(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)
LARGE = st.sampled_from(["x" * (2 << 20), ["ü" * (1 << 19)], {"a": "🌊" * (1 << 18)}])
NAMES = KEYS | st.sampled_from(
    [
        *("kind", "encoding_version", "", "/", "a/b", ".", "..", "a\0b", "\0", "x" * 1024),
        *("x" * 1025, "ü" * 600, "name", "h5scene_format", "_properties", "type", "dt"),
    ]
)
PROPERTIES = st.dictionaries(NAMES, VALUES | VALUES | VALUES | LARGE, max_size=4)


def assert_same_value(found: Any, expected: Any) -> None:
    """Fails unless type, value and every bit agree; every NaN of Python's is the same."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same_value(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same_value(a, b)
    elif isinstance(expected, complex):
        assert_same_value([found.real, found.imag], [expected.real, expected.imag])
    elif isinstance(expected, float):
        assert math.isnan(found) if math.isnan(expected) else repr(found) == repr(expected)
    else:
        assert found == expected


def assert_same_properties(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Fails unless both have the same properties; they come sorted by name."""
    assert list(found) == sorted(expected)
    for name, value in found.items():
        assert_same_value(value, expected[name])


@given(PROPERTIES, PROPERTIES, PROPERTIES, st.data())
@few
def test_properties_come_back(
    first: dict[str, Any], second: dict[str, Any], third: dict[str, Any], data: st.DataObject
) -> None:
    with scene_file() as (file, path):
        model: dict[str, Any] = {}
        for update in (first, second):
            file.put_properties({"s": update})
            model |= update
            assert_same_properties(file.properties("s"), model)
        for name in data.draw(st.lists(st.sampled_from([*model, "none"]), max_size=2)):
            file.remove_property(["s"], name)
            model.pop(name, None)
        assert_same_properties(file.properties("s"), model)
        file.close()
        close_all()
        with h5py.File(path) as h5:  # every name that can be an attribute is one
            attributes = set(h5["s"].attrs) - {"kind", "encoding_version"}
            assert attributes <= set(model)
        with SceneFile(path) as again:
            assert_same_properties(again.properties("s"), model)
            again.put_properties({"s": third}, replace=True)
            assert_same_properties(again.properties("s"), third)


@given(
    st.lists(
        st.dictionaries(NAMES, VALUES, max_size=2),
        min_size=2,
        max_size=3,
    )
)
@settings(few, max_examples=25)
def test_properties_of_one_scene_are_not_those_of_another(updates: list[dict[str, Any]]) -> None:
    with scene_file() as (file, _):
        scenes = file.create_scenes("sim", len(updates))
        file.put_properties(dict(zip(scenes, updates, strict=True)))
        for scene, update in zip(scenes, updates, strict=True):
            assert_same_properties(file.properties(scene), update)
        assert file.properties("s") == {}


# --- names ----------------------------------------------------------------------------------------

ANY_NAME = st.text(st.characters() | st.sampled_from("ab_. -/\0ρΔ"), max_size=6)


@given(st.lists(ANY_NAME, min_size=1, max_size=5, unique=True))
@few
def test_fields_are_refused_or_kept_apart(given_names: list[str]) -> None:
    with scene_file() as (file, path):
        stored: dict[str, FieldRecord] = {}
        for number, name in enumerate(given_names):
            record = centered(np.full((2, 2), number, np.float32))
            before = file.frames("s")
            try:
                file.write_frame(0, {"s": {name: record}})
            except InvalidNameError:
                assert file.frames("s") == before
            else:
                stored[name] = record
        assert len(file.fieldnames("s")) == len(stored)
        for name, record in stored.items():
            assert file.read_frame("s", name, 0) == record
        for link in file.fieldnames("s"):
            file.read_frame("s", link, 0)
        file.close()
        with h5py.File(path) as h5:
            assert set(h5["s"]) == {link for link in h5["s"] if not link.startswith("_")}


@given(st.lists(ANY_NAME, min_size=1, max_size=5))
@few
def test_scenes_curves_and_files_are_refused_or_kept_apart(given_names: list[str]) -> None:
    with scene_file() as (file, path):
        scenes, curves, files = {"s"}, {}, {}
        for number, name in enumerate(given_names):
            try:
                file.create_scene(name)
                scenes.add(name)
            except InvalidNameError:
                assert name not in scenes
            try:
                file.log_scalars(0, {"s": {name: [number]}})
                curves.setdefault(name, []).append(number)
            except InvalidNameError:
                assert name not in curves
            try:
                file.write_files({"s": {f"{name}/file": name.encode(errors="replace")}})
                files[f"{name}/file"] = name.encode(errors="replace")
            except InvalidNameError:
                assert f"{name}/file" not in files
        file.close()
        close_all()
        with SceneFile(path) as again:
            assert again.scenes == tuple(sorted(scenes))
            found = {name: curve.values.tolist() for name, curve in again.curves("s").items()}
            assert found == curves
            assert again.files("s") == tuple(sorted(files))
            for name, content in files.items():
                assert again.read_file("s", name) == content
