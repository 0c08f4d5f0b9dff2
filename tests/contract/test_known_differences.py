"""The table of known differences, its tests and COMPATIBILITY.md agree."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.contract.known_differences import KNOWN_DIFFERENCES, Difference

HEADER = ["| id | PhiFlow | h5scene | why |", "| --- | --- | --- | --- |"]


def document() -> str:
    """Returns COMPATIBILITY.md, as it is installed."""
    return (resources.files("h5scene") / "docs" / "COMPATIBILITY.md").read_text(encoding="utf-8")


def row(difference: Difference) -> str:
    """Returns the row of the document that describes a difference."""
    cells = (f"`{difference.id}`", difference.phi, difference.h5scene, difference.why)
    return f"| {' | '.join(cells)} |"


def table(topic: str) -> str:
    """Returns the table of the document for a topic."""
    rows = [row(entry) for entry in KNOWN_DIFFERENCES.values() if entry.topic == topic]
    return "\n".join([*HEADER, *rows])


def marked_classes() -> list[tuple[Difference, type]]:
    """Returns the test classes of the differences."""
    found = []
    for path in sorted(Path(__file__).parent.glob("test_differences_*.py")):
        module = importlib.import_module(f"tests.contract.{path.stem}")
        members = [member for member in vars(module).values() if isinstance(member, type)]
        found += [
            (m.difference, m)
            for m in members
            if m.__module__ == module.__name__ and hasattr(m, "difference")
        ]
    return found


@pytest.mark.parametrize("difference_id", KNOWN_DIFFERENCES)
def test_each_difference_is_tested_on_both_sides(difference_id: str) -> None:
    classes = [cls for difference, cls in marked_classes() if difference.id == difference_id]
    assert len(classes) == 1, f"one test class must be marked @shows({difference_id!r})"
    for side in ("phi", "h5scene"):
        tests = [name for name in vars(classes[0]) if name.startswith(f"test_{side}")]
        assert f"test_{side}" in tests, f"{classes[0].__name__} has no test_{side}"


def test_tests_ask_for_the_side_they_are_named_after() -> None:
    for _, cls in marked_classes():
        for name, test in vars(cls).items():
            if name.startswith("test_"):
                side = name.split("_")[1]
                assert side in test.__code__.co_varnames[: test.__code__.co_argcount], (
                    f"{cls.__name__}.{name}"
                )


@pytest.mark.parametrize("topic", dict.fromkeys(d.topic for d in KNOWN_DIFFERENCES.values()))
def test_the_document_has_the_same_tables(topic: str) -> None:
    assert f"## {topic}\n\n{table(topic)}\n" in document(), (
        f"it must hold\n\n## {topic}\n\n{table(topic)}"
    )


def test_the_document_has_no_other_rows() -> None:
    ids = re.findall(r"^\| `([^`]+)` \|", document(), re.MULTILINE)
    assert Counter(ids) == Counter(KNOWN_DIFFERENCES.keys())


def test_entries_can_stand_in_a_table() -> None:
    for entry in KNOWN_DIFFERENCES.values():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry.id)
        values: list[Any] = [entry.phi, entry.h5scene, entry.why]
        for text in values:
            assert "|" not in text
            assert "\n" not in text
            assert text.endswith(".")
