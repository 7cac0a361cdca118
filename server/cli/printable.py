"""Texts that come from a file or from a stranger, as a terminal may show them."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with what is not visible as escapes. Control characters could give orders to the terminal, and
    marks of direction could show another text than there is.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
