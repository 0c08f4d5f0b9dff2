"""Small arrays and the plain values inside them: compared exactly, and as JSON values.

JSON has no tuples, dtypes or orders; each value that needs them is an object with one key, which
says what it is.
"""

from __future__ import annotations

import binascii
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import CorruptDataError
from h5scene.interop.npy import ForeignNpzError, parse_dtype

if TYPE_CHECKING:
    from h5scene.record import Array

_MAX_BYTES = 1 << 20


def same(a: Any, b: Any) -> bool:
    """Whether two values have the same types, structure, order and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape or _order(a) != _order(b):
            return False
        if a.dtype == object:
            return all(same(x, y) for x, y in zip(a.flat, b.flat, strict=True))
        return bool(a.tobytes() == b.tobytes())
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return bool(np.float64(a).tobytes() == np.float64(b).tobytes())
    return bool(a == b)


def json_from_tree(value: Any) -> Any:
    """Returns a value as JSON has it.

    Raises:
        ForeignNpzError: It is too large for what it is, or of another kind.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": np.float64(value).tobytes().hex()}
    if isinstance(value, tuple):
        return {"tuple": [json_from_tree(item) for item in value]}
    if isinstance(value, list):
        return [json_from_tree(item) for item in value]
    if isinstance(value, dict):
        return {"dict": [[key, json_from_tree(item)] for key, item in value.items()]}
    if isinstance(value, np.ndarray) and value.nbytes <= _MAX_BYTES:
        described = {"shape": list(value.shape), "order": _order(value)}
        if value.dtype == object:
            return {"objects": [json_from_tree(item) for item in value.flat], **described}
        content = binascii.hexlify(value.tobytes()).decode()
        return {"array": content, "dtype": value.dtype.str, **described}
    raise ForeignNpzError("one of its small arrays is too large for what it is")


def tree_from_json(given: Any) -> Any:
    """Returns the value that `json_from_tree` made JSON of.

    Raises:
        CorruptDataError: It is none.
    """
    try:
        return _value(given)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CorruptDataError(f"a value is described wrongly: {error}") from error


def _value(given: Any) -> Any:
    """Returns one value."""
    if isinstance(given, list):
        return [_value(item) for item in given]
    if not isinstance(given, dict):
        return given
    if "float" in given:
        return float(np.frombuffer(bytes.fromhex(given["float"]), np.float64)[0])
    if "tuple" in given:
        return tuple(_value(item) for item in given["tuple"])
    if "dict" in given:
        return {str(key): _value(item) for key, item in given["dict"]}
    shape, order = tuple(given["shape"]), given["order"]
    if "objects" in given:
        items = given["objects"]
        array = np.empty(len(items), object)
        for i, item in enumerate(items):
            array[i] = _value(item)
    else:
        array = np.frombuffer(bytes.fromhex(given["array"]), parse_dtype(given["dtype"]))
    return np.array(array.reshape(shape), order="F" if order == "F" else "C")


def _order(array: Array) -> str:
    """Returns the order in which NumPy would write an array."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
