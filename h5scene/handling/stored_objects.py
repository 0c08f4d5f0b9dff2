"""The objects of frames, such as geometries: what they are, and the room they take.

Frames and fields share objects by hard links, so each object is counted once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py

from h5scene.errors import CorruptDataError
from h5scene.format import layout
from h5scene.format.groups import kind_of
from h5scene.format.json_values import load_json
from h5scene.store.gate import SafeGroup, address_of, text_attribute, walk
from h5scene.store.links import members

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIMS, _SIZES = layout.DIMS_ATTR.encode(), layout.SIZES_ATTR.encode()
_BOUNDARY = "boundary_"  # lists of faces, not elements
_RESOLUTION = b"resolution"  # of a uniform grid, which has no array that says it


@dataclass(frozen=True)
class ObjectSummary:
    """One object of a frame.

    Attributes:
        kind: What it is, such as `mesh`.
        elements: How many points, cells and the like it has, by name of the dim.
        stored_bytes: Room that its arrays take in the file.
        value_bytes: And in memory.
    """

    kind: str
    elements: dict[str, int]
    stored_bytes: int
    value_bytes: int


class CountedObjects:
    """Counts the room of objects and further arrays of frames, each of them once."""

    def __init__(self) -> None:
        self._met: set[Any] = set()

    def count(self, frame: SafeGroup) -> tuple[int, int]:
        """Returns the bytes in the file and in memory of what was not counted before.

        Args:
            frame: Group of a frame. Its values do not count.
        """
        stored_bytes = value_bytes = 0
        for _, member in members(frame, lambda link: link != layout.VALUES_DATASET.encode()):
            if not self._is_new(member):
                continue
            if isinstance(member, h5py.h5d.DatasetID):
                found = [member]
            elif isinstance(member, h5py.h5g.GroupID):
                group = SafeGroup.of(member, frame.access)
                found = [dataset.id for _, dataset in _datasets(group) if self._is_new(dataset.id)]
            else:
                continue
            stored_bytes += sum(dataset.get_storage_size() for dataset in found)
            value_bytes += sum(map(_value_bytes, found))
        return stored_bytes, value_bytes

    def _is_new(self, identifier: Any) -> bool:
        """Whether an object of HDF5 was not met before."""
        address = address_of(identifier)
        is_new = address not in self._met
        self._met.add(address)
        return is_new


def summarize_object(frame: SafeGroup, name: str) -> ObjectSummary | None:
    """Returns what an object of a frame is; `None` where there is none of this name.

    Raises:
        CorruptDataError: It is not what FORMAT.md says.
    """
    found = [one for _, one in members(frame, lambda link: link == name.encode())]
    if not found:
        return None
    kind = kind_of(found[0])
    if kind is None:
        raise CorruptDataError(f"{frame.name}/{name} does not say what it is")
    group = SafeGroup.of(found[0], frame.access)
    elements: dict[str, int] = {}
    stored_bytes = value_bytes = 0
    _add_elements(elements, *_resolution(group))
    for path, dataset in _datasets(group):
        stored_bytes += dataset.id.get_storage_size()
        value_bytes += _value_bytes(dataset.id)
        if not any(name.startswith(_BOUNDARY) for name in path.split("/")):
            _add_elements(elements, *_dims_and_sizes(dataset.id))
    return ObjectSummary(kind, elements, stored_bytes, value_bytes)


# --- inside ---------------------------------------------------------------------------------------


def _datasets(group: SafeGroup) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yields the arrays of an object, and their paths in it."""
    return ((path, one) for path, one in walk(group) if isinstance(one, h5py.Dataset))


def _value_bytes(dataset: Any) -> int:
    """Returns the bytes of a dataset in memory."""
    return int(math.prod(dataset.shape) * dataset.dtype.itemsize)


def _dims_and_sizes(dataset: Any) -> tuple[Any, Any]:
    """Returns the dims of a part as JSON, and their sizes."""
    dims = text_attribute(dataset, _DIMS)
    sizes = text_attribute(dataset, _SIZES)
    if dims is None:
        return [], []  # which is not ours
    return load_json(dims), dataset.shape if sizes is None else load_json(sizes)


def _resolution(group: SafeGroup) -> tuple[Any, Any]:
    """Returns the dims of a uniform grid as JSON, and their sizes."""
    text = text_attribute(group.id, _RESOLUTION)
    resolution = None if text is None else load_json(text)
    if not isinstance(resolution, dict):
        return [], []
    return resolution.get(layout.DIMS_ATTR), resolution.get(layout.SIZES_ATTR)


def _add_elements(elements: dict[str, int], dims: Any, sizes: Any) -> None:
    """Notes how many elements there are along dims that are no channels.

    Raises:
        CorruptDataError: These are no dims and sizes.
    """
    try:
        for dim, size in zip(dims, sizes, strict=True):
            if dim["type"] not in ("channel", "dual"):
                elements[str(dim["name"])] = max(int(size), elements.get(str(dim["name"]), 0))
    except (TypeError, KeyError, ValueError) as error:
        raise CorruptDataError("dims of an object are not what the file format says") from error
