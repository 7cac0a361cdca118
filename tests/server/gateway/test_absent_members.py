"""Chat notifications with real sockets: a member who is connected at another gateway gets none, and a member who has
disconnected gets one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import msgspec
import pytest

from engine.domain import chat_notifications, notifications
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.types import Principal
from engine.workers import notifier, scheduler
from tests.server.gateway.conftest import Node, running_node
from tests.support.chat import book_with_room, say
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

ABSENT_S = 3.0


@pytest.fixture
async def nodes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Node, Node]]:
    """Run two gateways on one Redis, and the notifier and the scheduler. A member is absent after `ABSENT_S`."""
    monkeypatch.setattr(chat_notifications, "ABSENT_S", ABSENT_S)
    monkeypatch.setattr(chat_notifications, "PONG_MARGIN_S", 0.5)
    short = msgspec.structs.replace(settings, lease_s=6.0, ping_s=1.0, pong_s=0.8)
    shared = {
        "database": f"sqlite:///{short.data}/callout.db",
        "key_file": f"{short.data}/signing.key",
        "files": f"{short.data}/blobs",
    }
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running_node(short))
        other = msgspec.structs.replace(short, data=f"{short.data}2", **shared)
        second = await stack.enter_async_context(running_node(other))
        work = [asyncio.create_task(part.run(first.engine)) for part in (notifier, scheduler)]
        yield first, second
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def count_notifications(engine: Engine, user: Principal) -> int:
    """Return how many chat notifications the user has."""
    items = (await notifications.find_notifications(engine, user)).items
    return sum(item.kind == "message" for item in items)


async def test_only_a_member_without_a_connection_is_notified(nodes: tuple[Node, Node]) -> None:
    """While the technician is connected at one gateway, messages of the customer at another gateway notify nobody.
    After the technician has left, the next message notifies them once, not before `ABSENT_S` have passed.
    """
    here, there = nodes
    room = await book_with_room(here.engine)
    tom, engine = room.technician, here.engine
    customer = await SocketClient(here.url, await here.token(room.customer.id)).open()
    technician = await SocketClient(there.url, await there.token(tom.id, "technician")).open()
    await say(engine, room.customer, room.room, "are you there?")
    await technician.wait_for("new_message")
    await asyncio.sleep(ABSENT_S + 2)
    assert await count_notifications(engine, tom) == 0
    await technician.close()
    await say(engine, room.customer, room.room, "hello?")
    await asyncio.sleep(ABSENT_S / 2)
    assert await count_notifications(engine, tom) == 0

    async def is_notified() -> bool:
        return await count_notifications(engine, tom) == 1

    await wait_until(is_notified, within_s=15, what="the notification")
    await say(engine, room.customer, room.room, "hello??")
    await asyncio.sleep(2)
    assert await count_notifications(engine, tom) == 1 and await count_notifications(engine, room.customer) == 0
    await customer.close()
