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
    counts = [line.split() for line in done.stdout.splitlines()[-6:]]
    assert {row[0] for row in counts} == {"bytes", "bit", "sector", "cut", "structure", "header"}
    assert sum(int(number) for row in counts for number in row[1:]) == 80
    assert sum(int(row[2]) for row in counts) > 20  # much of it is noticed
