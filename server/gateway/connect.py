"""Handle ``connect``, the first message: authenticate the client, find its channels and the events that it missed, and
join it to the hub. The last step happens in one turn of the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import Any

from engine.clock import now_ms
from engine.errors import CalloutError, Forbidden, NotFound, TokenExpired, Unauthenticated
from engine.events import Event, iso
from engine.identity import sockets, tokens
from engine.roles import USERS, require_role
from engine.technicians import live
from engine.types import Cursor, Principal, Zone
from server.gateway import entitlements, subscriptions
from server.gateway.app_version import too_old
from server.gateway.gateway import Gateway
from server.gateway.protocol import Close, State
from server.gateway.resume import MAX_EVENTS, Encoder, Resume
from server.gateway.revocation import REVOKED
from server.gateway.session import Session
from server.http.polling import POLL
from server.schemas.ops import App, Connect

TRIES = 2
"""How many times a client may send credentials: after an expired token or a used ticket it may try once more."""

ADMITTED = USERS
"""The roles that may send ``connect`` and ``ping``."""

Resumes = dict[Zone, Resume]


async def join(gateway: Gateway, session: Session, op: Connect) -> None:
    """Make ``session`` live, or refuse and close it. Raises CalloutError if the client may send ``connect`` again."""
    app, oldest = op.app or App(), gateway.engine.settings.app_min_version
    if oldest and too_old(app.name, app.version, oldest):
        session.refuse(op.id, Forbidden("This version of the app is too old: upgrade it"))
        return session.close(Close.UPGRADE, "upgrade the app")
    seen = {zone: tail.cursor for zone, tail in gateway.relay.tails.items()}
    try:
        principal = await _who(gateway, session, op)
        require_role(principal, ADMITTED)
    except Unauthenticated as refusal:
        return _refuse_credentials(session, op, refusal)
    except CalloutError as refusal:
        if refusal.temporary:
            raise
        session.refuse(op.id, refusal)
        return session.close(Close.REVOKED, refusal.code)
    wanted, refused = await subscriptions.admit(gateway, principal, op.subs)
    work = await entitlements.work_of(gateway.engine, gateway.relay.tails, principal)
    hears, frames = subscriptions.own_and(principal, wanted), session.hub.frames
    cursors = {zone: at.cursor for zone, at in op.cursors.items()}
    resumes = await reach(gateway, frames, cursors, hears, work=work, allows=entitlements.replayable(principal, hears))
    at_work = await live.presence(gateway.engine, principal)
    if session.state is not State.JOINING:
        return None
    if (event := revoked_since(gateway, principal, seen)) is not None:
        return gateway.revocation.end(session, event)
    work = entitlements.work_since(gateway.relay.tails, principal, work, seen)
    lost = entitlements.lost_since(gateway.relay.tails, principal, wanted, seen)
    hears = tuple(channel for channel in hears if channel not in lost)
    replays = {zone: resume.finish(frames, work.get(zone)) for zone, resume in resumes.items()}
    for resume in resumes.values():
        gateway.counters.resumes[resume.outcome] += 1
    session.principal, session.channels, session.state = principal, (*hears, *entitlements.names(work)), State.LIVE
    ok = welcome(gateway, session, resumes, replays)
    if op.subs:
        refused += [{"channel": channel, "code": NotFound.code} for channel in lost]
        ok |= {"subs": [channel for channel in wanted if channel not in lost], "refused": refused}
    if at_work is not None:
        ok |= {"online": at_work.online}
        ok |= {"clock_offset_s": at_work.clock_offset_s} if at_work.clock_offset_s else {}
    session.push(frames.reply(op.id, ok))
    for replay in replays.values():
        session.push_all(replay)
    device = sockets.device_of(op.app.device) if op.app else ""
    gateway.joined(session, sockets.Claim(device, op.replaces or ""))
    return None


async def _who(gateway: Gateway, session: Session, op: Connect) -> Principal:
    """Return the caller, by the token in the message, or else by the credentials of the handshake, which are used once.
    Raises CalloutError.
    """
    given, session.credentials = session.credentials, None
    if op.token is not None:
        return await tokens.principal_of(gateway.engine, op.token)
    if given is not None and given.ticket is not None:
        return await tokens.redeem_ticket(gateway.engine, given.ticket)
    if given is not None and given.token is not None:
        return await tokens.principal_of(gateway.engine, given.token)
    raise Unauthenticated("No token: in Authorization, in ?ticket= or in this message")


def _refuse_credentials(session: Session, op: Connect, refusal: Unauthenticated) -> None:
    session.refuse(op.id, refusal)
    session.credential_attempts += 1
    if not isinstance(refusal, TokenExpired):
        session.close(Close.BAD_CREDENTIALS, refusal.code)
    elif session.credential_attempts >= TRIES:
        session.close(Close.TOKEN_EXPIRED, refusal.code)


async def reach(
    gateway: Gateway,
    encoder: Encoder,
    cursors: Mapping[Zone, Cursor],
    hears: tuple[str, ...],
    wants: Callable[[str], bool] | None = None,
    *,
    work: entitlements.Floors | None = None,
    allows: Callable[[Event], bool] | None = None,
) -> Resumes:
    """Return the resumes of all open zones, after fetching the events that are not in the replay buffers: what remains
    to be done needs no await.
    """
    for tail in gateway.relay.tails.values():
        await tail.read()
    tails = gateway.relay.tails.items()
    floors = work or {}
    resumes = {
        zone: Resume(tail, cursors.get(zone), hears, wants, floors.get(zone)) for zone, tail in tails if tail.open
    }
    for resume in resumes.values():
        resume.allows = allows
        await resume.judge()
    while cold := [resume for resume in resumes.values() if not resume.ready]:
        for resume in cold:
            async with gateway.cold_reads:
                await resume.reach(gateway.engine, encoder)
    return resumes


def revoked_since(gateway: Gateway, principal: Principal, seen: dict[Zone, int]) -> Event | None:
    """Return the event that revoked the caller's access after the seqs ``seen``, when the session was not in a hub yet.
    None if there is none.
    """
    for zone, seq in seen.items():
        found = gateway.relay.tails[zone].memory.find(seq, [f"user:{principal.id}"], MAX_EVENTS)
        for segment, place in found:
            event = segment.events[place]
            if event.type == REVOKED and gateway.revocation.concerns(event, principal):
                return event
    return None


def welcome(gateway: Gateway, session: Session, resumes: Resumes, replays: dict[Zone, list[bytes]]) -> dict[str, Any]:
    """Return the content of the reply to ``connect``."""
    principal, settings = session.caller, gateway.engine.settings
    return {
        "session": session.id,
        "user": {"id": principal.id, "role": principal.role},
        "now": iso(now_ms()),
        "expires_in": max(0, int(principal.expires - time())) if principal.expires else None,
        "ping": _number(settings.ping_s),
        "pong": _number(settings.pong_s),
        "zones": {zone: _zone(resume, len(replays[zone])) for zone, resume in resumes.items()},
        "poll": POLL,
        "fix": {"every_s": live.FIX_ON_JOB_S},
    }


def _zone(resume: Resume, missed: int) -> dict[str, Any]:
    told: dict[str, Any] = {"epoch": resume.tail.epoch, "seq": resume.tail.cursor}
    told["recovered"] = resume.outcome == "recovered"
    if told["recovered"]:
        told["missed"] = missed
    elif resume.reason is not None:
        told["reason"] = resume.reason
    return told


def _number(seconds: float) -> float:
    return int(seconds) if seconds == int(seconds) else seconds
