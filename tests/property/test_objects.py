"""Fields on geometries of every kind, and tensors of every kind, through records, file and npz."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import event, given
from hypothesis import strategies as st
from phi.field import Field
from phi.geom import Box, Cuboid, Geometry, Mesh, Point, Sphere, UniformGrid, graph
from phi.geom._mesh import mesh_from_numpy
from phiml import math
from phiml.math import Shape, Tensor, batch, channel, dual, instance, spatial, wrap
from phiml.math._sparse import CompactSparseTensor, CompressedSparseMatrix, SparseCoordinateTensor
from phiml.math._tensors import TensorStack

from h5scene import Scene, export_scenes, import_scenes
from h5scene.objects import join_values, slice_part, split_values, stack_parts
from h5scene.phi_fields import field_from_record, record_from_field
from h5scene.phi_fields._parts import part_from_tensor, tensor_from_part
from h5scene.record import DimSpec, slice_record, stack_records
from tests.compare_objects import assert_same
from tests.property.test_field_records import many
from tests.strategies import DTYPES, arrays, dim, dims

AXES = ("x", "y")
FLOAT = np.dtype("float32")
A = DimSpec("a", "batch")


@st.composite
def dense(draw: st.DrawFn, shape: Shape, dtype: Any = None) -> Tensor:
    """Draws a tensor of these dims: of any bits, in any layout in memory."""
    return wrap(draw(arrays([*shape.sizes], dtype)), shape)


@st.composite
def centers(draw: st.DrawFn, count: int, labels: Any = None) -> Tensor:
    """Draws points in the plane, in single or double precision, of one place or one for a batch."""
    dtype = draw(st.sampled_from([FLOAT, np.dtype("float64")]))
    shape = dim("instance", "points", count, labels) & channel(vector="x,y")
    if draw(st.booleans()):
        shape = draw(dims("batch", "b", st.integers(1, 3))) & shape
    return draw(dense(shape, dtype))


@st.composite
def meshes(draw: st.DrawFn) -> Mesh:
    """Draws a strip of triangles and squares with named boundaries."""
    cells: list[Any] = []
    for i in range(draw(st.integers(1, 3))):
        square = [i, i + 1, i + 5, i + 4]
        is_cut = draw(st.booleans())
        cells += [square[:3], [square[0], *square[2:]]] if is_cut else [square]
    points = draw(arrays([8, 2], FLOAT))
    names = draw(st.lists(st.text("ab-+/. ü", min_size=1, max_size=4), min_size=1, unique=True))
    boundaries: dict[str, Any] = {
        name: draw(
            st.sampled_from([[(0, 1), (1, 2)], np.array([[0, 1]]), [[0, 1], [1, 2]], ((0, 1),)])
        )
        for name in names
    }
    return mesh_from_numpy(points, cells, boundaries, 2)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Draws a geometry of one of the kinds that have most forms."""
    kind = draw(st.sampled_from(["point", "sphere", "box", "rotated", "mesh", "graph", "grid"]))
    event(kind)
    if kind == "mesh":
        return draw(meshes())
    count = draw(st.integers(1, 4))
    labels = [str(i) for i in range(count)] if draw(st.booleans()) else None
    if kind == "grid":
        return UniformGrid(spatial(x=count, y=2), Box(x=1, y=2))
    center = draw(centers(count, labels))
    if kind == "sphere":
        shape = draw(st.sampled_from([math.EMPTY_SHAPE, center.shape.without("vector")]))
        return Sphere(center, draw(dense(shape, FLOAT)))
    if kind in ("box", "rotated"):
        size = draw(dense(channel(vector="x,y"), FLOAT))
        rotation = draw(dense(center.shape.instance, FLOAT)) if kind == "rotated" else wrap(None)
        return type.__call__(Box, center, size, rotation, wrap(False))
    if kind == "graph":
        others = dim("dual", "points", count, labels)
        return graph(Point(center), draw(dense(center.shape.instance & others, FLOAT)))
    return Point(center)


@st.composite
def fields(draw: st.DrawFn) -> Field:
    """Draws a field on a geometry, its values of any dtype, with further dims or without."""
    geometry = draw(geometries())
    shape = geometry.shape.non_channel.non_batch
    if draw(st.booleans()):
        shape = shape & draw(dims("channel", "component", st.integers(1, 2)))
    if draw(st.booleans()):
        shape = batch(t=2) & shape
    names = draw(st.permutations(shape.names))
    shape = math.concat_shapes(*(shape[name] for name in names))
    field = Field(geometry, draw(dense(shape)), draw(st.sampled_from([0, 1.5, True])))
    attrs = draw(st.sampled_from([("values",), ("values", "geometry")]))
    return Field(geometry, field.values, field.boundary, attrs)


@st.composite
def sparse(draw: st.DrawFn, dtype: Any = None) -> Tensor:
    """Draws a matrix in one of PhiML's sparse formats."""
    rows, columns = dim("instance", "cells", 4), dim("dual", "points", 3)
    numbers = draw(st.sampled_from([DTYPES[0], *DTYPES])) if dtype is None else dtype
    extra = draw(st.sampled_from([math.EMPTY_SHAPE, channel(vector="x,y")]))
    form = draw(st.sampled_from(["coo", "csr", "csc", "compact"]))
    event(form)
    if form == "compact":
        index = draw(arrays([4, 2], np.dtype("uint8"))).astype(np.int32) % 3
        values = draw(dense(rows & dim("dual", "points", 2) & extra, numbers))
        return CompactSparseTensor(wrap(index, rows, dual(points=2)), values, columns, True)
    places = draw(st.sets(st.integers(0, 11), min_size=1))
    row, column = np.divmod(np.array(sorted(places), np.int32), 3)
    entries = instance(entries=len(places))
    values = draw(dense(entries & extra, numbers))
    if form == "coo":
        labels = channel(sparse_idx="cells,~points")
        indices = wrap(np.stack([row, column], -1), entries, labels)
        flags = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
        return SparseCoordinateTensor(indices, values, rows & columns, *flags)
    along, other, size = (row, column, 4) if form == "csr" else (column, row, 3)
    order = np.lexsort([other, along])
    pointers = np.searchsorted(along[order], np.arange(size + 1)).astype(np.int32)
    parts = (wrap(other[order], entries), wrap(pointers, instance("pointers")), values)
    shapes = (columns, rows) if form == "csr" else (rows, columns)
    return CompressedSparseMatrix(*parts, *shapes, draw(st.booleans()))


@st.composite
def ragged(draw: st.DrawFn) -> Tensor:
    """Draws tensors of different sizes along a batch dim, or two of these along another one."""
    dtype = draw(st.sampled_from(DTYPES))
    extra = draw(st.sampled_from([math.EMPTY_SHAPE, channel(vector="x,y")]))
    sizes = st.lists(st.integers(0, 4), min_size=2, max_size=2, unique=True)
    outer = [
        TensorStack([draw(dense(instance(points=size) & extra, dtype)) for size in two], batch(b=2))
        for two in draw(st.lists(sizes, min_size=1, max_size=2))
    ]
    labels = draw(st.sampled_from([None, ["one", "two"]]))
    return outer[0] if len(outer) == 1 else TensorStack(outer, dim("batch", "c", 2, labels))


@many
@given(fields())
def test_a_field_on_any_geometry_survives(field: Field) -> None:
    record = record_from_field(field)
    read = field_from_record(record, convert_to_backend=False)
    assert_same(read, field)
    assert record_from_field(read) == record


@many
@given(sparse())
def test_a_sparse_tensor_survives(tensor: Tensor) -> None:
    part = part_from_tensor(tensor, copy=True)
    assert_same(tensor_from_part(part), tensor)
    values, structure = split_values(part)
    assert join_values(values, structure) == part


@many
@given(ragged())
def test_a_tensor_of_varying_sizes_survives(tensor: Tensor) -> None:
    part = part_from_tensor(tensor, copy=True)
    assert_same(tensor_from_part(part), tensor)
    values, structure = split_values(part)
    assert join_values(values, structure) == part


@many
@given(st.lists(st.one_of(ragged(), sparse(FLOAT)), min_size=2, max_size=3))
def test_whatever_is_stacked_comes_back_in_slices(tensors: list[Tensor]) -> None:
    parts = [part_from_tensor(tensor, copy=True) for tensor in tensors]
    stacked = stack_parts(parts, A, "tensors")
    if all(part == parts[0] for part in parts):
        assert stacked == parts[0]
        return
    for i, part in enumerate(parts):
        assert slice_part(stacked, {"a": i}) == part


@many
@given(st.data())
def test_fields_of_different_size_stack_and_come_back(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=3))
    clouds = [
        Field(
            Point(
                wrap(data.draw(arrays([n, 2], FLOAT)), instance("points"), channel(vector="x,y"))
            ),
            wrap(data.draw(arrays([n], FLOAT)), instance("points")),
            0,
        )
        for n in counts
    ]
    records = [record_from_field(cloud) for cloud in clouds]
    stacked = stack_records(records, A)
    for i, record in enumerate(records):
        assert slice_record(stacked, {"a": i}) == record
    read = field_from_record(stacked, convert_to_backend=False)
    assert record_from_field(read) == stacked


@many
@given(st.lists(st.one_of(fields(), sparse(), ragged()), min_size=1, max_size=3))
def test_file_and_npz_hold_the_same(values: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = Scene.create(folder / "runs", copy_calling_script=False)
        scene.write({f"f{i}": value for i, value in enumerate(values)})
        done = export_scenes(folder / "runs.h5", folder / "npz", verify=True)
        assert done.is_complete, done.problems
        done = import_scenes(folder / "npz", folder / "again.h5", verify=True)
        assert done.is_complete, done.problems
        again = Scene.at(folder / "again.h5", 0)
        for i, value in enumerate(values):
            assert_same(scene.read(f"f{i}", convert_to_backend=False), value)
            assert_same(again.read(f"f{i}", convert_to_backend=False), value)


def test_cuboids_of_a_batch() -> None:
    center = wrap(np.zeros((2, 2), np.float32), batch(b="u,v"), channel(vector="x,y"))
    field = Field(Cuboid(center, x=1, y=2), wrap([1, 2], batch(b="u,v")), 0)
    record = record_from_field(field)
    assert_same(field_from_record(record, convert_to_backend=False), field)
    one = field_from_record(slice_record(record, {"b": 1}), convert_to_backend=False)
    assert_same(one.geometry.center, center.b[1])
