"""Messages race the removal of a member of the room: the one who leaves receives, reads and is notified of nothing that
was said after the removal, and of everything before it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from engine.domain import chat_notifications, room_members
from engine.process.settings import Settings
from engine.types import DEFAULT_ZONE, Principal
from server.serve import RunningServer
from tests.races.leaving import Race, numbers_in, read_round
from tests.server.gateway.conftest import running_node
from tests.support import chat, event_log, people, socket_client
from tests.support.chat import Chat
from tests.support.http import open_http
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

ROUNDS = int(os.environ.get("CALLOUT_TEST_ROUNDS", "40"))
SAID_BEFORE, SAID_TOGETHER = 2, 6
"""How many messages a round has before the race, and how many are said in it by the one who stays and by the leaver."""


KINDS = ("said after", "received before", "refused", "accepted", "listed", "notified before")
"""The kinds of what happens in the rounds: each must occur."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose lease is longer than any run: the technician gives no sign of life."""
    return msgspec.structs.replace(settings, lease_s=3600.0)


@pytest.fixture
async def race(server: RunningServer, settings: Settings) -> AsyncIterator[Race]:
    """Run a server with all its work, and a second gateway on the same Redis and database."""
    shared = {"key_file": f"{settings.data}/signing.key", "files": f"{settings.data}/blobs"}
    shared["database"] = f"sqlite:///{settings.data}/callout.db"
    async with (
        running_node(msgspec.structs.replace(settings, data=f"{settings.data}2", **shared)) as other,
        open_http(server.url) as http,
    ):
        service, customer = await people.service(server.engine), await people.customer(server.engine)
        technician = await people.technician(server.engine, "tom", service, capacity=100)
        opened = Race(server, other, http, customer, technician, service, random.Random(11))
        yield opened
        for socket in opened.sockets.values():
            await socket.close()


async def test_who_left_gets_nothing_that_was_said_after(race: Race) -> None:
    """In every order, a message after the removal reaches the removed member neither live, nor in a replay, nor in a
    page, nor as a notification, and they can send nothing. What was said before reached them, and reaches the other
    member once.
    """
    mediators = [await chat.staff(race.engine) for _ in range(2)]
    for number in range(ROUNDS):
        leaving = mediators if number % 2 else []
        await run_round(race, await race.open_room(with_mediators=bool(leaving)), leaving)
    await assert_notified_only_before(race)
    print(f"{ROUNDS} rounds:", dict(race.counted))
    assert all(race.counted[kind] > 0 for kind in KINDS), race.counted


async def run_round(race: Race, room: Chat, mediators: list[Principal]) -> None:
    """Let messages, pages and the removal run at the same time, and check what the leaver received. With mediators, ops
    bring them in and let them go: the first is connected and the second absent. Without, the technician is unassigned.
    """
    engine = race.engine
    for mediator in mediators:
        await room_members.add_member(engine, people.ADMIN, room.room, mediator.id)
    leaver = mediators[0] if mediators else room.technician
    stays, leaves = await race.connect(room.customer, race.server.ws_url), await race.connect(leaver, race.other.url)
    before = {zone: dict(cursor) for zone, cursor in leaves.cursors.items()}

    async def remove() -> None:
        await race.wait_some_time()
        if not mediators:
            await chat.send_command(engine, people.ADMIN, room.job, "unassign")
        for mediator in mediators:
            await race.wait_some_time()
            await room_members.remove_member(engine, people.ADMIN, room.room, mediator.id)

    async def notify() -> None:
        if race.draw.random() < 0.5:
            await race.wait_some_time()
        await chat_notifications.notify_absent_members(engine, DEFAULT_ZONE, f"notify:{room.room}", room.room)

    names = [f"{who}-{i}" for who in ("stays", "leaves") for i in range(SAID_TOGETHER)]
    for i in range(SAID_BEFORE):
        assert not await race.say(stays, room.room, f"before-{i}")
    saying = [race.say(stays if name.startswith("stays") else leaves, room.room, name) for name in names]
    reading = asyncio.create_task(race.read_pages(leaver, room.room))
    _, _, *codes = await asyncio.gather(remove(), notify(), *saying)
    pages = await reading
    assert not await race.say(stays, room.room, "end")

    said, leavings = await read_round(engine, room.room)
    race.leavings += leavings
    leaving = next(each for each in leavings if each.user == leaver.id)
    numbers = sorted(leaving.seq_of)
    assert numbers == list(range(1, len(numbers) + 1))
    accepted = {name for name, code in zip(names, codes, strict=True) if not code}
    assert {code for code in codes if code} <= {"not_member"}
    assert accepted >= {name for name in names if name.startswith("stays")}
    assert sorted(said) == sorted([*accepted, *(f"before-{i}" for i in range(SAID_BEFORE)), "end"])
    for name, n in said.items():
        assert not (name.startswith("leaves") and leaving.is_after(n)), "the leaver said something after the removal"
    heard = [n for n in numbers if not leaving.is_after(n)]
    for page in pages:
        assert page == list(range(len(page), 0, -1)) and set(page) <= set(heard)
    await wait_until(lambda: numbers_in(stays, room.room) == numbers, what="all messages at the one who stays")
    await race.other.wait_until_relayed(max(leaving.seq_of.values()))
    await leaves.request("ping")
    assert numbers_in(leaves, room.room) == heard
    await assert_reads_nothing(race, leaver, room.room, before)
    race.counted += Counter(
        {
            "said after": len(numbers) - len(heard) - 1,
            "received before": len(heard) - SAID_BEFORE,
            "refused": len(names) - len(accepted),
            "accepted": sum(name.startswith("leaves") for name in accepted),
            "listed": len(pages),
        }
    )
    await chat.send_command(engine, people.ADMIN, room.job, "cancel")


CHAT_TYPES = {"message.created", "room.opened", "room.joined", "room.left", "room.read", "room.closed"}


async def assert_reads_nothing(race: Race, leaver: Principal, room: str, before: dict[str, Any]) -> None:
    """Assert that the leaver's page is refused, and that a socket and a poll that resume from before the round replay
    nothing of the room but `room.left`.
    """
    assert (await race.request(leaver, "GET", f"/v1/rooms/{room}/messages")).json()["code"] == "not_member"
    resumed = SocketClient(race.other.url, await socket_client.token(race.engine, leaver))
    cursor = f"main:{before['main']['epoch']}:{before['main']['seq']}"
    resumed.cursors = before
    await resumed.open()
    assert resumed.connected["zones"]["main"]["recovered"] is True
    missed = resumed.connected["zones"]["main"]["missed"]
    await wait_until(lambda: sum("seq" in push for push in resumed.pushes) >= missed, what="the replay")
    polled = (await race.request(leaver, "GET", f"/v1/events?after={cursor}&wait=0")).json()
    assert polled["recovered"] is True
    for replayed in (resumed.pushes, polled["events"]):
        of_room = [push["type"] for push in replayed if push["type"] in CHAT_TYPES and room in str(push)]
        assert of_room == ["room.left"]
    await resumed.close()


async def assert_notified_only_before(race: Race) -> None:
    """Wait until the notifier has read all messages. Assert that nobody was notified of a room that they had left."""
    last = await chat.book_with_room(race.engine, "absent")
    await chat.say(race.engine, last.customer, last.room, "hello")

    async def notifications() -> dict[tuple[str, str], int]:
        found = await event_log.events(race.engine, "notification")
        sent = [(event, event_log.payload(event)) for event in found]
        chats = [(event, data) for event, data in sent if data["kind"] == "message"]
        return {(data["room"], event.to[0].removeprefix("user:")): event.seq for event, data in chats}

    async def is_last_notified() -> bool:
        return (last.room, "absent") in await notifications()

    await wait_until(is_last_notified, within_s=30, what="the last notification")
    notified = await notifications()
    for leaving in race.leavings:
        seq = notified.get((leaving.room, leaving.user))
        assert seq is None or seq < leaving.left_seq
        race.counted["notified before"] += seq is not None
