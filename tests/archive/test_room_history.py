"""Tests of chat rooms whose messages are partly in Redis and partly in SQL: pages of messages, lists, repeated
messages, and rooms that Redis no longer has.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from engine.archive import room_reader
from engine.domain import message_history, messages, room_list, room_members, rooms
from engine.domain.message_history import MessageQuery
from engine.domain.messages import MessageDraft
from engine.domain.room_list import RoomQuery
from engine.errors import Invalid, NotMember, ReusedKey, RoomClosed, Unavailable
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, RoomId, UserId
from engine.workers import archiver
from tests.archive.conftest import DatabaseAway
from tests.support import people
from tests.support.chat import Chat, accepted_job, book_with_room, fill_room, read_room, say, send_command, staff, texts
from tests.support.clock import advance
from tests.support.dispatch_setup import run_due_tasks

STRANGER = Principal(UserId("usr_mallory"), "customer")


async def remove_oldest(engine: Engine, room: RoomId, count: int) -> None:
    """Remove at most `count` of the oldest archived messages from Redis, as `message_say` does for long rooms."""
    client, name = engine.store.redis, keys.room_messages(DEFAULT_ZONE, room)
    archived = int(await client.hget(keys.zone_meta(DEFAULT_ZONE), "archived") or 0)
    for entry, fields in await client.xrange(name, "-", "+", count):
        if int(fields[1]) <= archived:
            await client.xdel(name, entry)


async def forget(engine: Engine, chat: Chat) -> None:
    """Cancel the job, so that its room closes, archive everything, and let the room's keys expire."""
    await send_command(engine, chat.customer, chat.job, "cancel")
    await expire_keys(engine, chat.room)


async def expire_keys(engine: Engine, room: RoomId) -> None:
    """Archive the closing of a room, wait until the room has left the lists, and let its keys expire at once."""
    await run_due_tasks(engine)
    await archiver.run_once(engine)
    await advance(engine, 660)
    await run_due_tasks(engine)
    for name in (keys.room, keys.room_messages, keys.room_reads, keys.room_sent):
        key = name(DEFAULT_ZONE, room)
        assert not await engine.store.redis.exists(key) or await engine.store.redis.pttl(key) > 0, key
        await engine.store.redis.delete(key)


async def read_numbers(engine: Engine, who: Principal, room: str, query: MessageQuery) -> tuple[list[int], str | None]:
    """Return the numbers of a page of messages, and where the next one begins."""
    page = await message_history.list_messages(engine, who, room, query)
    return [msgspec.json.decode(item)["n"] for item in page.items], page.next


async def read_ids(engine: Engine, who: Principal, **query: Any) -> list[str]:
    """Return the ids of all rooms in a list, page by page."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = await room_list.list_rooms(engine, who, RoomQuery(cursor=cursor, **query))
        assert set(page.as_of) == {"main"}
        found += [msgspec.json.decode(item)["id"] for item in page.items]
        if (cursor := page.next) is None:
            return found


async def test_older_messages_are_unavailable_without_the_database(engine: Engine, database_away: DatabaseAway) -> None:
    """While the database is away the messages that Redis has are listed; a page that reaches below them, and a message
    that may be a repeat from before, are `unavailable`. Neither is stored.
    """
    chat = await book_with_room(engine)
    for n in range(1, 5):
        await say(engine, chat.customer, chat.room, f"text {n}", f"k{n}")
    await archiver.run_once(engine)
    await remove_oldest(engine, chat.room, 2)
    await drop_sent(engine, chat, "k1", 9_999)
    async with database_away():
        if engine.settings.database is not None:  # SQLite is only locked against writers, and can be read
            assert await texts(engine, chat.technician, chat.room, limit=2) == ["text 4", "text 3"]
            assert await texts(engine, chat.technician, chat.room, after=2) == ["text 3", "text 4"]
            for page in ({}, {"before": 4}, {"after": 1}):
                with pytest.raises(Unavailable):
                    await texts(engine, chat.technician, chat.room, **page)
            with pytest.raises(Unavailable):
                await say(engine, chat.customer, chat.room, "text 1", "k1")
    assert (await read_room(engine, chat.customer, chat.room))["n"] == 4


async def drop_sent(engine: Engine, chat: Chat, client_id: str, dropped: int) -> None:
    """Make Redis forget the `client_id` of a message of the customer, as `message_say` does in long rooms."""
    await engine.store.redis.hdel(keys.room_sent(DEFAULT_ZONE, chat.room), f"{chat.customer.id}:{client_id}")
    await engine.store.redis.hset(keys.room(DEFAULT_ZONE, chat.room), "dropped", str(dropped))


async def test_a_forgotten_client_id_is_looked_up_in_sql(engine: Engine) -> None:
    """After Redis forgot a `client_id`, the message under it still answers with the first one, another text is
    `reused_key`, and a new `client_id` is stored once. While SQL is behind what Redis forgot, it is `unavailable`.
    """
    chat = await book_with_room(engine)
    first = await say(engine, chat.customer, chat.room, "hello", "k1")
    await archiver.run_once(engine)
    await remove_oldest(engine, chat.room, 1)
    # the message is known, but only SQL has its text
    assert await say(engine, chat.customer, chat.room, "hello", "k1") == first
    head = int(await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "seq") or 0)
    await drop_sent(engine, chat, "k1", head)
    assert await say(engine, chat.customer, chat.room, "hello", "k1") == first
    with pytest.raises(ReusedKey):
        await say(engine, chat.customer, chat.room, "other", "k1")
    assert (await say(engine, chat.technician, chat.room, "hello", "k1"))["n"] == 2
    assert (await say(engine, chat.customer, chat.room, "hello", "k2"))["n"] == 3
    await drop_sent(engine, chat, "k2", head + 2)
    with pytest.raises(Unavailable):
        await say(engine, chat.customer, chat.room, "hello", "k2")
    await archiver.run_once(engine)
    assert (await say(engine, chat.customer, chat.room, "hello", "k2"))["n"] == 3


@pytest.mark.parametrize("seed", range(4))
async def test_pages_have_every_message_once(engine: Engine, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Pages in both directions have each message once and without a hole, while messages are written, archived and
    removed from Redis at any moment, also between the two reads of a page.
    """
    draw, chat = random.Random(seed), await book_with_room(engine)
    count = budget = 0

    async def disturb() -> None:
        nonlocal count, budget
        for _ in range(min(draw.randint(0, 3), budget)):
            budget -= 1
            action = draw.choice(("say", "say", "archive", "remove"))
            if action == "say":
                for _ in range(draw.randint(1, 6)):
                    count += 1
                    await say(engine, draw.choice((chat.customer, chat.technician)), chat.room, f"text {count}")
            elif action == "archive":
                await archiver.run_once(engine)
            else:
                await remove_oldest(engine, chat.room, draw.randint(1, 12))

    def disturb_before(read: Any) -> Any:
        async def read_later(*args: Any) -> Any:
            await disturb()
            return await read(*args)

        return read_later

    for name in ("messages_before", "messages_after"):
        monkeypatch.setattr(room_reader, name, disturb_before(getattr(room_reader, name)))
    for _ in range(5):
        budget = 12  # a reader who pages more slowly than others write would never reach the end
        await disturb()
        limit, known = draw.randint(2, 9), count
        is_newest_first = draw.random() < 0.5
        found, place = await read_numbers(
            engine, chat.technician, chat.room, MessageQuery(limit=limit, after=None if is_newest_first else 0)
        )
        while place is not None:
            await disturb()
            query = MessageQuery(limit=limit, cursor=place)
            more, place = await read_numbers(engine, chat.technician, chat.room, query)
            assert len(found) % limit == 0
            found += more
        if is_newest_first:
            found.reverse()
        assert found == list(range(1, len(found) + 1)) and len(found) >= known


async def test_a_long_room_is_trimmed_and_read_whole(engine: Engine) -> None:
    """A room of 240 archived messages keeps the last 200 in Redis; SQL has the others, and a page crosses the seam."""
    chat = await book_with_room(engine)
    for n in range(1, 221):
        await say(engine, chat.customer, chat.room, f"{n}")
    await archiver.run_once(engine)
    for n in range(221, 241):
        await say(engine, chat.customer, chat.room, f"{n}")
    assert await engine.store.redis.xlen(keys.room_messages(DEFAULT_ZONE, chat.room)) == 200
    assert await texts(engine, chat.technician, chat.room, before=46, limit=10) == [str(n) for n in range(45, 35, -1)]
    assert await texts(engine, chat.technician, chat.room, after=35, limit=10) == [str(n) for n in range(36, 46)]
    assert await texts(engine, chat.technician, chat.room, after=240) == []
    assert await texts(engine, chat.technician, chat.room, before=1) == []


async def test_a_hole_is_unavailable_until_the_tables_are_filled(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If SQL lacks messages that an older release archived, a page is `unavailable` instead of having a hole. A message
    in quarantine is left out.
    """
    chat = await book_with_room(engine)
    await say(engine, chat.customer, chat.room, "one")
    await archiver.run_once(engine)
    await remove_oldest(engine, chat.room, 1)
    async with engine.archive.begin_write() as conn:
        await conn.exec_driver_sql("DELETE FROM messages")
    assert await texts(engine, chat.customer, chat.room) == []
    async with engine.archive.begin_write() as conn:
        await conn.exec_driver_sql("UPDATE room_progress SET seq = 0")
    for query in ({}, {"after": 0}):
        with pytest.raises(Unavailable):
            await texts(engine, chat.customer, chat.room, **query)
    await archiver.run_once(engine)
    assert await texts(engine, chat.customer, chat.room) == ["one"]


async def test_a_room_that_redis_forgot_is_the_same_in_sql(engine: Engine) -> None:
    """After its keys have expired, SQL answers for a room as Redis did: the room with members, marks and last message,
    its messages, and its place in the lists.
    """
    chat = await book_with_room(engine)
    for n in range(1, 4):
        await say(engine, chat.customer, chat.room, f"text {n}")
    await rooms.mark_read(engine, chat.technician, chat.room, 1)
    other = await book_again(engine, chat)
    await send_command(engine, chat.customer, chat.job, "cancel")

    async def read_all() -> list[Any]:
        found: list[Any] = []
        for who in (chat.customer, chat.technician, people.ADMIN):
            found.append(await read_room(engine, who, chat.room))
            found.append(await texts(engine, who, chat.room, limit=2))
            found.append(await texts(engine, who, chat.room, after=1))
            found += [await read_ids(engine, who, **query) for query in ({}, {"limit": 1}, {"job": chat.job})]
            found += [await read_ids(engine, who, open=is_open) for is_open in (True, False)]
        joined = await rooms.join_room(engine, chat.technician, chat.room)
        return [*found, msgspec.json.decode(joined.room), [msgspec.json.decode(m)["n"] for m in joined.messages]]

    before = await read_all()
    await expire_keys(engine, chat.room)
    assert await engine.store.redis.zrange(keys.user_rooms(DEFAULT_ZONE, chat.customer.id), 0, -1) == [other.encode()]
    assert await read_all() == before
    assert before[0]["state"] == "closed" and before[3] == before[4] == [other, chat.room]


async def test_a_large_room_lists_the_same_members_in_sql(engine: Engine) -> None:
    """A room with more than 64 members lists the two sides of the job and the reader, from Redis and from SQL."""
    chat = await book_with_room(engine)
    mia = await staff(engine)
    await room_members.add_member(engine, people.ADMIN, chat.room, mia.id)
    await fill_room(engine, chat.room, 62)
    await send_command(engine, chat.customer, chat.job, "cancel")
    readers = (chat.customer, chat.technician, mia, people.ADMIN)
    before = [await read_room(engine, who, chat.room) for who in readers]
    sides = [chat.customer.id, chat.technician.id]
    assert [[member["id"] for member in room["members"]] for room in before] == [sides, sides, [*sides, mia.id], sides]
    assert {room["members_n"] for room in before} == {65}
    await expire_keys(engine, chat.room)
    assert [await read_room(engine, who, chat.room) for who in readers] == before


async def book_again(engine: Engine, chat: Chat) -> RoomId:
    """Book the same technician a second time, and return the second room."""
    booked = await people.job(
        engine, chat.customer, chat.service, blueprint="direct_booking", technician=chat.technician.id
    )
    return RoomId(people.id_of(booked).replace("job_", "room_"))


async def test_a_forgotten_room_accepts_repeats_and_marks_alone(engine: Engine) -> None:
    """In a room that Redis no longer has, a repeated message answers with the first one, another text under its
    `client_id` is `reused_key`, a new message is `room_closed`, and strangers are `not_member`. Read marks still move
    forward, not beyond the last message.
    """
    chat = await book_with_room(engine)
    first = await say(engine, chat.customer, chat.room, "hello", "k1")
    await say(engine, chat.customer, chat.room, "are you there?", "k2")
    await forget(engine, chat)
    with pytest.raises(ReusedKey):
        await say(engine, chat.customer, chat.room, "other", "k1")
    with pytest.raises(RoomClosed):
        await say(engine, chat.technician, chat.room, "hello", "k1")
    for call in (
        say(engine, STRANGER, chat.room, "hello", "k1"),
        texts(engine, STRANGER, chat.room),
        rooms.read_room(engine, STRANGER, chat.room),
        rooms.join_room(engine, people.ADMIN, chat.room),
        rooms.mark_read(engine, STRANGER, chat.room, 1),
    ):
        with pytest.raises(NotMember):
            await call
    assert await say(engine, chat.customer, chat.room, "hello", "k1") == first
    with pytest.raises(Invalid):
        await rooms.mark_read(engine, chat.technician, chat.room, 3)
    assert [(await rooms.mark_read(engine, chat.technician, chat.room, n)).n for n in (1, 2, 1)] == [1, 2, 2]
    room = await read_room(engine, chat.technician, chat.room)
    assert room["unread"] == 0 and {"user": "tom", "n": 2} in room["reads"]


async def test_a_leaver_reads_nothing_and_a_successor_from_then_on(engine: Engine) -> None:
    """Also after Redis has forgotten the room, a technician who left it can neither read nor list it. The next
    technician reads and counts only the messages after they joined.
    """
    chat = await accepted_job(engine)
    tara = await people.technician(engine, "tara", chat.service, capacity=100)
    await say(engine, chat.customer, chat.room, "to tom")
    await send_command(engine, people.ADMIN, chat.job, "reassign", technician="tara", reason="ill")
    for is_forgotten in (False, True):
        assert await texts(engine, tara, chat.room) == ([] if not is_forgotten else ["to tara"])
        if not is_forgotten:
            await say(engine, chat.customer, chat.room, "to tara")
            await forget(engine, chat)
        room = await read_room(engine, tara, chat.room)
        assert (room["unread"], room["last"]["text"], room["members"][-1]["from_n"]) == (1, "to tara", 1)
        assert await texts(engine, tara, chat.room, after=0) == ["to tara"]
        assert await texts(engine, chat.customer, chat.room) == ["to tara", "to tom"]
        assert await read_ids(engine, tara) == await read_ids(engine, chat.customer) == [chat.room]
        assert await read_ids(engine, chat.technician) == []
        with pytest.raises(NotMember):
            await texts(engine, chat.technician, chat.room)


async def test_a_list_is_never_behind_a_reply(engine: Engine) -> None:
    """After `say` replied with a seq, every list has the message, and its `as_of` is not below that seq."""
    chat = await book_with_room(engine)
    for text in ("one", "two"):
        said = await messages.say(engine, chat.customer, chat.room, MessageDraft(text=text, client_id=text))
        for who in (chat.technician, people.ADMIN):
            page = await room_list.list_rooms(engine, who, RoomQuery())
            assert page.as_of["main"]["seq"] >= said.seq
            assert [msgspec.json.decode(item)["last"]["text"] for item in page.items] == [text]
        await archiver.run_once(engine)


async def test_ops_list_every_room_as_it_is_now(engine: Engine) -> None:
    """Ops, who are no members, list all rooms by their latest activity: also what the archive does not have yet, and
    what Redis does not have any more.
    """
    gone = await book_with_room(engine)
    await forget(engine, gone)
    quiet = await book_again(engine, gone)
    await archiver.run_once(engine)
    newest = await book_again(engine, gone)
    assert await read_ids(engine, people.ADMIN) == [newest, quiet, gone.room]
    await say(engine, gone.customer, quiet, "hello")
    for _ in range(2):
        assert await read_ids(engine, people.ADMIN, limit=1) == [quiet, newest, gone.room]
        assert await read_ids(engine, people.ADMIN, open=True) == [quiet, newest]
        assert await read_ids(engine, people.ADMIN, open=False) == [gone.room]
        await archiver.run_once(engine)
    assert await read_ids(engine, STRANGER) == []
