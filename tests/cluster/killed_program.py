"""A batch on four ranks that is killed, and started again: `python killed_program.py file [rank]`.

The rank that is named kills itself when it has written half of its frames.
"""

from __future__ import annotations

import os
import signal
import sys

from mpi4py import MPI
from phi.field import CenteredGrid

from h5scene import Scene
from h5scene.cluster import gathered

FRAMES = 6


def main() -> None:
    """Writes a scene on each rank, or goes on with it."""
    path, dies = sys.argv[1], sys.argv[2:] == [str(MPI.COMM_WORLD.rank)]
    with gathered(path, MPI.COMM_WORLD) as file:
        if file.scenes:
            scene = Scene.resume(f"{path}/{file.scenes[0]}")
        else:
            scene = file.create(copy_calling_script=False)
        first = scene.frames[-1] + 1 if scene.frames else 0
        for frame in range(first, FRAMES):
            if dies and frame == FRAMES // 2:
                os.kill(os.getpid(), signal.SIGKILL)
            scene.write(smoke=CenteredGrid(file.rank + frame, 0, x=4, y=3), frame=frame)


if __name__ == "__main__":
    main()
