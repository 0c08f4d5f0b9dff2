"""Staggered values to one padded array, as PhiFlow's npz files have them, and back.

The component along axis `d` has one value per face of `d`, without those outer faces that the
boundary determines: `n+1`, `n` or `n-1` values along `d`, and `n` along the other axes. In the
padded array each component has `n+1` values along every axis: the missing outer faces, and one
further value beyond the upper end of the other axes. Readers cut them off and never look at them.

The padding is what `Field.staggered_tensor()` computes from the boundary, in the dtype of the
values. It is zero where PhiFlow computes nothing: beside a boundary that says nothing (`none`), a
boundary value with dims that the values lack, or an empty component.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from phiml import math
from phiml.math import Tensor, extrapolation
from phiml.math.extrapolation import ConstantExtrapolation as Constant
from phiml.math.extrapolation import Undefined
from phiml.math.extrapolation import _MixedExtrapolation as Mixed
from phiml.math.extrapolation import _NormalTangentialExtrapolation as NormalTangential

from h5scene.phi_fields._tensors import array_from_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from phi.field import Field

    from h5scene.record import Array

# Distance of the copied value from the edge, and its sign. Periodic copies from the other edge.
_COPIES: Mapping[type, tuple[int, int]] = {
    type(extrapolation.PERIODIC): (0, 1),
    type(extrapolation.ZERO_GRADIENT): (0, 1),
    type(extrapolation.SYMMETRIC): (0, 1),
    type(extrapolation.ANTISYMMETRIC): (0, -1),
    type(extrapolation.REFLECT): (1, 1),
    type(extrapolation.ANTIREFLECT): (1, -1),
}
_PERIODIC = type(extrapolation.PERIODIC)
_NONE = type(extrapolation.NONE)


class _NotSimpleError(Exception):
    """A boundary whose padding only PhiFlow can compute."""


@dataclass(frozen=True, slots=True)
class _Slab:
    """One face of padding: where it is, and what fills it."""

    target: tuple[Any, ...]
    source: tuple[Any, ...] | None
    """What is copied; None for a constant."""
    sign: int
    constant: Array


@dataclass(frozen=True, slots=True)
class Component:
    """Where a component lies in the padded array, and how its padding is filled, in order."""

    place: tuple[slice, ...]
    slabs: tuple[_Slab, ...] | None
    """None if only PhiFlow can compute the padding."""


def faces_kept(boundary: Any, axis: str) -> tuple[bool, bool]:
    """Returns whether values on the lower and upper outer faces are stored.

    They are not if the boundary determines them.
    """
    lower, upper = boundary.valid_outer_faces(axis)
    return bool(lower), bool(upper)


def plan_components(
    boundary: Any,
    axes: Sequence[str],
    names: Sequence[str],
    sizes: Sequence[int],
) -> tuple[Component, ...]:
    """Returns the place and padding of every component.

    Args:
        boundary: PhiFlow's boundary.
        axes: Spatial dims of the grid; each has a component, in this order.
        names: Dims of a component, in the order of the array.
        sizes: Sizes of the padded array along `names`.
    """
    known = dict(zip(names, sizes, strict=True))
    components = []
    for own in axes:
        kept = faces_kept(boundary, own)
        place = {name: slice(0, size - int(name in axes)) for name, size in known.items()}
        place[own] = slice(int(not kept[0]), known[own] - int(not kept[1]))
        try:
            slabs: tuple[_Slab, ...] | None = _plan_slabs(boundary, axes, own, place, known)
        except _NotSimpleError:
            slabs = None
        components.append(Component(tuple(place.values()), slabs))
    return tuple(components)


def padded_array(
    field: Field,
    components: Sequence[Tensor],
    plan: Sequence[Component],
    names: Sequence[str],
    sizes: Sequence[int],
) -> Array:
    """Returns the components in one array; its axes are `names` and, last, the components."""
    arrays = []
    for component in components:
        own = component.shape.names
        array = array_from_tensor(component, [name for name in names if name in own])
        arrays.append(array[tuple(slice(None) if name in own else None for name in names)])
    dtype = np.result_type(*arrays)
    padded = np.empty((*sizes, len(arrays)), dtype)
    if any(part.slabs is None for part in plan):
        padded[...] = _phiflow_padding(field, dtype, names, padded.shape)
    for i, (part, array) in enumerate(zip(plan, arrays, strict=True)):
        target = padded[..., i]
        target[part.place] = array
        for slab in part.slabs or ():
            region = target[slab.target]
            if slab.source is None:
                region[...] = _cast(slab.constant, dtype)
            elif slab.sign > 0 or dtype.kind == "b":
                region[...] = target[slab.source]
            else:
                # Not np.negative(…, out=region): NumPy 2.4 gets views that interleave wrong.
                region[...] = -target[slab.source]
    return padded


def _cast(constant: Array, dtype: np.dtype[Any]) -> Array:
    """Returns the constant in the dtype of the values.

    It may be too large for it, too precise, or complex: the boundary itself is stored elsewhere.
    """
    if constant.dtype.kind == "c" and dtype.kind != "c":
        constant = constant.real
    with np.errstate(over="ignore", invalid="ignore"):
        return constant.astype(dtype)


def _plan_slabs(
    boundary: Any,
    axes: Sequence[str],
    own: str,
    place: Mapping[str, slice],
    sizes: Mapping[str, int],
) -> tuple[_Slab, ...]:
    """Returns the padding of one component in the order in which PhiFlow pads."""
    ends = []
    for axis in axes:
        if place[axis].start > 0:
            ends.append((axis, False, _leaf(boundary, axis, False, own)))
        if place[axis].stop < sizes[axis]:
            ends.append((axis, True, _leaf(boundary, axis, True, own)))
    if type(boundary) is Mixed:
        # Later slabs cover the corners. Within one rank PhiFlow's order is up to hashes.
        order = [id(leaf) for _, _, leaf in ends]
        ends.sort(key=lambda end: (end[2].pad_rank, order.index(id(end[2]))))
    names = list(place)
    filled = {name: (part.start, part.stop) for name, part in place.items()}
    before: tuple[str, type] | None = None
    edges = (0, 0)
    slabs = []
    for axis, upper, leaf in ends:
        kind, (start, stop) = type(leaf), filled[axis]
        if before != (axis, kind):  # the ends of one boundary are padded from the same values
            before, edges = (axis, kind), (start, stop - 1)
        index = stop if upper else start - 1
        filled[axis] = (start, stop + 1) if upper else (start - 1, stop)
        constant = _constant(leaf, own, axes, sizes, axis)
        source, sign = None, 1
        if kind in _COPIES and edges[0] <= edges[1]:
            distance, sign = _COPIES[kind]
            if upper != (kind is _PERIODIC):
                source = max(edges[1] - distance, edges[0])
            else:
                source = min(edges[0] + distance, edges[1])
        region = {name: slice(*ends) for name, ends in filled.items()}
        # The dots keep a view where an integer for the only axis would give a number.
        target = (*({**region, axis: index}[name] for name in names), ...)
        copied = None if source is None else (*({**region, axis: source}[n] for n in names), ...)
        slabs.append(_Slab(target, copied, sign, constant))
    return tuple(slabs)


def _leaf(boundary: Any, axis: str, upper: bool, component: str) -> Any:
    """Returns the boundary without parts that holds for a component at one side."""
    kind = type(boundary)
    if kind is Undefined:
        return _leaf(boundary.derived_from, axis, upper, component)
    if kind is NormalTangential:
        return _leaf(
            boundary.normal if axis == component else boundary.tangential, axis, upper, component
        )
    if kind is Mixed:
        return _leaf(boundary._at_boundary(axis + "-+"[upper]), axis, upper, component)
    if kind is Constant or kind is _NONE or kind in _COPIES:
        return boundary
    raise _NotSimpleError


def _constant(
    leaf: Any, own: str, axes: Sequence[str], sizes: Mapping[str, int], without: str
) -> Array:
    """Returns the value of a constant boundary for one component, in the dims of a slab.

    It is 0-d where the value is. It is zero for other boundaries, and if its dims are not those of
    the values.
    """
    zero = np.zeros((), bool)
    if type(leaf) is not Constant:
        return zero
    value = leaf.value
    if "vector" in value.shape:
        labels = value.shape.get_labels("vector") or tuple(axes)
        if own not in labels or value.shape.get_size("vector") != len(labels):
            return zero
        value = value[{"vector": labels.index(own)}]
    dims = dict(zip(value.shape.names, value.shape.sizes, strict=True))
    if any(name in axes for name in dims):
        raise _NotSimpleError
    if any(sizes.get(name) != size for name, size in dims.items()):
        return zero
    array = array_from_tensor(value, [name for name in sizes if name in dims])
    if dims:
        array = array[tuple(slice(None) if n in dims else None for n in sizes if n != without)]
    copy: Array = array.copy()  # the plan is kept longer than the field lives
    return copy


def _phiflow_padding(
    field: Field, dtype: np.dtype[Any], names: Sequence[str], sizes: tuple[int, ...]
) -> Any:
    """Returns what PhiFlow pads with, or zero where it fails."""
    precision = {"f": 8, "c": 4}.get(dtype.kind, 0) * dtype.itemsize
    try:
        with math.precision(precision or 32), np.errstate(all="ignore"):
            padded = array_from_tensor(field.staggered_tensor(), [*names, "vector"])
        return _cast(padded, dtype) if padded.shape == sizes else 0
    except Exception:  # noqa: BLE001  # whatever goes wrong, no reader looks at the padding
        return 0
