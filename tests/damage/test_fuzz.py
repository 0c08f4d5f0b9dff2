import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.mark.skipif(sys.platform != "linux", reason="the children have limits of Linux")
def test_damaged_files_do_no_harm() -> None:
    """A short run of tools/fuzz, with the same damage each time."""
    command = [sys.executable, str(TOOLS / "fuzz_run.py"), "--cases", "80", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    title, *rows = [line.split() for line in done.stdout.splitlines()[-12:]]
    counts = {" ".join(row[: -len(title[1:])]): row[-len(title[1:]) :] for row in rows}
    assert counts.keys() >= {"bytes", "structure", "journal", "objects", "texts", "npz"}
    assert sum(int(number) for row in counts.values() for number in row) == 80
    assert sum(int(row[title[1:].index("refused")]) for row in counts.values()) > 20
