"""The virtual environment that the scripts in this folder run in.

It is `.venv-tools` at the top of the repository, made on first use and brought up to date when what
it was made from has changed. Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import configparser
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-tools"
STAMP = ENVIRONMENT / "installed.json"
SOURCES = ("setup.cfg", "pyproject.toml", "h5scene/_version.py")


def prepare(*extras: str) -> None:
    """Makes the environment, with these extras of the package, unless it is there already."""
    _check_python()
    found = _read_stamp()
    # An environment can be neither moved nor given another Python.
    origin = {"python": sys.version, "place": str(ENVIRONMENT)}
    usable = origin.items() <= found.items() and Path(program("python")).exists()
    if usable:
        # All scripts share the environment: what another one needed stays.
        extras = tuple(sorted({*extras, *found["extras"]}))
    wanted = {**origin, "sources": _fingerprint(), "extras": sorted(extras)}
    if usable and found == wanted:
        return
    print(f"Setting up {ENVIRONMENT.name} for these scripts; this can take a few minutes …")
    sys.stdout.flush()
    STAMP.unlink(missing_ok=True)
    if not usable:
        _check_venv()
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(ENVIRONMENT)])
    install = [program("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*install, "--editable", f"{ROOT}[{','.join(wanted['extras'])}]"])
    STAMP.write_text(json.dumps(wanted, indent=1), encoding="utf-8")


def program(name: str) -> str:
    """Returns the path of a program in the environment."""
    folder, suffix = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")
    return str(ENVIRONMENT / folder / f"{name}{suffix}")


def call(*command: str, cwd: Path | None = None) -> int:
    """Runs a command with this terminal as its input and output, and returns its exit status."""
    sys.stdout.flush()
    try:
        return subprocess.call(command, cwd=cwd, env=_environ())
    except KeyboardInterrupt:
        return 130


def _environ() -> dict[str, str]:
    """Returns the environment variables, without those that mix in packages from elsewhere."""
    foreign = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    kept = {name: value for name, value in os.environ.items() if name not in foreign}
    return {**kept, "PYTHONNOUSERSITE": "1", "PIP_USER": "0"}


def _fingerprint() -> str:
    """Returns a digest of what an installation depends on."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def _read_stamp() -> dict[str, Any]:
    """Returns what the environment was made from; nothing when it was not finished."""
    try:
        stamp: dict[str, Any] = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp


def _check_python() -> None:
    """Stops with a message when this Python is older than the package needs."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    oldest = config["options"]["python_requires"].replace(">=", "").strip()
    if sys.version_info < tuple(int(part) for part in oldest.split(".")):
        _fail(f"This needs Python {oldest} or newer; {sys.executable} is {sys.version.split()[0]}.")


def _check_venv() -> None:
    """Stops with a message when this Python cannot make virtual environments."""
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        _fail(
            f"{sys.executable} cannot make virtual environments: its modules venv and ensurepip are"
            f" missing.\nDebian and Ubuntu: apt-get install python{version}-venv (or python3-venv)."
        )


def _run(command: list[str]) -> None:
    """Runs a step of the set-up; stops with a message when it fails."""
    status = call(*command)
    if status:
        _fail(f"The set-up failed (exit status {status}) at: {' '.join(command)}")


def _fail(message: str) -> NoReturn:
    sys.exit(f"{Path(sys.argv[0]).name}: {message}")
