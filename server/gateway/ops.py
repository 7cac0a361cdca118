"""What each op does: from the message to a call of the engine, and from its outcome to the reply."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import monotonic, time
from typing import Any, NamedTuple

import msgspec

from engine.domain import jobs, offers
from engine.domain.commands import Step
from engine.errors import Forbidden, Indeterminate
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome
from engine.identity import limits, tokens
from engine.roles import TECHNICIAN, USERS, require_role
from engine.rules.fixes import Fix
from engine.technicians import live
from engine.technicians.live import Position
from engine.types import Role
from server.gateway import connect, session_limiter, subscriptions
from server.gateway.gateway import Gateway
from server.gateway.protocol import Close
from server.gateway.session import Session
from server.http import policy
from server.schemas import ops as messages
from server.schemas.fields import to_ms
from server.schemas.positions import OneFix

Keyed = messages.Claim | messages.Decline | messages.Command | messages.SetAvailability
"""Ops done under a request key. Where their client gave none one is made, and named in the reply or in the 504, so
that he can repeat.
"""


class Named(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A reply to such an op; ``key`` where the server made it."""

    key: str | None = None


class Done(Named):
    """The reply to a step: as over HTTP, with the seq of its event."""

    job: msgspec.Raw | None = None
    message: str | None = None
    seq: int | None = None
    repeated: bool = False


class Available(Named):
    """The reply to ``availability``: as over HTTP."""

    online: bool
    receiving: bool
    blockers: list[str]
    lease_s: float
    fix: live.FixPlan
    clock_offset_s: float


async def claim(gateway: Gateway, session: Session, op: messages.Claim) -> Done:
    """Take the job that one was offered."""
    trace = op.trace or ""
    return _done(await jobs.claim(gateway.engine, session.caller, op.job, key=op.key, version=op.version, trace=trace))


async def decline(gateway: Gateway, session: Session, op: messages.Decline) -> Done:
    """Turn the offer down."""
    trace = op.trace or ""
    return _done(
        await offers.decline(gateway.engine, session.caller, op.job, reason=op.reason, key=op.key, trace=trace)
    )


async def command(gateway: Gateway, session: Session, op: messages.Command) -> Done:
    """Any step that the job's blueprint gives the caller."""
    step = Step(
        command=op.command,
        version=op.version,
        reason=op.reason,
        code=op.code,
        amount=op.amount,
        occurred_at=to_ms(op.occurred_at),
        technician=op.technician,
        force=op.force,
    )
    return _done(await jobs.command(gateway.engine, session.caller, op.job, step, key=op.key, trace=op.trace or ""))


async def availability(gateway: Gateway, session: Session, op: messages.SetAvailability) -> Available:
    """Go online, with the position if it is not known yet, or offline."""
    caller = session.caller
    position = Position(op.lat, op.lon) if op.lat is not None and op.lon is not None else None
    now = await live.set_availability(
        gateway.engine, caller, caller.id, online=op.online, position=position, key=op.key
    )
    return msgspec.convert(now, Available, from_attributes=True)


async def location(gateway: Gateway, session: Session, op: messages.Location) -> dict[str, Any]:
    """One fix or several; told is what is not as it should be."""
    caller = session.caller
    fixes = [_fix(one) for one in op.fixes] if op.fixes else [_fix(op)]
    heard = await live.take_fixes(gateway.engine, caller, caller.id, fixes, live=op.fixes is None)
    return {} if heard.needs_no_action else msgspec.structs.asdict(heard)


async def refresh(gateway: Gateway, session: Session, op: messages.Refresh) -> dict[str, Any]:
    """Go on under a fresh token. One of another role closes with 4006: what is heard depends on the role."""
    seen = {zone: tail.cursor for zone, tail in gateway.relay.tails.items()}
    fresh = await tokens.principal_of(gateway.engine, op.token)
    if fresh.id != session.caller.id:
        raise Forbidden("Another user's token: for him there is another socket")
    if fresh.role != session.caller.role:
        session.close(Close.REAUTHENTICATE, "role changed")
    elif (event := connect.revoked_since(gateway, fresh, seen)) is not None:
        gateway.revocation.end(session, event)
    else:
        gateway.renew(session, fresh)
    return {"expires_in": max(0, int(fresh.expires - time())) if fresh.expires else None}


Work = Callable[[Gateway, Session, Any], Awaitable[Any]]


class Spec(NamedTuple):
    """Everything that is said of an op: its work, the limit that counts it, which roles it admits, and how one of these
    must stand to what it names.
    """

    work: Work
    meter: str
    roles: frozenset[Role]
    policy: policy.Policy


OPS: dict[type[messages.Op], Spec] = {
    messages.Claim: Spec(claim, "claims", USERS, policy.STEP),
    messages.Decline: Spec(decline, "requests", USERS, policy.STEP),
    messages.Command: Spec(command, "requests", USERS, policy.STEP),
    messages.SetAvailability: Spec(availability, "requests", TECHNICIAN, policy.OWN),
    messages.Location: Spec(location, "fixes", TECHNICIAN, policy.OWN),
    messages.Refresh: Spec(refresh, "requests", USERS, policy.OWN),
    messages.Subscribe: Spec(subscriptions.subscribe, "requests", USERS, policy.WHOLE),
    messages.Unsubscribe: Spec(subscriptions.unsubscribe, "requests", USERS, policy.OWN),
}
"""``connect`` and ``ping`` are the gateway's own: server/gateway/connect.py names the roles that may connect."""


async def perform(gateway: Gateway, session: Session, op: messages.Op) -> Any:
    """Do ``op`` and give what its reply holds. Raises CalloutError."""
    spec = OPS[type(op)]
    require_role(session.caller, spec.roles)
    if gateway.limited:
        limit = limit_of(op)
        if session.limiter is not None:
            session.limiter.check(limit, monotonic())
        await limits.take(gateway.engine, session.caller.id, limit)
    if not isinstance(op, Keyed):
        return await spec.work(gateway, session, op)
    made = op.key is None
    op.key = op.key or in_redis.new_key()
    try:
        reply = await spec.work(gateway, session, op)
    except Indeterminate as error:
        error.extra["key"] = op.key
        raise
    if made:
        reply.key = op.key
    return reply


def limit_of(op: messages.Op) -> limits.Limit:
    """The meter that counts ``op``. A claim by its long name is none the cheaper for that."""
    if isinstance(op, messages.Ping):
        return session_limiter.PINGS
    is_claim = isinstance(op, messages.Command) and op.command == "claim"
    return limits.LIMITS["claims" if is_claim else OPS[type(op)].meter]


def _fix(one: OneFix | messages.Location) -> Fix:
    assert one.lat is not None
    assert one.lon is not None
    return Fix(
        lat=one.lat,
        lon=one.lon,
        at=to_ms(one.at),
        accuracy=one.accuracy,
        speed=one.speed,
        heading=one.heading,
        altitude=one.altitude,
    )


def _done(outcome: Outcome) -> Done:
    return Done(outcome.job, outcome.message, outcome.seq, outcome.repeated)
