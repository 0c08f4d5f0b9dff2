"""Fixtures of the whole suite.

PhiFlow is imported only by the tests that ask for it: its import takes a second.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.contract.implementations import IMPLEMENTATIONS, H5Scene, Implementation, PhiFlow

# The same examples each time: who changes one thing is not to meet what chance finds in another.
# `pytest --hypothesis-profile=default` searches with new ones.
hypothesis.settings.register_profile("same", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("same")


@pytest.fixture(autouse=True)
def _no_file_stays_open() -> Iterator[None]:
    """Closes what a test left open, so that it cannot reach the next one or a deleted directory."""
    yield
    store = sys.modules.get("h5scene.store")
    if store is not None:
        store.close_all()


@pytest.fixture(params=list(IMPLEMENTATIONS))
def implementation(request: pytest.FixtureRequest, tmp_path: Path) -> Implementation:
    """Each implementation of Scene in turn, with a directory of its own."""
    return IMPLEMENTATIONS[request.param](tmp_path)


@pytest.fixture
def scene_class(implementation: Implementation) -> Any:
    """`phi.field.Scene` and `h5scene.Scene` in turn."""
    return implementation.Scene


@pytest.fixture
def scene(implementation: Implementation) -> Any:
    """One new, empty scene."""
    return implementation.create()


@pytest.fixture
def scenes(implementation: Implementation) -> Any:
    """Three new, empty scenes as one object, along a batch dim named `batch`."""
    return implementation.create(batch=3)


@pytest.fixture
def phi(tmp_path: Path) -> PhiFlow:
    """PhiFlow alone: its side of a known difference."""
    return PhiFlow(tmp_path)


@pytest.fixture
def h5scene(tmp_path: Path) -> H5Scene:
    """h5scene alone: its side of a known difference, and what only it can do."""
    return H5Scene(tmp_path)
