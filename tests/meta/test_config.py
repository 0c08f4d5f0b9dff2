"""The configuration files agree with each other and with the code, and state no fact twice."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5scene

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]

# Import names that differ from the name of the distribution.
DISTRIBUTIONS = {"phi": "phiflow", "PIL": "pillow", "imageio_ffmpeg": "imageio-ffmpeg"}
# Used where they are there, needed nowhere.
OPTIONAL_IMPORTS = {"IPython"}


def _setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _names(requirements: str) -> set[str]:
    """Returns the distributions that a list of requirements names."""
    lines = requirements.split("\n")
    return {re.split(r"[\[<>=~! ]", line)[0] for line in lines if line and not line.startswith("#")}


def _imports(files: Iterable[Path]) -> set[str]:
    """Returns the top-level names that the files import, at any place, but for annotations."""
    found = set()
    for file in files:
        nodes: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
        while nodes:
            node = nodes.pop()
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                nodes += node.orelse
            else:
                nodes += ast.iter_child_nodes(node)
    return found


def test_metadata_stands_in_setup_cfg_alone() -> None:
    pyproject = _pyproject()
    assert "project" not in pyproject
    assert "setuptools" not in pyproject["tool"]
    assert not list(ROOT.glob("requirements*")) + list(ROOT.glob("setup.py"))


def test_version_is_written_once() -> None:
    assert _setup_cfg()["metadata"]["version"] == "attr: h5scene._version.__version__"
    changes = (ROOT / "h5scene" / "docs" / "CHANGES.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changes, re.MULTILINE)
    assert newest is not None
    assert newest[1] == h5scene.__version__


def test_oldest_python_is_the_same_everywhere() -> None:
    oldest = _setup_cfg()["options"]["python_requires"].removeprefix(">=")
    tools = _pyproject()["tool"]
    assert tools["ruff"]["target-version"] == "py" + oldest.replace(".", "")
    assert tools["mypy"]["python_version"] == oldest
    assert f"Python {oldest}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_declared_requirements_are_the_imported_ones() -> None:
    options = _setup_cfg()
    required = _names(options["options"]["install_requires"])
    extras = set().union(*(_names(text) for text in options["options.extras_require"].values()))
    imported = _imports((ROOT / "h5scene").rglob("*.py")) - sys.stdlib_module_names - {"h5scene"}
    used = {DISTRIBUTIONS.get(name, name) for name in imported - OPTIONAL_IMPORTS}
    assert required <= used
    assert used <= required | extras


def test_requirements_have_lower_bounds() -> None:
    options = _setup_cfg()
    texts = [options["options"]["install_requires"], *options["options.extras_require"].values()]
    lines = [line for text in texts for line in text.split("\n") if line and line[0] != "#"]
    assert [line for line in lines if ">=" not in line and not line.startswith("h5scene[")] == []


def test_scripts_need_nothing_but_python_before_they_have_an_environment() -> None:
    scripts = (ROOT / "tools" / name for name in ("bench", "demo", "test", "environment.py"))
    assert _imports(scripts) <= sys.stdlib_module_names | {"environment"}


def test_documents_and_type_marker_are_package_data() -> None:
    data = _setup_cfg()["options.package_data"]["h5scene"].split()
    assert {"py.typed", "docs/*.md"} <= set(data)
    assert (ROOT / "h5scene" / "py.typed").exists()


def test_every_room_is_placed_and_none_twice() -> None:
    (contract,) = _pyproject()["tool"]["importlinter"]["contracts"]
    assert contract["exhaustive"] is True
    rooms = [room.strip(" ()") for layer in contract["layers"] for room in layer.split("|")]
    assert len(rooms) == len(set(rooms))
