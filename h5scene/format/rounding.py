"""Rounding of floats to fewer digits, so that they compress better. Only where a user asks for it.

The last bits of the mantissa become zero; the number is still a float of its dtype. A float of `b`
bits of mantissa differs from the one it was rounded from by at most `2 ** -(b + 1)` of its
magnitude. After the shuffle, bytes that are zero in all values take next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from h5scene.errors import InvalidInputError

if TYPE_CHECKING:
    from h5scene.record import Array


def digits_by_field(
    keep_digits: int | Mapping[str, int] | None, fieldnames: Collection[str]
) -> dict[str, int]:
    """Returns how many decimal digits to keep of those fields of which not all are to be kept.

    Args:
        keep_digits: One number for all fields, or numbers by name of the field, or `None`.
        fieldnames: Names of all fields.

    Raises:
        InvalidInputError: There is no such field, or a number is not a whole one, at least 1.
    """
    if keep_digits is None:
        return {}
    if not isinstance(keep_digits, Mapping):
        keep_digits = dict.fromkeys(fieldnames, keep_digits)
    for name, digits in keep_digits.items():
        if name not in fieldnames:
            raise InvalidInputError(
                f"keep_digits names {name!r}, which is not among the fields to write: "
                f"{', '.join(map(repr, fieldnames))}"
            )
        if isinstance(digits, bool) or not isinstance(digits, (int, np.integer)) or digits < 1:
            raise InvalidInputError(
                f"keep_digits of {name!r} must be a whole number, at least 1, not {digits!r}"
            )
    return {name: int(digits) for name, digits in keep_digits.items()}


def kept_bits(dtype: np.dtype[Any], digits: int) -> int | None:
    """Returns how many bits of the mantissa hold so many decimal digits; `None` if all do."""
    if dtype.kind not in "fc":
        return None
    # Half a unit in the last digit, relative to the number, is no less than 0.5 * 10 ** -digits.
    bits = math.ceil(digits * math.log2(10))
    return bits if bits < _mantissa_bits(dtype) else None


def max_relative_error(dtype: np.dtype[Any], digits: int) -> float | None:
    """Returns by how much of its magnitude a rounded number differs at most; `None` if by none."""
    bits = kept_bits(dtype, digits)
    return None if bits is None else 2.0 ** -(bits + 1)


def rounded(values: Array, digits: int) -> Array:
    """Returns the values rounded to so many decimal digits, ties to even; parts of complex alike.

    NaN, infinity, zero and subnormal numbers stay as they are, bit by bit, and so does what would
    become infinite.
    """
    bits = kept_bits(values.dtype, digits)
    if bits is None:
        return values
    parts = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
    real_bytes = parts.dtype.itemsize // (2 if parts.dtype.kind == "c" else 1)
    whole = parts.reshape(-1).view(f"u{real_bytes}")
    mantissa_bits = _mantissa_bits(parts.dtype)
    unsigned = whole.dtype.type
    dropped = mantissa_bits - bits
    exponent = unsigned((1 << (8 * real_bytes - 1)) - (1 << mantissa_bits))
    # A carry out of the mantissa goes into the exponent, which is what rounding up means.
    result = whole >> unsigned(dropped)
    result &= unsigned(1)
    result += whole
    result += unsigned((1 << (dropped - 1)) - 1)
    result &= unsigned(~((1 << dropped) - 1) & ((1 << 8 * real_bytes) - 1))
    given = whole & exponent
    special = (given == 0) | (given == exponent) | (result & exponent == exponent)
    if special.any():
        result[special] = whole[special]
    few: Array = result.view(parts.dtype).reshape(values.shape)
    return few.astype(values.dtype, copy=False)


def _mantissa_bits(dtype: np.dtype[Any]) -> int:
    """Returns the stored bits of the mantissa of a float, or of each part of a complex."""
    return int(np.finfo(dtype).nmant)
