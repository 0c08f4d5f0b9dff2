"""Properties of a scene: JSON attributes of its group, under their own names.

A property that cannot be an attribute, for its name or its length, stands with the others of its
kind in one dataset: a JSON object of their JSON texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h5scene.errors import CorruptDataError, InvalidNameError
from h5scene.format import layout
from h5scene.format.attached_files import read_bytes, write_bytes
from h5scene.format.groups import put_json, text_names
from h5scene.format.json_values import dump_json, is_json, load_json
from h5scene.store.gate import text_attribute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import h5py


def property_texts(properties: Mapping[str, Any]) -> dict[str, str]:
    """Returns properties as JSON text, by name.

    Raises:
        InvalidNameError: A name is no string, or `__kind__`.
        InvalidInputError: JSON cannot hold a value.
    """
    for name in properties:
        if not isinstance(name, str):
            raise InvalidNameError(
                f"a property name must be a string, not {type(name).__name__} {name!r}"
            )
        if name == layout.JSON_KIND_KEY:
            raise InvalidNameError(
                f"a property cannot be named {name!r}, which the file format uses itself; rename it"
            )
    return {name: dump_json(value, f"property {name!r}") for name, value in properties.items()}


def read_properties(scene: h5py.Group) -> dict[str, Any]:
    """Returns all properties of a scene, sorted by name; tensors in them are `TensorRecord`.

    Raises:
        CorruptDataError: A property, or the dataset of them, is not what FORMAT.md says.
    """
    texts = _read_attributes(scene) | _read_dataset(scene)
    return {name: load_json(text) for name, text in sorted(texts.items())}


def write_properties(scene: h5py.Group, texts: Mapping[str, str], *, replace: bool) -> None:
    """Stores properties, each where it fits; others stay, or go with `replace`."""
    stored = _read_dataset(scene)
    in_dataset = {} if replace else dict(stored)
    if replace:
        _remove_attributes(scene, _read_attributes(scene))
    for name, text in texts.items():
        in_dataset.pop(name, None)
        if _fits_attribute(scene, name, text):
            put_json(scene, name, text)
        else:
            in_dataset[name] = text
            _remove_attributes(scene, [name])
    if in_dataset != stored:
        _write_dataset(scene, in_dataset)


def check_properties(scene: h5py.Group) -> None:
    """Raises when properties cannot be changed.

    Raises:
        CorruptDataError: The dataset of properties is not what FORMAT.md says.
    """
    _read_dataset(scene)


def remove_property(scene: h5py.Group, name: str) -> None:
    """Removes one property, where the scene has it."""
    in_dataset = _read_dataset(scene)
    if in_dataset.pop(name, None) is not None:
        _write_dataset(scene, in_dataset)
    _remove_attributes(scene, [name])


def _remove_attributes(scene: h5py.Group, names: Iterable[str]) -> None:
    """Removes those of these attributes that hold a property."""
    for name in names:
        if _may_be_attribute(name) and _read_attribute(scene, name) is not None:
            del scene.attrs[name]


def _read_attributes(scene: h5py.Group) -> dict[str, str]:
    """Returns the JSON texts of the properties that are attributes, by name."""
    texts = {name: _read_attribute(scene, name) for name in text_names(scene.attrs)}
    return {name: text for name, text in texts.items() if text is not None}


def _read_attribute(scene: h5py.Group, name: str) -> str | None:
    """Returns the JSON text in an attribute; `None` for none, and for those of somebody else."""
    if name in layout.SCENE_ATTRS:
        return None
    text = text_attribute(scene.id, name.encode())
    return text if text is not None and is_json(text) else None


def _may_be_attribute(name: str) -> bool:
    """Whether an attribute can have this name, and be a property."""
    try:
        name_bytes = len(name.encode())
    except UnicodeEncodeError:
        return False
    is_short = 0 < name_bytes <= layout.MAX_NAME_BYTES
    return is_short and "\0" not in name and name not in layout.SCENE_ATTRS


def _fits_attribute(scene: h5py.Group, name: str, text: str) -> bool:
    """Whether a property can stand as an attribute under its own name."""
    return (
        _may_be_attribute(name)
        and len(text.encode()) <= layout.MAX_PROPERTY_ATTR_BYTES
        and (name not in scene.attrs or _read_attribute(scene, name) is not None)
    )


def _read_dataset(scene: h5py.Group) -> dict[str, str]:
    """Returns the JSON texts of the properties that are no attributes, by name."""
    if layout.PROPERTIES_DATASET not in scene:
        return {}
    content = read_bytes(scene[layout.PROPERTIES_DATASET])
    # Undecodable bytes are no JSON string, which holds only what UTF-8 can say.
    texts = load_json(content.decode(errors="surrogateescape"))
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise CorruptDataError(
            f"{scene.name}/{layout.PROPERTIES_DATASET} is no JSON object of strings"
        )
    return texts


def _write_dataset(scene: h5py.Group, texts: Mapping[str, str]) -> None:
    """Stores the properties that are no attributes; none of them, no dataset."""
    if texts:
        write_bytes(scene, layout.PROPERTIES_DATASET, dump_json(texts, "properties").encode())
    elif layout.PROPERTIES_DATASET in scene:
        del scene[layout.PROPERTIES_DATASET]
