"""Chat messages: each is stored once, numbers have no holes, lists have pages, and read marks only move forward."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from engine.domain import message_history, messages, room_members, rooms
from engine.domain.message_history import MessageQuery
from engine.domain.messages import MessageDraft
from engine.errors import Invalid, NotMember, ReusedKey, Unavailable
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests.support import chat, people
from tests.support.chat import book_with_room, read_room, room_events, say, texts
from tests.support.clock import advance
from tests.support.dispatch_setup import run_due_tasks


async def set_archived(engine: Engine, seq: int) -> None:
    """Record that the zone's log is archived up to ``seq``."""
    await engine.store.redis.hset(keys.zone_meta(DEFAULT_ZONE), "archived", seq)


async def test_a_file_that_is_not_known_is_refused(engine: Engine) -> None:
    """A message with unknown files is refused with a pointer to each of them. A sender who is not a member does not
    learn which files are unknown.
    """
    job = await book_with_room(engine)
    with pytest.raises(Invalid) as caught:
        await say(engine, job.customer, job.room, "look", files=("fil_1", "fil_2"))
    assert [error[0] for error in caught.value.errors] == ["/files/0", "/files/1"]
    for other in (await people.customer(engine, "Mallory"), people.ADMIN):
        with pytest.raises(NotMember):
            await say(engine, other, job.room, "look", files=("fil_1",))


async def test_a_client_id_belongs_to_one_message_of_its_sender(engine: Engine) -> None:
    """The same message under the same `client_id` gets the first answer and stores nothing; another text is refused
    with `reused_key`; another sender may use the same `client_id`. A request key has the same effect.
    """
    job, key = await book_with_room(engine), str(uuid.uuid4())
    first = await say(engine, job.customer, job.room, "Hello", "c1")
    assert await say(engine, job.customer, job.room, "Hello", "c1") == first
    with pytest.raises(ReusedKey):
        await say(engine, job.customer, job.room, "Hello!", "c1")
    assert (await say(engine, job.technician, job.room, "Hello!", "c1"))["n"] == 2
    draft = MessageDraft(text="keyed", client_id="c2")
    outcomes = [await messages.say(engine, job.customer, job.room, draft, key=key) for _ in range(2)]
    assert [outcome.repeated for outcome in outcomes] == [False, True]
    assert outcomes[0].message == outcomes[1].message and outcomes[0].seq == outcomes[1].seq
    with pytest.raises(ReusedKey):
        await messages.say(engine, job.customer, job.room, MessageDraft(text="other", client_id="c3"), key=key)
    assert await texts(engine, job.customer, job.room) == ["keyed", "Hello!", "Hello"]


async def test_a_message_reaches_the_members_as_it_was_answered(engine: Engine) -> None:
    """The event of a message contains the same message as the reply and goes only to the members, under the name that
    the blueprint gives it.
    """
    job = await book_with_room(engine)
    said = await say(engine, job.technician, job.room, 'A "quote" \\ and ünïcode 🙂', "c.1_A-b")
    kind, to, data = (await room_events(engine, job.room))[-1]
    assert (kind, to) == ("message.created", {f"user:{job.customer.id}", "user:tom"})
    assert data == {"message": said}
    assert said["text"] == 'A "quote" \\ and ünïcode 🙂' and said["files"] == []
    assert said["sender"] == {"id": "tom", "name": "T tom", "role": "technician"}
    assert (said["n"], said["room"], said["client_id"]) == (1, job.room, "c.1_A-b")
    assert (await read_room(engine, job.customer, job.room))["last"] == said


async def test_pages_go_back_from_the_newest_and_forward_from_a_number(engine: Engine) -> None:
    """Without a number a page has the newest messages first; `before` and the cursor go back, `after` goes forward.
    Both numbers together, a wrong cursor and a wrong limit are refused.
    """
    job = await book_with_room(engine)
    for number in range(1, 8):
        await say(engine, job.customer, job.room, str(number))
    for wrong in ({"before": 1, "after": 1}, {"cursor": "AAAA"}, {"limit": 0}):
        with pytest.raises(Invalid):
            await texts(engine, job.customer, job.room, **wrong)

    async def walk(**query: Any) -> list[str]:
        seen: list[str] = []
        while True:
            page = await message_history.list_messages(engine, job.technician, job.room, MessageQuery(limit=3, **query))
            seen += [msgspec.json.decode(item)["text"] for item in page.items]
            if page.next is None:
                return seen
            query = {"cursor": page.next}

    assert await walk() == list("7654321")
    assert await walk(before=4) == list("321")
    assert await walk(after=0) == list("1234567")
    assert await walk(after=5) == list("67")
    assert await walk(before=1) == await walk(after=7) == []
    assert await texts(engine, people.ADMIN, job.room, limit=1) == ["7"]


async def test_read_marks_only_move_forward_and_are_told_once_a_second(engine: Engine) -> None:
    """A read mark beyond the last message is refused, and a lower mark changes nothing. The members are informed of a
    mark at most once a second, and always of the last one. A sender's message moves their own mark.
    """
    job = await book_with_room(engine)
    for number in range(5):
        await say(engine, job.customer, job.room, str(number))
    with pytest.raises(Invalid) as caught:
        await rooms.mark_read(engine, job.technician, job.room, 6)
    assert [error[0] for error in caught.value.errors] == ["/n"]
    assert (await read_room(engine, job.technician, job.room))["unread"] == 5
    marks = [(await rooms.mark_read(engine, job.technician, job.room, n)).n for n in (2, 1, 3, 4, 4)]
    assert marks == [2, 2, 3, 4, 4]

    async def told() -> list[int]:
        return [data["n"] for kind, _, data in await room_events(engine, job.room) if kind == "room.read"]

    assert await told() == [2]
    room = await read_room(engine, job.technician, job.room)
    assert room["unread"] == 1 and {"user": "tom", "n": 4} in room["reads"]
    assert (await read_room(engine, job.customer, job.room))["unread"] == 0
    await run_due_tasks(engine)
    assert await told() == [2]
    for _ in range(2):
        await advance(engine, 1.5)
        await run_due_tasks(engine)
        assert await told() == [2, 4]
    await rooms.mark_read(engine, job.technician, job.room, 5)
    assert await told() == [2, 4, 5]
    await rooms.mark_read(engine, job.technician, job.room, 5)
    await say(engine, job.technician, job.room, "ok")
    assert (await read_room(engine, job.technician, job.room))["unread"] == 0
    assert await told() == [2, 4, 5]


async def test_only_archived_messages_beyond_the_last_200_leave_redis(engine: Engine) -> None:
    """While nothing is archived, every message stays. Then each message removes at most 16 older ones, and the last 200
    stay.
    """
    job = await book_with_room(engine)
    stream = keys.room_messages(DEFAULT_ZONE, job.room)
    sent = [await say(engine, job.customer, job.room, str(number)) for number in range(240)]
    assert await engine.store.redis.xlen(stream) == 240
    await set_archived(engine, 10**9)
    lengths = []
    for number in range(4):
        await say(engine, job.customer, job.room, f"more {number}")
        lengths.append(await engine.store.redis.xlen(stream))
    assert lengths == [225, 210, 200, 200]
    assert (await read_room(engine, job.customer, job.room))["n"] == 244
    assert len(sent) == 240


async def test_a_forgotten_client_id_is_looked_for_in_the_archive(engine: Engine) -> None:
    """Redis has at most 10,000 client ids of a room, forgets only archived ones, and records the highest seq among the
    forgotten. A message with an unknown `client_id` is then stored only after a search in the archive.
    """
    job = await book_with_room(engine)
    names, meta = keys.room_sent(DEFAULT_ZONE, job.room), keys.zone_meta(DEFAULT_ZONE)
    room = keys.room(DEFAULT_ZONE, job.room)
    old = {f"u:{number}": f"{number} {number} d" for number in range(1, 10_501)}
    await engine.store.redis.hset(names, mapping=old)
    await engine.store.redis.hset(room, "n", 10_500)
    await engine.store.redis.hset(meta, "archived", 300)
    for number in range(60):
        await say(engine, job.customer, job.room, str(number))
        if await engine.store.redis.hget(room, "dropped") is not None:
            break
    assert await engine.store.redis.hlen(names) >= 10_000 + number + 1
    dropped = int(await engine.store.redis.hget(room, "dropped"))
    assert 0 < dropped <= 300
    with pytest.raises(Unavailable):
        await say(engine, job.customer, job.room, "a new one")


@pytest.mark.parametrize("who", ["sender", "reader"])
async def test_a_message_that_races_a_removal_is_before_it_or_not_at_all(engine: Engine, who: str) -> None:
    """A message is sent at the same time as its sender or a reader is removed. After the removal the user gets no
    event, list or page of the room, and each acknowledged message is in the room once.
    """
    job, mediator = await book_with_room(engine), await chat.staff(engine)
    sender = mediator if who == "sender" else job.customer
    said = 0
    for number in range(100):
        await room_members.add_member(engine, people.ADMIN, job.room, mediator.id)
        draft = MessageDraft(text=str(number), client_id=f"c{number}")
        sending, removing = (
            messages.say(engine, sender, job.room, draft),
            room_members.remove_member(engine, people.ADMIN, job.room, mediator.id),
        )
        order = (sending, removing) if number % 2 else (removing, sending)
        results = dict(zip(order, await asyncio.gather(*order, return_exceptions=True), strict=True))
        assert not isinstance(results[removing], BaseException)
        if isinstance(results[sending], BaseException):
            assert isinstance(results[sending], NotMember) and who == "sender"
        else:
            said += 1
        with pytest.raises(NotMember):
            await texts(engine, mediator, job.room)
    is_member, numbers = False, []
    for kind, to, data in await room_events(engine, job.room):
        if kind == "message.created":
            numbers.append(data["message"]["n"])
            assert (f"user:{mediator.id}" in to) == is_member
            assert is_member or data["message"]["sender"]["id"] != mediator.id
        elif kind in ("room.opened", "room.left") and data.get("user", {}).get("id") == mediator.id:
            is_member = kind == "room.opened"
    assert numbers == list(range(1, said + 1))
