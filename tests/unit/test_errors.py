"""Errors derive from the builtins that callers catch, and cross processes whole."""

from __future__ import annotations

import copy
import errno
import pickle

import pytest

from h5scene import errors

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.H5SceneError)
]

# Direct parents: one of ours, and the builtin that others raise for the same mistake.
PARENTS: dict[type, tuple[type, ...]] = {
    errors.H5SceneError: (Exception,),
    errors.NotFoundError: (errors.H5SceneError, FileNotFoundError),
    errors.SceneNotFoundError: (errors.NotFoundError,),
    errors.FrameNotFoundError: (errors.NotFoundError,),
    errors.FieldNotFoundError: (errors.NotFoundError,),
    errors.AlreadyExistsError: (errors.H5SceneError, FileExistsError),
    errors.MergeConflictError: (errors.AlreadyExistsError,),
    errors.InvalidInputError: (errors.H5SceneError, ValueError),
    errors.InvalidNameError: (errors.InvalidInputError,),
    errors.BatchMismatchError: (errors.InvalidInputError,),
    errors.UnsupportedFieldError: (errors.InvalidInputError, NotImplementedError),
    errors.ReadOnlyError: (errors.H5SceneError, PermissionError),
    errors.BusyError: (errors.H5SceneError, BlockingIOError),
    errors.StorageError: (errors.H5SceneError, OSError),
    errors.FormatError: (errors.H5SceneError, ValueError),
    errors.NotASceneFileError: (errors.FormatError,),
    errors.UnsupportedVersionError: (errors.FormatError,),
    errors.UnsafeFileError: (errors.FormatError,),
    errors.CorruptDataError: (errors.FormatError,),
    errors.RankError: (errors.H5SceneError, RuntimeError),
    errors.InternalError: (errors.H5SceneError,),
}

every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


def test_every_class_is_listed() -> None:
    assert set(CLASSES) == set(PARENTS)


@every_class
def test_parents(cls: type[errors.H5SceneError]) -> None:
    assert cls.__bases__ == PARENTS[cls]


@every_class
def test_message_alone_is_enough(cls: type[errors.H5SceneError]) -> None:
    error = cls("no field 'smok'")
    assert (str(error), error.message) == ("no field 'smok'", "no field 'smok'")
    assert error.file is None
    assert error.location is None


@every_class
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_whole(cls: type[errors.H5SceneError], protocol: int) -> None:
    error = cls("no field 'smok'", file="runs.h5", location="/sim_000000")
    again = pickle.loads(pickle.dumps(error, protocol))
    assert type(again) is cls
    assert str(again) == "no field 'smok'"
    assert (again.message, again.file, again.location) == (
        "no field 'smok'",
        "runs.h5",
        "/sim_000000",
    )


@every_class
def test_what_is_added_on_the_way_survives_pickling(cls: type[errors.H5SceneError]) -> None:
    error = cls("no field 'smok'")
    error.file, error.location = "runs.h5", "/sim_000000"
    again = pickle.loads(pickle.dumps(error))
    assert (again.file, again.location) == ("runs.h5", "/sim_000000")
    assert str(copy.copy(error)) == "no field 'smok'"


def test_errno_survives_pickling() -> None:
    error = errors.StorageError("the disk is full", errno=errno.ENOSPC, file="runs.h5")
    again = pickle.loads(pickle.dumps(error))
    assert again.errno == errno.ENOSPC
    assert (str(again), again.file) == ("the disk is full", "runs.h5")
