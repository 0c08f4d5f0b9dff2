"""Geometries of every kind that PhiFlow has, with and without batches, for tests."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from phi.geom import (
    Box,
    Cuboid,
    Geometry,
    Heightmap,
    Mesh,
    Point,
    SDFGrid,
    Sphere,
    UniformGrid,
    build_mesh,
    cylinder,
    graph,
    infinite_cylinder,
    union,
)
from phi.geom._geom import NoGeometry
from phi.geom._geom_ops import Intersection
from phi.geom._mesh import mesh_from_numpy
from phi.geom._spline_sheet import BSplineSheet
from phiml import math
from phiml.math import Shape, Tensor, batch, channel, dual, instance, spatial, vec, wrap


def positions(seed: int = 0, count: int = 6, axes: str = "x,y", *dims: Shape) -> Tensor:
    """Returns points in space."""
    size = len(axes.split(","))
    shape = math.concat_shapes(*dims, instance(points=count), channel(vector=axes))
    data = np.random.default_rng(seed).normal(size=[*shape.sizes]).astype(np.float32)
    assert size == shape.get_size("vector")
    return wrap(data, shape)


def flat_mesh() -> Mesh:
    """Returns a 2D mesh of quadrilaterals around an obstacle, with named boundaries."""
    obstacle = Sphere(x=3.0, y=2.0, radius=1.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PhiFlow's mesh builder uses what PhiML deprecates
        return build_mesh(Box(x=8, y=4), x=8, y=8, obstacles={"cyl": obstacle})


def polygon_mesh() -> Mesh:
    """Returns a 2D mesh of a triangle and a quadrilateral, whose vertices Python lists name."""
    points = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [2.0, 0.5]]
    boundaries: dict[str, Any] = {
        "wall": [(0, 1), (2, 3), (3, 0)],
        "out": np.array([[1, 4], [4, 2]]),
    }
    return mesh_from_numpy(points, [(0, 1, 2, 3), (1, 4, 2)], boundaries)


def solid_mesh() -> Mesh:
    """Returns a 3D mesh of one tetrahedron beside another."""
    points = [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]]
    tetrahedra = [(0, 1, 2, 3), (1, 2, 3, 4)]
    faces = [(0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 4), (1, 3, 4), (2, 3, 4)]
    return mesh_from_numpy(points, tetrahedra, {"wall": faces}, element_rank=3)


def surface_mesh() -> Mesh:
    """Returns a surface of triangles in space, which has no boundaries."""
    points = [[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    triangles = [(0, 2, 1), (0, 1, 3), (1, 2, 3), (0, 3, 2)]
    return mesh_from_numpy(points, triangles, None, 2)


def geometries() -> dict[str, Geometry]:
    """Returns an example of each class and form, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PhiFlow uses what PhiML deprecates
        return _geometries()


def _geometries() -> dict[str, Geometry]:
    points, points3 = positions(), positions(1, 5, "x,y,z")
    b = batch(b="one,two")
    radius = wrap(np.array([0.5, 0.25]), b)
    distances = math.norm(math.pairwise_distances(points, 1.5, format="coo"))
    heights = wrap(np.linspace(0.2, 0.8, 5, dtype=np.float32), spatial("x"))
    values = wrap(np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32), spatial("x,y"))
    crease, res = wrap(np.zeros((2, 2)), spatial("res"), channel(uv="u,v")), vec(u=4, v=4)
    two = [Sphere(x=1.0, y=2.0, radius=1), Box(x=1, y=(None, 2))]
    sheet = wrap(
        np.random.default_rng(3).normal(size=(4, 4, 3)), spatial("u,v"), channel(vector="x,y,z")
    )
    return {
        "point": Point(points),
        "points of a batch": Point(positions(4, 3, "x,y", b)),
        "points of different number": Point(math.stack([positions(5, 2), positions(6, 4)], b)),
        "points of two batches of different number": Point(
            math.stack(
                [math.stack([positions(i, i + 1), positions(9, 2)], b) for i in range(2)],
                batch("c"),
            )
        ),
        "double precision": Point(wrap(np.eye(2), instance("points"), channel(vector="x,y"))),
        "sphere": Sphere(points, radius=0.1),
        "spheres of many sizes": Sphere(points, radius=wrap(np.arange(6.0), instance("points"))),
        "sphere of a batch": Sphere(vec(x=1, y=0), radius=radius),
        "traced sphere": Sphere(vec(x=1, y=0), radius=radius, variable_attrs=("radius",)),
        "box": Box(x=(0.1, 0.3), y=(0, 2.0)),
        "open box": Box(x=None, y=(1, None)),
        "cuboid": Cuboid(points, x=1, y=2),
        "rotated cuboid": Cuboid(points, x=1, y=2).rotated(0.3),
        "cuboid rotated in space": Cuboid(points3, x=1, y=2, z=1).rotated(vec(x=0.1, y=0.2, z=0)),
        "cylinder": cylinder(points3, radius=1.0, depth=2.0, axis="z"),
        "rotated cylinder": cylinder(points3, radius=1.0, depth=2.0, axis="z").rotated(
            vec(x=0.1, y=0.2, z=0.3)
        ),
        "grid": UniformGrid(x=3, y=4),
        "mesh": flat_mesh(),
        "mesh of polygons": polygon_mesh(),
        "mesh in space": solid_mesh(),
        "surface": surface_mesh(),
        "periodic mesh": mesh_from_numpy(
            [[0.0, 0.0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]],
            [(0, 1, 4, 3), (1, 2, 5, 4)],
            {"x-": [(3, 0)], "x+": [(5, 2)], "y": [(0, 1), (1, 2), (3, 4), (4, 5)]},
            periodic="x",
        ),
        "graph": graph(points, math.norm(math.pairwise_distances(points))),
        "sparse graph": graph(points, distances),
        "graph of spheres": graph(
            Sphere(points, radius=0.1), distances, {"end": {"points": slice(4, None)}}
        ),
        "heightmap": Heightmap(heights, Box(x=5, y=2), max_dist=0.1),
        "heightmap that goes on": Heightmap(
            values * 0.1, Box(x=5, y=2, z=(-9, 9)), max_dist=0.1, extrapolation=0.5
        ),
        "grid of distances": SDFGrid(values, Box(x=5, y=2)),
        "grid of distances with gradient": SDFGrid(values, Box(x=5, y=2), gradient=True),
        "embedded": infinite_cylinder(x=1.0, y=2.0, radius=1.0, inf_dim="z"),
        "inverted": ~two[0],
        "union": union(*two),
        "intersection": Intersection(union(*two).geometries),
        "nothing": NoGeometry(channel(vector="x,y")),
        "spline": BSplineSheet(sheet, 2, crease, res, False),
        "spline of two sides": BSplineSheet(
            sheet,
            2,
            crease,
            res,
            wrap([True, False], dual(side="front,back")),
            {"u": sheet, "v": sheet},
        ),
    }
