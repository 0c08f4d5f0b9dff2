"""Known differences: properties, each shown on both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from phiml.math import batch, spatial, wrap

from h5scene.errors import (
    BatchMismatchError,
    InvalidInputError,
    InvalidNameError,
    SceneNotFoundError,
)
from tests.contract.fields import assert_same_tensor, centered, random_tensor
from tests.contract.implementations import H5Scene, Implementation, PhiFlow, same_contents
from tests.contract.known_differences import shows


def reopened(implementation: Implementation, scene: Any) -> dict[str, Any]:
    """Returns the properties as a Scene object sees them that has not read any before."""
    return implementation.Scene.at(scene.paths).properties


@shows("numpy-properties")
class TestNumpyProperties:
    everywhere: ClassVar[dict[str, Any]] = {
        "int16": np.int16(-3),
        "uint8": np.uint8(3),
        "bool": np.bool_(True),
        "array": np.array([1.5, 2.5], np.float32),
        "in-list": [np.float32(1.5)],
        "in-dict": {"a": np.int64(1)},
    }

    @pytest.mark.parametrize("value", [np.float32(1.5), np.int64(3)], ids=["float32", "int64"])
    def test_phi(self, phi: PhiFlow, value: Any) -> None:
        with pytest.raises(TypeError, match="not JSON serializable"):
            phi.create().put_property("a", value)

    @pytest.mark.parametrize("value", everywhere.values(), ids=everywhere)
    def test_phi_with_either_function(self, phi: PhiFlow, value: Any) -> None:
        with pytest.raises(TypeError, match="not JSON serializable"):
            phi.create().put_properties(a=value)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        for key, value in {
            **self.everywhere,
            "float16": np.float16(1.5),
            "float32": np.float32(0.1),
            "float64": np.float64(0.1),
            "int64": np.int64(3),
        }.items():
            scene.put_property(key, value)
        assert reopened(h5scene, scene) == {
            "int16": -3,
            "uint8": 3,
            "bool": True,
            "array": [1.5, 2.5],
            "in-list": [1.5],
            "in-dict": {"a": 1},
            "float16": 1.5,
            "float32": float(np.float32(0.1)),
            "float64": 0.1,
            "int64": 3,
        }
        assert h5scene.stored_property(scene, "float32") == float(np.float32(0.1))
        assert type(reopened(h5scene, scene)["bool"]) is bool


@shows("nested-tensors")
class TestNestedTensors:
    values: ClassVar[dict[str, Callable[[], Any]]] = {
        "in-list": lambda: [wrap([1.0, 2.0], spatial("x"))],
        "in-dict": lambda: {"t": wrap([1.0, 2.0], spatial("x"))},
        "complex": lambda: 1 + 2j,
    }

    @pytest.mark.parametrize("name", values)
    def test_phi(self, phi: PhiFlow, name: str) -> None:
        with pytest.raises(TypeError, match="not JSON serializable"):
            phi.create().put_properties(a=self.values[name]())

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        tensor = random_tensor(spatial(x=2))
        scene.put_properties(in_list=[1, tensor], in_dict={"t": {"u": tensor}}, number=1 + 2j)
        scene.put_properties(complex_tensor=random_tensor(spatial(x=2), dtype=np.complex64))
        found = reopened(h5scene, scene)
        assert_same_tensor(found["in_list"][1], tensor)
        assert_same_tensor(found["in_dict"]["t"]["u"], tensor)
        assert found["number"] == 1 + 2j
        expected = random_tensor(spatial(x=2), dtype=np.complex64)
        assert_same_tensor(found["complex_tensor"], expected)

    def test_h5scene_cuts_them_for_a_batch(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=2)
        scenes.put_properties(a={"t": [wrap([1.5, 2.5], batch("b")), "x"]})
        assert reopened(h5scene, scenes.b[1]) == {"a": {"t": [2.5, "x"]}}


@shows("precision-of-properties")
class TestPrecisionOfProperties:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.put_properties(a=random_tensor(spatial(x=3), dtype=np.float64))
        assert reopened(phi, scene)["a"].numpy("x").dtype == np.float32

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "bool"])
    def test_h5scene(self, h5scene: H5Scene, dtype: str) -> None:
        scene = h5scene.create()
        tensor = random_tensor(spatial(x=3), dtype=dtype)
        scene.put_properties(a=tensor)
        assert_same_tensor(reopened(h5scene, scene)["a"], tensor)


UNSTORABLE: dict[str, Any] = {
    "object": object(),
    "set": {1},
    "bytes": b"x",
    "function": len,
    "in-list": [1, {2}],
    "in-dict": {"a": object()},
    "dict-key": {(1, 2): 3},
}


@shows("failed-property")
class TestFailedProperty:
    @pytest.mark.parametrize("value", UNSTORABLE.values(), ids=UNSTORABLE)
    def test_phi(self, phi: PhiFlow, value: Any) -> None:
        scene = phi.create()
        scene.put_property("a", 1)
        with pytest.raises(TypeError):
            scene.put_property("bad", value)
        with pytest.raises(ValueError, match="Expecting"):
            reopened(phi, scene)

    @pytest.mark.parametrize("value", UNSTORABLE.values(), ids=UNSTORABLE)
    def test_h5scene(self, h5scene: H5Scene, value: Any) -> None:
        scenes = h5scene.create(b=2)
        scenes.put_properties(a=1, bad=2)
        before = h5scene.contents()
        calls = [
            lambda: scenes.put_property("bad", value),
            lambda: scenes.put_properties(good=1, bad=value, ugly=2),
            lambda: scenes.put_properties({"bad": value}),
            lambda: setattr(scenes, "properties", {"good": 1, "bad": value}),
            lambda: scenes.properties.update(good=1, bad=value),
            lambda: scenes.b[0].properties.__setitem__("bad", value),
        ]
        for call in calls:
            with pytest.raises(InvalidInputError, match=r"property 'bad'.* JSON"):
                call()
            assert same_contents(before, h5scene.contents())
            assert scenes.properties == {"a": 1, "bad": 2}

    def test_h5scene_of_a_value_that_holds_itself(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        value: list[Any] = []
        value.append(value)
        with pytest.raises(InvalidInputError, match="holds itself"):
            scene.put_property("bad", value)
        assert scene.properties == {}

    def test_h5scene_of_a_field(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        with pytest.raises(InvalidInputError, match="property 'bad'"):
            scene.put_property("bad", centered())
        assert scene.properties == {}


@shows("properties-are-live")
class TestPropertiesAreLive:
    def test_phi(self, phi: PhiFlow) -> None:
        one, other = phi.create(), phi.Scene.at(phi.parent, 0)
        assert other.properties == {}
        one.put_property("a", 1)
        assert other.properties == {}
        other.put_property("b", 2)
        assert reopened(phi, one) == {"b": 2}  # `a` is lost

    def test_h5scene(self, h5scene: H5Scene) -> None:
        one, other = h5scene.create(), h5scene.Scene.at(h5scene.parent, 0)
        assert other.properties == {}
        one.put_property("a", 1)
        assert other.properties == {"a": 1}
        other.put_property("b", 2)
        assert one.properties == {"a": 1, "b": 2}
        assert reopened(h5scene, one) == {"a": 1, "b": 2}

    def test_phi_returns_what_it_was_given(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.put_properties(a=(1, 2))
        assert scene.properties == {"a": (1, 2)}

    def test_h5scene_returns_what_is_stored(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.put_properties(a=(1, 2))
        assert scene.properties == {"a": [1, 2]}

    def test_h5scene_keeps_a_dict_that_was_read_as_it_was(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.put_properties(a=1)
        found = scene.properties
        scene.put_properties(a=2)
        assert found == {"a": 1}


@shows("properties-item-assignment")
class TestPropertiesItemAssignment:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.properties["a"] = 1
        assert scene.properties == {"a": 1}
        assert reopened(phi, scene) == {}

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.properties["a"] = 1
        assert h5scene.stored_property(scene, "a") == 1
        properties = scene.properties
        properties["b"] = np.float32(0.5)
        properties.update({"c": [1]}, d=None)
        properties |= {"e": 5}
        assert properties.setdefault("a", 7) == 1
        assert properties.setdefault("f", 7) == 7
        assert reopened(h5scene, scene) == {"a": 1, "b": 0.5, "c": [1], "d": None, "e": 5, "f": 7}
        assert properties == reopened(h5scene, scene)
        del properties["a"]
        assert properties.pop("b") == 0.5
        assert properties.pop("b", "gone") == "gone"
        assert reopened(h5scene, scene) == {"c": [1], "d": None, "e": 5, "f": 7}
        with pytest.raises(KeyError):
            del properties["a"]
        properties.popitem()
        assert len(reopened(h5scene, scene)) == 3
        assert properties == reopened(h5scene, scene)
        properties.clear()
        assert reopened(h5scene, scene) == {}
        assert "a" not in h5scene.contents()["sim_000000"][0]

    def test_h5scene_of_a_batch(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=2)
        scenes.properties["a"] = wrap([1, 2], batch("b"))
        scenes.properties["c"] = 3
        assert reopened(h5scene, scenes.b[1]) == {"a": 2, "c": 3}
        del scenes.properties["a"]
        assert reopened(h5scene, scenes.b[0]) == {"c": 3}


@shows("exist-properties-after-reading")
class TestExistPropertiesAfterReading:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        assert scene.properties == {}
        assert scene.exist_properties()

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        assert scene.properties == {}
        assert not scene.exist_properties()


@shows("empty-properties")
class TestEmptyProperties:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.properties = {}
        assert scene.exist_properties()
        assert scene.exists_config()

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.put_properties(a=1)
        assert scene.exist_properties()
        scene.properties = {}
        assert not scene.exist_properties()
        assert not scene.exists_config()


@shows("exists-config-of-batches")
class TestExistsConfigOfBatches:
    def test_phi(self, phi: PhiFlow) -> None:
        with pytest.raises(AssertionError, match="not defined for scene batches"):
            phi.create(b=2).exists_config()

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=2)
        assert not scenes.exists_config()
        scenes.b[1].put_property("a", 1)
        assert scenes.exists_config()


@shows("setting-properties")
class TestSettingProperties:
    def test_phi(self, phi: PhiFlow) -> None:
        with pytest.raises(AssertionError, match="not defined for scene batches"):
            phi.create(b=2).properties = {"a": 1}

    def test_phi_with_a_tensor(self, phi: PhiFlow) -> None:
        scene = phi.create()
        with pytest.raises(TypeError, match="not JSON serializable"):
            scene.properties = {"a": random_tensor(spatial(x=2))}
        with pytest.raises(ValueError, match="Expecting"):
            reopened(phi, scene)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=2)
        scenes.put_properties(old=1)
        tensor = random_tensor(spatial(x=2))
        scenes.properties = {"a": tensor, "n": wrap([1, 2], batch("b")), "f": np.float32(0.5)}
        found = reopened(h5scene, scenes.b[1])
        assert set(found) == {"a", "n", "f"}
        assert_same_tensor(found["a"], tensor)
        assert (found["n"], found["f"]) == (2, 0.5)


@shows("properties-of-a-batch-of-one")
class TestPropertiesOfABatchOfOne:
    def test_phi(self, phi: PhiFlow) -> None:
        with pytest.raises(TypeError):
            phi.create(b=1).put_property("a", 1)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=1)
        scenes.put_properties(a=1, n=wrap([5], batch("b")))
        assert scenes.properties == {"a": 1, "n": 5}


@shows("property-in-some-scenes")
class TestPropertyInSomeScenes:
    def test_phi(self, phi: PhiFlow) -> None:
        scenes = phi.create(b=2)
        scenes.b[0].put_property("a", 1)
        with pytest.raises(AssertionError, match="'a'"):
            _ = scenes.properties

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=2)
        scenes.b[0].put_property("a", 1)
        with pytest.raises(BatchMismatchError, match=r"'a'.* 1 of 2 scenes; .*one scene at a time"):
            _ = scenes.properties
        # Setting it in all needs no reading, and repairs it.
        scenes.put_property("a", 2)
        assert scenes.properties == {"a": 2}


@shows("property-names")
class TestPropertyNames:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.put_properties({1: "a"})
        assert scene.properties == {1: "a"}
        assert reopened(phi, scene) == {"1": "a"}

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        before = h5scene.contents()
        with pytest.raises(InvalidNameError, match="must be a string, not int 1"):
            scene.put_properties({"fine": 0, 1: "a"})
        assert same_contents(before, h5scene.contents())


@shows("properties-of-a-missing-scene")
class TestPropertiesOfAMissingScene:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.remove()
        assert scene.properties == {}

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.remove()
        with pytest.raises(SceneNotFoundError, match="sim_000000"):
            _ = scene.properties
        with pytest.raises(SceneNotFoundError, match="sim_000000"):
            scene.exist_properties()
