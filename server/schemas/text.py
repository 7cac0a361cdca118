"""Texts that people type: the characters that a line or a text may have, and the one form in which it is stored.

The patterns refuse, so `/openapi.json` documents what is refused. The functions change only what nobody sees: they
trim, compose (NFC) and write line ends as LF.
"""

from __future__ import annotations

import unicodedata

from engine.rules.invisible import CONTROL, DIRECTION, INVISIBLE, JOINERS

SEEN = rf"(?=[\s\S]*[^\s{CONTROL}{DIRECTION}{INVISIBLE}{JOINERS}])"
"""At least one visible character."""
NAME = rf"^{SEEN}[^{CONTROL}{DIRECTION}{INVISIBLE}]*$(?!\n)"
"""One line for a name: without control characters, and without characters that hide or reverse other text."""
LINE = rf"^{SEEN}[^\x00-\x1f\x7f]*$(?!\n)"
TEXT = r"^[^\x00]*$(?!\n)"
LINES = rf"^{SEEN}[^\x00]*$"
"""One line or several, as people write an address or a reason."""


def normal(text: str) -> str:
    """Return ``text`` trimmed, in NFC, with LF as line end."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def digits(text: str) -> str:
    """Return ``text`` trimmed, with the decimal digits of every script as ASCII digits."""
    text = text.strip()
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)
