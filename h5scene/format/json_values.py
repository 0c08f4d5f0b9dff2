"""JSON text of properties, dims, boundaries and descriptions.

The text is strict JSON (RFC 8259), readable by any parser. What JSON has no word for is an object
with the key
`__kind__`: tensors (in PhiML's dict form, plus their dtype), complex numbers, and the three floats
    that are not finite.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.format import layout
from h5scene.record import TensorRecord, same_bits
from h5scene.tensors import dim_from_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from h5scene.record import Array

_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_DTYPES = {"bool", *_INTEGERS, "float16", "float32", "float64", "complex64", "complex128"}
_JSON_TYPES = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_NAN_BITS = "NaN:"
_MAX_DEPTH = 1000
_BRACKETS = re.compile(r'[\[\]{}]|"(?:[^"\\]|\\.)*"')
"""Brackets, and whole strings, in which they mean nothing."""


def dump_json(value: Any, what: str) -> str:
    """Returns the JSON text of numbers, strings, booleans, None, lists, dicts, arrays, tensors.

    Tuples and arrays become lists; keys that are numbers become strings, as `json.dumps` makes
    them.

    Raises:
        InvalidInputError: `what` holds something else, or itself.
    """
    try:
        tree = _plain(value, what)
        text = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    except InvalidInputError:
        raise
    except RecursionError:
        raise InvalidInputError(
            f"{what} is nested too deeply, or holds itself; JSON cannot hold it"
        ) from None
    except ValueError as error:  # Python reads and writes 4,300 digits, unless told otherwise
        raise InvalidInputError(f"{what} holds a number of too many digits: {error}") from error
    try:
        text.encode()
    except (
        UnicodeEncodeError
    ):  # a lone surrogate, such as Python makes of a file name that is no UTF-8
        text = json.dumps(tree, ensure_ascii=True, allow_nan=False)
    return text


def load_json(text: Any) -> Any:
    """Returns the value of JSON text, its tensors as `TensorRecord`.

    Raises:
        CorruptDataError: The text is not JSON, is nested more than 1,000 times, or a tagged object
            in it is not what FORMAT.md says.
    """
    if not isinstance(text, str):
        raise CorruptDataError(f"not JSON but {type(text).__name__}")
    _check_depth(text)
    try:
        return json.loads(text, object_hook=_untag, parse_constant=_reject_constant)
    except CorruptDataError:
        raise
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"not JSON: {error}") from error


def _check_depth(text: Any) -> None:
    """Raises CorruptDataError for nesting that could exhaust the stack of whoever parses it."""
    if not isinstance(text, str) or text.count("[") + text.count("{") <= _MAX_DEPTH:
        return
    depth = 0
    for token in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > _MAX_DEPTH:
            raise CorruptDataError(f"JSON is nested more than {_MAX_DEPTH} times")


def is_json(text: str) -> bool:
    """Whether the text is strict JSON, whatever it stands for."""
    try:
        _check_depth(text)
        json.loads(text, parse_constant=_reject_constant)
    except (ValueError, RecursionError):  # and CorruptDataError
        return False
    return True


def _plain(value: Any, what: str) -> Any:
    """Returns the value as a tree that `json.dumps` takes."""
    if value is None or isinstance(value, (str, bool)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, (np.generic, np.ndarray)):
        return (
            _plain(value.tolist(), what)
            if value.dtype.kind in "biufcU" and value.dtype.char not in "gG"  # no long double
            else _refuse(value, what)
        )
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return (
            float(value)
            if math.isfinite(value)
            else _tagged(layout.JSON_FLOAT, value=_float_name(value))
        )
    if isinstance(value, complex):
        return _tagged(
            layout.JSON_COMPLEX, value=[_plain(value.real, what), _plain(value.imag, what)]
        )
    if isinstance(value, TensorRecord):
        return _tensor_to_json(value)
    if isinstance(value, Mapping):
        return _plain_dict(value, what)
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{what}[{i}]") for i, item in enumerate(value)]
    return _refuse(value, what)


def _plain_dict(value: Mapping[Any, Any], what: str) -> dict[str, Any]:
    """Returns the dict with string keys."""
    plain: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(key, np.generic):
            key = key.item()
        if key is None or isinstance(key, (bool, int, float)):
            key = json.dumps(key)
        if not isinstance(key, str):
            raise InvalidInputError(
                f"{what} has a key of type {type(key).__name__}, {key!r}; JSON keys are strings"
            )
        if key == layout.JSON_KIND_KEY:
            raise InvalidInputError(
                f"{what} has the key {key!r}, which the file format uses itself; rename it"
            )
        if key in plain:
            raise InvalidInputError(
                f"{what} has two keys that are both {key!r} in JSON; rename one of them"
            )
        plain[key] = _plain(item, f"{what}[{key!r}]")
    return plain


def _refuse(value: Any, what: str) -> Any:
    """Raises the error for a value that JSON cannot hold."""
    raise InvalidInputError(
        f"{what} is of type {type(value).__name__}, which JSON cannot hold; "
        "use numbers, strings, booleans, None, lists, dicts or tensors"
    )


def _tagged(kind: str, **members: Any) -> dict[str, Any]:
    """Returns an object that stands for something JSON has no word for."""
    return {layout.JSON_KIND_KEY: kind, **members}


def _float_name(value: float) -> str:
    """Returns the name of a float that is not finite, as XML Schema and ECMAScript write it."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _tensor_to_json(tensor: TensorRecord) -> dict[str, Any]:
    """Returns PhiML's dict form of a tensor, with its dtype.

    Complex numbers are pairs; floats that are not finite are their names.
    """
    data = np.asarray(tensor.data, tensor.data.dtype.newbyteorder("="))
    if data.dtype.kind == "c":
        data = np.stack([data.real, data.imag], axis=-1)
    return _tagged(
        layout.JSON_TENSOR,
        names=[dim.name for dim in tensor.dims],
        types=[dim.type for dim in tensor.dims],
        item_names=[None if dim.labels is None else list(dim.labels) for dim in tensor.dims],
        # Sizes are in `data`, but not those behind a dim of size 0.
        sizes=list(tensor.data.shape),
        dtype=tensor.data.dtype.name,
        data=_lists_from_array(data),
    )


def has_usual_nans(array: Array) -> bool:
    """Whether each NaN in the array has the bits that the name `NaN` stands for."""
    if array.dtype.kind != "f":
        return True
    nans = array[np.isnan(array)]
    return same_bits(nans, np.full(nans.shape, np.nan, nans.dtype))


def _lists_from_array(array: Array) -> Any:
    """Returns nested lists of numbers, the floats among them that are not finite by their names."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    flat = array.reshape(-1)
    numbers = np.array(flat.tolist(), object)
    bits = np.ascontiguousarray(flat).view(f"u{flat.itemsize}")
    for i in np.flatnonzero(~np.isfinite(flat)):
        name = _float_name(float(flat[i]))
        is_usual = has_usual_nans(flat[i : i + 1])
        numbers[i] = name if is_usual else f"{name}:{bits[i]:0{2 * flat.itemsize}x}"
    return numbers.reshape(array.shape).tolist()


def _array_from_lists(lists: Any, sizes: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Returns the array of which `_lists_from_array` made lists."""
    numbers = list(_flat(lists, sizes))
    unusual: dict[int, int] = {}
    for i, number in enumerate(numbers):
        if isinstance(number, str) and number.startswith(_NAN_BITS) and dtype.kind == "f":
            unusual[i] = int(number.removeprefix(_NAN_BITS), 16)
            numbers[i] = math.nan
        elif isinstance(number, str):
            numbers[i] = _NOT_FINITE[number]
        if type(numbers[i]) not in _JSON_TYPES[dtype.kind]:
            raise TypeError(f"{number!r} is no number of dtype {dtype}")
    with np.errstate(over="ignore"):
        array = np.array(numbers, dtype)
    if unusual:
        array.view(f"u{dtype.itemsize}")[list(unusual)] = list(unusual.values())
        if not np.isnan(array[list(unusual)]).all():
            raise ValueError(f"some bits after {_NAN_BITS!r} are those of a number")
    return array.reshape(sizes)


def _flat(lists: Any, sizes: tuple[int, ...]) -> Iterator[Any]:
    """Gives the numbers in nested lists of these sizes, in order."""
    if not sizes:
        yield lists
    elif not isinstance(lists, list) or len(lists) != sizes[0]:
        raise ValueError(f"the numbers do not have the sizes {list(sizes)}")
    else:
        for part in lists:
            yield from _flat(part, sizes[1:])


def _untag(value: dict[str, Any]) -> Any:
    """Returns what a JSON object stands for."""
    kind = value.get(layout.JSON_KIND_KEY)
    if kind is None:
        return value
    try:
        if kind == layout.JSON_TENSOR:
            return _tensor_from_json(value)
        if kind == layout.JSON_FLOAT:
            return _NOT_FINITE[value["value"]]
        if kind == layout.JSON_COMPLEX:
            real, imaginary = value["value"]
            return complex(real, imaginary)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CorruptDataError(
            f"a {kind!r} in JSON is not what the file format says: {error}"
        ) from error
    return value  # the kind of a newer minor version, for whoever knows it


def _tensor_from_json(value: dict[str, Any]) -> TensorRecord:
    """Returns the tensor that `_tensor_to_json` described."""
    if value["dtype"] not in _DTYPES:
        raise ValueError(f"no tensor has dtype {value['dtype']!r}")
    dtype = np.dtype(value["dtype"])
    dims = tuple(
        dim_from_parts(name, dim_type, labels)
        for name, dim_type, labels in zip(
            value["names"], value["types"], value["item_names"], strict=True
        )
    )
    sizes = tuple(value["sizes"])
    if len(sizes) != len(dims) or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"{len(dims)} dims cannot have the sizes {list(sizes)}")
    if dtype.kind != "c":
        return TensorRecord(dims, _array_from_lists(value["data"], sizes, dtype))
    pairs = _array_from_lists(value["data"], (*sizes, 2), np.dtype(f"f{dtype.itemsize // 2}"))
    # Not real + 1j * imaginary, which turns infinities into NaN.
    return TensorRecord(dims, pairs.view(dtype).reshape(sizes))


def _reject_constant(name: str) -> float:
    """Raises for `NaN` and its like outside of strings, which strict JSON does not know."""
    raise ValueError(f"{name} is not strict JSON")
