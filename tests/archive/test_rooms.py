"""Tests of the tables of chat rooms: what the archiver derives from the events of rooms and messages, and what is read
from it.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, update

from engine.archive import audit_refill, room_reader, room_refill
from engine.archive.projection import fold_events
from engine.archive.quarantine import EventWriter
from engine.archive.reader import Checkpoint
from engine.archive.room_reader import FirstMessage
from engine.events import Event
from engine.sql.database import Archive
from engine.sql.room_tables import messages, room_members, rooms
from engine.sql.schema import checkpoints, events
from engine.types import DEFAULT_ZONE, UserId, Zone
from tests.archive.room_events import (
    CUSTOMER,
    HOLDER,
    ROOM,
    create_message,
    create_message_event,
    create_room,
    create_room_event,
)
from tests.archive.test_projection import create_event
from tests.archive.test_reader import EPOCH_1, archive_events

ME, YOU = UserId("c1"), UserId("t1")


def create_chat() -> list[Event]:
    """Return the events of a room that opens with three messages and one mark."""
    return [
        create_room_event(1, "room.opened", create_room(0, CUSTOMER, HOLDER)),
        create_message_event(2, 1),
        create_message_event(3, 2, HOLDER),
        create_message_event(4, 3),
        create_room_event(5, "room.read", create_room(3, CUSTOMER, HOLDER), HOLDER, n=3),
    ]


async def archive_each(archive: Archive, events: list[Event]) -> None:
    """Archive each event in a batch of its own."""
    for event in events:
        await archive_events(archive, [event], before=event.seq - 1)


async def read_numbers(archive: Archive, **span: int) -> list[int]:
    """Return the numbers of the messages before or after a number."""
    reads = room_reader.messages_before if "before" in span else room_reader.messages_after
    return [msgspec.json.decode(each)["n"] for each in await reads(archive, ROOM, **span)]


def test_a_malformed_room_event_makes_no_row() -> None:
    """Events of rooms and messages without a required member, or of an unknown type, are archived without other rows,
    and the next event is projected.
    """
    batch = fold_events(
        [
            create_event(1, "room.opened", {}),
            create_event(2, "message.created", {"message": {"id": "m"}}),
            create_event(3, "room.closed", {"room": {**create_room(0), "opened_at": "yesterday"}}),
            create_event(4, "message.erased", {"message": create_message(1)}),
            create_message_event(5, 1),
        ]
    )
    assert [row["seq"] for row in batch.events] == [1, 2, 3, 4, 5]
    assert (batch.rooms.rooms, [row["n"] for row in batch.rooms.messages]) == ({}, [1])


@pytest.mark.parametrize("write", [archive_events, archive_each])
async def test_a_room_is_read_as_its_events_left_it(archive: Archive, write: Any) -> None:
    """A room has its last number, its members, their read marks and its last message, whether its events came in one
    batch or in several. Writing moves the sender's mark.
    """
    await write(archive, create_chat())
    room = await room_reader.room(archive, ROOM)
    assert room is not None and room.last is not None
    assert (room.zone, room.state, room.n, room.closed_at) == ("main", "open", 3, None)
    assert (room.opened_at, room.active_at, room.mediator_invited) == (1_001, 2_003, False)
    assert [(m.id, m.role, m.name, m.from_n) for m in room.members.values()] == [
        ("c1", "customer", "Cora", 0),
        ("t1", "technician", "Tom", 0),
    ]
    assert room.reads == {ME: 3, YOU: 3}
    assert msgspec.json.decode(room.last) == create_message(3)
    assert await room_reader.room(archive, "room_main_other") is None


@pytest.mark.parametrize("write", [archive_events, archive_each])
async def test_memberships_follow_the_events(archive: Archive, write: Any) -> None:
    """A member who left has no row and no read mark. The next holder reads only messages after the moment at which they
    joined; the memberships of the others do not change.
    """
    successor = {**HOLDER, "id": "t2", "from_n": 3}
    await write(
        archive,
        [
            *create_chat(),
            create_room_event(6, "room.left", create_room(3, CUSTOMER), HOLDER),
            create_room_event(7, "room.opened", create_room(3, CUSTOMER, successor), successor),
            create_room_event(8, "room.joined", create_room(3, CUSTOMER, successor), successor),
        ],
    )
    room = await room_reader.room(archive, ROOM)
    assert room is not None
    assert {m.id: m.from_n for m in room.members.values()} == {"c1": 0, "t2": 3}
    assert room.reads == {ME: 3}
    again = [create_room_event(9, "room.opened", create_room(3, CUSTOMER, {**HOLDER, "from_n": 3}), HOLDER)]
    await archive_events(archive, again, before=8)
    room = await room_reader.room(archive, ROOM)
    assert room is not None and room.members[YOU].from_n == 3


@pytest.mark.parametrize("write", [archive_events, archive_each])
@pytest.mark.parametrize(
    ("count", "invited", "mediator"),
    [(0, False, None), (1, True, None), (2, True, "m1"), (4, True, "m2"), (5, False, None)],
)
async def test_a_room_has_the_mediator_of_its_dispute(
    archive: Archive, write: Any, count: int, mediator: str | None, *, invited: bool
) -> None:
    """While a dispute is open, the room's row says that mediators are invited. It has the mediator who took the dispute
    last, until they leave. A dispute event without the room's id changes nothing.
    """
    asked = {**create_room(0, CUSTOMER, HOLDER), "mediator_invited": True}
    first, second = ({"id": f"m{number}", "name": "M", "role": "mediator"} for number in (1, 2))
    later = [
        create_event(2, "mediator.invited", {"dispute": {"id": "d"}, "room": {"id": ROOM}}),
        create_event(3, "mediator.taken", {"dispute": {"id": "d"}, "room": {"id": ROOM}, "user": first}),
        create_room_event(4, "room.left", asked, first),
        create_event(5, "mediator.taken", {"dispute": {"id": "d"}, "room": {"id": ROOM}, "user": second}),
        create_room_event(6, "room.left", create_room(0, CUSTOMER, HOLDER), second),
    ][:count]
    nothing = [
        create_event(count + 2, "mediator.taken", {"dispute": {"id": "e"}, "user": first}),
        create_event(count + 3, "mediator.taken", {"room": {}, "user": first}),
    ]
    opened = create_room_event(1, "room.opened", create_room(0, CUSTOMER, HOLDER))
    await write(archive, [opened, *later, *nothing])
    async with archive.begin_write() as conn:
        [row] = await conn.execute(select(rooms.c.mediator_invited, rooms.c.mediator))
    assert (row.mediator_invited, row.mediator) == (invited, mediator)


async def test_messages_are_read_by_number_both_ways(archive: Archive) -> None:
    """Messages are read newest first before a number, or oldest first after one, within bounds and a limit."""
    await archive_events(
        archive,
        [
            create_room_event(1, "room.opened", create_room(0, CUSTOMER, HOLDER)),
            *(create_message_event(n + 1, n) for n in range(1, 8)),
        ],
    )
    assert await read_numbers(archive, before=8, above=0, limit=3) == [7, 6, 5]
    assert await read_numbers(archive, before=5, above=2, limit=9) == [4, 3]
    assert await read_numbers(archive, after=0, below=9, limit=3) == [1, 2, 3]
    assert await read_numbers(archive, after=5, below=7, limit=9) == [6]
    assert await read_numbers(archive, after=7, below=8, limit=9) == []


async def test_a_message_is_found_by_its_client_id(archive: Archive) -> None:
    """The first message under a `client_id` of a sender is found with the checkpoint of the same moment; another sender
    or room has none.
    """
    assert await room_reader.first_message(archive, DEFAULT_ZONE, ROOM, ME, "k1") == FirstMessage(None, 0, 0)
    await archive_events(archive, create_chat())
    found = await room_reader.first_message(archive, DEFAULT_ZONE, ROOM, ME, "k1")
    assert (found.seq, found.looked, msgspec.json.decode(found.message or b"")) == (2, 5, create_message(1))
    for room, sender in ((ROOM, YOU), ("room_main_other", ME)):
        other = await room_reader.first_message(archive, DEFAULT_ZONE, room, sender, "k1")
        assert other == FirstMessage(None, 0, 5)


async def test_closed_rooms_are_listed_by_latest_activity(archive: Archive) -> None:
    """A member's closed rooms are listed by their last message, the latest first, in pages; open rooms and rooms that
    the user left are not. Staff list all rooms in the same order.
    """
    names = [f"room_main_{n}" for n in range(5)]
    chat: list[Event] = []
    for n, name in enumerate(names):
        present, seq = create_room(n, CUSTOMER, HOLDER, room=name), len(chat)
        chat.append(create_room_event(seq + 1, "room.opened", present))
        if n:
            chat.append(create_message_event(seq + 2, n, room=name))
        if n != 4:  # the fifth room stays open
            closed = create_room(n, CUSTOMER, HOLDER, room=name, state="closed")
            chat.append(create_room_event(len(chat) + 1, "room.closed", closed))
    left = create_room(1, CUSTOMER, room=names[1], state="closed")
    chat.append(create_room_event(len(chat) + 1, "room.left", left, HOLDER))
    await archive_events(archive, chat)

    async def read_ids(user: UserId, limit: int, before: tuple[int, str] | None = None) -> list[str]:
        return [room.id for room in await room_reader.closed_rooms_of(archive, user, limit, before)]

    assert await read_ids(ME, 9) == [names[3], names[2], names[1], names[0]]
    assert await read_ids(YOU, 9) == [names[3], names[2], names[0]]
    assert await read_ids(ME, 2, (2_003, names[3])) == [names[2], names[1]]
    assert await read_ids(UserId("nobody"), 9) == []
    everything = await room_reader.rooms_of_all(archive, DEFAULT_ZONE, 2)
    assert [(room.id, room.active_at, room.closed_at) for room in everything] == [
        (names[4], 2_004, None),
        (names[3], 2_003, 9_000),
    ]
    after = await room_reader.rooms_of_all(archive, DEFAULT_ZONE, 9, (2_003, names[3]), state="closed")
    assert [room.id for room in after] == [names[2], names[1], names[0]]
    assert {room.id for room in await room_reader.rooms_by_id(archive, [names[0], "room_main_x"])} == {names[0]}


async def test_refuses_a_second_message_under_one_client_id(archive: Archive) -> None:
    """A second message under a `client_id`, or under a number, of a room is quarantined, and the archive continues."""
    await archive_events(archive, create_chat())
    refused: list[Zone] = []
    writer = EventWriter(archive, DEFAULT_ZONE, {EPOCH_1: 1}, refused.append)
    same_client_id = create_event(6, "message.created", {"message": create_message(4) | {"client_id": "k1"}})
    same_number = create_event(7, "message.created", {"message": create_message(3) | {"client_id": "new"}})
    events = [same_client_id, same_number, create_message_event(8, 4)]
    await writer.write_events(events, Checkpoint(EPOCH_1, 5), lambda _: EPOCH_1)
    assert len(refused) == 2
    async with archive.begin_read() as conn:
        kept = (await conn.execute(select(messages.c.n, messages.c.seq).order_by(messages.c.n))).all()
        assert [(row.n, row.seq) for row in kept] == [(1, 2), (2, 3), (3, 4), (4, 8)]
        assert (await conn.execute(select(rooms.c.n))).scalar_one() == 4


async def test_a_nul_in_a_name_is_removed(archive: Archive) -> None:
    """A NUL in a member's name is removed from their row, because PostgreSQL refuses NUL in a text."""
    strange = {**CUSTOMER, "name": "a\0b"}
    await archive_events(archive, [create_room_event(1, "room.opened", create_room(0, strange))])
    async with archive.begin_read() as conn:
        assert (await conn.execute(select(room_members.c.name))).scalar_one() == "ab"


async def test_what_an_older_release_archived_is_filled_in(archive: Archive) -> None:
    """Events of rooms that an archiver without these tables stored become rows before the next batch; a row that the
    database refuses is left out. After that the batches continue.
    """
    chat = create_chat()
    await archive_events(archive, chat[:2])
    bad = create_event(6, "message.created", {"message": create_message(9) | {"n": 10**20}})
    async with archive.begin_write() as conn:
        rows = fold_events([*chat[2:], bad])
        await conn.execute(insert(events), rows.events)
        await conn.execute(update(checkpoints).values(seq=6))
    assert (await room_reader.first_message(archive, DEFAULT_ZONE, ROOM, YOU, "k2")) == FirstMessage(None, 0, 2)
    for _ in range(2):
        assert await room_refill.refill(archive, DEFAULT_ZONE) == Checkpoint(EPOCH_1, 6)
    assert await read_numbers(archive, after=0, below=9, limit=9) == [1, 2, 3]
    await audit_refill.refill(archive, DEFAULT_ZONE, 6)
    await archive_events(archive, [create_message_event(7, 4)], before=6)
    assert (await room_reader.first_message(archive, DEFAULT_ZONE, ROOM, ME, "k4")).looked == 7
    room = await room_reader.room(archive, ROOM)
    assert room is not None and (room.n, room.reads) == (4, {ME: 4, YOU: 3})
