"""Geometries of all kinds to records and back, and what becomes known of them on the way."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from phi.geom import SDF, Box, Geometry, Point, Sphere
from phiml import math
from phiml.math import channel, instance, wrap

from h5scene import objects
from h5scene.errors import CorruptDataError, UnsupportedFieldError, UnsupportedVersionError
from h5scene.objects import ObjectRecord
from h5scene.phi_fields._geometries import geometry_from_record, record_from_geometry
from h5scene.record import TensorRecord
from tests.compare_objects import assert_same
from tests.geometries import flat_mesh, geometries, polygon_mesh, positions

GEOMETRIES = geometries()
FUNCTION = SDF(math.norm, bounds=Box(x=1, y=1), sdf_and_grad=math.norm, out_shape=math.EMPTY_SHAPE)
each = pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)


def fresh(record: ObjectRecord) -> ObjectRecord:
    """Returns an equal record that nobody knows anything of."""
    parts = {
        name: fresh(part)
        if isinstance(part, ObjectRecord)
        else TensorRecord(part.dims, part.data.copy())
        for name, part in record.parts.items()
    }
    return ObjectRecord(record.kind, dict(record.attrs), parts)


@each
def test_a_geometry_survives(geometry: Geometry) -> None:
    read = geometry_from_record(fresh(record_from_geometry(geometry)))
    assert read is not geometry
    assert_same(read, geometry)


@each
def test_equal_records_have_one_digest(geometry: Geometry) -> None:
    record = record_from_geometry(geometry)
    again = fresh(record)
    assert again == record
    if not any(objects.repetition(tensor.data) for tensor in objects.tensors_in(record)):
        assert again.digest == record.digest


@each
def test_every_part_and_attribute_counts_in_the_digest(geometry: Geometry) -> None:
    record = record_from_geometry(geometry)
    digests = {record.digest}
    for name, part in record.parts.items():
        others = {key: value for key, value in record.parts.items() if key != name}
        digests.add(ObjectRecord(record.kind, record.attrs, others).digest)
        if isinstance(part, TensorRecord) and part.data.size:
            bits = np.array(part.data, order="C")
            bits.reshape(-1).view(np.uint8)[0] ^= 1
            changed = {**others, name: TensorRecord(part.dims, bits)}
            digests.add(ObjectRecord(record.kind, record.attrs, changed).digest)
    tensors = [p for p in record.parts.values() if isinstance(p, TensorRecord) and p.data.size]
    assert len(digests) == 1 + len(record.parts) + len(tensors)


def test_one_object_has_one_record_and_is_found_again() -> None:
    mesh = flat_mesh()
    record = record_from_geometry(mesh)
    assert record_from_geometry(mesh) is record
    read = fresh(record)
    first = geometry_from_record(read)
    assert geometry_from_record(read) is first
    assert record_from_geometry(first) is read  # written again, it is known already


def test_geometries_are_not_kept_alive() -> None:
    geometry = Point(positions())
    record = record_from_geometry(geometry)
    read = geometry_from_record(fresh(record))
    died: list[str] = []
    import weakref

    for what, obj in {"written": geometry, "read": read}.items():
        weakref.finalize(obj, died.append, what)
    del geometry, read, obj
    gc.collect()
    assert sorted(died) == ["read", "written"]


def test_a_record_has_memory_of_its_own() -> None:
    array = np.zeros((3, 2), np.float32)
    geometry = Point(wrap(array, instance("points"), channel(vector="x,y")))
    center = record_from_geometry(geometry).parts["center"]
    array += 1
    assert isinstance(center, TensorRecord)
    assert not center.data.any()


def test_memory_changed_behind_a_geometry_is_noticed() -> None:
    array = np.zeros((1000, 2), np.float32)
    geometry = Point(wrap(array, instance("points"), channel(vector="x,y")))
    record_from_geometry(geometry)
    array += 1
    center = record_from_geometry(geometry).parts["center"]
    assert isinstance(center, TensorRecord)
    assert center.data.all()


def test_a_constant_needs_no_memory() -> None:
    count = 1 << 40
    points = math.expand(wrap([1.0, 2.0], channel(vector="x,y")), instance(points=count))
    record = record_from_geometry(Sphere(points, radius=0.5))
    assert record.byte_count < 1000
    read = geometry_from_record(fresh_constant(record))
    assert read.shape.get_size("points") == count
    assert read.center.points[0].numpy("vector").tolist() == [1.0, 2.0]


def fresh_constant(record: ObjectRecord) -> ObjectRecord:
    """Returns an equal record, without a copy of its arrays."""
    return ObjectRecord(record.kind, record.attrs, record.parts)


@pytest.mark.parametrize(
    ("geometry", "name"),
    [
        (FUNCTION, "SDF"),
        (~FUNCTION, "SDF"),
        (type("Mine", (Sphere,), {})(x=1, y=1, radius=1), "Mine"),
    ],
    ids=["function", "inside another", "class of a user"],
)
def test_other_geometries_are_refused_by_their_name(geometry: Any, name: str) -> None:
    with pytest.raises(UnsupportedFieldError, match=name):
        record_from_geometry(geometry)


def test_a_mesh_with_an_odd_boundary_is_refused() -> None:
    mesh = polygon_mesh()
    mesh.boundaries["wall"] = [object()]
    with pytest.raises(UnsupportedFieldError, match="'wall'"):
        record_from_geometry(mesh)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_geometry_that_lacks_a_part_is_damaged(name: str) -> None:
    record = record_from_geometry(GEOMETRIES[name])
    optional = {"rotation", "lower", "upper", "gradient", "volume", "bounding_radius"}
    optional |= {"extrapolation", "center"} if record.kind == "sdf_grid" else {"extrapolation"}
    for key in set(record.parts) - optional:
        if not key.startswith("boundary_") and key != "flip_normals":
            others = {other: part for other, part in record.parts.items() if other != key}
            with pytest.raises(CorruptDataError):
                geometry_from_record(ObjectRecord(record.kind, record.attrs, others))
    for key in record.attrs:
        rest = {other: value for other, value in record.attrs.items() if other != key}
        if key not in ("variable_attrs", "value_attrs"):
            with pytest.raises(CorruptDataError):
                geometry_from_record(ObjectRecord(record.kind, rest, record.parts))


def test_a_kind_of_a_newer_version_is_named() -> None:
    with pytest.raises(UnsupportedVersionError, match="'tesseract'"):
        geometry_from_record(ObjectRecord("tesseract"))


def test_an_array_where_a_geometry_should_be_is_damage() -> None:
    record = record_from_geometry(GEOMETRIES["mesh"])
    parts = {**record.parts, "elements": ObjectRecord("point", {}, {})}
    with pytest.raises(CorruptDataError):
        geometry_from_record(ObjectRecord(record.kind, record.attrs, parts))
