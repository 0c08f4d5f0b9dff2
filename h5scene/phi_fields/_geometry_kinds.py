"""The registry of PhiFlow's geometries: how each class is taken apart and put together.

It says the kind of each class in files, and the attributes that make it up. Everything else that
PhiFlow knows of a geometry, such as the faces of a mesh, is worked out from these by PhiFlow when
it is needed, and not stored. Positions are called `center` in every kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from phi.geom import Box, Cylinder, Graph, Heightmap, Mesh, Point, SDFGrid, Sphere
from phi.geom import UniformGrid as Grid
from phi.geom._embed import _EmbeddedGeometry as Embedded
from phi.geom._geom import InvertedGeometry, NoGeometry
from phi.geom._geom_ops import GeometryStack, Intersection
from phi.geom._heightmap import Face
from phi.geom._spline_sheet import BSplineSheet
from phiml.math import Extrapolation, Shape, Tensor

from h5scene.errors import CorruptDataError, UnsupportedFieldError
from h5scene.objects import ObjectRecord, Part, stacked_parts, unstacked_parts
from h5scene.phi_fields._boundaries import boundary_from_tree, boundary_tree
from h5scene.phi_fields._parts import part_from_tensor, tensor_from_part
from h5scene.phi_fields._tensors import (
    dim_specs_from_shape,
    shape_from_dim_specs,
)
from h5scene.record import Boundary, TensorRecord
from h5scene.tensors import DimSpec, dims_from_json, dims_to_json

_FACES = DimSpec("faces", "instance")
_VERTICES = DimSpec("vertices", "spatial")
ABSENT = object()


@dataclass(frozen=True)
class _Attr:
    """How an attribute of a class becomes JSON, and is made of it again."""

    name: str
    """Of the attribute of the class."""
    to_json: Callable[[Any], Any] = lambda value: value
    from_json: Callable[[Any], Any] = lambda value: value
    default: Any = ABSENT
    """What is not stored."""


def _names(value: Any) -> tuple[str, ...]:
    """Returns a tuple of strings."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise CorruptDataError(f"{value!r:.80} is no list of names")
    return tuple(value)


def _of_type(*kinds: type) -> Callable[[Any], Any]:
    """Returns a check of what stands in a file."""

    def checked(value: Any) -> Any:
        if type(value) not in kinds:
            raise CorruptDataError(f"{value!r:.80} is no {kinds[0].__name__}")
        return value

    return checked


def _shape_to_json(shape: Shape) -> dict[str, Any]:
    return {"dims": dims_to_json(dim_specs_from_shape(shape)), "sizes": list(map(int, shape.sizes))}


def _shape_from_json(value: Any) -> Shape:
    return shape_from_dim_specs(dims_from_json(value["dims"]), tuple(value["sizes"]))


def _slices_to_json(value: Mapping[str, Mapping[str, slice]] | None) -> Any:
    """Returns named slices, such as those of the boundary of a graph."""
    if value is None:
        return None
    ends = {
        name: {dim: [part.start, part.stop, part.step] for dim, part in slices.items()}
        for name, slices in value.items()
    }
    numbers = [n for slices in ends.values() for part in slices.values() for n in part]
    if not all(n is None or isinstance(n, (int, np.integer)) for n in numbers):
        raise UnsupportedFieldError(f"cannot store a graph with the boundary {value}")
    return ends


def _slices_from_json(value: Any) -> Any:
    if value is None:
        return None
    return {
        name: {dim: slice(*part) for dim, part in slices.items()} for name, slices in value.items()
    }


def _names_attr(name: str, default: tuple[str, ...]) -> _Attr:
    return _Attr(name, list, _names, default)


@dataclass(frozen=True)
class Kind:
    """One class of geometries.

    Attributes:
        cls: The class.
        parts: Attributes that are tensors or geometries, by the name of the part. `None` is not
            stored.
        attrs: Attributes that are plain values, by the name of the attribute in files.
        add: Adds what needs its own form to attributes and parts.
        restore: Returns attributes of the object that were stored by `add`.
    """

    cls: type
    parts: Mapping[str, str] = field(default_factory=dict)
    attrs: Mapping[str, _Attr] = field(default_factory=dict)
    add: Callable[[Any, dict[str, Any], dict[str, Part]], None] | None = None
    restore: Callable[[ObjectRecord], dict[str, Any]] | None = None
    required: frozenset[str] = frozenset()


def assembled(cls: type, attributes: Mapping[str, Any]) -> Any:
    """Returns an object without its constructor, but with the check that follows it."""
    geometry: Any = object.__new__(cls)
    geometry.__dict__.update(attributes)
    check = getattr(geometry, "__post_init__", None)
    if check is not None:
        check()
    return geometry


# --- what needs its own form ----------------------------------------------------------------------


def _add_corners(box: Box, _: dict[str, Any], parts: dict[str, Part]) -> None:
    """Adds the corners of a box that PhiFlow keeps, where they are not what it computes."""
    given = {name: box.__dict__[name] for name in ("lower", "upper") if name in box.__dict__}
    if not given:
        return
    fresh = assembled(Box, {name: box.__dict__[name] for name in ("pos", "size", "rot", "is_open")})
    for name, corner in given.items():
        part = part_from_tensor(corner, copy=True)
        if part != part_from_tensor(getattr(fresh, name), copy=True):
            parts[name] = part


def _restore_corners(record: ObjectRecord) -> dict[str, Any]:
    return {
        name: tensor_from_part(record.parts[name])
        for name in ("lower", "upper")
        if name in record.parts
    }


def _add_mesh_boundaries(mesh: Mesh, attrs: dict[str, Any], parts: dict[str, Part]) -> None:
    """Adds the named boundaries of a mesh: lists of faces, each a list of vertices."""
    if mesh.boundaries is None or isinstance(mesh.boundaries, str):
        attrs["boundaries"] = mesh.boundaries
        return
    forms = []
    for i, (name, faces) in enumerate(mesh.boundaries.items()):
        if not isinstance(name, str):
            raise UnsupportedFieldError(f"cannot store a mesh with a boundary called {name!r}")
        form, part = _faces_part(name, faces)
        forms.append({"name": name, "form": form})
        if part is not None:
            parts[f"boundary_{i}"] = part
    attrs["boundaries"] = forms


def _faces_part(name: str, faces: Any) -> tuple[list[str], Part | None]:
    """Returns of what lists the faces of a boundary are made, and their vertices."""
    if faces is None:
        return [], None
    if isinstance(faces, Tensor):
        return ["Tensor"], part_from_tensor(faces, copy=True)
    try:
        outer = type(faces).__name__
        if isinstance(faces, np.ndarray) and faces.dtype.kind in "iu" and faces.ndim == 2:
            return [outer], TensorRecord((_FACES, _VERTICES), faces.copy())
        if not isinstance(faces, (list, tuple)):
            raise TypeError(f"a {outer}")
        inner = {type(face).__name__ for face in faces}
        if len(inner) > 1 or not inner <= {"list", "tuple", "ndarray"}:
            raise TypeError(f"a {outer} of {sorted(inner)}")
        arrays = [np.asarray(face) for face in faces]
        if not all(array.ndim == 1 and array.dtype.kind in "iu" for array in arrays):
            raise TypeError("faces that are no lists of whole numbers")
        form = [outer, *inner]
        if not arrays:
            return form, TensorRecord((_FACES, _VERTICES), np.zeros((0, 0), np.int64))
        if len({(array.size, array.dtype) for array in arrays}) == 1:
            return form, TensorRecord((_FACES, _VERTICES), np.stack(arrays))
        pieces = [TensorRecord((_VERTICES,), array) for array in arrays]
        return form, stacked_parts(_FACES, pieces)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsupportedFieldError(
            f"cannot store a mesh whose boundary {name!r} is {error}; give lists of the vertices "
            "of each face"
        ) from error


def _restore_mesh_boundaries(record: ObjectRecord) -> dict[str, Any]:
    stored = record.attrs["boundaries"]
    if not isinstance(stored, list):
        return {"boundaries": stored}
    boundaries = {
        entry["name"]: _faces(entry["form"], record.parts.get(f"boundary_{i}"))
        for i, entry in enumerate(stored)
    }
    return {"boundaries": boundaries}


def _faces(form: list[str], part: Part | None) -> Any:
    """Returns the faces of a boundary as the lists that they were."""
    if not form or part is None:
        return None
    if form[0] == "Tensor":
        return tensor_from_part(part)
    if isinstance(part, TensorRecord):
        arrays: Any = part.data
    else:
        tensors = unstacked_parts(part)[1]
        arrays = [tensor.data for tensor in tensors if isinstance(tensor, TensorRecord)]
    if form[0] == "ndarray":
        return arrays
    convert = {"tuple": tuple, "list": list}
    outer, inner = convert[form[0]], (form[1] if len(form) > 1 else "list")
    return outer(face if inner == "ndarray" else convert[inner](face.tolist()) for face in arrays)


def _add_heightmap(heightmap: Heightmap, _: dict[str, Any], parts: dict[str, Part]) -> None:
    """Adds the boundary of a height map, and its faces, which take PhiFlow seconds to work out."""
    boundary = heightmap._extrapolation
    if boundary is not None:
        parts["extrapolation"] = _boundary_part(boundary)
    parts["faces"] = ObjectRecord(
        "faces",
        {},
        {
            name: part_from_tensor(value, copy=True)
            for name, value in heightmap._faces.__dict__.items()
            if isinstance(value, Tensor)
        },
    )


def _restore_heightmap(record: ObjectRecord) -> dict[str, Any]:
    boundary = record.parts.get("extrapolation")
    faces = record.parts["faces"]
    if not isinstance(faces, ObjectRecord) or isinstance(boundary, TensorRecord):
        raise CorruptDataError("a height map has no faces")
    tensors = {name: tensor_from_part(part) for name, part in faces.parts.items()}
    bounds, height = record.parts["bounds"], record.parts["height"]
    assert isinstance(height, TensorRecord)
    axes = [name for name in _axes_of(bounds) if name not in {dim.name for dim in height.dims}]
    return {
        "_hdim": axes[0],
        "_faces": Face(**tensors),
        "_extrapolation": None if boundary is None else _boundary_from_part(boundary),
    }


def _axes_of(bounds: Part) -> tuple[str, ...]:
    """Returns the names of the axes of a box."""
    center = bounds.parts["center"] if isinstance(bounds, ObjectRecord) else None
    if isinstance(center, TensorRecord):
        for dim in center.dims:
            if dim.name == "vector" and dim.labels is not None:
                return dim.labels
    raise CorruptDataError("the bounds of a height map do not name their axes")


def _boundary_part(boundary: Extrapolation) -> ObjectRecord:
    """Returns a boundary condition as an object."""

    def refuse(_: Any) -> Any:
        raise UnsupportedFieldError("cannot store a geometry whose boundary is a field")

    def converted(tree: Mapping[str, Any]) -> ObjectRecord:
        attrs = {key: value for key, value in tree.items() if isinstance(value, str)}
        parts = {
            key: converted(value) if isinstance(value, Mapping) else value
            for key, value in tree.items()
            if not isinstance(value, str)
        }
        return ObjectRecord("boundary", attrs, parts)

    return converted(boundary_tree(boundary, refuse))


def _boundary_from_part(record: ObjectRecord) -> Extrapolation:
    """Returns the boundary condition that is stored as an object."""

    def converted(part: ObjectRecord) -> Boundary:
        inner = {
            key: converted(value) if isinstance(value, ObjectRecord) else value
            for key, value in part.parts.items()
        }
        return {**part.attrs, **inner}

    def refuse(_: Any) -> Any:
        raise CorruptDataError("the boundary of a geometry is a field")

    return boundary_from_tree(converted(record), refuse)


def _tensors_part(values: Mapping[str, Tensor]) -> ObjectRecord:
    """Returns tensors by name as an object."""
    return ObjectRecord(
        "tensors", {}, {name: part_from_tensor(value, copy=True) for name, value in values.items()}
    )


def _tensors_from_part(part: Part) -> dict[str, Tensor]:
    if not isinstance(part, ObjectRecord):
        raise CorruptDataError("an array stands where named tensors should be")
    return {name: tensor_from_part(inner) for name, inner in part.parts.items()}


def _add_sheet(sheet: BSplineSheet, attrs: dict[str, Any], parts: dict[str, Part]) -> None:
    parts["derivative_points"] = _tensors_part(sheet.derivative_points)
    if isinstance(sheet.flip_normals, Tensor):
        parts["flip_normals"] = part_from_tensor(sheet.flip_normals, copy=True)
    else:
        attrs["flip_normals"] = bool(sheet.flip_normals)


def _restore_sheet(record: ObjectRecord) -> dict[str, Any]:
    flip = record.parts.get("flip_normals")
    return {
        "derivative_points": _tensors_from_part(record.parts["derivative_points"]),
        "flip_normals": record.attrs["flip_normals"] if flip is None else tensor_from_part(flip),
    }


# --- the registry ---------------------------------------------------------------------------------

_WHOLE = _of_type(int)
KINDS: Mapping[str, Kind] = {
    "point": Kind(Point, {"center": "location"}),
    "sphere": Kind(
        Sphere,
        {"center": "pos", "radius": "radius"},
        {"variable_attrs": _names_attr("variable_attrs", ("pos", "radius"))},
    ),
    "box": Kind(
        Box,
        {"center": "pos", "size": "size", "rotation": "rot", "is_open": "is_open"},
        {"variable_attrs": _names_attr("variable_attrs", ("pos", "size", "rot"))},
        _add_corners,
        _restore_corners,
    ),
    "cylinder": Kind(
        Cylinder,
        {"center": "_center", "radius": "radius", "depth": "depth", "rotation": "rotation"},
        {
            "axis": _Attr("axis", from_json=_of_type(str)),
            "variable_attrs": _names_attr(
                "variable_attrs", ("_center", "radius", "depth", "rotation")
            ),
            "value_attrs": _names_attr("value_attrs", ()),
        },
    ),
    "uniform_grid": Kind(
        Grid,
        {"bounds": "bounds"},
        {"resolution": _Attr("resolution", _shape_to_json, _shape_from_json)},
    ),
    "mesh": Kind(
        Mesh,
        {"vertices": "vertices", "elements": "elements"},
        {
            "element_rank": _Attr("element_rank", int, _WHOLE),
            "periodic": _Attr("periodic", lambda value: value and list(value)),
            "face_format": _Attr("face_format", from_json=_of_type(str)),
            "max_cell_walk": _Attr("max_cell_walk", from_json=_of_type(int, type(None))),
            "variable_attrs": _names_attr("variable_attrs", ("vertices",)),
            "value_attrs": _names_attr("value_attrs", ()),
        },
        _add_mesh_boundaries,
        _restore_mesh_boundaries,
    ),
    "graph": Kind(
        Graph,
        {"nodes": "nodes", "edges": "edges"},
        {"boundary": _Attr("boundary", _slices_to_json, _slices_from_json)},
    ),
    "heightmap": Kind(
        Heightmap,
        {
            "height": "_height",
            "bounds": "_bounds",
            "max_dist": "_max_dist",
            "fill_below": "_fill_below",
        },
        add=_add_heightmap,
        restore=_restore_heightmap,
    ),
    "sdf_grid": Kind(
        SDFGrid,
        {
            "values": "_sdf",
            "bounds": "_bounds",
            "gradient": "_grad",
            "to_surface": "_to_surface",
            "surf_normal": "_surf_normal",
            "surf_index": "_surf_index",
            "center": "_center",
            "volume": "_volume",
            "bounding_radius": "_bounding_radius",
        },
        {"approximate_outside": _Attr("_approximate_outside", bool, _of_type(bool))},
    ),
    "embedded": Kind(Embedded, {"geometry": "geometry"}, {"axes": _Attr("axes", list, _names)}),
    "inverted": Kind(InvertedGeometry, {"geometry": "geometry"}),
    "nothing": Kind(
        NoGeometry, attrs={"vector": _Attr("_shape", _shape_to_json, _shape_from_json)}
    ),
    "union": Kind(GeometryStack, {"geometries": "geometries"}),
    "intersection": Kind(Intersection, {"geometries": "geometries"}),
    "spline_sheet": Kind(
        BSplineSheet,
        {"points": "points", "crease": "crease", "res": "res"},
        {
            "degree": _Attr("degree", int, _WHOLE),
            "sample_res_u": _Attr("sample_res_u", int, _WHOLE),
            "sample_res_v": _Attr("sample_res_v", int, _WHOLE),
            "sample_grid_margin": _Attr("sample_grid_margin", float, _of_type(float)),
        },
        _add_sheet,
        _restore_sheet,
    ),
}
OPTIONAL = frozenset(
    {"rotation", "gradient", "to_surface", "surf_normal", "surf_index", "volume"}
    | {"bounding_radius"}
)
