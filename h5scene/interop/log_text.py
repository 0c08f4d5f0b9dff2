"""The text files in which `phi.vis` keeps scalars, `log_<name>.txt`, to curves and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from h5scene.record import Array

_NAME = re.compile(r"log_(.+)\.txt", re.DOTALL)


def curve_name(file_name: str) -> str | None:
    """Returns the curve that a file holds; `None` when it is no such file."""
    match = _NAME.fullmatch(file_name)
    return None if match is None else match[1]


def log_name(curve: str) -> str:
    """Returns the name of the file of a curve."""
    return f"log_{curve}.txt"


def rows_from_log(text: bytes) -> Array | None:
    """Returns the steps and values of a log file, a row each; `None` if it is no table of them."""
    try:
        lines = text.decode("ascii").split("\n")
        rows = [[float(word) for word in line.split()] for line in lines if line.strip()]
    except ValueError:
        return None
    if not rows or len(rows[0]) < 2 or any(len(row) != len(rows[0]) for row in rows):
        return None
    return np.array(rows, np.float64)


def log_from_rows(rows: Array) -> bytes:
    """Returns the text that `phi.vis` writes: step and values, in the shortest form."""
    lines = []
    for step, *values in rows.tolist():
        first = str(int(step)) if step.is_integer() and abs(step) < 2**53 else str(step)
        lines.append(" ".join([first, *map(str, values)]) + "\n")
    return "".join(lines).encode("ascii")


def log_of_curve(rows: Array, text: bytes | None) -> bytes | None:
    """Returns the text of a curve; `None` where no text says the same.

    Args:
        rows: The curve.
        text: Text of an earlier state of it, which is kept as it is where the curve still begins
            like that.
    """
    if text is not None:
        known = rows_from_log(text)
        if known is not None and _begins_like(rows, known):
            rest = rows[len(known) :]
            ends = text.endswith(b"\n") or not len(rest)
            text += (b"" if ends else b"\n") + log_from_rows(rest)
            return text if _is_exact(text, rows) else None
    text = log_from_rows(rows)
    return text if _is_exact(text, rows) else None


def _begins_like(rows: Array, known: Array) -> bool:
    """Whether a curve is another one, continued."""
    head = rows[: len(known)]
    return head.shape == known.shape and head.tobytes() == known.tobytes()


def _is_exact(text: bytes, rows: Array) -> bool:
    """Whether a text says exactly this."""
    found = rows_from_log(text)
    return found is not None and found.shape == rows.shape and found.tobytes() == rows.tobytes()
