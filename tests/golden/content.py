"""What stands in the golden files, as records; and any record as plain JSON, to be compared."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from h5scene.record import (
    STAGGERED,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    TensorRecord,
)
from tests.plain_reader import Field as PlainField
from tests.plain_reader import Tensor as PlainTensor
from tests.records import PERIODIC, ZERO, centered, spatial, tensor, vector

MAX_LISTED_BYTES = 4096  # of longer arrays the hash is enough

BATCH = DimSpec("b", "batch", ("one", "two"))
VECTOR = DimSpec("vector", "channel", ("x", "y"))
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)


def numbers(dtype: str, *shape: int) -> Any:
    """Returns numbers of a dtype, the same ones always: a ramp, with some that are not finite."""
    count = int(np.prod(shape))
    array = (np.arange(count) % 100).astype(dtype)
    if array.dtype.kind in "fc" and count >= 6:
        array[:6] = [np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.1]
    return array.reshape(shape)


def fields() -> dict[str, dict[int, FieldRecord]]:
    """Returns fields of every kind, by name and frame."""
    staggered = centered(numbers("float32", 5, 4, 2), dims=(*spatial("xy"), VECTOR))
    staggered = replace(staggered, description=replace(staggered.description, field_type=STAGGERED))
    corner = TensorRecord((BATCH, VECTOR), np.array([[0, 0.1], [1, 1.1]]))
    bounds = Bounds(corner, vector([9, 9.5], "xy", np.float32), corner, vector([3, 4], "xy"))
    embedded = {"type": "field", "field": centered(numbers("float16", 3, 2), boundary=PERIODIC)}
    simple = ("zero-gradient", "symmetric", "antisymmetric", "reflect", "antireflect")
    boundaries: dict[str, Any] = {
        **{name: {"type": name} for name in (*simple, "symmetric-gradient", "none", "periodic")},
        "number": {"type": "constant", "value": TensorRecord((), np.asarray(-0.5))},
        "integer": {"type": "constant", "value": TensorRecord((), np.asarray(7))},
        "int32": {"type": "constant", "value": TensorRecord((), np.int32(0))},
        "flag": {"type": "constant", "value": TensorRecord((), np.asarray(True))},
        "nan": {"type": "constant", "value": tensor(numbers("float32", 6), VECTOR)},
        "complex": {"type": "constant", "value": TensorRecord((), np.complex64(1 - 2j))},
        "large": {"type": "constant", "value": tensor(numbers("float64", 700))},
        "mixed": {"type": "mixed", "sides": {"x": ZERO, "y-": embedded, "y+": PERIODIC}},
        "normal": {"type": "normal-tangential", "normal": ZERO, "tangential": PERIODIC},
        "mask": {
            "type": "conditional",
            "mask": tensor([True, False], BATCH),
            "true": ZERO,
            "false": {"type": "undefined", "derived_from": PERIODIC},
        },
        "embedded": embedded,
    }
    return {
        "smoke": {
            0: centered(1.5),
            42: centered(numbers("float32", 4, 4)),
            43: centered(numbers("float32", 30, 50), boundary=PERIODIC),
            1_000_000: centered(numbers("float32", 600, 700)),
        },
        "fluid.velocity": {7: staggered},
        "Smoke": {0: centered(numbers("int16", 2, 3))},
        "Δ ρ": {0: centered(numbers("float32", 3), "x")},
        "batch": {
            0: centered(
                numbers("float64", 3, 2, 2),
                dims=(spatial("x")[0], BATCH, spatial("y")[0]),
                bounds=bounds,
                attrs={"variable_attrs": ["values"], "resolution_labels": {"x": ["a", "b", "c"]}},
            )
        },
        "labels": {
            0: centered(
                numbers("uint8", 3, 2), dims=(DimSpec("x", "spatial", ("ü", "", "c")), BATCH)
            )
        },
        **{f"dtype_{name}": {0: centered(numbers(name, 5, 4))} for name in DTYPES},
        "boundaries": {i: centered(boundary=value) for i, value in enumerate(boundaries.values())},
    }


PROPERTIES: dict[str, Any] = {
    "number": 0.1,
    "integer": 10**30,
    "text": 'ü "quoted" \n 🌊',
    "nothing": None,
    "nested": {"a": [1, {"b": True}], "": {}},
    "floats": [float("inf"), float("-inf"), {"nan": float("nan")}],
    "complex": complex(-0.5, float("inf")),
    "tensor": tensor(numbers("float32", 2, 3)),
    "tensors": [tensor(numbers("complex128", 7)), {"empty": tensor(numbers("int8", 0, 3))}],
    "kind": "in the dataset",
    "": [1],
    "a\0b": 2,
    "x" * 2000: 3,
}
TIMES = {42: 0.25, 0: 0.0, 1_000_000: 1e300}
CURVES = {"loss (train)": [[0.0, 0.5], [1.0, 0.25]], "u": [[0.0, 1.0, 2.0], [2.5, 3.0, 4.0]]}
FILES = {"src/plume.py": b"print()\n", "empty": b"", "images/ü.bin": bytes(range(256))}


def as_json(value: Any) -> Any:
    """Returns records, or what the plain reader makes of them, as plain JSON."""
    match value:
        case FieldRecord():
            return _field(value.description, value.values)
        case PlainField():
            return {
                "field_type": value.field_type,
                "dims": [_dim(dim) for dim in value.dims],
                **{name: as_json(getattr(value, name)) for name in ("lower", "upper")},
                **{name: as_json(getattr(value, name)) for name in ("center", "size")},
                "boundary": as_json(value.boundary),
                "attrs": value.attrs,
                "values": _array(value.values),
            }
        case TensorRecord():
            return {"dims": [_dim(dim) for dim in value.dims], **_array(value.data)}
        case PlainTensor():
            return {"dims": [_dim(dim) for dim in value.dims], **_array(value.values)}
        case dict():
            return {str(key): as_json(member) for key, member in value.items()}
        case list() | tuple():
            return [as_json(member) for member in value]
        case bytes():
            return {"bytes": value.hex()}
        case float() | complex():
            return {type(value).__name__: repr(value)}
        case _:
            return value


def _field(description: FieldDescription, values: Any) -> dict[str, Any]:
    bounds = description.bounds
    return {
        "field_type": description.field_type,
        "dims": [_dim(dim) for dim in description.dims],
        **{name: as_json(getattr(bounds, name)) for name in ("lower", "upper", "center", "size")},
        "boundary": as_json(dict(description.boundary)),
        "attrs": dict(description.attrs),
        "values": _array(values),
    }


def _dim(dim: Any) -> dict[str, Any]:
    if isinstance(dim, DimSpec):
        labels = None if dim.labels is None else list(dim.labels)
        return {"name": dim.name, "type": dim.type, "labels": labels}
    return {"name": dim["name"], "type": dim["type"], "labels": dim.get("labels")}


def _array(values: Any) -> dict[str, Any]:
    data = np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()
    described = {"dtype": values.dtype.name, "shape": list(values.shape)}
    if len(data) > MAX_LISTED_BYTES:
        return {**described, "sha256": hashlib.sha256(data).hexdigest()}
    return {**described, "hex": data.hex()}
