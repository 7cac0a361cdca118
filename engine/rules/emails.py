"""E-mail addresses in two forms: as the owner typed it, and the compared form that identifies an account.

Two spellings that look alike must not become two accounts, and mail must go to the mailbox that was typed:
`straße@example.org` and `strasse@example.org` are one account here, but may be two mailboxes at the provider. So both
forms are stored.
"""

from __future__ import annotations

import re
import unicodedata

from engine.errors import FieldError, Invalid
from engine.rules.invisible import CONTROL_RANGES, DIRECTION_RANGES, INVISIBLE_RANGES, JOINER_RANGES

_EMAIL_PATTERN = re.compile(r"[^@\s\x00]+@[^@\s\x00]+")
_INVISIBLE_PATTERN = re.compile(f"[{CONTROL_RANGES}{DIRECTION_RANGES}{INVISIBLE_RANGES}{JOINER_RANGES}]")
REGISTRATION_PREFIX = "email:"
"""How the principal of a registration begins: who registers is no user yet."""
MAX_CHARS = 254
"""The most characters of an address (RFC 5321, errata 1690)."""


def registrant(email: str) -> str:
    """Return the principal of a registration under an address in its compared form."""
    return f"{REGISTRATION_PREFIX}{email}"


def normalise_email(email: str) -> str:
    """Return ``email`` as its owner typed it, trimmed and in NFC: the form for display and for mail.

    Raises Invalid for a text that is not an address, and for invisible characters (zero width, fillers, joiners, soft
    hyphen, direction marks).
    """
    found = unicodedata.normalize("NFC", email).strip()
    if not _EMAIL_PATTERN.fullmatch(found) or len(found) > MAX_CHARS or len(comparison_form(found)) > MAX_CHARS:
        raise Invalid(errors=[FieldError("/email", "Expected an e-mail address")])
    if _INVISIBLE_PATTERN.search(found):
        raise Invalid(
            errors=[FieldError("/email", "The address contains an invisible character: type the address again")]
        )
    return found


def comparison_form(email: str) -> str:
    """Return the form in which two spellings of one address are equal: NFKC, casefolded, trimmed. Rate limits count by
    this form too.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", email).casefold())
    return folded.strip()
