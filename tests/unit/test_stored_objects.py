"""What geometries take is counted once, and said with what they are."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from phi.field import Field, PointCloud
from phi.geom import Sphere
from phiml.math import instance, wrap

from h5scene import Scene, SceneFile
from h5scene.handling.statistics import stored_values
from h5scene.handling.stored_objects import ObjectSummary
from h5scene.handling.summaries import StoredSize, summarize_field, summarize_scenes
from tests.geometries import flat_mesh, positions


def bytes_of(path: Path, place: str) -> int:
    """Returns the bytes of all arrays of an object, as plain h5py sees them."""
    sizes: list[int] = []
    with h5py.File(path) as h5:
        h5[place].visititems(
            lambda _, one: sizes.append(one.nbytes) if isinstance(one, h5py.Dataset) else None
        )
    return sum(sizes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Points that move, and two fields on one mesh, for twelve frames of two scenes."""
    mesh = flat_mesh()
    for _ in range(2):
        scene = Scene.create(tmp_path / "runs", copy_calling_script=False)
        for frame in range(12):
            ones = wrap(np.ones(50, np.float32), instance("points"))
            moving = PointCloud(Sphere(positions(frame, 50), radius=0.1), ones)
            on_mesh = Field(mesh, wrap(float(frame)), 0)
            scene.write(moving=moving, heat=on_mesh, smoke=on_mesh, frame=frame)
    return tmp_path / "runs.h5"


def test_a_geometry_counts_for_the_first_field_that_has_it(path: Path) -> None:
    once = bytes_of(path, "sim_000000/heat/000000/geometry")
    with SceneFile(path, "r") as file:
        first, second = summarize_scenes(file, is_exact=True)
        alone = summarize_field(file, "sim_000001", "smoke", is_exact=True)
    found = {one.name: one.objects.value_bytes for one in first.fields}
    moving = sum(bytes_of(path, f"sim_000000/moving/{frame:06d}/geometry") for frame in range(12))
    assert found["heat"] == once
    assert found["smoke"] == 0
    radius = 11 * np.dtype(np.float32).itemsize  # is the same in all frames, and shared
    assert moving - 2 * radius <= found["moving"] <= moving
    assert {one.objects for one in second.fields if one.name != "moving"} == {StoredSize()}
    assert alone.objects.value_bytes == once  # nobody had counted it before
    assert first.size.value_bytes == sum(
        one.size.value_bytes + one.objects.value_bytes for one in first.fields
    )


def test_a_few_frames_stand_for_geometries_that_move(path: Path) -> None:
    with SceneFile(path, "r") as file:
        expected, measured = (
            {one.name: one.objects for one in summarize_scenes(file, is_exact=is_exact)[0].fields}
            for is_exact in (False, True)
        )
    assert not expected["moving"].is_exact
    assert expected["heat"].value_bytes == measured["heat"].value_bytes
    assert expected["moving"].value_bytes == pytest.approx(measured["moving"].value_bytes, rel=0.01)


def test_a_frame_says_what_its_geometry_is(path: Path) -> None:
    mesh = flat_mesh()
    with SceneFile(path, "r") as file:
        of_points = stored_values(file, "sim_000000", "moving", 3).geometry
        of_mesh = stored_values(file, "sim_000000", "heat", 3).geometry
    assert isinstance(of_points, ObjectSummary)
    assert isinstance(of_mesh, ObjectSummary)
    assert (of_points.kind, of_points.elements) == ("sphere", {"points": 50})
    assert of_mesh.kind == "mesh"
    assert of_mesh.elements == {
        "cells": mesh.elements.shape.get_size("cells"),
        "vertices": mesh.vertices.shape.get_size("vertices"),
    }
    assert of_mesh.value_bytes == bytes_of(path, "sim_000000/heat/000003/geometry")
