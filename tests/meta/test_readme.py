"""The README's code runs as it stands there, and its links lead somewhere."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


# PhiFlow's own `Noise` calls a function that PhiML has renamed.
@pytest.mark.filterwarnings("ignore:phiml.math.vec_squared is deprecated:DeprecationWarning")
def test_python_blocks_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert blocks
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
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
