"""The damage that `tools/fuzz` does."""

from __future__ import annotations

import shutil
import struct
import zlib
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.store.structures import lookup3

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path


def some_bytes(data: bytearray, chance: random.Random) -> bytes:
    """Changes a few bytes anywhere."""
    for _ in range(chance.choice((1, 1, 2, 8))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def one_bit(data: bytearray, chance: random.Random) -> bytes:
    """Flips a bit."""
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def sector(data: bytearray, chance: random.Random) -> bytes:
    """Loses a sector, or puts another one in its place."""
    at = 512 * chance.randrange(max(1, len(data) // 512))
    other = 512 * chance.randrange(max(1, len(data) // 512))
    data[at : at + 512] = bytes(512) if chance.random() < 0.5 else data[other : other + 512]
    return bytes(data)


def cut(data: bytearray, chance: random.Random) -> bytes:
    """Cuts the end off, or pads it again with zeros."""
    end = chance.randrange(len(data))
    return bytes(data[:end]) + (bytes(len(data) - end) if chance.random() < 0.5 else b"")


def structure(data: bytearray, chance: random.Random) -> bytes:
    """Changes HDF5's own structures, and makes their checksums fit again."""
    places = [(at, signature) for signature in _SIGNATURES for at in _found(data, signature)]
    for _ in range(chance.choice((1, 1, 2))):
        at, signature = chance.choice(places)
        end = _SIGNATURES[signature](data, at)
        if not at + 5 < end <= len(data) - 4:
            continue
        position = chance.randrange(at + 5, end)
        width = chance.choice((1, 1, 1, 2, 4, 8))
        value = chance.choice((0, 1, 0xFF, 1 << 30, (1 << 63) - 1, chance.randrange(1 << 64)))
        data[position : min(position + width, end)] = struct.pack("<Q", value)[
            : min(width, end - position)
        ]
        data[end : end + 4] = struct.pack("<I", lookup3(bytes(data[at:end])))
    return bytes(data)


def header(data: bytearray, chance: random.Random) -> bytes:
    """Changes the store's own headers and journal, and makes their checksums fit again."""
    for slot in chance.choice(((1024,), (1536,), (1024, 1536))):
        field = chance.choice((24, 32, 40, 48, 56, 64, 72))
        value = chance.choice(
            (0, 1, 1 << 31, 1 << 62, (1 << 64) - 1, len(data), chance.randrange(len(data)))
        )
        data[slot + field : slot + field + 8] = struct.pack("<Q", value)
        data[slot + 76 : slot + 80] = struct.pack("<I", zlib.crc32(data[slot : slot + 76]))
    return bytes(data)


def journal(data: bytearray, chance: random.Random) -> bytes:
    """Changes what an interrupted commit would write, and makes the checksums fit again."""
    slot = max((1024, 1536), key=lambda at: bytes(data[at + 24 : at + 32])[::-1])
    offset, byte_count = struct.unpack_from("<QQ", data, slot + 56)
    if not 0 < byte_count <= len(data) - offset:
        return some_bytes(data, chance)  # of a file that has none
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = offset + chance.choice((chance.randrange(byte_count), chance.randrange(12)))
        data[at] = chance.randrange(256)
    data[slot + 72 : slot + 76] = struct.pack("<I", zlib.crc32(data[offset : offset + byte_count]))
    data[slot + 76 : slot + 80] = struct.pack("<I", zlib.crc32(data[slot : slot + 76]))
    return bytes(data)


def objects(file: h5py.File, chance: random.Random) -> None:
    """Changes links, types, filters, shapes and attributes, as any HDF5 program can."""
    members: list[str] = []
    file.visit(members.append)
    for _ in range(chance.choice((1, 2, 4))):
        path, other = chance.choice(members), chance.choice(members)
        change = chance.choice(_CHANGES)
        try:
            change(file, path, other, chance)
        except (ArithmeticError, KeyError, OSError, RuntimeError, TypeError, ValueError):
            continue  # HDF5 does not do everything either


def _to_soft(file: h5py.File, path: str, other: str, _: random.Random) -> None:
    del file[path]
    file[path] = h5py.SoftLink(f"/{other}")


def _to_external(file: h5py.File, path: str, other: str, _: random.Random) -> None:
    del file[path]
    file[path] = h5py.ExternalLink(file.filename, f"/{other}")


def _to_other(file: h5py.File, path: str, other: str, _: random.Random) -> None:
    if path != other:
        del file[path]
        file[path] = file[other]  # also of a group in itself


def _to_dataset(file: h5py.File, path: str, _: str, chance: random.Random) -> None:
    del file[path]
    shape = chance.choice(((), (0,), (3, 4), (1 << 40,), (1 << 20, 1 << 20), (2,) * 32))
    dtype = chance.choice(("f4", "i8", "S5", "c8", "f2", ">f8", "bool", [("a", "f4")]))
    options: dict[str, Any] = {}
    if shape and chance.random() < 0.5:
        options["chunks"] = tuple(min(size, 4) for size in shape)
        options[chance.choice(("compression", "scaleoffset", "fletcher32"))] = 1
    file.create_dataset(path, shape, dtype, **options)


def _to_group(file: h5py.File, path: str, _: str, chance: random.Random) -> None:
    del file[path]
    group = file.create_group(path)
    group.attrs["kind"] = chance.choice(("scene", "field", "frame", "box", "stack", "layout", ""))
    group.attrs["encoding_version"] = "1.0"


def _change_attribute(file: h5py.File, path: str, _: str, chance: random.Random) -> None:
    attributes = file[path].attrs
    name = chance.choice([*attributes, "kind", "dims", "boundary", "lower", "checksum"])
    values: list[Any] = [0, -1, 1e300, "", "[]", "{}", "null", np.zeros((3, 3)), b"\xff", "scene"]
    attributes[name] = chance.choice([*values, np.arange(9.0), h5py.Empty("f4"), file[path].ref])


def _drop_attribute(file: h5py.File, path: str, _: str, chance: random.Random) -> None:
    attributes = file[path].attrs
    if len(attributes):
        del attributes[chance.choice(list(attributes))]


def _change_values(file: h5py.File, path: str, _: str, chance: random.Random) -> None:
    dataset = file[path]
    if isinstance(dataset, h5py.Dataset) and 0 < (dataset.size or 0) < 100_000:
        dataset.attrs.pop("checksum", None)
        noise = np.frombuffer(chance.randbytes(dataset.nbytes), dataset.dtype)
        dataset[...] = noise.reshape(dataset.shape)


_CHANGES: tuple[Callable[[h5py.File, str, str, random.Random], None], ...] = (
    _to_soft,
    _to_external,
    _to_other,
    _to_dataset,
    _to_group,
    _change_attribute,
    _change_attribute,
    _drop_attribute,
    _change_values,
)


def texts(file: h5py.File, chance: random.Random) -> None:
    """Changes JSON in attributes, and the properties that stand in a dataset."""
    places: list[tuple[str, str]] = []

    def note(path: str, member: Any) -> None:
        places.extend(
            (path, name) for name, value in member.attrs.items() if isinstance(value, (str, bytes))
        )

    file.visititems(note)
    for _ in range(chance.choice((1, 2, 4))):
        path, name = chance.choice(places)
        attributes = file[path].attrs
        attributes.pop("description_checksum", None)
        value = attributes[name]
        text = value if isinstance(value, str) else value.decode()
        attributes[name] = changed_text(text, chance)
    for scene in file.values():
        dataset = scene.get("_properties") if isinstance(scene, h5py.Group) else None
        if dataset is not None and chance.random() < 0.3:
            text = changed_text(dataset[...].tobytes().decode(), chance).encode()
            del scene["_properties"]
            scene["_properties"] = np.frombuffer(text or b"0", np.uint8)


def changed_text(text: str, chance: random.Random) -> str:
    """Returns a text with something else in it, which may be JSON or not."""
    pieces = (
        *("[", "]", "{", "}", ",", ":", '"', "null", "true", "NaN", "-", "0", "1e999", "\\u0000"),
        *("9" * 30, "[" * 1500, '{"__kind__": "tensor"}', '{"__kind__": "float", "value": 1}'),
        *('"type"', '"constant"', '"field"', '"values"', '"batch"', "\ud800", '"x"', "1e-400"),
    )
    for _ in range(chance.choice((1, 1, 2, 5))):
        at, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        if chance.random() < 0.7:
            end = min(at + chance.randrange(3), len(text))
        text = text[:at] + chance.choice((*pieces, text[at:end] * 2)) + text[end:]
    return text.encode(errors="replace").decode()


# --- what the fuzzer calls ------------------------------------------------------------------------


def _of_bytes(
    change: Callable[[bytearray, random.Random], bytes],
) -> Callable[[Path, Path, random.Random], None]:
    """Returns what changes the bytes of a file."""

    def make(original: Path, damaged: Path, chance: random.Random) -> None:
        damaged.write_bytes(change(bytearray(original.read_bytes()), chance))

    return make


def _of_file(
    change: Callable[[h5py.File, random.Random], None],
) -> Callable[[Path, Path, random.Random], None]:
    """Returns what changes a file through HDF5."""

    def make(original: Path, damaged: Path, chance: random.Random) -> None:
        shutil.copy(original, damaged)
        with h5py.File(damaged, "r+", locking=False) as file:
            change(file, chance)

    return make


def _of_directory(
    pattern: str, change: Callable[[bytearray, random.Random], bytes]
) -> Callable[[Path, Path, random.Random], None]:
    """Returns what changes one file of a directory."""

    def make(original: Path, damaged: Path, chance: random.Random) -> None:
        shutil.copytree(original, damaged)
        file = chance.choice(sorted(damaged.rglob(pattern)))
        file.write_bytes(change(bytearray(file.read_bytes()), chance))

    return make


def _any_bytes(data: bytearray, chance: random.Random) -> bytes:
    return chance.choice((some_bytes, one_bit, cut))(data, chance)


def _any_text(data: bytearray, chance: random.Random) -> bytes:
    return changed_text(data.decode(), chance).encode()


KINDS: dict[str, tuple[Callable[[Path, Path, random.Random], None], str]] = {
    "bytes": (_of_bytes(some_bytes), "hdf5"),
    "bit": (_of_bytes(one_bit), "hdf5"),
    "sector": (_of_bytes(sector), "hdf5"),
    "cut": (_of_bytes(cut), "hdf5"),
    "structure": (_of_bytes(structure), "hdf5"),
    "header": (_of_bytes(header), "hdf5"),
    "journal": (_of_bytes(journal), "hdf5"),
    "objects": (_of_file(objects), "hdf5"),
    "texts": (_of_file(texts), "hdf5"),
    "npz": (_of_directory("*.npz", _any_bytes), "npz"),
    "npz texts": (_of_directory("*.json", _any_text), "npz"),
}
"""What does the damage, and to what."""

FORGED = frozenset({"structure", "header", "journal"})
"""Kinds that make checksums fit what they have changed."""
REWRITTEN = frozenset({"objects", "texts", "npz texts"})
"""Kinds that write what anybody may write: any content is right."""


def _found(data: bytearray, signature: bytes) -> list[int]:
    places, at = [], data.find(signature, 2048)
    while at >= 0:
        places.append(at)
        at = data.find(signature, at + 1)
    return places


def _object_header_end(data: bytearray, at: int) -> int:
    """Returns where the checksum of a version 2 object header stands."""
    flags = data[at + 5]
    width = 1 << (flags & 3)
    start = at + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    return start + width + int.from_bytes(data[start : start + width], "little")


# HDF5's structures that end in a checksum, and where it stands.
_SIGNATURES: dict[bytes, Callable[[bytearray, int], int]] = {
    b"OHDR": _object_header_end,
    b"BTHD": lambda _, at: at + 34,
    b"FRHP": lambda _, at: at + 142,
    b"\x89HDF": lambda _, at: at + 44,
}
