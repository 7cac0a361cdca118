"""Accounts: registration, sign-in, staff, suspension. SQL is the source; the fields that must take effect at once are
also in Redis.

A command is one SQL transaction under its request key, with a row in the outbox (engine/identity/outbox.py). After the
commit the command applies the row to Redis, and then replies. If Redis fails after the commit the error is
*indeterminate*, never *unavailable*, which would mean that nothing was done. The outbox applies the row as soon as
Redis is available again, and a repeat with the same key finds the stored outcome.
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
from engine.events import rfc3339_of
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import Result
from engine.identity import access, account_closing, audit_events, outbox, passwords, suspended_accounts, tokens
from engine.roles import ADMIN_ROLE, OPS, require_role
from engine.rules import emails
from engine.sql.paging import Slice, check_limit, decode_cursor, make_slice
from engine.sql.schema import users
from engine.technicians import sql
from engine.types import Principal, Role, UserId, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine


class User(msgspec.Struct, frozen=True):
    """An account with all fields, for its owner and for admins. Ops receive a ``UserCard`` instead, without the contact
    details."""

    id: UserId
    email: str
    name: str
    role: Role
    phone: str | None
    active: bool
    created_at: str

    @property
    def without_contact_details(self) -> UserCard:
        """Return the fields of the account that ops may see."""
        return UserCard(self.id, self.name, self.role, self.active, self.created_at)


class UserCard(msgspec.Struct, frozen=True):
    """The fields of a user's account that ops may see: all but the e-mail address and the phone number."""

    id: UserId
    name: str
    role: Role
    active: bool
    created_at: str


class LoginResult(msgspec.Struct, frozen=True):
    """The result of registration and sign-in: the account and a new pair of tokens."""

    user: User
    access_token: str
    refresh_token: str
    token_type: str = "Bearer"
    expires_in: int = access.ACCESS_TOKEN_S


class NewAccount(msgspec.Struct, frozen=True, kw_only=True):
    email: str
    password: str
    name: str
    role: Role
    phone: str | None = None


class UserQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter for accounts by ``role`` and ``active``. Results are sorted by creation, the newest first."""

    role: Role | None = None
    active: bool | None = None
    limit: int = 50
    cursor: str | None = None


# Signing in


async def register_user(
    engine: Engine, new: NewAccount, *, key: str | None = None, device: str | None = None
) -> Result[LoginResult]:
    """Create the account of a customer or a technician and sign them in. ``device`` is the name that the client gives
    to its device.

    Raises Forbidden for another role, Duplicate for an e-mail address that has an account, Invalid. A repeat with the
    same key must have the same password (ReusedKey otherwise), since the caller has not signed in yet.
    """
    if new.role not in ("customer", "technician"):
        raise Forbidden("Only an admin can create staff accounts")
    email = emails.comparison_form(emails.normalise_email(new.email))
    request = in_sql.new_request(
        emails.registrant(email), key, "register", new.name, new.role, new.phone, ttl_s=in_sql.CREATION_TTL_S
    )
    result = await _create_account(engine, new, request)
    if result.repeated and not await passwords.is_correct_password(
        await _password_hash(engine, result.value.id), new.password
    ):
        raise ReusedKey
    with in_sql.unavailable_as_indeterminate():
        return Result(await _create_login(engine, result.value, device), result.key, result.repeated)


async def login(engine: Engine, email: str, password: str, *, device: str | None = None) -> LoginResult:
    """Check the password and sign the user in. Raises Unauthenticated, with the same text and after the same time for a
    wrong password and an unknown e-mail address. With the right password of a suspended account, raises the error of
    ``tokens.suspension_error``, except for a technician (``suspended_accounts``).
    """
    access.check_database(engine)
    async with engine.archive.begin_read() as conn:
        query = select(users).where(users.c.email == emails.comparison_form(email))
        row = (await conn.execute(query)).mappings().one_or_none()
    if not await passwords.is_correct_password(row["password_hash"] if row else None, password) or row is None:
        raise Unauthenticated("Wrong e-mail or password")
    if not row["active"] and not await suspended_accounts.may_sign_in(engine, row):
        raise tokens.suspension_error(row["role"])
    return await _create_login(engine, _user_of_row(row), device)


async def refresh_login(engine: Engine, refresh_token: str) -> LoginResult:
    """Return the next pair of tokens, and the present account. Raises the errors of ``tokens.refresh_token_pair``."""
    pair = await tokens.refresh_token_pair(engine, refresh_token)
    user = await read_user(engine, engine.signer.verify(pair.access_token).id)
    return LoginResult(user, pair.access_token, pair.refresh_token)


async def _create_login(engine: Engine, user: User, device: str | None) -> LoginResult:
    pair = await tokens.create_login(engine, user.id, user.role, user.name, device=device)
    return LoginResult(user, pair.access_token, pair.refresh_token)


# Reading


async def read_own_user(engine: Engine, caller: Principal) -> User:
    """Return the caller's own account. A ``cli_`` principal has no account; the result is then made from the principal,
    with the present time as the time of creation.
    """
    if caller.id == f"cli_{caller.role}":
        return User(caller.id, "", caller.name or caller.role, caller.role, None, True, rfc3339_of(now_ms()))
    return await read_user(engine, caller.id)


async def read_user(engine: Engine, user: UserId) -> User:
    """Return the account ``user``, for the engine's own use, without a permission check. Raises NotFound."""
    async with engine.archive.begin_read() as conn:
        return _user_of_row(await _select_user(conn, user))


async def find_users(engine: Engine, caller: Principal, query: UserQuery) -> Slice[User]:
    """List accounts, for admins. Raises Forbidden, Invalid (limit, cursor)."""
    require_role(caller, ADMIN_ROLE)
    limit = check_limit(query.limit)
    columns = users.c
    rows = select(users).order_by(columns.created_at.desc(), columns.id.desc()).limit(limit + 1)
    if query.role is not None:
        rows = rows.where(columns.role == query.role)
    if query.active is not None:
        rows = rows.where(columns.active == query.active)
    if query.cursor is not None:
        at, last = decode_cursor(query.cursor, tuple[int, str])
        rows = rows.where((columns.created_at < at) | ((columns.created_at == at) & (columns.id < last)))
    async with engine.archive.begin_read() as conn:
        loaded = list((await conn.execute(rows)).mappings().all())
    page = make_slice(loaded, limit, lambda row: (row["created_at"], row["id"]))
    return Slice([_user_of_row(row) for row in page.items], page.next)


# Commands


async def create_user(engine: Engine, caller: Principal, new: NewAccount, *, key: str | None = None) -> Result[User]:
    """Create an account in any role. Raises Forbidden, Duplicate, Invalid."""
    require_role(caller, ADMIN_ROLE)
    email = emails.comparison_form(emails.normalise_email(new.email))
    request = in_sql.new_request(
        caller.id, key, "create_user", email, new.name, new.role, new.phone, ttl_s=in_sql.CREATION_TTL_S
    )
    return await _create_account(engine, new, request, caller)


async def patch_user(
    engine: Engine,
    caller: Principal,
    user: UserId,
    *,
    role: Role | None = None,
    active: bool | None = None,
    key: str | None = None,
) -> Result[User]:
    """Change a role, or deactivate or activate an account; None changes nothing. The user's sockets close, with a code
    that asks for a new token or a code that forbids to reconnect. Raises Forbidden (also for the caller's own account),
    NotFound.
    """
    require_role(caller, ADMIN_ROLE)
    _require_other_account(caller, user)
    change = {name: value for name, value in (("role", role), ("active", active)) if value is not None}
    return await _change_account(engine, caller, user, "patch_user", change, key=key)


async def suspend_user(
    engine: Engine,
    caller: Principal,
    user: UserId,
    *,
    reason: str,
    jobs: Literal["keep", "reassign"] = "keep",
    key: str | None = None,
) -> Result[User] | Result[UserCard]:
    """Revoke all access of a user at once. The user keeps their jobs, or the jobs are offered to other technicians
    (``jobs="reassign"``). Raises Forbidden, NotFound.

    When this returns, Redis refuses the user: requests, live sockets, claims. Ops receive a ``UserCard``,
    since only admins see contact details.
    """
    require_role(caller, OPS)
    _require_other_account(caller, user)
    change = {"active": False, "reason": reason}
    result = await _change_account(engine, caller, user, "suspend", change, key=key, reassign=jobs == "reassign")
    return (
        result
        if caller.role in ADMIN_ROLE
        else Result(result.value.without_contact_details, result.key, result.repeated)
    )


async def reinstate_user(engine: Engine, caller: Principal, user: UserId, *, key: str | None = None) -> Result[User]:
    """Restore the access of a suspended user, who must sign in again. Raises Forbidden, NotFound."""
    require_role(caller, ADMIN_ROLE)
    return await _change_account(engine, caller, user, "reinstate", {"active": True, "reason": None}, key=key)


async def _create_account(
    engine: Engine, new: NewAccount, request: in_sql.KeyedRequest, by: Principal | None = None
) -> Result[User]:
    access.check_database(engine)
    typed = emails.normalise_email(new.email)
    row = {
        "id": new_id("usr"),
        "email": emails.comparison_form(typed),
        "email_typed": typed,
        "name": new.name,
        "role": new.role,
        "phone": new.phone,
        "active": True,
        "password_hash": await passwords.hash_password(new.password),
        "version": 1,
        "created_at": now_ms(),
    }

    async def run_in_transaction(conn: AsyncConnection) -> User:
        try:
            await conn.execute(insert(users).values(**row))
        except IntegrityError:
            raise Duplicate("This e-mail address already has an account") from None
        if new.role == "technician":
            await sql.create_technician(conn, UserId(str(row["id"])))
            await outbox.add_row(conn, UserId(str(row["id"])))
        actor = f"{new.role}:{row['id']}" if by is None else audit_events.actor_of(by)
        await audit_events.add_row(conn, actor, "user_created", "user", str(row["id"]), role=new.role)
        return _user_of_row(row)

    result = await in_redis.run_once(engine, request, User, run_in_transaction, needs_redis=False)
    if new.role == "technician":
        await outbox.try_apply_rows(engine, result.value.id)
    return result


async def _change_account(
    engine: Engine,
    caller: Principal,
    user: UserId,
    command: str,
    change: dict[str, Any],
    *,
    key: str | None,
    reassign: bool = False,
) -> Result[User]:
    async def run_in_transaction(conn: AsyncConnection) -> User:
        row = await _select_user(conn, user, lock=True)
        if row["role"] == "admin" and caller.role != "admin":
            raise Forbidden("Only an admin may do this to an admin")
        await account_closing.check_change(conn, user, change)
        new = {**row, **change}
        if new != row:
            new["version"] += 1
            await conn.execute(update(users).where(users.c.id == user).values(**new))
            if not new["active"]:
                await tokens.end_all_logins(conn, user)
            await sql.update_after_account_change(conn, user, new["role"])
        if new != row or reassign:
            actor = f"{caller.role}:{caller.id}"
            await outbox.add_row(conn, user, code=_socket_close_code(row, new), reassign=reassign, actor=actor)
            state = {"role": new["role"], "active": new["active"]}
            await audit_events.add_row(conn, actor, "user_changed", "user", user, command=command, **state)
        return _user_of_row(new)

    request = in_sql.new_request(caller.id, key, command, user, change, *(["reassign"] if reassign else []))
    result = await in_redis.run_once(engine, request, User, run_in_transaction, needs_redis=False)
    with in_sql.unavailable_as_indeterminate():
        await outbox.apply_rows(engine, user)
    return result


def _socket_close_code(before: Mapping[str, Any], after: Mapping[str, Any]) -> int | None:
    """Return the code with which the user's sockets close; None if they stay open."""
    if not after["active"]:
        return outbox.REVOKED_CODE if before["active"] else None
    return outbox.ROLE_CHANGED_CODE if before["active"] and after["role"] != before["role"] else None


def _require_other_account(caller: Principal, user: UserId) -> None:
    if caller.id == user:
        raise Forbidden("Not for your own account: you could lock yourself out")


async def _select_user(conn: AsyncConnection, user: UserId, *, lock: bool = False) -> Mapping[str, Any]:
    query = select(users).where(users.c.id == user)
    row = (await conn.execute(query.with_for_update(key_share=True) if lock else query)).mappings().one_or_none()
    if row is None:
        raise NotFound
    return dict(row)


async def _password_hash(engine: Engine, user: UserId) -> str:
    async with engine.archive.begin_read() as conn:
        return str((await _select_user(conn, user))["password_hash"])


def _user_of_row(row: Mapping[Any, Any]) -> User:
    return User(
        id=row["id"],
        email=row["email_typed"] or row["email"],
        name=row["name"],
        role=row["role"],
        phone=row["phone"],
        active=row["active"],
        created_at=rfc3339_of(row["created_at"]),
    )
