"""Notifications: each user reads only their own, at once after the event and each exactly once."""

from __future__ import annotations

import msgspec
import pytest

from engine.domain import notifications
from engine.errors import Invalid, NotFound
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, UserId
from engine.workers import archiver

OWNER = Principal(UserId("usr_me"), "customer")
OTHER_USER = Principal(UserId("usr_you"), "customer")


async def append_notifications(engine: Engine, who: Principal, *names: str) -> None:
    """Append notifications to the log as the notifier does. Each of ``names`` is the id and the title of one."""
    cursor = keys.push_cursor(DEFAULT_ZONE)
    at = int(await engine.store.redis.get(cursor) or 0)
    encoded_notifications: list[str | bytes] = []
    for name in names:
        data = {"id": name, "kind": "k", "title": name, "body": "b", "job": "job_main_1"}
        encoded_notifications += [who.id, msgspec.json.encode(data), ""]
    zone = DEFAULT_ZONE
    places = {"meta": keys.zone_meta(zone), "log": keys.log(zone), "cursor": cursor, "due": keys.due_tasks(zone)}
    args = {"from_seq": at, "to_seq": at + 1, "count": len(names), "notifications": encoded_notifications}
    await engine.store.run(DEFAULT_ZONE, "notification_append", keys=places, args=args)


async def read_list(engine: Engine, who: Principal = OWNER) -> list[tuple[str, bool]]:
    """Return the ids of the user's notifications, newest first, each with whether it is marked as read."""
    return [(item.id, item.read) for item in (await notifications.find_notifications(engine, who)).items]


async def test_a_notification_of_another_user_is_not_found(engine: Engine) -> None:
    """To mark a notification of another user as read is refused with `not_found`, before and after SQL has a copy. An
    invalid limit or cursor is refused.
    """
    await append_notifications(engine, OTHER_USER, "n1")
    for _ in range(2):
        with pytest.raises(NotFound):
            await notifications.mark_read(engine, OWNER, "n1")
        assert await read_list(engine) == []
        await archiver.run_once(engine)
    for limit, cursor in ((0, None), (201, None), (10, "nonsense")):
        with pytest.raises(Invalid):
            await notifications.find_notifications(engine, OWNER, limit=limit, cursor=cursor)


async def test_the_list_is_never_behind_the_log(engine: Engine) -> None:
    """A notification is listed before the archiver has copied it to SQL, and is listed once after that."""
    await append_notifications(engine, OWNER, "n1")
    await archiver.run_once(engine)
    await append_notifications(engine, OWNER, "n2")
    await append_notifications(engine, OTHER_USER, "x")
    assert [name for name, _ in await read_list(engine)] == ["n2", "n1"]
    await archiver.run_once(engine)
    assert [name for name, _ in await read_list(engine)] == ["n2", "n1"]
    first = (await notifications.find_notifications(engine, OWNER)).items[0]
    assert (first.kind, first.title, first.job, first.at.endswith("Z")) == ("k", "n2", "job_main_1", True)


async def test_a_notification_can_be_marked_as_read_before_it_is_archived(engine: Engine) -> None:
    """A notification can be marked as read before SQL has a copy. It remains marked after the copy, and a repeat
    changes nothing.
    """
    await append_notifications(engine, OWNER, "n1")
    for _ in range(2):
        await notifications.mark_read(engine, OWNER, "n1")
        assert await read_list(engine) == [("n1", True)]
        await archiver.run_once(engine)
    await append_notifications(engine, OWNER, "n2")
    assert await read_list(engine) == [("n2", False), ("n1", True)]


async def test_pages_contain_each_notification_once(engine: Engine) -> None:
    """Pages contain each notification once, also where a page continues from the log to SQL."""
    await append_notifications(engine, OWNER, *(f"a{n}" for n in range(4)))
    await archiver.run_once(engine)
    await append_notifications(engine, OWNER, *(f"b{n}" for n in range(3)))
    listed_ids: list[str] = []
    cursor = None
    while True:
        page = await notifications.find_notifications(engine, OWNER, limit=2, cursor=cursor)
        listed_ids += [item.id for item in page.items]
        if (cursor := page.next) is None:
            break
    assert listed_ids == ["b2", "b1", "b0", "a3", "a2", "a1", "a0"]
