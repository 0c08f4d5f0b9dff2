"""Files for the tests of the command, and a terminal to run it on."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np

from h5scene import SceneFile
from h5scene.record import STAGGERED, DimSpec, FieldDescription, FieldRecord
from tests.records import PERIODIC, centered, spatial, vector

SCENE = "sim_000000"


def make_sample(path: Path) -> Path:
    """Writes two scenes: the first holds something of everything, the second is like it."""
    waves = np.sin(np.arange(24 * 16).reshape(24, 16) / 20).astype(np.float32)
    with SceneFile(path) as file:
        for scene in file.create_scenes("sim", 2):
            for frame in range(3):
                fields = {"smoke": centered(waves * (frame + 1)), "velocity": staggered()}
                file.write_frame(frame, {scene: fields})
                file.put_times(frame, {scene: frame / 4})
                file.log_scalars(frame, {scene: {"loss": [1 / (frame + 1)], "u": [1.0, frame]}})
            cube = np.arange(6 * 5 * 4, dtype=np.float64).reshape(6, 5, 4)
            file.write_frame(7, {scene: {"density": centered(cube, "xyz", boundary=PERIODIC)}})
            file.put_properties({scene: {"dt": 0.25, "note": "first try", "nan": float("nan")}})
            file.write_files({scene: {"src/plume.py": b"print('plume')\n", "log": b"\x00\xff"}})
    return path


def staggered() -> FieldRecord:
    """Returns a staggered grid of 4×3 cells whose padding is large."""
    values = np.full((5, 4, 2), 1e6, np.float32)
    values[:, :3, 0], values[:4, :, 1] = 3.0, 4.0
    described = centered().description
    dims = (*spatial("xy"), DimSpec("vector", "channel", ("x", "y")))
    bounds = type(described.bounds)(vector([0, 0], "xy"), vector([4, 3], "xy"))
    return FieldRecord(FieldDescription(STAGGERED, dims, bounds, described.boundary, {}), values)


def on_terminal(arguments: list[str], columns: int, **environment: str) -> tuple[int, str]:
    """Runs the command on a terminal of so many columns; returns exit status and output."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    variables = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "h5scene", *arguments],
        stdin=end,
        stdout=end,
        stderr=end,
        env={**variables, "TERM": "xterm-256color", **environment},
    )
    os.close(end)
    printed = b""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # so Linux says that the other end is closed
            break
        if not piece:
            break
        printed += piece
    os.close(terminal)
    return process.wait(), printed.decode().replace("\r\n", "\n")
