"""People: registration, sign-in, staff, suspension. SQL is the source; what must bite at once is also hot.

A command here is one SQL transaction under its request key, with a row in the outbox (engine/identity/outbox.py);
then what the row owes to Redis, then the reply. Where Redis fails after the commit the answer is *indeterminate*, never
*unavailable*, which would promise that nothing was done. The outbox brings it into effect by itself as soon as Redis is
there, and the same key again finds the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.errors import (
    Duplicate,
    Forbidden,
    NotFound,
    ReusedKey,
    Unauthenticated,
)
from engine.events import iso
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import Result
from engine.identity import access, outbox, passwords, tokens
from engine.roles import ADMIN, OPS, demand
from engine.rules import emails
from engine.sql.paging import Slice, check_limit, decode_cursor, slice_of
from engine.sql.schema import users
from engine.technicians import sql
from engine.types import Principal, Role, UserId, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine


class User(msgspec.Struct, frozen=True):
    """An account as its owner and admins see it; ``card`` is what ops see of it."""

    id: UserId
    email: str
    name: str
    role: Role
    phone: str | None
    active: bool
    created_at: str

    @property
    def card(self) -> UserCard:
        """The account without what reaches the person."""
        return UserCard(self.id, self.name, self.role, self.active, self.created_at)


class UserCard(msgspec.Struct, frozen=True):
    """An account without e-mail and phone."""

    id: UserId
    name: str
    role: Role
    active: bool
    created_at: str


class SignedIn(msgspec.Struct, frozen=True):
    """The answer to registration and sign-in: the account, and a fresh pair of tokens."""

    user: User
    access_token: str
    refresh_token: str
    token_type: str = "Bearer"
    expires_in: int = access.ACCESS_S


class NewAccount(msgspec.Struct, frozen=True, kw_only=True):
    email: str
    password: str
    name: str
    role: Role
    phone: str | None = None


class UserQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Accounts in order of making, the newest first; ``role`` and ``active`` narrow it."""

    role: Role | None = None
    active: bool | None = None
    limit: int = 50
    cursor: str | None = None


# Signing in


async def register(
    engine: Engine, new: NewAccount, *, key: str | None = None, device: str | None = None
) -> Result[SignedIn]:
    """Make a customer or a technician and sign him in. ``device``: how the client names itself.

    Raises Forbidden for another role, Duplicate for an e-mail that is taken, Invalid. A repeat by key proves
    itself by the password (ReusedKey otherwise), since nobody has signed in yet.
    """
    if new.role not in ("customer", "technician"):
        raise Forbidden("Staff accounts are made by an admin")
    email = emails.compared(emails.typed(new.email))
    asked = in_sql.request(
        f"email:{email}", key, "register", new.name, new.role, new.phone, ttl_s=in_sql.CREATION_TTL_S
    )
    kept = await _create(engine, new, asked)
    if kept.repeated and not await passwords.matches(await _hash_of(engine, kept.value.id), new.password):
        raise ReusedKey
    with in_sql.unavailable_as_indeterminate():
        return Result(await _signed_in(engine, kept.value, device), kept.key, kept.repeated)


async def login(engine: Engine, email: str, password: str, *, device: str | None = None) -> SignedIn:
    """Sign in. Raises Unauthenticated, the same and as slowly for a wrong password and an unknown e-mail; what
    ``tokens.suspended`` gives for a suspended account, to who knows its password.
    """
    access.check_database(engine)
    async with engine.archive.reading() as conn:
        query = select(users).where(users.c.email == emails.compared(email))
        row = (await conn.execute(query)).mappings().one_or_none()
    if not await passwords.matches(row["password_hash"] if row else None, password) or row is None:
        raise Unauthenticated("Wrong e-mail or password")
    if not row["active"]:
        raise tokens.suspended(row["role"])
    return await _signed_in(engine, _user(row), device)


async def refresh(engine: Engine, refresh_token: str) -> SignedIn:
    """The next pair of tokens, and the account as it is by now. Raises as ``tokens.refresh``."""
    pair = await tokens.refresh(engine, refresh_token)
    user = await read(engine, engine.signer.verify(pair.access_token).id)
    return SignedIn(user, pair.access_token, pair.refresh_token)


async def _signed_in(engine: Engine, user: User, device: str | None) -> SignedIn:
    pair = await tokens.new_session(engine, user.id, user.role, user.name, device=device)
    return SignedIn(user, pair.access_token, pair.refresh_token)


# Reading


async def me(engine: Engine, caller: Principal) -> User:
    """The caller's own account; a ``cli_`` principal has none, and is described as made now."""
    if caller.id == f"cli_{caller.role}":
        return User(caller.id, "", caller.name or caller.role, caller.role, None, True, iso(now_ms()))
    return await read(engine, caller.id)


async def read(engine: Engine, user: UserId) -> User:
    """The account ``user``, for the engine's own use: nobody's permission is asked. Raises NotFound."""
    async with engine.archive.reading() as conn:
        return _user(await _row(conn, user))


async def find_users(engine: Engine, caller: Principal, query: UserQuery) -> Slice[User]:
    """Accounts, for admins. Raises Forbidden, Invalid (limit, cursor)."""
    demand(caller, ADMIN)
    limit = check_limit(query.limit)
    c = users.c
    rows = select(users).order_by(c.created_at.desc(), c.id.desc()).limit(limit + 1)
    if query.role is not None:
        rows = rows.where(c.role == query.role)
    if query.active is not None:
        rows = rows.where(c.active == query.active)
    if query.cursor is not None:
        at, last = decode_cursor(query.cursor, tuple[int, str])
        rows = rows.where((c.created_at < at) | ((c.created_at == at) & (c.id < last)))
    async with engine.archive.reading() as conn:
        found = list((await conn.execute(rows)).mappings().all())
    page = slice_of(found, limit, lambda row: (row["created_at"], row["id"]))
    return Slice([_user(row) for row in page.items], page.next)


# Commands


async def create_user(engine: Engine, caller: Principal, new: NewAccount, *, key: str | None = None) -> Result[User]:
    """Make an account in any role. Raises Forbidden, Duplicate, Invalid."""
    demand(caller, ADMIN)
    email = emails.compared(emails.typed(new.email))
    asked = in_sql.request(
        caller.id, key, "create_user", email, new.name, new.role, new.phone, ttl_s=in_sql.CREATION_TTL_S
    )
    return await _create(engine, new, asked)


async def patch_user(
    engine: Engine,
    caller: Principal,
    user: UserId,
    *,
    role: Role | None = None,
    active: bool | None = None,
    key: str | None = None,
) -> Result[User]:
    """Change a role or switch an account off and on; None leaves as it is. His sockets are told to come back
    with a fresh token, or never. Raises Forbidden (also for one's own account), NotFound.
    """
    demand(caller, ADMIN)
    _not_oneself(caller, user)
    change = {name: value for name, value in (("role", role), ("active", active)) if value is not None}
    return await _change(engine, caller, user, "patch_user", change, key=key)


async def suspend(
    engine: Engine,
    caller: Principal,
    user: UserId,
    *,
    reason: str,
    jobs: Literal["keep", "reassign"] = "keep",
    key: str | None = None,
) -> Result[User] | Result[UserCard]:
    """Take all access away, at once. His jobs stay his, or are offered anew without him. Raises Forbidden, NotFound.

    When this returns, Redis refuses him: requests, live sockets, claims. Ops are answered with the card: contacts are
    for admins.
    """
    demand(caller, OPS)
    _not_oneself(caller, user)
    change = {"active": False, "reason": reason}
    kept = await _change(engine, caller, user, "suspend", change, key=key, reassign=jobs == "reassign")
    return kept if caller.role in ADMIN else Result(kept.value.card, kept.key, kept.repeated)


async def reinstate(engine: Engine, caller: Principal, user: UserId, *, key: str | None = None) -> Result[User]:
    """Give access back; he signs in anew. Raises Forbidden, NotFound."""
    demand(caller, ADMIN)
    return await _change(engine, caller, user, "reinstate", {"active": True, "reason": None}, key=key)


async def _create(engine: Engine, new: NewAccount, asked: in_sql.Request) -> Result[User]:
    access.check_database(engine)
    typed = emails.typed(new.email)
    row = {
        "id": new_id("usr"),
        "email": emails.compared(typed),
        "email_typed": typed,
        "name": new.name,
        "role": new.role,
        "phone": new.phone,
        "active": True,
        "password_hash": await passwords.hashed(new.password),
        "version": 1,
        "created_at": now_ms(),
    }

    async def act(conn: AsyncConnection) -> User:
        try:
            await conn.execute(insert(users).values(**row))
        except IntegrityError:
            raise Duplicate("This e-mail has an account already") from None
        if new.role == "technician":
            await sql.create(conn, UserId(str(row["id"])))
            await outbox.add(conn, UserId(str(row["id"])))
        return _user(row)

    kept = await in_redis.once(engine, asked, User, act)
    if new.role == "technician":
        await outbox.finish_soon(engine, kept.value.id)
    return kept


async def _change(
    engine: Engine,
    caller: Principal,
    user: UserId,
    command: str,
    change: dict[str, Any],
    *,
    key: str | None,
    reassign: bool = False,
) -> Result[User]:
    async def act(conn: AsyncConnection) -> User:
        row = await _row(conn, user, lock=True)
        if row["role"] == "admin" and caller.role != "admin":
            raise Forbidden("Only an admin may do this to an admin")
        new = {**row, **change}
        if new != row:
            new["version"] += 1
            await conn.execute(update(users).where(users.c.id == user).values(**new))
            if not new["active"]:
                await tokens.end_sessions_of(conn, user)
            await sql.account_changed(conn, user, new["role"])
        if new != row or reassign:
            actor = f"{caller.role}:{caller.id}"
            await outbox.add(conn, user, code=_told(row, new), reassign=reassign, actor=actor)
        return _user(new)

    asked = in_sql.request(caller.id, key, command, user, change, *(["reassign"] if reassign else []))
    kept = await in_redis.once(engine, asked, User, act)
    with in_sql.unavailable_as_indeterminate():
        await outbox.finish(engine, user)
    return kept


def _told(before: Mapping[str, Any], after: Mapping[str, Any]) -> int | None:
    """With which code the user's sockets are closed, if at all."""
    if not after["active"]:
        return outbox.REVOKED if before["active"] else None
    return outbox.ROLE_CHANGED if before["active"] and after["role"] != before["role"] else None


def _not_oneself(caller: Principal, user: UserId) -> None:
    if caller.id == user:
        raise Forbidden("Not to your own account: you could lock yourself out")


async def _row(conn: AsyncConnection, user: UserId, *, lock: bool = False) -> Mapping[str, Any]:
    query = select(users).where(users.c.id == user)
    row = (await conn.execute(query.with_for_update(key_share=True) if lock else query)).mappings().one_or_none()
    if row is None:
        raise NotFound
    return dict(row)


async def _hash_of(engine: Engine, user: UserId) -> str:
    async with engine.archive.reading() as conn:
        return str((await _row(conn, user))["password_hash"])


def _user(row: Mapping[Any, Any]) -> User:
    return User(
        id=row["id"],
        email=row["email_typed"] or row["email"],
        name=row["name"],
        role=row["role"],
        phone=row["phone"],
        active=row["active"],
        created_at=iso(row["created_at"]),
    )
