"""Deflate and CRC-32 as npz members need them: ISA-L where it is installed, zlib otherwise.

ISA-L's level 1 packs several times as fast as zlib's, at about the same ratio. What it writes is
ordinary deflate, which every reader of zip files knows.
"""

from __future__ import annotations

import zlib
from typing import Any

from h5scene.format.deflate import isal_zlib as _fast

_RAW = -15  # a zip member is deflate without zlib's header
ERRORS: tuple[type[Exception], ...] = (zlib.error,) if _fast is None else (zlib.error, _fast.error)


def compressor() -> Any:
    """Returns an object with `compress()` and `flush()`, as `zlib.compressobj` makes them."""
    if _fast is None:
        return zlib.compressobj(1, zlib.DEFLATED, _RAW)
    return _fast.compressobj(1, _fast.DEFLATED, _RAW)


def decompressor() -> Any:
    """Returns an object with `decompress()`, as `zlib.decompressobj` makes them."""
    return zlib.decompressobj(_RAW) if _fast is None else _fast.decompressobj(_RAW)


def crc32(data: Any, start: int = 0) -> int:
    """Returns the CRC-32 of bytes, continued from `start`."""
    return int(zlib.crc32(data, start) if _fast is None else _fast.crc32(data, start))
