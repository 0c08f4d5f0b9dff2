"""Field names, as they are given, stored and found; frame numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.contract.fields import constant, value_of

STORED_NAMES = {
    "smoke": "smoke",
    "fluid.velocity": "fluid_velocity",
    "fluid._density": "fluid_density",
    "_density": "density",
    ".density": "density",
    "a.b.c": "a_b_c",
    "a b": "a-b",
    "a - b": "a-b",
    "a\tb": "a-b",
    "  spaces  around ": "spaces-around",
    "a-b": "a-b",
    "x_1": "x_1",
    "x__y": "x__y",
    "smoke.": "smoke_",
    "2nd": "2nd",
    "007": "007",
    "ψ": "psi",
    "δp": "deltap",
    "u·v": "uv",
    "p/ρ": "prho",
    "what?!": "what",
    "c:\\d": "cd",
    "naïve": "naïve",
    "温度": "温度",
}


@pytest.mark.parametrize("name", STORED_NAMES)
def test_names_are_normalised(scene: Any, name: str) -> None:
    scene.write({name: constant(1)}, frame=3)
    assert scene.fieldnames == (STORED_NAMES[name],)
    assert value_of(scene.read(name, frame=3)) == 1
    assert value_of(scene.read(STORED_NAMES[name], frame=3)) == 1
    assert scene.frames == (3,)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Velocity", "velocity"),
        ("velocity", "Velocity"),
        ("VELOCITY", "Velocity"),
        ("fluid.velocity", "fluid_velocity"),
        ("fluid_velocity", "fluid.velocity"),
        ("my field", "My-Field"),
        ("Ω", "omega"),
    ],
)
def test_another_spelling_finds_the_field(scene: Any, written: str, read: str) -> None:
    scene.write({written: constant(1)})
    assert value_of(scene.read(read)) == 1
    assert value_of(scene.read_field(read, 0)) == 1


def test_a_name_may_be_used_again_as_it_was_spelled(scene: Any) -> None:
    for name in ("fluid.velocity", "_density", "a b", "Δp"):
        scene.write({name: constant(1)}, frame=0)
        scene.write({name: constant(2)}, frame=1)
        scene.write({name: constant(3)}, frame=0)
        assert value_of(scene.read(name, frame=0)) == 3
        assert value_of(scene.read(name, frame=1)) == 2


def test_names_that_are_parts_of_each_other_are_different_fields(scene: Any) -> None:
    scene.write(smoke=constant(1), smoke2=constant(2), smok=constant(3), smoke_0=constant(4))
    assert scene.fieldnames == ("smok", "smoke", "smoke2", "smoke_0")
    assert [value_of(f) for f in scene.read("smok", "smoke", "smoke2", "smoke_0")] == [3, 1, 2, 4]


def test_fieldnames_are_sorted(scene: Any) -> None:
    assert scene.fieldnames == ()
    scene.write(c=constant(1), frame=9)
    scene.write(a=constant(1), b=constant(1), frame=3)
    assert scene.fieldnames == ("a", "b", "c")


def test_frames_are_those_of_any_field_sorted(scene: Any) -> None:
    assert scene.frames == ()
    scene.write(a=constant(1), frame=12)
    scene.write(b=constant(1), frame=3)
    scene.write(a=constant(1), b=constant(1), frame=100000)
    assert scene.frames == (3, 12, 100000)
    assert all(type(frame) is int for frame in scene.frames)


def test_complete_frames_are_those_of_all_fields(scene: Any) -> None:
    assert scene.complete_frames == ()
    scene.write(a=constant(1), frame=0)
    assert scene.complete_frames == (0,)
    scene.write(b=constant(1), frame=1)
    assert scene.complete_frames == ()
    scene.write(b=constant(1), frame=0)
    scene.write(a=constant(1), b=constant(1), frame=7)
    assert scene.complete_frames == (0, 7)
    assert scene.frames == (0, 1, 7)


@pytest.mark.parametrize("frame", [0, 1, 42, 999_999])
def test_frames_up_to_six_digits(scene: Any, frame: int) -> None:
    scene.write(f=constant(1), frame=frame)
    assert scene.frames == (frame,)
    assert scene.fieldnames == ("f",)
    assert value_of(scene.read("f", frame=frame)) == 1


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8])
def test_frames_may_be_numpy_integers(scene: Any, kind: Any) -> None:
    scene.write(f=constant(1), frame=kind(12))
    assert scene.frames == (12,)
    assert value_of(scene.read("f", frame=kind(12))) == 1
    assert value_of(scene.read("f", frame=12)) == 1


@pytest.mark.parametrize("frame", [1.0, "1", 1.5], ids=repr)
def test_frames_that_are_no_integers_are_a_value_error(scene: Any, frame: Any) -> None:
    scene.write(f=constant(1), frame=7)
    with pytest.raises(ValueError, match=r".+"):
        scene.write(f=constant(1), frame=frame)
    with pytest.raises(ValueError, match=r".+"):
        scene.read("f", frame=frame)
    assert scene.frames == (7,)


def test_other_files_of_a_scene_are_no_fields(scene: Any) -> None:
    scene.copy_calling_script()
    scene.put_property("velocity", 1)
    scene.write(f=constant(1), frame=4)
    assert scene.fieldnames == ("f",)
    assert scene.frames == (4,)
    assert scene.complete_frames == (4,)
