"""The ops about chat rooms. A member's messages come to all of their connections; a connection that joined a room also
receives who is typing there.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from engine.domain import messages, room_typing, rooms
from engine.domain.messages import MessageDraft
from engine.errors import FieldError, Invalid
from engine.roles import ANY_ROLE
from server.gateway.gateway import Gateway
from server.gateway.op_spec import OpSpec
from server.gateway.session import Session
from server.gateway.typing_feed import typing_channel
from server.http import policy
from server.schemas import room_ops
from server.schemas.frames import SayReply
from server.schemas.ops import MAX_SUBS, Op
from server.schemas.rooms import Message


async def join(gateway: Gateway, session: Session, op: room_ops.JoinRoom) -> dict[str, Any]:
    """Return the room and its last messages, the oldest first. This connection receives who is typing from now on."""
    channel = typing_channel(op.room)
    if channel not in session.channels and len(session.channels) - len(session.caller.channels) >= MAX_SUBS:
        raise Invalid(errors=[FieldError("/room", f"At most {MAX_SUBS} subscriptions and rooms")])
    done = await rooms.join_room(gateway.engine, session.caller, op.room, trace=op.trace or "")
    session.subscribe(channel)
    return {"room": done.room, "messages": done.messages, "seq": done.seq}


async def leave(gateway: Gateway, session: Session, op: room_ops.LeaveRoom) -> dict[str, Any]:
    """Stop informing this connection who is typing. Nothing happens if the connection has not joined the room."""
    session.unsubscribe(typing_channel(op.room))
    return {"room": op.room}


async def say(gateway: Gateway, session: Session, op: room_ops.Say) -> SayReply:
    """Say a chat message in a room, and return the stored message."""
    draft = MessageDraft(text=op.text, client_id=op.client_id, files=op.files)
    done = await messages.say(gateway.engine, session.caller, op.room, draft, key=op.key, trace=op.trace or "")
    message = cast("Message", done.message)  # JSON: it is embedded in the reply without parsing
    return SayReply(message=message, seq=done.seq, repeated=done.repeated)


async def send_typing(gateway: Gateway, session: Session, op: room_ops.Typing) -> dict[str, Any]:
    """Tell the other members' connections in the room that the caller types, or stopped."""
    await room_typing.publish_typing(gateway.engine, session.caller, op.room, on=op.on)
    return {"room": op.room}


async def read(gateway: Gateway, session: Session, op: room_ops.ReadMessages) -> dict[str, Any]:
    """Mark the messages of a room as read by the caller, up to a number."""
    mark = await rooms.mark_read(gateway.engine, session.caller, op.room, op.n, trace=op.trace or "")
    return msgspec.structs.asdict(mark)


ROOM_OPS: dict[type[Op], OpSpec] = {
    room_ops.JoinRoom: OpSpec(join, "requests", ANY_ROLE, policy.MEMBER_OF_ROOM),
    room_ops.LeaveRoom: OpSpec(leave, "requests", ANY_ROLE, policy.OWN_DATA),
    room_ops.Say: OpSpec(say, "chat", ANY_ROLE, policy.MEMBER_OF_ROOM),
    room_ops.Typing: OpSpec(send_typing, "typing", ANY_ROLE, policy.MEMBER_OF_ROOM),
    room_ops.ReadMessages: OpSpec(read, "requests", ANY_ROLE, policy.MEMBER_OF_ROOM),
}
"""The ops about chat rooms, as a part of the table in server/gateway/ops.py."""
