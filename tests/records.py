"""Records made without PhiFlow, and the whole content of a file as plain h5py sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from h5scene.record import (
    CENTERED,
    STAGGERED,
    Boundary,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    TensorRecord,
)

ZERO: Boundary = {"type": "constant", "value": TensorRecord((), np.asarray(0, np.int32))}
PERIODIC: Boundary = {"type": "periodic"}


def tensor(values: Any, *dims: DimSpec, dtype: Any = None) -> TensorRecord:
    """Returns a tensor record; spatial dims `x`, `y`, … where none are given."""
    array = np.asarray(values, dtype)
    return TensorRecord(dims or spatial("xyzw"[: array.ndim]), array)


def spatial(names: Sequence[str]) -> tuple[DimSpec, ...]:
    """Returns spatial dims."""
    return tuple(DimSpec(name, "spatial") for name in names)


def vector(values: Any, axes: Sequence[str], dtype: Any = np.float64) -> TensorRecord:
    """Returns a corner: one value per axis."""
    return TensorRecord((DimSpec("vector", "channel", tuple(axes)),), np.asarray(values, dtype))


def centered(
    values: Any = 1.0,
    axes: Sequence[str] = ("x", "y"),
    *,
    boundary: Boundary = ZERO,
    dims: Sequence[DimSpec] | None = None,
    bounds: Bounds | None = None,
    attrs: Mapping[str, Any] | None = None,
    dtype: Any = np.float32,
) -> FieldRecord:
    """Returns a centered grid; one number stands for 4 cells along each axis that have it."""
    array = np.asarray(values)
    if array.ndim == 0:
        array = np.full([4] * len(axes), values, dtype)
    if bounds is None:
        bounds = Bounds(vector([0.0] * len(axes), axes), vector([1.0] * len(axes), axes))
    description = FieldDescription(
        CENTERED, spatial(axes) if dims is None else tuple(dims), bounds, boundary, attrs or {}
    )
    return FieldRecord(description, array)


def staggered(
    values: Any,
    axes: Sequence[str] = ("x", "y"),
    *,
    boundary: Boundary = ZERO,
    bounds: Bounds | None = None,
) -> FieldRecord:
    """Returns a staggered grid of padded values, whose last axis is that of the components."""
    dims = (*spatial(axes), DimSpec("vector", "channel", tuple(axes)))
    record = centered(values, axes, boundary=boundary, dims=dims, bounds=bounds)
    return FieldRecord(replace(record.description, field_type=STAGGERED), record.values)


def content(path: str | Path) -> dict[str, Any]:
    """Returns every object of a file with its attributes and values, by path.

    Equal for two files that hold the same, wherever in the file it stands.
    """
    with h5py.File(path, "r") as file:
        found: dict[str, Any] = {"/": _attributes(file)}
        pending: list[tuple[str, Any]] = [("", file)]
        while pending:
            prefix, group = pending.pop()
            for name in group:
                member, where = group[name], f"{prefix}/{name}"
                if isinstance(member, h5py.Group):
                    found[where] = _attributes(member)
                    pending.append((where, member))
                else:
                    values = member[()]
                    plain = np.asarray(values)
                    data = values if plain.dtype.kind == "O" else plain.tobytes()
                    found[where] = (_attributes(member), str(member.dtype), member.shape, data)
    return found


def _attributes(thing: Any) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str) else (str(value.dtype), value.shape, value.tobytes())
        for name, value in sorted(thing.attrs.items())
        if name != "checksum"  # of the bytes in the file, which may be packed otherwise
    }
