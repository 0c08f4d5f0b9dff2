"""Fields to records and back: what each part of a record says, and what is refused."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from phi.field import CenteredGrid, Field, PointCloud, StaggeredGrid
from phi.geom import Box, Point, Sphere, UniformGrid
from phiml import math
from phiml.backend import default_backend
from phiml.math import batch, channel, dual, extrapolation, instance, spatial, vec, wrap
from phiml.math.extrapolation import ConstantExtrapolation

from h5scene.errors import (
    CorruptDataError,
    H5SceneError,
    InvalidInputError,
    UnsupportedFieldError,
    UnsupportedVersionError,
)
from h5scene.phi_fields import (
    _read,
    _write,
    dim_specs_from_shape,
    field_from_record,
    record_from_field,
    shape_from_dim_specs,
    tensor_from_record,
    tensor_record_from_tensor,
)
from h5scene.phi_fields._caches import Cache, IdentityCache
from h5scene.record import CENTERED, STAGGERED, Bounds, DimSpec, FieldRecord, TensorRecord
from tests.compare import (
    assert_same_bits,
    assert_same_boundary,
    assert_same_field,
    assert_same_tensor,
    described,
    numbers,
)
from tests.compare_objects import assert_same

X, Y = DimSpec("x", "spatial"), DimSpec("y", "spatial")
VECTOR = DimSpec("vector", "channel", ("x", "y"))
XY = spatial(x=4, y=3)


def grid(values: Any = None, boundary: Any = 0, bounds: Box | None = None, **attrs: Any) -> Field:
    """Returns a centered field on 4×3 cells; unlike CenteredGrid(), of any dtype."""
    values = wrap(np.arange(12, dtype=np.float32).reshape(4, 3), XY) if values is None else values
    return Field(UniformGrid(XY, bounds), values, boundary, **attrs)


def faces(boundary: Any = 0, dtype: Any = np.float32) -> Field:
    """Returns a staggered field on 4×3 cells with numbers from 1 on."""
    boundary = extrapolation.as_extrapolation(boundary)
    parts = []
    for axis in XY.names:
        lower, upper = boundary.valid_outer_faces(axis)
        shape = XY.with_dim_size(axis, XY.get_size(axis) + lower + upper - 1)
        parts.append(wrap(np.arange(1, shape.volume + 1).astype(dtype).reshape(shape.sizes), shape))
    with math.precision(parts[0].dtype.precision or 32):
        return Field(UniformGrid(XY), math.stack(parts, dual(vector=XY)), boundary)


# --- the record -----------------------------------------------------------------------------------


def test_a_centered_grid_as_a_record() -> None:
    field = CenteredGrid(2.5, extrapolation.PERIODIC, Box(x=8, y=(1, 2)), x=4, y=3)
    record = record_from_field(field)
    description = record.description
    assert description.field_type == CENTERED
    assert description.dims == (X, Y)
    assert description.boundary == {"type": "periodic"}
    assert description.attrs == {}
    lower, upper = (TensorRecord((VECTOR,), np.int64(corner)) for corner in ([0, 1], [8, 2]))
    assert description.bounds == Bounds(lower, upper)
    assert_same_bits(record.values, np.full((4, 3), 2.5, np.float32))


def test_a_staggered_grid_as_a_record() -> None:
    record = record_from_field(faces(boundary=7))
    assert record.description.field_type == STAGGERED
    assert record.description.dims == (X, Y, VECTOR)
    x = [[7, 7, 7, 7], [1, 2, 3, 7], [4, 5, 6, 7], [7, 8, 9, 7], [7, 7, 7, 7]]
    y = [[7, 1, 2, 7], [7, 3, 4, 7], [7, 5, 6, 7], [7, 7, 8, 7], [7, 7, 7, 7]]
    assert_same_bits(record.values, np.stack([np.float32(x), np.float32(y)], -1))


def test_dims_are_in_the_order_of_the_field_with_their_labels() -> None:
    values = wrap(np.zeros((2, 4, 3, 2)), channel(vector="u,v"), XY, batch(b="p,q"))
    dims = record_from_field(grid(values)).description.dims
    labelled = DimSpec("vector", "channel", ("u", "v")), X, Y, DimSpec("b", "batch", ("p", "q"))
    assert dims == labelled


def test_attributes_are_named_where_they_are_not_the_default() -> None:
    box = Box(lower=vec(x=0, y=0), upper=vec(x=1, y=1), variable_attrs=("size",))
    field = grid(bounds=box, variable_attrs=("values", "geometry"), value_attrs=())
    attrs = record_from_field(field).description.attrs
    assert attrs == {
        "bounds_variable_attrs": ["size"],
        "variable_attrs": ["values", "geometry"],
        "value_attrs": [],
    }


def test_labels_of_cells_are_named_where_the_values_lack_them() -> None:
    cells = spatial(x="a,b,c,d", y=3)
    bare = wrap(np.zeros((4, 3)), XY)
    assert record_from_field(Field(UniformGrid(cells), bare, 0)).description.attrs == {
        "resolution_labels": {"x": ["a", "b", "c", "d"]}
    }
    labelled = wrap(np.zeros((4, 3)), cells)
    assert record_from_field(Field(UniformGrid(cells), labelled, 0)).description.attrs == {}
    assert record_from_field(Field(UniformGrid(XY), labelled, 0)).description.attrs == {
        "resolution_labels": {"x": []}
    }


def number(value: Any, dtype: Any) -> dict[str, Any]:
    """Returns a constant boundary without dims."""
    return {"type": "constant", "value": TensorRecord((), np.array(value, dtype))}


TREES = {
    "int": (0, number(0, np.int32)),
    "long": (2**40, number(2**40, np.int64)),
    "float": (0.1, number(0.1, np.float64)),
    "bool": (True, number(True, bool)),
    "complex": (1j, number(1j, np.complex128)),
    "half": (wrap(np.float16(0.1)), number(0.1, np.float16)),
    "vector": (
        vec(x=1, y=2),
        {"type": "constant", "value": TensorRecord((VECTOR,), np.int64([1, 2]))},
    ),
    "zero-gradient": (extrapolation.ZERO_GRADIENT, {"type": "zero-gradient"}),
    "symmetric": (extrapolation.SYMMETRIC, {"type": "symmetric"}),
    "antisymmetric": (extrapolation.ANTISYMMETRIC, {"type": "antisymmetric"}),
    "reflect": (extrapolation.REFLECT, {"type": "reflect"}),
    "antireflect": (extrapolation.ANTIREFLECT, {"type": "antireflect"}),
    "symmetric-gradient": (extrapolation.SYMMETRIC_GRADIENT, {"type": "symmetric-gradient"}),
    "none": (extrapolation.NONE, {"type": "none"}),
    "undefined": (
        extrapolation.Undefined(extrapolation.PERIODIC),
        {"type": "undefined", "derived_from": {"type": "periodic"}},
    ),
    "mixed": (
        {"x": extrapolation.PERIODIC, "y-": 0, "y+": extrapolation.REFLECT},
        {
            "type": "mixed",
            "sides": {
                "x": {"type": "periodic"},
                "y-": number(0, np.int32),
                "y+": {"type": "reflect"},
            },
        },
    ),
    "normal-tangential": (
        {"normal": 0, "tangential": extrapolation.SYMMETRIC},
        {
            "type": "normal-tangential",
            "normal": number(0, np.int32),
            "tangential": {"type": "symmetric"},
        },
    ),
    "conditional": (
        extrapolation.where(wrap([True, False], batch("b")), 0, 1.0),
        {
            "type": "conditional",
            "mask": TensorRecord((DimSpec("b", "batch"),), np.array([True, False])),
            "true": number(0, np.int32),
            "false": number(1.0, np.float64),
        },
    ),
}


@pytest.mark.parametrize("kind", TREES)
def test_boundaries_as_trees(kind: str) -> None:
    given, tree = TREES[kind]
    field = grid(boundary=given)
    record = record_from_field(field)
    assert record.description.boundary == tree
    assert_same_field(field_from_record(record), field) if kind != "long" else None


def test_a_field_as_boundary_is_a_record_in_the_tree() -> None:
    inner = faces(extrapolation.PERIODIC)
    tree = record_from_field(grid(boundary=inner)).description.boundary
    assert tree == {"type": "field", "field": record_from_field(inner)}


def test_a_plain_number_stays_one() -> None:
    for value in (0, 0.5, True, 2j):
        read = field_from_record(record_from_field(grid(boundary=value))).boundary.value
        assert type(read.native()) is type(value)


def test_an_integer_of_more_than_32_bits_becomes_an_int64() -> None:
    # PhiML calls it an int32, which cannot hold it.
    read = field_from_record(record_from_field(grid(boundary=2**40))).boundary.value
    assert int(read) == 2**40
    assert read.dtype.bits == 64


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [16, 32, 64])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, np.complex128])
def test_values_keep_their_precision(dtype: Any, precision: int) -> None:
    array = np.linspace(0, 1, 12).reshape(4, 3).astype(dtype)
    field = grid(wrap(array, XY))
    with math.precision(precision):
        record = record_from_field(field)
        read = field_from_record(record)
    assert_same_bits(record.values, array)
    assert_same_bits(numbers(read.values), array)


@pytest.mark.parametrize(
    "dtype", [bool, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64]
)
def test_integers_and_booleans_stay_what_they_are(dtype: Any) -> None:
    field = grid(wrap((np.arange(12) % 2).reshape(4, 3).astype(dtype), XY))
    record = record_from_field(field)
    assert record.values.dtype == dtype
    assert_same_field(field_from_record(record), field)


def test_values_are_not_copied() -> None:
    array = np.zeros((3, 4, 2), np.float32)
    values = wrap(array, spatial("y,x"), channel(c="a,b"))
    record = record_from_field(Field(UniformGrid(XY), values, 0))
    assert np.shares_memory(record.values, array)
    assert np.shares_memory(field_from_record(record).values.native("y,x,c"), array)


def test_constant_dims_take_no_memory() -> None:
    field = CenteredGrid(1.5, 0, x=1000, y=1000, z=1000)
    record = record_from_field(field)
    assert record.values.shape == (1000, 1000, 1000)
    assert record.values.strides == (0, 0, 0)
    assert not record.values.flags.writeable


def test_components_are_not_copied_when_read() -> None:
    record = record_from_field(faces())
    for component in math.unstack(field_from_record(record).values, "~vector"):
        assert np.shares_memory(component.native("x,y"), record.values)


def test_values_with_a_vector_beside_the_components() -> None:
    shape = math.concat_shapes(XY, dual(vector="x,y"), channel(vector="x,y"))
    values = wrap(np.arange(48.0).reshape(4, 3, 2, 2), shape)
    field = Field(UniformGrid(XY), values, extrapolation.PERIODIC)
    record = record_from_field(field)
    assert record.description.dims == (X, Y, VECTOR, DimSpec("~vector", "dual", ("x", "y")))
    assert record.values.shape == (5, 4, 2, 2)
    assert_same_field(field_from_record(record), field)


def test_a_staggered_grid_of_batches_of_stacks() -> None:
    parts = [faces(), faces() * 2]
    field = math.stack(parts, batch(b="p,q"))
    record = record_from_field(field)
    assert record.description.dims == (X, Y, DimSpec("b", "batch", ("p", "q")), VECTOR)
    assert_same_bits(record.values[:, :, 1], record_from_field(parts[1]).values)
    assert_same_field(field_from_record(record), field)


def test_faces_that_only_upper_ends_determine() -> None:
    # Each component has as many values as there are cells, at different places.
    field = faces(
        {"x-": extrapolation.ZERO_GRADIENT, "x+": 0, "y-": 0, "y+": extrapolation.REFLECT}
    )
    assert field.values.shape.is_uniform
    assert_same_field(field_from_record(record_from_field(field)), field)


def padding(record: FieldRecord, component: int) -> Any:
    """Returns the slab that every boundary pads: beyond the upper end of the other axis."""
    values = record.values[..., component]
    return values[:-1, -1] if component == 0 else values[-1, :-1]


def test_padding_takes_each_component_of_a_vector() -> None:
    for value in (vec(x=5, y=6), vec(y=6, x=5), wrap([5, 6], channel("vector"))):
        record = record_from_field(faces(value))
        assert (padding(record, 0) == 5).all()
        assert (padding(record, 1) == 6).all()
    other = record_from_field(faces(vec(x=5, z=6)))
    assert (padding(other, 0) == 5).all()
    assert (padding(other, 1) == 0).all()


def test_padding_varies_along_batch_dims() -> None:
    boundary = ConstantExtrapolation(wrap([[5.0, 6], [7, 8]], batch("b"), channel(vector="x,y")))
    values = math.stack([faces(0), faces(0) * 2], batch("b")).values
    record = record_from_field(Field(UniformGrid(XY), values, boundary))
    assert [dim.name for dim in record.description.dims] == ["x", "y", "b", "vector"]
    for i in range(2):
        assert (record.values[:, -1, i, 0] == [5, 7][i]).all()
        assert (record.values[-1, :, i, 1] == [6, 8][i]).all()


def test_padding_of_an_undefined_boundary_is_what_it_derives_from() -> None:
    record = record_from_field(faces(extrapolation.Undefined(ConstantExtrapolation(5))))
    assert (padding(record, 0) == 5).all()


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [(3 + 4j, np.float32, 3), (1e300, np.float32, np.inf), (2.9, np.int16, 2), (5, bool, True)],
)
def test_padding_has_the_dtype_of_the_values(value: Any, dtype: Any, expected: Any) -> None:
    record = record_from_field(faces(value, dtype))
    assert record.values.dtype == dtype
    assert (padding(record, 0) == expected).all()
    assert_same_field(field_from_record(record), faces(value, dtype))


def test_padding_of_views_that_interleave() -> None:
    # NumPy 2.4.6 computes np.negative(a[2:3, …, 0], out=a[3:4, …, 0]) wrong for such shapes.
    resolution = spatial(z=4, x=1, y=4, w=1)
    boundary = extrapolation.ANTISYMMETRIC
    rng = np.random.default_rng(0)
    parts = []
    for axis in resolution.names:
        shape = resolution.with_dim_size(axis, resolution.get_size(axis) + 1)
        parts.append(wrap(rng.normal(size=shape.sizes).astype(np.float32), shape))
    field = Field(UniformGrid(resolution), math.stack(parts, dual(vector=resolution)), boundary)
    values = record_from_field(field).values
    for i, part in enumerate(parts):
        edges = [(0, int(k != i)) for k in range(4)]
        expected = np.pad(part.numpy(resolution.names), edges, "edge")
        for k in {0, 1, 2, 3} - {i}:
            last = (*[slice(None)] * k, -1)
            expected[last] = -expected[last]
        np.testing.assert_array_equal(values[..., i], expected)


NORMAL = {"normal": 5, "tangential": extrapolation.ANTISYMMETRIC}


@pytest.mark.parametrize("side_names", [("x", "y"), ("x-", "x+", "y-", "y+")])
def test_padding_knows_normal_from_tangential(side_names: tuple[str, ...]) -> None:
    # At sides named without a sign PhiFlow takes the tangential part for every component.
    sides = {side: extrapolation.as_extrapolation(NORMAL) for side in side_names}
    sides[side_names[-1]] = extrapolation.as_extrapolation({**NORMAL, "normal": 6})
    values = record_from_field(faces(sides)).values
    assert (values[[0, -1], :-1, 0] == 5).all()
    np.testing.assert_array_equal(values[1:-1, -1, 0], -values[1:-1, -2, 0])
    assert (values[:-1, -1, 1] == 6).all()


@pytest.mark.parametrize("boundary", [extrapolation.NONE, wrap([5.0, 6.0], batch("other"))])
def test_padding_is_zero_where_nothing_is_known(boundary: Any) -> None:
    field = faces(boundary)
    record = record_from_field(field)
    assert (record.values[-1, :, 1] == 0).all()
    assert (record.values[:, -1, 0] == 0).all()
    assert_same_field(field_from_record(record), field)


def test_padding_varies_along_the_side_as_far_as_phiflow_knows() -> None:
    # The profile fits the x component at both of its ends; nothing fits the y component.
    profile = wrap(np.float32([1, 2, 3]), spatial("y"))
    sides = {
        "x-": ConstantExtrapolation(profile),
        "x+": extrapolation.ZERO_GRADIENT,
        "y": extrapolation.PERIODIC,
    }
    field = faces(sides)
    values = record_from_field(field).values
    with pytest.raises(Exception):  # noqa: B017, PT011  # PhiFlow raises whatever comes
        field.staggered_tensor()
    assert (values[:, -1, 0] == 0).all()
    assert_same_field(field_from_record(record_from_field(field)), field)


def test_what_phiflow_pads_conditionally_is_taken_from_it() -> None:
    either = extrapolation.where(wrap([True, False], batch("b")), 5.0, 6.0)
    both = math.stack([faces(either)] * 2, batch("b"))
    field = Field(UniformGrid(XY), both.values, either)
    expected = field.staggered_tensor().numpy(field.shape.names)
    assert_same_bits(record_from_field(field).values, expected)
    assert {5.0, 6.0} <= set(expected[0, 0].ravel())


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "box",
    [
        Box(x=1, y=2),
        Box(x=0.1, y=0.3),
        Box(x=(0.1, 0.2), y=(1, 1.1)),
        Box(vec(x=0.1, y=0), vec(x=wrap([1.0, 2.0], batch("b")), y=1)),
        Box(x=(None, 1), y=(0, None)),
        Box(x=None, y=2),
    ],
    ids=["int", "float", "limits", "batch", "half-open", "open"],
)
def test_bounds_survive(box: Box) -> None:
    field = grid(bounds=box)
    assert_same_field(field_from_record(record_from_field(field)), field)


def test_bounds_in_double_precision_survive() -> None:
    with math.precision(64):
        field = grid(bounds=Box(x=0.1, y=(0.2, 1 / 3)))
    assert field.bounds.size.dtype.bits == 64
    record = record_from_field(field)
    assert (
        record.description.bounds.center is not None
    )  # in float32 it would follow from the corners
    assert_same_field(field_from_record(record), field)


def test_bounds_made_from_centre_and_size_survive() -> None:
    box = Box(vec(x=1 / 3, y=0.1), vec(x=0.7, y=1e-3), wrap(None), wrap(False))
    field = grid(bounds=box)
    record = record_from_field(field)
    assert record.description.bounds.size is not None
    assert_same_field(field_from_record(record), field)


def test_size_and_centre_are_left_out_where_they_follow() -> None:
    for box in (Box(x=1, y=2), Box(x=0.1, y=0.3), Box(x=1.5, y=2)):
        bounds = record_from_field(grid(bounds=box)).description.bounds
        assert (bounds.center, bounds.size) == (None, None)


def test_axes_may_be_in_any_order() -> None:
    field = StaggeredGrid(0, 0, Box(y=1, x=2), y=3, x=4)
    record = record_from_field(field)
    assert [dim.name for dim in record.description.dims] == ["y", "x", "vector"]
    assert record.description.dims[-1].labels == ("y", "x")
    assert_same_field(field_from_record(record), field)


# --- refusals -------------------------------------------------------------------------------------


class _Odd(extrapolation.Extrapolation):
    """A boundary condition of the user's own."""

    def __init__(self) -> None:
        super().__init__(2)

    @property
    def shape(self) -> Any:
        return math.EMPTY_SHAPE


def _open_box() -> Box:
    is_open = wrap([True, False], dual(side="lower,upper"))
    return Box(vec(x=1.0, y=1.0), vec(x=2.0, y=2.0), wrap(None), is_open)


def _rotated() -> Field:
    field = grid()
    box = Box(vec(x=1.0, y=1.0), vec(x=2.0, y=2.0), wrap(0.1), wrap(False))
    object.__setattr__(field.geometry, "bounds", box)
    return field


def _nested(levels: int) -> Any:
    boundary: Any = extrapolation.PERIODIC
    for _ in range(levels):
        boundary = extrapolation.Undefined(boundary)
    return boundary


def _without_post_init(field: Field, **changes: Any) -> Field:
    """Returns a field whose parts PhiFlow would not have put together."""
    odd = object.__new__(Field)
    odd.__dict__.update(field.__dict__, **changes)
    return odd


def _axes_apart() -> Field:
    field = grid()
    object.__setattr__(field.geometry, "resolution", spatial(y=3, x=4))
    return field


def _unnamed_corner() -> Field:
    field = grid()
    field.bounds.__dict__["lower"] = wrap([0, 0], channel("vector"))
    return field


class _OtherBox(Box):
    """A box of the user's own."""


def _other_box() -> Field:
    field = grid()
    box = _OtherBox(vec(x=1.0, y=1.0), vec(x=2.0, y=2.0), wrap(None), wrap(False), ())
    object.__setattr__(field.geometry, "bounds", box)
    return field


def _faces_of(*components: Any, labels: str = "x,y") -> Field:
    values = math.stack(list(components), dual(vector=labels))
    return _without_post_init(faces(), values=values)


REFUSED = {
    "other box": (_other_box, "geometry of class .*_OtherBox"),
    "number": (lambda: 1.0, "cannot store a float as a field"),
    "none": (lambda: None, "cannot store a NoneType as a field"),
    "layout": (lambda: math.layout([grid(), faces()], batch("b")), "Layout that holds a Field"),
    "no values": (lambda: Field(UniformGrid(XY), None, 0), "values are NoneType"),
    "own boundary": (lambda: grid(boundary=_Odd()), "boundary of class .*_Odd"),
    "deep boundary": (lambda: grid(boundary=_nested(40)), "more than 32 levels"),
    "other size": (
        lambda: _without_post_init(grid(), values=wrap(np.zeros((4, 2)), spatial("x,y"))),
        "on a grid of",
    ),
    "missing dim": (
        lambda: _without_post_init(grid(), values=wrap(np.zeros(4), spatial("x"))),
        "on a grid of",
    ),
    "other faces": (
        lambda: _without_post_init(faces(), values=faces(extrapolation.PERIODIC).values),
        "there must be 3 values along 'x'",
    ),
    "other points": (
        lambda: _without_post_init(
            PointCloud(Point(wrap(np.zeros((3, 2)), instance("p"), channel(vector="x,y")))),
            values=wrap(np.zeros(4), instance("p")),
        ),
        "4 entries along 'p', the geometry 3",
    ),
    "huge integer": (lambda: grid(boundary=2**70), "does not fit"),
}
# What the compact form of grids cannot hold stands in the form of all other fields.
GENERAL = {
    "axes apart": _axes_apart,
    "unnamed corner": _unnamed_corner,
    "other order of faces": lambda: _faces_of(
        *math.unstack(faces().values, "~vector"), labels="y,x"
    ),
    "different batches": lambda: _faces_of(
        *[
            math.expand(part, batch(b=n))
            for n, part in zip((2, 3), math.unstack(faces().values, "~vector"), strict=True)
        ]
    ),
    "points": lambda: PointCloud(Sphere(vec(x=1, y=2), radius=1), 1),
    "one box": lambda: Field(Box(vec(x=0, y=0), vec(x=1, y=1)), 1),
    "open by flag": lambda: grid(bounds=_open_box()),
    "rotated": _rotated,
    "labelled faces": lambda: Field(
        UniformGrid(XY),
        wrap(np.zeros((2, 4, 3)), dual(vector="x,y"), spatial(x="a,b,c,d", y=3)),
        extrapolation.PERIODIC,
    ),
    "non-uniform": lambda: grid(
        math.stack([wrap(np.zeros((4, 3, n)), XY, instance("i")) for n in (1, 2)], batch("b"))
    ),
    "texts": lambda: grid(math.layout([["a"] * 3] * 4, XY)),
}


@pytest.mark.parametrize("case", GENERAL)
def test_what_is_no_plain_grid_survives(case: str) -> None:
    field = GENERAL[case]()
    record = record_from_field(field)
    assert record.description.field_type == "Field"
    assert_same(field_from_record(record, convert_to_backend=False), field)


@pytest.mark.parametrize(
    "tensor",
    [
        wrap([1.0, 2.0], channel("c")),
        wrap(True),
        wrap(np.array([1 + 2j], np.complex64), batch(b="one")),
        wrap(np.zeros((0, 3), np.uint8), spatial("x"), channel(vector="x,y,z")),
        math.expand(wrap(1.5), spatial(x=4)),
        math.layout([["a", None], [2, 0.5]], batch("i,j")),
        math.layout(("a", True), batch("i")),
        math.stack([wrap([1, 2], instance("i")), wrap([3], instance("i"))], batch("b")),
    ],
    ids=str,
)
def test_a_tensor_is_a_field_of_its_own(tensor: Any) -> None:
    read = field_from_record(record_from_field(tensor), convert_to_backend=False)
    assert_same(read, tensor)


def test_a_boundary_of_points_survives() -> None:
    field = grid(boundary=PointCloud(Sphere(vec(x=1, y=2), radius=1), 1))
    read = field_from_record(record_from_field(field), convert_to_backend=False)
    assert_same(read.boundary.field, field.boundary.field)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_stored_is_refused(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(UnsupportedFieldError, match=message) as info:
        record_from_field(make())  # type: ignore[arg-type]
    assert isinstance(info.value, InvalidInputError)
    assert isinstance(info.value, NotImplementedError)


def test_traced_values_are_refused() -> None:
    field = grid()

    @math.jit_compile_linear
    def store(values: Any) -> Any:
        record_from_field(field.with_values(values))
        return values

    with pytest.raises(UnsupportedFieldError, match="Tracer"):
        store(field.values)


# --- records that contradict themselves -----------------------------------------------------------


def changed(record: FieldRecord, **changes: Any) -> FieldRecord:
    """Returns a record with another description."""
    values = changes.pop("values", record.values)
    return FieldRecord(replace(record.description, **changes), values)


CENTER, FACES = record_from_field(grid()), record_from_field(faces())
LOWER = CENTER.description.bounds.lower


def corner(*dims: DimSpec) -> TensorRecord:
    return TensorRecord(dims, np.zeros([len(dim.labels or "12") for dim in dims]))


def deep(levels: int) -> dict[str, Any]:
    tree: dict[str, Any] = {"type": "periodic"}
    for _ in range(levels):
        tree = {"type": "undefined", "derived_from": tree}
    return tree


NO_LABELS = DimSpec("vector", "channel")
CORRUPT = {
    "kind": (changed(CENTER, field_type="PointCloud"), UnsupportedVersionError, "PointCloud"),
    "rank": (changed(CENTER, dims=(X,)), CorruptDataError, "described with 1 dims"),
    "twice": (changed(CENTER, dims=(X, X)), CorruptDataError, "occurs twice"),
    "type": (changed(CENTER, dims=(X, DimSpec("y", "wide"))), CorruptDataError, "wide"),  # type: ignore[arg-type]
    "dual name": (changed(CENTER, dims=(X, DimSpec("y", "dual"))), CorruptDataError, "no name for"),
    "no name": (changed(CENTER, dims=(X, DimSpec("", "spatial"))), CorruptDataError, "no name for"),
    "labels": (
        changed(CENTER, dims=(X, DimSpec("y", "spatial", ("a",)))),
        CorruptDataError,
        "labels",
    ),
    "same labels": (
        changed(CENTER, dims=(X, DimSpec("y", "spatial", ("a", "a", "b")))),
        CorruptDataError,
        "labels",
    ),
    "axis": (changed(CENTER, dims=(X, DimSpec("z", "spatial"))), CorruptDataError, "axis 'y'"),
    "batch axis": (changed(CENTER, dims=(X, DimSpec("y", "batch"))), CorruptDataError, "axis 'y'"),
    "text": (changed(CENTER, values=np.full((4, 3), "a")), CorruptDataError, "dtype"),
    "objects": (changed(CENTER, values=np.full((4, 3), None)), CorruptDataError, "dtype"),
    "corner": (
        changed(CENTER, bounds=Bounds(LOWER, TensorRecord((), np.float64(1)))),
        CorruptDataError,
        "corners differ",
    ),
    "unnamed axes": (
        changed(CENTER, bounds=Bounds(corner(NO_LABELS), corner(NO_LABELS))),
        CorruptDataError,
        "do not name their axes",
    ),
    "no axes": (
        changed(CENTER, bounds=Bounds(corner(replace(VECTOR, labels=())), corner(VECTOR))),
        CorruptDataError,
        "no axes",
    ),
    "centre": (
        changed(CENTER, bounds=Bounds(LOWER, LOWER, TensorRecord((), np.float64(1)))),
        CorruptDataError,
        "'center' of the bounds has no channel dim",
    ),
    "other axes": (
        changed(CENTER, bounds=Bounds(LOWER, LOWER, corner(replace(VECTOR, labels=("x", "z"))))),
        CorruptDataError,
        "do not fit",
    ),
    "list": (
        changed(CENTER, attrs={"value_attrs": "values"}),
        CorruptDataError,
        "no list of names",
    ),
    "numbers": (
        changed(CENTER, attrs={"variable_attrs": [1]}),
        CorruptDataError,
        "no list of names",
    ),
    "cells": (changed(CENTER, attrs={"resolution_labels": ["a"]}), CorruptDataError, "no dict"),
    "cell names": (
        changed(CENTER, attrs={"resolution_labels": {"x": ["a"]}}),
        CorruptDataError,
        "labels",
    ),
    "no type": (changed(CENTER, boundary={}), CorruptDataError, "does not say its type"),
    "odd type": (changed(CENTER, boundary={"type": 5}), CorruptDataError, "does not say its type"),
    "new type": (changed(CENTER, boundary={"type": "moving"}), UnsupportedVersionError, "'moving'"),
    "phiflow's": (
        changed(CENTER, boundary={"type": "mixed_v2"}),
        UnsupportedVersionError,
        "mixed_v2",
    ),
    "no value": (changed(CENTER, boundary={"type": "constant"}), CorruptDataError, "under 'value'"),
    "text value": (
        changed(CENTER, boundary={"type": "constant", "value": "0"}),
        CorruptDataError,
        "no TensorRecord under 'value'",
    ),
    "no sides": (changed(CENTER, boundary={"type": "mixed"}), CorruptDataError, "under 'sides'"),
    "empty sides": (
        changed(CENTER, boundary={"type": "mixed", "sides": {}}),
        CorruptDataError,
        "for each side",
    ),
    "no side name": (
        changed(CENTER, boundary={"type": "mixed", "sides": {"": {"type": "periodic"}}}),
        CorruptDataError,
        "for each side",
    ),
    "side value": (
        changed(CENTER, boundary={"type": "mixed", "sides": {"x": "periodic"}}),
        CorruptDataError,
        "no boundary under 'x'",
    ),
    "nested sides": (
        changed(
            CENTER,
            boundary={
                "type": "mixed",
                "sides": {"x": TREES["mixed"][1], "y": {"type": "periodic"}},
            },
        ),
        CorruptDataError,
        "for each side",
    ),
    "no normal": (
        changed(CENTER, boundary={"type": "normal-tangential", "tangential": {"type": "none"}}),
        CorruptDataError,
        "under 'normal'",
    ),
    "no mask": (
        changed(CENTER, boundary={"type": "conditional"}),
        CorruptDataError,
        "under 'mask'",
    ),
    "no field": (changed(CENTER, boundary={"type": "field"}), CorruptDataError, "under 'field'"),
    "bottomless": (changed(CENTER, boundary=deep(500)), CorruptDataError, "more than 32 levels"),
    "odd field": (
        changed(
            CENTER, boundary={"type": "field", "field": changed(CENTER, field_type="PointCloud")}
        ),
        UnsupportedVersionError,
        "PointCloud",
    ),
    "no components": (
        changed(FACES, dims=(X, Y, DimSpec("c", "channel"))),
        CorruptDataError,
        "no dim 'vector'",
    ),
    "components": (
        changed(FACES, values=np.zeros((5, 4, 3)), dims=(X, Y, NO_LABELS)),
        CorruptDataError,
        "3 components",
    ),
    "other components": (
        changed(FACES, dims=(X, Y, replace(VECTOR, labels=("x", "z")))),
        CorruptDataError,
        "components",
    ),
    "order of components": (
        changed(FACES, dims=(X, Y, replace(VECTOR, labels=("y", "x")))),
        CorruptDataError,
        "components",
    ),
    "no faces": (changed(FACES, values=np.zeros((0, 4, 2))), CorruptDataError, "empty along 'x'"),
    "missing side": (
        changed(
            FACES,
            boundary={"type": "mixed", "sides": {"x": TREES["int"][1], "z": {"type": "none"}}},
        ),
        CorruptDataError,
        "faces along 'y'",
    ),
    "no such faces": (
        changed(FACES, boundary={"type": "symmetric-gradient"}),
        CorruptDataError,
        "faces along 'x'",
    ),
}


@pytest.mark.parametrize("case", CORRUPT)
def test_records_that_contradict_themselves_are_refused(case: str) -> None:
    record, error, message = CORRUPT[case]
    with pytest.raises(error, match=message) as info:
        field_from_record(record)
    assert isinstance(info.value, H5SceneError)


def test_what_phiflow_itself_refuses_is_an_error_of_ours() -> None:
    values = DimSpec("b", "batch", ("p", "q"))
    corners = [corner(DimSpec("b", "batch", ("q", "p")), VECTOR)] * 4
    record = changed(
        CENTER, dims=(X, Y, values), values=np.zeros((4, 3, 2)), bounds=Bounds(*corners)
    )
    with pytest.raises(CorruptDataError, match="do not fit the stored grid"):
        field_from_record(record)


# --- shapes and tensors ---------------------------------------------------------------------------


def test_dims_become_shapes_and_come_back() -> None:
    shape = math.concat_shapes(
        spatial(x=2), batch(b="p,q,r"), dual(d=4), instance(i=0), channel(c="only")
    )
    specs = dim_specs_from_shape(shape)
    assert specs == (
        X,
        DimSpec("b", "batch", ("p", "q", "r")),
        DimSpec("~d", "dual"),
        DimSpec("i", "instance"),
        DimSpec("c", "channel", ("only",)),
    )
    assert described(shape_from_dim_specs(specs, shape.sizes)) == described(shape)
    assert dim_specs_from_shape(math.EMPTY_SHAPE) == ()
    assert not shape_from_dim_specs((), ())


@pytest.mark.parametrize(
    "tensor",
    [
        wrap(1.5),
        wrap(3),
        wrap(np.float16([1, 2]), channel(c="a,b")),
        wrap(np.zeros((2, 0)), batch("b"), instance("i")),
        math.stack([wrap([1, 2], channel("c")), wrap([3, 4], channel("c"))], batch(b="p,q")),
        math.expand(wrap(np.uint8(3)), spatial(x=2, y=3)),
    ],
    ids=["float", "int", "half", "empty", "stack", "expanded"],
)
def test_tensors_survive(tensor: Any) -> None:
    assert_same_tensor(tensor_from_record(tensor_record_from_tensor(tensor)), tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        wrap("text"),
        wrap(["a", "b"], channel("c")),
        math.stack([wrap(np.zeros(n), instance("i")) for n in (1, 2)], batch("b")),
        math.sparse_tensor(
            wrap([[0, 0]], instance("e"), channel(vector="x,y")), wrap([1.0], instance("e")), XY
        ),
        1.5,
    ],
    ids=["text", "texts", "non-uniform", "sparse", "number"],
)
def test_tensors_that_cannot_be_stored_are_refused(tensor: Any) -> None:
    with pytest.raises(UnsupportedFieldError, match="cannot store"):
        tensor_record_from_tensor(tensor)


# --- PyTorch --------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch, as PhiML's default backend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PhiML and PyTorch disagree on what is deprecated
        torch = pytest.importorskip("torch", reason="PyTorch is not installed")
        before = default_backend()
        math.use("torch")
    yield torch
    math.use(before)


TORCH_DTYPES = (
    *("float16", "float32", "float64", "complex64", "complex128"),
    *("bool", "int8", "int16", "int32", "int64", "uint8"),
)


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_torch_tensors_keep_their_dtype(torch: Any, dtype: str) -> None:
    native = torch.arange(12).reshape(4, 3).to(getattr(torch, dtype))
    field = grid(wrap(native, XY))
    record = record_from_field(field)
    assert_same_bits(record.values, native.numpy())
    read = field_from_record(record)
    assert read.values.backend.name == "torch"
    (stored,) = read.values._natives()  # native() would convert it to PhiML's precision
    assert stored.dtype == native.dtype
    assert_same_field(read, field)
    plain = field_from_record(record, convert_to_backend=False)
    assert plain.values.backend.name == "numpy"


@pytest.mark.parametrize(
    "boundary", [0, extrapolation.PERIODIC, {"x": 0, "y": extrapolation.PERIODIC}]
)
def test_staggered_torch_tensors(torch: Any, boundary: Any) -> None:
    expected = record_from_field(faces(boundary, np.float64))
    field = field_from_record(expected)
    for component in math.unstack(field.values, "~vector"):
        assert component.backend.name == "torch"
    assert field.values.backend.name == "torch"
    assert record_from_field(field) == expected
    assert_same_field(field_from_record(expected), faces(boundary, np.float64))
    numpy_field = field_from_record(expected, convert_to_backend=False)
    assert numpy_field.values.backend.name == "numpy"


def test_torch_tensors_with_gradients_and_views(torch: Any) -> None:
    native = torch.arange(12.0, requires_grad=True).reshape(3, 4)
    field = grid(wrap(native, spatial("y,x")))
    assert_same_bits(record_from_field(field).values, native.detach().numpy().T)
    conjugate = torch.tensor([[1 + 2j] * 3] * 4).conj()
    assert record_from_field(grid(wrap(conjugate, XY))).values[0, 0] == 1 - 2j


def test_torch_reads_read_only_and_strided_arrays(torch: Any) -> None:
    array = np.broadcast_to(np.float64(1 / 3), (4, 3))
    for values in (array, np.zeros((8, 3))[::-2]):
        field = field_from_record(changed(CENTER, values=values))
        assert_same_bits(numbers(field.values), np.ascontiguousarray(values))


def test_bfloat16_is_refused(torch: Any) -> None:
    field = grid(wrap(torch.zeros(4, 3, dtype=torch.bfloat16), XY))
    with pytest.raises(UnsupportedFieldError, match="convert"):
        record_from_field(field)


def test_torch_boundaries_become_numpy(torch: Any) -> None:
    value = math.tensor([1.0, 2.0], channel(vector="x,y"))
    assert value.backend.name == "torch"
    field = grid(boundary=value)
    read = field_from_record(record_from_field(field))
    assert read.boundary.value.backend.name == "numpy"
    assert_same_boundary(read.boundary, field.boundary)


# --- caches ---------------------------------------------------------------------------------------


class _Thing:
    """Something that can be referred to weakly."""


def test_a_cache_forgets_what_was_used_least_recently() -> None:
    cache: Cache[int] = Cache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_an_identity_cache_does_not_keep_objects_alive() -> None:
    cache: IdentityCache[int] = IdentityCache(2)
    thing = _Thing()
    cache.put((thing,), "key", 1)
    assert cache.get((thing,), "key") == 1
    assert cache.get((thing,), "other") is None
    assert cache.get((_Thing(),), "key") is None
    alive = weakref.ref(thing)
    del thing
    gc.collect()
    assert alive() is None


def test_an_object_at_the_place_of_a_dead_one_is_not_taken_for_it() -> None:
    cache: IdentityCache[int] = IdentityCache(1000)
    reused = 0
    for _ in range(100):
        thing = _Thing()
        address = id(thing)
        cache.put((thing,), None, 1)
        del thing
        other = _Thing()
        reused += id(other) == address
        assert cache.get((other,), None) is None
    assert reused, "no address was used again, so nothing was tested"


def test_descriptions_are_shared_between_frames() -> None:
    field = faces()
    later = field.with_values(field.values * 2)
    assert record_from_field(field).description is record_from_field(later).description
    records = [record_from_field(f) for f in (field, later)]
    first, second = (field_from_record(record) for record in records)
    assert first.geometry is second.geometry
    assert first.boundary is second.boundary


def test_a_cached_description_does_not_outlive_a_change() -> None:
    field = faces(1)
    record_from_field(field)
    other = Field(field.geometry, field.values, 2)
    value: Any = record_from_field(other).description.boundary["value"]
    assert value.data == 2
    assert (record_from_field(other).values[0, :, 0] == 2).all()
    assert (record_from_field(field).values[0, :, 0] == 1).all()


def test_a_description_shares_no_memory_with_the_field() -> None:
    value, lower = np.zeros(2), np.zeros(2)
    box = Box(wrap(lower, channel(vector="x,y")), wrap(np.ones(2), channel(vector="x,y")))
    record = record_from_field(grid(boundary=wrap(value, channel(vector="x,y")), bounds=box))
    value[:] = lower[:] = 9
    boundary: Any = record.description.boundary
    assert (boundary["value"].data == 0).all()
    assert (record.description.bounds.lower.data == 0).all()


def test_large_boundaries_are_not_kept() -> None:
    mask = wrap(np.arange(2**17) % 2 == 0, batch("b"))
    field = grid(
        boundary=extrapolation._ConditionalExtrapolation(
            mask, *[ConstantExtrapolation(i) for i in (0, 1)]
        )
    )
    record = record_from_field(field)
    assert record_from_field(field).description is not record.description
    assert field_from_record(record).boundary is not field_from_record(record).boundary


def test_reading_keeps_no_frame_alive() -> None:
    values = record_from_field(faces()).values.copy()
    alive = weakref.ref(values)
    field = field_from_record(changed(FACES, values=values))
    del values, field
    gc.collect()
    assert alive() is None


def test_numpy_and_torch_share_no_plan(torch: Any) -> None:
    for convert in (True, False, True):
        field = field_from_record(FACES, convert_to_backend=convert)
        assert field.values.backend.name == ("torch" if convert else "numpy")


def test_the_caches_are_bounded() -> None:
    for i in range(300):
        field = grid(boundary=float(i))
        field_from_record(record_from_field(field))
    assert len(_write._PLANS._cache._values) <= 256
    assert len(_read._PLANS._values) <= 256
