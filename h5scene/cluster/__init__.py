"""Scene files written by many processes, on many machines.

* `ranks`: what ranks do together
* `rows`, `tiling`: where blocks of a grid are, and how they make up one
* `blocks`: a grid whose blocks live on MPI ranks, written as one frame
* `gathering`: scenes that MPI ranks write at the same time, in one file at the end
"""

from __future__ import annotations

from h5scene.cluster.blocks import write_blocks
from h5scene.cluster.gathering import GatheredFile, gathered

__all__ = ["GatheredFile", "gathered", "write_blocks"]
