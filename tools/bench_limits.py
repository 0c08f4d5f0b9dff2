"""What this machine can do at best with the bytes of a frame, with no file format around it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import deflate
import numpy as np
from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bench_fields import Frame

_PIECE_BYTES = 1 << 20


def limits_of(frame: Frame, folder: Path) -> dict[str, Callable[[], Any]]:
    """Returns calls whose time is the limit; what they need is prepared already."""
    cores = os.cpu_count() or 1
    pool = ThreadPoolExecutor(cores)
    arrays = list(frame.arrays.values())
    raw = b"".join(array.tobytes() for array in arrays)
    shuffled = [piece for array in arrays for piece in _shuffled_pieces(array)]
    deflated = [(isal_zlib.compress(piece, 1), len(piece)) for piece in shuffled]
    target = bytearray(len(raw))
    descriptor = os.open(folder / "raw", os.O_RDWR | os.O_CREAT)

    def deflate_all() -> None:
        list(pool.map(lambda piece: isal_zlib.compress(piece, 1), shuffled))

    def inflate_all() -> None:
        list(pool.map(lambda piece: deflate.zlib_decompress(*piece), deflated))

    def copy() -> None:
        target[:] = raw

    def write_raw() -> None:
        os.write(descriptor, raw)  # at the end, as a new frame is

    return {
        "deflate on all cores": deflate_all,
        "inflate on all cores": inflate_all,
        "copy": copy,
        "write raw": write_raw,
    }


def _shuffled_pieces(array: Any) -> list[bytes]:
    """Returns the array in pieces of up to 1 MiB, byte-shuffled."""
    flat = array.reshape(-1)
    count = _PIECE_BYTES // flat.itemsize
    # At least one piece for each core, if they are worth a thread.
    count = min(count, max(-(-flat.size // (os.cpu_count() or 1)), 16384))
    pieces = (flat[start : start + count] for start in range(0, flat.size, count))
    return [
        np.ascontiguousarray(piece.view(np.uint8).reshape(-1, piece.itemsize).T).tobytes()
        for piece in pieces
    ]
