"""Tiny fields, and what it means that two are the same for both implementations.

`tests.compare` is stricter: it asks for the order of dims and the dtypes of bounds and boundary,
which PhiFlow loses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from phi.field import CenteredGrid, Field, StaggeredGrid
from phi.geom import Box
from phiml import math
from phiml.math import Shape, Tensor, batch, channel, spatial

from tests.compare import numbers

XY = spatial(x=4, y=3)


def random_tensor(*dims: Shape, dtype: Any = np.float32, seed: int = 0) -> Tensor:
    """Returns random numbers; float32 unless told otherwise, which PhiFlow's Scene keeps."""
    shape = math.concat_shapes(*dims)  # merge_shapes would sort by dim type
    random = np.random.default_rng(seed).normal(size=shape.sizes) * 4
    if np.dtype(dtype).kind == "c":
        random = random + 1j * np.random.default_rng(seed + 1).normal(size=shape.sizes)
    return math.wrap(random.astype(dtype), shape)


def centered(
    *dims: Shape,
    boundary: Any = 0,
    bounds: Box | None = None,
    dtype: Any = np.float32,
    seed: int = 0,
) -> Field:
    """Returns a centered grid of random numbers, 4×3 unless the dims say otherwise."""
    dims = dims if any(dim.spatial for dim in dims) else (*dims, XY)
    values = random_tensor(*dims, dtype=dtype, seed=seed)
    if bounds is None:
        bounds = Box(**{name: 1.5 * i + 1 for i, name in enumerate(values.shape.spatial.names)})
    return CenteredGrid(values, boundary, bounds=bounds)


def staggered(*dims: Shape, boundary: Any = 0, resolution: Shape = XY, seed: int = 0) -> Field:
    """Returns a staggered grid of random float32 numbers, no two components alike."""
    field = StaggeredGrid(
        0, boundary, Box(**dict.fromkeys(resolution.names, 2.0)), resolution=resolution
    )
    components = []
    for i, name in enumerate(resolution.names):
        template = field.values[{"~vector": name}]
        components.append(random_tensor(*dims, template.shape.spatial, seed=seed + i))
    dual = math.dual(vector=resolution.names)
    return StaggeredGrid(
        math.stack(components, dual),
        boundary,
        Box(**dict.fromkeys(resolution.names, 2.0)),
        resolution=resolution,
    )


def constant(value: float, boundary: Any = 0) -> Field:
    """Returns a 4×3 grid that has one value everywhere: enough to recognise it."""
    return CenteredGrid(
        math.expand(math.wrap(np.float32(value)), XY), boundary, bounds=Box(x=1, y=1)
    )


def value_of(field: Field) -> float:
    """Returns the one value of a grid made by `constant`."""
    numbers = np.unique(np.asarray(field.values.numpy(field.values.shape.names)))
    assert numbers.size == 1, f"not constant: {numbers}"
    return float(numbers[0])


def arrays(field: Field) -> dict[str, tuple[tuple[str, ...], np.ndarray[Any, Any]]]:
    """Returns sorted dims and values of each component; of the only one unless staggered."""
    values = field.values
    parts = {"": values}
    if field.is_staggered:
        parts = {name: values[{"~vector": name}] for name in values.shape["~vector"].item_names[0]}
    found = {}
    for name, part in parts.items():
        dims = tuple(sorted(part.shape.names))
        found[name] = dims, numbers(part, dims)
    return found


def assert_same(actual: Field, expected: Field) -> None:
    """Fails unless the fields agree in all but the order of their dims.

    That is: kind, dims, labels, dtype, every bit, boundary and bounds.
    """
    assert actual.is_staggered == expected.is_staggered
    assert described(actual.shape) == described(expected.shape)
    wanted = arrays(expected)
    for component, (dims, array) in arrays(actual).items():
        assert dims == wanted[component][0]
        assert array.dtype == wanted[component][1].dtype
        np.testing.assert_array_equal(array, wanted[component][1])
        assert array.tobytes() == wanted[component][1].tobytes()  # signed zeros and NaN as well
    assert actual.boundary == expected.boundary
    assert type(actual.boundary) is type(expected.boundary)
    for corner in ("lower", "upper"):
        assert_same_tensor(
            getattr(actual.bounds, corner), getattr(expected.bounds, corner), dtype=False
        )


def assert_same_tensor(actual: Tensor, expected: Tensor, *, dtype: bool = True) -> None:
    """Fails unless the tensors agree in dims, labels and values; dims in any order."""
    assert described(actual.shape) == described(expected.shape)
    dims = tuple(sorted(expected.shape.names))
    ours, theirs = numbers(actual, dims), numbers(expected, dims)
    if dtype:
        assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


def described(shape: Shape) -> set[tuple[Any, ...]]:
    """Returns the dims with types, sizes and labels, as a set."""
    return set(
        zip(shape.names, shape.dim_types, map(str, shape.sizes), shape.item_names, strict=True)
    )


BATCH3 = batch(batch=3)
VECTOR = channel(vector="x,y")
