"""Scenes as PhiML values: shape, slicing, stacking, mapping, comparing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from phi import math
from phiml.math import batch, concat, stack, unstack, wrap

from tests.contract.fields import assert_same, constant, value_of
from tests.contract.implementations import Implementation


def test_paths_of_a_batch_is_a_tensor_of_strings(
    implementation: Implementation, scenes: Any
) -> None:
    assert isinstance(scenes.paths, math.Tensor)
    assert scenes.paths.shape == batch(batch=3)
    assert list(scenes.paths) == [implementation.path(f"sim_00000{i}") for i in range(3)]


def test_paths_of_a_single_scene_has_no_dims(scene: Any) -> None:
    assert scene.paths.rank == 0
    assert scene.paths.native() == scene.path


def test_path_of_a_batch_is_refused(scenes: Any) -> None:
    with pytest.raises((AssertionError, ValueError)):
        _ = scenes.path


def test_math_shape_is_the_batch(scene: Any, scenes: Any) -> None:
    assert math.shape(scenes) == batch(batch=3)
    assert math.shape(scene).rank == 0


def test_slicing_by_dim_name(implementation: Implementation, scenes: Any) -> None:
    one = scenes.batch[1]
    assert isinstance(one, implementation.Scene)
    assert not one.is_batch
    assert one.path == implementation.path("sim_000001")
    assert scenes.batch[-1].path == implementation.path("sim_000002")


def test_slicing_by_dict(implementation: Implementation, scenes: Any) -> None:
    assert scenes[{"batch": 0}].path == implementation.path("sim_000000")
    assert scenes[{"batch": slice(1, 3)}] == scenes.batch[1:]


def test_slicing_by_range(implementation: Implementation, scenes: Any) -> None:
    part = scenes.batch[:2]
    assert part.shape == batch(batch=2)
    assert list(part.paths) == [
        implementation.path("sim_000000"),
        implementation.path("sim_000001"),
    ]
    assert scenes.batch[::2].shape == batch(batch=2)
    assert scenes.batch[1:2].is_batch


def test_slicing_by_label(implementation: Implementation) -> None:
    scenes = implementation.create(batch(case="low,high"))
    assert scenes.case["high"] == scenes.case[1]
    assert scenes[{"case": "low"}] == scenes.case[0]


def test_slicing_two_dims(implementation: Implementation) -> None:
    scenes = implementation.create(a=2, b=3)
    assert scenes[{"a": 1, "b": 2}].path == implementation.path("sim_000005")
    assert scenes.a[1].shape == batch(b=3)
    assert scenes.b[0].shape == batch(a=2)


def test_slicing_along_another_dim_changes_nothing(scenes: Any) -> None:
    assert scenes.other[0] == scenes


def test_slicing_out_of_range_is_an_index_error(scenes: Any) -> None:
    with pytest.raises(IndexError):
        scenes.batch[3]


def test_dims_have_sizes(scenes: Any) -> None:
    assert scenes.batch.size == 3
    assert scenes.batch.exists
    assert not scenes.other.exists


def test_iterating_along_a_dim(implementation: Implementation, scenes: Any) -> None:
    assert [s.path for s in scenes.batch] == [
        implementation.path(f"sim_00000{i}") for i in range(3)
    ]


def test_unknown_private_names_are_attribute_errors(scene: Any) -> None:
    with pytest.raises(AttributeError):
        _ = scene._no_such_thing
    assert not hasattr(scene, "__array__")


def test_scene_stack(implementation: Implementation) -> None:
    a, b = implementation.create(), implementation.create()
    assert implementation.Scene.stack(a, b).shape == batch(batch=2)
    stacked = implementation.Scene.stack(b, a, dim=batch("run"))
    assert stacked.shape == batch(run=2)
    assert stacked.run[0] == b
    assert stacked.run[1] == a
    labelled = implementation.Scene.stack(a, b, dim=batch(case="u,v"))
    assert labelled.case["v"] == b


def test_stacking_batches_adds_a_dim(implementation: Implementation) -> None:
    first, second = implementation.create(batch=2), implementation.create(batch=2)
    stacked = implementation.Scene.stack(first, second, dim=batch("run"))
    assert set(stacked.shape.names) == {"run", "batch"}
    assert stacked.run[1].batch[0] == second.batch[0]


def test_math_stack(implementation: Implementation) -> None:
    a, b = implementation.create(), implementation.create()
    stacked = stack([a, b], batch("b"))
    assert isinstance(stacked, implementation.Scene)
    assert stacked.shape == batch(b=2)
    assert stacked.b[1] == b
    stacked.write(f=constant(1))
    assert value_of(b.read("f")) == 1


# PhiML warns that it cannot tell from the attributes alone whether scenes may be concatenated.
@pytest.mark.filterwarnings("ignore:Failed to concat values using value attributes")
def test_math_concat(implementation: Implementation, scenes: Any) -> None:
    joined = concat([scenes.batch[2:], scenes.batch[:2]], "batch")
    assert list(joined.paths) == [implementation.path(f"sim_00000{i}") for i in (2, 0, 1)]


def test_math_unstack(scenes: Any) -> None:
    parts = unstack(scenes, "batch")
    assert list(parts) == [scenes.batch[i] for i in range(3)]


def test_math_slice_rename_and_expand(scenes: Any) -> None:
    assert math.slice(scenes, {"batch": 2}) == scenes.batch[2]
    renamed = math.rename_dims(scenes, "batch", batch("run"))
    assert renamed.shape == batch(run=3)
    assert renamed.run[1] == scenes.batch[1]
    expanded = math.expand(scenes.batch[0], batch(copies=2))
    assert expanded.shape == batch(copies=2)
    assert expanded.copies[1] == scenes.batch[0]


def test_math_map_goes_over_single_scenes(scenes: Any) -> None:
    paths = math.map(lambda single: single.path, scenes)
    assert list(paths) == list(scenes.paths)


def test_math_map_with_a_tensor(scenes: Any) -> None:
    def run(single: Any, start: Any) -> float:
        single.write(f=constant(float(start)))
        return float(start)

    result = math.map(run, scenes, wrap([1.0, 2.0, 4.0], batch("batch")))
    assert list(result) == [1, 2, 4]
    assert [value_of(scenes.batch[i].read("f")) for i in range(3)] == [1, 2, 4]


def test_scenes_name_their_attributes_for_phiml(
    implementation: Implementation, scenes: Any
) -> None:
    assert scenes.__variable_attrs__() == ("paths",)
    assert scenes.__with_attrs__() == scenes
    first = scenes.__with_attrs__(paths=scenes.paths.batch[0])
    assert isinstance(first, implementation.Scene)
    assert first == scenes.batch[0]


def test_equality_is_by_path(implementation: Implementation) -> None:
    a, b = implementation.create(), implementation.create()
    assert a == implementation.Scene.at(a.path)
    assert not a != implementation.Scene.at(a.path)  # noqa: SIM202  # `!=` is what is tested
    assert a != b
    assert a != a.path
    assert a != None  # noqa: E711  # the operator is what is tested


def test_equality_of_batches(implementation: Implementation, scenes: Any) -> None:
    assert scenes == implementation.Scene.at(scenes.paths)
    assert scenes != implementation.create(batch=3)
    assert scenes != scenes.batch[::-1]


def test_repr_names_the_paths(implementation: Implementation, scenes: Any) -> None:
    assert repr(scenes.batch[0]) == repr(implementation.path("sim_000000"))
    assert all(path in repr(scenes) for path in scenes.paths)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_scenes_can_be_copied_and_sent_to_processes(scenes: Any, duplicate: Any) -> None:
    scenes.write(f=constant(1))
    for original in (scenes, scenes.batch[1]):
        again = duplicate(original)
        assert again == original
        assert_same(again.read("f"), original.read("f"))
