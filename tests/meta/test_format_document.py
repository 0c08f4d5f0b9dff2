"""FORMAT.md explains every name that stands in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5scene
from h5scene.format import layout

FORMAT = Path(h5scene.__file__).parent / "docs" / "FORMAT.md"


def _names(value: Any) -> Iterator[str]:
    """Yields the strings in a constant."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _names([*value, *value.values()])
    elif isinstance(value, tuple | list | set | frozenset):
        for member in value:
            yield from _names(member)


def _is_explained(constant: str, name: str, text: str) -> bool:
    """Whether a name stands in the text in code quotes, as a JSON string, or in a path."""
    if constant.endswith("_SUFFIX"):
        return f"{name}`" in text
    return any(quote + name in text for quote in ("`", '"', "@", "/", "<"))


def test_every_name_of_layout_is_explained() -> None:
    text = FORMAT.read_text(encoding="utf-8")
    names = [
        (constant, name)
        for constant, value in vars(layout).items()
        if constant.isupper()
        for name in _names(value)
    ]
    assert names
    assert [(c, name) for c, name in names if not _is_explained(c, name, text)] == []


def test_version_is_that_of_layout() -> None:
    first_lines = FORMAT.read_text(encoding="utf-8").split("\n")[:10]
    assert any(layout.FORMAT_VERSION in line for line in first_lines)
