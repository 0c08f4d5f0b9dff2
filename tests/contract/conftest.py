"""Says what it means when PhiFlow's side of a known difference fails."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import phi
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the known difference that a failed test was about."""
    report = yield
    difference = getattr(getattr(item, "cls", None), "difference", None)
    if report.failed and report.when == "call" and difference is not None:
        if item.name.startswith("test_phi"):
            text = (
                f"phi.field.Scene of PhiFlow {phi.__version__} does not show this difference:\n"
                f"    {difference.id}: {difference.phi}\n"
                "If PhiFlow has changed, remove the entry from KNOWN_DIFFERENCES and from\n"
                "COMPATIBILITY.md (or say from which version on it holds), and make the\n"
                "h5scene side of this test a test of both implementations."
            )
        else:
            text = f"h5scene.Scene must differ here\n    {difference.id}: {difference.h5scene}"
        report.sections.append(("known difference", text))
    return report
