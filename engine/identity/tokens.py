"""Authentication of the caller: access tokens, refresh tokens, tickets. engine/process/signer.py signs them.

**Refresh tokens are not stored, not even as hashes.** The n-th token of a family (one login) is the HMAC of family and
n, under a key made of the server's secret and the family's salt; SQL stores the salt and n. Therefore a token always
has the same successor, and a repeated refresh returns the same successor again. A stolen database contains no token. An
old token can be distinguished from a forged token: an old token ends its family, a forged token has no effect.
(Rejected: random tokens stored as hashes. The successor could not be returned twice unless it was stored in the clear.)

**Each request checks that the account is active**, by a record in Redis (engine/identity/access.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.errors import AccountNotApproved, CalloutError, Forbidden, TokenExpired, Unauthenticated
from engine.idempotency import in_sql
from engine.identity import access, outbox
from engine.identity.access import ACCESS_TOKEN_S
from engine.process.signer import sign_token
from engine.sql.schema import sessions, users
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, Role, UserId, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

REFRESH_TOKEN_S = 30 * 86_400
REPEAT_WINDOW_S = 600
"""How long (seconds) the token before the latest still returns its successor, if the successor was not used: for
clients that lost the reply.
"""
MAX_RECORDED_GENERATIONS = 100_000
"""The maximum number of logins for which a process caches that the first use of their latest token is recorded."""
TicketPurpose = Literal["socket", "events"]
TICKET_LIFETIME_S: dict[TicketPurpose, int] = {"socket": 30, "events": 900}

log = structlog.get_logger(__name__)


class TokenPair(msgspec.Struct, frozen=True):
    """An access token and a refresh token. ``expires_in`` is the lifetime of the access token in seconds."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = ACCESS_TOKEN_S


class Ticket(msgspec.Struct, frozen=True):
    """A short-lived credential for connections on which a client cannot send a token. ``expires_in`` is in seconds."""

    ticket: str
    expires_in: int


# Access


async def principal_of(engine: Engine, token: str) -> Principal:
    """Return the caller to whom ``token`` belongs, if they may still act.

    Raises Unauthenticated; TokenExpired (also if the user's role has changed: a new token has the new role); and the
    error of ``suspension_error`` for a suspended account.
    """
    principal = engine.signer.verify(token)
    await check_active(engine, principal)
    if principal.generation > 1:
        await _record_token_use(engine, principal)
    return principal


async def _record_token_use(engine: Engine, principal: Principal) -> None:
    """Record the first use of an access token from a refresh: the preceding refresh token then returns no successor any
    more. Each process records the use once, and only for ``REPEAT_WINDOW_S`` seconds, while it has an effect. If the
    database is unavailable, the next use is recorded."""
    family, number = principal.family, principal.generation
    if (
        engine.recorded_generations.get(family, 0) >= number
        or now_ms() / 1000 > principal.expires - ACCESS_TOKEN_S + REPEAT_WINDOW_S
    ):
        return
    if len(engine.recorded_generations) >= MAX_RECORDED_GENERATIONS:
        engine.recorded_generations.clear()
    engine.recorded_generations[family] = number
    query = update(sessions).where(sessions.c.id == family, sessions.c.used < number).values(used=number)
    try:
        async with engine.archive.begin_write() as conn:
            await conn.execute(query)
    except CalloutError as error:
        engine.recorded_generations.pop(family, None)
        log.info("use_not_noted", error=str(error))


async def check_active(engine: Engine, principal: Principal) -> None:
    """Raise an error unless the account is active and has the role of the token, and the token's login has not ended.
    Raises the same errors as ``principal_of``.
    """
    if principal.id == f"cli_{principal.role}":
        return
    record = await access.read_access(engine, principal.id)
    if not record.active:
        raise suspension_error(principal.role)
    if principal.family and principal.family in record.ended_logins:
        raise Unauthenticated("This session has ended")
    if record.role != principal.role:
        raise TokenExpired("Your role has changed")


def suspension_error(role: Role) -> CalloutError:
    """Return the error for every request of a suspended account."""
    return AccountNotApproved() if role == "technician" else Forbidden("This account is suspended")


# Tickets


async def issue_ticket(engine: Engine, principal: Principal, purpose: TicketPurpose) -> Ticket:
    """Create a ticket for ``principal``. A socket ticket can be used once. A ticket for events can be used any number
    of times until it expires, since an EventSource reconnects by itself with the same address.
    """
    ticket = secrets.token_urlsafe(32)
    seconds = TICKET_LIFETIME_S[purpose]
    value = msgspec.json.encode({"purpose": purpose, "principal": principal})
    await engine.store.command("SET", _ticket_key(ticket, purpose), value, "EX", seconds)
    return Ticket(ticket, seconds)


async def redeem_ticket(engine: Engine, ticket: str, purpose: TicketPurpose = "socket") -> Principal:
    """Return the caller to whom ``ticket`` was issued, if they may still act. Raises TokenExpired if the ticket is used
    or unknown.
    """
    verb = "GETDEL" if purpose == "socket" else "GET"
    value = await engine.store.command(verb, _ticket_key(ticket, purpose))
    record = msgspec.json.decode(value, type=_TicketRecord) if value else None
    if record is None or record.purpose != purpose or record.principal.expires <= now_ms() / 1000:
        raise TokenExpired("This ticket is used or unknown")
    await check_active(engine, record.principal)
    return record.principal


class _TicketRecord(msgspec.Struct, frozen=True):
    purpose: TicketPurpose
    principal: Principal


def _ticket_key(ticket: str, purpose: TicketPurpose) -> str:
    """Return the Redis key of a ticket. The key contains the purpose, so that a ticket that is presented for another
    purpose stays valid for its own purpose.
    """
    return keys.ticket(DEFAULT_ZONE, hashlib.sha256(f"{purpose} {ticket}".encode()).hexdigest())


# Sessions: families of refresh tokens


async def create_login(engine: Engine, user: UserId, role: Role, name: str, *, device: str | None = None) -> TokenPair:
    """Create a login, with its family of refresh tokens, for a user whose password was just checked."""
    family, salt = new_id("ses"), secrets.token_bytes(16)
    now = now_ms()
    row = {"id": family, "user": user, "salt": salt, "generation": 1, "rotated_at": now, "device": device}
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(sessions).values(expires_at=now + REFRESH_TOKEN_S * 1000, **row))
    principal = Principal(user, role, name, family=family, generation=1)
    return _new_token_pair(engine, principal, _refresh_token(engine, family, 1, salt))


async def refresh_token_pair(engine: Engine, refresh_token: str) -> TokenPair:
    """Return the successor of ``refresh_token``, with a new access token. PROTOCOL §2 describes the result for older
    tokens.

    Raises Unauthenticated for a token that this server did not issue or whose login ended, TokenExpired after its 30
    days, and the error of ``suspension_error``.
    """
    family, number, proof = _parse_refresh_token(refresh_token)
    access.check_database(engine)
    async with engine.archive.begin_write() as conn:
        row = await _lock_login(conn, family)
        if row is None or not hmac.compare_digest(_refresh_token_proof(engine, family, number, row.salt), proof):
            raise Unauthenticated("Not a refresh token of this server")
        if not row.active:
            raise suspension_error(row.role)
        ended = row.ended_at is not None
        now = now_ms()
        if not ended and row.expires_at <= now:
            raise TokenExpired("Sign in again")
        if not ended and number == row.generation:
            await _rotate_refresh_token(conn, family, number, now)
        elif not ended and not _may_refresh_again(row, number, now):
            await end_login(conn, row.user, family)
            ended = True
    if ended:
        with in_sql.unavailable_as_indeterminate():
            await outbox.apply_rows(engine, row.user)
        raise Unauthenticated("This session has ended")
    successor = _refresh_token(engine, family, number + 1, row.salt)
    principal = Principal(row.user, row.role, row.name, family=family, generation=number + 1)
    return _new_token_pair(engine, principal, successor)


async def end_login_of_token(engine: Engine, refresh_token: str) -> None:
    """End the login of a token: all tokens of its family become invalid, and the login's live sockets close, on every
    gateway. A token that this server did not issue is ignored. Raises Indeterminate if Redis is unavailable after the
    commit: repeat the call then.
    """
    try:
        family, number, proof = _parse_refresh_token(refresh_token)
    except Unauthenticated:
        return
    async with engine.archive.begin_write() as conn:
        row = await _lock_login(conn, family)
        if row is None or not hmac.compare_digest(_refresh_token_proof(engine, family, number, row.salt), proof):
            return
        if row.ended_at is None:
            await end_login(conn, row.user, family)
    with in_sql.unavailable_as_indeterminate():
        await outbox.apply_rows(engine, row.user)


async def end_login(conn: AsyncConnection, user: UserId, family: str) -> None:
    """End the login ``family`` and notify every gateway, within a transaction that has locked the user's row."""
    await conn.execute(update(sessions).where(sessions.c.id == family).values(ended_at=now_ms()))
    await conn.execute(update(users).where(users.c.id == user).values(version=users.c.version + 1))
    await outbox.add_row(conn, user, code=outbox.REVOKED_CODE, family=family)


async def end_all_logins(conn: AsyncConnection, user: UserId) -> None:
    """End all logins of ``user``. Call this within the transaction that revokes the user's access."""
    theirs = (sessions.c.user == user) & sessions.c.ended_at.is_(None)
    await conn.execute(update(sessions).where(theirs).values(ended_at=now_ms()))


async def delete_expired_logins(engine: Engine) -> int:
    """Delete the logins whose refresh tokens have all expired. Returns the number of deleted logins."""
    async with engine.archive.begin_write() as conn:
        return (await conn.execute(delete(sessions).where(sessions.c.expires_at <= now_ms()))).rowcount


async def lock_user(conn: AsyncConnection, user: Any) -> None:
    """Lock the row of the user with the id ``user`` until the transaction ends."""
    await conn.execute(select(users.c.id).where(users.c.id == user).with_for_update(key_share=True))


async def _lock_login(conn: AsyncConnection, family: str) -> Any:
    """Lock the user's row and return the login with its account. Every change of a login or an account takes this lock
    first, so that there is no deadlock and the values that are read after the lock are the latest.
    """
    await lock_user(conn, select(sessions.c.user).where(sessions.c.id == family).scalar_subquery())
    query = (
        select(sessions, users.c.role, users.c.name, users.c.active)
        .join(users, users.c.id == sessions.c.user)
        .where(sessions.c.id == family)
    )
    return (await conn.execute(query)).one_or_none()


def _may_refresh_again(row: Any, number: int, now: int) -> bool:
    """Return whether a rotated token still returns its successor: only the latest rotated token, for ten minutes, and
    only while the successor's tokens were not used. After that use, a client that sends the old token may have stolen
    it.
    """
    fresh = now - row.rotated_at <= REPEAT_WINDOW_S * 1000
    return bool(fresh and number == row.generation - 1 and row.used < row.generation)


async def _rotate_refresh_token(conn: AsyncConnection, family: str, number: int, now: int) -> None:
    values = {"generation": number + 1, "rotated_at": now, "expires_at": now + REFRESH_TOKEN_S * 1000}
    await conn.execute(update(sessions).where(sessions.c.id == family).values(**values))


def _new_token_pair(engine: Engine, principal: Principal, refresh_token: str) -> TokenPair:
    """Return a new access token for ``principal`` together with ``refresh_token``."""
    login = (principal.family, principal.generation)
    return TokenPair(
        sign_token(engine.signer, principal.id, principal.role, name=principal.name, login=login), refresh_token
    )


def _refresh_token(engine: Engine, family: str, number: int, salt: bytes) -> str:
    proof = base64.urlsafe_b64encode(_refresh_token_proof(engine, family, number, salt)).rstrip(b"=").decode()
    return f"{family}.{number}.{proof}"


def _refresh_token_proof(engine: Engine, family: str, number: int, salt: bytes) -> bytes:
    secret = engine.signer.derive_key("refresh") + salt
    return hmac.digest(secret, f"{family}.{number}".encode(), "sha256")


def _parse_refresh_token(refresh_token: str) -> tuple[str, int, bytes]:
    parts = refresh_token.split(".")
    try:
        family, number, proof = parts[0], int(parts[1]), base64.urlsafe_b64decode(parts[2] + "=")
    except (ValueError, IndexError):
        raise Unauthenticated("Not a refresh token of this server") from None
    return family, number, proof
