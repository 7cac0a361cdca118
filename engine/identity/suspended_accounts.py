"""Suspended technicians: they may sign in and read what they have earned, because it is their money, and nothing else.

The logins of before the suspension have ended. A login of a suspended technician has an access token alone that works:
each refresh is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from engine.identity import access
from engine.sql.erasure_tables import erasures
from engine.types import Principal

if TYPE_CHECKING:
    from engine.runtime import Engine


async def may_sign_in(engine: Engine, account: Mapping[Any, Any]) -> bool:
    """Return whether the owner of an account that is not active may sign in: a technician who is not to be erased.
    Raises Unavailable.
    """
    if account["role"] != "technician":
        return False
    async with engine.archive.begin_read() as conn:
        query = select(erasures.c.id).where(erasures.c.user == account["id"])
        return (await conn.execute(query)).first() is None


async def principal_of(engine: Engine, token: str) -> Principal | None:
    """Return the suspended technician to whom an access token belongs; None if its login has ended or their role is
    another one. Raises Unauthenticated and TokenExpired for a token that is not valid, Unavailable.
    """
    principal = engine.signer.verify(token)
    record = await access.read_access(engine, principal.id)
    is_open = principal.family != "" and principal.family not in record.ended_logins
    return principal if is_open and record.role == principal.role == "technician" else None
