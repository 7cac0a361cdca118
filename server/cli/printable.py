"""Make texts of files and strangers safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with escapes in place of invisible characters. Control characters could control the terminal, and
    direction marks could make it show another text.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
