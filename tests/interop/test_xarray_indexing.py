"""Indexing of every kind: xarray's own tests of backends, and any index against NumPy's result."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from h5scene import SceneFile
from tests.records import centered, spatial, staggered

xr = pytest.importorskip("xarray", reason="xarray is not installed")


def _xarrays_tests() -> Any:
    """Returns xarray's tests of backends, which come with it."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(pytest.mark, "_config", None)  # its marks are not in our list of marks
        module = pytest.importorskip(
            "xarray.tests.test_backends", reason="this xarray was installed without its tests"
        )
    return module.DatasetIOBase


_THEIRS = _xarrays_tests()


class _Roundtrip:
    """Puts arrays of two and more dims into a scene file, and gives them back as variables."""

    validate_array_type = _THEIRS.validate_array_type
    test_orthogonal_indexing = _THEIRS.test_orthogonal_indexing
    test_vectorized_indexing = _THEIRS.test_vectorized_indexing
    test_outer_indexing_reversed = _THEIRS.test_outer_indexing_reversed
    test_isel_dataarray = _THEIRS.test_isel_dataarray
    test_array_type_after_indexing = _THEIRS.test_array_type_after_indexing
    test_dropna = _THEIRS.test_dropna
    test_ondisk_after_print = _THEIRS.test_ondisk_after_print

    @pytest.mark.parametrize("use_dask", [False, True])
    def test_vectorized_indexing_negative_step(self, use_dask: bool) -> None:
        _THEIRS.test_vectorized_indexing_negative_step(self, use_dask)

    def frames_of(self, array: Any) -> list[Any]:
        """Returns an array as frames."""
        raise NotImplementedError

    def array_of(self, variable: Any) -> Any:
        """Returns a variable of frames as what the array was."""
        raise NotImplementedError

    @contextmanager
    def roundtrip(self, data: Any, open_kwargs: dict[str, Any] | None = None) -> Iterator[Any]:
        """Gives a dataset whose variables read from a file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.h5"
            names = [name for name, variable in data.data_vars.items() if variable.ndim > 1]
            with SceneFile(path) as file, file.transaction():
                file.create_scene("s")
                for name in names:
                    for frame, values in enumerate(self.frames_of(data[name].values)):
                        axes = spatial([f"a{i}" for i in range(values.ndim)])
                        record = centered(values, [axis.name for axis in axes])
                        file.write_frame(frame, {"s": {name: record}})
            read = xr.open_dataset(path, engine="h5scene", **(open_kwargs or {}))
            found = {
                name: (data[name].dims, self.array_of(read[name].variable)._data, data[name].attrs)
                for name in names
            }
            yield data.assign(found)


class TestAlongFrames(_Roundtrip):
    """The first dim is that of the frames."""

    def frames_of(self, array: Any) -> list[Any]:
        return list(array)

    def array_of(self, variable: Any) -> Any:
        return variable


class TestInsideOfAFrame(_Roundtrip):
    """All dims are those of one frame."""

    def frames_of(self, array: Any) -> list[Any]:
        return [array]

    def array_of(self, variable: Any) -> Any:
        return variable.isel({variable.dims[0]: 0})


_SIZES = (3, 5, 4, 6)
_DIMS = ("scene", "frame", "x", "y_faces")


@pytest.fixture(scope="module")
def variable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A component of a staggered grid in several scenes, and its values."""
    path = tmp_path_factory.mktemp("indexing") / "runs.h5"
    whole = np.random.default_rng(3).random((3, 5, 5, 6, 2), np.float32)
    with SceneFile(path) as file, file.transaction():
        names = file.create_scenes("sim", 3)
        for scene, of_scene in zip(names, whole, strict=True):
            for frame, values in enumerate(of_scene):
                file.write_frame(frame * 10, {scene: {"v": staggered(values)}})
    data = xr.open_dataset(path, engine="h5scene", scene=names)
    return data.v_y.variable, whole[:, :, :-1, :, 1]


@st.composite
def _indexers(draw: st.DrawFn) -> dict[str, Any]:
    """Draws an index along each of some dims: integers, slices, lists, masks, points."""
    found: dict[str, Any] = {}
    points = draw(st.integers(0, 4))
    for dim, size in zip(_DIMS, _SIZES, strict=True):
        numbers = st.integers(-size, size - 1)
        found[dim] = draw(
            st.one_of(
                st.just(slice(None)),
                numbers,
                # For an empty one that runs backwards, xarray itself raises IndexError.
                st.slices(size).filter(lambda s, n=size: len(range(n)[s]) or (s.step or 1) > 0),
                st.lists(numbers, max_size=5).map(lambda found: np.array(found, int)),
                st.lists(st.booleans(), min_size=size, max_size=size).map(np.array),
                st.lists(numbers, min_size=points, max_size=points).map(
                    lambda found: xr.Variable("p", np.array(found, int))
                ),
            )
        )
    return found


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_indexers(), _indexers(), st.booleans())
def test_any_index_gives_what_numpy_gives(
    variable: tuple[Any, Any], first: dict[str, Any], second: dict[str, Any], twice: bool
) -> None:
    lazy, whole = variable
    expected = xr.Variable(_DIMS, whole)
    lazy, expected = lazy.isel(first), expected.isel(first)
    if twice and lazy.dims == _DIMS and lazy.shape == _SIZES:
        lazy, expected = lazy.isel(second), expected.isel(second)
    assert lazy.dims == expected.dims
    assert np.array_equal(lazy.values, expected.values)
