"""Writing and reading fields: kinds, dims, boundaries, batches."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from phi.field import CenteredGrid, Field, Noise, StaggeredGrid
from phi.geom import Box
from phiml import math
from phiml.math import batch, channel, spatial, vec, wrap
from phiml.math import extrapolation as ext

from tests.contract.fields import (
    BATCH3,
    VECTOR,
    arrays,
    assert_same,
    centered,
    constant,
    random_tensor,
    staggered,
    value_of,
)
from tests.contract.implementations import Implementation

# --- write and read -------------------------------------------------------------------------------


# PhiFlow's Noise calls a function that PhiML has given another name.
@pytest.mark.filterwarnings("ignore:phiml.math.vec_squared is deprecated")
def test_a_script_as_in_the_readme(implementation: Implementation) -> None:
    scene_class = implementation.Scene
    scene = scene_class.create(implementation.parent, name="sim", copy_calling_script=False)
    data = CenteredGrid(Noise(), ext.PERIODIC, x=8, y=6)
    scene.write(noise_data=data, frame=0)
    scene.put_properties(smoothness=1.5)
    assert_same(scene_class.at(implementation.parent, 0).read("noise_data", frame=0), data)
    scenes = implementation.create(batch(batch=4), name="sim")
    batched_data = StaggeredGrid(Noise(batch(batch=4)), ext.PERIODIC, x=8, y=6)
    scenes.write(batched_noise_data=batched_data, frame=0)
    assert_same(scenes.read("batched_noise_data"), batched_data)
    assert len(scene_class.list(implementation.parent)) == 5
    assert_same(scenes.batch[1].read("batched_noise_data"), batched_data.batch[1])


def test_write_takes_keywords(scene: Any) -> None:
    smoke, velocity = centered(), staggered()
    assert scene.write(smoke=smoke, velocity=velocity, frame=3) is None
    assert_same(scene.read("smoke", frame=3), smoke)
    assert_same(scene.read("velocity", frame=3), velocity)


def test_write_takes_a_dict(scene: Any) -> None:
    smoke, velocity = centered(), staggered()
    scene.write({"smoke": smoke, "velocity": velocity}, 3)
    assert_same(scene.read("smoke", frame=3), smoke)
    assert_same(scene.read("velocity", frame=3), velocity)


def test_write_takes_what_dict_takes(scene: Any) -> None:
    """PhiFlow passes its argument to `dict`: pairs do as well."""
    scene.write([("a", constant(1)), ("b", constant(2))], frame=3)
    assert value_of(scene.read("b", frame=3)) == 2


def test_keywords_win_over_the_dict(scene: Any) -> None:
    given = {"a": constant(1), "b": constant(2)}
    scene.write(given, b=constant(3))
    assert value_of(scene.read("a")) == 1
    assert value_of(scene.read("b")) == 3
    assert list(given) == ["a", "b"]


def test_write_without_fields_writes_nothing(scene: Any) -> None:
    scene.write(frame=3)
    scene.write({}, frame=3)
    scene.write(None, frame=3)
    assert scene.frames == ()
    assert scene.fieldnames == ()


def test_frame_is_zero_unless_given(scene: Any) -> None:
    scene.write(f=constant(1))
    assert scene.frames == (0,)
    assert value_of(scene.read("f")) == 1
    assert value_of(scene.read("f", frame=0)) == 1


def test_write_field_and_read_field(scene: Any) -> None:
    assert scene.write_field(constant(7), "f", 7) is None
    assert value_of(scene.read_field("f", 7)) == 7
    assert value_of(scene.read_array("f", 7)) == 7
    scene.write_field(field=constant(8), name="f", frame=8)
    assert value_of(scene.read_field(name="f", frame=8, convert_to_backend=False)) == 8
    assert value_of(scene.read_array("f", 8, False)) == 8


def test_read_several_gives_a_list(scene: Any) -> None:
    scene.write(a=constant(1), b=constant(2), frame=4)
    for found in (
        scene.read("a", "b", frame=4),
        scene.read(["a", "b"], frame=4),
        scene.read(("a", "b"), frame=4),
    ):
        assert isinstance(found, list)
        assert [value_of(field) for field in found] == [1, 2]
    assert [value_of(field) for field in scene.read("b", "a", "b", frame=4)] == [2, 1, 2]


def test_read_of_a_list_of_one_gives_the_field(scene: Any) -> None:
    scene.write(a=constant(1))
    assert value_of(scene.read(["a"])) == 1
    assert value_of(scene.read(("a",))) == 1


def test_read_of_nothing_is_an_empty_list(scene: Any) -> None:
    assert scene.read() == []
    assert scene.read([]) == []


def test_another_scene_object_reads_it(implementation: Implementation, scene: Any) -> None:
    scene.write(f=constant(1))
    other = implementation.Scene.at(scene.path)
    assert value_of(other.read("f")) == 1
    scene.write(f=constant(2))
    assert value_of(other.read("f")) == 2


def test_overwriting_a_frame_replaces_it(implementation: Implementation, scene: Any) -> None:
    scene.write(f=constant(1), g=constant(1), frame=5)
    scene.write(f=constant(1), frame=6)
    scene.write(f=constant(2), frame=5)
    assert value_of(scene.read("f", frame=5)) == 2
    assert value_of(scene.read("g", frame=5)) == 1
    assert value_of(scene.read("f", frame=6)) == 1
    assert np.unique(implementation.stored_array(scene, "f", 5)) == [2]


def test_a_frame_may_be_of_another_kind_than_the_last(scene: Any) -> None:
    """Size, dims, boundary and type of grid may change between frames, and by overwriting."""
    fields = [
        centered(),
        centered(spatial(x=2)),
        staggered(boundary=ext.PERIODIC),
        centered(VECTOR, boundary=ext.ZERO_GRADIENT, bounds=Box(x=9, y=9)),
        centered(seed=1),
    ]
    for frame, field in enumerate(fields):
        scene.write(f=field, frame=frame)
    for frame, field in enumerate(fields):
        assert_same(scene.read("f", frame=frame), field)
    for field in fields:
        scene.write(f=field, frame=0)
        assert_same(scene.read("f", frame=0), field)
    assert_same(scene.read("f", frame=1), fields[1])


def test_a_scene_that_is_removed_cannot_be_written_or_read(scene: Any) -> None:
    scene.write(f=constant(1))
    scene.remove()
    with pytest.raises(FileNotFoundError):
        scene.write(f=constant(1))
    with pytest.raises(FileNotFoundError):
        scene.read("f")
    with pytest.raises(FileNotFoundError):
        scene.put_property("a", 1)
    with pytest.raises(FileNotFoundError):
        _ = scene.frames


@pytest.mark.parametrize(
    "value",
    [None, 1.0, np.zeros(3, np.float32), "text", {"a": 1}, [constant(1)]],
    ids=["none", "float", "array", "str", "dict", "list"],
)
def test_what_is_no_field_is_a_value_error(scene: Any, value: Any) -> None:
    with pytest.raises(ValueError, match=r"(?i)field"):
        scene.write(f=value)
    with pytest.raises(ValueError, match=r"(?i)field"):
        scene.write_field(value, "f", 0)
    assert scene.fieldnames == ()


def test_reading_what_is_not_there_is_file_not_found(scene: Any) -> None:
    scene.write(smoke=constant(1), frame=2)
    with pytest.raises(FileNotFoundError, match="velocity"):
        scene.read("velocity", frame=2)
    with pytest.raises(FileNotFoundError, match="smoke"):
        scene.read("smoke", frame=3)
    with pytest.raises(FileNotFoundError):
        scene.read("smoke", "velocity", frame=2)


# --- every kind of grid ---------------------------------------------------------------------------

GRIDS = {
    "1d": lambda: centered(spatial(x=5)),
    "2d": centered,
    "3d": lambda: centered(spatial(x=3, y=2, z=2)),
    "4d": lambda: centered(spatial(x=3, y=2, z=2, w=2)),
    "one-cell": lambda: centered(spatial(x=1, y=1)),
    "other-axes": lambda: centered(spatial(q=3, phi=2)),
    "vector": lambda: centered(VECTOR),
    "channels": lambda: centered(channel(species="h,o"), channel(k=2)),
    "batch": lambda: centered(BATCH3),
    "batch-labels": lambda: centered(batch(case="low,high")),
    "all-dims": lambda: centered(batch(a=2), batch(b=2), channel(k=2), VECTOR),
    "batch-of-one": lambda: centered(batch(batch=1)),
    "one-value": lambda: CenteredGrid(
        math.expand(wrap(np.float32(2.5)), spatial(x=3)), 0, Box(x=1)
    ),
    "complex64": lambda: centered(dtype=np.complex64),
    "staggered-1d": lambda: staggered(resolution=spatial(x=4)),
    "staggered-2d": staggered,
    "staggered-3d": lambda: staggered(resolution=spatial(x=3, y=2, z=2)),
    "staggered-batch": lambda: staggered(BATCH3),
    "staggered-batches": lambda: staggered(batch(a=2), batch(case="u,v")),
}


@pytest.mark.parametrize("make", GRIDS.values(), ids=GRIDS)
def test_grids_come_back_bit_for_bit(implementation: Implementation, scene: Any, make: Any) -> None:
    field = make()
    scene.write(f=field)
    assert_same(implementation.Scene.at(scene.path).read("f"), field)
    assert_same(scene.read("f", convert_to_backend=False), field)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, -0.0, 1e-45], ids=str)
def test_special_floats_come_back(scene: Any, special: float) -> None:
    values = random_tensor(spatial(x=4)).numpy("x")
    values[1] = special
    field = CenteredGrid(wrap(values, spatial("x")), 0, Box(x=1))
    scene.write(f=field)
    assert arrays(scene.read("f"))[""][1].tobytes() == values.tobytes()


@pytest.mark.parametrize(
    "dims",
    [
        (spatial(y=3), batch(b=2), spatial(x=4)),
        (VECTOR, spatial(x=4, y=3)),
        (BATCH3, spatial(x=4, y=3)),
    ],
    ids=["y-b-x", "vector-first", "batch-first"],
)
def test_dims_keep_their_order(scene: Any, dims: Any) -> None:
    field = centered(*dims, bounds=Box(x=1, y=1))
    scene.write(f=field)
    found = scene.read("f")
    assert found.values.shape.names == field.values.shape.names
    assert found.shape.names == field.shape.names


def test_the_array_on_disk_has_the_fields_own_order(implementation: Implementation) -> None:
    scene = implementation.create()
    field = centered(spatial(y=3), VECTOR, spatial(x=4), bounds=Box(x=1, y=1))
    scene.write(f=field)
    stored = implementation.stored_array(scene, "f", 0)
    np.testing.assert_array_equal(stored, field.values.numpy("y,vector,x"))
    assert stored.dtype == np.float32


def test_staggered_grids_are_padded_on_disk(implementation: Implementation) -> None:
    scene = implementation.create()
    field = staggered(boundary=0)
    scene.write(f=field)
    stored = implementation.stored_array(scene, "f", 0)
    np.testing.assert_array_equal(stored, field.staggered_tensor().numpy("x,y,vector"))
    assert stored.shape == (5, 4, 2)


BOUNDARIES: dict[str, Any] = {
    "zero": 0,
    "one": 1.0,
    "periodic": ext.PERIODIC,
    "zero-gradient": ext.ZERO_GRADIENT,
    "symmetric": ext.SYMMETRIC,
    "antisymmetric": ext.ANTISYMMETRIC,
    "reflect": ext.REFLECT,
    "mixed-axes": {"x": 0, "y": ext.PERIODIC},
    "mixed-sides": {"x-": 0, "x+": 1, "y": ext.ZERO_GRADIENT},
    "mixed-signs": {"x": ext.REFLECT, "y-": ext.ZERO_GRADIENT, "y+": -2.5},
}


@pytest.mark.parametrize("boundary", BOUNDARIES.values(), ids=BOUNDARIES)
@pytest.mark.parametrize("make", [centered, staggered])
def test_boundaries_come_back(scene: Any, make: Any, boundary: Any) -> None:
    field = make(boundary=boundary)
    scene.write(f=field)
    assert_same(scene.read("f"), field)


@pytest.mark.parametrize(
    "boundary", [ext.NONE, ext.SYMMETRIC_GRADIENT], ids=["none", "symmetric-gradient"]
)
def test_boundaries_of_centered_grids_come_back(scene: Any, boundary: Any) -> None:
    field = centered(boundary=boundary)
    scene.write(f=field)
    assert_same(scene.read("f"), field)


def test_bounds_come_back(scene: Any) -> None:
    field = centered(bounds=Box(x=(-1.5, 2), y=(0.25, 0.75)))
    scene.write(f=field)
    found = scene.read("f")
    assert_same(found, field)
    assert found.bounds == field.bounds
    np.testing.assert_array_equal(found.dx.numpy("vector"), field.dx.numpy("vector"))


def test_what_is_read_can_be_computed_with(scene: Any) -> None:
    field = staggered(boundary=ext.PERIODIC)
    scene.write(f=field)
    sum_ = scene.read("f") + field
    assert_same(sum_, field * 2)


def test_read_gives_tensors_of_the_default_backend(scene: Any) -> None:
    scene.write(f=centered())
    for convert in (True, False):
        found = scene.read("f", convert_to_backend=convert)
        assert found.values.default_backend.name == "numpy"


def backend_named(name: str) -> Any:
    """Returns a PhiML backend other than NumPy, or skips."""
    pytest.importorskip(name, reason=f"{name} is large, and only installed on request")
    return getattr(importlib.import_module(f"phiml.backend.{name}"), name.upper())


@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")  # PhiML imports torch that way
@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("make", [centered, staggered])
def test_read_converts_to_another_default_backend(scenes: Any, make: Any, name: str) -> None:
    backend = backend_named(name)
    field = make(BATCH3)
    scenes.write(f=field)
    with backend:
        converted = scenes.read("f")
        plain = scenes.read("f", convert_to_backend=False)
    assert converted.values.default_backend.name == name
    assert plain.values.default_backend.name == "numpy"
    assert_same(converted, field)
    assert_same(plain, field)


@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")
@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_field_of_another_backend_can_be_written(scene: Any, name: str) -> None:
    field = centered()
    native = backend_named(name).as_tensor(field.values.numpy("x,y"), convert_external=True)
    scene.write(f=CenteredGrid(wrap(native, spatial("x,y")), 0, field.bounds))
    assert_same(scene.read("f"), field)


# --- batches of scenes ----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [centered, staggered])
def test_a_batch_is_cut_when_written_and_stacked_when_read(scenes: Any, make: Any) -> None:
    field = make(BATCH3)
    scenes.write(f=field, frame=2)
    assert_same(scenes.read("f", frame=2), field)
    for i, single in enumerate(scenes.batch):
        assert_same(single.read("f", frame=2), field.batch[i])
    assert_same(scenes.batch[1:].read("f", frame=2), field.batch[1:])


def test_a_field_without_the_batch_dim_goes_to_every_scene(scenes: Any) -> None:
    field = centered()
    scenes.write(f=field)
    for single in scenes.batch:
        assert_same(single.read("f"), field)
    found = scenes.read("f")
    assert found.shape.get_size("batch") == 3
    for i in range(3):
        assert_same(found.batch[i], field)


def test_dims_that_are_not_of_the_scenes_stay_in_the_field(scenes: Any) -> None:
    field = centered(BATCH3, batch(config=2))
    scenes.write(f=field)
    assert_same(scenes.read("f"), field)
    assert set(scenes.batch[0].read("f").shape.batch.names) == {"config"}


def test_a_single_scene_keeps_all_dims(scene: Any) -> None:
    field = centered(BATCH3)
    scene.write(f=field)
    assert_same(scene.read("f"), field)


def test_two_batch_dims_of_scenes(implementation: Implementation) -> None:
    scenes = implementation.create(a=2, b=2)
    both, only_b, vel = (
        centered(batch(b=2), batch(a=2)),
        centered(batch(b=2)),
        staggered(batch(a=2)),
    )
    scenes.write(both=both, only_b=only_b, vel=vel)
    assert_same(scenes.read("both"), both)
    assert_same(scenes.a[1].b[0].read("both"), both.a[1].b[0])
    assert_same(scenes.a[1].read("both"), both.a[1])
    assert scenes.read("only_b").shape.batch.volume == 4
    assert_same(scenes.a[0].b[1].read("only_b"), only_b.b[1])
    assert_same(scenes.a[1].b[0].read("vel"), vel.a[1])


def test_labels_of_the_scenes_go_to_what_is_read(implementation: Implementation) -> None:
    scenes = implementation.create(batch(case="low,high"))
    scenes.write(f=centered(batch(case="low,high")), g=centered())
    for name in ("f", "g"):
        assert scenes.read(name).shape.get_item_names("case") == ("low", "high")
    assert_same(scenes.case["high"].read("f"), centered(batch(case="low,high")).case["high"])


def test_scenes_along_another_dim_than_they_were_written(
    implementation: Implementation, scenes: Any
) -> None:
    field = centered(BATCH3)
    scenes.write(f=field)
    listed = implementation.Scene.list(implementation.parent, dim=batch("run"))
    found = listed.read("f")
    assert found.shape.get_size("run") == 3
    assert_same(found.run[2], field.batch[2])


def test_a_batch_dim_that_is_not_of_the_scenes_is_stored_in_each(
    implementation: Implementation,
) -> None:
    scenes = implementation.create(more=2)
    for field in (centered(batch(count=2)), staggered(batch(count=2))):
        scenes.write(f=field)
        found = scenes.read("f")
        assert found.shape.batch.volume == 4
        for i in range(2):
            assert_same(found.more[i], field)


def test_scenes_along_a_channel_dim(implementation: Implementation) -> None:
    scenes = implementation.create(channel(species="h,o"))
    field = centered(channel(species="h,o"))
    scenes.write(f=field)
    assert_same(scenes.read("f"), field)
    assert_same(scenes.species["o"].read("f"), field.species["o"])


def test_scenes_along_the_components_of_a_vector(implementation: Implementation) -> None:
    """The bounds have a dim of that name, too, and must keep it."""
    scenes = implementation.create(VECTOR)
    field = centered(VECTOR)
    scenes.write(f=field)
    assert_same(scenes.read("f"), field)
    assert_same(scenes.vector["y"].read("f"), field.vector["y"])


def test_scenes_in_any_order(scenes: Any) -> None:
    field = centered(BATCH3)
    scenes.batch[::-1].write(f=field)
    assert_same(scenes.batch[0].read("f"), field.batch[2])
    assert_same(scenes.batch[::-1].read("f"), field)


def test_scenes_of_several_parents(implementation: Implementation, tmp_path: Any) -> None:
    here, there = implementation.create(), implementation.create(parent=str(tmp_path / "other"))
    both = implementation.Scene.stack(here, there, dim=batch("place"))
    field = centered(batch(place=2))
    both.write(f=field)
    both.put_properties(n=wrap([1, 2], batch("place")))
    assert_same(both.read("f"), field)
    assert_same(there.read("f"), field.place[1])
    assert there.properties["n"] == 2


def test_boundaries_of_scenes_that_differ_are_stacked(scenes: Any) -> None:
    for i, single in enumerate(scenes.batch):
        single.write(f=constant(1, boundary=float(i)))
    boundary = scenes.read("f").boundary
    assert [float(boundary.value.batch[i]) for i in range(3)] == [0, 1, 2]


def test_a_batch_where_one_scene_lacks_the_field_is_refused(scenes: Any) -> None:
    scenes.batch[0].write(f=constant(1))
    with pytest.raises(FileNotFoundError):
        scenes.read("f")


def test_a_batch_of_fields_of_different_sizes_is_refused(scenes: Any) -> None:
    """One Field cannot hold them; each scene still reads its own."""
    for i, single in enumerate(scenes.batch):
        single.write(f=centered(spatial(x=2 + i)))

    def read() -> Any:
        found: Field = scenes.read("f")
        return found.shape, found.values.numpy(found.values.shape)

    with pytest.raises((math.IncompatibleShapes, ValueError, AssertionError)):
        read()
    assert_same(scenes.batch[1].read("f"), centered(spatial(x=3)))


def test_several_fields_of_a_batch_at_once(scenes: Any) -> None:
    smoke, velocity = centered(BATCH3), staggered(BATCH3)
    scenes.write({"smoke": smoke}, velocity=velocity, frame=1)
    found = scenes.read("smoke", "velocity", frame=1)
    assert isinstance(found, list)
    assert_same(found[0], smoke)
    assert_same(found[1], velocity)


def test_vector_boundaries_hold_their_values(scene: Any) -> None:
    field = centered(VECTOR, boundary=vec(x=1.0, y=2.0))
    scene.write(f=field)
    value = scene.read("f").boundary.value
    assert list(value) == [1, 2]
