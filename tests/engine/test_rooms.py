"""Chat rooms in the steps of their jobs: when they open and close, and who is a member at each instant."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

from engine.domain import room_list, room_members, rooms
from engine.domain.room_list import RoomQuery
from engine.errors import Forbidden, Invalid, NotFound, NotMember, ReusedKey, RoomClosed
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, UserId
from tests.support import chat, people
from tests.support.chat import accepted_job, book_with_room, fill_room, read_room, room_events, say, send_command, texts
from tests.support.clock import advance
from tests.support.dispatch_setup import run_due_tasks


def event_types(events: list[tuple[str, set[str], dict[str, Any]]]) -> list[str]:
    """Return the types of events."""
    return [kind for kind, _, _ in events]


async def rooms_of(engine: Engine, user: str) -> set[str]:
    """Return the rooms in a user's list in Redis."""
    found = await engine.store.redis.zrange(keys.user_rooms(DEFAULT_ZONE, UserId(user)), 0, -1)
    return {room.decode() for room in found}


@pytest.mark.parametrize("room", ["", "room_main_x", "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", "room_main_" + "0" * 26])
async def test_a_room_that_does_not_exist_is_not_found(engine: Engine, room: str) -> None:
    """Every function refuses an unknown room, also one with a malformed id, with `not_found`."""
    carla = await people.customer(engine)
    for call in (
        rooms.read_room(engine, carla, room),
        rooms.join_room(engine, carla, room),
        rooms.mark_read(engine, carla, room, 0),
        room_members.remove_member(engine, people.ADMIN, room, "x"),
        say(engine, carla, room, "x"),
        texts(engine, carla, room),
    ):
        with pytest.raises(NotFound):
            await call


async def test_nobody_but_a_member_reads_or_joins(engine: Engine) -> None:
    """A user who is not a member cannot read or join the room, set a read mark or send a message (`not_member`). Only
    ops change the members.
    """
    job = await book_with_room(engine)
    stranger = await people.customer(engine, "Mallory")
    for call in (
        rooms.read_room(engine, stranger, job.room),
        rooms.join_room(engine, stranger, job.room),
        rooms.join_room(engine, people.ADMIN, job.room),
        rooms.mark_read(engine, stranger, job.room, 0),
        say(engine, stranger, job.room, "x"),
        say(engine, people.ADMIN, job.room, "x"),
        texts(engine, stranger, job.room),
    ):
        with pytest.raises(NotMember):
            await call
    for who in (stranger, job.customer):
        with pytest.raises(Forbidden):
            await room_members.add_member(engine, who, job.room, stranger.id)
        with pytest.raises(Forbidden):
            await room_members.remove_member(engine, who, job.room, job.technician.id)
    assert event_types(await room_events(engine, job.room)) == ["room.opened"]


async def test_only_active_staff_is_brought_in_and_a_side_of_the_job_stays(engine: Engine) -> None:
    """Ops cannot add a user who does not exist or is no staff, nor remove a side of the job (`invalid`), nor add to a
    closed room.
    """
    job = await book_with_room(engine)
    other = await people.customer(engine, "Mallory")
    for user in ("nobody", other.id):
        with pytest.raises(Invalid) as caught:
            await room_members.add_member(engine, people.ADMIN, job.room, user)
        assert [error[0] for error in caught.value.errors] == ["/user"]
    for user in (job.customer.id, job.technician.id):
        with pytest.raises(Invalid):
            await room_members.remove_member(engine, people.ADMIN, job.room, user)
    with pytest.raises(NotFound):
        await room_members.remove_member(engine, people.ADMIN, job.room, other.id)
    mediator = await chat.staff(engine)
    await send_command(engine, job.customer, job.job, "cancel")
    with pytest.raises(RoomClosed):
        await room_members.add_member(engine, people.ADMIN, job.room, mediator.id)


async def test_the_room_of_a_direct_booking_opens_with_the_booking(engine: Engine) -> None:
    """The reply to the booking has the room with its two members; the job names it; both members receive
    `room.opened`; a repeat gets the same room. The acceptance changes nothing in it.
    """
    service, carla = await people.service(engine), await people.customer(engine, 'Carla "C", }')
    tom, key = await people.technician(engine, "tom", service), str(uuid.uuid4())
    booked = await people.job(engine, carla, service, blueprint="direct_booking", technician="tom")
    assert booked.room is not None and booked.job is not None
    room = msgspec.json.decode(booked.room)
    assert [(m["id"], m["name"], m["role"], m["from_n"]) for m in room["members"]] == [
        (carla.id, 'Carla "C", }', "customer", 0),
        ("tom", "T tom", "technician", 0),
    ]
    assert msgspec.json.decode(booked.job)["room"] == room["id"] == chat.room_of(people.id_of(booked))
    assert room == await read_room(engine, carla, room["id"])
    await send_command(
        engine,
        tom,
        room["job"],
        "accept",
    )
    [(kind, to, data)] = await room_events(engine, room["id"])
    assert (kind, to) == ("room.opened", {f"user:{carla.id}", "user:tom"})
    assert data == {"room": {name: value for name, value in room.items() if name not in ("last", "unread", "reads")}}
    assert key  # a key is only needed for a repeat, tested over HTTP


@pytest.mark.parametrize("command", ["decline", "cancel", "expire"])
async def test_a_room_closes_in_the_step_that_closes_its_job(engine: Engine, command: str) -> None:
    """A decline, a cancellation or an expiry of the job closes its room in the same step. Members can still read and
    cannot send; a repeat of an earlier message still gets the first reply.
    """
    job = await book_with_room(engine)
    first = await say(engine, job.customer, job.room, "Are you there?", "c1")
    if command == "expire":
        await advance(engine, 86_401)
        await run_due_tasks(engine)
    else:
        await send_command(engine, job.technician if command == "decline" else job.customer, job.job, command)
    kind, to, data = (await room_events(engine, job.room))[-1]
    assert (kind, to) == ("room.closed", {f"user:{job.customer.id}", "user:tom"})
    assert data["room"]["state"] == "closed" and data["room"]["closed_at"]
    with pytest.raises(RoomClosed):
        await say(engine, job.customer, job.room, "Hello?", "c2")
    assert await say(engine, job.customer, job.room, "Are you there?", "c1") == first
    for who in (job.customer, job.technician):
        assert await texts(engine, who, job.room) == ["Are you there?"]
        assert (await rooms.join_room(engine, who, job.room)).messages
        assert (await rooms.mark_read(engine, who, job.room, 1)).n == 1


async def test_a_room_opens_at_the_acceptance(engine: Engine) -> None:
    """In `home_service` the room opens in the step that gives the job its technician; before that the job names
    none.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    booked = await people.job(engine, carla, service)
    assert booked.room is None and "room" not in msgspec.json.decode(booked.job or b"{}")
    job = await people.offered_job(engine, carla, service)
    with pytest.raises(NotFound):
        await read_room(engine, carla, chat.room_of(job))
    await send_command(engine, tom, job, "claim")
    room = await read_room(engine, tom, chat.room_of(job))
    assert [m["id"] for m in room["members"]] == [carla.id, "tom"]
    assert event_types(await room_events(engine, room["id"])) == ["room.opened"]


async def test_the_technician_who_leaves_the_job_leaves_its_room_in_the_step(engine: Engine) -> None:
    """After a reassignment the former technician is notified and can read nothing more; the next one can read later
    messages. An unassigned job keeps its room, and the technician who comes back reads from then on.
    """
    job = await accepted_job(engine)
    tara = await people.technician(engine, "tara", job.service, capacity=100)
    await say(engine, job.customer, job.room, "one")
    await send_command(engine, people.ADMIN, job.job, "reassign", technician="tara", reason="ill")
    (left, to, data), (opened, to_new, new) = (await room_events(engine, job.room))[-2:]
    assert (left, to) == ("room.left", {"user:tom", f"user:{job.customer.id}"})
    assert data["user"] == {"id": "tom", "name": "T tom", "role": "technician"}
    assert [m["id"] for m in data["room"]["members"]] == [job.customer.id]
    assert (opened, to_new, new["user"]["id"]) == ("room.opened", {"user:tara"}, "tara")
    assert new["room"]["members"][-1]["from_n"] == 1
    with pytest.raises(NotMember):
        await texts(engine, job.technician, job.room)
    assert await texts(engine, tara, job.room) == []
    assert (await read_room(engine, tara, job.room))["last"] is None
    await say(engine, job.customer, job.room, "two")
    assert await texts(engine, tara, job.room) == ["two"]
    assert (await read_room(engine, tara, job.room))["unread"] == 1
    assert await rooms_of(engine, "tom") == set() and await rooms_of(engine, "tara") == {job.room}
    await send_command(engine, people.ADMIN, job.job, "reassign", technician="tom", reason="well again")
    assert await texts(engine, job.technician, job.room) == []
    await send_command(engine, people.ADMIN, job.job, "reassign", reason="ill again")
    assert (await read_room(engine, job.customer, job.room))["state"] == "open"
    assert event_types(await room_events(engine, job.room))[-1] == "room.left"
    await say(engine, job.customer, job.room, "three")
    assert (await room_events(engine, job.room))[-1][1] == {f"user:{job.customer.id}"}


async def test_a_technician_who_is_only_asked_is_no_member(engine: Engine) -> None:
    """In the blueprint `managed` the engine assigns a technician, who becomes a member of the room only by accepting
    the job.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = people.id_of(await people.job(engine, carla, service, blueprint="managed"))
    await send_command(engine, people.ADMIN, job, "assign", technician="tom")
    with pytest.raises(NotFound):
        await read_room(engine, carla, chat.room_of(job))
    await send_command(engine, tom, job, "accept")
    assert len((await read_room(engine, tom, chat.room_of(job)))["members"]) == 2


async def test_a_room_closes_some_time_after_its_job_is_done(engine: Engine) -> None:
    """The room of a job that is done stays open for `closes_s` seconds. Once the closing is archived and older than the
    log's window, the room leaves the members' lists and its keys expire.
    """
    job = await accepted_job(engine)
    await say(engine, job.customer, job.room, "Hello")
    for command in ("depart", "arrive", "start", "complete"):
        await send_command(engine, job.technician, job.job, command)
    await advance(engine, 86_390)
    await run_due_tasks(engine)
    await say(engine, job.technician, job.room, "Did I forget my hammer?")
    await advance(engine, 20)
    await run_due_tasks(engine)
    assert event_types(await room_events(engine, job.room))[-1] == "room.closed"
    with pytest.raises(RoomClosed):
        await say(engine, job.customer, job.room, "Yes")
    await advance(engine, 660)
    await run_due_tasks(engine)
    assert await rooms_of(engine, job.customer.id) == {job.room}  # not archived yet
    head = await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "seq")
    await engine.store.redis.hset(keys.zone_meta(DEFAULT_ZONE), "archived", head)
    await advance(engine, 660)
    await run_due_tasks(engine)
    assert await rooms_of(engine, job.customer.id) == await rooms_of(engine, "tom") == set()
    for name in (keys.room, keys.room_messages, keys.room_reads, keys.room_sent):
        assert await engine.store.redis.pttl(name(DEFAULT_ZONE, job.room)) > 0, name
    await run_due_tasks(engine)
    assert event_types(await room_events(engine, job.room)).count("room.closed") == 1


async def test_a_dispute_keeps_the_room_open_and_its_resolution_counts_from_the_end(engine: Engine) -> None:
    """If the resolution of a dispute completes the job, the room closes `closes_s` seconds after that end."""
    job = await book_with_room(engine)
    await send_command(engine, job.technician, job.job, "accept")
    await send_command(engine, job.technician, job.job, "start")
    await send_command(engine, job.customer, job.job, "dispute", reason="broken")
    await advance(engine, 300_000)
    await run_due_tasks(engine)
    await say(engine, job.customer, job.room, "Look at it")
    mediator = await chat.staff(engine)
    await send_command(engine, mediator, job.job, "resolve_complete")
    await advance(engine, 259_000)
    await run_due_tasks(engine)
    assert (await read_room(engine, job.customer, job.room))["state"] == "open"
    await advance(engine, 300)
    await run_due_tasks(engine)
    assert (await read_room(engine, job.customer, job.room))["state"] == "closed"


async def test_a_first_join_is_told_once_for_a_membership(engine: Engine) -> None:
    """The members receive `room.joined` at the first join of a member, and not again; the reply has the last messages,
    the oldest first.
    """
    job = await book_with_room(engine)
    for number in range(60):
        await say(engine, job.customer, job.room, str(number))
    for _ in range(2):
        joined = await rooms.join_room(engine, job.technician, job.room)
        assert [msgspec.json.decode(m)["text"] for m in joined.messages] == [str(n) for n in range(10, 60)]
        assert msgspec.json.decode(joined.room)["id"] == job.room
    told = [(to, data["user"]["id"]) for kind, to, data in await room_events(engine, job.room) if kind == "room.joined"]
    assert told == [({f"user:{job.customer.id}", "user:tom"}, "tom")]


async def test_staff_is_brought_in_and_let_go(engine: Engine) -> None:
    """The room opens for a mediator whom ops add: they read everything, join and speak. After the removal they read,
    say and receive nothing. A repeated request acts once, and its key is refused for another user.
    """
    job = await book_with_room(engine)
    await say(engine, job.customer, job.room, "before")
    mediator, other, key = await chat.staff(engine), await chat.staff(engine), str(uuid.uuid4())
    for repeated in (False, True):
        added = await room_members.add_member(engine, people.ADMIN, job.room, mediator.id, key=key)
        assert added.repeated == repeated and added.room is not None
        assert [m["id"] for m in msgspec.json.decode(added.room)["members"]][-1] == mediator.id
    with pytest.raises(ReusedKey):
        await room_members.add_member(engine, people.ADMIN, job.room, other.id, key=key)
    again = await room_members.add_member(engine, people.ADMIN, job.room, mediator.id)
    assert again.repeated and await rooms_of(engine, mediator.id) == {job.room}
    assert await texts(engine, mediator, job.room) == ["before"]
    await rooms.join_room(engine, mediator, job.room)
    await say(engine, mediator, job.room, "I am here")
    key = str(uuid.uuid4())
    for repeated in (False, True):
        removed = await room_members.remove_member(engine, people.ADMIN, job.room, mediator.id, key=key)
        assert removed.repeated == repeated
    kind, to, data = (await room_events(engine, job.room))[-1]
    assert (kind, data["user"]["id"]) == ("room.left", mediator.id) and f"user:{mediator.id}" in to
    await say(engine, job.customer, job.room, "gone")
    assert f"user:{mediator.id}" not in (await room_events(engine, job.room))[-1][1]
    with pytest.raises(NotMember):
        await texts(engine, mediator, job.room)
    assert await rooms_of(engine, mediator.id) == set()


async def test_a_list_has_the_rooms_of_a_member_by_their_latest_activity(engine: Engine) -> None:
    """A member's rooms come in the order of their last message, in pages, and can be filtered; ops list all
    rooms.
    """
    first = await book_with_room(engine)
    booked = await people.job(engine, first.customer, first.service, blueprint="direct_booking", technician="tom")
    second = chat.room_of(people.id_of(booked))
    await say(engine, first.technician, first.room, "here", "c1")

    async def listed(who: Any, **query: Any) -> list[str]:
        page = await room_list.list_rooms(engine, who, RoomQuery(**query))
        assert page.as_of
        return [msgspec.json.decode(item)["id"] for item in page.items]

    assert await listed(first.customer) == await listed(first.technician) == [first.room, second]
    page = await room_list.list_rooms(engine, first.customer, RoomQuery(limit=1))
    assert await listed(first.customer, limit=1, cursor=page.next) == [second]
    assert await listed(first.customer, job=first.job) == [first.room]
    await send_command(engine, first.customer, first.job, "cancel")
    assert await listed(first.customer, open=True) == [second]
    assert await listed(first.customer, open=False) == [first.room]
    assert await listed(people.ADMIN) == [first.room, second]
    assert await listed(people.ADMIN, job=first.job) == [first.room]
    assert await listed(await people.customer(engine, "Mallory"), job=first.job) == []


async def test_a_room_above_64_members_has_one_channel(engine: Engine) -> None:
    """The events of a room with more than 64 members go to the channel of the room, and it lists the two sides of the
    job and the count. The event names the member who leaves.
    """
    job = await book_with_room(engine)
    extra = await fill_room(engine, job.room, 63)
    await say(engine, job.customer, job.room, "all")
    assert (await room_events(engine, job.room))[-1][1] == {f"room:{job.room}"}
    room = await read_room(engine, job.customer, job.room)
    assert room["members_n"] == 65 and [m["id"] for m in room["members"]] == [job.customer.id, "tom"]
    await room_members.remove_member(engine, people.ADMIN, job.room, extra[0])
    await say(engine, job.customer, job.room, "fewer")
    (_, left, _), (_, to, _) = (await room_events(engine, job.room))[-2:]
    assert f"user:{extra[0]}" in left and len(left) == 65
    assert len(to) == 64 and f"room:{job.room}" not in to
