"""Passwords as Argon2id, off the loop: a hash is some 20 ms of one core, which no other request may wait for.

The pool is the process's, not an Engine's: what it bounds is the process's CPU and memory (19 MiB a hash).
Parameters are OWASP's second choice for Argon2id (Password Storage Cheat Sheet: m = 19 MiB, t = 2, p = 1).
"""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE = 2

_hasher = functools.cache(lambda: PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1))
_pool = functools.cache(lambda: ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password"))
_nobody = functools.cache(lambda: _hasher().hash("a password that nobody has"))


async def hashed(password: str) -> str:
    """The hash of ``password``, with its own salt and parameters in it."""
    return await asyncio.get_running_loop().run_in_executor(_pool(), _hasher().hash, password)


async def matches(stored: str | None, password: str) -> bool:
    """Whether ``password`` is the one. Without a ``stored`` hash it takes as long and says no, so that the time
    of an answer does not tell which accounts there are.
    """
    return await asyncio.get_running_loop().run_in_executor(_pool(), _matches, stored, password)


def _matches(stored: str | None, password: str) -> bool:
    try:
        return _hasher().verify(stored or _nobody(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False
