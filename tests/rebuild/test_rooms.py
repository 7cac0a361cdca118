"""Chat rooms are the same after a rebuild."""

from __future__ import annotations

from sqlalchemy import func, select, update

from engine.domain import files, room_members, rooms
from engine.files.file_object import FileObject
from engine.rebuild import rebuilder
from engine.runtime import Engine
from engine.sql.room_tables import messages
from engine.sql.schema import jobs, notifications
from engine.types import DEFAULT_ZONE
from engine.workers import archiver, notifier, scheduler
from tests.races.test_signature_races import parts_of
from tests.rebuild.compare import check_rebuild, read_snapshot
from tests.support import chat, people
from tests.support.clock import advance
from tests.support.photos import tiny_png
from tests.support.postgres import on_both_databases


async def test_a_room_with_messages_marks_and_staff(engine: Engine) -> None:
    """Members, messages, read marks, client ids and the staff who came and went are the same."""
    scene = await chat.book_with_room(engine)
    room, carla, tom = scene.room, scene.customer, scene.technician
    manager = await chat.staff(engine, "ops_manager")
    await rooms.join_room(engine, carla, room)
    await chat.say(engine, carla, room, 'Hello "you" \\ 🙂')
    await chat.say(engine, tom, room, "Hi", client_id="c1")
    await room_members.add_member(engine, people.ADMIN, room, manager.id)
    await rooms.mark_read(engine, carla, room, 2)
    await rooms.join_room(engine, manager, room)
    uploaded = await files.upload(engine, tom, f"room:{room}", None, parts_of(tiny_png()))
    assert isinstance(uploaded.file, FileObject)
    await chat.say(engine, tom, room, "Look", files=[uploaded.file.id])
    await chat.say(engine, manager, room, "Fourth")
    other = await chat.staff(engine)
    await room_members.add_member(engine, people.ADMIN, room, other.id)
    await room_members.remove_member(engine, people.ADMIN, room, other.id)
    before = await check_rebuild(engine)
    assert len(before[f"room:{room}:messages"]) == 4
    repeated = await chat.say(engine, tom, room, "Hi", client_id="c1")
    assert repeated["n"] == 2, "a repeated message is recognized"


@on_both_databases
async def test_a_room_that_was_closed_long_ago_stays_forgotten(engine: Engine) -> None:
    """A rebuild restores a room that was closed within the log's window. After the window Redis has deleted the room,
    and a rebuild does not restore it, even if it restores the room's job, for example because of a late payment.
    """
    scene = await chat.book_with_room(engine)
    await chat.say(engine, scene.customer, scene.room, "Hello")
    await chat.send_command(engine, scene.customer, scene.job, "cancel", reason="r")
    await archiver.run_once(engine)
    for is_forgotten in (False, True):
        if is_forgotten:
            await advance(engine, engine.settings.log_window_s + 1)
            await people.job(engine, scene.customer, await people.service(engine))
            await archiver.run_once(engine)
        async with engine.archive.begin_write() as conn:
            await conn.execute(update(jobs).where(jobs.c.id == scene.job).values(hot=True))
        await engine.store.redis.flushall()
        await engine.store.reopen(DEFAULT_ZONE, stale=engine.store.zones[DEFAULT_ZONE].epoch)
        assert len(await rebuilder.run_once(engine)) == 1
        found = await read_snapshot(engine)
        assert f"job:{scene.job}" in found
        assert any(scene.room in key for key in found) is not is_forgotten


async def test_a_large_room_and_a_long_one(engine: Engine) -> None:
    """A room of more than 64 members, and one with more than 200 messages, of which Redis has the last ones."""
    scene = await chat.book_with_room(engine)
    await chat.fill_room(engine, scene.room, 70)
    for number in range(230):
        await chat.say(engine, scene.customer, scene.room, f"Message {number}")
    before = await check_rebuild(engine)
    assert before[f"room:{scene.room}"]["to"] == f"room:{scene.room}"


async def test_a_message_of_the_millisecond_of_a_notification_is_not_counted_as_notified(engine: Engine) -> None:
    """The member is notified of the first of two messages. The second has the same time, and a later seq."""
    scene = await chat.book_with_room(engine)
    await chat.say(engine, scene.customer, scene.room, "First")
    await advance(engine, 120)
    await notifier.run_once(engine)
    await scheduler.run_once(engine, DEFAULT_ZONE)
    await chat.say(engine, scene.customer, scene.room, "Second")
    await archiver.run_once(engine)
    async with engine.archive.begin_write() as conn:
        notified_at = select(func.max(notifications.c.at)).where(notifications.c.room == scene.room)
        await conn.execute(update(messages).values(at=notified_at.scalar_subquery()))
    before = await check_rebuild(engine)
    assert before[f"room:{scene.room}:read"][f"noticed:{scene.technician.id}"] == "1"
