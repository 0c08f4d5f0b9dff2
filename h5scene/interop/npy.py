"""Single arrays in NumPy's `.npy` form: headers checked strictly, objects read as data."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import CorruptDataError, FormatError, UnsafeFileError
from h5scene.interop.pickled_data import MAX_TEXT_BYTES, read_pickled

if TYPE_CHECKING:
    from h5scene.record import Array

MAX_HEADER_BYTES = 10_000
PREFIX_BYTES = 12
"""Enough to know the length of the header."""

_HEADER = re.compile(
    r"\{'descr': '([^']{1,16})', 'fortran_order': (True|False), 'shape': \(([0-9L, ]*)\), ?\}\s*",
    re.ASCII,
)
_NUMBER = re.compile(r"[<>|=]?(?:b1|[iu][1248]|f[248]|c8|c16)", re.ASCII)
_TEXT = re.compile(r"[<>|=]?[US]([0-9]{1,4})", re.ASCII)
_MAX_AXES = 32


class ForeignNpzError(FormatError):
    """The npz is sound, and harmless, but nothing that h5scene has another form for."""


@dataclass(frozen=True)
class NpyHeader:
    """What stands before the bytes of an array.

    Attributes:
        dtype: Of the array; `object` where a pickle follows.
        length_bytes: Of the header itself.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    is_fortran: bool
    length_bytes: int

    @property
    def is_pickled(self) -> bool:
        """Whether the values are objects, which stand there as a pickle."""
        return self.dtype == object

    @property
    def data_bytes(self) -> int:
        """How many bytes the values take; of no meaning if they are pickled."""
        return prod(self.shape) * self.dtype.itemsize


def header_bytes(prefix: bytes) -> int:
    """Returns the length of the header that begins with these `PREFIX_BYTES`.

    Raises:
        CorruptDataError: They are not the beginning of an array.
    """
    if prefix[:6] != b"\x93NUMPY" or prefix[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise CorruptDataError("it does not begin as an array of NumPy does")
    if len(prefix) < PREFIX_BYTES:
        raise CorruptDataError("it ends early")
    width = 2 if prefix[6] == 1 else 4
    length = int.from_bytes(prefix[8 : 8 + width], "little")
    if length > MAX_HEADER_BYTES:
        raise UnsafeFileError(f"its header has {length} bytes, where NumPy writes about 100")
    return 8 + width + length


def parse_header(header: bytes) -> NpyHeader:
    """Returns what a complete header says.

    Raises:
        CorruptDataError: It is none, or contradicts itself.
        ForeignNpzError: It describes an array with parts, dates, or other things than numbers and
            text.
    """
    start = 10 if header[6:7] == b"\1" else 12
    text = header[start:].decode("latin-1")
    match = _HEADER.fullmatch(text)
    if match is None:
        if text.startswith("{'descr': ") and text.rstrip().endswith("}"):
            raise ForeignNpzError("it holds an array of another form than plain numbers")
        raise CorruptDataError("the header of the array is damaged")
    descr, is_fortran, sizes = match.groups()
    items = [item.strip().rstrip("L") for item in sizes.split(",")]
    if items and not items[-1]:
        items.pop()
    if not all(item.isdecimal() and len(item) < 19 for item in items) or len(items) > _MAX_AXES:
        raise CorruptDataError(f"the header of the array has the shape ({sizes})")
    return NpyHeader(parse_dtype(descr), tuple(map(int, items)), is_fortran == "True", len(header))


def array_from_bytes(header: NpyHeader, content: bytes | bytearray | memoryview) -> Array:
    """Returns the array whose header is known from the bytes that follow it; aliases them.

    Raises:
        CorruptDataError: They are more or fewer than the header says.
        UnsafeFileError: They are a pickle that asks for more than plain data.
    """
    if header.is_pickled:
        array = read_pickled(bytes(content))
        if not isinstance(array, np.ndarray) or array.dtype != object:
            raise CorruptDataError("the pickled data is no array of objects")
        if array.shape != header.shape:
            raise CorruptDataError(
                f"the pickled array has the shape {array.shape}, its header {header.shape}"
            )
        return array
    if len(content) != header.data_bytes:
        raise CorruptDataError(
            f"{len(content)} bytes, where the header says {header.data_bytes}: "
            f"{header.shape} of {header.dtype}"
        )
    order: Any = "F" if header.is_fortran else "C"
    return np.frombuffer(content, header.dtype).reshape(header.shape, order=order)


def header_of(dtype: np.dtype[Any], shape: tuple[int, ...], *, is_fortran: bool) -> bytes:
    """Returns the header that NumPy writes for an array of numbers."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream,
        {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": is_fortran,
            "shape": shape,
        },
    )
    return stream.getvalue()


def bytes_from_array(array: Array) -> bytes:
    """Returns a small array as NumPy writes it, objects pickled."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=True)
    return stream.getvalue()


def parse_dtype(descr: str) -> np.dtype[Any]:
    """Returns the dtype of this name: numbers, text of sensible length, or objects.

    Raises:
        ForeignNpzError: It is another one.
    """
    if descr in ("|O", "O"):
        return np.dtype(object)
    text = _TEXT.fullmatch(descr)
    if _NUMBER.fullmatch(descr) or (text is not None and 0 < int(text[1]) <= MAX_TEXT_BYTES):
        return np.dtype(descr)
    raise ForeignNpzError(f"it holds an array of {descr!r}")
