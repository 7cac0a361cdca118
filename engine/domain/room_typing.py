"""Publish who is typing in a chat room. This is never stored, because it is useless a few seconds later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.domain.rooms import parse_room_id, room_keys
from engine.types import Principal, RoomId, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine


class PublishedTyping(msgspec.Struct, frozen=True, tag_field="kind", tag="typing"):
    """A member of a room types, or stopped, as the script publishes it. ``to`` are the channels of the room's members
    at that moment, separated by spaces; ``bp`` is the blueprint of the room's job.
    """

    room: RoomId
    user: UserId
    on: bool
    to: str
    bp: str


async def publish_typing(engine: Engine, caller: Principal, room_id: str, *, on: bool) -> None:
    """Publish that the caller types, or stopped, to the members of an open room.

    Raises NotFound, NotMember, RoomClosed.
    """
    zone, room = parse_room_id(room_id)
    args = {"user": caller.id, "on": "true" if on else "false"}
    await engine.store.run(zone, "room_typing", keys=room_keys(zone, room), args=args)
