"""A reader of scene files that follows FORMAT.md and nothing else: plain h5py and json.

It stands for one in another language: no h5scene here, and no PhiFlow.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Array = np.ndarray[Any, Any]

DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
BOUNDARIES = (
    *("constant", "periodic", "zero-gradient", "symmetric", "antisymmetric", "reflect"),
    *("antireflect", "symmetric-gradient", "none", "undefined", "mixed", "normal-tangential"),
    *("conditional", "field"),
)
NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass
class Tensor:
    """Numbers and the dims of their axes."""

    dims: list[dict[str, Any]]
    values: Array


@dataclass
class Field:
    """One field at one frame."""

    field_type: str
    dims: list[dict[str, Any]]
    values: Array
    axes: list[str]
    lower: Tensor
    upper: Tensor
    center: Tensor | None
    size: Tensor | None
    boundary: dict[str, Any]
    attrs: dict[str, Any]

    def cells(self, axis: str) -> int:
        """Returns the number of cells along a physical axis."""
        entries = self.values.shape[[dim["name"] for dim in self.dims].index(axis)]
        return entries - (self.field_type == "StaggeredGrid")

    def corner(self, which: Tensor, axis: str) -> Array:
        """Returns the coordinates of a corner along one axis; its axes are its other dims."""
        position = [dim["name"] for dim in which.dims].index("vector")
        return np.take(which.values, self.axes.index(axis), position)

    def cell_centers(self, axis: str) -> Array:
        """Returns where the centres of the cells are along one axis; the last axis is the cell."""
        return self._along(axis, np.arange(self.cells(axis)) + 0.5)

    def face_positions(self, axis: str) -> Array:
        """Returns where the faces are along the axis that they cut; the last axis is the face."""
        return self._along(axis, np.arange(self.cells(axis) + 1))

    def _along(self, axis: str, entries: Array) -> Array:
        lower, upper = (np.asarray(self.corner(c, axis), float) for c in (self.lower, self.upper))
        return lower[..., None] + entries / self.cells(axis) * (upper - lower)[..., None]

    def component(self, axis: str) -> tuple[list[dict[str, Any]], Array]:
        """Returns the values at the faces that the boundary does not determine, and their dims."""
        *dims, last = self.dims
        assert last["name"] in ("vector", "~vector")
        labels = last.get("labels") or [dim["name"] for dim in dims if dim["type"] == "spatial"]
        values = self.values[..., labels.index(axis)]
        cut = []
        for dim in dims:
            if dim["type"] != "spatial":
                cut.append(slice(None))
            elif dim["name"] != axis:
                cut.append(slice(0, -1))
            else:
                first, last = (determines(self.boundary, axis, side) for side in "-+")
                cut.append(slice(1 if first else 0, -1 if last else None))
        return dims, values[tuple(cut)]


def determines(boundary: dict[str, Any], axis: str, side: str) -> bool:
    """Whether the values at the outermost faces on one side follow from the boundary."""
    kind = boundary["type"]
    if kind == "constant":
        return True
    if kind == "periodic":
        return side == "+"
    if kind == "mixed":
        sides = boundary["sides"]
        return determines(sides[axis if axis in sides else axis + side], axis, side)
    parts = {"normal-tangential": "normal", "conditional": "true", "undefined": "derived_from"}
    return kind in parts and determines(boundary[parts[kind]], axis, side)


class SceneFile:
    """All that stands in a scene file."""

    def __init__(self, path: str | Path):
        self.file = h5py.File(path, "r")
        version = text(self.file, "h5scene_format")
        if version is None or not re.fullmatch(r"1\.\d+", version):
            raise ValueError(f"unknown format {version!r}")

    def __enter__(self) -> SceneFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def scenes(self) -> list[str]:
        """Returns the names of the scenes."""
        return members(self.file, "scene")

    def properties(self, scene: str) -> dict[str, Any]:
        """Returns the properties of a scene."""
        group = self.file[scene]
        found = {}
        for name in group.attrs:
            content = text(group, name)
            if name not in ("kind", "encoding_version") and content is not None:
                try:
                    json.loads(content, parse_constant=refuse)
                except ValueError:
                    continue  # not h5scene's
                found[name] = from_json(content)
        if "_properties" in group:
            texts = json.loads(file_bytes(group["_properties"]).decode("utf-8"))
            found |= {name: from_json(content) for name, content in texts.items()}
        return found

    def fields(self, scene: str) -> dict[str, str]:
        """Returns the link of each field, by the name that its writer was given."""
        links = members(self.file[scene], "field")
        names = {link: text(self.file[scene][link], "name") for link in links}
        return {name or link: link for link, name in names.items()}

    def frames(self, scene: str, field: str) -> list[int]:
        """Returns the numbers of the frames of a field."""
        links = [link for link in self.file[scene][field] if re.fullmatch(r"[0-9]{6,}", link)]
        return sorted(int(link) for link in links if len(link) == 6 or link[0] != "0")

    def field(self, scene: str, field: str, frame: int) -> Field:
        """Returns one field at one frame."""
        group = self.file[scene][field]
        check(group, "field")
        member = group[f"{frame:06d}"]
        described = member if "field_type" in member.attrs else group
        arrays: dict[str, Array] = {}
        if isinstance(member, h5py.Group):
            check(member, "frame")
            arrays = {name: member[name][()] for name in member}
            values = arrays.pop("values")
        else:
            values = member[()]
        description: dict[str, Any] = {"field_type": text(described, "field_type")}
        for name in ("dims", "axes", "boundary", "field_attrs"):
            content = text(described, name)
            if content is not None:
                description[name] = from_json(content)
        for name in ("lower", "upper", "center", "size"):
            if name in described.attrs:
                dims = text(described, name + "_dims")
                vector = {"name": "vector", "type": "channel", "labels": description["axes"]}
                corner_dims = [vector] if dims is None else json.loads(dims)
                description[name] = Tensor(corner_dims, described.attrs[name])
        return make_field(description, values, arrays)

    def table(self, scene: str, name: str) -> dict[str, Array]:
        """Returns the columns of a table; there are none where there is no table."""
        if name not in self.file[scene]:
            return {}
        table = self.file[scene][name]
        assert table.dtype == np.float64
        columns = json.loads(text(table, "columns") or "")
        return {column: table[:, i] for i, column in enumerate(columns)}

    def times(self, scene: str) -> dict[int, float]:
        """Returns the physical times of frames."""
        table = self.table(scene, "_times")
        return dict(zip(map(int, table["frame"]), table["time"], strict=True)) if table else {}

    def curves(self, scene: str) -> dict[str, dict[str, Array]]:
        """Returns the columns of every curve."""
        names = self.file[scene].get("_curves", ())
        return {name: self.table(scene, f"_curves/{name}") for name in names}

    def files(self, scene: str) -> dict[str, bytes]:
        """Returns the content of every attached file."""
        found: dict[str, bytes] = {}

        def walk(prefix: str, group: h5py.Group) -> None:
            for name, member in group.items():
                if isinstance(member, h5py.Group):
                    walk(f"{prefix}{name}/", member)
                else:
                    found[prefix + name] = file_bytes(member)

        if "_files" in self.file[scene]:
            walk("", self.file[scene]["_files"])
        return found


def members(group: h5py.Group, kind: str) -> list[str]:
    """Returns the names of the members of a group that are of a kind that we know."""
    found = []
    for name in group:
        member = group.get(name)
        if isinstance(member, h5py.Group) and text(member, "kind") == kind:
            check(member, kind)
            found.append(name)
    return found


def check(group: h5py.Group, kind: str) -> None:
    """Refuses what a newer version wrote."""
    assert text(group, "kind") == kind
    version = text(group, "encoding_version") or ""
    if not version.startswith("1."):
        raise ValueError(f"unknown encoding {version!r} of a {kind}")


def text(holder: Any, name: str) -> str | None:
    """Returns an attribute that is a string, of variable or fixed length."""
    value = holder.attrs.get(name)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return value if isinstance(value, str) else None


def file_bytes(dataset: h5py.Dataset) -> bytes:
    """Returns the bytes of an attached file."""
    assert dataset.dtype == np.uint8
    assert dataset.ndim == 1
    content: bytes = dataset[()].tobytes()
    return content


def refuse(name: str) -> float:
    """Refuses what is no JSON, though Python reads it."""
    raise ValueError(f"{name} is no JSON")


def from_json(content: str) -> Any:
    """Returns the value of JSON text."""
    return json.loads(content, object_hook=from_object, parse_constant=refuse)


def from_object(value: dict[str, Any]) -> Any:
    """Returns what an object with `__kind__` stands for."""
    kind = value.get("__kind__")
    if kind is None:
        return value
    if kind == "float":
        return NOT_FINITE[value["value"]]
    if kind == "complex":
        return complex(*value["value"])
    if kind == "tensor":
        return from_tensor(value)
    raise ValueError(f"unknown kind of value {kind!r}")


def from_tensor(value: dict[str, Any]) -> Tensor:
    """Returns a tensor in PhiML's form."""
    if value["dtype"] not in DTYPES:
        raise ValueError(f"unknown dtype {value['dtype']!r}")
    dtype = np.dtype(value["dtype"])
    dims = [
        {"name": name, "type": kind} | ({} if labels is None else {"labels": labels})
        for name, kind, labels in zip(
            value["names"], value["types"], value["item_names"], strict=True
        )
    ]
    sizes = value["sizes"]
    if dtype.kind == "c":
        parts = numbers(value["data"], np.dtype(f"f{dtype.itemsize // 2}"))
        return Tensor(dims, parts.view(dtype).reshape(sizes))
    return Tensor(dims, numbers(value["data"], dtype).reshape(sizes))


def numbers(data: Any, dtype: np.dtype[Any]) -> Array:
    """Returns the numbers in nested arrays, one after the other."""
    flat = [data]
    while any(isinstance(item, list) for item in flat):
        flat = [part for item in flat for part in (item if isinstance(item, list) else [item])]
    array = np.array([0 if isinstance(item, str) else item for item in flat], dtype)
    for i, item in enumerate(flat):
        if isinstance(item, str) and item.startswith("NaN:"):
            array.view(f"u{dtype.itemsize}")[i] = int(item[4:], 16)
        elif isinstance(item, str):
            array[i] = NOT_FINITE[item]
    return array


def make_field(description: dict[str, Any], values: Array, arrays: dict[str, Array]) -> Field:
    """Returns a field from its description and arrays."""
    assert len(description["dims"]) == values.ndim
    lower = description["lower"]
    axes = description.get("axes")
    if axes is None:  # embedded in a boundary
        axes = next(dim["labels"] for dim in lower.dims if dim["name"] == "vector")
    return Field(
        description["field_type"],
        description["dims"],
        values,
        axes,
        lower,
        description["upper"],
        description.get("center"),
        description.get("size"),
        make_boundary(description["boundary"], arrays),
        description.get("field_attrs", {}),
    )


def make_boundary(boundary: dict[str, Any], arrays: dict[str, Array]) -> dict[str, Any]:
    """Returns a boundary with its tensors and fields."""
    if boundary["type"] not in BOUNDARIES:
        raise ValueError(f"unknown boundary {boundary['type']!r}")
    made: dict[str, Any] = {"type": boundary["type"]}
    for key, value in boundary.items():
        if key in ("normal", "tangential", "true", "false", "derived_from"):
            made[key] = make_boundary(value, arrays)
        elif key == "sides":
            made[key] = {side: make_boundary(part, arrays) for side, part in value.items()}
        elif key in ("value", "mask"):
            made[key] = make_tensor(value, arrays)
        elif key == "field":
            made[key] = make_field(value, arrays[value["values"]], arrays)
    return made


def make_tensor(value: Any, arrays: dict[str, Array]) -> Tensor:
    """Returns a tensor in a boundary: a number, a tensor, or one whose values are a dataset."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        return Tensor(value["dims"], arrays[value["values"]])
    dtype = {bool: np.bool_, int: np.int32, float: np.float64}[type(value)]
    return Tensor([], np.asarray(value, dtype))
