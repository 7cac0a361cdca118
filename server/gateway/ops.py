"""The operations (ops) of the socket: each calls the engine with the values of its message, and returns the content of
its reply.
"""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING, Any, cast

import msgspec

from engine.domain import jobs, offers
from engine.domain.commands import CommandInput
from engine.errors import Forbidden, Indeterminate
from engine.idempotency import in_redis
from engine.idempotency.in_redis import Outcome
from engine.identity import limits, tokens
from engine.roles import ANY_ROLE, TECHNICIAN_ROLE, require_role
from engine.rules.fixes import Fix, FixReply
from engine.store.fix_batches import FixDone
from engine.technicians import live
from engine.technicians.live import Coordinates
from server.gateway import connect, session_limiter, subscriptions
from server.gateway.gateway import Gateway
from server.gateway.op_spec import OpSpec
from server.gateway.protocol import Close
from server.gateway.room_ops import ROOM_OPS
from server.gateway.session import Session
from server.http import policy
from server.schemas import ops as messages
from server.schemas.fields import to_ms
from server.schemas.frames import SocketAvailabilityReply, SocketStepReply
from server.schemas.positions import OneFix

if TYPE_CHECKING:
    from server.schemas.jobs import Job

KeyedOp = messages.Claim | messages.Decline | messages.Command | messages.SetAvailability
"""The ops with a request key. If the client gave no key, the server generates one and returns it in the reply or in the
504, so that the client can repeat the request.
"""


async def claim(gateway: Gateway, session: Session, op: messages.Claim) -> SocketStepReply:
    """Claim a job that was offered to the caller."""
    trace = op.trace or ""
    return _step_reply(
        await jobs.claim(gateway.engine, session.caller, op.job, key=op.key, version=op.version, trace=trace)
    )


async def decline(gateway: Gateway, session: Session, op: messages.Decline) -> SocketStepReply:
    """Decline the caller's offer of a job."""
    trace = op.trace or ""
    return _step_reply(
        await offers.decline_offer(gateway.engine, session.caller, op.job, reason=op.reason, key=op.key, trace=trace)
    )


async def command(gateway: Gateway, session: Session, op: messages.Command) -> SocketStepReply:
    """Run a command of the job's blueprint that the caller may give."""
    step = CommandInput(
        command=op.command,
        version=op.version,
        reason=op.reason,
        code=op.code,
        amount=op.amount,
        occurred_at=to_ms(op.occurred_at),
        technician=op.technician,
        force=op.force,
    )
    return _step_reply(
        await jobs.run_command(gateway.engine, session.caller, op.job, step, key=op.key, trace=op.trace or "")
    )


async def availability(gateway: Gateway, session: Session, op: messages.SetAvailability) -> SocketAvailabilityReply:
    """Set the caller online or offline. A position may come with ``online``, if it is not known yet."""
    caller = session.caller
    position = Coordinates(op.lat, op.lon) if op.lat is not None and op.lon is not None else None
    done = await live.set_availability(
        gateway.engine, caller, caller.id, online=op.online, position=position, key=op.key
    )
    return SocketAvailabilityReply(**msgspec.structs.asdict(done.value), repeated=done.repeated)


def send_location(gateway: Gateway, session: Session, op: messages.Location, done: FixDone) -> None:
    """Store one fix or several without waiting: ``done`` gets the outcome. Raises CalloutError. The fixes of a socket
    are counted at its gateway, not in Redis.
    """
    spec, caller = OPS[messages.Location], session.caller
    require_role(caller, spec.roles)
    if gateway.has_limits:
        session.limiter = session.limiter or session_limiter.SessionLimiter()
        session.limiter.count_here(limits.LIMITS[spec.limit_name], monotonic())
    live.submit_fixes(gateway.engine, caller, caller.id, _fixes_of(op), done, live=op.fixes is None)


def location_reply(report: FixReply) -> dict[str, Any]:
    """Return the content of the reply to fixes: {} if nothing was wrong, else what was wrong with them or the
    device.
    """
    return {} if report.needs_no_action else msgspec.structs.asdict(report)


def _fixes_of(op: messages.Location) -> list[Fix]:
    return [_build_fix(one) for one in op.fixes] if op.fixes else [_build_fix(op)]


async def watch_presence(gateway: Gateway, session: Session, op: messages.WatchPresence) -> dict[str, Any]:
    """Return the presence of users, and send the session each change from now on."""
    return {"items": await gateway.presence.watch(session, op.users)}


async def refresh(gateway: Gateway, session: Session, op: messages.Refresh) -> dict[str, Any]:
    """Replace the session's token. A token with another role closes the session with 4006, because its channels depend
    on the role. Return the seconds until the new token expires, None if it does not.
    """
    seen = {zone: tail.cursor for zone, tail in gateway.relay.tails.items()}
    fresh = await tokens.principal_of(gateway.engine, op.token)
    if fresh.id != session.caller.id:
        raise Forbidden("The token is another user's: open another socket for that user")
    if fresh.role != session.caller.role:
        session.close(Close.REAUTHENTICATE, "role changed")
    elif (event := connect.revocation_since(gateway, fresh, seen)) is not None:
        gateway.revocation.close_session(session, event)
    else:
        gateway.renew_token(session, fresh)
    return {"expires_in": max(0, int(fresh.expires - time())) if fresh.expires else None}


OPS: dict[type[messages.Op], OpSpec] = {
    messages.Claim: OpSpec(claim, "claims", ANY_ROLE, policy.STEP_OF_JOB),
    messages.Decline: OpSpec(decline, "requests", ANY_ROLE, policy.STEP_OF_JOB),
    messages.Command: OpSpec(command, "requests", ANY_ROLE, policy.STEP_OF_JOB),
    messages.SetAvailability: OpSpec(availability, "requests", TECHNICIAN_ROLE, policy.OWN_DATA),
    messages.Location: OpSpec(None, "fixes", TECHNICIAN_ROLE, policy.OWN_DATA),
    messages.Refresh: OpSpec(refresh, "requests", ANY_ROLE, policy.OWN_DATA),
    messages.Subscribe: OpSpec(subscriptions.subscribe, "requests", ANY_ROLE, policy.READ_FULL_JOB),
    messages.WatchPresence: OpSpec(watch_presence, "presence", ANY_ROLE, policy.OWN_DATA),
    messages.Unsubscribe: OpSpec(subscriptions.unsubscribe, "requests", ANY_ROLE, policy.OWN_DATA),
    **ROOM_OPS,
}
"""All ops except ``connect`` and ``ping``. For these two, server/gateway/connect.py names the roles."""


async def perform(gateway: Gateway, session: Session, op: messages.Op) -> Any:
    """Execute ``op`` and return the content of its reply. Raises CalloutError."""
    spec = OPS[type(op)]
    assert spec.function is not None
    require_role(session.caller, spec.roles)
    if gateway.has_limits:
        limit = limit_of(op)
        if session.limiter is not None:
            session.limiter.check_limit(limit, monotonic())
        await limits.count_request(gateway.engine, session.caller.id, limit)
    if not isinstance(op, KeyedOp):
        return await spec.function(gateway, session, op)
    is_new_key = op.key is None
    op.key = op.key or in_redis.new_key()
    try:
        reply = await spec.function(gateway, session, op)
    except Indeterminate as error:
        error.extra["key"] = op.key
        raise
    if is_new_key:
        reply.key = op.key
    return reply


def limit_of(op: messages.Op) -> limits.Limit:
    """Return the limit that counts ``op``. The command ``claim`` counts as a claim, like the op ``claim``."""
    if isinstance(op, messages.Ping):
        return session_limiter.PING_LIMIT
    is_claim = isinstance(op, messages.Command) and op.command == "claim"
    return limits.LIMITS["claims" if is_claim else OPS[type(op)].limit_name]


def _build_fix(fix: OneFix | messages.Location) -> Fix:
    assert fix.lat is not None
    assert fix.lon is not None
    return Fix(
        lat=fix.lat,
        lon=fix.lon,
        at=to_ms(fix.at),
        accuracy=fix.accuracy,
        speed=fix.speed,
        heading=fix.heading,
        altitude=fix.altitude,
    )


def _step_reply(outcome: Outcome) -> SocketStepReply:
    return SocketStepReply(
        job=cast("Job | None", outcome.job),  # JSON: it is embedded in the reply without parsing
        message=outcome.message,
        seq=outcome.seq or None,
        repeated=outcome.repeated,
    )
