"""Boundaries as PhiFlow writes them into npz files, to the trees of records, and back.

What a dict of a file means is what `phi.math.extrapolation.from_dict` makes of it, except that
`antireflect` stays what it says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from h5scene.interop.npy import ForeignNpzError
from h5scene.record import DIM_TYPES, Boundary, DimSpec, FieldRecord, TensorRecord

_SIMPLE: Final = frozenset(
    {
        *("periodic", "zero-gradient", "symmetric", "antisymmetric", "reflect", "antireflect"),
        *("symmetric-gradient", "none"),
    }
)
# Names of older versions. PhiML calls a plain int an int32.
_OLD_NAMES: Mapping[str, Boundary] = {
    "zero": {"type": "constant", "value": TensorRecord((), np.asarray(0, np.int32))},
    "one": {"type": "constant", "value": TensorRecord((), np.asarray(1, np.int32))},
    "∇=0": {"type": "zero-gradient"},
    "boundary": {"type": "zero-gradient"},
}
_VALUE_KINDS = "biufc"
_INT32 = np.iinfo(np.int32)
_MAX_DEPTH = 32
_PLAIN_VECTOR = (DimSpec("vector", "channel"),)


class CannotHoldError(Exception):
    """A record that no npz of PhiFlow's can hold; says why."""


def boundary_from_dict(given: Any, depth: int = 0) -> Boundary:
    """Returns the tree of a boundary that stands in an npz as a dict.

    Raises:
        ForeignNpzError: PhiFlow would not read it.
    """
    if not isinstance(given, dict) or depth > _MAX_DEPTH:
        raise ForeignNpzError(f"its boundary is {given!r:.80}, and no dict")
    kind = given.get("type")
    if not isinstance(kind, str):
        raise ForeignNpzError("its boundary does not say its type")

    def inner(part: Any) -> Boundary:
        return boundary_from_dict(part, depth + 1)

    if kind in _SIMPLE:
        return {"type": kind}
    if kind in _OLD_NAMES:
        return _OLD_NAMES[kind]
    if kind == "constant":
        return {"type": "constant", "value": _constant(given.get("value"))}
    if kind in ("mixed", "mixed_v2"):
        return _mixed(kind, given.get("dims"), depth)
    if kind == "normal-tangential":
        parts = {key: inner(given.get(key)) for key in ("normal", "tangential")}
        return {"type": kind, **parts}
    if kind == "conditional":
        parts = {key: inner(given.get(key)) for key in ("true", "false")}
        mask = tensor_from_dict(given.get("mask"))
        if not mask.data.size:  # an empty list does not say of what
            mask = TensorRecord(mask.dims, mask.data.astype(bool))
        return {"type": kind, "mask": mask, **parts}
    if kind == "undefined":
        return {"type": kind, "derived_from": inner(given.get("derived_from"))}
    raise ForeignNpzError(f"its boundary is of the unknown type {kind!r:.80}")


def dict_from_boundary(boundary: Boundary) -> dict[str, Any]:
    """Returns the dict that PhiFlow writes for a boundary.

    Raises:
        CannotHoldError: PhiFlow writes none.
    """
    kind = boundary["type"]
    if kind in _SIMPLE:
        return {"type": kind}
    if kind == "constant":
        value = boundary["value"]
        if not isinstance(value, TensorRecord) or value.data.ndim > 1:
            raise CannotHoldError("a constant boundary with several dims")
        return {"type": kind, "value": value.data}
    if kind == "mixed":
        sides = boundary["sides"]
        assert isinstance(sides, Mapping)
        dims = {side: dict_from_boundary(_tree(part)) for side, part in sides.items()}
        return {"type": "mixed_v2", "dims": dims}
    if kind == "conditional":
        mask = boundary["mask"]
        assert isinstance(mask, TensorRecord)
        parts = {key: dict_from_boundary(_tree(boundary[key])) for key in ("true", "false")}
        return {"type": kind, "mask": dict_from_tensor(mask), **parts}
    keys = {"normal-tangential": ("normal", "tangential"), "undefined": ("derived_from",)}
    if kind == "field" or kind not in keys:
        raise CannotHoldError("a boundary that is a field" if kind == "field" else f"{kind!r}")
    return {
        "type": kind,
        **{key: dict_from_boundary(_tree(boundary[key])) for key in keys[str(kind)]},
    }


def tensor_from_dict(given: Any) -> TensorRecord:
    """Returns the tensor that stands as PhiML's dict: names, types, labels, nested lists.

    Raises:
        ForeignNpzError: It is none.
    """
    if not isinstance(given, dict):
        raise ForeignNpzError(f"a tensor is {given!r:.80}, and no dict")
    try:
        data = np.array(given["data"])
        dims = tuple(
            dim_spec(name, kind, labels)
            for name, kind, labels in zip(
                given["names"], given["types"], given["item_names"], strict=True
            )
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ForeignNpzError(f"a tensor is described wrongly: {error}") from error
    if data.dtype.kind not in _VALUE_KINDS or data.ndim != len(dims):
        raise ForeignNpzError(f"a tensor with {len(dims)} dims has the values {data!r:.80}")
    check_labels(dims, data.shape)
    return TensorRecord(dims, data)


def dict_from_tensor(tensor: TensorRecord) -> dict[str, Any]:
    """Returns PhiML's dict of a tensor."""
    return {
        "names": tuple(dim.name for dim in tensor.dims),
        "types": tuple(dim.type for dim in tensor.dims),
        "item_names": tuple(dim.labels for dim in tensor.dims),
        "data": tensor.data.tolist(),
    }


def dim_spec(name: Any, kind: Any, labels: Any) -> DimSpec:
    """Returns a dim.

    Raises:
        ForeignNpzError: PhiFlow has no such dim.
    """
    if not isinstance(name, str) or not name or kind not in DIM_TYPES:
        raise ForeignNpzError(f"no dim has the name {name!r:.40} and the type {kind!r:.40}")
    if name.startswith("~") != (kind == "dual"):
        raise ForeignNpzError(f"{name!r:.40} is no name for a {kind} dim; dual ones start with '~'")
    if labels is not None:
        labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
        is_list = isinstance(labels, (list, tuple)) and all(isinstance(n, str) for n in labels)
        if not is_list or len(set(labels)) != len(labels):
            raise ForeignNpzError(f"dim {name!r:.40} has the labels {labels!r:.80}")
        labels = tuple(map(str, labels))
    return DimSpec(str(name), kind, labels)


def check_labels(dims: tuple[DimSpec, ...], sizes: tuple[int, ...]) -> None:
    """Raises ForeignNpzError when dims contradict themselves, or the sizes of the array."""
    if len({dim.name for dim in dims}) != len(dims):
        raise ForeignNpzError(f"a dim occurs twice in {[dim.name for dim in dims]}")
    for dim, size in zip(dims, sizes, strict=True):
        if dim.labels is not None and len(dim.labels) != size:
            raise ForeignNpzError(
                f"dim {dim.name!r} of size {size} has the labels {list(dim.labels)!r:.80}"
            )


def _constant(value: Any) -> TensorRecord:
    """Returns the value of a constant boundary, as PhiML takes it."""
    if isinstance(value, np.ndarray) and value.dtype.kind in _VALUE_KINDS and value.ndim <= 1:
        native = value.astype(value.dtype.newbyteorder("="))
        return TensorRecord(_PLAIN_VECTOR[: value.ndim], native)
    if isinstance(value, (bool, float, complex)):
        return TensorRecord((), np.asarray(value))
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        dtype = np.int32 if _INT32.min <= value <= _INT32.max else np.int64
        return TensorRecord((), np.asarray(value, dtype))
    raise ForeignNpzError(f"its boundary has the constant {value!r:.80}")


def _mixed(kind: str, given: Any, depth: int) -> Boundary:
    """Returns a boundary that differs by side; `mixed` is the older form of `mixed_v2`."""
    if not isinstance(given, dict) or not given or not all(given):
        raise ForeignNpzError("its boundary has no sides")
    sides: dict[str, Boundary] = {}
    for name, part in given.items():
        if kind == "mixed_v2":
            sides[name] = boundary_from_dict(part, depth + 1)
        else:
            if not isinstance(part, (tuple, list)) or len(part) != 2:
                raise ForeignNpzError(f"its boundary has no two ends along {name!r:.40}")
            for end, one in zip("-+", part, strict=True):
                sides[name + end] = boundary_from_dict(one, depth + 1)
    different = list(sides.values())
    if any(side.get("type") == "mixed" for side in different):
        raise ForeignNpzError("its boundary has sides that differ by side themselves")
    if all(side == different[0] for side in different):
        if kind == "mixed_v2":
            raise ForeignNpzError("its boundary differs by side, but has one side only")
        return different[0]
    return {"type": "mixed", "sides": sides}


def _tree(part: Boundary | TensorRecord | FieldRecord | str) -> Boundary:
    """Returns a part of a boundary that is a boundary."""
    if not isinstance(part, Mapping):
        raise CannotHoldError("a boundary that is not complete")
    return part
