"""E-mail addresses as accounts are known by them."""

from __future__ import annotations

import re
import unicodedata

from engine.errors import FieldError, Invalid

_EMAIL = re.compile(r"[^@\s\x00]+@[^@\s\x00]+")


def checked(email: str) -> str:
    """``email`` as it is compared. Raises Invalid for what is no address."""
    found = normal(email)
    if len(found) > 254 or not _EMAIL.fullmatch(found):
        raise Invalid(errors=[FieldError("/email", "Expected an e-mail address")])
    return found


def normal(email: str) -> str:
    """``email`` trimmed, NFKC, without case: what two spellings of one address have in common."""
    return unicodedata.normalize("NFKC", email).strip().casefold()
