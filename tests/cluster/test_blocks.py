"""Grids whose blocks live on four MPI ranks: the frame is what one process would have written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from h5scene import Scene, errors
from tests.cluster.mpi import RANKS, run_ranks
from tests.compare import assert_same_field

pytestmark = pytest.mark.xdist_group("blocks")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks")


@pytest.fixture(scope="module")
def reports(folder: Path) -> dict[str, list[Any]]:
    """What each rank reports of each case."""
    return run_ranks("block_program", folder)


def frame_of(path: Path, frame: int) -> Any:
    with h5py.File(path) as file:
        dataset = file[f"sim_000000/field/{frame:06}"]
        settings = dataset.chunks, dataset.compression, dataset.shuffle
        attributes = [
            {name: np.asarray(value).tolist() for name, value in thing.attrs.items()}
            for thing in (dataset, dataset.parent)
        ]
        return dataset[:], settings, *attributes


@pytest.mark.parametrize(
    ("case", "frame"),
    [("square", 7), ("rows_without_compression", 0), ("digits", 0)],
)
def test_the_frame_is_that_of_one_process(
    reports: dict[str, list[Any]], folder: Path, case: str, frame: int
) -> None:
    for report in reports[case]:
        assert not isinstance(report, Exception), report
    ours, theirs = (frame_of(folder / case / name, frame) for name in ("file.h5", "whole.h5"))
    assert ours[0].nbytes > 1 << 20  # several chunks
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert ours[1] == theirs[1]
    assert ours[2] == theirs[2]  # the checksum is one of the stored bytes
    assert ours[3] == theirs[3]
    fields = [
        Scene.at(folder / case / name, 0).read("field", frame=frame) for name in ("file", "whole")
    ]
    assert_same_field(*fields)


@pytest.mark.parametrize("case", ["staggered_pencils", "staggered_periodic"])
def test_staggered_grids(reports: dict[str, list[Any]], folder: Path, case: str) -> None:
    for report in reports[case]:
        assert not isinstance(report, Exception), report
    ours, theirs = (frame_of(folder / case / name, 0) for name in ("file.h5", "whole.h5"))
    assert ours[3] == theirs[3]
    # The faces, also those that the boundary determines; the entries behind them are padding.
    axes = ours[0].ndim - 1
    for component in range(axes):
        faces = tuple(slice(None) if axis == component else slice(-1) for axis in range(axes))
        found, expected = (values[(*faces, component)] for values in (ours[0], theirs[0]))
        np.testing.assert_array_equal(found, expected)
    fields = [Scene.at(folder / case / name, 0).read("field") for name in ("file", "whole")]
    assert_same_field(*fields)


def test_small_fields_are_written_with_large_ones(
    reports: dict[str, list[Any]], folder: Path
) -> None:
    assert reports["square"] == [(7,), None, None, None]
    small = Scene.at(folder / "square" / "file", 0).read("small", frame=7)
    assert small.shape.sizes == (8, 8, 3)


@pytest.mark.parametrize(
    ("case", "error", "message"),
    [
        ("a_gap", errors.InvalidInputError, "that on rank 3 .*between them is a gap"),
        ("no_field", errors.UnsupportedFieldError, "rank 2: cannot store a str"),
        ("no_fields", errors.RankError, "rank 1 failed: TypeError"),
        ("points", errors.UnsupportedFieldError, "rank 0 is a Tensor; only centered"),
        ("other_frames", errors.InvalidInputError, "frame=0, .*rank 2 for 'field', frame=1"),
        ("a_rank_fails_while_it_packs", errors.RankError, "^rank 3 failed: MemoryError: no memory"),
        ("the_disk_is_full", errors.StorageError, "rank 0: no space left 0"),
        ("another_process_writes", errors.BusyError, "rank 0: "),
    ],
)
def test_all_ranks_raise_the_same_and_nothing_is_written(
    reports: dict[str, list[Any]], case: str, error: type, message: str
) -> None:
    for report in reports[case]:
        assert isinstance(report, tuple), report
    raised = [report[0] for report in reports[case]]
    assert [type(one) for one in raised] == [error] * RANKS
    assert len({str(one) for one in raised}) == 1
    with pytest.raises(error, match=message):
        raise raised[-1]
    assert reports[case][0][1:] == ((), (1,))  # the next call works


def test_a_full_disk_keeps_its_number(reports: dict[str, list[Any]]) -> None:
    assert [report[0].errno for report in reports["the_disk_is_full"]] == [28] * RANKS


def test_bad_arguments(reports: dict[str, list[Any]]) -> None:
    for case, message in (("no_scene", "not to None"), ("no_communicator", "such as MPI.COMM_W")):
        for report in reports[case]:
            assert isinstance(report, errors.InvalidInputError)
            assert message in str(report)
