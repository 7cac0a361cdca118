"""The routes of chat rooms, as a part of the table in server/api/routes.py."""

from __future__ import annotations

from engine.roles import ANY_ROLE, OPS
from server.api.handlers import rooms
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.decode import NoBody
from server.schemas.rooms import (
    Message,
    MessageReply,
    MessagesQuery,
    NewMember,
    NewMessage,
    NewReadMark,
    ReadMarkReply,
    Room,
    RoomReply,
    RoomsQuery,
)

ROOM_ROUTES: tuple[Route, ...] = (
    list_route("/v1/rooms", rooms.find, ANY_ROLE, policy.OWN_DATA, Room, query=RoomsQuery, live=True),
    Route("GET", "/v1/rooms/{id}", rooms.read, ANY_ROLE, policy.READ_ROOM, reply=RoomReply),
    list_route(
        "/v1/rooms/{id}/messages",
        rooms.find_messages,
        ANY_ROLE,
        policy.READ_ROOM,
        Message,
        query=MessagesQuery,
        live=True,
    ),
    Route(
        "POST",
        "/v1/rooms/{id}/messages",
        rooms.say,
        ANY_ROLE,
        policy.MEMBER_OF_ROOM,
        NewMessage,
        reply=MessageReply,
        status=201,
        has_key=True,
        limit_name="chat",
    ),
    Route(
        "POST",
        "/v1/rooms/{id}/read",
        rooms.mark_read,
        ANY_ROLE,
        policy.MEMBER_OF_ROOM,
        NewReadMark,
        reply=ReadMarkReply,
    ),
    Route(
        "POST",
        "/v1/rooms/{id}/members",
        rooms.add_member,
        OPS,
        policy.STAFF_OF_ROOM,
        NewMember,
        reply=RoomReply,
        status=201,
        has_key=True,
    ),
    Route(
        "DELETE",
        "/v1/rooms/{id}/members/{user}",
        rooms.remove_member,
        OPS,
        policy.STAFF_OF_ROOM,
        NoBody,
        status=204,
        has_key=True,
    ),
)
