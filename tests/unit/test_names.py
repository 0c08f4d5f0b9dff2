"""Names of scenes, fields, frames, curves and attached files: which are allowed and stored how."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h5scene.errors import FieldNotFoundError, InvalidInputError, InvalidNameError
from h5scene.format import names

GIVEN_AND_STORED = {
    "smoke": "smoke",
    "Velocity": "Velocity",
    "noise_data": "noise_data",
    "fluid.velocity": "fluid_velocity",
    "fluid._velocity": "fluid_velocity",
    "_velocity": "velocity",
    "ρ": "rho",
    "Δp": "Deltap",
    "λ2": "lambda2",
    "Λ": "Lambda",
    "my field": "my-field",
    "my  -- \t field": "my-field",
    "  padded  ": "padded",
    "a/b": "ab",
    "p'": "p",
    "Größe": "Größe",
    "u\u0308": "ü",
    "ᄀ!ᅡ": "가",
    "速度": "速度",
    "42": "42",
    "x" * 1024: "x" * 1024,
}


@pytest.mark.parametrize(("given_name", "stored"), GIVEN_AND_STORED.items())
def test_field_name_is_stored_as(given_name: str, stored: str) -> None:
    assert names.field_link(given_name) == stored


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("ab._- /Δς\0\u0308가!")))
@settings(deadline=None, max_examples=300)
def test_a_stored_field_name_is_stored_as_itself(name: str) -> None:
    try:
        link = names.field_link(name)
    except InvalidNameError:
        return
    assert names.field_link(link) == link
    assert all(character.isalnum() or character in "_-" for character in link)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "no letters or digits"),
        ("!?/", "no letters or digits"),
        (".", "no letters or digits"),
        ("  ", "no letters or digits"),
        ("__class__", "reserved"),
        ("!__hidden", "reserved"),
        ("x" * 1025, "1025 bytes, at most 1024"),
        ("ü" * 513, "1026 bytes, at most 1024"),
        (5, "must be a string, not int 5"),
        (None, "must be a string"),
        (b"smoke", "must be a string"),
        ("a\0b", "holds a NUL"),
        ("a\ud800", "no valid Unicode"),
    ],
)
def test_no_field_name(name: Any, says: str) -> None:
    with pytest.raises(InvalidNameError, match=says):
        names.field_link(name)


def test_an_exact_field_name_wins_over_others_that_differ_in_case() -> None:
    links = ["Smoke", "smoke", "SMOKE"]
    assert [names.find_field(links, link, "here") for link in links] == links


def test_one_field_that_differs_in_case_is_found() -> None:
    assert names.find_field(["Velocity", "smoke"], "velocity", "here") == "Velocity"
    assert names.find_field(["velocity"], "Velo!city", "here") == "velocity"


def test_several_fields_that_differ_in_case_are_named() -> None:
    with pytest.raises(FieldNotFoundError, match=r"in here; did you mean one of 'Smoke', 'smoke'"):
        names.find_field(["smoke", "Smoke"], "SMOKE", "here")


def test_no_such_field_says_which_there_are() -> None:
    with pytest.raises(FieldNotFoundError, match=r"no field 'vel' in here; it has 'smoke', 'vel2'"):
        names.find_field(["vel2", "smoke"], "vel", "here")
    with pytest.raises(FieldNotFoundError, match="it has none yet"):
        names.find_field([], "vel", "here")


def test_two_names_for_one_place_are_refused() -> None:
    names.check_distinct(["smoke", "Smoke", "a.b", "ab"])
    with pytest.raises(InvalidNameError, match=r"'a\.b' and 'a_b' are both stored as 'a_b'"):
        names.check_distinct(["a.b", "smoke", "a_b"])


@pytest.mark.parametrize(
    ("frame", "link"),
    [
        (0, "000000"),
        (42, "000042"),
        (999_999, "999999"),
        (1_000_000, "1000000"),
        (10**18 - 1, "9" * 18),
        (np.int16(7), "000007"),
        (np.uint64(7), "000007"),
        (np.asarray(7), "000007"),
    ],
)
def test_frame_name(frame: Any, link: str) -> None:
    assert names.frame_link(frame) == link
    assert names.frame_of_link(link) == int(frame)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (-1, "frame -1 is negative"),
        (10**18, "at most 18 digits"),
        (1.0, "whole number, not float 1.0"),
        ("5", "whole number, not str '5'"),
        (None, "whole number"),
        (np.float64(3), "whole number"),
        ([1], "whole number"),
    ],
)
def test_no_frame_number(frame: Any, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        names.frame_link(frame)


@pytest.mark.parametrize(
    "link",
    [
        *("", "42", "00042", "0000042", "-00042", "+00042", "00004x", "000042\n", " 000042"),
        *("values", "٠٠٠٠٤٢", "000_042", "1" * 19, "0" * 18),
    ],
)
def test_no_name_of_a_frame(link: str) -> None:
    assert names.frame_of_link(link) is None


@given(st.integers(0, 10**18 - 1))
@settings(deadline=None, max_examples=100)
def test_frame_names_lead_back_to_their_numbers(frame: int) -> None:
    link = names.frame_link(frame)
    assert names.frame_of_link(link) == frame
    assert len(link) >= 6


@pytest.mark.parametrize(
    "name",
    ["sim_000000", "Größe 3", "a.b", "...", "ends with space ", "速", "x" * 1024],
)
def test_scene_name(name: str) -> None:
    assert names.scene_link(name) == name


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "not empty"),
        ("  ", "not empty"),
        (None, "must be a string"),
        (7, "must be a string"),
        ("_sim", "reserved"),
        (".", "printable"),
        ("..", "printable"),
        ("a/b", "printable"),
        ("a\\b", "printable"),
        ("a\0b", "printable"),
        ("a\nb", "printable"),
        ("\ud800", "printable"),
        ("ü" * 513, "1026 bytes"),
    ],
)
def test_no_scene_name(name: Any, says: str) -> None:
    with pytest.raises(InvalidNameError, match=says):
        names.scene_link(name)


@pytest.mark.parametrize("name", ["a", "src/plume.py", "a b/c.d/…", ".hidden", "_x", "a" * 1024])
def test_name_of_an_attached_file(name: str) -> None:
    assert names.attached_file_link(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "/etc/passwd", "a//b", "a/", "../a", "a/../b", "a/./b", ".", "a\\b", "a\0", "a\nb"),
        *(None, 5, b"a", "a" * 1025, "\ud800"),
    ],
)
def test_no_name_of_an_attached_file(name: Any) -> None:
    with pytest.raises(InvalidNameError, match="attached file"):
        names.attached_file_link(name)


@pytest.mark.parametrize("name", ["loss", "loss (train)", "_x", "Δ", "a\\b", "step"])
def test_curve_name(name: str) -> None:
    assert names.curve_link(name) == name


@pytest.mark.parametrize(
    "name", ["", "a/b", "/", ".", "..", "a\0", "a\nb", None, 5, "a" * 1025, "\ud800"]
)
def test_no_curve_name(name: Any) -> None:
    with pytest.raises(InvalidNameError, match="curve"):
        names.curve_link(name)


def test_columns_of_curves() -> None:
    assert names.curve_columns("loss", 1) == ("step", "loss")
    assert names.curve_columns("u", 3) == ("step", "u_0", "u_1", "u_2")


def test_numbers_of_scenes() -> None:
    assert names.numbered_scene("sim", 42) == "sim_000042"
    assert names.numbered_scene("sim", 1_234_567) == "sim_1234567"
    assert names.scene_number("sim_000042", "sim") == 42
    assert names.scene_number("sim_7", "sim") == 7
    others = ["sim_backup", "sim_", "sim", "sim2_000001", "sim_1_2", "sim_-1", "sim_٤٢", "asim_1"]
    assert [names.scene_number(link, "sim") for link in others] == [None] * len(others)
    assert names.scene_number("axb_000001", "a.b") is None  # the series is no pattern


def test_long_lists_are_cut() -> None:
    assert names.quoted([f"s{i}" for i in range(10)], most=2) == "'s0', 's1' and 8 more"
    assert names.quoted(["a", "b"], most=2) == "'a', 'b'"
    assert names.listed(["a"]) == "it has 'a'"
    assert names.listed([]) == "it has none yet"
