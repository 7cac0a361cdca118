"""Who is calling: access tokens, refresh tokens, tickets. The key behind them is engine/signer.py.

**Refresh tokens are not stored, not even as hashes.** The n-th token of a family (one login) is the HMAC of
family and n under a key that is the server's secret and the family's salt together; SQL holds salt and n. So a
token has always the same successor, a repeated refresh gives it again, a stolen database makes no token, and an
old token is told from a forged one: the old one ends its family, the forged one does nothing. (Rejected: random
tokens stored as hashes. The successor could not be given twice without storing it in the clear.)

**Activity is checked on each request** against a hot record. One that is missing is filled from SQL with its
version, so that a slow fill never overwrites the suspension that overtook it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine import technicians
from engine.archive import verdicts
from engine.archive.schema import sessions, users
from engine.clock import now_ms
from engine.errors import AccountNotApproved, CalloutError, Forbidden, TokenExpired, Unauthenticated
from engine.signer import access_token
from engine.store import keys
from engine.store.scripts import Args
from engine.types import DEFAULT_ZONE, Principal, Role, UserId, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

ACCESS_S = 3_600
REFRESH_S = 30 * 86_400
OVERLAP_S = 600
"""How long the token before the last still gives its successor: whoever lost the reply asks again."""
SIGNED_OUT = 4502
"""The close code of a signed-out session's sockets: access revoked, do not come back."""
Purpose = Literal["socket", "events"]
TICKET_S: dict[Purpose, int] = {"socket": 30, "events": 900}


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
    return principal


async def check_active(engine: Engine, principal: Principal) -> None:
    """Let pass only who has an active account in the role that he claims, and has not signed out with this very
    proof. Raises as ``principal_of``.
    """
    if principal.id == f"cli_{principal.role}":
        return
    place = keys.account(DEFAULT_ZONE, principal.id)
    role, active, out = await engine.store.command("HMGET", place, "role", "active", "out")
    if principal.family and out and principal.family.encode() in out:
        raise Unauthenticated("This session has ended")
    if role is None:
        role, active = await _fill(engine, principal.id)
    if active != b"1":
        raise suspended(principal.role)
    if role.decode() != principal.role:
        raise TokenExpired("Your role has changed")


def suspended(role: Role) -> CalloutError:
    """What a suspended account hears, whatever it asks for."""
    return AccountNotApproved() if role == "technician" else Forbidden("This account is suspended")


def account_record(row: Mapping[Any, Any]) -> technicians.AccountRecord:
    """The hot record of a row of ``users``."""
    return technicians.AccountRecord(
        id=row["id"], role=row["role"], active=row["active"], version=row["version"], name=row["name"]
    )


async def _fill(engine: Engine, user: UserId) -> tuple[bytes, bytes]:
    """Role and activity from SQL, put into Redis. Not where a change is under way (``hot`` is false): its own put
    is the one that also tells the sockets, and must not find its work done.
    """
    async with engine.archive.reading() as conn:
        row = (await conn.execute(select(users).where(users.c.id == user))).mappings().one_or_none()
    if row is None:
        raise Unauthenticated("No such account")
    if row["hot"]:
        await technicians.put_account(engine, account_record(row))
    return row["role"].encode(), b"1" if row["active"] else b"0"


# Tickets


async def issue_ticket(engine: Engine, principal: Principal, purpose: Purpose) -> Ticket:
    """A ticket that stands for ``principal``: one use for a socket; for events, any in its time, since an
    EventSource comes back by itself with the address it was given.
    """
    ticket = secrets.token_urlsafe(32)
    seconds = TICKET_S[purpose]
    value = msgspec.json.encode({"purpose": purpose, "principal": principal})
    await engine.store.command("SET", _ticket_key(ticket), value, "EX", seconds)
    return Ticket(ticket, seconds)


async def redeem_ticket(engine: Engine, ticket: str, purpose: Purpose = "socket") -> Principal:
    """Whom ``ticket`` stands for, if he may still act. Raises TokenExpired for one that is used or unknown."""
    verb = "GETDEL" if purpose == "socket" else "GET"
    value = await engine.store.command(verb, _ticket_key(ticket))
    held = msgspec.json.decode(value, type=_Held) if value else None
    if held is None or held.purpose != purpose or held.principal.expires <= now_ms() / 1000:
        raise TokenExpired("This ticket is used or unknown")
    await check_active(engine, held.principal)
    return held.principal


class _Held(msgspec.Struct, frozen=True):
    purpose: Purpose
    principal: Principal


def _ticket_key(ticket: str) -> str:
    return keys.ticket(DEFAULT_ZONE, hashlib.sha256(ticket.encode()).hexdigest())


# Sessions: families of refresh tokens


async def new_session(engine: Engine, user: UserId, role: Role, name: str) -> TokenPair:
    """Begin a family for a user whose password was just checked."""
    family, salt = new_id("ses"), secrets.token_bytes(16)
    now = now_ms()
    row = {"id": family, "user": user, "salt": salt, "generation": 1, "rotated_at": now}
    async with engine.archive.writing() as conn:
        await conn.execute(insert(sessions).values(expires_at=now + REFRESH_S * 1000, **row))
    return _pair(engine, Principal(user, role, name, family=family), _refresh_token(engine, family, 1, salt))


async def refresh(engine: Engine, refresh_token: str) -> TokenPair:
    """The token's successor with a fresh access token (PROTOCOL §2: what an older token gives, or ends).

    Raises Unauthenticated for a token that is not ours or ended, TokenExpired after its 30 days, and what
    ``suspended`` gives.
    """
    family, number, proof = _parse(refresh_token)
    async with engine.archive.writing() as conn:
        row = await _family(conn, family)
        if row is None or not hmac.compare_digest(_proof(engine, family, number, row.salt), proof):
            raise Unauthenticated("Not a refresh token of this server")
        if not row.active:
            raise suspended(row.role)
        ended, reused = row.ended_at is not None, False
        now = now_ms()
        if not ended and row.expires_at <= now:
            raise TokenExpired("Sign in again")
        if not ended and number == row.generation:
            await _rotate(conn, family, number, now)
        elif not (number == row.generation - 1 and now - row.rotated_at <= OVERLAP_S * 1000):
            reused = not ended
            await conn.execute(update(sessions).where(sessions.c.id == family).values(ended_at=now))
            ended = True
    if reused:
        with verdicts.in_effect():
            await _tell_ended(engine, row.user, family)
    if ended:
        raise Unauthenticated("This session has ended")
    successor = _refresh_token(engine, family, number + 1, row.salt)
    return _pair(engine, Principal(row.user, row.role, row.name, family=family), successor)


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
        await conn.execute(update(sessions).where(sessions.c.id == family).values(ended_at=now_ms()))
    with verdicts.in_effect():
        await _tell_ended(engine, row.user, family)


async def _tell_ended(engine: Engine, user: UserId, family: str) -> None:
    """Redis refuses the family's access tokens for as long as one can be good, and every gateway hears of it."""
    zone = DEFAULT_ZONE
    names = {"meta": keys.meta(zone), "account": keys.account(zone, user), "log": keys.log(zone)}
    told = msgspec.json.encode({"code": SIGNED_OUT, "reason": "signed out", "family": family})
    args: Args = {"id": user, "family": family, "keep_ms": ACCESS_S * 1000, "revoked": told}
    await engine.store.run(zone, "session_end", keys=names, args=args)


async def end_sessions_of(conn: AsyncConnection, user: UserId) -> None:
    """End every family of ``user``, within the transaction that takes his access away."""
    theirs = (sessions.c.user == user) & sessions.c.ended_at.is_(None)
    await conn.execute(update(sessions).where(theirs).values(ended_at=now_ms()))


async def forget_old_sessions(engine: Engine) -> int:
    """Delete families in which no token can be good any more; returns how many."""
    async with engine.archive.writing() as conn:
        return (await conn.execute(delete(sessions).where(sessions.c.expires_at <= now_ms()))).rowcount


async def _family(conn: AsyncConnection, family: str) -> Any:
    query = (
        select(sessions, users.c.role, users.c.name, users.c.active)
        .join(users, users.c.id == sessions.c.user)
        .where(sessions.c.id == family)
        .with_for_update(of=sessions)
    )
    return (await conn.execute(query)).one_or_none()


async def _rotate(conn: AsyncConnection, family: str, number: int, now: int) -> None:
    values = {"generation": number + 1, "rotated_at": now, "expires_at": now + REFRESH_S * 1000}
    await conn.execute(update(sessions).where(sessions.c.id == family).values(**values))


def _pair(engine: Engine, who: Principal, refresh_token: str) -> TokenPair:
    return TokenPair(access_token(engine.signer, who.id, who.role, name=who.name, family=who.family), refresh_token)


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
