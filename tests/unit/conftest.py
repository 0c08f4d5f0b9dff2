"""Fixtures of several modules."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the directory of the test the current one."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every transaction of a merge copy three objects."""
    monkeypatch.setattr("h5scene.handling.scene_copies.PORTION_OBJECTS", 3)
