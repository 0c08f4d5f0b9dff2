"""JSON text of properties, dims and boundaries: strict, and back to the same value."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any

import numpy as np
import pytest

from h5scene.errors import CorruptDataError, FormatError, InvalidInputError
from h5scene.format.json_values import dump_json, load_json
from h5scene.record import DimSpec, TensorRecord
from h5scene.tensors import dims_from_json, dims_to_json
from tests.records import tensor

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


def strict(text: str) -> Any:
    """Returns the value of JSON text as any parser sees it: no NaN, nothing of ours."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def again(value: Any) -> Any:
    """Returns the value after it was text."""
    text = dump_json(value, "it")
    strict(text)
    text.encode()
    return load_json(text)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 0, 1, -1, 2**53 + 1, -(10**400), 0.1, 1.0, 5e-324, 1e308, -0.0),
        *("", "text", 'quoted " \\ \n \0', "Größe 速 🌊", "\ud800", "\ufffe", "NaN"),
        *([], {}, [[]], [None, {"a": []}], {"": {"": ""}}, {"a": 1, "B": [2.5, "x", {"c": None}]}),
        *(math.inf, -math.inf, [math.inf], {"a": -math.inf}),
        *(1j, complex(-0.0, 2), complex(math.inf, -math.inf), [0j]),
        {"type": "tensor", "kind": "float", "dims": []},
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_value_survives(value: Any) -> None:
    found = again(value)
    assert type(found) is type(value)
    assert repr(found) == repr(value)  # tells 1 from 1.0 and True, and 0.0 from -0.0


def test_nan_survives() -> None:
    assert math.isnan(again(math.nan))
    found = again(complex(math.nan, 1))
    assert math.isnan(found.real)
    assert found.imag == 1


def test_order_of_keys_stays() -> None:
    assert list(again({"z": 1, "a": 2, "m": 3})) == ["z", "a", "m"]


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ((1, (2,)), [1, [2]]),
        (
            {1: "a", None: "b", False: "c", 2.5: "d"},
            {"1": "a", "null": "b", "false": "c", "2.5": "d"},
        ),
        ({np.int64(3): 1}, {"3": 1}),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.complex64(1 + 2j), 1 + 2j),
        (np.str_("text"), "text"),
        (np.array([[1, 2], [3, 4]], np.int8), [[1, 2], [3, 4]]),
        (np.array(5), 5),
        (np.array([]), []),
        (np.array([1.0, math.inf]), [1.0, math.inf]),
        (np.array(["a", "bc"]), ["a", "bc"]),
        ({"a": [np.float16(0.5), {"b": (True,)}]}, {"a": [0.5, {"b": [True]}]}),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_value_becomes_its_nearest_in_json(value: Any, becomes: Any) -> None:
    found = again(value)
    assert type(found) is type(becomes)
    assert repr(found) == repr(becomes)


def test_text_is_readable() -> None:
    assert dump_json({"ü": [1, 0.1, "速"]}, "it") == '{"ü": [1, 0.1, "速"]}'
    assert strict(dump_json(math.nan, "it")) == {"__kind__": "float", "value": "NaN"}
    assert strict(dump_json(1j, "it")) == {"__kind__": "complex", "value": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1, 2}, "property 'p' is of type set"),
        (b"bytes", "property 'p' is of type bytes"),
        (object(), "of type object"),
        (len, "of type builtin_function_or_method"),
        (datetime.date(2020, 1, 1), "of type date"),
        (np.datetime64("2020-01-01"), "of type datetime64"),
        (np.array([object()]), "of type ndarray"),
        (np.array([b"x"]), "of type ndarray"),
        (np.zeros(2, [("a", "i4")]), "of type ndarray"),
        (np.longdouble(1), "of type longdouble"),
        (np.zeros(1, np.longdouble), "of type ndarray"),
        ({"a": [0, {"b": {3}}]}, r"property 'p'\['a'\]\[1\]\['b'\] is of type set"),
        ({(1, 2): 3}, r"key of type tuple, \(1, 2\)"),
        ({b"a": 3}, "key of type bytes"),
        ({"__kind__": "tensor"}, "'__kind__', which the file format uses"),
        ([{"x": {"__kind__": 1}}], "'__kind__', which the file format uses"),
        ({1: "a", "1": "b"}, "two keys that are both '1'"),
        ({True: "a", "true": "b"}, "two keys that are both 'true'"),
        (10**5000, "too large|too many digits"),
    ],
    ids=lambda value: "value" if not isinstance(value, str) else value[:30],
)
def test_what_json_cannot_hold_is_refused(value: Any, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        dump_json(value, "property 'p'")
    assert "property 'p'" in str(caught.value)


def test_what_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append({"a": value})
    with pytest.raises(InvalidInputError, match="nested too deeply, or holds itself"):
        dump_json(value, "it")


def test_very_deep_nesting_is_refused_and_reported() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        dump_json(value, "it")
    with pytest.raises(CorruptDataError, match="nested more than"):
        load_json("[" * 100_000 + "]" * 100_000)


@pytest.mark.parametrize("name", DTYPES)
def test_a_tensor_survives_bit_by_bit(name: str) -> None:
    dtype = np.dtype(name)
    rng = np.random.default_rng(0)
    if dtype.kind == "b":
        data = rng.integers(0, 2, (3, 4)).astype(bool)
    else:
        data = np.frombuffer(rng.bytes(12 * dtype.itemsize), dtype).reshape(3, 4).copy()
    assert again(tensor(data)) == tensor(data)
    assert again(tensor(data.T)) == tensor(data.T)
    assert again({"a": [tensor(data), None]}) == {"a": [tensor(data), None]}


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1, 1, 2)])
def test_a_tensor_of_any_sizes_survives(name: str, shape: tuple[int, ...]) -> None:
    value = tensor(np.ones(shape, name))
    assert again(value) == value


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "complex64", "complex128"])
def test_a_tensor_with_special_numbers_survives(name: str) -> None:
    numbers = [0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(name).tiny, np.finfo(name).max]
    if np.dtype(name).kind == "c":
        numbers = [complex(a, b) for a in numbers for b in numbers]
    value = tensor(np.array(numbers, name))
    assert again(value) == value


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "complex64", "complex128"])
def test_every_nan_of_a_tensor_survives(name: str) -> None:
    dtype = np.dtype(name)
    part = dtype.itemsize // (2 if dtype.kind == "c" else 1)
    nan = np.asarray(np.nan, f"f{part}").view(f"u{part}")
    sign, signalling = 1 << (8 * part - 1), (nan ^ (nan & -nan)) + 1
    bits = np.array(
        [nan, nan | sign, nan + 5, signalling, signalling | sign, nan - nan], f"u{part}"
    )
    value = tensor(bits.view(dtype))
    assert np.isnan(value.data).any()
    assert again(value) == value
    assert again(tensor(value.data[0])) == tensor(value.data[0])


def test_a_nan_of_unusual_bits_has_them_in_its_name() -> None:
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0x7F800000], np.uint32)
    text = dump_json(tensor(bits.view(np.float32)), "it")
    assert strict(text)["data"] == ["NaN", "NaN:ffc00000", "NaN:7f800001", "Infinity"]


@pytest.mark.parametrize("name", ["int8", "int64", "uint8", "uint64"])
def test_the_ends_of_integers_survive(name: str) -> None:
    value = tensor([np.iinfo(name).min, np.iinfo(name).max], dtype=name)
    assert again(value) == value


def test_dims_of_a_tensor_survive() -> None:
    dims = (
        DimSpec("b", "batch", ("one", "two")),
        DimSpec("~vector", "dual", ("x",)),
        DimSpec("i", "instance"),
        DimSpec("x", "spatial"),
        DimSpec("c", "channel", ("", "a,b", "ü")),
    )
    value = TensorRecord(dims, np.arange(2 * 1 * 2 * 2 * 3).reshape(2, 1, 2, 2, 3))
    assert again(value) == value


def test_a_tensor_is_in_phimls_form() -> None:
    value = TensorRecord((DimSpec("v", "channel", ("x", "y")),), np.float32([1.5, math.nan]))
    assert strict(dump_json(value, "it")) == {
        "__kind__": "tensor",
        "names": ["v"],
        "types": ["channel"],
        "item_names": [["x", "y"]],
        "sizes": [2],
        "dtype": "float32",
        "data": [1.5, "NaN"],
    }


TENSOR = strict(dump_json(tensor([1.0, 2.0]), "it"))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "[1,",
            "{'a': 1}",
            "nul",
            "[1] 2",
            "1" * 5000,
            "NaN",
            "[Infinity]",
            '{"a": -Infinity}',
        ),
        '{"__kind__": "float"}',
        '{"__kind__": "float", "value": "nan"}',
        '{"__kind__": "float", "value": []}',
        '{"__kind__": "complex", "value": 1}',
        '{"__kind__": "complex", "value": [1]}',
        '{"__kind__": "complex", "value": ["1", "2"]}',
        '{"a": {"__kind__": "complex"}}',
        '{"__kind__": "tensor"}',
        *(
            json.dumps({**TENSOR, key: value})
            for key, value in [
                ("dtype", "object"),
                ("dtype", ">f8"),
                ("dtype", ["float32"]),
                ("dtype", None),
                ("names", []),
                ("names", [""]),
                ("names", [5]),
                ("types", ["time"]),
                ("types", "s"),
                ("item_names", [5]),
                ("item_names", ["ab"]),
                ("item_names", [[1, 2]]),
                ("item_names", None),
                ("sizes", [3]),
                ("sizes", [1, 2]),
                ("sizes", []),
                ("sizes", [-1]),
                ("sizes", [2.0]),
                ("sizes", 2),
                ("data", ["x", "y"]),
                ("data", [[1], 2]),
                ("data", [None, 1]),
                ("data", ["NaN:", 1]),
                ("data", ["NaN:xyz", 1]),
                ("data", ["NaN:" + "f" * 17, 1]),
                ("data", ["NaN:-1", 1]),
                ("data", ["NaN:3ff0000000000000", 1]),  # the bits of 1.0
                ("data", ["-NaN", 1]),
                ("data", [True, 1]),
                ("data", [{"__kind__": "float", "value": "NaN"}, {}]),
                ("data", 1.0),
            ]
        ),
        json.dumps({**TENSOR, "dtype": "int8", "data": [1000, 1]}),
        json.dumps({**TENSOR, "dtype": "int8", "data": [1.5, 1]}),
        json.dumps({**TENSOR, "dtype": "bool", "data": [2, 1]}),
        json.dumps({**TENSOR, "dtype": "int8", "data": ["NaN", 1]}),
        json.dumps({**TENSOR, "dtype": "int8", "data": ["NaN:7f", 1]}),
        json.dumps({**TENSOR, "dtype": "complex64", "data": [1, 2]}),
        json.dumps({**TENSOR, "names": [], "types": [], "item_names": []}),
    ],
    ids=lambda text: text[-60:],
)
def test_text_that_is_not_what_the_format_says(text: str) -> None:
    with pytest.raises(CorruptDataError):
        load_json(text)


def test_an_unknown_kind_of_value_is_passed_on() -> None:
    later = {"__kind__": "quaternion", "value": [1, 2, 3, 4]}
    assert load_json(json.dumps({"a": [later]})) == {"a": [later]}


def test_dims_as_json() -> None:
    dims = (DimSpec("x", "spatial"), DimSpec("~v", "dual", ()), DimSpec("c", "channel", ("a", "")))
    values = dims_to_json(dims)
    assert values == [
        {"name": "x", "type": "spatial"},
        {"name": "~v", "type": "dual", "labels": []},
        {"name": "c", "type": "channel", "labels": ["a", ""]},
    ]
    assert dims_from_json(strict(json.dumps(values))) == dims
    assert dims_from_json([]) == ()


def test_further_keys_of_a_dim_are_passed_over() -> None:
    assert dims_from_json([{"name": "x", "type": "spatial", "unit": "m"}])[0].name == "x"


@pytest.mark.parametrize(
    "value",
    [
        *(None, {}, "x", 5, ["x"], [None], [[]], [{}], [{"name": "x"}], [{"type": "spatial"}]),
        [{"name": "", "type": "spatial"}],
        [{"name": 5, "type": "spatial"}],
        [{"name": "x", "type": "time"}],
        [{"name": "x", "type": ["spatial"]}],
        [{"name": "x", "type": "spatial", "labels": "ab"}],
        [{"name": "x", "type": "spatial", "labels": [1]}],
        [{"name": "x", "type": "spatial"}, {"name": "x", "type": "batch"}],
    ],
    ids=str,
)
def test_no_dims(value: Any) -> None:
    with pytest.raises(FormatError):
        dims_from_json(value)
