"""Descriptions as attributes, frames as datasets or groups: looked at with plain h5py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene.errors import (
    CorruptDataError,
    FormatError,
    InvalidInputError,
    UnsafeFileError,
    UnsupportedFieldError,
    UnsupportedVersionError,
)
from h5scene.format import codec, descriptions, groups
from h5scene.record import (
    STAGGERED,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    TensorRecord,
    same_bits,
)
from tests.records import PERIODIC, ZERO, centered, spatial, vector

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
BATCH = DimSpec("b", "batch", ("one", "two"))


@pytest.fixture
def group(tmp_path: Path) -> Iterator[h5py.Group]:
    """A group of a new HDF5 file with the object headers that scene files have."""
    with h5py.File(tmp_path / "plain.h5", "w", libver=("v108", "v110")) as file:
        yield file.create_group("g")


def stored(group: h5py.Group, record: FieldRecord, link: str = "000000", **options: Any) -> Any:
    """Writes one frame with its own description, as a second one of a field may have."""
    described, arrays = descriptions.split_arrays(record.description)
    attributes = descriptions.attributes_from_description(described)
    compression = options.get("compression", "fast")
    codec.write_frame(group, link, record.values, arrays, attributes, compression)
    return group[link]


def survives(group: h5py.Group, record: FieldRecord) -> None:
    stored(group, record)
    assert codec.read_frame(group, "000000", centered().description) == record


# --- marks and versions ---------------------------------------------------------------------------


def test_a_mark_says_kind_and_encoding(group: h5py.Group) -> None:
    groups.mark(group, "field")
    # Of fixed length, as which HDF5 keeps them with a checksum; h5py gives those as bytes.
    assert dict(group.attrs) == {"kind": b"field", "encoding_version": b"1.0"}
    groups.check_mark(group, "field")


@pytest.mark.parametrize("text", ["a", "", "é" * 2048, "y" * 4097, "é" * 40_000])
def test_a_text_of_any_length_comes_back(group: h5py.Group, text: str) -> None:
    groups.set_text(group.id, "note", text)
    found = group.attrs["note"]
    assert (found.decode() if isinstance(found, bytes) else found) == text


def test_a_newer_minor_encoding_is_accepted(group: h5py.Group) -> None:
    groups.mark(group, "field")
    group.attrs["encoding_version"] = "1.7"
    groups.check_mark(group, "field")


@pytest.mark.parametrize("version", ["2.0", "0.9", "", "x", 1, None])
def test_another_encoding_is_refused(group: h5py.Group, version: Any) -> None:
    groups.mark(group, "field")
    del group.attrs["encoding_version"]
    if version is not None:
        group.attrs["encoding_version"] = version
    with pytest.raises(
        UnsupportedVersionError, match=f"/g is a field of encoding version {version}"
    ):
        groups.check_mark(group, "field")


@pytest.mark.parametrize("kind", [None, "scene", 5, np.array([b"field"])])
def test_another_kind_is_refused(group: h5py.Group, kind: Any) -> None:
    if kind is not None:
        group.attrs["kind"] = kind
    with pytest.raises(CorruptDataError, match=r"/g should be a field|/g has 1 values instead"):
        groups.check_mark(group, "field")


@pytest.mark.parametrize(
    ("version", "number"),
    [("1.0", 1), ("12.3", 12), ("3", 3), ("", -1), ("x.1", -1), ("-1.0", -1), (None, -1), (2, -1)],
)
def test_major_version(version: Any, number: int) -> None:
    assert groups.major(version) == number


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["fast", "small", None])
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (3, 4), (70, 90)], ids=str)
def test_every_bit_of_the_values_survives(
    group: h5py.Group, name: str, shape: tuple[int, ...], compression: Any
) -> None:
    dtype = np.dtype(name)
    rng = np.random.default_rng(0)
    count = int(np.prod(shape))
    values = np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).reshape(shape)
    if dtype.kind == "b":
        values = rng.integers(0, 2, shape).astype(bool)
    dims = spatial("xy"[: len(shape)])
    record = FieldRecord(centered(dims=dims).description, np.asarray(values))
    dataset = stored(group, record, compression=compression)
    assert dataset.dtype == dtype
    assert (
        same_bits(dataset[()], record.values)
        if shape
        else dataset[()].tobytes() == values.tobytes()
    )
    assert codec.read_frame(group, "000000", record.description) == record


@pytest.mark.parametrize("order", ["C", "F", "strided", "read-only", "big-endian"])
def test_memory_layout_of_the_values_does_not_matter(group: h5py.Group, order: str) -> None:
    plain = np.arange(12, dtype=np.float32).reshape(3, 4)
    values = {
        "C": plain,
        "F": np.asfortranarray(plain),
        "strided": np.repeat(plain, 2, axis=1)[:, ::2],
        "read-only": plain.copy(),
        "big-endian": plain.astype(">f4"),
    }[order]
    values.flags.writeable = order != "read-only"
    stored(group, centered(values))
    found = codec.read_frame(group, "000000", centered().description).values
    assert same_bits(found, plain)
    assert found.dtype.isnative


def test_bool_complex_and_half_have_h5pys_types(group: h5py.Group) -> None:
    def kind(dtype: str) -> Any:
        return stored(group, centered(np.ones((2, 2), dtype)), dtype).id.get_type()

    boolean = kind("bool")
    assert boolean.get_class() == h5py.h5t.ENUM
    assert [boolean.get_member_name(i) for i in range(boolean.get_nmembers())] == [
        b"FALSE",
        b"TRUE",
    ]
    number = kind("complex64")
    assert number.get_class() == h5py.h5t.COMPOUND
    assert [number.get_member_name(i) for i in range(2)] == [b"r", b"i"]
    assert [number.get_member_type(i).get_size() for i in range(2)] == [4, 4]
    assert kind("float16").get_size() == 2


@pytest.mark.parametrize(
    "values",
    [
        np.array([["a", "b"]]),
        np.array([[b"a"]]),
        np.array([[None, 1]]),
        np.zeros((2, 2), "datetime64[s]"),
        np.zeros((2, 2), [("a", "i4")]),
        np.zeros((2, 2), np.longdouble),
        np.zeros((2, 2), np.clongdouble),
    ],
    ids=lambda values: str(values.dtype),
)
def test_values_that_are_no_numbers_are_refused(values: Any) -> None:
    with pytest.raises(UnsupportedFieldError, match=r"field 'a' has values of dtype .*; only"):
        codec.check_values(centered(values), "field 'a'")


def test_values_that_do_not_fit_their_dims_are_refused() -> None:
    codec.check_values(centered(np.zeros((2, 2))), "field 'a'")
    with pytest.raises(InvalidInputError, match=r"field 'a' has 3 axes, but the dims \(x, y\)"):
        codec.check_values(centered(np.zeros((2, 2, 2))), "field 'a'")


# --- descriptions ---------------------------------------------------------------------------------


def test_a_plain_description_is_readable_attributes(group: h5py.Group) -> None:
    dims = (*spatial("xy"), DimSpec("vector", "channel", ("x", "y")))
    frame = stored(group, centered(np.zeros((2, 3, 2)), dims=dims))
    found = {
        name: json.loads(value) if isinstance(value, bytes) and value[0] in b"[{" else value
        for name, value in frame.attrs.items()
    }
    corners = {name: found.pop(name) for name in ("lower", "upper")}
    assert found.pop("checksum") > 0
    assert {name: corner.tolist() for name, corner in corners.items()} == {
        "lower": [0.0, 0.0],
        "upper": [1.0, 1.0],
    }
    assert found == {
        "field_type": b"CenteredGrid",
        "dims": [
            {"name": "x", "type": "spatial"},
            {"name": "y", "type": "spatial"},
            {"name": "vector", "type": "channel", "labels": ["x", "y"]},
        ],
        "axes": ["x", "y"],
        "boundary": {"type": "constant", "value": 0},
    }


def test_a_staggered_description_survives(group: h5py.Group) -> None:
    dims = (BATCH, *spatial("xy"), DimSpec("vector", "channel", ("y", "x")))
    record = centered(np.arange(48.0).reshape(2, 4, 3, 2), dims=dims, boundary=PERIODIC)
    survives(group, replace(record, description=replace(record.description, field_type=STAGGERED)))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64"])
def test_corners_survive_bit_by_bit(group: h5py.Group, dtype: str) -> None:
    rng = np.random.default_rng(1)
    corners = [vector(rng.normal(size=2) * 7, "yx", dtype) for _ in range(4)]
    survives(group, centered(axes="yx", bounds=Bounds(*corners)))
    assert set(group["000000"].attrs) >= {"lower", "upper", "center", "size"}


def test_corners_with_batch_dims_survive(group: h5py.Group) -> None:
    lower = TensorRecord((BATCH, *vector([0, 0], "xy").dims), np.arange(4.0).reshape(2, 2))
    upper = vector([9, 9], "xy")
    size = TensorRecord((*vector([0, 0], "xy").dims, BATCH), np.ones((2, 2), np.float32))
    survives(group, centered(bounds=Bounds(lower, upper, None, size)))
    attributes = dict(group["000000"].attrs)
    assert json.loads(attributes["lower_dims"])[0] == {
        "name": "b",
        "type": "batch",
        "labels": ["one", "two"],
    }
    assert "upper_dims" not in attributes
    assert "size_dims" in attributes


def test_corners_of_a_very_large_batch_survive(group: h5py.Group) -> None:
    dims = (DimSpec("b", "batch"), *vector([0, 0], "xy").dims)
    rng = np.random.default_rng(2)  # 320 KB: far more than one object header holds
    lower, upper = (TensorRecord(dims, rng.normal(size=(20_000, 2))) for _ in range(2))
    survives(group, centered(bounds=Bounds(lower, upper)))


def test_very_many_labels_survive(group: h5py.Group) -> None:
    labels = tuple(f"cell {i} ü" for i in range(20_000))
    survives(group, centered(np.zeros(20_000), "x", dims=[DimSpec("x", "spatial", labels)]))


def test_attrs_survive(group: h5py.Group) -> None:
    survives(
        group, centered(attrs={"variable_attrs": ["values"], "resolution_labels": {"x": ["a"]}})
    )
    survives_without = stored(group, centered(), "000001")
    assert "field_attrs" not in survives_without.attrs


BOUNDARIES: dict[str, Any] = {
    "int": {"type": "constant", "value": TensorRecord((), np.asarray(3, np.int32))},
    "large int": {"type": "constant", "value": TensorRecord((), np.asarray(2**62 + 1))},
    "float": {"type": "constant", "value": TensorRecord((), np.asarray(0.1))},
    "-0.0": {"type": "constant", "value": TensorRecord((), np.asarray(-0.0))},
    "nan": {"type": "constant", "value": TensorRecord((), np.asarray(np.nan))},
    "-nan": {"type": "constant", "value": TensorRecord((), np.asarray(-np.nan))},
    "inf": {"type": "constant", "value": TensorRecord((), np.asarray(-np.inf))},
    "bool": {"type": "constant", "value": TensorRecord((), np.asarray(True))},
    "float32": {"type": "constant", "value": TensorRecord((), np.asarray(0.1, np.float32))},
    "uint8": {"type": "constant", "value": TensorRecord((), np.asarray(3, np.uint8))},
    "complex": {"type": "constant", "value": TensorRecord((), np.asarray(1 - 2j))},
    "vector": {"type": "constant", "value": vector([1, 2.5], "xy")},
    "large": {
        "type": "constant",
        "value": vector(np.arange(1000.0), [str(i) for i in range(1000)]),
    },
    "large bool": {
        "type": "conditional",
        "mask": TensorRecord(spatial("xy"), np.eye(100, dtype=bool)),
        "true": ZERO,
        "false": PERIODIC,
    },
    "mixed": {"type": "mixed", "sides": {"x": ZERO, "y-": PERIODIC, "y+": {"type": "reflect"}}},
    "normal": {"type": "normal-tangential", "normal": ZERO, "tangential": {"type": "none"}},
    "undefined": {"type": "undefined", "derived_from": {"type": "undefined", "derived_from": ZERO}},
    "field": {"type": "field", "field": centered(2.0, boundary=PERIODIC)},
    "fields": {
        "type": "mixed",
        "sides": {
            "x": {"type": "field", "field": centered(np.ones((2, 2), bool), boundary=ZERO)},
            "y-": {"type": "constant", "value": vector(np.arange(999), map(str, range(999)))},
            "y+": {
                "type": "field",
                "field": centered(boundary={"type": "field", "field": centered(1j, dtype=complex)}),
            },
        },
    },
    "axis named values": {
        "type": "mixed",
        "sides": {"values": ZERO, "dims-": ZERO, "dims+": PERIODIC},
    },
    "axis named values, and a field": {
        "type": "mixed",
        "sides": {"values": {"type": "field", "field": centered()}, "field_type": ZERO},
    },
}


@pytest.mark.parametrize("boundary", BOUNDARIES.values(), ids=BOUNDARIES)
def test_a_boundary_survives(group: h5py.Group, boundary: Any) -> None:
    survives(group, centered(boundary=boundary))


def test_a_field_as_boundary_with_bounds_of_its_own_survives(group: h5py.Group) -> None:
    corner = TensorRecord((BATCH, *vector([0, 0], "xy").dims), np.arange(4.0).reshape(2, 2))
    nan = vector([-np.nan, np.nan], "xy", np.float32)
    inner = centered(bounds=Bounds(corner, vector([9, 9], "xy", np.int32), nan), attrs={"a": [1]})
    survives(group, centered(boundary={"type": "field", "field": inner}))


def test_large_arrays_of_a_boundary_stand_beside_the_values(group: h5py.Group) -> None:
    stored(group, centered(boundary=BOUNDARIES["fields"]), "000000")
    frame = group["000000"]
    assert groups.read_attribute(frame, "kind") == "frame"
    assert set(frame) == {"values", "boundary_0", "boundary_1", "boundary_2", "boundary_3"}
    small = stored(group, centered(boundary=BOUNDARIES["vector"]), "000001")
    assert isinstance(small, h5py.Dataset)


def test_frames_whose_fields_differ_in_numbers_only_share_a_description() -> None:
    one, two = (
        centered(boundary={"type": "field", "field": centered(number)}).description
        for number in (1.0, 2.0)
    )
    assert one != two
    assert descriptions.split_arrays(one)[0] == descriptions.split_arrays(two)[0]


def test_a_frame_without_a_description_has_that_of_its_field(group: h5py.Group) -> None:
    record = centered(boundary=PERIODIC)
    codec.write_frame(group, "000000", record.values, {}, {}, "fast")
    assert list(group["000000"].attrs) == ["checksum"]
    assert codec.read_frame(group, "000000", record.description) == record


# --- what is not as it should be ------------------------------------------------------------------

JSON_ATTRIBUTES = ("dims", "axes", "boundary")


@pytest.mark.parametrize("name", ["field_type", "dims", "axes", "lower", "upper", "boundary"])
def test_a_description_lacks_an_attribute(group: h5py.Group, name: str) -> None:
    frame = stored(group, centered())
    del frame.attrs[name]
    with pytest.raises(FormatError):
        descriptions.read_description(frame)


@pytest.mark.parametrize("name", JSON_ATTRIBUTES)
@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "5", "null", '"x"', '[{"a": 1}]', "[5]", 5, [1.0]]
)
def test_a_description_has_another_form(group: h5py.Group, name: str, text: Any) -> None:
    frame = stored(group, centered())
    frame.attrs[name] = text
    with pytest.raises(FormatError):
        descriptions.read_description(frame)


@pytest.mark.parametrize("name", ["lower", "upper"])
@pytest.mark.parametrize("value", ["text", 5.0, [[1.0, 2.0]]], ids=str)
def test_a_corner_has_another_form(group: h5py.Group, name: str, value: Any) -> None:
    frame = stored(group, centered())
    frame.attrs[name] = value
    with pytest.raises(FormatError):
        descriptions.read_description(frame)


def test_a_frame_has_other_axes_than_it_says(group: h5py.Group) -> None:
    record = centered()
    codec.write_frame(group, "000000", np.zeros((2, 2, 2)), {}, {}, None)
    with pytest.raises(
        CorruptDataError, match=r"/g/000000 has 3 axes, its description the dims \(x, y\)"
    ):
        codec.read_frame(group, "000000", record.description)


@pytest.mark.parametrize("values", [np.array([["a"]], object), np.zeros((1, 1), [("a", "i4")])])
def test_a_frame_holds_no_numbers(group: h5py.Group, values: Any) -> None:
    options = {"dtype": h5py.string_dtype()} if values.dtype.kind == "O" else {}
    group.create_dataset("000000", data=values, **options)
    with pytest.raises(UnsafeFileError, match="/g/000000 holds no numbers"):
        codec.read_frame(group, "000000", centered().description)


@pytest.mark.parametrize("name", ["values", "boundary_0"])
def test_a_frame_lacks_a_dataset(group: h5py.Group, name: str) -> None:
    frame = stored(group, centered(boundary=BOUNDARIES["field"]))
    del frame[name]
    with pytest.raises(CorruptDataError, match=f"/g/000000 has no dataset '{name}'"):
        codec.read_frame(group, "000000", centered().description)


def test_a_frame_is_a_group_of_another_kind(group: h5py.Group) -> None:
    group.create_group("000000")
    with pytest.raises(CorruptDataError, match="/g/000000 should be a frame"):
        codec.read_frame(group, "000000", centered().description)


def test_a_newer_kind_of_frame_is_refused(group: h5py.Group) -> None:
    frame = stored(group, centered(boundary=BOUNDARIES["field"]))
    frame.attrs["encoding_version"] = "2.0"
    with pytest.raises(UnsupportedVersionError, match="/g/000000 is a frame of encoding version 2"):
        codec.read_frame(group, "000000", centered().description)


def test_an_embedded_array_whose_name_is_a_path_is_refused(group: h5py.Group) -> None:
    frame = stored(group, centered(boundary=BOUNDARIES["large"]))
    group["elsewhere"] = np.zeros(1000)
    for name in ("../elsewhere", "/g/elsewhere"):
        boundary = frame.attrs["boundary"].replace("boundary_0", name)
        frame.attrs["boundary"] = boundary
        with pytest.raises(CorruptDataError):
            codec.read_frame(group, "000000", centered().description)
        frame.attrs["boundary"] = boundary.replace(name, "boundary_0")


def test_an_embedded_array_with_other_axes_is_corrupt(group: h5py.Group) -> None:
    frame = stored(group, centered(boundary=BOUNDARIES["large"]))
    del frame["boundary_0"]
    frame["boundary_0"] = np.zeros((1000, 1))
    with pytest.raises(CorruptDataError):
        codec.read_frame(group, "000000", centered().description)


def test_an_embedded_field_with_other_axes_is_corrupt(group: h5py.Group) -> None:
    frame = stored(group, centered(boundary=BOUNDARIES["field"]))
    del frame["boundary_0"]
    frame["boundary_0"] = np.zeros(3)
    with pytest.raises(CorruptDataError):
        codec.read_frame(group, "000000", centered().description)


def test_a_fixed_length_string_is_read_too(group: h5py.Group) -> None:
    record = centered(boundary=PERIODIC, attrs={"variable_attrs": ["values"]})
    frame = stored(group, record)
    for name, value in list(frame.attrs.items()):
        if isinstance(value, str):
            frame.attrs.create(name, value.encode(), dtype=h5py.string_dtype("utf-8", 300))
            assert frame.attrs.get_id(name).dtype.kind == "S"
    assert codec.read_frame(group, "000000", centered().description) == record
    groups.mark(group, "field")
    for name in ("kind", "encoding_version"):
        group.attrs.create(name, np.bytes_(group.attrs[name]))
    groups.check_mark(group, "field")


def test_a_description_can_be_copied_to_another_group(group: h5py.Group) -> None:
    described = centered(boundary=BOUNDARIES["mixed"]).description
    group.attrs.update(descriptions.attributes_from_description(described))
    found: FieldDescription = descriptions.read_description(group)
    assert found == described
