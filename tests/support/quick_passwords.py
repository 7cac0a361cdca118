"""A very fast password hasher. The tests register hundreds of accounts, and a production hash takes 20 to 60 ms of a
core.
"""

from __future__ import annotations

import functools

from argon2 import PasswordHasher

QUICK_HASHER = functools.cache(lambda: PasswordHasher(1, 8, 1))
