"""Rounding to fewer digits: within the bound that the file states, and nothing else changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from h5scene import SceneFile
from h5scene.errors import CorruptDataError, InvalidInputError
from h5scene.format.rounding import digits_by_field, max_relative_error, rounded
from tests.records import centered

FLOATS = ("float16", "float32", "float64")
DIGITS = st.integers(1, 20)


@st.composite
def floats(draw: st.DrawFn) -> Any:
    """Draws floats of any bits: NaN with payloads, subnormal ones, the largest."""
    dtype = np.dtype(draw(st.sampled_from(FLOATS)))
    unsigned = np.dtype(f"u{dtype.itemsize}")
    bits = npst.arrays(unsigned, st.integers(0, 30), elements=npst.from_dtype(unsigned))
    return draw(bits | npst.arrays(dtype, st.integers(0, 30))).view(dtype)


@given(floats(), DIGITS)
@settings(deadline=None)
def test_error_is_within_the_bound(values: Any, digits: int) -> None:
    given_bits = values.tobytes()
    result = rounded(values, digits)
    assert values.tobytes() == given_bits
    assert (result.dtype, result.shape) == (values.dtype, values.shape)
    bound = max_relative_error(values.dtype, digits)
    unsigned = f"u{values.dtype.itemsize}"
    tiny = np.abs(values) < np.finfo(values.dtype).smallest_normal
    kept = ~np.isfinite(values) | tiny
    if bound is None:
        kept = np.ones(values.shape, bool)
        bound = 0.0
    assert np.array_equal(result.view(unsigned)[kept], values.view(unsigned)[kept])
    exact = values[~kept].astype(np.longdouble)
    assert np.all(np.isfinite(result[~kept]))
    assert np.all(np.abs(result[~kept].astype(np.longdouble) - exact) <= bound * np.abs(exact))


@given(floats(), DIGITS)
@settings(deadline=None)
def test_rounding_twice_changes_nothing(values: Any, digits: int) -> None:
    once = rounded(values, digits)
    assert rounded(once, digits).tobytes() == once.tobytes()


@pytest.mark.parametrize("digits", range(1, 20))
@pytest.mark.parametrize("dtype", [*FLOATS, "complex64", "complex128"])
def test_bound_is_half_a_unit_in_the_last_digit(dtype: str, digits: int) -> None:
    bound = max_relative_error(np.dtype(dtype), digits)
    if bound is None:
        assert 10.0**-digits < 4 * np.finfo(dtype).eps
    else:
        assert 0.05 * 10.0**-digits < bound <= 0.5 * 10.0**-digits


def test_last_bits_are_zero_and_ties_go_to_even() -> None:
    values = np.array([1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-11, 1 + 2**-11 + 2**-23], "f4")
    expected = np.array([1, 1 + 2**-9, -1, 1 + 2**-10], "f4")
    assert rounded(values, 3).tolist() == expected.tolist()
    assert not np.any(rounded(np.random.default_rng(0).random(99, "f4"), 3).view("u4") % (1 << 13))


def test_parts_of_complex_numbers_are_rounded_alike() -> None:
    values = np.random.default_rng(0).normal(size=(4, 5, 2)).view(np.complex128)[..., 0]
    result = rounded(values.T, 4)
    assert result.T.real.tolist() == rounded(np.ascontiguousarray(values.real), 4).tolist()
    assert result.T.imag.tolist() == rounded(np.ascontiguousarray(values.imag), 4).tolist()


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64"])
def test_whole_numbers_stay(dtype: str) -> None:
    values = np.arange(200).astype(dtype)
    assert rounded(values, 1) is values
    assert max_relative_error(values.dtype, 1) is None


def test_foreign_byte_order() -> None:
    values = np.random.default_rng(0).random((3, 4)).astype(">f4")
    result = rounded(values, 2)
    assert result.dtype == values.dtype
    assert result.tolist() == rounded(values.astype("=f4"), 2).tolist()


@pytest.mark.parametrize("digits", [0, -1, 1.5, "3", True, None, {"smoke": 0}, {"smoke": None}])
def test_what_is_no_number_of_digits(digits: Any) -> None:
    if digits is None:
        assert digits_by_field(None, ["smoke"]) == {}
        return
    with pytest.raises(InvalidInputError, match="'smoke' must be a whole number, at least 1"):
        digits_by_field(digits, ["smoke"])


def test_digits_of_a_field_that_is_not_written() -> None:
    with pytest.raises(InvalidInputError, match="names 'smok', which is not among"):
        digits_by_field({"smok": 3}, ["smoke", "velocity"])


# --- in a file ------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> SceneFile:
    file = SceneFile(tmp_path / "runs.h5")
    file.create_scene("s")
    return file


@pytest.mark.parametrize("options", [{}, {"compression": None}, {"workers": 3}], ids=str)
@pytest.mark.parametrize("shape", [(5, 7), (60, 70), (900, 1100)], ids=str)
def test_the_file_states_the_bound(tmp_path: Path, options: Any, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype("f4")
    with SceneFile(tmp_path / "runs.h5", **options) as file:
        file.create_scene("s")
        fields = {"lossy": centered(values), "exact": centered(values)}
        file.write_frame(0, {"s": fields}, keep_digits={"lossy": 3})
        bound = file.max_relative_error("s", "lossy", 0)
        assert bound == 2.0**-11
        assert file.max_relative_error("s", "exact", 0) == 0
        assert file.read_frame("s", "exact", 0) == fields["exact"]
        read = file.read_frame("s", "lossy", 0)
        assert read.description == fields["lossy"].description
        assert np.array_equal(read.values, rounded(values, 3))
    with h5py.File(tmp_path / "runs.h5") as h5:
        assert h5["s/lossy/000000"].attrs["max_relative_error"] == bound
        assert list(h5["s/exact/000000"].attrs) == ["checksum"]
        lossy, exact = (h5[f"s/{name}/000000"].id.get_storage_size() for name in fields)
        if "compression" not in options and values.nbytes > 1000:
            assert lossy < 0.8 * exact


def test_digits_that_keep_all_bits_are_not_stated(file: SceneFile) -> None:
    fields = {"f": centered(np.arange(30, dtype="f4").reshape(5, 6)), "i": centered([[1], [2]])}
    file.write_frame(0, {"s": fields}, keep_digits=9)
    assert file.read_frame("s", "f", 0) == fields["f"]
    assert [file.max_relative_error("s", name, 0) for name in fields] == [0, 0]


def test_a_bound_that_is_no_number(file: SceneFile) -> None:
    file.write_frame(0, {"s": {"f": centered()}})
    file.close()
    with h5py.File(file.path, "r+") as h5:
        h5["s/f/000000"].attrs["max_relative_error"] = "none at all"
    with pytest.raises(CorruptDataError, match="largest relative error"):
        SceneFile(file.path).max_relative_error("s", "f", 0)
