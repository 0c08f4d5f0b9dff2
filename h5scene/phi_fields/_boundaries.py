"""PhiFlow's boundary conditions to trees of dicts, tensors and strings, and back.

Every dict names its kind under `type`:

| `type` | further keys |
| --- | --- |
| `constant` | `value`: tensor; 0-d for a plain number |
| `periodic`, `zero-gradient`, `symmetric`, `antisymmetric`, `reflect`, `antireflect` | |
| `symmetric-gradient`, `none` | |
| `undefined` | `derived_from`: boundary |
| `mixed` | `sides`: dict of boundaries by name of the side |
| `normal-tangential` | `normal`, `tangential`: boundaries |
| `conditional` | `mask`: bool tensor; `true`, `false`: boundaries |
| `field` | `field`: record of a field, which is sampled |

A side is called `x-` where axis `x` begins and `x+` where it ends; `x` is both. `normal` holds for
the component of a vector that points through the side, `tangential` for the others. `true` holds
where the mask is true.

These are the names of PhiFlow's `to_dict()`, which says `mixed_v2` and `dims` for `mixed` and
`sides`. A boundary is rebuilt by this module and by nothing that a file could name.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
from phi.field._embed import FieldEmbedding
from phiml.math import Tensor, extrapolation, wrap
from phiml.math.extrapolation import ConstantExtrapolation as Constant
from phiml.math.extrapolation import Extrapolation, Undefined
from phiml.math.extrapolation import _ConditionalExtrapolation as Conditional
from phiml.math.extrapolation import _MixedExtrapolation as Mixed
from phiml.math.extrapolation import _NormalTangentialExtrapolation as NormalTangential

from h5scene.errors import CorruptDataError, UnsupportedFieldError, UnsupportedVersionError
from h5scene.phi_fields._tensors import tensor_from_record, tensor_record_from_tensor
from h5scene.record import Boundary, FieldRecord, TensorRecord

SIMPLE: Mapping[str, Any] = {
    "periodic": extrapolation.PERIODIC,
    "zero-gradient": extrapolation.ZERO_GRADIENT,
    "symmetric": extrapolation.SYMMETRIC,
    "antisymmetric": extrapolation.ANTISYMMETRIC,
    "reflect": extrapolation.REFLECT,
    "antireflect": extrapolation.ANTIREFLECT,
    "symmetric-gradient": extrapolation.SYMMETRIC_GRADIENT,
    "none": extrapolation.NONE,
}
"""Boundaries without parameters. Each has a class of its own, which tells the name."""

_SIMPLE_NAMES = {type(boundary): name for name, boundary in SIMPLE.items()}
_MAX_DEPTH = 32  # no sensible boundary comes near; a hostile file must not exhaust Python's stack
_PLAIN_NUMBERS = frozenset(np.dtype(name) for name in ("bool", "int32", "float64", "complex128"))


def boundary_tree(
    boundary: Extrapolation, record_from_field: Callable[[Any], FieldRecord], depth: int = 0
) -> Boundary:
    """Returns a boundary condition as a tree.

    Args:
        boundary: Any of PhiFlow's.
        record_from_field: What to make of a field that serves as boundary.
        depth: How many boundaries contain this one.

    Raises:
        UnsupportedFieldError: The boundary is of a class that is not PhiFlow's, or contains such.
    """

    def inner(part: Extrapolation) -> Boundary:
        return boundary_tree(part, record_from_field, depth + 1)

    kind = type(boundary)
    if depth > _MAX_DEPTH:
        raise UnsupportedFieldError(f"cannot store a boundary of more than {_MAX_DEPTH} levels")
    if kind in _SIMPLE_NAMES:
        return {"type": _SIMPLE_NAMES[kind]}
    if kind is Constant:
        return {"type": "constant", "value": _tensor(boundary.value)}
    if kind is Mixed:
        return {
            "type": "mixed",
            "sides": {side: inner(part) for side, part in boundary.ext.items()},
        }
    if kind is NormalTangential:
        parts = {"normal": inner(boundary.normal), "tangential": inner(boundary.tangential)}
        return {"type": "normal-tangential", **parts}
    if kind is Conditional:
        parts = {"true": inner(boundary.true_ext), "false": inner(boundary.false_ext)}
        return {"type": "conditional", "mask": _tensor(boundary.mask), **parts}
    if kind is Undefined:
        return {"type": "undefined", "derived_from": inner(boundary.derived_from)}
    if kind is FieldEmbedding:
        return {"type": "field", "field": record_from_field(boundary.field)}
    raise UnsupportedFieldError(
        f"cannot store a boundary of class {kind.__module__}.{kind.__qualname__}; "
        "only the boundary conditions of phi.math.extrapolation and fields can be stored"
    )


def boundary_from_tree(
    tree: Boundary, field_from_record: Callable[[FieldRecord], Any], depth: int = 0
) -> Extrapolation:
    """Returns the boundary condition that a tree describes.

    Its tensors are NumPy's, which work with every backend.

    Raises:
        UnsupportedVersionError: The tree names a kind that this version does not know.
        CorruptDataError: Something is missing in the tree or is not what it should be.
    """

    def inner(key: str, holder: Mapping[str, Any] | None = None) -> Extrapolation:
        part = (tree if holder is None else holder).get(key)
        if not isinstance(part, Mapping):
            raise CorruptDataError(f"the '{kind}' boundary has no boundary under '{key}'")
        return boundary_from_tree(part, field_from_record, depth + 1)

    kind = tree.get("type")
    if not isinstance(kind, str):
        raise CorruptDataError(f"a boundary does not say its type; it has {sorted(tree)}")
    if depth > _MAX_DEPTH:
        raise CorruptDataError(f"the boundary has more than {_MAX_DEPTH} levels")
    if kind in SIMPLE:
        return SIMPLE[kind]
    if kind == "constant":
        return Constant(_constant(_leaf(tree, "value", TensorRecord)))
    if kind == "mixed":
        given = _leaf(tree, "sides", Mapping)
        sides = {side: inner(side, given) for side in given}
        if not sides or not all(sides) or any(type(part) is Mixed for part in sides.values()):
            raise CorruptDataError("a 'mixed' boundary must have a simple boundary for each side")
        # Sides that differ can be equal in a slice. PhiFlow's slices are then one boundary, too.
        with np.errstate(all="ignore"):  # it compares values in PhiML's precision
            return extrapolation.combine_sides(sides)
    if kind == "normal-tangential":
        return NormalTangential(inner("normal"), inner("tangential"))
    if kind == "conditional":
        mask = tensor_from_record(_leaf(tree, "mask", TensorRecord))
        return Conditional(mask, inner("true"), inner("false"))
    if kind == "undefined":
        return Undefined(inner("derived_from"))
    if kind == "field":
        return FieldEmbedding(field_from_record(_leaf(tree, "field", FieldRecord)))
    raise UnsupportedVersionError(
        f"the boundary is of the kind '{kind}', which this version of h5scene does not know; "
        "upgrade to read it"
    )


def boundary_key(tree: Boundary) -> Hashable:
    """Returns something hashable that tells trees apart; None if a field is embedded."""
    parts: list[Hashable] = []
    for key, value in tree.items():
        part = boundary_key(value) if isinstance(value, Mapping) else value
        if part is None or isinstance(part, FieldRecord):
            return None
        parts.append((key, part))
    return tuple(parts)


def _leaf(tree: Boundary, key: str, kind: type) -> Any:
    """Returns what stands under the key, which must be of the kind."""
    value = tree.get(key)
    if not isinstance(value, kind):
        raise CorruptDataError(
            f"the '{tree['type']}' boundary has no {kind.__name__} under '{key}'"
        )
    return value


def _tensor(tensor: Tensor) -> TensorRecord:
    """Returns the tensor as a record of its own: caches keep it longer than the field lives."""
    record = tensor_record_from_tensor(tensor)
    return TensorRecord(record.dims, record.data.copy())


def _constant(record: TensorRecord) -> Tensor:
    """Returns the value of a constant boundary.

    It is a plain number, as most scripts give it, if PhiFlow cannot tell that from an array.
    """
    if record.dims or record.data.dtype not in _PLAIN_NUMBERS:
        return tensor_from_record(record)
    return wrap(record.data.item())
