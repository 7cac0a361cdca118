"""Who is calling: access tokens, refresh tokens, tickets. The key behind them is engine/process/signer.py.

**Refresh tokens are not stored, not even as hashes.** The n-th token of a family (one login) is the HMAC of
family and n under a key that is the server's secret and the family's salt together; SQL holds salt and n. So a
token has always the same successor, a repeated refresh gives it again, a stolen database makes no token, and an
old token is told from a forged one: the old one ends its family, the forged one does nothing. (Rejected: random
tokens stored as hashes. The successor could not be given twice without storing it in the clear.)

**Activity is checked on each request** against a hot record (engine/identity/access.py).
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
from engine.identity.access import ACCESS_S
from engine.process.signer import access_token
from engine.sql.schema import sessions, users
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, Role, UserId, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

REFRESH_S = 30 * 86_400
OVERLAP_S = 600
"""How long the token before the last still gives its successor, unless that was used: for who lost the reply."""
MOST_USED = 100_000
"""Logins of which a process remembers that the use of their latest token is noted."""
Purpose = Literal["socket", "events"]
TICKET_S: dict[Purpose, int] = {"socket": 30, "events": 900}

log = structlog.get_logger(__name__)


class TokenPair(msgspec.Struct, frozen=True):
    """``expires_in``: seconds that the access token is good for."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"
    expires_in: int = ACCESS_S


class Ticket(msgspec.Struct, frozen=True):
    """Stands for a token where none can be sent; ``expires_in`` seconds."""

    ticket: str
    expires_in: int


# Access


async def principal_of(engine: Engine, token: str) -> Principal:
    """Whom ``token`` names, if he may still act.

    Raises Unauthenticated, TokenExpired (also when his role is another by now: a fresh token says it), and what
    ``suspended`` gives for an account that was suspended.
    """
    principal = engine.signer.verify(token)
    await check_active(engine, principal)
    if principal.generation > 1:
        await _mark_used(engine, principal)
    return principal


async def _mark_used(engine: Engine, principal: Principal) -> None:
    """The first use of what a refresh gave: its refresh token's predecessor gives nothing any more. Once in this
    process, and not after the time in which that would matter. With the database away the next use notes it.
    """
    family, number = principal.family, principal.generation
    if engine.used.get(family, 0) >= number or now_ms() / 1000 > principal.expires - ACCESS_S + OVERLAP_S:
        return
    if len(engine.used) >= MOST_USED:
        engine.used.clear()
    engine.used[family] = number
    mark = update(sessions).where(sessions.c.id == family, sessions.c.used < number).values(used=number)
    try:
        async with engine.archive.writing() as conn:
            await conn.execute(mark)
    except CalloutError as error:
        engine.used.pop(family, None)
        log.info("use_not_noted", error=str(error))


async def check_active(engine: Engine, principal: Principal) -> None:
    """Let pass only who has an active account in the role that he claims, and has not signed out with this very
    proof. Raises as ``principal_of``.
    """
    if principal.id == f"cli_{principal.role}":
        return
    may = await access.of(engine, principal.id)
    if not may.active:
        raise suspended(principal.role)
    if principal.family and principal.family in may.out:
        raise Unauthenticated("This session has ended")
    if may.role != principal.role:
        raise TokenExpired("Your role has changed")


def suspended(role: Role) -> CalloutError:
    """What a suspended account hears, whatever it asks for."""
    return AccountNotApproved() if role == "technician" else Forbidden("This account is suspended")


# Tickets


async def issue_ticket(engine: Engine, principal: Principal, purpose: Purpose) -> Ticket:
    """A ticket that stands for ``principal``: one use for a socket; for events, any in its time, since an
    EventSource comes back by itself with the address it was given.
    """
    ticket = secrets.token_urlsafe(32)
    seconds = TICKET_S[purpose]
    value = msgspec.json.encode({"purpose": purpose, "principal": principal})
    await engine.store.command("SET", _ticket_key(ticket, purpose), value, "EX", seconds)
    return Ticket(ticket, seconds)


async def redeem_ticket(engine: Engine, ticket: str, purpose: Purpose = "socket") -> Principal:
    """Whom ``ticket`` stands for, if he may still act. Raises TokenExpired for one that is used or unknown."""
    verb = "GETDEL" if purpose == "socket" else "GET"
    value = await engine.store.command(verb, _ticket_key(ticket, purpose))
    held = msgspec.json.decode(value, type=_Held) if value else None
    if held is None or held.purpose != purpose or held.principal.expires <= now_ms() / 1000:
        raise TokenExpired("This ticket is used or unknown")
    await check_active(engine, held.principal)
    return held.principal


class _Held(msgspec.Struct, frozen=True):
    purpose: Purpose
    principal: Principal


def _ticket_key(ticket: str, purpose: Purpose) -> str:
    """The key by purpose, so that a ticket shown at the wrong door is not used up there."""
    return keys.ticket(DEFAULT_ZONE, hashlib.sha256(f"{purpose} {ticket}".encode()).hexdigest())


# Sessions: families of refresh tokens


async def new_session(engine: Engine, user: UserId, role: Role, name: str, *, device: str | None = None) -> TokenPair:
    """Begin a family for a user whose password was just checked."""
    family, salt = new_id("ses"), secrets.token_bytes(16)
    now = now_ms()
    row = {"id": family, "user": user, "salt": salt, "generation": 1, "rotated_at": now, "device": device}
    async with engine.archive.writing() as conn:
        await conn.execute(insert(sessions).values(expires_at=now + REFRESH_S * 1000, **row))
    who = Principal(user, role, name, family=family, generation=1)
    return _pair(engine, who, _refresh_token(engine, family, 1, salt))


async def refresh(engine: Engine, refresh_token: str) -> TokenPair:
    """The token's successor with a fresh access token (PROTOCOL §2: what an older token gives, or ends).

    Raises Unauthenticated for a token that is not ours or ended, TokenExpired after its 30 days, and what
    ``suspended`` gives.
    """
    family, number, proof = _parse(refresh_token)
    access.check_database(engine)
    async with engine.archive.writing() as conn:
        row = await _family(conn, family)
        if row is None or not hmac.compare_digest(_proof(engine, family, number, row.salt), proof):
            raise Unauthenticated("Not a refresh token of this server")
        if not row.active:
            raise suspended(row.role)
        ended = row.ended_at is not None
        now = now_ms()
        if not ended and row.expires_at <= now:
            raise TokenExpired("Sign in again")
        if not ended and number == row.generation:
            await _rotate(conn, family, number, now)
        elif not ended and not _may_repeat(row, number, now):
            await end(conn, row.user, family)
            ended = True
    if ended:
        with in_sql.unavailable_as_indeterminate():
            await outbox.finish(engine, row.user)
        raise Unauthenticated("This session has ended")
    successor = _refresh_token(engine, family, number + 1, row.salt)
    who = Principal(row.user, row.role, row.name, family=family, generation=number + 1)
    return _pair(engine, who, successor)


async def end_session(engine: Engine, refresh_token: str) -> None:
    """Log out: no token of this family is good any more, and its live sockets close, on every gateway. A token that
    is not ours is nobody's session. Raises Indeterminate where Redis could not be told: to be repeated.
    """
    try:
        family, number, proof = _parse(refresh_token)
    except Unauthenticated:
        return
    async with engine.archive.writing() as conn:
        row = await _family(conn, family)
        if row is None or not hmac.compare_digest(_proof(engine, family, number, row.salt), proof):
            return
        if row.ended_at is None:
            await end(conn, row.user, family)
    with in_sql.unavailable_as_indeterminate():
        await outbox.finish(engine, row.user)


async def end(conn: AsyncConnection, user: UserId, family: str) -> None:
    """Within a transaction that holds the user's row: the login is over, and every gateway is to hear of it."""
    await conn.execute(update(sessions).where(sessions.c.id == family).values(ended_at=now_ms()))
    await conn.execute(update(users).where(users.c.id == user).values(version=users.c.version + 1))
    await outbox.add(conn, user, code=outbox.REVOKED, family=family)


async def end_sessions_of(conn: AsyncConnection, user: UserId) -> None:
    """End every family of ``user``, within the transaction that takes his access away."""
    theirs = (sessions.c.user == user) & sessions.c.ended_at.is_(None)
    await conn.execute(update(sessions).where(theirs).values(ended_at=now_ms()))


async def forget_old_sessions(engine: Engine) -> int:
    """Delete families in which no token can be good any more; returns how many."""
    async with engine.archive.writing() as conn:
        return (await conn.execute(delete(sessions).where(sessions.c.expires_at <= now_ms()))).rowcount


async def lock(conn: AsyncConnection, user: Any) -> None:
    """Hold the user's row, which ``user`` is the id of, until the transaction ends."""
    await conn.execute(select(users.c.id).where(users.c.id == user).with_for_update(key_share=True))


async def _family(conn: AsyncConnection, family: str) -> Any:
    """The login with its account, locked by the user's row. Whoever changes either takes that lock first, so that no
    two wait for each other, and what is read after it is the latest.
    """
    await lock(conn, select(sessions.c.user).where(sessions.c.id == family).scalar_subquery())
    query = (
        select(sessions, users.c.role, users.c.name, users.c.active)
        .join(users, users.c.id == sessions.c.user)
        .where(sessions.c.id == family)
    )
    return (await conn.execute(query)).one_or_none()


def _may_repeat(row: Any, number: int, now: int) -> bool:
    """Whether a token that was rotated still gives its successor: the latest one, for ten minutes, and only while
    nothing of the successor was used. Once it was, somebody else holds the token that comes back.
    """
    fresh = now - row.rotated_at <= OVERLAP_S * 1000
    return bool(fresh and number == row.generation - 1 and row.used < row.generation)


async def _rotate(conn: AsyncConnection, family: str, number: int, now: int) -> None:
    values = {"generation": number + 1, "rotated_at": now, "expires_at": now + REFRESH_S * 1000}
    await conn.execute(update(sessions).where(sessions.c.id == family).values(**values))


def _pair(engine: Engine, who: Principal, refresh_token: str) -> TokenPair:
    login = (who.family, who.generation)
    return TokenPair(access_token(engine.signer, who.id, who.role, name=who.name, login=login), refresh_token)


def _refresh_token(engine: Engine, family: str, number: int, salt: bytes) -> str:
    proof = base64.urlsafe_b64encode(_proof(engine, family, number, salt)).rstrip(b"=").decode()
    return f"{family}.{number}.{proof}"


def _proof(engine: Engine, family: str, number: int, salt: bytes) -> bytes:
    secret = engine.signer.derive("refresh") + salt
    return hmac.digest(secret, f"{family}.{number}".encode(), "sha256")


def _parse(refresh_token: str) -> tuple[str, int, bytes]:
    parts = refresh_token.split(".")
    try:
        family, number, proof = parts[0], int(parts[1]), base64.urlsafe_b64decode(parts[2] + "=")
    except (ValueError, IndexError):
        raise Unauthenticated("Not a refresh token of this server") from None
    return family, number, proof
