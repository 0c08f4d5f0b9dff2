"""The two implementations of Scene behind one face, so that a test says once what both must do.

Whatever looks at the disk here does so with NumPy or plain h5py, never through the code under test.
"""

from __future__ import annotations

import importlib
import json
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

PARENT = "data"
"""Name of the directory (PhiFlow) or of the scene file without its suffix (h5scene)."""


class Implementation(ABC):
    """One implementation of Scene, and a fresh directory for its files."""

    name: str
    module: str
    path_suffix: str

    def __init__(self, directory: Path):
        self.directory = directory
        self.parent = str(directory / PARENT)

    @property
    def Scene(self) -> Any:
        """The class under test."""
        return importlib.import_module(self.module).Scene

    @property
    def on_disk(self) -> Path:
        """The directory or file that `parent` stands for."""
        return Path(self.parent + self.path_suffix)

    def create(self, *shape: Any, parent: str | None = None, **options: Any) -> Any:
        """Returns new scenes; without the calling script, which costs more than all the rest."""
        options.setdefault("copy_calling_script", False)
        return self.Scene.create(self.parent if parent is None else parent, *shape, **options)

    def path(self, scene_name: str, parent: str | None = None) -> str:
        """Returns the path of a scene as `Scene.path` must give it."""
        return f"{self.parent if parent is None else parent}{self.path_suffix}/{scene_name}"

    @abstractmethod
    def scene_names(self) -> list[str]:
        """Returns the names of all scenes on disk."""

    @abstractmethod
    def files(self, scene: Any) -> dict[str, bytes]:
        """Returns the attached files of a scene as they are on disk, by relative path."""

    @abstractmethod
    def stored_array(self, scene: Any, link: str, frame: int) -> np.ndarray[Any, Any]:
        """Returns one frame as it is on disk; `link` is the stored name of the field."""

    @abstractmethod
    def stored_property(self, scene: Any, key: str) -> Any:
        """Returns the JSON value of one property as it is on disk."""


class PhiFlow(Implementation):
    """`phi.field.Scene`: one directory for each scene."""

    name = "phi"
    module = "phi.field"
    path_suffix = ""

    def scene_names(self) -> list[str]:
        if not self.on_disk.is_dir():
            return []
        return sorted(entry.name for entry in self.on_disk.iterdir() if entry.is_dir())

    def files(self, scene: Any) -> dict[str, bytes]:
        root = Path(scene.path)
        found = (path for path in root.rglob("*") if path.is_file())
        not_attached = {".npz", ".json"}
        return {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in found
            if path.parent != root or path.suffix not in not_attached
        }

    def stored_array(self, scene: Any, link: str, frame: int) -> np.ndarray[Any, Any]:
        with np.load(Path(scene.path) / f"{link}_{frame:06d}.npz") as npz:
            return npz["data"]

    def stored_property(self, scene: Any, key: str) -> Any:
        return json.loads((Path(scene.path) / "description.json").read_text())[key]


class H5Scene(Implementation):
    """`h5scene.Scene`: one group for each scene, in one file."""

    name = "h5scene"
    module = "h5scene"
    path_suffix = ".h5"

    def scene_names(self) -> list[str]:
        if not self.on_disk.exists():
            return []
        kinds = {name: attrs.get("kind") for name, (attrs, _) in self.contents().items()}
        return [name for name, kind in kinds.items() if kind in (b"scene", "scene")]

    def files(self, scene: Any) -> dict[str, bytes]:
        prefix = f"{scene_name(scene)}/_files/"
        return {
            name.removeprefix(prefix): array.tobytes()
            for name, (_, array) in self.contents().items()
            if name.startswith(prefix) and array is not None
        }

    def stored_array(self, scene: Any, link: str, frame: int) -> np.ndarray[Any, Any]:
        array = self.contents()[f"{scene_name(scene)}/{link}/{frame:06d}"][1]
        assert array is not None
        return array

    def stored_property(self, scene: Any, key: str) -> Any:
        return json.loads(self.contents()[scene_name(scene)][0][key])

    def contents(self) -> dict[str, tuple[dict[str, Any], np.ndarray[Any, Any] | None]]:
        """Returns attributes and data of every object in the file, see `file_contents`."""
        return file_contents(self.on_disk)


def scene_name(scene: Any) -> str:
    """Returns the last part of the path of a single scene."""
    return scene.path.rpartition("/")[2]


def file_contents(path: Path) -> dict[str, tuple[dict[str, Any], np.ndarray[Any, Any] | None]]:
    """Returns attributes and data of every object of an HDF5 file, by path.

    Reads a copy: what another process would find on the disk, not what this one holds in memory.
    """
    copy = path.with_name(path.name + ".copy")
    shutil.copyfile(path, copy)
    found: dict[str, tuple[dict[str, Any], np.ndarray[Any, Any] | None]] = {}

    def note(name: str, item: h5py.Group | h5py.Dataset) -> None:
        found[name] = dict(item.attrs), item[()] if isinstance(item, h5py.Dataset) else None

    try:
        with h5py.File(copy, "r") as file:
            note("", file)
            file.visititems(note)
    finally:
        copy.unlink()
    return found


def same_contents(
    before: dict[str, tuple[dict[str, Any], np.ndarray[Any, Any] | None]],
    after: dict[str, tuple[dict[str, Any], np.ndarray[Any, Any] | None]],
) -> bool:
    """Whether two results of `file_contents` are equal to the last bit."""
    return _bits(before) == _bits(after)


def _bits(contents: dict[str, tuple[dict[str, Any], np.ndarray[Any, Any] | None]]) -> Any:
    """Returns the contents with arrays as dtype, shape and bytes, which simply compare."""

    def bits(value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        array = np.asarray(value)
        return array.dtype.str, array.shape, array.tobytes()

    return {
        name: ({key: bits(value) for key, value in attrs.items()}, bits(array))
        for name, (attrs, array) in contents.items()
    }


IMPLEMENTATIONS: dict[str, type[Implementation]] = {cls.name: cls for cls in (PhiFlow, H5Scene)}
