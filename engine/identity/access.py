"""Whether a user may act: the record ``{u:<id>}:account`` in Redis, against which every request is checked.

The record is a copy of SQL. A write of an older version has no effect, so that any number of processes may write the
record in any order. The record contains the role, whether the account is active, and the logins that ended while one of
their access tokens may still be valid.

The record names the run of the Redis server (``run_id``) in which it was written. After a restart or a failover Redis
may contain an older record than SQL, for example an active record although the account is suspended in SQL. Therefore a
record of another run is read from SQL again at its next use.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.errors import Indeterminate, NotFound, Unauthenticated, Unavailable
from engine.sql.schema import sessions, users
from engine.store import keys
from engine.store.scripts import Args
from engine.types import Role, UserId
from engine.zone.opening import CLOSED_REASONS

if TYPE_CHECKING:
    from engine.runtime import Engine

ACCESS_TOKEN_S = 3_600
"""The lifetime of an access token in seconds, and how long the record contains a login that ended."""


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The account fields that are checked for every request of the user. ``ended_logins`` are ids of logins."""

    id: UserId
    role: Role
    active: bool
    version: int
    ended_logins: tuple[str, ...] = ()


class AccountAccess(NamedTuple):
    """The fields of an ``AccountRecord`` that are read from Redis."""

    role: str
    active: bool
    ended_logins: frozenset[str]


def check_database(engine: Engine) -> None:
    """Raise Unavailable if Redis belongs to another SQL database than this process uses: an account that is missing
    here may exist in that database, and an account created here would be missing there.
    """
    for state in engine.store.zones.values():
        if not state.open and state.why == CLOSED_REASONS["OTHER_DATABASE"]:
            raise Unavailable(state.why)


async def read_access(engine: Engine, user: UserId) -> AccountAccess:
    """Return the present role, activity and ended logins of ``user``. Raises Unauthenticated if there is no such
    account, Unavailable.
    """
    role, active, out, run_id = await engine.store.command("HMGET", keys.account(user), "role", "active", "out", "life")
    if role is not None and run_id == engine.store.shards.shard_of(keys.account(user)).run_id.encode():
        return _parse_access(role, active, out)
    try:
        async with engine.archive.begin_read() as conn:
            record = await read_from_sql(conn, user)
    except NotFound:
        check_database(engine)
        if role is None:
            raise Unauthenticated("No such account") from None
        return _parse_access(role, active, out)
    except Unavailable:
        if role is None:
            raise
        return _parse_access(
            role, active, out
        )  # the database is unavailable: use the record in Redis, which may be old
    try:
        return await write_to_redis(engine, record)
    except Indeterminate as error:  # the copy may be written, but the request itself has not begun
        raise Unavailable(error.detail) from error


async def find_inactive(engine: Engine, users: Sequence[UserId]) -> set[str]:
    """Return those of ``users`` whose record in Redis says that the account is suspended or closed. Raises
    Unavailable.
    """
    read = engine.store.read_connection
    active = await asyncio.gather(*(read.hget(keys.account(user), "active") for user in users))
    return {user for user, value in zip(users, active, strict=True) if value == b"0"}


async def read_from_sql(conn: AsyncConnection, user: UserId) -> AccountRecord:
    """Read the account's record from SQL. Raises NotFound if there is no such account."""
    columns = users.c
    row = (
        await conn.execute(select(columns.role, columns.active, columns.version).where(columns.id == user))
    ).one_or_none()
    if row is None:
        raise NotFound
    ended = (sessions.c.user == user) & (sessions.c.ended_at > now_ms() - ACCESS_TOKEN_S * 1000)
    out = (await conn.execute(select(sessions.c.id).where(ended))).scalars().all()
    return AccountRecord(id=user, role=row.role, active=row.active, version=row.version, ended_logins=tuple(out))


async def write_to_redis(engine: Engine, record: AccountRecord) -> AccountAccess:
    """Copy ``record`` to Redis unless Redis has a newer version. Returns the record that is then in Redis. Raises the
    same errors as ``Store.run``.
    """
    args: Args = {
        "version": record.version,
        "role": record.role,
        "active": int(record.active),
        "ended_logins": " ".join(record.ended_logins),
        "run_id": engine.store.shards.shard_of(keys.account(record.id)).run_id,
    }
    done = await engine.store.run_for_user("account_put", keys={"account": keys.account(record.id)}, args=args)
    return _parse_access(*done.values)


def _parse_access(role: bytes, active: bytes, ended_logins: bytes | None) -> AccountAccess:
    return AccountAccess(role.decode(), active == b"1", frozenset((ended_logins or b"").decode().split()))
