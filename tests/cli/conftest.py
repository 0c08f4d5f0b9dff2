"""The files that commands are tried on: made once, and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.sample import make_sample


@pytest.fixture(scope="session")
def made_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with something of everything, for copying."""
    return make_sample(tmp_path_factory.mktemp("sample") / "runs.h5")


@pytest.fixture
def sample(made_sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`runs.h5` in the current directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copyfile(made_sample, tmp_path / "runs.h5"))
