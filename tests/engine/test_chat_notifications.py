"""Notifications of unread chat messages: each absent member gets one until they read, and nobody else gets any."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.domain import chat_notifications, notifications, room_members, rooms
from engine.identity import accounts, sockets
from engine.identity.signs_of_life import SignsOfLife
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE, Principal, UserId
from engine.workers import archiver, notifier, scheduler
from tests.support import chat, event_log, people
from tests.support.chat import Chat, book_with_room, say
from tests.support.clock import advance


async def give_sign(engine: Engine, user: Principal) -> None:
    """Write a sign of life of ``user``, as a gateway does after a pong."""
    signs = SignsOfLife(engine)
    signs.note(user.id)
    await signs.write()


async def notify(engine: Engine) -> list[tuple[str, dict[str, Any]]]:
    """Run the notifier and the scheduler once. Return the chat notifications in the log, each with its user."""
    await notifier.run_once(engine)
    await scheduler.run_once(engine, DEFAULT_ZONE)
    events = await event_log.events(engine, "notification")
    found = [(event.to[0].removeprefix("user:"), event_log.payload(event)) for event in events]
    return [(user, data) for user, data in found if data["kind"] == "message"]


async def notified(engine: Engine) -> list[str]:
    """Run the notifier and the scheduler once. Return who got a chat notification, in order."""
    return [user for user, _ in await notify(engine)]


async def test_who_was_there_is_not_notified(engine: Engine) -> None:
    """The sender of a message, and a member who gave a sign of life after it, are not notified, even if they are away
    for a long time afterwards.
    """
    room = await book_with_room(engine)
    await say(engine, room.customer, room.room, "hello")
    await give_sign(engine, room.technician)
    assert await notified(engine) == []
    await advance(engine, 120)
    assert await notified(engine) == []


async def test_who_left_or_is_suspended_or_has_read_is_not_notified(engine: Engine) -> None:
    """A member who was removed after the message, whose account is suspended, or who has read is not notified."""
    room = await book_with_room(engine)
    removed, suspended = await chat.staff(engine), await chat.staff(engine)
    for member in (removed, suspended):
        await room_members.add_member(engine, people.ADMIN, room.room, member.id)
    await say(engine, room.customer, room.room, "hello")
    await room_members.remove_member(engine, people.ADMIN, room.room, removed.id)
    await accounts.suspend_user(engine, people.ADMIN, suspended.id, reason="x")
    await rooms.mark_read(engine, room.technician, room.room, 1)
    assert await notified(engine) == []


async def test_a_member_who_is_removed_during_the_examination_is_not_notified(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The notifier first looks for members to notify. The script that then appends a notification checks again, in the
    same step, whether the user is a member, has read the message or was notified before.
    """
    room = await book_with_room(engine)
    gone, reader = await chat.staff(engine), await chat.staff(engine)
    for member in (gone, reader):
        await room_members.add_member(engine, people.ADMIN, room.room, member.id)
    await say(engine, room.customer, room.room, "hello")
    find = chat_notifications._find_absent

    async def find_then_change(*args: Any) -> Any:
        found = await find(*args)
        await room_members.remove_member(engine, people.ADMIN, room.room, gone.id)
        await rooms.mark_read(engine, reader, room.room, 1)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(chat_notifications, "_find_absent", find_then_change)
        assert await notified(engine) == [room.technician.id]
    await advance(engine, 60)
    assert await notified(engine) == [room.technician.id]


async def test_an_absent_member_is_notified_once_until_they_read(engine: Engine) -> None:
    """A member without a sign of life is notified at once, of several messages once, without their text; after they
    have read, the next message notifies them again. The notification is in their list, before and after it is archived.
    """
    room = await book_with_room(engine)
    for text in ("the code of gate 4711", "are you there?"):
        await say(engine, room.customer, room.room, text)
    ((user, data),) = await notify(engine)
    assert user == room.technician.id and "gate 4711" not in str(data)
    texts = {"kind": "message", "title": "New message", "body": "Carla Customer wrote to you."}
    assert {**data, "id": ""} == {"id": "", **texts, "job": room.job, "room": room.room}
    await say(engine, room.customer, room.room, "hello?")
    assert len(await notified(engine)) == 1
    await rooms.mark_read(engine, room.technician, room.room, 3)
    await say(engine, room.customer, room.room, "thanks")
    assert await notified(engine) == [room.technician.id] * 2
    for _ in range(2):
        listed = (await notifications.find_notifications(engine, room.technician)).items
        assert [(item.kind, item.room) for item in listed if item.kind == "message"] == [("message", room.room)] * 2
        await archiver.run_once(engine)


async def test_a_member_who_was_there_just_now_is_notified_after_30_s(engine: Engine) -> None:
    """A member whose last sign of life was before the message is notified when 30 s have passed since that sign, unless
    they give one in the meantime.
    """
    room = await book_with_room(engine)
    mediator = await chat.staff(engine)
    await room_members.add_member(engine, people.ADMIN, room.room, mediator.id)
    for member in (room.technician, mediator):
        await give_sign(engine, member)
    await advance(engine, 5)
    await say(engine, room.customer, room.room, "hello")
    assert await notified(engine) == []
    await advance(engine, 20)
    assert await notified(engine) == []
    await advance(engine, 10)
    assert sorted(await notified(engine)) == sorted([room.technician.id, mediator.id])


async def test_an_open_connection_counts_as_long_as_a_pong_may_take(engine: Engine) -> None:
    """A member whose socket is open and whose pong is late is not notified after 30 s. If the gateway of the socket has
    died, the member is notified. A member with an open event stream counts as present.
    """
    room = await book_with_room(engine)
    await sockets.open_slot(engine, UserId(room.technician.id), "ses_1", 5)
    await advance(engine, 2)
    await say(engine, room.customer, room.room, "hello")
    await advance(engine, 31)
    assert await notified(engine) == []
    await advance(engine, 10)
    assert await notified(engine) == [room.technician.id]


async def test_the_task_outlives_its_process_and_runs_once(engine: Engine) -> None:
    """If a notifier dies after it scheduled the task that notifies, the task still runs; two schedulers run it once."""
    room = await book_with_room(engine)
    await say(engine, room.customer, room.room, "hello")
    await notifier.run_once(engine)
    entry = f"notify:{room.room}"
    runs = [chat_notifications.notify_absent_members(engine, DEFAULT_ZONE, entry, room.room) for _ in range(4)]
    await asyncio.gather(*runs)
    assert await notified(engine) == [room.technician.id]
    assert await due_entries(engine, room) == []


async def due_entries(engine: Engine, room: Chat) -> list[str]:
    """Return the scheduled tasks of the room's notifications."""
    found = await engine.store.redis.zrange("{main}:due", 0, -1)
    return [entry.decode() for entry in found if entry.decode() == f"notify:{room.room}"]
