"""The channels of large rooms.

The events of a room with more than 64 members are addressed to `room:<id>`, not to each member. Therefore the sessions
of its members are subscribed to this channel. Scripts tell gateways of each change by the internal event
``session.room``; a session that connects finds the large rooms of its user in Redis. Most zones have none, and then
nothing is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

import msgspec

from engine.events import Event
from engine.runtime import Engine
from engine.store import keys
from engine.types import Principal, Zone
from server.gateway.hub import member_channel
from server.gateway.session import Session
from server.gateway.zone_stream import ZoneStream

CHANGED_EVENT = "session.room"
MAX_EVENTS_SEARCHED = 1_000


class _MembershipChange(msgspec.Struct):
    room: str
    is_member: bool


class LargeRooms:
    """The large rooms that one gateway knows. A room that is no longer large stays in memory: then each ``connect``
    asks Redis for one more membership.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rooms: dict[Zone, set[str]] = {}
        self._zones_read: set[Zone] = set()

    async def channels_of(self, caller: Principal, zones: Iterable[Zone]) -> set[str]:
        """Return `room:<id>` of each large room of which the caller is a member."""
        parts = await asyncio.gather(*(self._channels_in_zone(caller, zone) for zone in zones))
        return set().union(*parts)

    async def _channels_in_zone(self, caller: Principal, zone: Zone) -> set[str]:
        rooms = self._rooms.setdefault(zone, set())
        if zone not in self._zones_read:
            found = await self._engine.store.command("SMEMBERS", keys.large_rooms(zone))
            rooms.update(room.decode() for room in found)
            self._zones_read.add(zone)
        if not rooms:
            return set()
        known = sorted(rooms)
        scores = await self._engine.store.command("ZMSCORE", keys.user_rooms(zone, caller.id), *known)
        return {f"room:{room}" for room, score in zip(known, scores, strict=True) if score is not None}

    def forget(self) -> None:
        """Read the large rooms again before the next session: changes of them may have been missed."""
        self._zones_read.clear()

    def apply_change(self, event: Event, sessions_of: Callable[[str], list[Session]]) -> None:
        """Add the channel of a large room to the sessions of the users whom ``event`` names, or remove it from them."""
        change = msgspec.json.decode(event.data, type=_MembershipChange)
        self._rooms.setdefault(event.zone, set()).add(change.room)
        channel = member_channel(f"room:{change.room}")
        for user in event.to:
            for session in sessions_of(user.removeprefix("user:")):
                if change.is_member:
                    session.subscribe(channel)
                else:
                    session.unsubscribe(channel)


def updated_channels(
    tails: Mapping[Zone, ZoneStream], caller: Principal, channels: Iterable[str], seen_seqs: Mapping[Zone, int]
) -> set[str]:
    """Return ``channels`` with the rooms added or removed that the caller joined or left by events above ``seen_seqs``.
    The session was in no hub when these events came, so it has not received them.
    """
    updated = set(channels)
    for zone, seq in seen_seqs.items():
        for chunk, index in tails[zone].buffer.find_events(seq, [f"user:{caller.id}"], MAX_EVENTS_SEARCHED):
            event = chunk.events[index]
            if event.type == CHANGED_EVENT:
                change = msgspec.json.decode(event.data, type=_MembershipChange)
                (updated.add if change.is_member else updated.discard)(f"room:{change.room}")
    return updated
