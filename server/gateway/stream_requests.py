"""Answer the requests for event streams and long polls: the same steps as ``connect`` on the socket, with the cursor
from a header or the query.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from engine.errors import TokenExpired, Unavailable
from engine.identity import tokens
from engine.types import Cursor, Principal, Zone
from server.gateway import connect, entitlements, sse, subscriptions
from server.gateway.event_stream import EventStream, EventStreamResponse, PollSession, wait_for_disconnect
from server.gateway.gateway import Gateway
from server.gateway.hub import member_channel
from server.gateway.large_rooms import updated_channels
from server.http import responses
from server.http.responses import Header, Response

POLL_ENDED_CODE = 1000

Replays = dict[Zone, list[bytes]]


class StreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a stream or a poll: which events, and after which cursors. No ``channels`` means the caller's own,
    no ``types`` means all types.
    """

    cursors: Mapping[Zone, Cursor]
    channels: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


class PollResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The response to a poll. ``cursor`` is the cursor for the next poll. If ``recovered`` is false, call ``/v1/sync``
    and continue from its cursor. ``reason`` is as on the socket.
    """

    events: list[msgspec.Raw]
    cursor: str
    recovered: bool
    reason: str | None = None


async def open_stream(gateway: Gateway, caller: Principal, request: StreamRequest) -> EventStreamResponse:
    """Start an event stream and return its response, which sends the missed events and then the new ones. Raises
    CalloutError.
    """
    stream = EventStream(gateway, gateway.streams, caller, request.types)
    resumes, replays = await _read_missed(gateway, stream, request)
    gateway.add_stream(stream)
    at = {zone: Cursor(resume.tail.epoch, resume.start_seq) for zone, resume in resumes.items()}
    for zone, resume in resumes.items():
        if resume.outcome == "recovered" and zone in request.cursors:
            at[zone] = request.cursors[zone]
    known, served = gateway.engine.store.zones, gateway.relay.tails
    others = {zone: at for zone, at in request.cursors.items() if zone in known and zone not in served}
    stream.other_cursors = sse.cursor_text(others.items())
    at |= others
    reply = connect.connect_reply(gateway, stream, resumes, replays)
    first = sse.connect_block({**reply, **_recovery_members(resumes)}, sse.cursor_text(at.items()))
    blocks = []
    for zone, payloads in replays.items():
        epoch = resumes[zone].tail.epoch
        for seq, payload in zip(resumes[zone].seqs, payloads, strict=bool(payloads)):
            at[zone] = Cursor(epoch, seq)
            blocks.append(sse.event_block(payload, sse.cursor_text(at.items())))
    stream.push_all([first, *blocks])
    stream.heartbeat()
    return stream.response


class LongPoll:
    """The response of a long poll: sent at once if the client missed events, else at the first event or after
    ``wait_s`` seconds.
    """

    def __init__(self, gateway: Gateway, caller: Principal, request: StreamRequest, wait_s: float) -> None:
        self._gateway = gateway
        self._caller = caller
        self._request = request
        self._wait_s = wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header]) -> Response:
        """Return the response. Raises CalloutError, and ClientDisconnect if the client disconnects while the poll
        waits.
        """
        poll = PollSession(self._gateway, self._gateway.streams, self._caller, self._request.types)
        resumes, replays = await _read_missed(self._gateway, poll, self._request)
        if self._wait_s and _recovery_members(resumes)["recovered"] and not any(replays.values()):
            self._gateway.add_stream(poll)
            await self._wait_for_events(poll, receive)
            resumes, replays = await _read_missed(self._gateway, poll, self._request)
        events = [msgspec.Raw(payload) for payloads in replays.values() for payload in payloads]
        heads = {zone: resume.tail.head for zone, resume in resumes.items()}
        # A zone that is closed, or that this gateway does not serve: the client keeps its cursor for later.
        others = {zone: cursor for zone, cursor in self._request.cursors.items() if self._is_unread(zone, resumes)}
        cursor = sse.cursor_text((heads | others).items())
        return responses.json_response(PollResult(events, cursor, **_recovery_members(resumes)))

    def _is_unread(self, zone: Zone, resumes: connect.ResumesByZone) -> bool:
        """Return whether the deployment has ``zone``, but this response has no events of it."""
        return zone not in resumes and zone in self._gateway.engine.store.zones

    async def _wait_for_events(self, poll: PollSession, receive: Receive) -> None:
        woken, disconnect = asyncio.create_task(poll.woken.wait()), asyncio.create_task(wait_for_disconnect(receive))
        try:
            await asyncio.wait((woken, disconnect), timeout=self._wait_s, return_when=asyncio.FIRST_COMPLETED)
            if disconnect.done():
                raise ClientDisconnect
        finally:
            poll.handle_end(POLL_ENDED_CODE)
            woken.cancel()
            disconnect.cancel()


async def _read_missed(
    gateway: Gateway, stream: EventStream, request: StreamRequest
) -> tuple[connect.ResumesByZone, Replays]:
    """Return the missed events, valid in the turn of the event loop in which this returns. The caller's access is
    checked again after the heads were noted, so that a later revocation is found among the events since those heads.
    Raises CalloutError.
    """
    gateway.check_accepting()
    caller = stream.caller
    seen = {zone: tail.cursor for zone, tail in gateway.relay.tails.items()}
    await tokens.check_active(gateway.engine, caller)
    stream.channels = await subscriptions.stream_channels(gateway, caller, request.channels)
    work = {} if request.channels else await entitlements.read_work_floors(gateway.engine, gateway.relay.tails, caller)
    rooms = set() if request.channels else await gateway.large_rooms.channels_of(caller, gateway.relay.tails)
    channels = (*stream.channels, *rooms)
    resumes = await connect.prepare_resumes(
        gateway, gateway.payloads, caller, request.cursors, channels, stream.receives_type, floors=work
    )
    while True:
        gateway.check_accepting()
        if not resumes:
            raise Unavailable("No zone is open")
        if connect.revocation_since(gateway, caller, seen) is not None:
            await tokens.check_active(gateway.engine, caller)
            raise TokenExpired("Your access has changed")
        work = {} if request.channels else entitlements.updated_floors(gateway.relay.tails, caller, work, seen)
        rooms = set() if request.channels else updated_channels(gateway.relay.tails, caller, rooms, seen)
        for zone, resume in resumes.items():
            resume.collect_missed(gateway.payloads, (*stream.channels, *rooms), work.get(zone))
        if not await connect.read_missing_memberships(gateway, caller, resumes):
            break
    replays = {zone: resume.missed_frames(gateway.payloads) for zone, resume in resumes.items()}
    stream.channels = (*stream.channels, *entitlements.work_channels(work), *map(member_channel, rooms))
    for resume in resumes.values():
        gateway.counters.resumes_by_outcome[resume.outcome] += 1
    return resumes, replays


def _recovery_members(resumes: connect.ResumesByZone) -> dict[str, Any]:
    """Return ``recovered`` (whether the events of every zone continue from the client's cursor), and the ``reason`` if
    those of a zone do not.
    """
    reasons = [resume.reason for resume in resumes.values() if resume.reason is not None]
    recovered = all(resume.outcome == "recovered" for resume in resumes.values())
    return {"recovered": recovered, **({"reason": reasons[0]} if reasons else {})}
