"""PhiFlow's geometries to `ObjectRecord`s, and back, as the registry of kinds says.

Objects are put together without their constructors, which work out things that can wait, or accept
less than there can be.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phi.geom import Geometry
from phiml.math import Tensor
from phiml.math._tensors import Dense

from h5scene.errors import CorruptDataError, UnsupportedFieldError, UnsupportedVersionError
from h5scene.objects import ObjectRecord, Part
from h5scene.phi_fields._caches import WeakMap
from h5scene.phi_fields._geometry_kinds import ABSENT, KINDS, OPTIONAL, Kind, assembled
from h5scene.phi_fields._parts import part_from_tensor, tensor_from_part
from h5scene.phi_fields._tensors import (
    array_from_tensor,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_SAMPLES = 32  # along each axis
_NAMES = {kind.cls: name for name, kind in KINDS.items()}


# --- to records -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    """What is known about a geometry that was stored or read."""

    record: ObjectRecord
    sources: tuple[Dense, ...]
    sample: tuple[bytes, ...]


_RECORDS: WeakMap[_Known] = WeakMap()


def record_from_geometry(geometry: Geometry) -> ObjectRecord:
    """Returns the neutral form of a geometry; the same one each time for the same object.

    Geometries do not change: neither does PhiFlow change one, nor must a program change the memory
    of its tensors. Where one does so all the same, a few numbers of each tensor give that away.

    Raises:
        UnsupportedFieldError: It is of a class that cannot be stored, or contains such.
    """
    known = _RECORDS.get(geometry)
    if known is not None and known.sample == _sample(known.sources):
        return known.record
    name = _NAMES.get(type(geometry))
    if name is None:
        kind = type(geometry)
        raise UnsupportedFieldError(
            f"cannot store a geometry of class {kind.__module__}.{kind.__qualname__}; "
            f"those that can be stored are {', '.join(sorted(cls.__name__ for cls in _NAMES))}"
        )
    record = _record(geometry, name, KINDS[name])
    _remember(geometry, record)
    return record


def _record(geometry: Geometry, name: str, kind: Kind) -> ObjectRecord:
    """Returns a geometry as its kind says."""
    attrs: dict[str, Any] = {}
    parts: dict[str, Part] = {}
    for key, attr in kind.attrs.items():
        value = getattr(geometry, attr.name)
        if attr.default is ABSENT or value != attr.default:
            attrs[key] = attr.to_json(value)
    for key, attribute in kind.parts.items():
        value = getattr(geometry, attribute)
        if isinstance(value, Geometry):
            parts[key] = record_from_geometry(value)
        elif isinstance(value, Tensor):
            parts[key] = part_from_tensor(value, copy=True, item=_record_of_item)
        elif value is not None:
            raise UnsupportedFieldError(
                f"cannot store a {type(geometry).__name__} whose {attribute} is a "
                f"{type(value).__name__}; use a tensor"
            )
    if kind.add is not None:
        kind.add(geometry, attrs, parts)
    return ObjectRecord(name, attrs, parts)


def _record_of_item(value: Any) -> ObjectRecord:
    """Returns a geometry that stands in a layout."""
    if not isinstance(value, Geometry):
        raise UnsupportedFieldError(f"cannot store a geometry that holds a {type(value).__name__}")
    return record_from_geometry(value)


def _remember(geometry: Geometry, record: ObjectRecord) -> None:
    """Notes which record a geometry has."""
    sources = tuple(_dense_tensors(geometry.__dict__.values()))
    _RECORDS.put(geometry, _Known(record, sources, _sample(sources)))


def _dense_tensors(values: Any) -> Iterator[Dense]:
    """Gives the dense tensors among the attributes of a geometry; of what it contains, too."""
    for value in values:
        if isinstance(value, Dense):
            yield value
        elif isinstance(value, (Tensor, Geometry)):
            yield from _dense_tensors(value.__dict__.values())
        elif isinstance(value, (list, tuple)):
            yield from _dense_tensors(value)


def _sample(tensors: tuple[Dense, ...]) -> tuple[bytes, ...]:
    """Returns a few numbers of each tensor."""
    samples = []
    for tensor in tensors:
        array = array_from_tensor(tensor, tensor._names)
        place = tuple(slice(None, None, max(1, size // _MAX_SAMPLES)) for size in array.shape)
        samples.append(array[place].tobytes())
    return tuple(samples)


# --- from records ---------------------------------------------------------------------------------


def geometry_from_record(record: ObjectRecord) -> Geometry:
    """Returns the geometry of a record: the same one each time, as long as it is used.

    Its tensors are NumPy's, which work with every backend.

    Raises:
        UnsupportedVersionError: It is of a kind that this version does not know.
        CorruptDataError: Something is missing in it, or does not fit.
    """
    known = record.known.get("geometry")
    geometry: Geometry | None = None if known is None else known()
    if geometry is not None:
        return geometry
    kind = KINDS.get(record.kind)
    if kind is None:
        raise UnsupportedVersionError(
            f"the geometry is a '{record.kind}', which this version of h5scene does not know; "
            "upgrade to read it"
        )
    try:
        geometry = assembled(kind.cls, _attributes(record, kind))
    except (CorruptDataError, UnsupportedVersionError):
        raise
    except Exception as error:  # PhiFlow raises anything from AssertionError to IncompatibleShapes
        raise CorruptDataError(f"a stored {record.kind} does not fit: {error!r}") from error
    record.known["geometry"] = weakref.ref(geometry)
    _remember(geometry, record)
    return geometry


def _attributes(record: ObjectRecord, kind: Kind) -> dict[str, Any]:
    """Returns the attributes of a geometry."""
    attributes: dict[str, Any] = {}
    for key, attr in kind.attrs.items():
        if key in record.attrs:
            attributes[attr.name] = attr.from_json(record.attrs[key])
        elif attr.default is not ABSENT:
            attributes[attr.name] = attr.default
        else:
            raise CorruptDataError(f"a {record.kind} lacks its {key}")
    for key, attribute in kind.parts.items():
        part = record.parts.get(key)
        if part is None and key not in OPTIONAL:
            raise CorruptDataError(f"a {record.kind} lacks its {key}")
        attributes[attribute] = None if part is None else _value(part)
    if kind.restore is not None:
        attributes |= kind.restore(record)
    return attributes


def _value(part: Part) -> Any:
    """Returns the tensor or geometry that is a part of a geometry."""
    if isinstance(part, ObjectRecord) and part.kind in KINDS:
        return geometry_from_record(part)
    return tensor_from_part(part, item=geometry_from_record)


def differing_size(geometry: Geometry, values: Tensor) -> str | None:
    """Returns along which dim values and geometry differ in size; None where they fit."""
    shape = geometry.shape.non_channel
    for dim in values.shape.only(shape.names):
        sizes = dim.size, shape.get_size(dim.name)
        if all(isinstance(size, int) for size in sizes) and sizes[0] != sizes[1]:
            return f"{sizes[0]} entries along '{dim.name}', the geometry {sizes[1]}"
    return None
