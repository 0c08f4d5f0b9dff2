"""Properties as PhiFlow keeps them, in `description.json`, and back.

PhiFlow writes tensors in PhiML's dict form, without their dtype, and lists their names under
`__tensors__`. Numbers that are not finite stand as `NaN` and `Infinity`, which Python's parser
takes.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np

from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.format.json_values import dump_json, load_json
from h5scene.interop.npy import ForeignNpzError
from h5scene.interop.npz_boundaries import dict_from_tensor, tensor_from_dict
from h5scene.record import TensorRecord

DESCRIPTION_FILE: Final = "description.json"
TENSORS_KEY: Final = "__tensors__"
MAX_DESCRIPTION_BYTES: Final = 1 << 28
_DTYPES = {"b": np.dtype(bool), "i": np.dtype(np.int64), "f": np.dtype(np.float64)}


def properties_from_description(content: bytes) -> dict[str, Any]:
    """Returns the properties, tensors as records.

    Raises:
        CorruptDataError: The content is no JSON object, or a tensor in it is none.
    """
    try:
        properties = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"not JSON: {error}") from error
    if not isinstance(properties, dict):
        raise CorruptDataError(f"it holds a JSON {type(properties).__name__}, and no object")
    names = properties.pop(TENSORS_KEY, [])
    if not isinstance(names, list):
        raise CorruptDataError(f"its {TENSORS_KEY!r} is no list of names")
    for name in names:
        try:
            tensor = tensor_from_dict(properties[name])
        except (KeyError, TypeError, ForeignNpzError, RecursionError) as error:
            raise CorruptDataError(f"its tensor {name!r:.60} is none: {error}") from error
        dtype = _DTYPES.get(tensor.data.dtype.kind, tensor.data.dtype)
        properties[name] = TensorRecord(tensor.dims, tensor.data.astype(dtype))
    return properties


def description_from_properties(properties: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """Returns the content of the file, and what it cannot hold exactly.

    The second is, by name, a pair: the value as h5scene has it in JSON, and as it stands in the
    file (`None` where it does not). A value that comes back from the file as it was is not in it.
    """
    plain: dict[str, Any] = {}
    tensors = []
    for name, value in properties.items():
        if name == TENSORS_KEY:
            continue
        if isinstance(value, TensorRecord):
            if value.data.dtype.kind == "c":
                continue
            tensors.append(name)
            plain[name] = _listed(dict_from_tensor(value))
        else:
            plain[name] = _without_kinds(value)
    if tensors:
        plain[TENSORS_KEY] = tensors
    try:
        content = json.dumps(plain, indent=2).encode("utf-8")
        found = properties_from_description(content)
    except (CorruptDataError, RecursionError):  # a hostile file
        content, found, plain = b"{}", {}, {}
    inexact = {
        name: (load_plain(value), plain.get(name))
        for name, value in properties.items()
        if name not in found or _text(found[name]) != _text(value)
    }
    return content, inexact


def load_plain(value: Any) -> Any:
    """Returns a property as JSON values, what JSON has no word for as FORMAT.md says."""
    return json.loads(_text(value))


def property_from_plain(value: Any) -> Any:
    """Returns the property that `load_plain` made JSON values of.

    Raises:
        CorruptDataError: It is none.
    """
    return load_json(json.dumps(value))


def same_value(a: Any, b: Any) -> bool:
    """Whether two properties are exactly the same."""
    return _text(a) == _text(b)


def _text(value: Any) -> str:
    """Returns a property as the JSON text of FORMAT.md, which tells every two values apart."""
    try:
        return dump_json(value, "a property")
    except InvalidInputError as error:
        raise CorruptDataError(str(error)) from error


def _without_kinds(value: Any) -> Any:
    """Returns a value as PhiFlow could write it: complex numbers and inner tensors as text."""
    if isinstance(value, TensorRecord):
        return _listed(dict_from_tensor(value)) if value.data.dtype.kind != "c" else _text(value)
    if isinstance(value, complex):
        return str(value)
    if isinstance(value, dict):
        return {name: _without_kinds(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_kinds(item) for item in value]
    return value


def _listed(tensor: dict[str, Any]) -> dict[str, Any]:
    """Returns PhiML's dict of a tensor with lists for tuples, as they stand in JSON."""
    labels = [None if item is None else list(item) for item in tensor["item_names"]]
    return {
        "names": list(tensor["names"]),
        "types": list(tensor["types"]),
        "item_names": labels,
        "data": tensor["data"],
    }
