"""Tables of float64 that grow by rows: seen by plain h5py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene.errors import CorruptDataError
from h5scene.format.tables import append_row, put_row, read_table

TIMES = ("frame", "time")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[h5py.Group]:
    """A group of a new HDF5 file."""
    with h5py.File(tmp_path / "plain.h5", "w", libver=("v108", "v110")) as file:
        yield file.create_group("g")


def test_a_table_grows_row_by_row(group: h5py.Group) -> None:
    rows = [(i, i / 3, -i) for i in range(1100)]  # more than two chunks
    for row in rows:
        append_row(group, "loss", ("step", "a", "b"), row)
    table = group["loss"]
    assert table.dtype == np.float64
    assert table.shape == (1100, 3)
    assert table.maxshape == (None, 3)
    assert json.loads(table.attrs["columns"]) == ["step", "a", "b"]
    np.testing.assert_array_equal(table[()], rows)
    np.testing.assert_array_equal(read_table(group, "loss"), rows)


def test_numbers_that_are_not_finite_stay(group: h5py.Group) -> None:
    row = (1.0, np.nan, np.inf, -np.inf, -0.0)
    append_row(group, "loss", tuple("abcde"), row)
    assert read_table(group, "loss").tobytes() == np.array([row]).tobytes()


def test_no_table_has_no_rows(group: h5py.Group) -> None:
    assert read_table(group, "loss").shape == (0, 0)


def test_a_row_replaces_the_one_with_its_key(group: h5py.Group) -> None:
    for row in [(0, 0.0), (5, 0.5), (2, 0.2), (5, 0.6), (2, 0.3), (7, 0.7), (0, 0.1), (1, 0.4)]:
        put_row(group, "_times", TIMES, row)
    expected = [(0, 0.1), (5, 0.6), (2, 0.3), (7, 0.7), (1, 0.4)]
    np.testing.assert_array_equal(group["_times"][()], expected)


def test_the_last_of_a_table_is_replaced(group: h5py.Group) -> None:
    for time in (0.1, 0.2):
        put_row(group, "_times", TIMES, (3, time))
    np.testing.assert_array_equal(group["_times"][()], [(3, 0.2)])


def not_a_table(group: h5py.Group, kind: str) -> None:
    """Puts something else where a table should be."""
    if kind == "group":
        group.create_group("t")
    elif kind == "one axis":
        group.create_dataset("t", data=np.zeros(3))
    elif kind == "float32":
        group.create_dataset("t", data=np.zeros((3, 2), np.float32))
    elif kind != "no columns":
        group.create_dataset("t", data=np.zeros((3, 2)))
        group["t"].attrs["columns"] = kind
        return
    else:
        group.create_dataset("t", data=np.zeros((3, 2)))
        return
    group["t"].attrs["columns"] = '["a", "b"]'


@pytest.mark.parametrize(
    "kind",
    ["group", "one axis", "float32", "no columns", "not JSON", "5", '["a"]', '["a", "b", "c"]'],
)
def test_what_is_no_table_is_reported(group: h5py.Group, kind: str) -> None:
    not_a_table(group, kind)
    with pytest.raises(CorruptDataError):
        read_table(group, "t")


@pytest.mark.parametrize("kind", ["group", "one axis", "float32", "no columns"])
@pytest.mark.parametrize("write", [append_row, put_row])
def test_what_is_no_table_is_not_written(group: h5py.Group, kind: str, write: Any) -> None:
    not_a_table(group, kind)
    before = None if kind == "group" else group["t"][()]
    with pytest.raises(CorruptDataError, match="/g/t is no table of float64"):
        write(group, "t", ("a", "b"), (1, 2))
    if before is not None:
        np.testing.assert_array_equal(group["t"][()], before)


def test_columns_of_fixed_length_are_read(group: h5py.Group) -> None:
    not_a_table(group, '["a", "b"]')
    group["t"].attrs.create("columns", np.bytes_('["a", "b"]'))
    assert read_table(group, "t").shape == (3, 2)
