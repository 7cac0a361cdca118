"""Tells the connections that have a chat room open who is typing there."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.clock import now_ms
from engine.domain.room_typing import PublishedTyping
from engine.types import UserId, Zone
from server.gateway.frames import PayloadEncoder
from server.gateway.hub import Hub, member_channel

TYPING_TYPE = "typing"


class TypingNotice(msgspec.Struct, frozen=True):
    """A member of a room types, or stopped."""

    room: str
    user: UserId
    on: bool


def typing_channel(room: str) -> str:
    """Return the channel in a hub of the sessions that joined a room. Only gateways use this channel: no event is
    addressed to it, and no client can subscribe to it by its name.
    """
    return f"typing:{room}"


class TypingFeed:
    """The sender of the push ``typing`` to the sessions of one gateway. The push may be lost: a client shows it for
    some seconds only.
    """

    def __init__(self, hubs: Sequence[Hub], payloads: PayloadEncoder) -> None:
        self._hubs = hubs
        self._payloads = payloads

    def handle_typing(self, _: Zone, typing: PublishedTyping) -> None:
        """Send the notice to the sessions that joined the room, if their users were members when it was published. The
        one who types receives nothing.
        """
        channel, payload = typing_channel(typing.room), b""
        for hub in self._hubs:
            joined = hub.members(channel)
            if not joined:
                continue
            channels = [member_channel(name) if name.startswith("room:") else name for name in typing.to.split()]
            members = {session for name in channels for session in hub.members(name)}
            for session in members.intersection(joined):
                if session.caller.id != typing.user:
                    payload = payload or self._encode(typing)
                    session.push_lossy(TYPING_TYPE, hub.frames.frame(payload))

    def _encode(self, typing: PublishedTyping) -> bytes:
        notice = TypingNotice(typing.room, typing.user, typing.on)
        return self._payloads.encode_live_push(TYPING_TYPE, now_ms(), notice, typing.bp)
