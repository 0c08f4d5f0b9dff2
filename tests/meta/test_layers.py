"""The rooms of the package and who may import whom: pyproject.toml, section `tool.importlinter`."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_point_down(tmp_path: Path) -> None:
    lint_imports = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run(
        [lint_imports, "--no-logo", "--cache-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
