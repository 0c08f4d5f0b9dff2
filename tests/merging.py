"""Small scene files for the tests of merging."""

from __future__ import annotations

from pathlib import Path

import h5py

from h5scene import SceneFile
from h5scene.store import close_all
from tests.records import centered


def write(path: Path | str, *scenes: str, frames: int = 2, value: float = 1.0) -> Path:
    """Writes a file of small scenes."""
    with SceneFile(path) as file, file.transaction():
        for scene in scenes or ("sim_000000",):
            file.create_scene(scene)
            for frame in range(frames):
                file.write_frame(frame, {scene: {"smoke": centered(value + frame)}})
            file.put_properties({scene: {"value": value}})
    return Path(path)


def members(path: str) -> list[str]:
    """Returns what plain HDF5 finds in the root of a file."""
    close_all()
    with h5py.File(path) as file:
        return sorted(file)
