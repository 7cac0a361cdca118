"""Fold the events of chat rooms into rows of SQL (a pure function); engine/archive/room_rows.py writes them.

The rows follow from the events alone: who was a member when, every message, and the read marks. The event of a
membership's beginning is ``room.opened`` (all listed members, or the one to whom the room was opened later) or
``room.joined``; that of its end is ``room.left``. The mediator named in ``mediator.taken`` is the room's mediator until
they leave the room.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.events import Event, ms_of
from engine.roles import PARTY_ROLES
from engine.rules.event_payloads import EventMessage, EventRoom, EventRoomMember

Row = dict[str, Any]

ROOM_EVENT_PREFIXES = ("room.", "message.", "mediator.")
"""The prefixes of the types of events that change rooms."""


@dataclass(slots=True)
class RoomRows:
    """The rows of rooms that a sequence of events adds or changes. ``members`` are complete rows; ``departures`` are
    the ends of memberships from earlier batches; ``activity`` are the last messages. ``invitations`` are the last
    invitations of mediators by room. ``mediators`` is the present mediator of each room, None if there is none.
    ``former_mediators`` are users who left a room and may have been its mediator. ``closed`` are the rooms that were
    closed, or changed after that.
    """

    rooms: dict[str, Row] = field(default_factory=dict)
    members: dict[tuple[str, str], Row] = field(default_factory=dict)
    departures: dict[tuple[str, str], Row] = field(default_factory=dict)
    messages: list[Row] = field(default_factory=list)
    activity: dict[str, Row] = field(default_factory=dict)
    invitations: dict[str, Row] = field(default_factory=dict)
    mediators: dict[str, Row] = field(default_factory=dict)
    former_mediators: dict[tuple[str, str], Row] = field(default_factory=dict)
    reads: dict[tuple[str, str], Row] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)


class _DisputeOfJob(msgspec.Struct):
    job: str = ""


class _RoomData(msgspec.Struct):
    """The data of an event about a room or a message."""

    room: msgspec.Raw = msgspec.Raw(b"")
    user: EventRoomMember | None = None
    message: msgspec.Raw = msgspec.Raw(b"")
    dispute: _DisputeOfJob | None = None
    n: int = 0


class _RoomId(msgspec.Struct):
    id: str


_room_data_decoder = msgspec.json.Decoder(_RoomData)
_room_decoder = msgspec.json.Decoder(EventRoom)
_room_id_decoder = msgspec.json.Decoder(_RoomId)
_message_decoder = msgspec.json.Decoder(EventMessage)


def fold_room_event(rows: RoomRows, event: Event) -> str | None:
    """Fold an event of the types of ``ROOM_EVENT_PREFIXES`` into ``rows``. Return the job of a membership or of a
    mediation, None for messages and read marks. Raises ValueError if the data is malformed.
    """
    data = _room_data_decoder.decode(event.data)
    if event.type == "message.created":
        _fold_message(rows, event, bytes(data.message))
        return None
    if event.type.startswith("room."):
        return _fold_room(rows, event, data)
    if bytes(data.room):  # the event names no room if the job of the dispute has no open room
        _fold_mediation(rows, event, _room_id_decoder.decode(data.room).id, data.user)
    return (data.dispute.job or None) if data.dispute else None


def _fold_mediation(rows: RoomRows, event: Event, room: str, user: EventRoomMember | None) -> None:
    if event.type == "mediator.invited":
        rows.invitations[room] = {"of_room": room, "mediator_invited": True}
        rows.mediators[room] = {"of_room": room, "mediator": None}
    elif event.type == "mediator.taken" and user:
        rows.mediators[room] = {"of_room": room, "mediator": user.id}


def _fold_message(rows: RoomRows, event: Event, document: bytes) -> None:
    message = _message_decoder.decode(document)
    at = ms_of(message.at)
    rows.messages.append(
        {
            "room": message.room,
            "n": message.n,
            "seq": event.seq,
            "id": message.id,
            "sender": message.sender.id,
            "client_id": message.client_id,
            "at": at,
            "doc": document.decode("utf-8", "replace"),
        }
    )
    rows.activity[message.room] = {"of_room": message.room, "last_n": message.n, "at": at}
    _set_mark(rows, message.room, message.sender.id, message.n)  # sending a message also moves the sender's read mark


def _fold_room(rows: RoomRows, event: Event, data: _RoomData) -> str | None:
    room = _room_decoder.decode(data.room)
    if event.type == "room.read":
        if data.user:
            _set_mark(rows, room.id, data.user.id, data.n)
        return None
    opened_at = ms_of(room.opened_at)
    rows.rooms[room.id] = {
        "id": room.id,
        "zone": event.zone,
        "job": room.job,
        "state": room.state,
        "n": room.n,
        "mediator_invited": room.mediator_invited,
        "opened_at": opened_at,
        "closed_at": ms_of(room.closed_at) if room.closed_at else None,
        "active_at": opened_at,
        "doc": bytes(data.room).decode("utf-8", "replace"),
        "mediator": None,
    }
    rows.invitations.pop(room.id, None)  # the new row of the room already has its latest invitation
    if room.state == "closed":
        rows.closed.add(room.id)
    if event.type == "room.left":
        if data.user:
            _end_membership(rows, event, room.id, data.user.id)
            _end_mediation(rows, room.id, data.user)
    elif event.type in ("room.opened", "room.joined"):
        listed = {member.id: member for member in room.members}
        for member in [listed.get(data.user.id, data.user)] if data.user else room.members:
            _add_member(rows, event, room.id, member)
    return room.job


def _add_member(rows: RoomRows, event: Event, room: str, member: EventRoomMember) -> None:
    rows.departures.pop((room, member.id), None)
    rows.members[room, member.id] = {
        "room": room,
        "user": member.id,
        "role": member.role,
        "name": member.name.replace("\0", ""),  # PostgreSQL stores no NUL in a text
        "since": ms_of(member.since) if member.since else event.at,
        "from_n": member.from_n,
        "left_at": None,
        "active_at": None,
        "joined": event.type == "room.joined",
    }


def _end_membership(rows: RoomRows, event: Event, room: str, user: str) -> None:
    """Store the end of a membership. The read mark ends with it."""
    rows.reads[room, user] = {"room": room, "user": user, "n": 0}
    if (room, user) in rows.members:
        rows.members[room, user]["left_at"] = event.at
    else:
        rows.departures[room, user] = {"of_room": room, "of_user": user, "left_at": event.at}


def _end_mediation(rows: RoomRows, room: str, user: EventRoomMember) -> None:
    """Store that a user who left the room is not its mediator any more. The event does not say whether they were the
    mediator.
    """
    if user.role in PARTY_ROLES:
        return
    rows.former_mediators[room, user.id] = {"of_room": room, "of_user": user.id}
    if rows.mediators.get(room, {}).get("mediator") == user.id:
        rows.mediators[room] = {"of_room": room, "mediator": None}


def _set_mark(rows: RoomRows, room: str, user: str, n: int) -> None:
    rows.reads[room, user] = {"room": room, "user": user, "n": n}
