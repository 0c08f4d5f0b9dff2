"""Fields of every kind through npz: written by PhiFlow and read by us, and the other way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from phi.field import Field, read, write

from h5scene.interop.npy import ForeignNpzError
from h5scene.interop.npz import form_of, npz_from_record, record_from_npz, without_form
from h5scene.interop.npz_archive import NpzArchive, pack, write_npz
from h5scene.interop.npz_boundaries import CannotHoldError
from h5scene.phi_fields import field_from_record, record_from_field
from h5scene.record import FieldRecord
from tests.compare import assert_same_field
from tests.interop.scene_trees import arrays_of, plain
from tests.strategies import grid_fields

SETTINGS = hypothesis.settings(
    deadline=None, max_examples=25, suppress_health_check=list(hypothesis.HealthCheck)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory for all examples of a test."""
    return tmp_path_factory.mktemp("npz")


def load(path: Path) -> dict[str, Any]:
    """Returns the arrays of an npz as h5scene reads them."""
    with path.open("rb", buffering=0) as file:
        archive = NpzArchive(file, 1 << 24)
        return {name: archive.read(member) for name, member in archive.members.items()}


def save(path: Path, members: dict[str, Any]) -> None:
    """Writes an npz as h5scene does."""
    with path.open("w+b") as file:
        write_npz(file, {name: a if name == "data" else pack(a) for name, a in members.items()})


def exactly(members: dict[str, Any]) -> list[tuple[str, Any]]:
    """Returns arrays in order, such that `==` compares all of them."""
    return [(name, plain(array)) for name, array in members.items()]


def read_by_phiflow(path: Path) -> Field:
    """Returns the field that PhiFlow reads, at the precision of the file."""
    with np.errstate(all="ignore"):  # it computes with corners that may be infinite
        return read(str(path), convert_to_backend=False)


def is_comparable(record: FieldRecord) -> bool:
    """Whether PhiFlow keeps what it reads: it makes floats of integers, and more of that kind."""
    boundary = repr(record.description.boundary)
    return (
        record.values.dtype == np.float32
        and "antireflect" not in boundary
        and "array([], dtype=bool)" not in boundary
    )


@SETTINGS
@given(field=grid_fields())
def test_what_phiflow_writes_is_what_we_read_and_write_again(folder: Path, field: Field) -> None:
    path, again = folder / "a.npz", folder / "b.npz"
    try:
        with np.errstate(all="ignore"):
            write(field, str(path))
    except Exception:  # noqa: BLE001  # PhiFlow cannot write everything, and raises anything
        hypothesis.reject()
    expected = arrays_of(path)
    members = load(path)
    assert [(k, plain(a)) for k, a in members.items()] == [
        (k, plain(a)) for k, a in expected.items()
    ]
    try:
        by_phiflow = read_by_phiflow(path)
    except Exception:  # noqa: BLE001  # nor can it read all that it writes
        by_phiflow = None
    try:
        record = record_from_npz(members)
    except ForeignNpzError:
        assert by_phiflow is None
        return
    if by_phiflow is not None and is_comparable(record):
        plain_record = FieldRecord(without_form(record.description), record.values)
        assert plain_record.description == record_from_field(by_phiflow).description
        assert_same_field(field_from_record(plain_record, convert_to_backend=False), by_phiflow)
    save(again, npz_from_record(record))
    assert exactly(arrays_of(again)) == exactly(expected)


@SETTINGS
@given(field=grid_fields())
def test_phiflow_reads_what_we_write(folder: Path, field: Field) -> None:
    path = folder / "c.npz"
    record = record_from_field(field)
    try:
        form, found = form_of(record.description, record.values.shape, record.values.dtype)
    except CannotHoldError:
        hypothesis.reject()
    save(path, npz_from_record(record))
    assert record_from_npz(load(path)) == FieldRecord(
        found, form.values_from_data(load(path)["data"])
    )
    by_phiflow = read_by_phiflow(path)
    written = FieldRecord(without_form(found), record.values)
    if is_comparable(written):
        assert record_from_field(by_phiflow).description == written.description
        assert_same_field(field_from_record(written, convert_to_backend=False), by_phiflow)


# --- old files, made by hand ----------------------------------------------------------------------


def old_npz(**changes: Any) -> dict[str, Any]:
    """Returns the arrays of a file of PhiFlow 2; None for one that is missing."""
    arrays = {
        "dim_names": np.asarray(["x", "y"]),
        "dim_types": np.asarray(["spatial", "spatial"]),
        "field_type": np.asarray("CenteredGrid"),
        "lower": np.asarray([0.0, 0.0]),
        "upper": np.asarray([4.0, 3.0]),
        "extrapolation": np.asarray({"type": "constant", "value": 1.5}),
        "data": np.arange(12, dtype=np.float32).reshape(4, 3),
    }
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


MATRIX = {"type": "constant", "value": np.ones((2, 2))}
SIDES = {
    "type": "mixed",
    "dims": {"x": ({"type": "zero"}, {"type": "boundary"}), "y": ({"type": "periodic"},) * 2},
}
OLD = {
    "no labels": {},
    "number as constant": {"extrapolation": np.asarray({"type": "constant", "value": 3})},
    "named constants": {"extrapolation": np.asarray({"type": "one"})},
    "sides in pairs": {"extrapolation": np.asarray(SIDES)},
    "corners of float32": {"lower": np.asarray([0.1, 0.2], np.float32)},
    "labels as None": {
        "dim_item_names": np.asarray([None, None]),
        "bounds_item_names": np.asarray(None),
    },
    "staggered": {
        "field_type": np.asarray("StaggeredGrid"),
        "dim_names": np.asarray(["vector", "x", "y"]),
        "dim_types": np.asarray(["channel", "spatial", "spatial"]),
        "data": np.arange(40, dtype=np.float32).reshape(2, 5, 4),
    },
    "fortran": {"data": np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))},
    "a further array": {"comment": np.asarray("made in 2019")},
}


@pytest.mark.parametrize("changes", OLD.values(), ids=OLD)
def test_old_files_are_what_phiflow_makes_of_them(tmp_path: Path, changes: dict[str, Any]) -> None:
    path, again = tmp_path / "old.npz", tmp_path / "again.npz"
    np.savez_compressed(path, **old_npz(**changes))
    record = record_from_npz(load(path))
    expected = record_from_field(read_by_phiflow(path)).description
    assert without_form(record.description) == expected
    assert_same_field(field_from_record(record, convert_to_backend=False), read_by_phiflow(path))
    save(again, npz_from_record(record))
    assert exactly(arrays_of(again)) == exactly(arrays_of(path))


FOREIGN = {
    "no field_type": {"field_type": None},
    "point cloud": {"field_type": np.asarray("PointCloud")},
    "no boundary": {"extrapolation": None},
    "unknown boundary": {"extrapolation": np.asarray({"type": "fancy"})},
    "constant of two dims": {"extrapolation": np.asarray(MATRIX)},
    "too few dims": {"dim_names": np.asarray(["x"]), "dim_types": np.asarray(["spatial"])},
    "other axes": {"bounds_item_names": np.asarray(["a", "b"])},
    "one corner too short": {"lower": np.asarray([0.0])},
}


@pytest.mark.parametrize("changes", FOREIGN.values(), ids=FOREIGN)
def test_what_phiflow_cannot_read_is_no_field(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "foreign.npz"
    np.savez(path, **old_npz(**changes))
    with pytest.raises(Exception):  # noqa: B017, PT011  # any
        read_by_phiflow(path)
    with pytest.raises(ForeignNpzError):
        record_from_npz(load(path))


def test_labels_that_do_not_fit_are_no_field() -> None:
    labels = np.asarray([("a",), None], dtype=object)
    with pytest.raises(ForeignNpzError, match="labels"):
        record_from_npz(old_npz(dim_item_names=labels))


def test_the_byte_order_of_other_machines_comes_back(tmp_path: Path) -> None:
    members = old_npz(data=np.arange(12, dtype=">f4").reshape(4, 3), lower=np.zeros(2, ">i4"))
    record = record_from_npz(members)
    assert record.values.dtype == np.float32
    assert record.values.tolist() == members["data"].tolist()
    save(tmp_path / "a.npz", npz_from_record(record))
    assert exactly(arrays_of(tmp_path / "a.npz")) == exactly(members)
