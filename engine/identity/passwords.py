"""Password hashes by Argon2id, in threads: a hash takes about 20 ms of one core, and other requests must not wait for
it.

The pool belongs to the process and not to an Engine, since the pool limits the CPU and memory of the process (19 MiB a
hash). Parameters are OWASP's second choice for Argon2id (Password Storage Cheat Sheet: m = 19 MiB, t = 2, p = 1).
"""

from __future__ import annotations

import asyncio
import functools
import unicodedata
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from engine.errors import FieldError, Invalid

MAX_CONCURRENT_HASHES = 2
PASSWORD_LENGTH_RANGE = (8, 256)
"""Minimum and maximum characters of a prepared password: at least 8 (NIST SP 800-63B); the maximum bounds the work of
a hash."""

_hasher = functools.cache(lambda: PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1))
_pool = functools.cache(lambda: ThreadPoolExecutor(MAX_CONCURRENT_HASHES, thread_name_prefix="password"))
_unmatchable_hash = functools.cache(lambda: _hasher().hash("a password that nobody has"))


def prepare_password(password: str) -> str:
    """Return ``password`` in the form that is hashed and compared: NFC, with each kind of space replaced by an ASCII
    space (RFC 8265 §4.2, OpaqueString). Some keyboards compose an accent and others do not; users of both kinds must be
    able to sign in.
    """
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", spaced)


def check_password(password: str) -> str:
    """Prepare ``password`` and check whether it is allowed. Return the prepared password. Raises Invalid if the length
    is wrong, if the password has a control character, or if it is one of the most common passwords (the 30,000 of
    zxcvbn's list, compared without case).
    """
    normal = prepare_password(password)
    low, high = PASSWORD_LENGTH_RANGE
    if not low <= len(normal) <= high:
        raise Invalid(errors=[FieldError("/password", f"Expected {low} to {high} characters")])
    if any(unicodedata.category(char) == "Cc" for char in normal):
        raise Invalid(errors=[FieldError("/password", "Control characters cannot be part of a password")])
    if normal.casefold() in _load_common_passwords():
        raise Invalid(errors=[FieldError("/password", "This is one of the most common passwords: choose another")])
    return normal


@functools.cache
def _load_common_passwords() -> frozenset[str]:
    # imported here, because the lists are long and few processes need them
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(password for password in FREQUENCY_LISTS["passwords"] if len(password) >= PASSWORD_LENGTH_RANGE[0])


async def hash_password(password: str) -> str:
    """Return the hash of ``password``; the hash contains the salt and the parameters. Raises the same errors as
    ``check_password``.
    """
    return await asyncio.get_running_loop().run_in_executor(_pool(), _hasher().hash, check_password(password))


async def is_correct_password(stored: str | None, password: str) -> bool:
    """Return whether ``stored`` is the hash of ``password``. Without a ``stored`` hash the check takes the same time
    and returns False, so that the response time does not reveal which accounts exist.
    """
    return await asyncio.get_running_loop().run_in_executor(_pool(), _is_correct_password, stored, password)


def _is_correct_password(stored: str | None, password: str) -> bool:
    normal = prepare_password(password)
    # Old hashes, from before passwords were prepared, are hashes of the password as typed.
    return _verify_hash(stored, normal) or (normal != password and _verify_hash(stored, password))


def _verify_hash(stored: str | None, password: str) -> bool:
    try:
        return _hasher().verify(stored or _unmatchable_hash(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False
