"""How summaries, properties and descriptions are said, to people and as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from h5scene.cli.common import size
from h5scene.cli.text_safety import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from h5scene.handling.stored_objects import ObjectSummary
    from h5scene.handling.summaries import FieldSummary, FileSummary, SceneSummary, StoredSize


def field_row(field: FieldSummary) -> list[str]:
    """Returns the cells of a field: name, shape, dtype, frames, size, ratio."""
    shape = "×".join(map(str, field.shape)) if field.dtype else ""
    return [
        field.name,
        shape or ("()" if field.dtype else ""),
        field.dtype or "",
        frame_text(field.frame_count, field.first_frame, field.last_frame),
        size_text(field.whole_size) if field.frame_count else "",
        ratio_text(field.whole_size),
    ]


def frame_text(count: int, first: int | None, last: int | None) -> str:
    """Returns which frames there are."""
    if first is None or last is None:
        return "none"
    if first == last:
        return str(first)
    text = f"{first}–{last}"
    return text if count == last - first + 1 else f"{text} ({count:,})"


def size_text(stored: StoredSize) -> str:
    """Returns what values take in the file, marked where it is an estimate."""
    return ("" if stored.is_exact else "~") + size(stored.stored_bytes)


def ratio_text(stored: StoredSize) -> str:
    """Returns how many times less values take in the file."""
    return "" if stored.ratio is None else f"{stored.ratio:.2f}"


def value_text(value: Any, most: int = 60) -> str:
    """Returns a property in one line."""
    from h5scene.record import TensorRecord

    if isinstance(value, TensorRecord):
        dims = ", ".join(
            f"{dim.name}={n}" for dim, n in zip(value.dims, value.data.shape, strict=True)
        )
        text = f"tensor({dims}) {value.data.dtype}"
        if value.data.size <= 4:
            text += f" {json_text(value.data.tolist())}"
    else:
        text = json_text(value)
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def json_text(value: Any) -> str:
    """Returns a value of a file as JSON in one line."""
    from h5scene.handling.summaries import json_value

    return json.dumps(json_value(value), ensure_ascii=False, allow_nan=False)


def properties_text(properties: Mapping[str, Any], most: int) -> str:
    """Returns a few properties in one line."""
    parts = [f"{name}={value_text(value, 20)}" for name, value in list(properties.items())[:most]]
    if len(properties) > most:
        parts.append(f"… {len(properties) - most} more")
    return ", ".join(parts)


def boundary_text(boundary: Any) -> str:
    """Returns a boundary in one line: `x: 0, y-: 0, y+: zero-gradient`."""
    if not isinstance(boundary, dict):
        return value_text(boundary)
    kind = boundary.get("type")
    if kind == "constant":
        return value_text(boundary.get("value"))
    if kind == "mixed" and isinstance(boundary.get("sides"), dict):
        return ", ".join(f"{side}: {boundary_text(b)}" for side, b in boundary["sides"].items())
    rest = {key: value for key, value in boundary.items() if key != "type"}
    if not rest:
        return str(kind)
    inner = ", ".join(f"{key}: {boundary_text(value)}" for key, value in rest.items())
    return f"{kind} ({inner})"


def geometry_text(geometry: ObjectSummary) -> str:
    """Returns what a geometry is: `mesh, cells=96, vertices=120, 3.1 kB on disk`."""
    elements = [f"{name}={count:,}" for name, count in geometry.elements.items()]
    room = f"{size(geometry.stored_bytes)} on disk" if geometry.value_bytes else "no arrays"
    return ", ".join([geometry.kind.replace("_", " "), *elements, room])


def geometry_json(geometry: ObjectSummary | None) -> dict[str, Any] | None:
    """Returns a geometry as JSON values."""
    if geometry is None:
        return None
    return {
        "kind": geometry.kind,
        "elements": geometry.elements,
        "stored_bytes": geometry.stored_bytes,
        "value_bytes": geometry.value_bytes,
    }


def file_json(file: FileSummary) -> dict[str, Any]:
    """Returns a file as JSON values."""
    return {
        "file": file.path,
        "size_bytes": file.size_bytes,
        "format_version": file.format_version,
        "creator": file.creator,
        "scene_count": file.scene_count,
    }


def scene_json(scene: SceneSummary) -> dict[str, Any]:
    """Returns a scene as JSON values."""
    from h5scene.handling.summaries import json_value

    return {
        "scene": scene.name,
        "fields": [field_json(field) for field in scene.fields],
        "properties": json_value(scene.properties),
        "files": list(scene.files),
        "curves": list(scene.curves),
        "arrays": list(scene.arrays),
        "problem": scene.problem,
    }


def field_json(field: FieldSummary) -> dict[str, Any]:
    """Returns a field as JSON values."""
    return {
        "field": field.name,
        "field_type": field.field_type,
        "dims": list(field.dims),
        "shape": list(field.shape),
        "dtype": field.dtype,
        "frame_count": field.frame_count,
        "first_frame": field.first_frame,
        "last_frame": field.last_frame,
        "stored_bytes": field.size.stored_bytes,
        "value_bytes": field.size.value_bytes,
        "object_bytes": field.objects.stored_bytes,
        "is_exact": field.size.is_exact,
        "problem": field.problem,
    }
