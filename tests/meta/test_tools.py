"""The virtual environment of the scripts: when it is made, when it is kept, and what is said."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


class Commands(list[str]):
    """Stands for running commands: notes what they are, and makes what they would make."""

    def __init__(self, environment: ModuleType):
        super().__init__()
        self.environment = environment
        self.status = 0

    def __call__(self, *command: str, cwd: Path | None = None) -> int:
        """Notes `venv`, or `pip` and the extras that it installs."""
        if "venv" in command:
            self.append("venv")
            python = Path(self.environment.program("python"))
            python.parent.mkdir(parents=True)
            python.touch()
        else:
            self.append("pip " + command[-1].rpartition("[")[2].rstrip("]"))
        return self.status

    def taken(self) -> list[str]:
        """Returns what was noted since the last time."""
        noted = list(self)
        self.clear()
        return noted


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module tools/environment.py, for a repository of its own."""
    spec = importlib.util.spec_from_file_location("environment", TOOLS / "environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "setup.cfg").write_text("[options]\npython_requires = >=3.10\n", encoding="utf-8")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "ENVIRONMENT", tmp_path / ".venv-tools")
    monkeypatch.setattr(module, "STAMP", tmp_path / ".venv-tools" / "installed.json")
    monkeypatch.setattr(module, "SOURCES", ("setup.cfg",))
    return module


@pytest.fixture
def commands(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """What would be run."""
    commands = Commands(environment)
    monkeypatch.setattr(environment, "call", commands)
    return commands


def test_environment_is_made_once(environment: ModuleType, commands: Commands) -> None:
    environment.prepare("demo")
    assert commands.taken() == ["venv", "pip demo"]
    environment.prepare("demo")
    assert commands.taken() == []


def test_further_extras_are_added(environment: ModuleType, commands: Commands) -> None:
    environment.prepare("demo")
    commands.clear()
    environment.prepare("test")
    assert commands.taken() == ["pip demo,test"]
    environment.prepare("demo")
    assert commands.taken() == []


def test_changed_requirements_are_installed(environment: ModuleType, commands: Commands) -> None:
    environment.prepare("demo")
    commands.clear()
    with (environment.ROOT / "setup.cfg").open("a", encoding="utf-8") as file:
        file.write("install_requires = numpy\n")
    environment.prepare("demo")
    assert commands.taken() == ["pip demo"]


def test_moved_repository_is_installed_again(
    environment: ModuleType, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.prepare("demo")
    commands.clear()
    (tmp_path / "moved").mkdir()
    for name in ("setup.cfg", ".venv-tools"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    monkeypatch.setattr(environment, "ROOT", tmp_path / "moved")
    monkeypatch.setattr(environment, "ENVIRONMENT", tmp_path / "moved" / ".venv-tools")
    monkeypatch.setattr(environment, "STAMP", tmp_path / "moved" / ".venv-tools" / "installed.json")
    environment.prepare("demo")
    assert commands.taken() == ["venv", "pip demo"]


def test_unfinished_environment_is_made_again(environment: ModuleType, commands: Commands) -> None:
    commands.status = 1
    with pytest.raises(SystemExit, match="failed"):
        environment.prepare("demo")
    assert commands.taken() == ["venv"]
    commands.status = 0
    environment.prepare("demo")
    assert commands.taken() == ["venv", "pip demo"]


def test_environment_of_another_python_is_made_again(
    environment: ModuleType, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment.prepare("demo")
    commands.clear()
    monkeypatch.setattr(sys, "version", "3.99")
    environment.prepare("demo")
    assert commands.taken() == ["venv", "pip demo"]


def test_old_python_is_told(
    environment: ModuleType, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit, match=r"needs Python 3\.10 or newer"):
        environment.prepare("demo")
    assert commands.taken() == []


def test_missing_ensurepip_is_told(
    environment: ModuleType, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="apt-get install python3"):
        environment.prepare("demo")
    assert commands.taken() == []
