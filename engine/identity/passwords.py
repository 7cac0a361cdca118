"""Passwords as Argon2id, off the loop: a hash is some 20 ms of one core, which no other request may wait for.

The pool is the process's, not an Engine's: what it bounds is the process's CPU and memory (19 MiB a hash).
Parameters are OWASP's second choice for Argon2id (Password Storage Cheat Sheet: m = 19 MiB, t = 2, p = 1).
"""

from __future__ import annotations

import asyncio
import functools
import unicodedata
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from engine.errors import FieldError, Invalid

AT_ONCE = 2
LENGTH = (8, 256)
"""Characters of a password, after preparation: at least 8 (NIST SP 800-63B), and a bound on the work of a hash."""

_hasher = functools.cache(lambda: PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1))
_pool = functools.cache(lambda: ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password"))
_nobody = functools.cache(lambda: _hasher().hash("a password that nobody has"))


def prepared(password: str) -> str:
    """``password`` as it is hashed and compared: NFC, every kind of space an ASCII space (RFC 8265 §4.2,
    OpaqueString). One keyboard composes an accent and another does not; both must sign in.
    """
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", spaced)


def checked(password: str) -> str:
    """``password``, prepared. Raises Invalid for one of a wrong length, with a control character, or among the most
    common ones (the 30,000 of zxcvbn's list, in any case).
    """
    found = prepared(password)
    if not LENGTH[0] <= len(found) <= LENGTH[1]:
        raise Invalid(errors=[FieldError("/password", f"Expected {LENGTH[0]} to {LENGTH[1]} characters")])
    if any(unicodedata.category(char) == "Cc" for char in found):
        raise Invalid(errors=[FieldError("/password", "Control characters cannot be part of a password")])
    if found.casefold() in _common():
        raise Invalid(errors=[FieldError("/password", "This is one of the most common passwords: choose another")])
    return found


@functools.cache
def _common() -> frozenset[str]:
    return frozenset(password for password in FREQUENCY_LISTS["passwords"] if len(password) >= LENGTH[0])


async def hashed(password: str) -> str:
    """The hash of ``password``, with its own salt and parameters in it. Raises as ``checked``."""
    return await asyncio.get_running_loop().run_in_executor(_pool(), _hasher().hash, checked(password))


async def matches(stored: str | None, password: str) -> bool:
    """Whether ``password`` is the one. Without a ``stored`` hash it takes as long and says no, so that the time
    of an answer does not tell which accounts there are.
    """
    return await asyncio.get_running_loop().run_in_executor(_pool(), _matches, stored, password)


def _matches(stored: str | None, password: str) -> bool:
    found = prepared(password)
    # Hashes from before passwords were prepared are of the password as it was typed.
    return _verifies(stored, found) or (found != password and _verifies(stored, password))


def _verifies(stored: str | None, password: str) -> bool:
    try:
        return _hasher().verify(stored or _nobody(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False
