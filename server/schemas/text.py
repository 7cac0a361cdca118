"""Texts that people type: the characters that a line or a text may have, and the one form in which it is stored.

The patterns refuse texts, so `/openapi.json` documents which texts are refused. The functions only make changes that
nobody sees: they trim, compose (NFC) and write line ends as LF.
"""

from __future__ import annotations

import unicodedata

from engine.rules.invisible import CONTROL_RANGES, DIRECTION_RANGES, INVISIBLE_RANGES, JOINER_RANGES

VISIBLE_LOOKAHEAD = rf"(?=[\s\S]*[^\s{CONTROL_RANGES}{DIRECTION_RANGES}{INVISIBLE_RANGES}{JOINER_RANGES}])"
"""At least one visible character."""
NAME_PATTERN = rf"^{VISIBLE_LOOKAHEAD}[^{CONTROL_RANGES}{DIRECTION_RANGES}{INVISIBLE_RANGES}]*$(?!\n)"
"""The pattern of a name: one line without control characters and without characters that hide or reverse text."""
LINE_PATTERN = rf"^{VISIBLE_LOOKAHEAD}[^\x00-\x1f\x7f]*$(?!\n)"
TEXT_PATTERN = r"^[^\x00]*$(?!\n)"
LINES_PATTERN = rf"^{VISIBLE_LOOKAHEAD}[^\x00]*$"
"""The pattern of an address or a reason: one or more lines."""


def normalise_text(text: str) -> str:
    """Return ``text`` trimmed, in NFC, with LF as line end."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def normalise_digits(text: str) -> str:
    """Return ``text`` trimmed, with the decimal digits of every script as ASCII digits."""
    text = text.strip()
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)
