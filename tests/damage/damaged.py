"""Scene files, and ways to damage them that are known exactly."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from h5scene import SceneFile
from h5scene.store import close_all
from tests.records import centered

SCENES = ("sim_000000", "sim_000001", "sim_000002")
FRAMES = 12  # more than HDF5 keeps in the header of a group


def make_file(path: Path) -> Path:
    """Writes a file with some of everything."""
    chance = np.random.default_rng(5)
    with SceneFile(path) as file, file.transaction():
        for scene in SCENES:
            file.create_scene(scene)
            for frame in range(FRAMES):
                file.write_frame(frame, {scene: {"smoke": smoke(scene, frame)}})
                large = np.round(chance.normal(size=(40, 40)), 1).astype(np.float32)
                file.write_frame(frame, {scene: {"heat": centered(large)}})
                file.put_times(frame, {scene: frame / 4})
                file.log_scalars(frame, {scene: {"loss": [1 / (1 + frame)]}})
            file.put_properties({scene: {"dt": 0.5, "long": "x" * 5000}})
            file.write_files({scene: {"src/plume.py": b"print('plume')"}})
    close_all()
    return path


def smoke(scene: str, frame: int):
    """Returns what the field `smoke` is."""
    return centered(float(100 * SCENES.index(scene) + frame))


def address_of(path: Path, inside: str) -> int:
    """Returns where the header of an object stands in the file."""
    with h5py.File(path, "r") as h5:
        return int(h5py.h5o.get_info(h5[inside].id).addr) + 2048


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Changes bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def spoil_header(path: Path, inside: str, byte_count: int = 48) -> None:
    """Destroys the beginning of the header of an object."""
    overwrite(path, address_of(path, inside), b"\xaa" * byte_count)


def flip(path: Path, offset: int) -> None:
    """Changes one byte."""
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def data_of(path: Path, inside: str) -> int:
    """Returns where the values of a dataset begin in the file."""
    with h5py.File(path, "r") as h5:
        dataset = h5[inside].id
        if dataset.get_offset() is not None:
            return int(dataset.get_offset())
        return int(dataset.get_chunk_info(0).byte_offset) + 2048
