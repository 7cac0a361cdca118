"""Notifications: users see only their own, never later than the log, and each one once."""

from __future__ import annotations

import msgspec
import pytest

from engine.domain import notifications
from engine.errors import Invalid, NotFound
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, UserId
from engine.workers import archiver

ME = Principal(UserId("usr_me"), "customer")
YOU = Principal(UserId("usr_you"), "customer")


async def append(engine: Engine, who: Principal, *names: str) -> None:
    """Append notifications as the notifier does."""
    cursor = keys.push_cursor(DEFAULT_ZONE)
    at = int(await engine.store.redis.get(cursor) or 0)
    told: list[str | bytes] = []
    for name in names:
        data = {"id": name, "kind": "k", "title": name, "body": "b", "job": "job_main_1"}
        told += [who.id, msgspec.json.encode(data), ""]
    places = {"meta": keys.zone_meta(DEFAULT_ZONE), "log": keys.log(DEFAULT_ZONE), "cursor": cursor}
    args = {"from_seq": at, "to_seq": at + 1, "count": len(names), "notifications": told}
    await engine.store.run(DEFAULT_ZONE, "notification_append", keys=places, args=args)


async def listed(engine: Engine, who: Principal = ME) -> list[tuple[str, bool]]:
    return [(item.id, item.read) for item in (await notifications.find_notifications(engine, who)).items]


async def test_refuses_another_ones_notification(engine: Engine) -> None:
    """Another user's notification is `not_found`, archived or not."""
    await append(engine, YOU, "n1")
    for _ in range(2):
        with pytest.raises(NotFound):
            await notifications.mark_read(engine, ME, "n1")
        assert await listed(engine) == []
        await archiver.run_once(engine)
    for limit, cursor in ((0, None), (201, None), (10, "nonsense")):
        with pytest.raises(Invalid):
            await notifications.find_notifications(engine, ME, limit=limit, cursor=cursor)


async def test_the_list_is_never_behind_the_log(engine: Engine) -> None:
    """A new notification is listed before the archiver has copied it, and once after that."""
    await append(engine, ME, "n1")
    await archiver.run_once(engine)
    await append(engine, ME, "n2")
    await append(engine, YOU, "x")
    assert [name for name, _ in await listed(engine)] == ["n2", "n1"]
    await archiver.run_once(engine)
    assert [name for name, _ in await listed(engine)] == ["n2", "n1"]
    first = (await notifications.find_notifications(engine, ME)).items[0]
    assert (first.kind, first.title, first.job, first.at.endswith("Z")) == ("k", "n2", "job_main_1", True)


async def test_read_is_remembered_archived_or_not(engine: Engine) -> None:
    """A notification may be marked as read before SQL has it, a repeat is the same, and the mark is there
    afterwards.
    """
    await append(engine, ME, "n1")
    for _ in range(2):
        await notifications.mark_read(engine, ME, "n1")
        assert await listed(engine) == [("n1", True)]
        await archiver.run_once(engine)
    await append(engine, ME, "n2")
    assert await listed(engine) == [("n2", False), ("n1", True)]


async def test_pages_show_each_once(engine: Engine) -> None:
    """Pages show each notification once, also where they cross from SQL to the log."""
    await append(engine, ME, *(f"a{n}" for n in range(4)))
    await archiver.run_once(engine)
    await append(engine, ME, *(f"b{n}" for n in range(3)))
    seen: list[str] = []
    cursor = None
    while True:
        page = await notifications.find_notifications(engine, ME, limit=2, cursor=cursor)
        seen += [item.id for item in page.items]
        if (cursor := page.next) is None:
            break
    assert seen == ["b2", "b1", "b0", "a3", "a2", "a1", "a0"]
