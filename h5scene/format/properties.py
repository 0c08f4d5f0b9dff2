"""Properties of a scene: JSON attributes of its group, under their own names.

A property that cannot be an attribute, for its name or its length, stands with the others of its
kind in one dataset: a JSON object of their JSON texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from h5scene.errors import CorruptDataError, InvalidNameError
from h5scene.format import layout
from h5scene.format.attached_files import read_bytes, write_bytes
from h5scene.format.json_values import dump_json, load_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    import h5py


def property_texts(properties: Mapping[str, Any]) -> dict[str, str]:
    """Returns properties as JSON text, by name.

    Raises:
        InvalidNameError: A name is no string.
        InvalidInputError: JSON cannot hold a value.
    """
    for name in properties:
        if not isinstance(name, str):
            raise InvalidNameError(
                f"a property name must be a string, not {type(name).__name__} {name!r}"
            )
    return {name: dump_json(value, f"property {name!r}") for name, value in properties.items()}


def read_properties(scene: h5py.Group) -> dict[str, Any]:
    """Returns all properties of a scene, sorted by name; tensors in them are `TensorRecord`.

    Raises:
        CorruptDataError: The dataset of properties is not what FORMAT.md says.
    """
    found: dict[str, Any] = {}
    for name in _attribute_names(scene):
        text = scene.attrs[name]
        if isinstance(text, str):
            try:
                found[name] = load_json(text)
            except CorruptDataError:
                continue  # an attribute of somebody else
    found |= {name: load_json(text) for name, text in _read_dataset(scene).items()}
    return dict(sorted(found.items()))


def write_properties(scene: h5py.Group, texts: Mapping[str, str], *, replace: bool) -> None:
    """Stores properties, each where it fits; others stay, or go with `replace`."""
    stored = _read_dataset(scene)
    in_dataset = {} if replace else dict(stored)
    if replace:
        remove_attributes(scene, _attribute_names(scene))
    for name, text in texts.items():
        in_dataset.pop(name, None)
        if _fits_attribute(name, text):
            scene.attrs[name] = text
        else:
            in_dataset[name] = text
            remove_attributes(scene, [name])
    if in_dataset != stored:
        _write_dataset(scene, in_dataset)


def remove_property(scene: h5py.Group, name: str) -> None:
    """Removes one property, where the scene has it."""
    in_dataset = _read_dataset(scene)
    if in_dataset.pop(name, None) is not None:
        _write_dataset(scene, in_dataset)
    remove_attributes(scene, [name])


def remove_attributes(scene: h5py.Group, names: list[str]) -> None:
    """Removes those of these attributes that hold a property."""
    for name in set(names) & set(_attribute_names(scene)):
        del scene.attrs[name]


def _attribute_names(scene: h5py.Group) -> list[str]:
    """Returns the names of the attributes that may hold a property."""
    return [name for name in scene.attrs if name not in layout.SCENE_ATTRS]


def _fits_attribute(name: str, text: str) -> bool:
    """Whether a property can stand as an attribute under its own name."""
    try:
        name_bytes = len(name.encode())
    except UnicodeEncodeError:
        return False
    return (
        0 < name_bytes <= layout.MAX_NAME_BYTES
        and "\0" not in name
        and name not in layout.SCENE_ATTRS
        and len(text) <= layout.MAX_PROPERTY_ATTR_BYTES
    )


def _read_dataset(scene: h5py.Group) -> dict[str, str]:
    """Returns the JSON texts of the properties that are no attributes, by name."""
    if layout.PROPERTIES_DATASET not in scene:
        return {}
    texts = load_json(read_bytes(scene[layout.PROPERTIES_DATASET]).decode())
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
