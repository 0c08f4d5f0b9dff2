"""Tables of float64 that grow by rows: scalar curves, and the physical times of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from h5scene.errors import CorruptDataError
from h5scene.format import layout
from h5scene.format.codec import read_values
from h5scene.format.groups import put_json, read_attribute, text_names
from h5scene.format.json_values import dump_json, load_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from h5scene.record import Array

_CHUNK_ROWS = 512


def append_row(group: h5py.Group, name: str, columns: Sequence[str], row: Sequence[float]) -> None:
    """Appends a row to a table, which is created when there is none.

    Raises:
        CorruptDataError: What has this name is no such table.
    """
    table = group.get(name)
    if table is None:
        table = group.create_dataset(
            name,
            shape=(0, len(columns)),
            maxshape=(None, len(columns)),
            dtype=np.float64,
            chunks=(_CHUNK_ROWS, len(columns)),
            fletcher32=True,
        )
        put_json(table, layout.COLUMNS_ATTR, dump_json(list(columns), layout.COLUMNS_ATTR))
    check_table(table)
    rows = table.shape[0]
    table.resize(rows + 1, axis=0)
    table[rows] = row


def write_table(group: h5py.Group, name: str, columns: Sequence[str], rows: Array) -> None:
    """Stores a table in place of what had this name."""
    if name in group:
        del group[name]
    table = group.create_dataset(
        name,
        data=np.asarray(rows, np.float64),
        maxshape=(None, len(columns)),
        chunks=(_CHUNK_ROWS, len(columns)),
        fletcher32=True,
    )
    put_json(table, layout.COLUMNS_ATTR, dump_json(list(columns), layout.COLUMNS_ATTR))


def put_row(group: h5py.Group, name: str, columns: Sequence[str], row: Sequence[float]) -> None:
    """Puts a row into a table whose first column is a key: in place of the one with its key.

    Raises:
        CorruptDataError: What has this name is no such table.
    """
    table = group.get(name)
    if table is not None:
        check_table(table)
        # Rows are in any order, so all keys count: 0.2 ms for 10,000 of them.
        found = np.flatnonzero(table[:, 0] == row[0])
        if found.size:
            table[found[0]] = row
            return
    append_row(group, name, columns, row)


def tables_by_step(scene: h5py.Group) -> list[h5py.Dataset]:
    """Returns the tables of a scene whose first column is a frame or step.

    These are curves, times, and the statistics of fields.

    Raises:
        CorruptDataError: One of them is no table.
    """
    found = []
    for link in (layout.CURVES_GROUP, layout.STATISTICS_GROUP):
        group = scene.get(link, {})
        found += [group[name] for name in text_names(group or ())]
    if layout.TIMES_DATASET in scene:
        found.append(scene[layout.TIMES_DATASET])
    for table in found:
        check_table(table)
    return found


def remove_rows_after(table: h5py.Dataset, last: float) -> None:
    """Removes the rows whose first column is larger; the others keep their order."""
    rows = table[...]
    kept = rows[~(rows[:, 0] > last)]
    if len(kept) < len(rows):
        table.resize(len(kept), axis=0)
        table[...] = kept


def read_table(group: h5py.Group, name: str) -> Array:
    """Returns the rows of a table; none of them where there is no table.

    Raises:
        CorruptDataError: What has this name is no table.
    """
    table = group.get(name)
    if table is None:
        return np.empty((0, 0))
    check_table(table)
    columns = load_json(read_attribute(table, layout.COLUMNS_ATTR))
    if not isinstance(columns, list) or len(columns) != table.shape[1]:
        raise CorruptDataError(f"{table.name} has {table.shape[1]} columns, named {columns!r}")
    return read_values(table)


def check_table(table: Any) -> None:
    """Raises CorruptDataError when the object is no table of float64."""
    is_table = isinstance(table, h5py.Dataset) and table.ndim == 2 and table.dtype == np.float64
    is_table = is_table and table.shape[1] > 0
    if not is_table or layout.COLUMNS_ATTR not in table.attrs:
        name = getattr(table, "name", table)
        raise CorruptDataError(f"{name} is no table of float64 with named columns")
