"""Properties: JSON attributes under their own names, and what becomes of those that do not fit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene.errors import CorruptDataError, InvalidInputError, InvalidNameError
from h5scene.format import groups
from h5scene.format.properties import (
    property_texts,
    read_properties,
    remove_property,
    write_properties,
)
from tests.records import tensor

MARKS = {"kind": "scene", "encoding_version": "1.0"}
UNFIT = ("", "kind", "encoding_version", "a\0b", "x" * 1025, "ü" * 513, "\ud800")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[h5py.Group]:
    """A scene without properties, in a new HDF5 file."""
    with h5py.File(tmp_path / "plain.h5", "w", libver=("v108", "v110")) as file:
        group = file.create_group("sim_000000")
        groups.mark(group, "scene")
        yield group


def put(scene: h5py.Group, properties: dict[str, Any], *, replace: bool = False) -> None:
    write_properties(scene, property_texts(properties), replace=replace)


def in_dataset(scene: h5py.Group) -> dict[str, Any]:
    """Returns what stands in the dataset of properties, as plain h5py and json see it."""
    if "_properties" not in scene:
        return {}
    assert scene["_properties"].dtype == np.uint8
    texts = json.loads(scene["_properties"][()].tobytes().decode("utf-8"))
    return {name: json.loads(text) for name, text in texts.items()}


def attributes(scene: h5py.Group) -> dict[str, Any]:
    """Returns all attributes, strings of fixed length as `str`."""
    found = dict(scene.attrs)
    return {n: v.decode() if isinstance(v, bytes) else v for n, v in found.items()}


def test_a_property_is_an_attribute_of_its_name(scene: h5py.Group) -> None:
    put(scene, {"Δt": 0.5, "a/b": [1, "ü"], ".": None, "with space": {"x": True}})
    assert attributes(scene) == {
        **MARKS,
        "Δt": "0.5",
        "a/b": '[1, "ü"]',
        ".": "null",
        "with space": '{"x": true}',
    }
    assert not scene.attrs.get_id("Δt").get_type().is_variable_str()  # has a checksum
    assert scene.attrs.get_id("Δt").get_type().get_cset() == h5py.h5t.CSET_UTF8
    assert list(scene) == []


def test_properties_come_sorted_by_name(scene: h5py.Group) -> None:
    put(scene, {"b": 1, "a": 2, "": 3, "C": 4})
    assert list(read_properties(scene)) == ["", "C", "a", "b"]


@pytest.mark.parametrize("name", UNFIT, ids=ascii)
def test_a_name_that_no_attribute_can_have(scene: h5py.Group, name: str) -> None:
    put(scene, {name: {"a": [1]}, "other": 1})
    assert attributes(scene) == {**MARKS, "other": "1"}
    assert in_dataset(scene) == {name: {"a": [1]}}
    assert read_properties(scene) == {name: {"a": [1]}, "other": 1}
    put(scene, {name: 2})
    assert read_properties(scene) == {name: 2, "other": 1}
    remove_property(scene, name)
    assert read_properties(scene) == {"other": 1}
    assert attributes(scene) == {**MARKS, "other": "1"}
    assert "_properties" not in scene


@pytest.mark.parametrize("name", ["x" * 1024, "ü" * 512, "_properties", "name", "kind2"], ids=len)
def test_a_name_that_an_attribute_can_have(scene: h5py.Group, name: str) -> None:
    put(scene, {name: 1})
    assert attributes(scene) == {**MARKS, name: "1"}
    assert read_properties(scene) == {name: 1}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("x" * 3998, True),  # with its quotes exactly 4,000 bytes of JSON
        ("x" * 3999, False),
        ("ü" * 1999, True),
        ("ü" * 2000, False),  # fewer characters, but more bytes
    ],
    ids=["ascii fits", "ascii", "umlauts fit", "umlauts"],
)
def test_only_a_value_of_4000_bytes_fits_an_attribute(
    scene: h5py.Group, text: str, fits: bool
) -> None:
    put(scene, {"a": text})
    assert read_properties(scene) == {"a": text}
    assert ("a" in scene.attrs) == fits
    assert ("_properties" in scene) != fits


def test_a_value_moves_when_it_grows_and_shrinks(scene: h5py.Group) -> None:
    large = "x" * (2 << 20)
    put(scene, {"a": 1, "b": 2})
    put(scene, {"a": large})
    assert "a" not in scene.attrs
    assert in_dataset(scene) == {"a": large}
    assert read_properties(scene) == {"a": large, "b": 2}
    put(scene, {"a": 3})
    assert attributes(scene)["a"] == "3"
    assert "_properties" not in scene
    assert read_properties(scene) == {"a": 3, "b": 2}


def test_other_properties_stay(scene: h5py.Group) -> None:
    put(scene, {"a": 1, "": 2, "kind": 3})
    put(scene, {"b": 4})
    put(scene, {"kind": 5})
    assert read_properties(scene) == {"": 2, "a": 1, "b": 4, "kind": 5}


def test_replacing_removes_all_others(scene: h5py.Group) -> None:
    put(scene, {"a": 1, "": 2, "kind": 3})
    put(scene, {"b": 4, "": 5}, replace=True)
    assert read_properties(scene) == {"": 5, "b": 4}
    put(scene, {}, replace=True)
    assert read_properties(scene) == {}
    assert attributes(scene) == MARKS
    assert list(scene) == []


def test_removing_what_is_not_there_does_nothing(scene: h5py.Group) -> None:
    put(scene, {"a": 1, "": 2})
    for name in ("b", "kind", "encoding_version", "a\0", "\ud800", "x" * 2000, "_properties"):
        remove_property(scene, name)
    assert read_properties(scene) == {"": 2, "a": 1}
    assert {name: scene.attrs[name].decode() for name in MARKS} == MARKS


def test_tensors_come_back(scene: h5py.Group) -> None:
    values = {"a": tensor(np.float32([1, np.nan])), "b": [{"c": tensor(np.int8(3))}]}
    put(scene, values)
    assert read_properties(scene) == values


# --- attributes of somebody else ------------------------------------------------------------------


def foreign(scene: h5py.Group) -> dict[str, bytes]:
    """Gives the scene attributes that are no properties; returns what must stay of them."""
    scene.attrs["number"] = 5
    scene.attrs["vector"] = [1.0, 2.0]
    scene.attrs["text"] = "not JSON"
    scene.attrs["empty"] = ""
    scene.attrs["nan"] = "NaN"
    scene.attrs["texts"] = ["1", "2"]
    scene.attrs["reference"] = scene.ref
    scene.attrs.create("bytes", np.bytes_(b"\xff not UTF-8"))
    scene.attrs["nothing"] = h5py.Empty("f")
    time = h5py.h5t.UNIX_D32LE  # a type that NumPy does not have
    h5py.h5a.create(scene.id, b"time", time, h5py.h5s.create(h5py.h5s.SCALAR))
    names = [name for name in scene.attrs if name not in MARKS]
    assert len(names) == 10
    return dict.fromkeys(names, b"")


def test_foreign_attributes_are_no_properties(scene: h5py.Group) -> None:
    foreign(scene)
    put(scene, {"a": 1})
    assert read_properties(scene) == {"a": 1}


def test_foreign_attributes_stay(scene: h5py.Group) -> None:
    before = foreign(scene)
    put(scene, {"a": 1, "": 2})
    put(scene, {"b": 1}, replace=True)
    for name in before:
        remove_property(scene, name)
    assert set(scene.attrs) == {*before, *MARKS, "b"}
    assert scene.attrs["number"] == 5
    assert scene.attrs["text"] == "not JSON"


def test_a_property_named_like_a_foreign_attribute(scene: h5py.Group) -> None:
    before = foreign(scene)
    put(scene, dict.fromkeys(before, "mine"))
    assert read_properties(scene) == dict.fromkeys(before, "mine")
    assert in_dataset(scene) == dict.fromkeys(before, "mine")
    assert scene.attrs["number"] == 5
    assert scene.attrs["text"] == "not JSON"
    for name in before:
        remove_property(scene, name)
    assert read_properties(scene) == {}
    assert set(scene.attrs) == {*before, *MARKS}


def test_an_attribute_of_fixed_length_is_a_property(scene: h5py.Group) -> None:
    scene.attrs.create("a", np.bytes_('["ü"]'.encode()))
    scene.attrs.create("b", "5", dtype=h5py.string_dtype("utf-8", 10))
    assert read_properties(scene) == {"a": ["ü"], "b": 5}
    put(scene, {"a": 1})
    remove_property(scene, "b")
    assert attributes(scene) == {**MARKS, "a": "1"}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [5, None, b"a", ("a",)])
def test_a_name_must_be_a_string(name: Any) -> None:
    with pytest.raises(InvalidNameError, match=f"a string, not {type(name).__name__}"):
        property_texts({"good": 1, name: 1})


def test_one_name_belongs_to_the_format() -> None:
    with pytest.raises(InvalidNameError, match="'__kind__', which the file format uses itself"):
        property_texts({"__kind__": 1})


def test_a_value_that_json_cannot_hold() -> None:
    with pytest.raises(InvalidInputError, match=r"property 'bad'\['x'\] is of type set"):
        property_texts({"good": 1, "bad": {"x": {1}}})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"5", b'{"a": 5}', b'{"a": null}', b"\xff", b'{"a": "\xff"}', b'{"a": "{"}'],
)
def test_a_dataset_that_is_not_what_the_format_says(scene: h5py.Group, content: bytes) -> None:
    scene["_properties"] = np.frombuffer(content, np.uint8)
    with pytest.raises(CorruptDataError):
        read_properties(scene)


def test_properties_are_a_group(scene: h5py.Group) -> None:
    scene.create_group("_properties")
    with pytest.raises(CorruptDataError, match="/sim_000000/_properties is no dataset of bytes"):
        read_properties(scene)


def test_a_damaged_tensor_is_reported_and_not_passed_over(scene: h5py.Group) -> None:
    put(scene, {"a": tensor([1.0])})
    scene.attrs["a"] = attributes(scene)["a"].replace("float64", "float65")
    with pytest.raises(CorruptDataError, match="float65"):
        read_properties(scene)
