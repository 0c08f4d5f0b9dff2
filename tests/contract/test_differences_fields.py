"""Known differences: fields, each shown on both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
from phi.field import CenteredGrid, Field, PointCloud
from phi.geom import Box
from phiml import math
from phiml.math import batch, channel, instance, spatial, vec, wrap
from phiml.math import extrapolation as ext

from h5scene.errors import (
    BatchMismatchError,
    FieldNotFoundError,
    FrameNotFoundError,
    H5SceneError,
)
from tests import compare_objects
from tests.compare import assert_same_field, numbers
from tests.contract.fields import (
    VECTOR,
    arrays,
    assert_same,
    assert_same_tensor,
    centered,
    constant,
    random_tensor,
    staggered,
    value_of,
)
from tests.contract.implementations import H5Scene, Implementation, PhiFlow, same_contents
from tests.contract.known_differences import shows
from tests.geometries import polygon_mesh


def written_and_read(implementation: Implementation, field: Any) -> Any:
    """Returns the field as it comes back from a new scene."""
    scene = implementation.create()
    scene.write(f=field)
    return implementation.Scene.at(scene.path).read("f")


def dtype_of(field: Any) -> str:
    """Returns the NumPy dtype of the values."""
    return arrays(field)[""][1].dtype.name


@shows("precision")
class TestPrecision:
    returned: ClassVar = {
        "float16": "float32",
        "float64": "float32",
        "complex128": "complex64",
    }

    @pytest.mark.parametrize("dtype", returned)
    def test_phi(self, phi: PhiFlow, dtype: str) -> None:
        assert dtype_of(written_and_read(phi, centered(dtype=dtype))) == self.returned[dtype]

    def test_phi_at_another_precision(self, phi: PhiFlow) -> None:
        with math.precision(64):
            assert dtype_of(written_and_read(phi, centered(dtype="float32"))) == "float64"

    @pytest.mark.parametrize("precision", [16, 32, 64])
    @pytest.mark.parametrize("dtype", ["float32", *returned])
    def test_h5scene(self, h5scene: H5Scene, dtype: str, precision: int) -> None:
        field = centered(dtype=dtype)
        with math.precision(precision):
            found = written_and_read(h5scene, field)
        assert dtype_of(found) == dtype
        assert_same_field(found, field)
        stored = h5scene.contents()["sim_000000/f/000000"][1]
        assert stored is not None
        assert stored.dtype == np.dtype(dtype)

    @pytest.mark.parametrize("precision", [16, 64])
    def test_h5scene_staggered(self, h5scene: H5Scene, precision: int) -> None:
        field = staggered()
        with math.precision(precision):
            found = written_and_read(h5scene, field)
        assert_same_field(found, field)


@shows("integers-and-booleans")
class TestIntegersAndBooleans:
    """`CenteredGrid(...)` makes floats of them; `field.with_values(...)` and `field > 0` do not."""

    def make(self, dtype: str) -> Any:
        field = centered().with_values(random_tensor(spatial(x=4, y=3), dtype=dtype))
        assert dtype_of(field) == dtype
        return field

    @pytest.mark.parametrize("dtype", ["bool", "int32", "int64"])
    def test_phi(self, phi: PhiFlow, dtype: str) -> None:
        assert dtype_of(written_and_read(phi, self.make(dtype))) == "float32"

    @pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "int32", "int64", "uint8"])
    def test_h5scene(self, h5scene: H5Scene, dtype: str) -> None:
        field = self.make(dtype)
        assert_same_field(written_and_read(h5scene, field), field)


@shows("precision-of-bounds")
class TestPrecisionOfBounds:
    def make(self) -> Any:
        corners = [wrap(np.array(c, np.float64), VECTOR) for c in ([-0.1, 0.1], [0.7, 1 / 3])]
        return centered(bounds=Box(*corners))

    def test_phi(self, phi: PhiFlow) -> None:
        field = self.make()
        assert numbers(field.bounds.lower).dtype == np.float64
        found = written_and_read(phi, field)
        assert numbers(found.bounds.lower).dtype == np.float32

    @pytest.mark.parametrize("precision", [32, 64])
    def test_h5scene(self, h5scene: H5Scene, precision: int) -> None:
        field = self.make()
        with math.precision(precision):
            assert_same_field(written_and_read(h5scene, field), field)

    @pytest.mark.parametrize(
        "bounds",
        [{"x": 1}, {"x": 1.0}, {"x": (0.1, 1)}, {"x": 2, "y": 1}, {"x": 2, "y": 0.1}],
        ids=str,
    )
    def test_h5scene_of_numbers(self, h5scene: H5Scene, bounds: dict[str, Any]) -> None:
        box = Box(**bounds)
        field = centered(spatial(**dict.fromkeys(bounds, 3)), bounds=box)
        assert_same_field(written_and_read(h5scene, field), field)


@shows("batched-bounds")
class TestBatchedBounds:
    def make(self) -> Any:
        return centered(batch(k=2), bounds=Box(x=wrap([1.0, 2.0], batch("k")), y=1))

    def test_phi(self, phi: PhiFlow) -> None:
        with pytest.raises(AssertionError):
            phi.create().write(f=self.make())

    def test_h5scene(self, h5scene: H5Scene) -> None:
        field = self.make()
        assert_same_field(written_and_read(h5scene, field), field)
        scenes = h5scene.create(k=2)
        scenes.write(f=field)
        assert_same(scenes.read("f"), field)
        for k in range(2):
            upper = scenes.k[k].read("f").bounds.upper
            assert list(upper) == [k + 1, 1]

    def test_h5scene_where_only_the_bounds_have_the_dim(self, h5scene: H5Scene) -> None:
        field = centered(bounds=Box(x=wrap([1.0, 2.0], batch("k")), y=1))
        assert_same_field(written_and_read(h5scene, field), field)
        scenes = h5scene.create(k=2)
        scenes.write(f=field)
        assert list(scenes.k[1].read("f").bounds.upper) == [2, 1]


@shows("bounds-of-batches")
class TestBoundsOfBatches:
    def scenes(self, implementation: Implementation) -> Any:
        scenes = implementation.create(b=2)
        scenes.b[0].write(f=centered(bounds=Box(x=1, y=1)))
        scenes.b[1].write(f=centered(bounds=Box(x=2, y=1)))
        return scenes

    def test_phi(self, phi: PhiFlow) -> None:
        upper = self.scenes(phi).read("f").bounds.upper
        assert upper.shape.names == ("vector",)
        assert list(upper) == [1, 1]

    def test_h5scene(self, h5scene: H5Scene) -> None:
        found = self.scenes(h5scene).read("f")
        assert set(found.bounds.upper.shape.names) == {"b", "vector"}
        for i in range(2):
            assert list(found.bounds.upper.b[i]) == [i + 1, 1]
            assert_same(found.b[i], centered(bounds=Box(x=i + 1, y=1)))


@shows("boundary-of-batches")
class TestBoundaryOfBatches:
    def scenes(self, implementation: Implementation) -> Any:
        scenes = implementation.create(b=2)
        for i in range(2):
            boundary = {"x": float(i), "y": ext.PERIODIC}
            scenes.b[i].write(f=centered(boundary=boundary))
        return scenes

    # PhiML warns before it gives up.
    @pytest.mark.filterwarnings("ignore:Failed to concat values using value attributes")
    def test_phi(self, phi: PhiFlow) -> None:
        scenes = self.scenes(phi)
        with pytest.raises(Exception, match="values") as caught:
            scenes.read("f")
        assert type(caught.value).__module__.startswith("phiml.")

    def test_h5scene(self, h5scene: H5Scene) -> None:
        boundary = self.scenes(h5scene).read("f").boundary
        assert boundary.ext["y"] == ext.PERIODIC
        assert [float(boundary.ext["x"].value.b[i]) for i in range(2)] == [0, 1]


@shows("order-of-stacked-dims")
class TestOrderOfStackedDims:
    def names(self, implementation: Implementation) -> tuple[str, ...]:
        scenes = implementation.create(channel(k=2))
        scenes.write(f=centered())
        return tuple(scenes.read("f").shape.names)

    def test_phi(self, phi: PhiFlow) -> None:
        assert self.names(phi) == ("x", "y", "k")

    def test_h5scene(self, h5scene: H5Scene) -> None:
        assert self.names(h5scene) == ("k", "x", "y")


@shows("different-kinds-of-boundary")
class TestDifferentKindsOfBoundary:
    def scenes(self, implementation: Implementation) -> Any:
        scenes = implementation.create(b=2)
        scenes.b[0].write(f=centered(boundary=0))
        scenes.b[1].write(f=centered(boundary=ext.PERIODIC))
        return scenes

    # PhiML warns before it gives up.
    @pytest.mark.filterwarnings("ignore:Failed to concat values using value attributes")
    def test_phi(self, phi: PhiFlow) -> None:
        scenes = self.scenes(phi)
        with pytest.raises(Exception, match=r"values") as caught:
            scenes.read("f")
        assert type(caught.value).__module__.startswith("phiml.")

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = self.scenes(h5scene)
        with pytest.raises(
            BatchMismatchError, match=r"boundary along 'b'; read them one at a time"
        ):
            scenes.read("f")
        assert scenes.b[1].read("f").boundary == ext.PERIODIC


@shows("different-sizes")
class TestDifferentSizes:
    def scenes(self, implementation: Implementation) -> Any:
        scenes = implementation.create(b=2)
        for i in range(2):
            scenes.b[i].write(f=centered(spatial(x=3 + i)))
        return scenes

    def test_phi(self, phi: PhiFlow) -> None:
        scenes = self.scenes(phi)
        with pytest.raises(math.IncompatibleShapes):
            scenes.read("f").values.numpy("b,x")

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = self.scenes(h5scene)
        with pytest.raises(BatchMismatchError, match="along 'b'; read them one at a time"):
            scenes.read("f")
        assert_same(scenes.b[1].read("f"), centered(spatial(x=4)))

    def test_h5scene_of_different_grids(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=2)
        scenes.b[0].write(f=centered(VECTOR))
        scenes.b[1].write(f=staggered())
        with pytest.raises(BatchMismatchError, match=r"StaggeredGrid.*CenteredGrid"):
            scenes.read("f")


@shows("tensor-boundary")
class TestTensorBoundary:
    values: ClassVar[dict[str, Callable[[], Any]]] = {
        "vector": lambda: vec(x=1.0, y=2.0),
        "batch": lambda: wrap([1.0, 2.0], batch("k")),
        "labels": lambda: wrap([1.0, 2.0], batch(case="u,v")),
    }

    @pytest.mark.parametrize("name", values)
    def test_phi(self, phi: PhiFlow, name: str) -> None:
        value = self.values[name]()
        found = written_and_read(phi, centered(VECTOR, boundary=value)).boundary.value
        assert found.shape == channel(vector=2)  # whatever it was, without labels
        assert found.shape.item_names == (None,)

    @pytest.mark.parametrize("make", [centered, staggered])
    @pytest.mark.parametrize("name", values)
    def test_h5scene(self, h5scene: H5Scene, name: str, make: Any) -> None:
        value = self.values[name]()
        field = make(*([VECTOR] if make is centered else []), boundary=value)
        found = written_and_read(h5scene, field)
        assert_same_tensor(found.boundary.value, field.boundary.value)
        assert_same_field(found, field)

    def test_h5scene_inside_a_mixed_boundary(self, h5scene: H5Scene) -> None:
        value = vec(x=1.0, y=2.0)
        field = staggered(boundary={"x": value, "y-": 0, "y+": ext.ZERO_GRADIENT})
        found = written_and_read(h5scene, field)
        assert_same_field(found, field)
        assert found.boundary == field.boundary

    def test_h5scene_of_two_dims(self, h5scene: H5Scene) -> None:
        value = random_tensor(batch(k=2), VECTOR)
        found = written_and_read(h5scene, centered(VECTOR, boundary=value))
        assert_same_tensor(found.boundary.value, value)

    def test_h5scene_cuts_and_stacks_it(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(k=2)
        field = centered(boundary=wrap([1.0, 2.0], batch("k")))
        scenes.write(f=field)
        assert float(scenes.k[1].read("f").boundary.value) == 2
        assert list(scenes.read("f").boundary.value) == [1, 2]


@shows("antireflect-boundary")
class TestAntireflectBoundary:
    def test_phi(self, phi: PhiFlow) -> None:
        assert (
            written_and_read(phi, centered(boundary=ext.ANTIREFLECT)).boundary == ext.ANTISYMMETRIC
        )

    @pytest.mark.parametrize("make", [centered, staggered])
    def test_h5scene(self, h5scene: H5Scene, make: Any) -> None:
        field = make(boundary=ext.ANTIREFLECT)
        assert_same_field(written_and_read(h5scene, field), field)
        assert field.boundary == ext.ANTIREFLECT


@shows("staggered-boundaries")
class TestStaggeredBoundaries:
    boundaries: ClassVar = {
        "normal-tangential": ext.combine_by_direction(normal=0, tangential=ext.ZERO_GRADIENT),
        "none": ext.NONE,
    }

    @pytest.mark.parametrize("boundary", boundaries.values(), ids=boundaries)
    def test_phi(self, phi: PhiFlow, boundary: Any) -> None:
        scene, field = phi.create(), staggered(boundary=boundary)
        with pytest.raises(AssertionError):
            scene.write(f=field)

    @pytest.mark.parametrize("boundary", boundaries.values(), ids=boundaries)
    def test_h5scene(self, h5scene: H5Scene, boundary: Any) -> None:
        field = staggered(boundary=boundary)
        assert_same_field(written_and_read(h5scene, field), field)


@shows("write-is-atomic")
class TestWriteIsAtomic:
    """The second of two fields is refused."""

    def refused(self) -> list[Any]:
        return [None, centered(batch(b=3))]

    @pytest.mark.parametrize("index", range(2), ids=["none", "batch"])
    def test_phi(self, phi: PhiFlow, index: int) -> None:
        scenes = phi.create(b=2)
        with pytest.raises((ValueError, NotImplementedError, AssertionError)):
            scenes.write(a=constant(1), z=self.refused()[index])
        assert scenes.b[0].fieldnames == ("a",)

    @pytest.mark.parametrize("index", range(2), ids=["none", "batch"])
    def test_h5scene(self, h5scene: H5Scene, index: int) -> None:
        scenes = h5scene.create(b=2)
        scenes.write(a=constant(1))
        before = h5scene.contents()
        with pytest.raises(H5SceneError):
            scenes.write(a=constant(2), b=constant(2), z=self.refused()[index])
        assert same_contents(before, h5scene.contents())
        assert value_of(scenes.b[0].read("a")) == 1


@shows("batch-write-is-atomic")
class TestBatchWriteIsAtomic:
    """The second of two scenes is gone."""

    def test_phi(self, phi: PhiFlow) -> None:
        scenes = phi.create(b=2)
        scenes.b[1].remove()
        with pytest.raises(FileNotFoundError):
            scenes.write(a=constant(1))
        assert scenes.b[0].fieldnames == ("a",)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(b=2)
        scenes.b[1].remove()
        before = h5scene.contents()
        with pytest.raises(FileNotFoundError, match="sim_000001"):
            scenes.write(a=constant(1))
        with pytest.raises(FileNotFoundError, match="sim_000001"):
            scenes.put_properties(a=1)
        assert same_contents(before, h5scene.contents())


@shows("not-found-message")
class TestNotFoundMessage:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write(smoke=constant(1), frame=5)
        with pytest.raises(FileNotFoundError, match=r"smok_000005\.npz"):
            scene.read("smok", frame=5)
        with pytest.raises(FileNotFoundError, match=r"smoke_000006\.npz"):
            scene.read("smoke", frame=6)

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        with pytest.raises(FieldNotFoundError, match="it has none yet"):
            scene.read("smok")
        scene.write(smoke=constant(1), velocity=constant(1), frame=5)
        scene.write(smoke=constant(1), frame=8)
        with pytest.raises(
            FieldNotFoundError, match=r"'smok'.*sim_000000.*'smoke', 'velocity'"
        ) as caught:
            scene.read("smok", frame=5)
        assert caught.value.file == str(h5scene.on_disk)
        assert caught.value.location == "/sim_000000"
        with pytest.raises(FrameNotFoundError, match=r"6 of 'smoke'.*sim_000000.*5, 8"):
            scene.read("smoke", frame=6)
        with pytest.raises(FrameNotFoundError, match=r"-3 of 'smoke'.*it has 2 frames"):
            scene.read("smoke", frame=-3)
        with pytest.raises(FrameNotFoundError, match=r"8 of 'velocity'"):
            scene.read("smoke", "velocity", frame=8)


@shows("batch-mismatch")
class TestBatchMismatch:
    def test_phi(self, phi: PhiFlow) -> None:
        with pytest.raises(AssertionError, match="batch"):
            phi.create(batch=3).write(f=centered(batch(batch=2)))

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(batch=3)
        before = h5scene.contents()
        with pytest.raises(BatchMismatchError, match=r"batch=2.*batch=3; slice one of them"):
            scenes.write(f=centered(batch(batch=2)))
        with pytest.raises(BatchMismatchError, match=r"spatial dim batch=3.*batch dim batch=3"):
            scenes.write(f=centered(spatial(batch=3)))
        assert same_contents(before, h5scene.contents())

    def test_h5scene_of_labels(self, h5scene: H5Scene) -> None:
        scenes = h5scene.create(batch(case="low,high"))
        with pytest.raises(BatchMismatchError, match=r"'high', 'low'.*'low', 'high'"):
            scenes.write(f=centered(batch(case="high,low")))
        scenes.write(f=centered(batch(case=2)))
        assert scenes.read("f").shape.get_item_names("case") == ("low", "high")


@shows("no-pickle")
class TestNoPickle:
    def test_phi(self, phi: PhiFlow) -> None:
        scene = phi.create()
        scene.write(f=centered())
        with (
            np.load(f"{scene.path}/f_000000.npz") as npz,
            pytest.raises(ValueError, match="allow_pickle"),
        ):
            npz["extrapolation"]

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.write(c=centered(), s=staggered(boundary={"x": vec(x=1, y=2), "y": ext.PERIODIC}))
        scene.put_properties(a=random_tensor(spatial(x=2)))
        for name, (attrs, array) in h5scene.contents().items():
            for value in (*attrs.values(), array):
                is_plain = value is None or isinstance(value, (str, bytes))
                assert is_plain or np.asarray(value).dtype.kind in "biufc", name


def _point_batch() -> Any:
    """Returns point clouds of different length in one batch."""
    clouds = [PointCloud(random_tensor(instance(points=n), channel(vector="x,y"))) for n in (2, 3)]
    return math.stack(clouds, batch("b"))


@shows("other-geometries")
class TestOtherGeometries:
    """Points, meshes, graphs and tensors."""

    fields: ClassVar[dict[str, Callable[[], Any]]] = {
        "points": lambda: PointCloud(random_tensor(instance(points=4), channel(vector="x,y"))),
        "points of different number": _point_batch,
        "mesh": lambda: Field(polygon_mesh(), random_tensor(instance(cells=2)), 0),
        "sparse": lambda: math.pairwise_distances(
            random_tensor(instance(points=4), channel(vector="x,y")), 2.0, format="coo"
        ),
        "tensor": lambda: random_tensor(spatial(x=3)),
    }

    @pytest.mark.parametrize("make", fields.values(), ids=fields)
    def test_phi(self, phi: PhiFlow, make: Callable[[], Any]) -> None:
        scene = phi.create()
        with pytest.raises((NotImplementedError, AssertionError, ValueError)):
            scene.write(f=make())

    @pytest.mark.parametrize("make", fields.values(), ids=fields)
    def test_h5scene(self, h5scene: H5Scene, make: Callable[[], Any]) -> None:
        field = make()
        compare_objects.assert_same(written_and_read(h5scene, field), field)


@shows("dicts-of-fields")
class TestDictsOfFields:
    def test_phi(self, phi: PhiFlow) -> None:
        with pytest.raises((ValueError, AssertionError, AttributeError, NotImplementedError)):
            phi.create().write(fluid={"v": constant(1)})

    def test_h5scene(self, h5scene: H5Scene) -> None:
        scene = h5scene.create()
        scene.write({"fluid": {"v": constant(1), "inner": {"p": constant(2)}}}, smoke=constant(3))
        assert scene.fieldnames == ("fluid_inner_p", "fluid_v", "smoke")
        fluid = scene.read("fluid")
        assert list(fluid) == ["inner", "v"]
        assert value_of(fluid["v"]) == 1
        assert value_of(fluid["inner"]["p"]) == 2
        both = scene.read("smoke", "fluid")
        assert value_of(both[0]) == 3
        assert value_of(both[1]["v"]) == 1
        assert value_of(scene.read("fluid_v")) == 1


def test_h5scene_reads_values_that_only_mention_their_dims(h5scene: H5Scene) -> None:
    """A constant grid keeps one number in memory; the file holds all of its values."""
    field = CenteredGrid(1.5, 0, x=4, y=3)
    found = written_and_read(h5scene, field)
    assert value_of(found) == 1.5
    assert found.shape == field.shape
