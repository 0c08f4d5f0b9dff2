"""PhiFlow fields to `FieldRecord`s and back, without loss.

The only room that knows what a PhiFlow field is. Its levels, each using those before it:

* `_tensors`: PhiML shapes and tensors, at their own precision
* `_bounds`, `_boundaries`: the box around a grid, and what lies outside
* `_staggered`: face-centred values in one padded array
* `_parts`: tensors of every kind; `_geometry_kinds`, `_geometries`: geometries
* `_write`, `_read`: whole fields

It reaches into the internals of PhiFlow and PhiML where their public functions round
(`Tensor.numpy()`), forget (`Extrapolation.to_dict()`) or take longer than storing the frame
(`StaggeredGrid()`, `Field.staggered_tensor()`).

What a description holds in `attrs`, each only where it is not the default:

| key | meaning |
| --- | --- |
| `variable_attrs` | names of the field's attributes that PhiML traces |
| `value_attrs` | names of the field's attributes that PhiML takes as values |
| `bounds_variable_attrs` | names of the attributes of its bounds that PhiML traces |
| `resolution_labels` | labels of the cells by axis, where the values have other ones, or none |
"""

from __future__ import annotations

from h5scene.phi_fields._read import field_from_record
from h5scene.phi_fields._regions import RegionLike, region_from_selection, stacking_dim
from h5scene.phi_fields._tensors import (
    dim_specs_from_shape,
    shape_from_dim_specs,
    tensor_from_record,
    tensor_record_from_tensor,
)
from h5scene.phi_fields._write import record_from_field

__all__ = [
    "RegionLike",
    "dim_specs_from_shape",
    "field_from_record",
    "record_from_field",
    "region_from_selection",
    "shape_from_dim_specs",
    "stacking_dim",
    "tensor_from_record",
    "tensor_record_from_tensor",
]
