"""What people type: the characters that a line or a text may have, and the one form in which it is kept.

The patterns refuse, so `/openapi.json` says what is refused. The functions change only what nobody sees: they trim,
compose (NFC) and write line ends as LF.
"""

from __future__ import annotations

import unicodedata

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_DIRECTION = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_FILLERS = r"\u115f\u1160\u17b4\u17b5\u3164\uffa0"
_INVISIBLE = _FILLERS + r"\u00ad\u034f\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"
_JOINERS = r"\u200c\u200d\u2800\ufe00-\ufe0f"
"""Between visible characters these have a meaning (Persian, Hindi, emoji); alone they show nothing."""

SEEN = rf"(?=[\s\S]*[^\s{_CONTROL}{_DIRECTION}{_INVISIBLE}{_JOINERS}])"
"""At least one character that somebody can see."""
NAME = rf"^{SEEN}[^{_CONTROL}{_DIRECTION}{_INVISIBLE}]*$(?!\n)"
"""One line for a name: without control characters, and without those that hide or turn round what others read."""
LINE = rf"^{SEEN}[^\x00-\x1f\x7f]*$(?!\n)"
TEXT = r"^[^\x00]*$(?!\n)"
LINES = rf"^{SEEN}[^\x00]*$"
"""One line or several, as people write an address or a reason."""


def normal(text: str) -> str:
    """``text`` trimmed, in NFC, its lines ended by LF."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def digits(text: str) -> str:
    """``text`` trimmed, with the decimal digits of every script as ASCII ones."""
    text = text.strip()
    if text.isascii():
        return text
    return "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in text)
