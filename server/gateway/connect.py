"""Handle ``connect``, the first message: authenticate the client, find its channels and the events that it missed, and
subscribe it in its hub. The last step happens in one turn of the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import Any

from engine.clock import now_ms
from engine.errors import CalloutError, Forbidden, NotFound, TokenExpired, Unauthenticated
from engine.events import Event, rfc3339_of
from engine.identity import sockets, tokens
from engine.roles import ANY_ROLE, require_role
from engine.rules.fixes import IDLE_RATE
from engine.technicians import live
from engine.types import Cursor, Principal, Zone
from server.gateway import entitlements, subscriptions
from server.gateway.app_version import is_too_old
from server.gateway.gateway import Gateway
from server.gateway.hub import member_channel
from server.gateway.large_rooms import updated_channels
from server.gateway.protocol import Close, State
from server.gateway.resume import MAX_REPLAY_EVENTS, Encoder, Resume
from server.gateway.revocation import REVOKED_EVENT
from server.gateway.session import Session
from server.http.polling import POLL_INTERVALS_S
from server.schemas.ops import App, Connect

MAX_CONNECT_ATTEMPTS = 2
"""How many times a client may send credentials: after an expired token or a used ticket it may try once more."""

SOCKET_ROLES = ANY_ROLE
"""The roles that may send ``connect`` and ``ping``."""

ResumesByZone = dict[Zone, Resume]


async def start_session(gateway: Gateway, session: Session, op: Connect) -> None:
    """Make ``session`` live (``State.LIVE``), or refuse and close it. Raises CalloutError if the client may send
    ``connect`` again.
    """
    seen = {zone: tail.cursor for zone, tail in gateway.relay.tails.items()}
    principal = await _admit(gateway, session, op)
    if principal is None:
        return None
    wanted, refused = await subscriptions.check_channels(gateway, principal, op.subs)
    floors = await entitlements.read_work_floors(gateway.engine, gateway.relay.tails, principal)
    large_rooms = await gateway.large_rooms.channels_of(principal, gateway.relay.tails)
    channels, frames = subscriptions.all_channels(principal, wanted), session.hub.frames
    cursors = {zone: at.cursor for zone, at in op.cursors.items()}
    resumes = await prepare_resumes(
        gateway,
        frames,
        principal,
        cursors,
        (*channels, *large_rooms),
        floors=floors,
        may_replay=entitlements.replay_filter(principal, channels),
    )
    at_work = await live.read_presence(gateway.engine, principal)
    while True:
        if session.state is not State.JOINING:
            return None
        if (event := revocation_since(gateway, principal, seen)) is not None:
            return gateway.revocation.close_session(session, event)
        floors = entitlements.updated_floors(gateway.relay.tails, principal, floors, seen)
        large_rooms = updated_channels(gateway.relay.tails, principal, large_rooms, seen)
        lost = entitlements.ended_job_channels(gateway.relay.tails, principal, wanted, seen)
        for zone, resume in resumes.items():
            resume.collect_missed(frames, (*channels, *large_rooms), floors.get(zone))
        if not await read_missing_memberships(gateway, principal, resumes):
            break
    replays = {zone: resume.missed_frames(frames) for zone, resume in resumes.items()}
    channels = tuple(channel for channel in channels if channel not in lost)
    for resume in resumes.values():
        gateway.counters.resumes_by_outcome[resume.outcome] += 1
    session.principal, session.channels, session.state = (
        principal,
        (*channels, *entitlements.work_channels(floors), *map(member_channel, large_rooms)),
        State.LIVE,
    )
    ok = connect_reply(gateway, session, resumes, replays)
    if op.subs:
        refused += [{"channel": channel, "code": NotFound.code} for channel in lost]
        ok |= {"subs": [channel for channel in wanted if channel not in lost], "refused": refused}
    if at_work is not None:
        ok |= {"online": at_work.online, "fix": at_work.fix}
        ok |= {"clock_offset_s": at_work.clock_offset_s} if at_work.clock_offset_s else {}
    session.push(frames.reply_frame(op.id, ok))
    for replay in replays.values():
        session.push_all(replay)
    device = sockets.hash_device_name(op.app.device) if op.app else ""
    gateway.add_socket(session, sockets.ClientDevice(device, op.replaces or ""))
    for subscription in wanted.values():
        subscriptions.show_map(gateway, session, subscription)
    return None


async def _admit(gateway: Gateway, session: Session, op: Connect) -> Principal | None:
    """Return the caller; None if the session was refused. Raises CalloutError if the client may try again."""
    app, oldest = op.app or App(), gateway.engine.settings.app_min_version
    if oldest and is_too_old(app.name, app.version, oldest):
        session.refuse(op.id, Forbidden("This version of the app is too old: upgrade it"))
        session.close(Close.UPGRADE, "upgrade the app")
        return None
    try:
        principal = await _authenticate(gateway, session, op)
        require_role(principal, SOCKET_ROLES)
    except Unauthenticated as refusal:
        _refuse_credentials(session, op, refusal)
        return None
    except CalloutError as refusal:
        if refusal.temporary:
            raise
        session.refuse(op.id, refusal)
        session.close(Close.REVOKED, refusal.code)
        return None
    return principal


async def _authenticate(gateway: Gateway, session: Session, op: Connect) -> Principal:
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
    elif session.credential_attempts >= MAX_CONNECT_ATTEMPTS:
        session.close(Close.TOKEN_EXPIRED, refusal.code)


async def read_missing_memberships(gateway: Gateway, caller: Principal, resumes: ResumesByZone) -> bool:
    """Read the caller's memberships of chat rooms for the resumes that need them, and return whether any did. If so,
    other tasks ran meanwhile, and the caller of this function finishes all resumes again.
    """
    needing = {zone: rooms for zone, resume in resumes.items() if (rooms := resume.unread_rooms)}
    for zone, rooms in needing.items():
        await resumes[zone].chat.read_memberships(gateway.engine, zone, rooms)
    return bool(needing)


async def prepare_resumes(
    gateway: Gateway,
    encoder: Encoder,
    caller: Principal,
    cursors: Mapping[Zone, Cursor],
    channels: tuple[str, ...],
    accepts_type: Callable[[str], bool] | None = None,
    *,
    floors: entitlements.Floors | None = None,
    may_replay: Callable[[Event], bool] | None = None,
) -> ResumesByZone:
    """Return a ``Resume`` for each open zone. Events that are in no replay buffer are already fetched, so that the
    caller can finish all resumes without an await.
    """
    for tail in gateway.relay.tails.values():
        await tail.wait_until_read()
    tails = gateway.relay.tails.items()
    floors, channels = floors or {}, subscriptions.logged_channels(channels)
    resumes = {
        zone: Resume(tail, cursors.get(zone), channels, accepts_type, floors.get(zone), caller=caller)
        for zone, tail in tails
        if tail.is_open
    }
    for resume in resumes.values():
        resume.may_replay = may_replay
        await resume.check_cursor()
    while unready := [resume for resume in resumes.values() if not resume.is_ready]:
        for resume in unready:
            async with gateway.replay_reads:
                await resume.fetch_missed(gateway.engine, encoder)
    return resumes


def revocation_since(gateway: Gateway, principal: Principal, seen_seqs: dict[Zone, int]) -> Event | None:
    """Return the event above ``seen_seqs`` that revoked the caller's access, None if there is none. The session was in
    no hub when that event came, so it has not received the event.
    """
    for zone, seq in seen_seqs.items():
        found = gateway.relay.tails[zone].buffer.find_events(seq, [f"user:{principal.id}"], MAX_REPLAY_EVENTS)
        for chunk, index in found:
            event = chunk.events[index]
            if event.type == REVOKED_EVENT and gateway.revocation.revokes(event, principal):
                return event
    return None


def connect_reply(
    gateway: Gateway, session: Session, resumes: ResumesByZone, replays: dict[Zone, list[bytes]]
) -> dict[str, Any]:
    """Return the content of the reply to ``connect``."""
    principal, settings = session.caller, gateway.engine.settings
    return {
        "session": session.id,
        "user": {"id": principal.id, "role": principal.role},
        "now": rfc3339_of(now_ms()),
        "expires_in": max(0, int(principal.expires - time())) if principal.expires else None,
        "ping": _without_fraction(settings.ping_s),
        "pong": _without_fraction(settings.pong_s),
        "zones": {zone: _zone_state(resume, len(replays[zone])) for zone, resume in resumes.items()},
        "poll": POLL_INTERVALS_S,
        "fix": IDLE_RATE,
    }


def _zone_state(resume: Resume, missed: int) -> dict[str, Any]:
    state: dict[str, Any] = {"epoch": resume.tail.epoch, "seq": resume.tail.cursor}
    state["recovered"] = resume.outcome == "recovered"
    if state["recovered"]:
        state["missed"] = missed
    elif resume.reason is not None:
        state["reason"] = resume.reason
    return state


def _without_fraction(seconds: float) -> float:
    return int(seconds) if seconds == int(seconds) else seconds
