"""Scene files of many processes on many machines.

* `tiling`, `ranks`: how blocks make up a grid; what ranks do together
* `blocks`: a grid whose blocks live on MPI ranks, written as one frame
"""

from __future__ import annotations

from h5scene.cluster.blocks import write_blocks

__all__ = ["write_blocks"]
