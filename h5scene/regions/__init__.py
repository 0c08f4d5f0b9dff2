"""Parts of fields: which of the stored entries a region takes, and what field they are.

A region of a grid is a grid: its cells keep their place in space. On the sides where it ends at the
edge of the grid, the boundary stays what it is. Where it was cut out, the nearest value stands for
the values that were not read (`zero-gradient`), with which every operation of PhiFlow works. One
component of a staggered grid is a centered grid, as in PhiFlow: its cells have their centres at the
faces. Nothing here knows PhiFlow or HDF5.

From below: `selections` (what a user selects along one dim), `tensors` and `boundaries` (what is
left of these), `parts` (whole fields).
"""

from __future__ import annotations

from h5scene.regions.boundaries import (
    boundary_of_sides,
    faces_kept,
    holds_boundary,
    side_of_boundary,
)
from h5scene.regions.parts import Part, part_of, part_of_parts
from h5scene.regions.selections import Between, Pick, Region, Selection, entries, runs

__all__ = [
    "Between",
    "Part",
    "Pick",
    "Region",
    "Selection",
    "boundary_of_sides",
    "entries",
    "faces_kept",
    "holds_boundary",
    "part_of",
    "part_of_parts",
    "runs",
    "side_of_boundary",
]
