"""Statistics of the frames of a field, as a table in the scene; see FORMAT.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from h5scene.format import codec, groups, layout, tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    import h5py

    from h5scene.record import Array

NUMBERS = len(layout.STATISTICS_COLUMNS)
_PENDING = -1.0


def columns(components: int) -> list[str]:
    """Returns the names of the columns: the frame, and the numbers of each component."""
    if components == 1:
        return [layout.FRAME_COLUMN, *layout.STATISTICS_COLUMNS]
    numbered = [f"{name}_{i}" for i in range(components) for name in layout.STATISTICS_COLUMNS]
    return [layout.FRAME_COLUMN, *numbered]


def read_rows(scene: h5py.Group, field_link: str, components: int) -> dict[int, Array]:
    """Returns the numbers by frame, of shape `(components, 5)`, of the frames that have any.

    Raises:
        CorruptDataError: What stands in the place of the table is none.
    """
    rows = _table(scene, field_link)
    if rows.shape[1:] != (1 + NUMBERS * components,):
        return {}  # of a field of this name that had other components
    counts = rows[:, 1::NUMBERS]
    valid = np.isfinite(rows[:, 0]) & (counts >= 0).all(1)
    return {int(row[0]): row[1:].reshape(components, NUMBERS) for row in rows[valid]}


def reserve_rows(
    scene: h5py.Group, field_link: str, components: int, frames: Iterable[int], token: float
) -> None:
    """Makes a row for each frame that says that whoever has this token computes it.

    Until the numbers are put there, the row goes when the frame is replaced, as others do.
    """
    rows = _table(scene, field_link)
    width = 1 + NUMBERS * components
    if rows.shape[1:] != (width,):
        rows = np.empty((0, width))
    frames = np.array(sorted(frames), np.float64)
    kept = rows[np.isfinite(rows[:, 0]) & ~np.isin(rows[:, 0], frames)]
    new = np.zeros((len(frames), width))
    new[:, 0], new[:, 1], new[:, 2] = frames, _PENDING, token
    all_rows = np.concatenate([kept, new])
    group = scene.require_group(layout.STATISTICS_GROUP)
    ordered = all_rows[np.argsort(all_rows[:, 0], kind="stable")]
    tables.write_table(group, field_link, columns(components), ordered)


def put_rows(scene: h5py.Group, field_link: str, found: dict[int, Array], token: float) -> None:
    """Puts numbers into the rows that are still reserved with this token."""
    group = scene.get(layout.STATISTICS_GROUP, {})
    if field_link not in group:
        return
    table = group[field_link]
    tables.check_table(table)
    rows = codec.read_values(table)
    is_reserved = np.isfinite(rows[:, 0]) & (rows[:, 1] == _PENDING) & (rows[:, 2] == token)
    for i in np.flatnonzero(is_reserved):
        numbers = found.get(int(rows[i, 0]))
        if numbers is not None and numbers.size == rows.shape[1] - 1:
            rows[i, 1:] = numbers.reshape(-1)
    table[...] = rows


def drop_row(scene: h5py.Group, field_link: str, frame: int) -> None:
    """Drops what is known of a frame that is about to change."""
    path = f"{layout.STATISTICS_GROUP}/{field_link}"
    if not groups.has_member(scene, layout.STATISTICS_GROUP) or not groups.has_member(scene, path):
        return
    table = scene[path]
    tables.check_table(table)
    for i in np.flatnonzero(table[:, 0] == frame):
        table[i, 0] = np.nan


def drop_table(scene: h5py.Group, field_link: str) -> None:
    """Drops what is known of a field that is about to be removed."""
    group = scene.get(layout.STATISTICS_GROUP, {})
    if field_link in group:
        del group[field_link]


def _table(scene: h5py.Group, field_link: str) -> Array:
    """Returns the rows of a field; none where it has no table."""
    group = scene.get(layout.STATISTICS_GROUP)
    return np.empty((0, 0)) if group is None else tables.read_table(group, field_link)
