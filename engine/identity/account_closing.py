"""Close the account of a person who is to be erased, and open it again if they cannot be erased now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import IllegalTransition, NotFound
from engine.identity import outbox, tokens
from engine.sql.erasure_tables import erasures
from engine.sql.schema import users
from engine.technicians import sql
from engine.types import UserId

CLOSED_REASON = "to be erased"


async def close_account(conn: AsyncConnection, user: UserId, actor: str) -> None:
    """Close the account and end all its logins, in the transaction of a command. Raises NotFound."""
    await _set_active(conn, user, is_active=False)
    await tokens.end_all_logins(conn, user)
    await outbox.add_row(conn, user, code=outbox.REVOKED_CODE, actor=actor)


async def reopen_account(conn: AsyncConnection, user: UserId, actor: str) -> None:
    """Open an account again that ``close_account`` closed. The user must sign in again. Raises NotFound."""
    await _set_active(conn, user, is_active=True)
    await outbox.add_row(conn, user, actor=actor)


async def check_change(conn: AsyncConnection, user: UserId, change: Mapping[str, Any]) -> None:
    """Raise IllegalTransition if ``change`` opens the account of a person who is or will be erased."""
    query = select(erasures.c.id).where(erasures.c.user == user)
    if change.get("active") and (await conn.execute(query)).scalar_one_or_none():
        raise IllegalTransition("The person is erased, or will be")


async def _set_active(conn: AsyncConnection, user: UserId, *, is_active: bool) -> None:
    query = select(users.c.role).where(users.c.id == user).with_for_update(key_share=True)
    role = (await conn.execute(query)).scalar_one_or_none()
    if role is None:
        raise NotFound
    values = {"active": is_active, "reason": None if is_active else CLOSED_REASON, "version": users.c.version + 1}
    await conn.execute(update(users).where(users.c.id == user).values(**values))
    await sql.update_after_account_change(conn, user, role)
