"""What only `h5scene.Scene` has: attached files, times, curves, transactions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from phiml.math import batch, spatial, wrap

from h5scene.errors import (
    AlreadyExistsError,
    BatchMismatchError,
    InvalidInputError,
    InvalidNameError,
    NotFoundError,
    SceneNotFoundError,
)
from tests.compare import assert_same_field
from tests.contract.fields import centered, constant, described, staggered, value_of
from tests.contract.implementations import H5Scene, same_contents

# --- attached files -------------------------------------------------------------------------------

CONTENTS = {
    "empty": b"",
    "zeros": bytes(5),
    "newlines": b"a\r\nb\n\xff",
    "all-bytes": bytes(range(256)),
    "large": bytes(range(256)) * 4096,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_files_come_back_byte_by_byte(h5scene: H5Scene, content: bytes) -> None:
    scene = h5scene.create()
    assert scene.write_file("a.bin", content) is None
    assert h5scene.Scene.at(scene.path).read_file("a.bin") == content
    assert h5scene.files(scene) == {"a.bin": content}
    stored = h5scene.contents()["sim_000000/_files/a.bin"][1]
    assert stored is not None
    assert stored.dtype == np.uint8


def test_text_is_stored_as_utf_8(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.write_file("notes.txt", "Δp\nΩ")
    assert scene.read_file("notes.txt") == "Δp\nΩ".encode()


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_kinds_of_bytes(h5scene: H5Scene, kind: Any) -> None:
    scene = h5scene.create()
    scene.write_file("a", kind(b"abc"))
    assert scene.read_file("a") == b"abc"


@pytest.mark.parametrize("content", [5, None, 1.5, ["a"], [1, 2]], ids=repr)
def test_a_file_must_be_bytes_or_text(h5scene: H5Scene, content: Any) -> None:
    scene = h5scene.create()
    scene.write_file("a", b"old")
    before = h5scene.contents()
    with pytest.raises(InvalidInputError, match="bytes"):
        scene.write_file("a", content)
    assert same_contents(before, h5scene.contents())


def test_files_are_sorted_names_with_folders(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    assert scene.files == ()
    for name in ("src/plume.py", "b.txt", "src/a/deep/er.py", "ä/ö ü.txt", ".hidden", "a.txt"):
        scene.write_file(name, name)
    expected = (".hidden", "a.txt", "b.txt", "src/a/deep/er.py", "src/plume.py", "ä/ö ü.txt")
    assert scene.files == expected
    assert [scene.read_file(name).decode() for name in expected] == list(expected)


def test_writing_a_file_again_replaces_it(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.write_file("a", b"a longer text")
    scene.write_file("a", b"b")
    assert scene.read_file("a") == b"b"
    assert scene.files == ("a",)


def test_files_do_not_disturb_the_rest_of_the_scene(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.write(f=constant(1))
    scene.put_properties(a=1)
    scene.write_file("f/000000", b"not a field")
    scene.write_file("a", b"not a property")
    assert (scene.fieldnames, scene.frames, scene.properties) == (("f",), (0,), {"a": 1})
    scene.remove_file("f/000000")
    assert value_of(scene.read("f")) == 1


def test_remove_file(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.write_file("src/a.py", b"a")
    scene.write_file("src/b.py", b"b")
    scene.remove_file("src/a.py")
    assert scene.files == ("src/b.py",)
    assert h5scene.files(scene) == {"src/b.py": b"b"}


def test_missing_files_are_not_found(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.write_file("src/a.py", b"a")
    before = h5scene.contents()
    for name in ("src/b.py", "src", "a.py", "src/a.py/b"):
        with pytest.raises(NotFoundError, match=rf"'{name}'.*sim_000000.*'src/a\.py'"):
            scene.read_file(name)
        with pytest.raises(NotFoundError, match=rf"'{name}'"):
            scene.remove_file(name)
    assert same_contents(before, h5scene.contents())


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "../a",
        "a/../b",
        "a/./b",
        ".",
        "..",
        "a//b",
        "a/",
        "a\\b",
        "a\nb",
        "a\x00b",
    ],
)
def test_names_of_files_stay_inside_the_scene(h5scene: H5Scene, name: str) -> None:
    scene = h5scene.create()
    before = h5scene.contents()
    with pytest.raises(InvalidNameError, match="attached file"):
        scene.write_file(name, b"")
    with pytest.raises((InvalidNameError, NotFoundError)):
        scene.read_file(name)
    with pytest.raises((InvalidNameError, NotFoundError)):
        scene.remove_file(name)
    assert same_contents(before, h5scene.contents())


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")])
def test_a_file_is_no_folder(h5scene: H5Scene, first: str, second: str) -> None:
    scene = h5scene.create()
    scene.write_file(first, b"1")
    before = h5scene.contents()
    with pytest.raises(AlreadyExistsError, match=f"{second} to .*would be a file and a directory"):
        scene.write_file(second, b"2")
    assert same_contents(before, h5scene.contents())


def test_files_of_a_batch(h5scene: H5Scene) -> None:
    scenes = h5scene.create(b=2)
    scenes.write_file("a", b"same")
    assert [single.read_file("a") for single in scenes.b] == [b"same", b"same"]
    assert scenes.read_file("a") == b"same"
    scenes.b[0].write_file("only", b"0")
    assert scenes.files == ("a", "only")
    scenes.b[1].write_file("a", b"other")
    with pytest.raises(BatchMismatchError, match=r"'a'.*one scene at a time"):
        scenes.read_file("a")
    before = h5scene.contents()
    with pytest.raises(NotFoundError, match=r"'only'.*sim_000001"):
        scenes.remove_file("only")
    assert same_contents(before, h5scene.contents())
    scenes.remove_file("a")
    assert scenes.files == ("only",)


def test_files_of_a_missing_scene(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.remove()
    calls = (
        lambda: scene.files,
        lambda: scene.read_file("a"),
        lambda: scene.write_file("a", b""),
        lambda: scene.remove_file("a"),
        lambda: scene.copy_src_text("a", ""),
    )
    for call in calls:
        with pytest.raises(SceneNotFoundError, match="sim_000000"):
            call()


# --- times ----------------------------------------------------------------------------------------


def test_times_by_frame(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    assert scene.times == {}
    assert scene.put_time(5, 0.1) is None
    scene.put_time(frame=0, seconds=np.float32(0.5))
    scene.put_time(np.int64(1_000_000), 3)
    scene.put_time(2, wrap(-1.5))
    expected = {0: 0.5, 2: -1.5, 5: 0.1, 1_000_000: 3.0}
    assert scene.times == expected
    assert list(scene.times) == sorted(expected)
    assert all(type(frame) is int and type(time) is float for frame, time in scene.times.items())
    assert h5scene.Scene.at(scene.path).times == expected


def test_a_time_can_be_changed(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    for time in (1.0, 2.0):
        scene.put_time(3, time)
    assert scene.times == {3: 2.0}


def test_times_and_frames_are_independent(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.put_time(7, 0.7)
    assert scene.frames == ()
    scene.write(f=constant(1), frame=7)
    scene.write(f=constant(1), frame=8)
    scene.write(f=constant(2), frame=7)
    assert scene.times == {7: 0.7}
    assert scene.frames == (7, 8)


@pytest.mark.parametrize("frame", [2**53 + 1, 10**18 - 1])
def test_a_time_of_a_frame_that_float64_cannot_tell_from_others_is_refused(
    h5scene: H5Scene, frame: int
) -> None:
    scene = h5scene.create()
    scene.put_time(2**53, 1.5)
    with pytest.raises(InvalidInputError, match=str(2**53)):
        scene.put_time(frame, 2.5)
    assert scene.times == {2**53: 1.5}


def test_times_of_a_batch(h5scene: H5Scene) -> None:
    scenes = h5scene.create(b=2)
    scenes.put_time(0, 0.0)
    scenes.put_time(1, wrap([0.25, 0.5], batch("b")))
    assert scenes.b[1].times == {0: 0.0, 1: 0.5}
    times = scenes.times
    assert list(times) == [0, 1]
    assert times[0] == 0
    assert list(times[1]) == [0.25, 0.5]
    scenes.b[0].put_time(2, 1.0)
    assert list(scenes.times) == [0, 1]  # as complete_frames: those that all scenes have


@pytest.mark.parametrize(
    ("frame", "time"),
    [
        (-1, 0.0),
        (1.5, 0.0),
        ("1", 0.0),
        (0, "late"),
        (0, None),
        (0, float("nan")),
        (0, float("inf")),
        (0, 1j),
        (0, wrap(1j)),
    ],
    ids=repr,
)
def test_times_must_be_numbers(h5scene: H5Scene, frame: Any, time: Any) -> None:
    scene = h5scene.create()
    scene.put_time(3, 1.0)
    before = h5scene.contents()
    with pytest.raises(InvalidInputError):
        scene.put_time(frame, time)
    assert same_contents(before, h5scene.contents())


def test_a_time_with_other_dims_is_refused(h5scene: H5Scene) -> None:
    scenes = h5scene.create(b=2)
    before = h5scene.contents()
    for time in (wrap([1.0, 2.0], batch("other")), wrap([1.0, 2.0, 3.0], batch("b"))):
        with pytest.raises(BatchMismatchError):
            scenes.put_time(0, time)
    assert same_contents(before, h5scene.contents())


# --- curves ---------------------------------------------------------------------------------------


def test_curves_have_the_form_of_load_scalars(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    assert dict(scene.curves) == {}
    for step, loss in ((0, 4.5), (1, 2.25), (10, 0.1)):
        assert scene.log_scalars(step, loss=loss) is None
    curve = h5scene.Scene.at(scene.path).curves["loss"]
    assert described(curve.shape) == {
        ("iteration", "spatial", "3", None),
        ("vector", "channel", "2", ("steps", "loss")),
    }
    assert list(curve.vector["steps"]) == [0, 1, 10]
    assert list(curve.vector["loss"]) == [4.5, 2.25, 0.1]


def test_several_curves_at_once(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.log_scalars(0, loss=1.0, residual=np.float32(0.5))
    scene.log_scalars(1, loss=2)
    scene.log_scalars(2, loss=wrap(3.0), residual=True)
    assert sorted(scene.curves) == ["loss", "residual"]
    assert list(scene.curves["loss"].vector["loss"]) == [1, 2, 3]
    assert list(scene.curves["residual"].vector["steps"]) == [0, 2]
    assert list(scene.curves["residual"].vector["residual"]) == [0.5, 1]


def test_a_curve_may_have_values_that_are_not_finite(h5scene: H5Scene) -> None:
    """A loss that explodes is what one wants to see."""
    scene = h5scene.create()
    for step, loss in enumerate((1.0, np.inf, np.nan)):
        scene.log_scalars(step, loss=loss)
    found = scene.curves["loss"].vector["loss"].numpy("iteration")
    np.testing.assert_array_equal(found, [1.0, np.inf, np.nan])


def test_a_curve_of_one_step(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.log_scalars(3, loss=0.5)
    assert scene.curves["loss"].shape.get_size("iteration") == 1


def test_a_long_curve(h5scene: H5Scene) -> None:
    """Longer than a chunk of the dataset."""
    scene = h5scene.create()
    with scene.transaction():
        for step in range(1100):
            scene.log_scalars(step, loss=step / 4)
    found = scene.curves["loss"].vector["loss"].numpy("iteration")
    np.testing.assert_array_equal(found, np.arange(1100) / 4)


@pytest.mark.parametrize("name", ["CO2", "Δp", "two words", "kinetic.energy", "steps", "_x"])
def test_curve_names_stay_as_they_are(h5scene: H5Scene, name: str) -> None:
    scene = h5scene.create()
    scene.log_scalars(0, **{name: 1.5})
    curve = scene.curves[name]
    assert list(curve.vector[1]) == [1.5]
    assert list(curve.vector[0]) == [0]


def test_curves_of_several_values_a_step(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    for step in range(3):
        scene.log_scalars(step, loss=wrap([step + 0.25, step + 0.5], batch("batch")))
    curve = scene.curves["loss"]
    assert set(curve.shape.names) == {"iteration", "vector", "batch"}
    assert list(curve.vector["loss"].batch[1]) == [0.5, 1.5, 2.5]
    assert list(curve.vector["steps"].batch[1]) == [0, 1, 2]


def test_curves_of_a_batch_of_scenes(h5scene: H5Scene) -> None:
    scenes = h5scene.create(b=2)
    for step in range(3):
        scenes.log_scalars(step, loss=wrap([1.0 * step, 10.0 * step], batch("b")), same=7)
    assert list(scenes.b[1].curves["loss"].vector["loss"]) == [0, 10, 20]
    curve = scenes.curves["loss"]
    assert set(curve.shape.names) == {"b", "iteration", "vector"}
    assert list(curve.vector["loss"].b[1]) == [0, 10, 20]
    assert list(scenes.curves["same"].b[0].vector["same"]) == [7, 7, 7]


def test_a_curve_keeps_its_number_of_values(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.log_scalars(0, loss=1.0)
    before = h5scene.contents()
    with pytest.raises(InvalidInputError, match=r"'loss'.*1 values a step, not 2"):
        scene.log_scalars(1, other=1.0, loss=wrap([1.0, 2.0], batch("batch")))
    assert same_contents(before, h5scene.contents())


@pytest.mark.parametrize("name", ["", "a/b", ".", "..", "a\nb", "a\x00b"])
def test_names_that_a_curve_cannot_have(h5scene: H5Scene, name: str) -> None:
    scene = h5scene.create()
    before = h5scene.contents()
    with pytest.raises(InvalidNameError, match="name of a curve"):
        scene.log_scalars(0, **{"fine": 1.0, name: 1.0})
    assert same_contents(before, h5scene.contents())


@pytest.mark.parametrize(
    "value",
    ["high", None, [1.0], 1j, wrap(1j), constant],
    ids=["str", "none", "list", "complex", "complex-tensor", "function"],
)
def test_values_of_a_curve_must_be_numbers(h5scene: H5Scene, value: Any) -> None:
    scene = h5scene.create()
    before = h5scene.contents()
    with pytest.raises(InvalidInputError, match="'loss' must be a number"):
        scene.log_scalars(0, fine=1.0, loss=value)
    assert same_contents(before, h5scene.contents())


@pytest.mark.parametrize("step", ["first", None, 1j], ids=repr)
def test_steps_must_be_numbers(h5scene: H5Scene, step: Any) -> None:
    scene = h5scene.create()
    with pytest.raises(InvalidInputError, match="step"):
        scene.log_scalars(step, loss=1.0)
    assert dict(scene.curves) == {}


def test_values_of_a_curve_with_too_many_dims(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    with pytest.raises(BatchMismatchError, match="'loss'"):
        scene.log_scalars(0, loss=centered().values)
    assert dict(scene.curves) == {}


# --- transactions ---------------------------------------------------------------------------------


def test_a_transaction_is_all_or_nothing(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    scene.write(f=constant(1))
    scene.put_properties(a=1)
    before = h5scene.contents()

    def run() -> None:
        with scene.transaction() as inside:
            assert inside == scene
            scene.write(f=constant(2), g=constant(2))
            scene.put_properties(a=2)
            scene.put_time(0, 1.0)
            scene.log_scalars(0, loss=1.0)
            scene.write_file("a", b"")
            assert value_of(scene.read("f")) == 2  # it reads what it has written
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        run()
    assert same_contents(before, h5scene.contents())
    assert value_of(scene.read("f")) == 1
    assert (scene.properties, scene.times, dict(scene.curves)) == ({"a": 1}, {}, {})
    assert (scene.files, scene.fieldnames) == ((), ("f",))


def test_a_transaction_commits_at_its_end(h5scene: H5Scene) -> None:
    scenes = h5scene.create(b=2)
    before = h5scene.contents()
    with scenes.transaction():
        scenes.write(f=constant(1))
        scenes.b[0].put_properties(a=1)
        assert same_contents(before, h5scene.contents())  # nothing is in the file yet
    assert "sim_000001/f/000000" in h5scene.contents()
    assert h5scene.stored_property(scenes.b[0], "a") == 1


def test_an_error_that_is_caught_inside_does_not_end_the_transaction(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    with scene.transaction():
        scene.write(f=constant(1))
        with pytest.raises(InvalidInputError):
            scene.write(f=constant(2), frame=-1)
        with pytest.raises(InvalidInputError):
            scene.put_properties(bad=object())
        scene.write(g=constant(3))
    assert value_of(scene.read("f")) == 1
    assert value_of(scene.read("g")) == 3


def test_what_is_remembered_of_a_scene_goes_with_it(h5scene: H5Scene) -> None:
    """Kinds and spellings of fields are cached; a new scene under an old name has others."""
    scene, other = h5scene.create(), h5scene.Scene(h5scene.path("sim_000000"))
    scene.write({"f": centered(), "a b": constant(1)})
    assert_same_field(other.read("f"), centered())
    scene.rename("best")
    h5scene.create().write({"f": staggered(), "a-b": constant(2)})
    assert_same_field(other.read("f"), staggered())
    other.remove()
    other.mkdir()
    other.write({"f": centered(), "A-b": constant(3)})
    assert_same_field(scene.read("f"), centered())
    assert scene.fieldnames == ("A-b", "f")


# --- properties -----------------------------------------------------------------------------------


def test_remove_property(h5scene: H5Scene) -> None:
    scenes = h5scene.create(b=2)
    scenes.put_properties(a=1, b=2)
    scenes.remove_property("a")
    assert scenes.properties == {"b": 2}
    scenes.b[0].remove_property("b")
    assert scenes.b[1].properties == {"b": 2}


def test_properties_that_fit_no_attribute(h5scene: H5Scene) -> None:
    """Very long ones, odd names, and those named like h5scene's own attributes."""
    scene = h5scene.create()
    scene.put_properties(plain=1)
    odd = {
        "long": "x" * 3_000_000,
        "kind": "mine",
        "encoding_version": 7,
        "": "no name",
        "x" * 5000: 1,
        "null\x00null": 2,
        "\udcff": 3,
    }
    scene.put_properties(odd)
    assert scene.properties == {"plain": 1, **odd}
    attrs = h5scene.contents()["sim_000000"][0]
    assert attrs["kind"] == b"scene"
    assert attrs["plain"] in ("1", b"1")
    scene.put_properties(long="short", kind=None)
    assert scene.properties == {"plain": 1, **odd, "long": "short", "kind": None}
    assert h5scene.contents()["sim_000000"][0]["long"] in ('"short"', b'"short"')
    for name in odd:
        scene.remove_property(name)
    assert scene.properties == {"plain": 1}
    scene.properties = {}
    assert scene.properties == {}
    assert h5scene.contents()["sim_000000"][0]["kind"] == b"scene"


def test_a_tensor_of_strings_is_cut_for_a_batch(h5scene: H5Scene) -> None:
    scenes = h5scene.create(b=2)
    scenes.put_properties(label=wrap(["low", "high"], batch("b")))
    assert scenes.b[1].properties == {"label": "high"}


def test_a_tensor_property_of_another_size_is_refused(h5scene: H5Scene) -> None:
    scenes = h5scene.create(b=2)
    before = h5scene.contents()
    for size in (1, 3):
        value = wrap([1.0] * size, batch("b"))
        with pytest.raises(BatchMismatchError, match=f"'a'.*{size}"):
            scenes.put_properties(good=1, a=value)
    assert same_contents(before, h5scene.contents())


def test_a_tensor_of_strings_cannot_stay_whole(h5scene: H5Scene) -> None:
    scene = h5scene.create()
    with pytest.raises(InvalidInputError, match="'a'"):
        scene.put_properties(a=wrap(["u", "v"], spatial("x")))
    assert scene.properties == {}
