"""The README's code runs as it stands there, and its links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from h5scene import SceneFile
from tests.cluster.mpi import launch

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


# PhiFlow's own `Noise` calls a function that PhiML has renamed.
@pytest.mark.filterwarnings("ignore:phiml.math.vec_squared is deprecated:DeprecationWarning")
def test_python_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = _blocks({"", "xarray"} if importlib.util.find_spec("xarray") else {""})
    assert blocks
    _run(blocks, tmp_path, monkeypatch)
    if importlib.util.find_spec("distributed"):  # as a script: Dask's processes import it
        script = tmp_path / "on_dask.py"
        script.write_text("\n".join(_blocks({"dask"})), encoding="utf-8")
        subprocess.run([sys.executable, script], check=True, capture_output=True, cwd=tmp_path)
        with SceneFile(tmp_path / "archive.h5", "r") as file:
            assert len(file.scenes) == 5


def test_ranks_of_mpi_run_the_block(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text("\n".join(_blocks({"mpi"})), encoding="utf-8")
    done = launch("-W", "ignore", str(script), folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(xˢ=128, yˢ=128)" in done.stdout
    with SceneFile(tmp_path / "ensemble.h5", "r") as file:
        assert file.scenes == tuple(f"sim_{i:06}" for i in range(8))
        assert file.properties("sim_000007")["viscosity"] == 0.1 * 7


def test_training_runs_on_the_file_of_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("matplotlib", reason="the demo's extra is not installed")
    command = [sys.executable, ROOT / "tools" / "plume.py", "--steps", "4", "--out", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    _run(_blocks({"torch"}), tmp_path, monkeypatch)
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 5
    assert all(loss >= 0 for loss in losses)


def _blocks(needs: set[str]) -> list[str]:
    """Returns the blocks of code that need one of these, a word behind the language; or nothing."""
    found = re.findall(r"^```python ?(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert {need for need, _ in found} == {"", "dask", "mpi", "slurm", "torch", "xarray"}
    return [code for need, code in found if need in needs]


def _run(blocks: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs code in a folder."""
    script = folder / "readme.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.chdir(folder)
    runpy.run_path(str(script), run_name="__main__")


def test_links_to_files_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    files = [link for link in links if "://" not in link]
    assert [link for link in files if not (ROOT / link).exists()] == []
    for document in ("FORMAT.md", "DURABILITY.md", "COMPATIBILITY.md", "CHANGES.md"):
        assert f"h5scene/docs/{document}" in files


def test_named_commands_exist() -> None:
    for command in set(re.findall(r"\btools/\w+", README)):
        assert (ROOT / command).is_file(), command
