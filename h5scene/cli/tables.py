"""Columns, small pictures and JSON on a terminal or in a pipe."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len, set_cell_size

from h5scene.cli.text_safety import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from h5scene.record import Array

_GAP = "  "
_SHORTEST = 8
# Viridis of matplotlib, every 32nd colour of 256.
_COLORS = (
    (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141),
    (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37),
)  # fmt: skip
_SHADES = " .:-=+*#%@"
_BARS = "▁▂▃▄▅▆▇█"


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout.isatty()


def width() -> int:
    """Returns the columns of the terminal; many in a pipe, where nothing is cut off."""
    return shutil.get_terminal_size().columns if is_terminal() else 10_000


def has_color() -> bool:
    """Whether to print colours; see https://no-color.org."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_json(value: Any) -> None:
    """Prints a value of plain types as JSON."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def print_columns(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[int] = (),
    flexible: Sequence[int] = (),
) -> None:
    """Prints rows under titles; rows of one cell go across.

    Args:
        titles: Of the columns.
        rows: Cells; fewer than columns if the last ones are empty.
        right: Columns that are aligned at their right.
        flexible: Columns that may be cut off where the terminal is too narrow.
    """
    lines = [[printable(cell) for cell in row] for row in rows]
    widths = [cell_len(title) for title in titles]
    for line in lines:
        if len(line) > 1:
            for i, cell in enumerate(line):
                widths[i] = max(widths[i], cell_len(cell))
    room = width() - len(_GAP) * (len(widths) - 1)
    for i in sorted(flexible, key=lambda i: -widths[i]):
        excess = sum(widths) - room
        if excess > 0:
            widths[i] = max(widths[i] - excess, min(widths[i], _SHORTEST))
    styled = is_terminal()
    head = _line(list(titles), widths, right)
    click.echo(click.style(head, bold=True) if styled else head)
    for line in lines:
        if len(line) == 1:
            text = "" if not line[0] else cut(line[0], width())
            click.echo(click.style(text, dim=True) if styled else text)
        else:
            click.echo(_line(line, widths, right))


def _line(cells: list[str], widths: list[int], right: Sequence[int]) -> str:
    """Returns cells side by side."""
    parts = []
    for i, cell in enumerate(cells):
        text = cut(cell, widths[i])
        pad = " " * (widths[i] - cell_len(text))
        parts.append(pad + text if i in right else text + pad)
    return _GAP.join(parts).rstrip()


def cut(text: str, columns: int) -> str:
    """Returns text that is no wider than so many columns."""
    if cell_len(text) <= columns:
        return text
    return set_cell_size(text, max(columns - 1, 0)).rstrip() + "…"


def print_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Prints names and what belongs to them; a text of several lines is indented."""
    space = max((cell_len(name) for name, _ in facts), default=0)
    for name, text in facts:
        if not name:
            click.echo()
            continue
        head = f"{name}:".ljust(space + 2)
        click.echo((click.style(head, bold=True) if is_terminal() else head) + printable(text))


def print_picture(values: Array) -> None:
    """Prints an array `(x, y)` with x to the right and y upwards, or a line for one of `(x,)`."""
    import numpy as np

    finite = values[np.isfinite(values)]
    if not finite.size:
        click.echo("  (no finite value to show)")
        return
    low, high = float(finite.min()), float(finite.max())
    columns = min(width() - 4, 64)
    if values.ndim == 1:
        click.echo(f"  {sparkline(values, columns)}")
        return
    nx, ny = values.shape
    # A character is about twice as high as wide; half blocks make two pixels of it.
    most_rows = 32
    scale = max(nx / columns, ny / (2 * most_rows), 1e-9)
    if max(nx, ny) < 32:
        scale = max(scale, min(nx, ny) / 32, 0.5)
    target = max(round(nx / scale), 1), max(round(ny / scale), 2)
    pixels = _shrunk(_shrunk(values, target[0]).T, target[1])[::-1]  # rows from the top
    if len(pixels) % 2:
        pixels = np.concatenate([pixels, np.full((1, pixels.shape[1]), np.nan)])
    if not has_color():
        shades = _scaled(np.maximum(pixels[::2], pixels[1::2]), low, high, len(_SHADES))
        for row in shades:
            click.echo("  " + "".join("?" if i < 0 else _SHADES[i] for i in row))
        return
    levels = _scaled(pixels, low, high, 256)
    for top, bottom in zip(levels[::2], levels[1::2], strict=True):
        text = "".join(_half_block(int(a), int(b)) for a, b in zip(top, bottom, strict=True))
        click.echo(f"  {text}\x1b[0m")


def sparkline(values: Array, columns: int) -> str:
    """Returns a line of bars for numbers."""
    import numpy as np

    finite = values[np.isfinite(values)]
    if not finite.size:
        return ""
    shown = _shrunk(values, min(columns, len(values)))
    levels = _scaled(shown, float(finite.min()), float(finite.max()), len(_BARS))
    return "".join(" " if i < 0 else _BARS[i] for i in levels)


def _half_block(top: int, bottom: int) -> str:
    """Returns a character whose halves have two colours; below 0 they have none."""
    back = "\x1b[49m" if bottom < 0 else "\x1b[48;2;{};{};{}m".format(*_color(bottom))
    if top < 0:
        return "\x1b[0m " if bottom < 0 else "\x1b[0m\x1b[38;2;{};{};{}m▄".format(*_color(bottom))
    return back + "\x1b[38;2;{};{};{}m▀".format(*_color(top))


def _color(level: int) -> tuple[int, ...]:
    """Returns the colour of one of 256 levels."""
    place = level / 255 * (len(_COLORS) - 1)
    low = min(int(place), len(_COLORS) - 2)
    share = place - low
    return tuple(
        round(a + (b - a) * share) for a, b in zip(_COLORS[low], _COLORS[low + 1], strict=True)
    )


def _scaled(values: Array, low: float, high: float, levels: int) -> Array:
    """Returns which of so many levels each value has; -1 for those that are not finite."""
    import numpy as np

    span = high - low
    share = np.zeros(values.shape) if span == 0 else (values - low) / span
    with np.errstate(invalid="ignore"):
        found = np.clip(share * levels, 0, levels - 1)
    return np.where(np.isfinite(values), np.nan_to_num(found), -1).astype(int)


def _shrunk(values: Array, count: int) -> Array:
    """Returns means of neighbours along the first axis, or repeats them, to be so many."""
    import numpy as np

    size = len(values)
    if count >= size:
        return values[np.minimum(np.arange(count) * size // count, size - 1)]
    edges = np.arange(count + 1) * size // count
    return np.stack([values[a:b].mean(axis=0) for a, b in itertools.pairwise(edges)])
