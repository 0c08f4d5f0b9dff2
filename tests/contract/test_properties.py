"""Properties: what can be stored, how it is read back, alone and in batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from phi import math
from phiml.math import batch, channel, spatial, wrap

from tests.contract.fields import assert_same_tensor, constant, random_tensor
from tests.contract.implementations import Implementation

JSON_VALUES = {
    "int": 3,
    "big-int": 2**70,
    "negative": -1,
    "float": 0.1,
    "tiny-float": 5e-324,
    "string": "two words",
    "empty-string": "",
    "unicode": "Δp in Pa, 温度, 🌊",
    "control-characters": "line\nbreak\ttab \x00 null",
    "true": True,
    "false": False,
    "none": None,
    "list": [1, 2.5, "x", None, [True]],
    "empty-list": [],
    "dict": {"solver": {"name": "CG", "tol": [1e-3, 1e-5]}, "": 0},
    "empty-dict": {},
}


def reopened(implementation: Implementation, scene: Any) -> dict[str, Any]:
    """Returns the properties as a Scene object sees them that has not read any before."""
    return implementation.Scene.at(scene.paths).properties


@pytest.mark.parametrize("value", JSON_VALUES.values(), ids=JSON_VALUES)
def test_json_values_come_back(implementation: Implementation, scene: Any, value: Any) -> None:
    scene.put_properties(a=value)
    found = reopened(implementation, scene)
    assert found == {"a": value}
    assert type(found["a"]) is type(value)
    assert implementation.stored_property(scene, "a") == value  # plain JSON on disk


def test_put_property_is_the_same_for_one(implementation: Implementation, scene: Any) -> None:
    scene.put_property("a", {"b": [1, 2]})
    scene.put_property(key="c", value="d")
    assert reopened(implementation, scene) == {"a": {"b": [1, 2]}, "c": "d"}


def test_tuples_are_lists_in_json(implementation: Implementation, scene: Any) -> None:
    scene.put_properties(a=(1, (2, 3)))
    assert reopened(implementation, scene) == {"a": [1, [2, 3]]}


def test_keys_that_are_numbers_are_strings_in_json(
    implementation: Implementation, scene: Any
) -> None:
    scene.put_properties(a={1: "one"})
    assert reopened(implementation, scene) == {"a": {"1": "one"}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_floats_that_are_not_finite_come_back(
    implementation: Implementation, scene: Any, value: float
) -> None:
    scene.put_properties(a=value)
    np.testing.assert_equal(reopened(implementation, scene)["a"], value)


@pytest.mark.parametrize("key", ["a b", "a/b", "Größe", "_private", "x" * 200, "write", "paths"])
def test_any_string_can_be_a_key(implementation: Implementation, scene: Any, key: str) -> None:
    scene.put_properties({key: 1})
    scene.put_property(key + "2", 2)
    assert reopened(implementation, scene) == {key: 1, key + "2": 2}


@pytest.mark.parametrize(
    "value",
    [np.float16(0.1), np.float32(0.1), np.float64(0.1), np.int32(-3), np.int64(3)],
    ids=lambda value: type(value).__name__,
)
def test_numpy_scalars_become_numbers(
    implementation: Implementation, scene: Any, value: Any
) -> None:
    scene.put_properties(a=value)
    found = reopened(implementation, scene)["a"]
    assert found == value.item()
    assert type(found) is type(value.item())


def test_update_and_keywords(implementation: Implementation, scene: Any) -> None:
    scene.put_properties({"a": 1, "b": 2}, b=3, c=4)
    assert reopened(implementation, scene) == {"a": 1, "b": 3, "c": 4}
    scene.put_properties({"a": 5})
    assert reopened(implementation, scene) == {"a": 5, "b": 3, "c": 4}
    scene.put_properties()
    scene.put_properties({})
    scene.put_properties(None)
    assert reopened(implementation, scene) == {"a": 5, "b": 3, "c": 4}


def test_put_properties_takes_what_dict_takes(implementation: Implementation, scene: Any) -> None:
    scene.put_properties([("a", 1), ("b", 2)], b=3)
    assert reopened(implementation, scene) == {"a": 1, "b": 3}


def test_put_properties_leaves_the_dict_it_was_given_alone(scene: Any) -> None:
    given = {"a": np.float32(1)}
    scene.put_properties(given, b=2)
    assert list(given) == ["a"]
    assert type(given["a"]) is np.float32


def test_the_writer_sees_its_properties(scene: Any) -> None:
    assert scene.properties == {}
    scene.put_properties(a=1)
    assert scene.properties == {"a": 1}
    assert scene.properties["a"] == 1
    assert "a" in scene.properties
    assert "b" not in scene.properties
    assert dict(scene.properties) == {"a": 1}
    assert list(scene.properties.items()) == [("a", 1)]
    assert scene.properties.get("b", 7) == 7


def test_a_missing_property_is_a_key_error(scene: Any) -> None:
    with pytest.raises(KeyError):
        scene.properties["a"]


def test_setting_properties_replaces_them_all(implementation: Implementation, scene: Any) -> None:
    scene.put_properties(a=1, b=2)
    scene.properties = {"c": 3}
    assert scene.properties == {"c": 3}
    assert reopened(implementation, scene) == {"c": 3}
    scene.properties = {}
    assert reopened(implementation, scene) == {}


def test_properties_do_not_disturb_fields(implementation: Implementation, scene: Any) -> None:
    scene.write(f=constant(1))
    scene.put_properties(f="a property with the name of a field")
    scene.properties = {"g": 1}
    assert scene.fieldnames == ("f",)
    assert reopened(implementation, scene) == {"g": 1}


TENSORS = {
    "spatial": lambda: random_tensor(spatial(x=3)),
    "labels": lambda: wrap([1, 2], channel(vector="x,y")),
    "batch": lambda: random_tensor(batch(b=2)),
    "two-dims": lambda: random_tensor(batch(b=2), spatial(x=3)),
    "int": lambda: wrap([1, 2, 3], spatial("x")),
    "bool": lambda: wrap([True, False], spatial("x")),
    "size-one": lambda: random_tensor(spatial(x=1)),
    "size-zero": lambda: random_tensor(spatial(x=0)),
    "one-value": lambda: math.ones(spatial(x=3)),
}


@pytest.mark.parametrize("make", TENSORS.values(), ids=TENSORS)
def test_tensors_come_back(implementation: Implementation, scene: Any, make: Any) -> None:
    tensor = make()
    scene.put_properties(a=tensor, plain=1)
    found = reopened(implementation, scene)
    assert set(found) == {"a", "plain"}
    assert_same_tensor(found["a"], tensor)


@pytest.mark.parametrize("value", [1.5, 3, True], ids=["float", "int", "bool"])
def test_tensors_without_dims_become_numbers(
    implementation: Implementation, scene: Any, value: Any
) -> None:
    scene.put_properties(a=wrap(value))
    found = reopened(implementation, scene)["a"]
    assert found == value
    assert type(found) is type(value)


def test_exist_properties(implementation: Implementation, scene: Any) -> None:
    assert not scene.exist_properties()
    assert not scene.exists_config()
    scene.put_property("a", 1)
    for s in (scene, implementation.Scene.at(scene.path)):
        assert s.exist_properties()
        assert s.exists_config()


# --- batches --------------------------------------------------------------------------------------


def test_a_value_goes_to_every_scene(implementation: Implementation, scenes: Any) -> None:
    scenes.put_properties(a=1, b="same", c=[1, 2], d={"e": None})
    expected = {"a": 1, "b": "same", "c": [1, 2], "d": {"e": None}}
    assert reopened(implementation, scenes) == expected
    for single in scenes.batch:
        assert reopened(implementation, single) == expected


def test_a_tensor_with_the_batch_dim_is_cut(implementation: Implementation, scenes: Any) -> None:
    scenes.put_properties(
        a=wrap([1.5, 2.5, 3.5], batch("batch")), n=wrap([1, 2, 3], batch("batch"))
    )
    assert reopened(implementation, scenes.batch[1]) == {"a": 2.5, "n": 2}
    assert implementation.stored_property(scenes.batch[2], "a") == 3.5
    found = reopened(implementation, scenes)
    assert found["a"].shape == batch(batch=3)
    assert list(found["a"]) == [1.5, 2.5, 3.5]
    assert list(found["n"]) == [1, 2, 3]
    assert found["n"].dtype.kind is int


def test_other_dims_of_a_tensor_stay(implementation: Implementation, scenes: Any) -> None:
    tensor = random_tensor(batch(batch=3), spatial(x=2))
    scenes.put_properties(a=tensor)
    assert_same_tensor(reopened(implementation, scenes.batch[1])["a"], tensor.batch[1])
    assert_same_tensor(reopened(implementation, scenes)["a"], tensor)


def test_a_tensor_without_the_batch_dim_goes_to_every_scene(
    implementation: Implementation, scenes: Any
) -> None:
    tensor = random_tensor(spatial(x=2))
    scenes.put_properties(a=tensor)
    assert_same_tensor(reopened(implementation, scenes.batch[2])["a"], tensor)
    assert_same_tensor(reopened(implementation, scenes)["a"], tensor)


def test_equal_slices_come_back_as_one_value(implementation: Implementation, scenes: Any) -> None:
    scenes.put_properties(a=wrap([2.0, 2.0, 2.0], batch("batch")))
    assert reopened(implementation, scenes) == {"a": 2.0}


def test_different_values_are_stacked(implementation: Implementation, scenes: Any) -> None:
    for i, single in enumerate(scenes.batch):
        single.put_properties(number=i, text="abc"[i], nested={"n": i, "same": 1})
    found = reopened(implementation, scenes)
    assert found["number"].shape == batch(batch=3)
    assert list(found["number"]) == [0, 1, 2]
    assert [found["text"].batch[i].native() for i in range(3)] == ["a", "b", "c"]
    assert list(found["nested"]["n"]) == [0, 1, 2]


def test_int_and_float_stack_to_float(implementation: Implementation, scenes: Any) -> None:
    for single, value in zip(scenes.batch, (1, 1.5, 2), strict=True):
        single.put_property("a", value)
    assert list(reopened(implementation, scenes)["a"]) == [1, 1.5, 2]


def test_two_batch_dims(implementation: Implementation) -> None:
    scenes = implementation.create(a=2, b=2)
    scenes.put_properties(
        only_b=wrap([1, 2], batch("b")), both=wrap([[1, 2], [3, 4]], batch("b,a"))
    )
    assert reopened(implementation, scenes.a[0].b[1]) == {"only_b": 2, "both": 3}
    found = reopened(implementation, scenes)
    assert found["both"].shape == batch(a=2, b=2)
    assert found["both"].a[0].b[1] == 3
    assert found["only_b"].b[1].a[0] == 2


def test_a_property_that_only_some_scenes_have_is_refused(
    implementation: Implementation, scenes: Any
) -> None:
    scenes.batch[0].put_property("solver", 1)
    with pytest.raises((AssertionError, ValueError), match="solver"):
        reopened(implementation, scenes)


def test_exist_properties_of_a_batch(implementation: Implementation, scenes: Any) -> None:
    assert not scenes.exist_properties()
    scenes.put_property("a", 1)
    assert implementation.Scene.at(scenes.paths).exist_properties()
