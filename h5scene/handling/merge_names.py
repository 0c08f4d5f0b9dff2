"""Names that scenes get with a merge, and what they remember of those that they had."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from h5scene.errors import H5SceneError
from h5scene.format import layout, names, properties
from h5scene.format.groups import read_attribute
from h5scene.format.json_values import dump_json, load_json

if TYPE_CHECKING:
    import h5py

    from h5scene.format.tree import SceneTree

_SERIES = re.compile(r"(.+)_([0-9]{6,18})", re.ASCII)


def next_name(target: SceneTree, scene: str, numbers: dict[str, int]) -> str:
    """Returns a name that is free: a number of the series of the scene, or its own, if it has none.

    Args:
        target: Where it shall be free.
        scene: Name of the scene so far.
        numbers: The next numbers by series, as far as they are known.
    """
    match = _SERIES.fullmatch(scene)
    if match is None and scene not in target.h5:
        return scene
    series = scene if match is None else match[1]
    number = numbers.get(series)
    if number is None:
        number = target.next_number(series)
    numbers[series] = number + 1
    return names.scene_link(names.numbered_scene(series, number))


def by_number(scene: str) -> tuple[str, int]:
    """Sorts scenes by series and number."""
    match = _SERIES.fullmatch(scene)
    return (scene, -1) if match is None else (match[1], int(match[2]))


def origins_of(target: SceneTree) -> dict[tuple[str, str], list[str]]:
    """Returns which scenes came from a file and scene of some name with an earlier merge."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in target.scene_names():
        origin = origin_of(target.scene(name))
        if isinstance(origin, dict):
            key = str(origin.get("file")), str(origin.get("scene"))
            found.setdefault(key, []).append(name)
    return found


def origin_of(scene: h5py.Group) -> Any:
    """Returns what a scene says of where it came from; `None` where it says nothing."""
    text = read_attribute(scene, layout.MERGED_FROM_PROPERTY)
    try:
        return load_json(text) if isinstance(text, str) else None
    except H5SceneError:
        return None


def note_origin(group: h5py.Group, file: str, scene: str) -> None:
    """Notes on a scene which file it comes from, and its name there.

    It remembers what it said before, as long as that is short.
    """
    origin = {"file": file, "scene": scene}
    earlier = origin_of(group)
    if earlier is not None:
        origin["merged_from"] = earlier
    text = dump_json(origin, layout.MERGED_FROM_PROPERTY)
    if len(text.encode()) > layout.MAX_PROPERTY_ATTR_BYTES:
        del origin["merged_from"]
        text = dump_json(origin, layout.MERGED_FROM_PROPERTY)
    properties.write_properties(group, {layout.MERGED_FROM_PROPERTY: text}, replace=False)
