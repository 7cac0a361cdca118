"""Chat rooms and their messages."""

from __future__ import annotations

import msgspec

from engine.domain import message_history, messages, room_list, room_members, rooms
from engine.domain.message_history import MessageQuery
from engine.domain.messages import MessageDraft
from engine.domain.room_list import RoomQuery
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoBody, NoQuery
from server.schemas.rooms import MessagesQuery, NewMember, NewMessage, NewReadMark, RoomsQuery


async def find(call: RequestContext[Body, RoomsQuery]) -> Response:
    """Return the rooms of which the caller is a member, the latest activity first. Ops receive all rooms."""
    page = await room_list.list_rooms(call.engine, call.caller, RoomQuery(**msgspec.structs.asdict(call.query)))
    return responses.page_response(call.next_link, page.items, page.next, page.as_of)


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return a room with its members, read marks and last message."""
    return responses.object_response("room", msgspec.Raw(await rooms.read_room(call.engine, call.caller, call.id)))


async def find_messages(call: RequestContext[Body, MessagesQuery]) -> Response:
    """Return messages of a room: the newest first, only those below `before`; or the oldest first, above `after`."""
    query = MessageQuery(**msgspec.structs.asdict(call.query))
    page = await message_history.list_messages(call.engine, call.caller, call.id, query)
    return responses.page_response(call.next_link, page.items, page.next, page.as_of)


async def say(call: RequestContext[NewMessage, NoQuery]) -> Response:
    """Say a message in a room. A repeat with the same `client_id` stores nothing and returns the first message, also in
    a closed room.
    """
    body = call.body
    draft = MessageDraft(text=body.text, client_id=body.client_id, files=body.files)
    done = await messages.say(call.engine, call.caller, call.id, draft, key=call.key, trace=call.trace)
    return responses.object_response("message", done.message, *responses.replay_headers(done))


async def mark_read(call: RequestContext[NewReadMark, NoQuery]) -> Response:
    """Mark the messages of a room as read, up to a number. The caller's read mark never moves back."""
    mark = await rooms.mark_read(call.engine, call.caller, call.id, call.body.n, trace=call.trace)
    return responses.json_response({"n": mark.n})


async def add_member(call: RequestContext[NewMember, NoQuery]) -> Response:
    """Bring a user of the staff into a room."""
    done = await room_members.add_member(
        call.engine, call.caller, call.id, call.body.user, key=call.key, trace=call.trace
    )
    return responses.object_response("room", done.room, *responses.replay_headers(done))


async def remove_member(call: RequestContext[NoBody, NoQuery]) -> Response:
    """Remove from a room a user whom ops brought into it."""
    user = call.params["user"]
    done = await room_members.remove_member(call.engine, call.caller, call.id, user, key=call.key, trace=call.trace)
    return Response(headers=responses.replay_headers(done))
