"""Who may act: the record ``{u:<id>}:account``, against which every request is checked.

It is a copy of what SQL says and is put by version, so that any number of processes may put it in any order. It holds
role and activity, and the logins that ended while an access token of theirs may still be good.

The record names the life of the server (``run_id``) that it was put into. After a restart or a failover Redis may hold
an older record than SQL, active where SQL has suspended; so a record of another life is read from SQL at its next use.
"""

from __future__ import annotations

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
from engine.zone.opening import WHY

if TYPE_CHECKING:
    from engine.runtime import Engine

ACCESS_S = 3_600
"""How long an access token is good, and a login that ended is remembered."""


class AccountRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is checked of a user on every request. ``out``: logins that ended."""

    id: UserId
    role: Role
    active: bool
    version: int
    out: tuple[str, ...] = ()


class Access(NamedTuple):
    """The same as Redis has it."""

    role: str
    active: bool
    out: frozenset[str]


def check_database(engine: Engine) -> None:
    """Raise Unavailable where Redis belongs to another database than ours: an account that this one does not have is
    not gone, and one that is made here would be.
    """
    for state in engine.store.zones.values():
        if not state.open and state.why == WHY["OTHER_DATABASE"]:
            raise Unavailable(state.why)


async def of(engine: Engine, user: UserId) -> Access:
    """What ``user`` may do now. Raises Unauthenticated where there is no such account, Unavailable."""
    role, active, out, life = await engine.store.command("HMGET", keys.account(user), "role", "active", "out", "life")
    if role is not None and life == engine.store.run_id.encode():
        return _access(role, active, out)
    try:
        async with engine.archive.reading() as conn:
            record = await read(conn, user)
    except NotFound:
        check_database(engine)
        if role is None:
            raise Unauthenticated("No such account") from None
        return _access(role, active, out)
    except Unavailable:
        if role is None:
            raise
        return _access(role, active, out)  # with the database away, the best that is known
    try:
        return await put(engine, record)
    except Indeterminate as error:  # the copy may be there, but nothing that was asked has begun
        raise Unavailable(error.detail) from error


async def read(conn: AsyncConnection, user: UserId) -> AccountRecord:
    """The record as SQL has it. Raises NotFound."""
    c = users.c
    row = (await conn.execute(select(c.role, c.active, c.version).where(c.id == user))).one_or_none()
    if row is None:
        raise NotFound
    ended = (sessions.c.user == user) & (sessions.c.ended_at > now_ms() - ACCESS_S * 1000)
    out = (await conn.execute(select(sessions.c.id).where(ended))).scalars().all()
    return AccountRecord(id=user, role=row.role, active=row.active, version=row.version, out=tuple(out))


async def put(engine: Engine, record: AccountRecord) -> Access:
    """Copy ``record`` to Redis unless a newer one is there; gives what stands there then. Raises as ``Store.run``."""
    args: Args = {
        "version": record.version,
        "role": record.role,
        "active": int(record.active),
        "out": " ".join(record.out),
        "life": engine.store.run_id,
    }
    send, names = engine.store.packed.submit, {"account": keys.account(record.id)}
    reply = await engine.store.ask(send, "account_put", keys=names, args=args)
    return _access(*reply[4:])


def _access(role: bytes, active: bytes, out: bytes | None) -> Access:
    return Access(role.decode(), active == b"1", frozenset((out or b"").decode().split()))
