"""Simulations of PhiFlow's kinds, stopped after every step and continued from the file.

Each follows one of the examples in PhiFlow's documentation: particles in a fluid (FLIP), particles
that are the fluid (SPH), heat on a mesh, waves on a graph. Two runs are compared: one goes through,
the other reads its whole state from the file before each step.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phi.field import CenteredGrid, Field, PointCloud, StaggeredGrid, resample
from phi.geom import Box, Mesh, Point, Sphere, graph, load_gmsh
from phi.physics import advect, diffuse, fluid
from phiml import math
from phiml.math import Solve, channel, dual, extrapolation, instance, vec, wrap

from h5scene import Scene
from tests.compare_objects import assert_same
from tests.geometries import flat_mesh, polygon_mesh, positions

State = dict[str, Any]
AT_REST = vec(x=0.0, y=0.0)
_UNSOLVED = (math.Diverged, math.NotConverged)

# PhiFlow uses what PhiML deprecates.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


def assert_continues(tmp_path: Path, start: State, step: Callable[..., State]) -> None:
    """Fails unless a run from the file and one without it have the same bits in every step."""
    scene = Scene.create(tmp_path / "run", copy_calling_script=False)
    straight, names = start, list(start)
    scene.write(start)
    for frame in range(1, 4):
        straight = step(**straight)
        read = {name: scene.read(name, frame=frame - 1) for name in names}
        scene.write(step(**read), frame=frame)
        for name in names:
            assert_same(scene.read(name, frame=frame), straight[name], f"{name}, frame {frame}")


def test_flip(tmp_path: Path) -> None:
    domain = Box(x=8, y=8)

    def step(particles: Field, pressure: Field) -> State:
        before = resample(particles, to=StaggeredGrid(0, 0, domain, x=8, y=8), scatter=True)
        occupied = resample(
            PointCloud(particles.geometry, 1.0),
            to=CenteredGrid(0, 0, domain, x=8, y=8),
            scatter=True,
        )
        occupied = occupied.with_values(math.to_float(occupied.values > 0))
        falling = before + vec(x=0, y=-0.5)
        # Whether the few iterations are enough does not matter here.
        solve = Solve("CG", 1e-3, x0=pressure, max_iterations=20, suppress=_UNSOLVED)
        velocity, pressure = fluid.make_incompressible(falling, (), solve, active=occupied)
        change = resample(velocity - before, to=particles)
        moved = advect.points(particles + change, velocity, 0.5, advect.finite_rk4)
        return {"particles": moved, "pressure": pressure}

    points = math.clip(positions(0, 60) + 4, 1, 7)
    particles = PointCloud(Sphere(points, radius=0.1), AT_REST)
    pressure = CenteredGrid(0.0, extrapolation.ZERO_GRADIENT, domain, x=8, y=8)
    assert_continues(tmp_path, {"particles": particles, "pressure": pressure}, step)


def test_sph(tmp_path: Path) -> None:
    def step(particles: Field, forces: Any) -> State:
        deltas = math.pairwise_distances(particles.geometry.center, 1.0, format="coo")
        forces = deltas * math.norm(deltas) * -0.05
        pull = math.sum(forces, dual)
        velocity = particles.values + pull
        geometry = particles.geometry.shifted(velocity * 0.1)
        return {"particles": PointCloud(geometry, velocity), "forces": forces}

    cloud = PointCloud(
        Sphere(positions(1, 40), radius=0.1), vec(x=0.1, y=0) * math.ones(instance(points=40))
    )
    start = step(cloud, None)
    assert_continues(tmp_path, start, step)


def heat_step(heat: Field, flow: Field) -> State:
    """Returns the heat on a mesh a little later, and the flow of it through the faces."""
    change = diffuse.differential(heat, 0.1, gradient=None, order=1, correct_skew=False)
    heat = heat + change * 0.05
    return {"heat": heat, "flow": heat.at_faces()}


def heat_on(mesh: Mesh, boundary: Any) -> State:
    """Returns the first state of heat on a mesh."""
    data = np.random.default_rng(0).normal(size=mesh.cell_count)
    heat = Field(mesh, wrap(data, instance("cells")), boundary)
    return {"heat": heat, "flow": heat.at_faces()}


def test_a_mesh_with_boundaries(tmp_path: Path) -> None:
    boundary = {"x": extrapolation.ZERO_GRADIENT, "y": 0, "cyl": 1}
    assert_continues(tmp_path, heat_on(flat_mesh(), boundary), heat_step)


def test_a_mesh_of_polygons(tmp_path: Path) -> None:
    assert_continues(tmp_path, heat_on(polygon_mesh(), {"wall": 0, "out": 1}), heat_step)


MSH = """$MeshFormat
2.2 0 8
$EndMeshFormat
$Nodes
5
1 0 0 0
2 1 0 0
3 1 1 0
4 0 1 0
5 0.5 0.5 0
$EndNodes
$Elements
8
1 1 2 1 1 1 2
2 1 2 1 1 2 3
3 1 2 2 2 3 4
4 1 2 2 2 4 1
5 2 2 3 3 1 2 5
6 2 2 3 3 2 3 5
7 2 2 3 3 3 4 5
8 2 2 3 3 4 1 5
$EndElements
"""


def test_a_mesh_from_a_gmsh_file(tmp_path: Path) -> None:
    pytest.importorskip("meshio", reason="PhiFlow reads .msh files through meshio")
    file = tmp_path / "square.msh"
    file.write_text(MSH)
    mesh = load_gmsh(str(file), ("wall",))
    assert_continues(tmp_path, heat_on(mesh, {"wall": 0}), heat_step)


def test_a_graph(tmp_path: Path) -> None:
    def step(height: Field, speed: Field) -> State:
        edges = height.graph.edges
        difference = math.sum(edges * (height.values - height.values.points.as_dual()), dual)
        speed = speed.with_values(speed.values - 0.1 * difference)
        return {"height": height.with_values(height.values + 0.1 * speed.values), "speed": speed}

    points = positions(2, 12)
    edges = math.norm(math.pairwise_distances(points, 1.0, format="coo"))
    network = graph(Point(points), edges)
    data = wrap(np.random.default_rng(1).normal(size=12), instance("points"))
    height = Field(network, data, 0)
    start = {"height": height, "speed": height.with_values(data * 0)}
    assert_continues(tmp_path, start, step)


def test_a_batch_of_clouds_of_different_length(tmp_path: Path) -> None:
    def step(particles: Field) -> State:
        center = particles.geometry.center
        moved = center + 0.1 * math.mean(center, instance)
        return {"particles": PointCloud(Point(moved), particles.values * 2)}

    clouds = [
        PointCloud(positions(i, i + 2), wrap(np.arange(i + 2.0), instance("points")))
        for i in range(3)
    ]
    assert_continues(tmp_path, {"particles": math.stack(clouds, math.batch("b"))}, step)


def test_positions_have_their_axes(tmp_path: Path) -> None:
    scene = Scene.create(tmp_path / "run", copy_calling_script=False)
    scene.write(p=PointCloud(positions(0, 3, "x,z"), 1.0))
    assert scene.read("p").geometry.shape == instance(points=3) & channel(vector="x,z")
