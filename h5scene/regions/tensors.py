"""Entries of arrays with named dims."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from h5scene.errors import UnsupportedFieldError
from h5scene.record import Array, DimSpec, TensorRecord

if TYPE_CHECKING:
    from h5scene.regions.selections import Pick

Sizes: TypeAlias = Mapping[str, tuple[DimSpec, int]]
"""The dims of a field by name, with their sizes."""


def picked_dims(dims: Sequence[DimSpec], picks: Mapping[str, Pick]) -> tuple[DimSpec, ...]:
    """Returns the dims that are left, with the labels of the entries that are taken."""
    left = []
    for dim in dims:
        pick = picks.get(dim.name)
        if pick is None:
            left.append(dim)
        elif not isinstance(pick, int):
            labels = None if dim.labels is None else tuple(dim.labels[i] for i in pick)
            left.append(replace(dim, labels=labels))
    return tuple(left)


def picked_tensor(tensor: TensorRecord, picks: Mapping[str, Pick], sizes: Sizes) -> TensorRecord:
    """Returns the entries of a tensor that are taken of a field with dims of these sizes.

    Raises:
        UnsupportedFieldError: A dim of the tensor is not that of the field.
    """
    own: dict[str, Pick] = {}
    for dim, size in named(tensor):
        if dim.name not in picks:
            continue
        field_dim, field_size = sizes[dim.name]
        pick = picks[dim.name]
        if dim.labels and field_dim.labels and set(field_dim.labels) <= set(dim.labels):
            numbers = [dim.labels.index(label) for label in field_dim.labels]
            own[dim.name] = (
                numbers[pick] if isinstance(pick, int) else tuple(numbers[i] for i in pick)
            )
        elif size == field_size:
            own[dim.name] = pick
        else:
            raise UnsupportedFieldError(
                f"the bounds or the boundary have {size} entries along {dim.name!r}, the field "
                f"{field_size}; read the whole field, and slice it"
            )
    if not own:
        return tensor
    all_picks = [own.get(dim.name, range(size)) for dim, size in named(tensor)]
    return TensorRecord(picked_dims(tensor.dims, own), taken(tensor.data, all_picks))


def taken(array: Array, picks: Sequence[Pick]) -> Array:
    """Returns what the picks take of an array."""
    for axis in reversed(range(array.ndim)):
        pick = picks[axis]
        array = np.take(array, pick if isinstance(pick, int) else list(pick), axis)
    return np.asarray(array)


def named(tensor: TensorRecord) -> Iterator[tuple[DimSpec, int]]:
    """Yields each dim of a tensor with its size."""
    return zip(tensor.dims, tensor.data.shape, strict=True)
