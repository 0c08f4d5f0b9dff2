"""FORMAT.md is enough to read a file: what `tests.plain_reader` finds is what was written."""

from __future__ import annotations

import ast
import math as python_math
import os
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from phi.field import CenteredGrid, PointCloud, StaggeredGrid
from phi.field import Field as PhiField
from phi.field._embed import FieldEmbedding
from phi.geom import Box, Sphere
from phiml import math
from phiml.math import batch, channel, extrapolation, instance, spatial, vec, wrap

import h5scene
import tests.plain_reader as plain
from h5scene import Scene, SceneFile
from h5scene.phi_fields import record_from_field
from h5scene.record import TensorRecord
from tests.compare import assert_same_bits, components, described, numbers
from tests.records import centered, tensor
from tests.strategies import grid_fields

FORMAT = Path(h5scene.__file__).parent / "docs" / "FORMAT.md"
SIMPLE = {
    name: getattr(extrapolation, name.upper().replace("-", "_"))
    for name in (
        *("periodic", "zero-gradient", "symmetric", "antisymmetric", "reflect", "antireflect"),
        *("symmetric-gradient", "none"),
    )
}
NAMES = {type(boundary): name for name, boundary in SIMPLE.items()}
BATCH = batch(b="one,two")
Y, X, VECTOR = spatial(y=3), spatial(x=4), channel(vector="x,y")


def test_the_reader_knows_nothing_but_the_text() -> None:
    source = Path(plain.__file__).read_text(encoding="utf-8")
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [])
        + [alias.name for alias in node.names if isinstance(node, ast.Import)]
    }
    assert imported == {"__future__", "json", "re", "dataclasses", "pathlib", "typing"} | {
        "h5py",
        "numpy",
    }


# --- what the reader finds, compared with PhiFlow's objects ---------------------------------------


def check_tensor(found: plain.Tensor, expected: Any, what: str) -> None:
    """Fails unless dims, labels, dtype and every bit are those of PhiML's tensor."""
    assert len(found.dims) == found.values.ndim, what
    for dim, size, (name, kind, expected_size, labels) in zip(
        found.dims, found.values.shape, described(expected.shape), strict=True
    ):
        assert dim["name"] == name, what
        assert dim["type"] == kind, what
        assert size == expected_size, what
        assert dim.get("labels") == (None if labels is None else list(labels)), what
    assert_same_bits(found.values, numbers(expected), what)


def check_boundary(found: dict[str, Any], expected: Any) -> None:
    """Fails unless the boundary is PhiFlow's."""
    if type(expected) in NAMES:
        assert found == {"type": NAMES[type(expected)]}
        return
    match expected:
        case extrapolation.ConstantExtrapolation():
            assert found["type"] == "constant"
            check_tensor(found["value"], expected.value, "constant")
        case extrapolation._MixedExtrapolation():
            assert found["type"] == "mixed"
            assert found["sides"].keys() == expected.ext.keys()
            for side, part in expected.ext.items():
                check_boundary(found["sides"][side], part)
        case extrapolation._NormalTangentialExtrapolation():
            assert found["type"] == "normal-tangential"
            check_boundary(found["normal"], expected.normal)
            check_boundary(found["tangential"], expected.tangential)
        case extrapolation._ConditionalExtrapolation():
            assert found["type"] == "conditional"
            check_tensor(found["mask"], expected.mask, "mask")
            check_boundary(found["true"], expected.true_ext)
            check_boundary(found["false"], expected.false_ext)
        case extrapolation.Undefined():
            assert found["type"] == "undefined"
            check_boundary(found["derived_from"], expected.derived_from)
        case FieldEmbedding():
            assert found["type"] == "field"
            check_field(found["field"], expected.field)
        case _:
            pytest.fail(f"no test knows {type(expected)}")


def check_values(found: plain.Field, expected: PhiField) -> None:
    """Fails unless the values are PhiFlow's, of cells or of the faces that it stores."""
    if not expected.is_staggered:
        assert found.field_type == "CenteredGrid"
        order = [dim["name"] for dim in found.dims]
        value_dims = {row[0]: row for row in described(expected.values.shape)}
        assert sorted(order) == sorted(value_dims)
        for dim, size in zip(found.dims, found.values.shape, strict=True):
            _, kind, expected_size, labels = value_dims[dim["name"]]
            assert (dim["type"], size) == (kind, expected_size)
            assert dim.get("labels") == (None if labels is None else list(labels))
        assert_same_bits(found.values, numbers(expected.values, tuple(order)), "values")
        return
    assert found.field_type == "StaggeredGrid"
    labels = expected.values.shape.get_labels("~vector")
    axes = list(labels or expected.resolution.names)
    for axis, component in zip(axes, components(expected), strict=True):
        dims, values = found.component(axis)
        names = [dim["name"] for dim in dims]
        for name in [name for name in names if name not in component.shape]:
            component = math.expand(component, expected.shape[name])
        assert_same_bits(values, numbers(component, tuple(names)), axis)


def check_field(found: plain.Field, expected: PhiField) -> None:
    """Fails unless the reader has found all of the field."""
    check_values(found, expected)
    check_boundary(found.boundary, expected.boundary)
    box = expected.bounds
    assert found.axes == list(box.lower.shape.get_labels("vector"))
    check_tensor(found.lower, box.lower, "lower")
    check_tensor(found.upper, box.upper, "upper")
    for name, corner in (("center", box.center), ("size", box.size)):
        tensor = getattr(found, name)
        check_tensor(derived(found, name) if tensor is None else tensor, corner, name)
    for axis in found.axes:
        assert found.cells(axis) == expected.resolution.get_size(axis)
    attrs = {"variable_attrs": ["values"], "value_attrs": ["values"], **found.attrs}
    assert attrs["variable_attrs"] == list(expected.variable_attrs)
    assert attrs["value_attrs"] == list(expected.value_attrs)
    bounds_attrs = found.attrs.get("bounds_variable_attrs", ["pos", "size", "rot"])
    assert bounds_attrs == list(box.variable_attrs)


def derived(field: plain.Field, name: str) -> plain.Tensor:
    """Returns centre or size of a grid that does not say them."""
    lower, upper = field.lower.values, field.upper.values
    if not (lower.dtype.kind == upper.dtype.kind == "i"):
        with np.errstate(over="ignore"):
            lower, upper = lower.astype(np.float32), upper.astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        values = upper - lower if name == "size" else (lower + upper) * 0.5
    return plain.Tensor(field.lower.dims, values)


def check_positions(found: plain.Field, expected: PhiField) -> None:
    """Fails unless cells or faces lie where PhiFlow has them, up to its rounding to float32."""
    points = expected.points
    for axis in found.axes:
        if not expected.is_staggered:
            ours, theirs = found.cell_centers(axis), points.vector[axis]
        else:
            ours, theirs = found.face_positions(axis), points[{"~vector": axis}].vector[axis]
            first, last = (plain.determines(found.boundary, axis, side) for side in "-+")
            ours = ours[..., 1 if first else 0 : -1 if last else None]
        others = [name for name in theirs.shape.names if theirs.shape[name].batch_rank]
        theirs = theirs[{name: 0 for name in theirs.shape.spatial.names if name != axis}]
        native = theirs.numpy((*others, axis))
        np.testing.assert_allclose(
            native, np.broadcast_to(ours, native.shape), rtol=1e-5, atol=1e-4
        )


def read_back(path: Path, *fields: PhiField) -> list[plain.Field]:
    """Returns what the plain reader makes of fields written by h5scene, one frame each."""
    with SceneFile(path, "x") as file:
        file.create_scene("s")
        for frame, field in enumerate(fields):
            file.write_frame(frame, {"s": {"f": record_from_field(field)}})
    with plain.SceneFile(path) as found:
        assert found.frames("s", "f") == list(range(len(fields)))
        return [found.field("s", "f", frame) for frame in range(len(fields))]


# --- fields ---------------------------------------------------------------------------------------

rng = np.random.default_rng(0)


def random_grid(*dims: Any, dtype: Any = np.float32, **options: Any) -> PhiField:
    shape = math.concat_shapes(*dims)
    values = rng.normal(size=shape.sizes) * 50
    if np.dtype(dtype).kind == "c":
        values = values + 1j
    return CenteredGrid(math.wrap(values.astype(dtype), shape), **{"boundary": 0, **options})


def random_faces(boundary: Any, *dims: Any, **sizes: int) -> PhiField:
    grid = StaggeredGrid(0, boundary, Box(x=(-1, 3), y=(0.5, 1.5)), **(sizes or {"x": 4, "y": 3}))
    parts = []
    for axis in grid.resolution.names:
        shape = math.concat_shapes(*dims, grid.values[{"~vector": axis}].shape.spatial)
        parts.append(math.wrap(rng.normal(size=shape.sizes).astype(np.float32), shape))
    faces = math.stack(parts, math.dual(vector=grid.resolution.names))
    return grid.with_values(faces)


EMBEDDED = random_grid(spatial(x=3, y=2), bounds=Box(x=9, y=(-1, 1)))
MIXED = {"x": 0, "y-": 0.5, "y+": extrapolation.ZERO_GRADIENT}
BATCH_BOX = Box(
    lower=math.wrap(np.array([[0.0, 0.1], [1.0, 1.1]]), BATCH, VECTOR),
    upper=math.wrap(np.array([[7.0, 7.1], [9.0, 9.1]]), BATCH, VECTOR),
)
FIELDS: dict[str, PhiField] = {
    "centered": random_grid(X, Y),
    "axes in another order": random_grid(Y, X, bounds=Box(y=2, x=(1, 4))),
    "channel first": random_grid(channel(c=2), X, Y),
    "vector": random_grid(X, Y, VECTOR),
    "batch": random_grid(X, BATCH, Y),
    "labels": random_grid(X, Y, channel(c="ü,a b")),
    "one axis": random_grid(X),
    "four axes": random_grid(spatial(a=2, b=1, c=3, d=2)),
    "large": random_grid(spatial(x=200, y=300)),
    **{
        name: random_grid(X, Y, dtype=name)
        for name in ("bool", "int8", "uint64", "float16", "float64", "complex64", "complex128")
    },
    **{name: random_grid(X, Y, boundary=boundary) for name, boundary in SIMPLE.items()},
    "constants": random_grid(X, Y, boundary=0.1),
    "float32 constant": random_grid(X, Y, boundary=math.wrap(np.float32(0.1))),
    "complex constant": random_grid(X, Y, boundary=1j),
    "infinite constant": random_grid(X, Y, boundary=python_math.inf),
    "nan constant": random_grid(X, Y, boundary=math.wrap(np.array([np.nan, -np.nan]), VECTOR)),
    "vector constant": random_grid(X, Y, VECTOR, boundary=math.wrap([1.5, -2], VECTOR)),
    "batch constant": random_grid(X, BATCH, boundary=math.wrap([1.5, -2], BATCH)),
    "large constant": random_grid(X, boundary=math.wrap(np.arange(600.0), channel(c=600))),
    "mixed": random_grid(X, Y, boundary=MIXED),
    "normal": random_grid(
        X, Y, VECTOR, boundary=extrapolation.combine_by_direction(0, extrapolation.PERIODIC)
    ),
    "conditional": random_grid(
        X,
        BATCH,
        boundary=extrapolation._ConditionalExtrapolation(
            math.wrap([True, False], BATCH), extrapolation.ZERO, extrapolation.PERIODIC
        ),
    ),
    "undefined": random_grid(X, boundary=extrapolation.Undefined(extrapolation.ONE)),
    "field": random_grid(X, Y, boundary=EMBEDDED),
    "fields": random_grid(
        X, Y, boundary={"x": FieldEmbedding(EMBEDDED), "y-": 1, "y+": FieldEmbedding(EMBEDDED * 2)}
    ),
    "field in a field": random_grid(X, Y, boundary=random_grid(X, Y, boundary=EMBEDDED)),
    "single precision box": random_grid(X, Y, bounds=Box(x=0.1, y=(0.3, 0.7))),
    "batch box": random_grid(X, BATCH, Y, bounds=BATCH_BOX),
    "open box": random_grid(X, Y, bounds=Box(x=None, y=1)),
    "staggered": random_faces(0),
    **{
        f"staggered, {name}": random_faces(boundary)
        for name, boundary in SIMPLE.items()
        if name != "symmetric-gradient"  # which PhiFlow has for centered grids only
    },
    "staggered, mixed": random_faces(MIXED),
    "staggered, batch": random_faces(extrapolation.PERIODIC, BATCH),
    "staggered, normal": random_faces(
        extrapolation.combine_by_direction(0, extrapolation.ZERO_GRADIENT)
    ),
    "staggered, tangential": random_faces(
        extrapolation.combine_by_direction(extrapolation.ZERO_GRADIENT, 0)
    ),
    "staggered, undefined": random_faces(extrapolation.Undefined(extrapolation.PERIODIC)),
    "staggered, field": random_faces(EMBEDDED),
    "staggered, one cell": random_faces(extrapolation.PERIODIC, x=1, y=1),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_is_read_by_the_text_alone(tmp_path: Path, name: str) -> None:
    (found,) = read_back(tmp_path / "f.h5", FIELDS[name])
    check_field(found, FIELDS[name])


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ("open box",)])
def test_cells_and_faces_lie_where_the_text_says(tmp_path: Path, name: str) -> None:
    (found,) = read_back(tmp_path / "f.h5", FIELDS[name])
    check_positions(found, FIELDS[name])


def test_frames_may_have_descriptions_of_their_own(tmp_path: Path) -> None:
    fields = list(FIELDS.values())
    for found, expected in zip(read_back(tmp_path / "f.h5", *fields), fields, strict=True):
        check_field(found, expected)


@given(grid_fields(), grid_fields(boundary_depth=1))
@settings(
    deadline=None,
    max_examples=int(os.environ.get("H5SCENE_FIELD_EXAMPLES", "25")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_any_field_is_read_by_the_text_alone(
    tmp_path_factory: pytest.TempPathFactory, first: PhiField, second: PhiField
) -> None:
    fields = (first, second, first)
    path = tmp_path_factory.mktemp("any") / "f.h5"
    for found, expected in zip(read_back(path, *fields), fields, strict=True):
        check_field(found, expected)


@pytest.mark.parametrize("side", ["lower", "upper"])
@pytest.mark.parametrize("boundary", [2.5, extrapolation.PERIODIC], ids=["constant", "periodic"])
def test_outer_faces_that_the_boundary_determines_are_stored_all_the_same(
    tmp_path: Path, boundary: Any, side: str
) -> None:
    (found,) = read_back(tmp_path / "f.h5", random_faces(boundary))
    values = found.values[..., 0][:, : found.cells("y")]
    outer = values[0 if side == "lower" else -1]
    expected = np.full_like(outer, 2.5) if boundary == 2.5 else values[0]
    assert_same_bits(outer, expected)


# --- everything else ------------------------------------------------------------------------------


def test_a_whole_file_is_read_by_the_text_alone(tmp_path: Path) -> None:
    scenes = Scene.create(tmp_path / "runs", batch(b=2), name="sim", copy_calling_script=False)
    grid = random_grid(batch(b=2), X, Y)
    scenes.write({"Smoke": grid, "fluid.velocity": random_faces(0)}, frame=0)
    scenes.write({"Smoke": grid * 2}, frame=1_234_567)
    with SceneFile(tmp_path / "runs") as file:
        first = file.scenes[0]
        file.put_times(5, {first: 0.5})
        file.put_times(3, {first: 0.25})
        file.put_times(5, {first: 0.75})
        for step in (1, 2.5):
            file.log_scalars(step, {first: {"loss": [step / 3], "u": [step, -step]}})
        file.write_files({first: {"src/a b.py": b"\0\xff", "log": b""}})
        file.put_properties({first: PROPERTIES})
        stored = file.properties(first)
    with plain.SceneFile(tmp_path / "runs.h5") as found:
        assert found.scenes() == ["sim_000000", "sim_000001"]
        for scene, part in zip(found.scenes(), math.unstack(grid.values, "b"), strict=True):
            assert found.fields(scene) == {"Smoke": "Smoke", "fluid.velocity": "fluid_velocity"}
            assert found.frames(scene, "Smoke") == [0, 1_234_567]
            assert_same_bits(found.field(scene, "Smoke", 0).values, part.numpy("x,y"))
            assert_same_bits(found.field(scene, "Smoke", 1_234_567).values, part.numpy("x,y") * 2)
        assert found.times(first) == {5: 0.75, 3: 0.25}
        assert found.times("sim_000001") == {}
        curves = {
            name: {column: values.tolist() for column, values in table.items()}
            for name, table in found.curves(first).items()
        }
        assert curves == {
            "loss": {"step": [1, 2.5], "loss": [1 / 3, 2.5 / 3]},
            "u": {"step": [1, 2.5], "u_0": [1, 2.5], "u_1": [-1, -2.5]},
        }
        assert found.curves("sim_000001") == {}
        assert found.files(first) == {"src/a b.py": b"\0\xff", "log": b""}
        assert found.files("sim_000001") == {}
        properties = found.properties(first)
        assert set(properties) == set(PROPERTIES)
        for name, value in properties.items():
            check_property(value, stored[name])
        assert found.properties("sim_000001") == {}


PROPERTIES: dict[str, Any] = {
    "number": 0.1,
    "big": 10**30,
    "text": 'ü "quoted" \n 🌊',
    "nested": {"a": [1, None, {"b": True}], "": {}},
    "inf": [python_math.inf, -python_math.inf, {"nan": python_math.nan}],
    "complex": 1 - 2j,
    "infinite complex": complex(python_math.inf, 1),
    "tensor": tensor(np.arange(6, dtype=np.int8).reshape(2, 3)),
    "tensors": [tensor(np.float16([0.1, np.nan])), {"c": tensor(np.complex64([1j, np.inf]))}],
    "no numbers": tensor(np.zeros((0, 3), np.uint64)),
    "with space/slash": 1,
    "kind": "in the dataset",
    "encoding_version": None,
    "": "empty",
    "a\0b": [1],
    "x" * 2000: {"a": 1},
    "long": "x" * (2 << 20),
}


def check_property(found: Any, expected: Any) -> None:
    """Fails unless the reader has found what h5scene reads."""
    if isinstance(expected, TensorRecord):
        assert [dim["name"] for dim in found.dims] == [dim.name for dim in expected.dims]
        assert [dim["type"] for dim in found.dims] == [dim.type for dim in expected.dims]
        assert_same_bits(found.values, expected.data)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            check_property(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            check_property(a, b)
    else:
        assert type(found) is type(expected)
        assert repr(found) == repr(expected)


# --- readers and writers of other versions --------------------------------------------------------


def test_what_a_reader_does_not_know_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    read_back(path, FIELDS["vector"])
    with h5py.File(path, "r+") as file:
        file.attrs["h5scene_format"] = np.bytes_(b"1.9")
        file["s"].attrs.create("number", 5)
        file["s"].attrs["comment"] = "no JSON"
        file.create_group("other").attrs["kind"] = "mesh"
        file["s"].create_group("other")
        file["s/f"]["notes"] = 1
        file["s/f"].attrs.create("kind", np.bytes_(b"field"))
    with plain.SceneFile(path) as found:
        assert found.scenes() == ["s"]
        assert found.properties("s") == {}
        assert found.fields("s") == {"f": "f"}
        assert found.frames("s", "f") == [0]
        check_field(found.field("s", "f", 0), FIELDS["vector"])
    with SceneFile(path) as file:
        assert file.scenes == ("s",)
        assert file.properties("s") == {}
        assert file.frames("s") == {"f": (0,)}


def test_a_file_written_by_the_text_alone_is_read(tmp_path: Path) -> None:
    path = tmp_path / "f.h5"
    values = np.arange(12, dtype=">f8").reshape(4, 3)
    with h5py.File(path, "w") as file:  # no user block, another superblock
        file.attrs["h5scene_format"] = "1.0"
        scene = file.create_group("mine")
        scene.attrs.update({"kind": "scene", "encoding_version": "1.0", "dt": "0.5"})
        field = scene.create_group("smoke")
        field.attrs.update(
            {
                "kind": "field",
                "encoding_version": "1.0",
                "field_type": "CenteredGrid",
                "dims": '[{"name":"x","type":"spatial"},{"name":"y","type":"spatial"}]',
                "axes": '["x","y"]',
                "lower": np.float32([0, 0]),
                "upper": np.float32([4, 3]),
                "boundary": '{"type":"constant","value":1.5}',
            }
        )
        field.create_dataset("000007", data=values, compression="gzip", fletcher32=True)
    with SceneFile(path, "r") as found:
        assert found.scenes == ("mine",)
        assert found.properties("mine") == {"dt": 0.5}
        record = found.read_frame("mine", "smoke", 7)
    assert_same_bits(record.values, values.astype(np.float64))
    boundary = {"type": "constant", "value": TensorRecord((), np.asarray(1.5))}
    expected = centered(record.values, boundary=boundary).description
    assert record.description.dims == expected.dims
    assert record.description.boundary == expected.boundary
    read = Scene.at(f"{path}/mine").read("smoke", frame=7)
    assert read.bounds == Box(x=4, y=3)


def sources() -> list[str]:
    """Returns the Python code in the document: three lines for particles, a reader of grids."""
    blocks = re.findall(r"```python\n(.*?)```", FORMAT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    return blocks


def test_particles_are_read_in_three_lines(tmp_path: Path) -> None:
    field = PointCloud(Sphere(vec(x=wrap([0.0, 1, 2], instance("points")), y=0), radius=1), 2.5)
    with SceneFile(tmp_path / "runs.h5") as file:
        file.create_scenes("sim")
        file.write_frame(0, {"sim_000000": {"particles": record_from_field(field)}})
    lines = sources()[0]
    assert lines.count("\n") == 3
    with h5py.File(tmp_path / "runs.h5") as opened:
        found: dict[str, Any] = {"file": opened}
        exec(lines, found)  # noqa: S102  # the document of this package
    assert found["positions"].tolist() == [[0, 0], [1, 0], [2, 0]]
    assert found["values"].tolist() == [2.5] * 3


def test_the_reader_in_the_document_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SceneFile("runs.h5") as file:
        file.create_scenes("sim")
        file.write_frame(42, {"sim_000000": {"smoke": record_from_field(FIELDS["vector"])}})
    source = sources()[1]
    found: dict[str, Any] = {}
    exec(source, found)  # noqa: S102  # the document of this package
    assert found["dims"] == ["x", "y", "vector"]
    assert_same_bits(found["values"], FIELDS["vector"].values.numpy("x,y,vector"))
    assert found["lower"].tolist() == [0, 0]
    assert found["upper"].tolist() == [4, 3]
    assert found["boundary"]["type"] == "constant"
