"""Logins of users. Each login is a family of refresh tokens (engine/identity/tokens.py). Users list and end their own
logins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.clock import now_ms
from engine.errors import NotFound
from engine.events import rfc3339_of
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import Result
from engine.identity import outbox, tokens
from engine.sql.paging import Slice, check_limit, decode_cursor, make_slice
from engine.sql.schema import sessions
from engine.types import Principal

if TYPE_CHECKING:
    from engine.runtime import Engine


class UserLogin(msgspec.Struct, frozen=True):
    """A login of a user. ``last_seen`` is when the login's tokens were last issued. ``current`` is true if the
    request's token belongs to this login.
    """

    id: str
    created_at: str
    last_seen: str
    device: str | None
    current: bool


async def find_logins(
    engine: Engine, caller: Principal, *, limit: int = 50, cursor: str | None = None
) -> Slice[UserLogin]:
    """Return the caller's logins that have neither ended nor expired, the latest first. Raises Invalid (limit,
    cursor).
    """
    check_limit(limit)
    columns = sessions.c
    rows = (
        select(columns.id, columns.rotated_at, columns.device)
        .where(_valid_login_condition(caller))
        .order_by(columns.id.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        (last,) = decode_cursor(cursor, tuple[str])
        rows = rows.where(columns.id < last)
    async with engine.archive.begin_read() as conn:
        loaded = list((await conn.execute(rows)).all())
    page = make_slice(loaded, limit, lambda row: (row.id,))
    return Slice([_login_of_row(row, caller) for row in page.items], page.next)


async def end_login(engine: Engine, caller: Principal, login_id: str, *, key: str | None = None) -> Result[str]:
    """End one of the caller's own logins. When this function returns, the login's tokens are refused and its sockets
    are closed.

    Raises NotFound for the login of another user and for a login that ended or expired.
    """

    async def run_in_transaction(conn: AsyncConnection) -> str:
        await tokens.lock_user(conn, caller.id)
        mine = select(sessions.c.id).where(_valid_login_condition(caller), sessions.c.id == login_id)
        if (await conn.execute(mine)).one_or_none() is None:
            raise NotFound("You have no such login")
        await tokens.end_login(conn, caller.id, login_id)
        return login_id

    request = in_sql.new_request(caller.id, key, "end_login", login_id)
    result = await in_redis.run_once(engine, request, str, run_in_transaction, needs_redis=False)
    with in_sql.unavailable_as_indeterminate():
        await outbox.apply_rows(engine, caller.id)
    return result


def _valid_login_condition(caller: Principal) -> Any:
    columns = sessions.c
    return (columns.user == caller.id) & columns.ended_at.is_(None) & (columns.expires_at > now_ms())


def _login_of_row(row: Any, caller: Principal) -> UserLogin:
    created_ms = ULID.from_str(row.id.partition("_")[2].upper()).milliseconds
    return UserLogin(row.id, rfc3339_of(created_ms), rfc3339_of(row.rotated_at), row.device, row.id == caller.family)
