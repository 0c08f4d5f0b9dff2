"""Descriptions and properties as attributes of xarray, which netCDF and Zarr can hold, and back.

A variable has the attributes of its field in the file under the same names, see FORMAT.md, each as
text, and besides:

| attribute | value |
| --- | --- |
| `field` | the name of the field |
| `component` | the axis of the component, where the variable is one of a staggered grid |
| `variable_dims` | JSON: the name that each of `dims` has in xarray |
| `sizes` | JSON: the size of each of `dims` in the file |
| `frame_dim` | the name that the dim of the frames has in xarray |

Where frames or scenes differ in their descriptions, the coordinate `<field>_description` holds the
description of each, as JSON of the attributes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.format import descriptions, layout
from h5scene.format.json_values import dump_json, load_json
from h5scene.record import DimSpec, TensorRecord

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from h5scene.record import Array, FieldDescription

FIELD_ATTR = "field"
COMPONENT_ATTR = "component"
VARIABLE_DIMS_ATTR = "variable_dims"
SIZES_ATTR = "sizes"
FRAME_DIM_ATTR = "frame_dim"

_CORNERS = (layout.LOWER_ATTR, layout.UPPER_ATTR, layout.CENTER_ATTR, layout.SIZE_ATTR)
_MAX_INT = 1 << 63


def description_coord(fieldname: object) -> str:
    """Returns the name of the coordinate that holds descriptions which differ."""
    return f"{fieldname}_description"


def attrs_from_description(description: FieldDescription) -> dict[str, str]:
    """Returns the description as attributes, which are all text.

    A corner is a list of numbers where those say all, else a tensor.
    """
    attrs: dict[str, str] = {}
    described, _ = descriptions.split_arrays(description)
    for name, value in descriptions.attributes_from_description(described).items():
        if isinstance(value, np.ndarray):
            is_plain = value.ndim == 1 and value.dtype in (np.float64, np.int64)
            tensor = TensorRecord(
                tuple(DimSpec(f"d{i}", "channel") for i in range(value.ndim)), value
            )
            attrs[name] = dump_json(value.tolist() if is_plain else tensor, name)
        else:
            attrs[name] = value
    return attrs


class _Attributes:
    """Attributes as they stand on an HDF5 object, to be read as such."""

    def __init__(self, name: str, attrs: Mapping[Hashable, Any]):
        self.name = name
        self.attrs: dict[Hashable, Any] = dict(attrs)
        for key in _CORNERS:
            if key in self.attrs:
                value = load_json(self.attrs[key])
                self.attrs[key] = value.data if isinstance(value, TensorRecord) else value


def description_from_attrs(attrs: Mapping[Hashable, Any], name: str) -> FieldDescription:
    """Returns the description that `attrs_from_description` made into attributes.

    Raises:
        InvalidInputError: They are not there, or not what they were.
    """
    if layout.FIELD_TYPE_ATTR not in attrs or layout.BOUNDARY_ATTR not in attrs:
        raise InvalidInputError(
            f"{name} does not say its field type and boundary, which h5scene keeps in its "
            "attributes; if a computation dropped them, put them back with .assign_attrs()"
        )
    try:
        return descriptions.read_description(_Attributes(name, attrs))
    except (CorruptDataError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(f"the attributes of {name} describe no field: {error}") from error


def attrs_from_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Returns properties as attributes: numbers, strings and lists of these; all else as JSON."""
    return {name: _plain(name, value) for name, value in properties.items()}


def _plain(name: str, value: Any) -> Any:
    """Returns a value that an attribute can hold in netCDF and Zarr, or its JSON."""
    if _is_plain(value):
        return value
    if isinstance(value, list) and value and all(map(_is_plain, value)):
        kinds = {type(item) for item in value}
        if len(kinds) == 1 and kinds <= {int, float}:
            return value
    return dump_json(value, f"property {name!r}")


def _is_plain(value: Any) -> bool:
    """Whether every library has the value as an attribute."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -_MAX_INT <= value < _MAX_INT
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str) and "\0" not in value


def cell_centers(lower: float, upper: float, cells: int) -> Array:
    """Returns the position of each cell along one axis."""
    return lower + (np.arange(cells) + 0.5) / max(cells, 1) * (upper - lower)


def faces(lower: float, upper: float, cells: int) -> Array:
    """Returns the position of each face along one axis, both outer ones included."""
    return lower + np.arange(cells + 1) / max(cells, 1) * (upper - lower)
