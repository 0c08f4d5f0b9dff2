"""Regions as users of PhiFlow give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from phi.geom import Box
from phiml.math import Shape, batch

from h5scene.errors import InvalidInputError
from h5scene.phi_fields._bounds import is_rotated
from h5scene.phi_fields._tensors import dim_specs_from_shape
from h5scene.record import DimSpec
from h5scene.regions import Between, Region, Selection

RegionLike: TypeAlias = "Mapping[str, Selection] | Box | Sequence[Mapping[str, Selection] | Box]"
"""A selection by name of the dim, a box in physical space, or several of these for other dims."""


def region_from_selection(selection: Any) -> Region:
    """Returns a region by name of the dim.

    Raises:
        InvalidInputError: It is none, or selects twice along a dim.
    """
    if selection is None:
        return {}
    if isinstance(selection, Mapping):
        return dict(selection)
    if isinstance(selection, Box):
        return _region_from_box(selection)
    if not isinstance(selection, (tuple, list)):
        raise InvalidInputError(
            "a region is a dict by name of the dim, a Box, or a list of these, not "
            f"{type(selection).__name__} {selection!r}"
        )
    merged: dict[str, Selection] = {}
    for part in map(region_from_selection, selection):
        twice = sorted(merged.keys() & part.keys())
        if twice:
            raise InvalidInputError(f"the region selects twice along {', '.join(twice)}")
        merged |= part
    return merged


def _region_from_box(box: Box) -> Region:
    """Returns what a box overlaps, along each of its axes."""
    if is_rotated(box):
        raise InvalidInputError("the cells in a rotated box are no grid; use one along the axes")
    axes = box.vector.item_names
    region: dict[str, Selection] = {}
    for axis in axes or ():
        ends = [corner.vector[axis] for corner in (box.lower, box.upper)]
        if any(end.shape for end in ends):
            raise InvalidInputError(f"a region is one box, not several along {ends[0].shape}")
        region[axis] = Between(*(float(end.numpy()) for end in ends))
    if not region:
        raise InvalidInputError("the box does not name its axes")
    return region


def stacking_dim(dim: Any) -> DimSpec:
    """Returns along what to stack frames.

    Raises:
        InvalidInputError: It is no single dim without labels, or spatial or dual.
    """
    shape = batch(dim) if isinstance(dim, str) else dim
    if not isinstance(shape, Shape) or shape.rank != 1:
        raise InvalidInputError(f"frames are stacked along one dim such as batch('t'), not {dim!r}")
    (spec,) = dim_specs_from_shape(shape)
    if spec.type in ("spatial", "dual"):
        raise InvalidInputError(
            f"frames cannot be stacked along the {spec.type} dim {spec.name!r}; use a batch dim"
        )
    return DimSpec(spec.name, spec.type)
