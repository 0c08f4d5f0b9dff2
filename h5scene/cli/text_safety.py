"""Text of others on the terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Returns text that a terminal takes for text: names come from files of others."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
