"""Hypothesis strategies for everything that a grid field can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.vendor.pretty import RepresentationPrinter, for_type_by_name
from phi.field import Field
from phi.geom import Box, Cuboid, UniformGrid
from phiml import math
from phiml.math import Shape, Tensor, batch, channel, dual, extrapolation, instance, spatial

from h5scene.record import FieldRecord

DTYPES = tuple(
    np.dtype(name)
    for name in (
        *("float32", "float64", "float16", "complex64", "complex128", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
)
FLOATS = tuple(dtype for dtype in DTYPES if dtype.kind == "f")
COPIES = (
    extrapolation.PERIODIC,
    extrapolation.ZERO_GRADIENT,
    extrapolation.SYMMETRIC,
    extrapolation.ANTISYMMETRIC,
    extrapolation.REFLECT,
    extrapolation.ANTIREFLECT,
)
_TYPES = {
    "batch": batch,
    "dual": dual,
    "instance": instance,
    "spatial": spatial,
    "channel": channel,
}


def _print(value: Any, printer: RepresentationPrinter, cycle: bool) -> None:
    """Prints a value that PhiML cannot print: `repr` of the `Layout(None)` in every Box fails."""
    if isinstance(value, Field) and not value.is_grid:
        printer.text(f"<Field of {value.values.dtype} {value.values.shape} on ")
        printer.text(f"{type(value.geometry).__name__} {value.geometry.shape}>")
    elif isinstance(value, Field):
        printer.text(f"<Field of {value.values.dtype} {value.values.shape} on ")
        printer.text(
            f"{value.geometry.resolution}, {_text(value.bounds)}, {_text(value.boundary)}, "
        )
        printer.text(f"attrs {value.variable_attrs} {value.value_attrs}>")
    elif isinstance(value, FieldRecord):
        printer.text(f"<record of {value.values.dtype} {value.values.shape}, {value.description}>")
    else:
        printer.text(_text(value))


def _text(value: Any) -> str:
    if isinstance(value, Box):
        parts = (f"{k}={_text(getattr(value, k))}" for k in ("pos", "size", "lower", "upper"))
        return f"Box({', '.join(parts)})"
    if isinstance(value, Tensor):
        return f"<{value.shape} {value.dtype} {list(value._natives())}>"
    if isinstance(value, extrapolation.Extrapolation):
        inner = ", ".join(f"{k}={_text(v)}" for k, v in vars(value).items() if k != "pad_rank")
        return f"{type(value).__name__}({inner})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Field):
        return f"<Field {value.values.shape}>"
    return repr(value)


_PRINTED = (
    ("phi.field._field", "Field"),
    ("phi.geom._box", "Box"),
    ("h5scene.record", "FieldRecord"),
)
for _module, _name in _PRINTED:
    for_type_by_name(_module, _name, _print)

LABELS = st.text("abxyzB0_ ü,~", min_size=1, max_size=3)


def dim(kind: str, name: str, size: int, labels: Sequence[str] | None = None) -> Shape:
    """Returns one dim; labels may be any text, also what `spatial(x="a,b")` could not say."""
    if labels is None:
        return _TYPES[kind](**{name: size})
    spec = {
        "names": ("~" * (kind == "dual") + name,),
        "types": (kind,),
        "item_names": (tuple(labels),),
    }
    return math.from_dict({**spec, "sizes": (size,)})


@st.composite
def dims(
    draw: st.DrawFn, kind: str, name: str, sizes: st.SearchStrategy[int] | None = None
) -> Shape:
    """Draws one dim, with labels or without."""
    size = draw(st.integers(0, 3) if sizes is None else sizes)
    labelled = size and draw(st.booleans())
    labels = draw(st.lists(LABELS, min_size=size, max_size=size, unique=True)) if labelled else None
    return dim(kind, name, size, labels)


@st.composite
def arrays(draw: st.DrawFn, sizes: Sequence[int], dtype: np.dtype[Any] | None = None) -> Any:
    """Draws numbers of any bits: NaN with payloads, signed zeros, infinities, subnormal ones.

    Some are not contiguous, some read-only.
    """
    dtype = draw(st.sampled_from(DTYPES)) if dtype is None else dtype
    count = int(np.prod(sizes, dtype=int))
    kind = draw(st.sampled_from(["plain", "bits", "special"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if dtype.kind == "b":
        flat = rng.integers(0, 2, count).astype(bool)
    elif kind == "bits":
        flat = np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).copy()
    elif kind == "special" and dtype.kind in "fc":
        flat = rng.choice([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], count).astype(dtype)
    else:
        flat = rng.integers(0, 100, count).astype(dtype)
    array = flat.reshape(sizes)
    match draw(st.sampled_from(["contiguous", "fortran", "strided", "read-only"])):
        case "fortran" if array.ndim:
            array = np.asfortranarray(array)
        case "strided" if array.ndim:
            array = np.repeat(array, 2, axis=0)[::2]
        case "read-only":
            array.flags.writeable = False
    return array


@st.composite
def tensors(
    draw: st.DrawFn,
    shape: Shape,
    dtype: np.dtype[Any] | None = None,
    *,
    lazy: bool = True,
) -> Tensor:
    """Draws a tensor of the shape with its axes in any order; a stack, or constant along some."""
    dtype = draw(st.sampled_from(DTYPES)) if dtype is None else dtype
    order = list(draw(st.permutations(list(shape.names))))
    form = draw(st.sampled_from(["dense", "dense", "expanded", "stack"])) if lazy else "dense"
    if not shape.volume and form == "expanded":
        form = "dense"  # PhiML cannot stack tensors that lack a dim of size 0
    if form == "stack" and order and shape.get_size(order[0]):
        outer, inner = shape[order[0]], math.concat_shapes(*[shape[name] for name in order[1:]])
        parts = [draw(tensors(inner, dtype, lazy=False)) for _ in range(outer.size)]
        return _stack(parts, outer)
    kept = order[draw(st.integers(0, len(order))) :] if form == "expanded" else order
    dense = math.concat_shapes(*[shape[name] for name in kept])
    tensor = math.wrap(draw(arrays(dense.sizes, dtype)), dense)
    return math.expand(tensor, shape - dense) if len(kept) < len(order) else tensor


@st.composite
def bounds(draw: st.DrawFn, axes: Sequence[str], batch_dims: Shape = math.EMPTY_SHAPE) -> Box:
    """Draws a box made in any way that PhiFlow has, in single or double precision, or infinite."""
    numbers = st.floats(-1e3, 1e3) | st.integers(-5, 5)
    kind = draw(st.sampled_from(["sizes", "limits", "open", "tensors", "cuboid", "attrs"]))
    # Infinite sides make PhiFlow subtract infinities.
    with math.precision(draw(st.sampled_from([32, 64]))), np.errstate(all="ignore"):
        if kind == "sizes":
            return Box(**{axis: draw(numbers) for axis in axes})
        if kind in ("limits", "open"):
            ends = st.none() | numbers if kind == "open" else numbers
            return Box(**{axis: (draw(ends), draw(ends)) for axis in axes})
        vector = channel(vector=list(axes))
        with_batch = math.concat_shapes(batch_dims, vector)
        shapes = [draw(st.sampled_from([vector, with_batch])) for _ in range(2)]
        dtypes = [
            draw(st.sampled_from([*FLOATS, np.dtype("int64"), np.dtype("int32")])) for _ in range(2)
        ]
        corners = [
            math.wrap(np.asarray(draw(_corner(shape.sizes))).astype(dtype), shape)
            for shape, dtype in zip(shapes, dtypes, strict=True)
        ]
        if kind == "tensors":
            return Box(corners[0], corners[1])
        if kind == "cuboid":
            return Cuboid(corners[0], half_size=corners[1])
        return Box(
            lower=corners[0],
            upper=corners[1],
            variable_attrs=draw(st.sampled_from([(), ("size",)])),
        )


def _corner(sizes: Sequence[int]) -> st.SearchStrategy[Any]:
    """Returns a strategy for coordinates that need all the bits they can get."""
    return st.integers(0, 2**16).map(
        lambda seed: np.random.default_rng(seed).normal(size=sizes) * 7
    )


@st.composite
def constants(draw: st.DrawFn, axes: Sequence[str], batch_dims: Shape = math.EMPTY_SHAPE) -> Any:
    """Draws a constant boundary: a plain number, or a tensor with vector and batch dims."""
    if draw(st.booleans()):
        value = draw(
            st.sampled_from(
                [0, 1, -3, 0.1, -0.0, float("nan"), float("inf"), True, 1j, 2**30, 1e300]
            )
        )
    else:
        vector = channel(vector=list(axes))
        shape = draw(
            st.sampled_from(
                [math.EMPTY_SHAPE, vector, batch_dims, math.concat_shapes(batch_dims, vector)]
            )
        )
        value = draw(tensors(shape))
    return extrapolation.ConstantExtrapolation(value)


@st.composite
def boundaries(
    draw: st.DrawFn,
    axes: Sequence[str],
    batch_dims: Shape = math.EMPTY_SHAPE,
    *,
    depth: int = 2,
    staggered: bool = False,
) -> Any:
    """Draws any boundary condition of PhiFlow.

    Args:
        draw: Given by hypothesis.
        axes: Axes of the grid.
        batch_dims: Dims that tensors in the boundary may have, beside `vector`.
        depth: How many levels it may have.
        staggered: Whether it must say which faces it determines.
    """
    simple = (*COPIES, extrapolation.NONE)
    leaves = st.sampled_from(simple if staggered else (*simple, extrapolation.SYMMETRIC_GRADIENT))
    leaves |= constants(axes, batch_dims)
    if not depth:
        return draw(leaves)
    kind = draw(
        st.sampled_from(["leaf", "leaf", "mixed", "normal", "conditional", "undefined", "field"])
    )

    def inner(depth: int = depth - 1) -> Any:
        return draw(boundaries(axes, batch_dims, depth=depth, staggered=staggered))

    if kind == "mixed":
        sides = {}
        for axis in axes:
            if draw(st.booleans()):
                sides[axis] = _unmixed(inner())
            else:
                sides |= {axis + end: _unmixed(inner()) for end in "-+"}
        with np.errstate(all="ignore"):  # it compares constants in PhiML's precision
            return extrapolation.combine_sides(sides)
    if kind == "normal":
        return extrapolation._NormalTangentialExtrapolation(_unmixed(inner()), _unmixed(inner()))
    if kind == "conditional":
        mask = draw(tensors(draw(st.sampled_from([batch_dims, math.EMPTY_SHAPE])), np.dtype(bool)))
        if draw(st.booleans()):
            parts = [draw(constants(axes, batch_dims)) for _ in range(2)]
        else:  # both must determine the same faces
            parts = [draw(st.sampled_from(COPIES[1:])) for _ in range(2)]
        return extrapolation._ConditionalExtrapolation(mask, *parts)
    if kind == "undefined":
        return extrapolation.Undefined(inner())
    if kind == "field":
        return draw(grid_fields(axes=axes, batch_dims=batch_dims, boundary_depth=0)).as_boundary()
    return draw(leaves)


def _unmixed(boundary: Any) -> Any:
    """Returns the boundary, or one of its sides: PhiFlow does not nest them."""
    if isinstance(boundary, extrapolation._MixedExtrapolation):
        return next(iter(boundary.ext.values()))
    return boundary


@st.composite
def grid_fields(
    draw: st.DrawFn,
    *,
    axes: Sequence[str] | None = None,
    staggered: bool | None = None,
    dtype: np.dtype[Any] | None = None,
    batch_dims: Shape | None = None,
    boundary: st.SearchStrategy[Any] | None = None,
    boundary_depth: int = 2,
    plain: bool = False,
) -> Field:
    """Draws a centered or staggered grid of any dtype, dims, bounds and boundary.

    Args:
        draw: Given by hypothesis.
        axes: Axes of the grid, drawn if not given.
        staggered: Kind of grid, drawn if not given.
        dtype: Of the values, drawn if not given.
        batch_dims: That the values have, drawn if not given; bounds and boundary may have them.
        boundary: What to draw the boundary from.
        boundary_depth: How many levels a boundary may have if it is not given.
        plain: Whether to leave out what PhiFlow itself cannot work with: components without labels,
            dual and instance dims, values that are constant along some dims.
    """
    if axes is None:
        axes = draw(st.permutations("xyzw"))[: draw(st.sampled_from([1, 2, 2, 2, 3, 4]))]
    staggered = draw(st.booleans()) if staggered is None else staggered
    dtype = draw(st.sampled_from(DTYPES)) if dtype is None else dtype
    if batch_dims is None:
        batch_dims = draw(dims("batch", "b")) if draw(st.booleans()) else math.EMPTY_SHAPE
    sizes = [draw(st.integers(1 if staggered else 0, 4)) for _ in axes]
    resolution = math.concat_shapes(
        *[dim("spatial", a, n) for a, n in zip(axes, sizes, strict=True)]
    )
    if sizes and sizes[0] and not staggered and draw(st.booleans()):
        resolution = resolution.with_dim_size(axes[0], tuple(f"cell {i}" for i in range(sizes[0])))
    others = [batch_dims]
    if draw(st.booleans()):
        others.append(draw(dims("channel", draw(st.sampled_from("cv")))))
    if not staggered and draw(st.booleans()):
        others.append(
            draw(
                st.sampled_from(
                    [dim("channel", "vector", 2), dim("channel", "vector", len(axes), axes)]
                )
            )
        )
    if not plain and draw(st.integers(0, 5)) == 0:
        others.append(draw(st.sampled_from([dim("dual", "d", 2), dim("instance", "i", 2)])))
    others = draw(st.permutations(others))
    geometry = UniformGrid(resolution, draw(st.none() | bounds(axes, batch_dims)))
    outside = draw(
        boundary or boundaries(axes, batch_dims, depth=boundary_depth, staggered=staggered)
    )
    if staggered:
        values = draw(_faces(resolution, math.concat_shapes(*others), outside, dtype, plain))
    else:
        labelled = (
            resolution
            if draw(st.booleans())
            else resolution.with_sizes(resolution.sizes, keep_labels=False)
        )
        values = draw(tensors(math.concat_shapes(*others, labelled), dtype, lazy=not plain))
    attrs = draw(st.sampled_from([("values",), ("values",), ("values", "geometry"), ()]))
    value_attrs = draw(st.sampled_from([("values",), ()]))
    with np.errstate(all="ignore"):  # the face positions of an infinite grid
        return Field(geometry, values, outside, attrs, value_attrs)


@st.composite
def _faces(
    draw: st.DrawFn,
    resolution: Shape,
    others: Shape,
    boundary: Any,
    dtype: np.dtype[Any],
    plain: bool,
) -> Tensor:
    """Draws values on the faces of a grid that the boundary does not determine."""
    parts = []
    labels = resolution.names if plain or draw(st.integers(0, 4)) else None
    for axis in resolution.names:
        lower, upper = boundary.valid_outer_faces(axis)
        shape = resolution.with_dim_size(axis, resolution.get_size(axis) + lower + upper - 1)
        parts.append(draw(tensors(math.concat_shapes(others, shape), dtype, lazy=not plain)))
    faces = dim("dual", "vector", len(parts), labels)
    if all(set(part.shape) == set(parts[0].shape) for part in parts) and draw(st.booleans()):
        order = parts[0].shape.names
        array = np.stack([_exact(part, order) for part in parts])
        return math.wrap(array, math.concat_shapes(faces, parts[0].shape))
    return _stack(parts, faces)


def _stack(parts: Sequence[Tensor], outer: Shape) -> Tensor:
    """Returns the stack of tensors at their own precision, which PhiML may round otherwise."""
    with math.precision(parts[0].dtype.precision or 32):
        return math.stack(list(parts), outer)


def _exact(tensor: Tensor, order: Sequence[str]) -> Any:
    """Returns the numbers of a tensor at its own precision."""
    with math.precision(tensor.dtype.precision or 32):
        return tensor.numpy(tuple(order))
