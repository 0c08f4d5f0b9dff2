"""A file whose last commit was cut off behind its commit point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
import os, sys
from h5scene import SceneFile
from h5scene.store import pager
pager.apply = lambda *_, **__: os._exit(7)
with SceneFile(sys.argv[1]) as file:
    file.put_properties({sys.argv[2]: {sys.argv[3]: float(sys.argv[4])}})
"""


def leave_in_commit(path: Path, scene: str, name: str, value: float) -> None:
    """Sets a property, and dies when the journal and its header are written."""
    arguments = [sys.executable, "-c", _PROGRAM, str(path), scene, name, str(value)]
    assert subprocess.run(arguments, check=False).returncode == 7
