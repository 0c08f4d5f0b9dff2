"""Memory that a thread uses again for the next chunk.

Fresh memory of this size comes from the system page by page, for one thread at a time: threads that
each take some for every step of every chunk spend half of their time waiting for one another.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

# A thread keeps some pieces of this size: those of the largest chunks are smaller.
_MAX_KEPT_BYTES = 1 << 20

_local = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """Returns an array with anything in it, valid until this thread asks for one of this name.

    Args:
        name: What it is for.
        shape: Shape of the array.
        dtype: Dtype of the array.
    """
    dtype = np.dtype(dtype)
    size_bytes = dtype.itemsize
    for size in shape:
        size_bytes *= size
    if size_bytes > _MAX_KEPT_BYTES:
        return np.empty(shape, dtype)
    kept: dict[str, npt.NDArray[np.uint8]] = _local.__dict__
    memory = kept.get(name)
    if memory is None or memory.size < size_bytes:
        memory = kept[name] = np.empty(size_bytes, np.uint8)
    found: npt.NDArray[Any] = memory[:size_bytes].view(dtype)
    return found.reshape(shape)
