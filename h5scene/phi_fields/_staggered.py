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
class Fill:
    """One slab of padding: axis and end, and the boundary it comes from."""

    axis: int
    upper: bool
    boundary: Any
    constant: Array | None


@dataclass(frozen=True, slots=True)
class Component:
    """Where a component lies in the padded array, and how its padding is filled, in order."""

    start: tuple[int, ...]
    fills: tuple[Fill, ...] | None
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
    labels: Sequence[str],
    names: Sequence[str],
    sizes: Sequence[int],
) -> tuple[Component, ...]:
    """Returns the place and padding of every component.

    Args:
        boundary: PhiFlow's boundary.
        axes: Spatial dims of the grid.
        labels: Axis of each component, in the order of the components.
        names: Dims of a component, in the order of the array.
        sizes: Sizes of the padded array along `names`.
    """
    components = []
    for own in labels:
        lower_kept, _ = faces_kept(boundary, own)
        start = tuple(int(name == own and not lower_kept) for name in names)
        try:
            fills: tuple[Fill, ...] | None = _plan_fills(boundary, axes, own, names, sizes)
        except _NotSimpleError:
            fills = None
        components.append(Component(start, fills))
    return tuple(components)


def padded_array(
    field: Field,
    components: Sequence[Tensor],
    plan: Sequence[Component],
    names: Sequence[str],
    sizes: Sequence[int],
) -> Array:
    """Returns the components in one array; its axes are `names` and, last, the components."""
    arrays = [
        array_from_tensor(component, [n for n in names if n in component.shape])
        for component in components
    ]
    dtype = np.result_type(*arrays)
    padded = np.empty((*sizes, len(arrays)), dtype)
    if any(part.fills is None for part in plan):
        padded[...] = _phiflow_padding(field, dtype, names, padded.shape)
    for i, (part, array, component) in enumerate(zip(plan, arrays, components, strict=True)):
        missing = tuple(slice(None) if name in component.shape else None for name in names)
        array = array[missing]
        stop = [
            start + (array.shape[k] if names[k] in component.shape else sizes[k])
            for k, start in enumerate(part.start)
        ]
        target = padded[..., i]
        target[tuple(slice(a, b) for a, b in zip(part.start, stop, strict=True))] = array
        if part.fills is not None:
            _fill(target, list(part.start), stop, part.fills)
    return padded


def _fill(target: Array, start: list[int], stop: list[int], fills: Sequence[Fill]) -> None:
    """Fills the padding slab by slab; `start` and `stop` say what is filled already."""
    before: tuple[type, int] | None = None
    first = last = 0
    for fill in fills:
        axis, kind = fill.axis, type(fill.boundary)
        if before != (
            kind,
            axis,
        ):  # the two ends of a boundary are both padded from what was there before
            before, first, last = (kind, axis), start[axis], stop[axis] - 1
        region: list[Any] = [slice(a, b) for a, b in zip(start, stop, strict=True)]
        if fill.upper:
            region[axis] = stop[axis]
            stop[axis] += 1
        else:
            start[axis] -= 1
            region[axis] = start[axis]
        region.append(...)  # keeps a view where only one axis is left
        slab = target[tuple(region)]
        if kind in _COPIES or kind is _PERIODIC:
            distance, sign = _COPIES.get(kind, (0, 1))
            from_upper = fill.upper != (kind is _PERIODIC)
            region[axis] = (
                max(last - distance, first) if from_upper else min(first + distance, last)
            )
            if first > last:
                slab[...] = 0
            elif sign > 0 or target.dtype.kind == "b":
                slab[...] = target[tuple(region)]
            else:
                np.negative(target[tuple(region)], out=slab)
        elif fill.constant is None:
            slab[...] = 0
        else:
            constant = fill.constant
            if constant.ndim:
                constant = constant[
                    tuple(0 if k == axis else slice(None) for k in range(constant.ndim))
                ]
            slab[...] = _cast(constant, target.dtype)


def _cast(constant: Array, dtype: np.dtype[Any]) -> Array:
    """Returns the constant in the dtype of the values.

    It may be too large for it, too precise, or complex: the boundary itself is stored elsewhere.
    """
    if constant.dtype.kind == "c" and dtype.kind != "c":
        constant = constant.real
    with np.errstate(over="ignore", invalid="ignore"):
        return constant.astype(dtype)


def _plan_fills(
    boundary: Any, axes: Sequence[str], own: str, names: Sequence[str], sizes: Sequence[int]
) -> tuple[Fill, ...]:
    """Returns the slabs of one component in the order in which PhiFlow pads."""
    lower_kept, upper_kept = faces_kept(boundary, own)
    fills = []
    for axis in axes:
        ends = [(False, not lower_kept), (True, not upper_kept)] if axis == own else [(True, True)]
        for upper in [upper for upper, is_missing in ends if is_missing]:
            leaf = _leaf(boundary, axis, upper, own)
            fills.append(
                Fill(names.index(axis), upper, leaf, _constant(leaf, own, list(axes), names, sizes))
            )
    ranks = {id(fill.boundary): fill.boundary.pad_rank for fill in fills}
    if type(boundary) is Mixed:
        # Later slabs cover the corners. Within one rank PhiFlow's order is up to hashes.
        order = [id(fill.boundary) for fill in fills]
        fills.sort(key=lambda fill: (ranks[id(fill.boundary)], order.index(id(fill.boundary))))
    return tuple(fills)


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
        try:
            return _leaf(boundary._at_boundary(axis + "-+"[upper]), axis, upper, component)
        except KeyError:
            return extrapolation.NONE
    if kind is Constant or kind in _COPIES or kind in (_PERIODIC, _NONE):
        return boundary
    raise _NotSimpleError


def _constant(
    leaf: Any, component: str, axes: Sequence[str], names: Sequence[str], sizes: Sequence[int]
) -> Array | None:
    """Returns the value of a constant boundary for one component, 0-d or with the axes `names`.

    None if it is no constant, or has no place in the array.
    """
    if type(leaf) is not Constant:
        return None
    value = leaf.value
    if "vector" in value.shape:
        labels = value.shape.get_labels("vector")
        index = (
            axes.index(component)
            if labels is None
            else labels.index(component)
            if component in labels
            else -1
        )
        if not 0 <= index < value.shape.get_size("vector"):
            return None
        value = value[{"vector": index}]
    if not value.shape:
        return array_from_tensor(value, ())
    known = dict(zip(names, sizes, strict=True))
    if any(name in axes for name in value.shape.names):
        raise _NotSimpleError
    if any(
        known.get(name) != size
        for name, size in zip(value.shape.names, value.shape.sizes, strict=True)
    ):
        return None
    array = array_from_tensor(value, [name for name in names if name in value.shape])
    return array[tuple(slice(None) if name in value.shape else None for name in names)]


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
