"""What the crash tests write, and how they tell two states apart: by everything in the file."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

import h5py
import numpy as np


def content(file: h5py.File) -> dict[str, Any]:
    """Returns everything in the file; of the data a checksum."""
    found: dict[str, Any] = {"/": _attributes(file)}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            data = np.ascontiguousarray(item[...])
            found[name] = [
                str(item.dtype),
                item.shape,
                zlib.crc32(data.tobytes()),
                _attributes(item),
            ]
        else:
            found[name] = ["group", _attributes(item)]

    file.visititems(visit)
    return found


def _attributes(item: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str) else np.asarray(value).tobytes().hex()
        for name, value in item.attrs.items()
    }


def digest(file: h5py.File) -> int:
    """Returns a number that stands for the content."""
    return zlib.crc32(json.dumps(content(file), sort_keys=True).encode())


def frame(number: int, field: int = 0, shape: tuple[int, ...] = (32, 16)) -> np.ndarray:
    """Returns the data of a frame, different for each number and field."""
    return np.arange(int(np.prod(shape)), dtype="f4").reshape(shape) * 0.5 + number * 7 + field


def write_frame(file: h5py.File, number: int, shape: tuple[int, ...] = (32, 16)) -> None:
    """Writes one frame of two fields."""
    for field in range(2):
        group = file.require_group(f"sim_000000/field{field}")
        dataset = group.create_dataset(f"{number:06d}", data=frame(number, field, shape))
        dataset.attrs["meta"] = json.dumps({"frame": number, "dims": ["x", "y"]})


def wrong_frames(file: h5py.File, last: int, shape: tuple[int, ...] = (32, 16)) -> list[str]:
    """Returns what is missing of the frames up to `last`, and what is wrong with those present."""
    wrong = []
    for field in range(2):
        group = file.get(f"sim_000000/field{field}", {})
        names = set(group)
        wrong += [
            f"missing {field}/{number}"
            for number in range(last + 1)
            if f"{number:06d}" not in names
        ]
        for name in names:
            data = group[name][...]
            meta = json.loads(group[name].attrs["meta"])
            if meta["frame"] != int(name) or not np.array_equal(
                data, frame(int(name), field, shape)
            ):
                wrong.append(f"wrong {field}/{name}")
    counts = {
        len(file[f"sim_000000/field{field}"]) if "sim_000000" in file else 0 for field in range(2)
    }
    if len(counts) > 1:
        wrong.append(f"half a frame: {counts}")
    return wrong


def mixed_transaction(file: h5py.File, number: int, rng: random.Random) -> None:
    """Does a bit of everything that moves bytes."""
    write_frame(file, number, (16, 8) if number % 4 else (64, 64))
    scene = file.require_group(f"sim_{number // 4 + 1:06d}")
    scene.attrs["meta"] = json.dumps({"number": number, "text": "y" * rng.randrange(200)})
    scene.create_dataset(
        f"c/{number}",
        data=np.random.default_rng(number).random((40, 40)),
        chunks=(16, 16),
        compression="gzip",
    )
    if number % 3 == 0:  # an overwrite in place
        dataset = file[f"sim_000000/field0/{rng.randrange(number + 1):06d}"]
        dataset[...] = np.full(dataset.shape, rng.random(), "f4")
    if number % 5 == 4:
        del scene[f"c/{number}"]
    if number % 6 == 5:  # a removal that shrinks the file or leaves space to use again
        del file[f"sim_{number // 4 + 1:06d}"]
    if number % 2 == 0:
        curve = file.require_dataset("curve", (0,), "f8", maxshape=(None,), chunks=(64,))
        curve.resize((curve.shape[0] + 37,))
        curve[-37:] = number
