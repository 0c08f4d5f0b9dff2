"""Fields of npz files to records and back: PhiFlow's own format, without PhiFlow.

What the arrays of a file mean is what `phi.field.read` makes of them. Where it rounds or converts,
the record keeps what stands in the file.

An npz can differ from the one that `Npz.of` makes of its record: arrays in Fortran's order, older
names of boundaries, other members. What differs is kept as JSON under `NPZ_ATTR` in the record's
description, so that the same arrays can be written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.interop.npy import ForeignNpzError
from h5scene.interop.npz_boundaries import (
    CannotHoldError,
    boundary_from_dict,
    check_labels,
    dict_from_boundary,
    dim_spec,
)
from h5scene.interop.plain_trees import json_from_tree, same, tree_from_json
from h5scene.record import (
    CENTERED,
    NPZ_ATTR,
    STAGGERED,
    Array,
    Bounds,
    DimSpec,
    FieldDescription,
    FieldRecord,
    TensorRecord,
)

DATA = "data"
STEM_KEY = "stem"
MEMBERS = (
    *("dim_names", "dim_types", "dim_item_names", "field_type", "lower", "upper"),
    *("bounds_item_names", "extrapolation", DATA),
)
_NUMBER_KINDS = "biufc"
_MAX_NUMBER_BYTES = 16


@dataclass(frozen=True)
class ArrayForm:
    """How an array is written: all of it but its numbers."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool = False


@dataclass(frozen=True)
class NpzForm:
    """An npz without the numbers of its `data`.

    Attributes:
        small: The other arrays, by name.
        order: Names of all arrays, in the order of the file.
        data: Form of `data`.
        axes: Axis of the record's values for each axis of `data`.
    """

    small: Mapping[str, Array]
    order: tuple[str, ...]
    data: ArrayForm
    axes: tuple[int, ...]

    @property
    def values_shape(self) -> tuple[int, ...]:
        """Shape of the record's values."""
        shape = [0] * len(self.axes)
        for axis, size in zip(self.axes, self.data.shape, strict=True):
            shape[axis] = size
        return tuple(shape)

    def data_from_values(self, values: Array) -> Array:
        """Returns `data` as it is written."""
        data = values.transpose(self.axes)
        if data.dtype != self.data.dtype:
            data = data.astype(self.data.dtype)
        return np.asfortranarray(data) if self.data.is_fortran else np.ascontiguousarray(data)

    def values_from_data(self, data: Array) -> Array:
        """Returns the values of the record, in the byte order of this machine."""
        values = data.transpose(np.argsort(self.axes)) if self.axes else data
        return values.astype(data.dtype.newbyteorder("="), copy=False)


def description_from_npz(
    small: Mapping[str, Array], order: tuple[str, ...], data: ArrayForm
) -> tuple[FieldDescription, NpzForm]:
    """Returns the description of the field that PhiFlow would read, and the form of the npz.

    Args:
        small: All arrays but `data`, by name.
        order: Names of all arrays, in the order of the file.
        data: Form of `data`.

    Raises:
        ForeignNpzError: PhiFlow would read no field, or one that h5scene has no form for.
    """
    description, axes = _description(small, data)
    form = NpzForm(dict(small), order, data, axes)
    usual = usual_form(description, form.values_shape, data.dtype.newbyteorder("="))
    differing = _differences(form, usual)
    if differing:
        description = replace(description, attrs={**description.attrs, NPZ_ATTR: differing})
    return description, form


def form_of(
    description: FieldDescription, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[NpzForm, FieldDescription]:
    """Returns the form in which a field is written, and what it is read as again.

    The two descriptions differ where npz holds less than the record.

    Raises:
        CannotHoldError: PhiFlow has no npz for this field; says why.
    """
    description = without_stem(description)
    usual = usual_form(without_form(description), shape, dtype)
    described = description.attrs.get(NPZ_ATTR)
    if isinstance(described, Mapping):
        try:
            form = _with_differences(usual, described)
            found, _ = description_from_npz(form.small, form.order, form.data)
        except (CorruptDataError, ForeignNpzError, InvalidInputError):
            pass  # not what it was when it was imported
        else:
            if form.values_shape == shape and found == description:
                return form, found
    try:
        found, _ = description_from_npz(usual.small, usual.order, usual.data)
    except ForeignNpzError as error:
        raise CannotHoldError(str(error)) from error
    return usual, found


def reproduces(description: FieldDescription, form: NpzForm) -> bool:
    """Whether the same npz can be written again from what the description says."""
    shape = form.values_shape
    again, _ = form_of(description, shape, form.data.dtype.newbyteorder("="))
    same_arrays = all(same(array, again.small[name]) for name, array in form.small.items())
    return same_arrays and (again.order, again.axes, again.data) == (
        form.order,
        form.axes,
        form.data,
    )


def stem_of(description: FieldDescription) -> str | None:
    """Returns the beginning of the name of the npz file, where that is not the usual one."""
    described = description.attrs.get(NPZ_ATTR)
    stem = described.get(STEM_KEY) if isinstance(described, Mapping) else None
    return stem if isinstance(stem, str) else None


def with_stem(description: FieldDescription, stem: str) -> FieldDescription:
    """Returns the description with the beginning of the name of its npz file."""
    form = {**description.attrs.get(NPZ_ATTR, {}), STEM_KEY: stem}
    return replace(description, attrs={**description.attrs, NPZ_ATTR: form})


def without_stem(description: FieldDescription) -> FieldDescription:
    """Returns the description without the beginning of the name of its npz file."""
    described = description.attrs.get(NPZ_ATTR)
    if not isinstance(described, Mapping) or STEM_KEY not in described:
        return description
    form = {name: value for name, value in described.items() if name != STEM_KEY}
    if not form:
        return without_form(description)
    return replace(description, attrs={**description.attrs, NPZ_ATTR: form})


def record_from_npz(members: Mapping[str, Array]) -> FieldRecord:
    """Returns the record of an npz whose arrays are all at hand.

    Raises:
        ForeignNpzError: PhiFlow would read no field, or one that h5scene has no form for.
    """
    if DATA not in members:
        raise ForeignNpzError("it has no array 'data'")
    data = members[DATA]
    is_fortran = data.flags.f_contiguous and not data.flags.c_contiguous
    small = {name: array for name, array in members.items() if name != DATA}
    form = ArrayForm(data.dtype, data.shape, is_fortran)
    description, npz = description_from_npz(small, tuple(members), form)
    return FieldRecord(description, npz.values_from_data(data))


def npz_from_record(record: FieldRecord) -> dict[str, Array]:
    """Returns the arrays of the npz that holds a record, in order.

    Raises:
        CannotHoldError: PhiFlow has no npz for this field; says why.
    """
    form, _ = form_of(record.description, record.values.shape, record.values.dtype)
    data = form.data_from_values(record.values)
    return {name: data if name == DATA else form.small[name] for name in form.order}


def without_form(description: FieldDescription) -> FieldDescription:
    """Returns the description without what is only kept for writing the same npz again."""
    if NPZ_ATTR not in description.attrs:
        return description
    attrs = {name: value for name, value in description.attrs.items() if name != NPZ_ATTR}
    return replace(description, attrs=attrs)


def usual_form(
    description: FieldDescription, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NpzForm:
    """Returns the npz that PhiFlow writes for a field.

    Raises:
        CannotHoldError: It writes none; says why.
    """
    bounds, dims = description.bounds, description.dims
    if bounds is None:
        raise CannotHoldError("a field that is no grid")
    if bounds.lower.data.ndim != 1 or bounds.upper.data.ndim != 1:
        raise CannotHoldError("bounds that differ along a batch dim")
    if any(dim.type == "instance" for dim in dims):
        raise CannotHoldError("an instance dim")
    if description.field_type == STAGGERED:
        dims = _with_component_labels(dims)
    labels = np.empty(len(dims), object)
    for i, dim in enumerate(dims):
        labels[i] = dim.labels
    if labels.size and all(dim.labels for dim in dims):
        # As PhiFlow does it: NumPy makes one array of lists of one length.
        labels = np.asarray([dim.labels for dim in dims], dtype=object)
    boundary = np.empty((), object)
    boundary[()] = dict_from_boundary(description.boundary)
    small = {
        "dim_names": np.asarray([dim.name for dim in dims]),
        "dim_types": np.asarray([dim.type for dim in dims]),
        "dim_item_names": labels,
        "field_type": np.asarray(description.field_type),
        "lower": bounds.lower.data,
        "upper": bounds.upper.data,
        "bounds_item_names": np.asarray(bounds.axes),
        "extrapolation": boundary,
    }
    return NpzForm(small, MEMBERS, ArrayForm(dtype, shape), tuple(range(len(shape))))


def _with_component_labels(dims: tuple[DimSpec, ...]) -> tuple[DimSpec, ...]:
    """Returns the dims of a staggered grid as PhiFlow writes them: components along all axes."""
    spatial = tuple(dim.name for dim in dims if dim.type == "spatial")
    if any(dim.name == "~vector" for dim in dims):
        raise CannotHoldError("a staggered grid of vectors")
    if not all(dim.labels in (None, spatial) for dim in dims if dim.name == "vector"):
        raise CannotHoldError("a staggered grid with its components in another order")
    return tuple(replace(dim, labels=spatial) if dim.name == "vector" else dim for dim in dims)


# --- what the arrays mean -------------------------------------------------------------------------


def _description(
    small: Mapping[str, Array], data: ArrayForm
) -> tuple[FieldDescription, tuple[int, ...]]:
    """Returns the description, and for each axis of `data` that of the values."""
    for name in ("field_type", "dim_names", "dim_types", "lower", "upper", "extrapolation"):
        if name not in small:
            raise ForeignNpzError(f"it has no array {name!r}")
    if data.dtype.kind not in _NUMBER_KINDS or data.dtype.itemsize > _MAX_NUMBER_BYTES:
        raise ForeignNpzError(f"its values are of dtype {data.dtype}")
    field_type = small["field_type"].item() if small["field_type"].shape == () else None
    if field_type not in (CENTERED, STAGGERED):
        raise ForeignNpzError(f"it is a {field_type!r:.60}, and no grid")
    dims = _dims(small, data.shape)
    spatial = tuple(dim.name for dim in dims if dim.type == "spatial")
    named = small.get("bounds_item_names")
    axes = spatial if named is None or named.shape == () else _strings(named, "bounds_item_names")
    if not axes or set(axes) != set(spatial) or len(axes) != len(spatial):
        raise ForeignNpzError(f"its bounds are along {axes!r:.80}, its values along {spatial}")
    if any(dim.type == "instance" for dim in dims):
        raise ForeignNpzError("its values have an instance dim")
    bounds = Bounds(_corner(small["lower"], axes), _corner(small["upper"], axes))
    extrapolation = small["extrapolation"]
    if extrapolation.shape != ():
        raise ForeignNpzError("it has no boundary")
    boundary = boundary_from_dict(extrapolation[()])
    order = list(range(len(dims)))
    if field_type == STAGGERED:
        dims, order = _staggered_dims(dims, spatial, data.shape)
    axes_of_data = tuple(order.index(i) for i in range(len(order)))
    return FieldDescription(field_type, dims, bounds, boundary, {}), axes_of_data


def _dims(small: Mapping[str, Array], shape: tuple[int, ...]) -> tuple[DimSpec, ...]:
    """Returns the dims of `data`, in its order."""
    names = _strings(small["dim_names"], "dim_names")
    kinds = _strings(small["dim_types"], "dim_types")
    labels: Any = [None] * len(shape)
    if "dim_item_names" in small:
        given = small["dim_item_names"]
        if given.ndim not in (1, 2):
            raise ForeignNpzError("its dims have labels of an unknown form")
        labels = list(given)
    if not len(names) == len(kinds) == len(labels) == len(shape):
        raise ForeignNpzError(f"its {len(shape)} axes are described as {len(names)} dims")
    dims = tuple(map(dim_spec, names, kinds, labels))
    check_labels(dims, shape)
    return dims


def _strings(array: Array, name: str) -> tuple[str, ...]:
    """Returns the strings of a one-dimensional array."""
    items = array.tolist() if array.ndim == 1 else [None]
    if not all(isinstance(item, str) for item in items):
        raise ForeignNpzError(f"its array {name!r} holds no names")
    return tuple(items)


def _corner(array: Array, axes: tuple[str, ...]) -> TensorRecord:
    """Returns a corner of the bounds."""
    is_number = array.dtype.kind in "iuf" and array.dtype.itemsize <= 8
    if not is_number or array.shape != (len(axes),):
        raise ForeignNpzError(f"a corner of its bounds is {array.shape} of {array.dtype}")
    native = array.astype(array.dtype.newbyteorder("="))
    return TensorRecord((DimSpec("vector", "channel", axes),), native)


def _staggered_dims(
    dims: tuple[DimSpec, ...], spatial: tuple[str, ...], shape: tuple[int, ...]
) -> tuple[tuple[DimSpec, ...], list[int]]:
    """Returns the dims with that of the components last, and the axis of `data` for each.

    PhiFlow takes the components to be along the spatial dims, in the order of `data`.
    """
    found = [i for i, dim in enumerate(dims) if dim.name == "vector" and dim.type == "channel"]
    if not found or shape[found[0]] != len(spatial):
        raise ForeignNpzError("its staggered values have no dim 'vector' for the axes")
    cells = [i for i, dim in enumerate(dims) if dim.type == "spatial"]
    if any(dims[i].labels is not None for i in cells):
        raise ForeignNpzError("its staggered values have labelled cells")
    if any(shape[i] < 1 for i in cells):
        raise ForeignNpzError("its staggered values are empty")
    order = [*(i for i in range(len(dims)) if i != found[0]), found[0]]
    vector = DimSpec("vector", "channel", spatial)
    return (*(dims[i] for i in order[:-1]), vector), order


# --- how a file differs from the usual ------------------------------------------------------------


def _differences(form: NpzForm, usual: NpzForm) -> dict[str, Any]:
    """Returns, as JSON values, what has to be changed in the usual form to get this one."""
    found: dict[str, Any] = {}
    if form.order != usual.order:
        found["order"] = list(form.order)
    if form.axes != usual.axes:
        found["axes"] = list(form.axes)
    if form.data.is_fortran:
        found["fortran"] = True
    if form.data.dtype.str != usual.data.dtype.str:
        found["dtype"] = form.data.dtype.str
    arrays = {
        name: json_from_tree(array)
        for name, array in form.small.items()
        if name not in usual.small or not same(array, usual.small[name])
    }
    if arrays:
        found["arrays"] = arrays
    return found


def _with_differences(usual: NpzForm, found: Mapping[str, Any]) -> NpzForm:
    """Returns the form that differs from the usual one as `_differences` found.

    Raises:
        CorruptDataError: The differences make no sense.
    """
    try:
        arrays = {name: tree_from_json(item) for name, item in found.get("arrays", {}).items()}
        order = tuple(found.get("order", usual.order))
        axes = tuple(found.get("axes", usual.axes))
        dtype = np.dtype(found.get("dtype", usual.data.dtype))
        merged = {**usual.small, **arrays}
        small = {name: merged[name] for name in order if name != DATA}
        if sorted(axes) != list(usual.axes) or dtype.newbyteorder("=") != usual.data.dtype:
            raise ValueError("other axes or another dtype")
        if not all(isinstance(array, np.ndarray) for array in small.values()):
            raise ValueError("no arrays")
        if len(set(order)) != len(order) or DATA not in order:
            raise ValueError("not in order")
        shape = tuple(usual.data.shape[axis] for axis in axes)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptDataError(f"the npz is described wrongly: {error}") from error
    form = ArrayForm(dtype, shape, found.get("fortran") is True)
    return NpzForm(small, order, form, axes)
