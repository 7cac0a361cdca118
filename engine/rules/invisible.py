"""Characters that are invisible or that change the direction of text, for use in a character class of a regular
expression.

They are Unicode's default-ignorable code points, control characters, direction marks and separators of lines. Two names
or addresses that differ only in such characters would look the same.
"""

from __future__ import annotations

CONTROL_RANGES = r"\x00-\x1f\x7f-\x9f"
DIRECTION_RANGES = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_FILLER_RANGES = r"\u115f\u1160\u17b4\u17b5\u3164\uffa0"
_BLANK_RANGES = r"\u00ad\u034f\u180b-\u180f\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff0-\ufffb"
_ASTRAL_RANGES = "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
INVISIBLE_RANGES = _FILLER_RANGES + _BLANK_RANGES + _ASTRAL_RANGES
JOINER_RANGES = r"\u200c\u200d\u2800\ufe00-\ufe0f"
"""Between visible characters these have a meaning (Persian, Hindi, emoji). Alone they are invisible."""
