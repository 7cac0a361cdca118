"""Chat rooms, presence and positions in the Python client, with a whole server behind a network that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from callout_client import Ended, Positions, Presence, Refusal, Room, typing_notices
from callout_client.message_list import MessageList
from engine.domain import room_members
from engine.rules.fixes import Fix
from engine.technicians import live
from engine.types import Principal
from server.serve import RunningServer
from tests.client.phone import Phone
from tests.support import chat, people, socket_client
from tests.support.room_scene import RoomScene, open_scene, run_shared_server
from tests.support.wait import wait_until


@pytest.fixture(scope="module")
async def shared_server(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """Run one server for the tests of this module."""
    async with run_shared_server(redis_url, tmp_path_factory.mktemp("rooms") / "data") as serving:
        yield serving


@pytest.fixture
async def scene(shared_server: RunningServer) -> AsyncIterator[RoomScene]:
    """Book a job with a room, and start the proxy."""
    async with open_scene(shared_server) as opened:
        yield opened


@asynccontextmanager
async def connect(scene: RoomScene, who: Principal) -> AsyncIterator[Phone]:
    """Connect a client of this user; the customer's through the proxy."""
    url = scene.network.origin if who == scene.chat.customer else scene.server.url
    phone = Phone(url, await socket_client.token(scene.engine, who))
    async with phone.client:
        await wait_until(lambda: phone.syncs, what="the first snapshot")
        yield phone


@asynccontextmanager
async def enter(scene: RoomScene, who: Principal) -> AsyncIterator[tuple[Phone, Room]]:
    """Connect a client of this user and open the room."""
    async with connect(scene, who) as phone, Room(phone.client, scene.chat.room) as room:
        yield phone, room


def texts(room: Room) -> list[str]:
    """Return the texts of the messages that the room shows. A message that the server has not numbered yet ends with
    its state."""
    return [each["text"] + (f" ({each['state']})" if "state" in each else "") for each in room.messages]


def assert_whole(room: Room) -> None:
    """Assert that the room shows each message number once, in order and without a gap."""
    numbers = [each["n"] for each in room.messages]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


async def test_a_stranger_cannot_open_a_room(scene: RoomScene) -> None:
    """Opening a room of others raises Refusal with `not_member`, and a closed client raises Ended."""
    stranger = await people.customer(scene.engine, "Sam Stranger")
    async with connect(scene, stranger) as phone:
        room = Room(phone.client, scene.chat.room)
        with pytest.raises(Refusal) as refused:
            await room.open()
        assert refused.value.code == "not_member" and room.state == "left"
    with pytest.raises(Ended):
        await asyncio.wait_for(Room(phone.client, scene.chat.room).open(), 5)


async def test_a_refused_message_is_marked(scene: RoomScene) -> None:
    """A refused message is marked with the code of the refusal, and the messages after it are sent. In a closed room
    each message is refused."""
    async with enter(scene, scene.chat.customer) as (_, room):
        room.say("x" * 4001)
        room.say("short")
        assert [each["state"] for each in room.messages] == ["sending", "sending"]
        await wait_until(lambda: room.messages[0].get("n") == 1, what="the short message")
        refused = room.messages[1]
        assert (refused["state"], refused["code"]) == ("failed", "invalid")
        room.discard(refused["client_id"])
        await chat.send_command(scene.engine, scene.chat.customer, scene.chat.job, "cancel")
        await wait_until(lambda: room.state == "closed", what="the end of the room")
        room.say("late")
        await wait_until(lambda: room.messages[-1].get("code") == "room_closed", what="the refusal")
        assert texts(room) == ["short", "late (failed)"]


async def test_members_talk(scene: RoomScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both members see each message once by number, read marks that only move forward, and who types. A notice of
    typing ends by itself, and one client sends at most one in a second.
    """
    monkeypatch.setattr(typing_notices, "SHOWN_S", 0.5)
    carla_id, tom_id = scene.chat.customer.id, scene.chat.technician.id
    async with enter(scene, scene.chat.customer) as (_, carla), enter(scene, scene.chat.technician) as (phone, tom):
        shown: list[list[str]] = []  # the values are recorded, because a busy test would look at them too late
        tom._changed = lambda room: shown.append(room.typing_users)
        for _ in range(20):
            carla.typing()
        await wait_until(lambda: [carla_id] in shown and not tom.typing_users, what="the notice and its end")
        assert [each["data"]["on"] for each in phone.events if each["type"] == "typing"] == [True]
        said = [carla.say("one"), carla.say("two"), carla.say("three")]
        assert texts(carla) == ["one (sending)", "two (sending)", "three (sending)"]
        await wait_until(lambda: len(tom.messages) == 3, what="the messages")
        await wait_until(lambda: texts(carla) == ["one", "two", "three"], what="the answers")
        assert [each["client_id"] for each in tom.messages] == [each["client_id"] for each in said]
        assert (tom.unread, carla.unread) == (3, 0)
        tom.read(2)
        await wait_until(lambda: carla.reads.get(tom_id) == 2, what="the read mark")
        tom.read(1)
        assert tom.reads[tom_id] == 2 and tom.unread == 1
        assert {member["id"] for member in carla.members} == {carla_id, tom_id}


async def test_a_message_is_said_once_over_a_network_that_fails(scene: RoomScene) -> None:
    """After lost replies and cuts each message is stored once, in order. A message with the `client_id` of an earlier
    process counts as the same message.
    """
    async with enter(scene, scene.chat.customer) as (phone, room):
        for n in range(6):
            if n % 2:
                scene.network.drop_next = f'"c{n}"'.encode()
            room.say(f"message {n}", client_id=f"c{n}")
            if n == 4:
                await phone.client.cut()
            await wait_until(lambda n=n: texts(room)[-1] == f"message {n}", what=f"message {n}")
        assert scene.network.dropped == 3
        room.say("message 0", client_id="c0")
        await wait_until(lambda: len(room.messages) == 6, what="the known message")
        assert_whole(room)
    expected = [f"message {n}" for n in range(6)]
    assert await chat.texts(scene.engine, scene.chat.customer, scene.chat.room, after=0) == expected


@pytest.mark.parametrize("count", [3, 130])
@pytest.mark.parametrize("is_recovered", [True, False])
async def test_a_room_resumes_by_number(scene: RoomScene, count: int, is_recovered: bool) -> None:
    """After a cut the room continues after its highest message number, whether or not the events were recovered, and
    with any number of missed messages.
    """
    await scene.say("first")
    async with enter(scene, scene.chat.customer) as (phone, room):
        scene.lose_network()
        await phone.wait_for_status("reconnecting")
        await scene.say(*(str(n) for n in range(count)))
        if not is_recovered:
            phone.client.cursors["main"]["epoch"] = "e0-00000000"
        scene.restore_network()
        await wait_until(lambda: len(room.messages) == count + 1, within_s=20, what="the missed messages")
        await scene.say("last")
        await wait_until(lambda: texts(room)[-1] == "last", what="the next message")
        assert_whole(room)
        syncs = 1 if is_recovered else 2  # a room may resume before the snapshot of its zone has arrived
        with suppress(AssertionError):
            await wait_until(lambda: len(phone.syncs) == syncs, what="the snapshot")
        assert len(phone.syncs) == syncs, (phone.status_words(), phone.joins, phone.syncs)


async def test_a_message_that_a_snapshot_is_newer_than_is_shown(scene: RoomScene) -> None:
    """A message that is said after the room was read, and before a snapshot, is shown: the snapshot has no messages,
    and the client does not deliver events that are older than it.
    """
    await scene.say("first")
    async with enter(scene, scene.chat.customer) as (phone, room):
        request, may_go_on = phone.client.http, asyncio.Event()

        async def request_later(method: str, path: str, *rest: Any, **options: Any) -> Any:
            if path == "/v1/sync":
                await may_go_on.wait()
            return await request(method, path, *rest, **options)

        phone.client.http = request_later  # type: ignore[method-assign]
        phone.client.cursors["main"]["epoch"] = "e0-00000000"
        await phone.reconnect()
        await wait_until(lambda: room._resuming is None or room._resuming.done(), what="the room")
        await scene.say("second")
        await wait_until(lambda: phone.client._feed._buffered["main"], what="the push")
        assert texts(room) == ["first"]
        may_go_on.set()
        await wait_until(lambda: texts(room) == ["first", "second"], what="the message")
        assert len(phone.syncs) == 2


async def test_a_room_works_without_sockets(scene: RoomScene) -> None:
    """A client that polls opens a room, says messages, receives others and moves its read mark over HTTP. When sockets
    work again, the room continues.
    """
    await scene.say("first")
    scene.network.blocked = True
    async with enter(scene, scene.chat.customer) as (phone, room):
        assert phone.client.status.transport == "polling"
        room.say("second")
        await wait_until(lambda: texts(room) == ["first", "second"], what="the answer")
        await scene.say("third")
        await wait_until(lambda: texts(room)[-1] == "third", what="the poll")
        await room.read()
        assert room.unread == 0
        scene.network.blocked = False
        await phone.wait_for_status("connected", "socket")
        await scene.say("fourth")
        await wait_until(lambda: texts(room) == ["first", "second", "third", "fourth"], what="the push")


async def test_history_is_read_backwards(scene: RoomScene) -> None:
    """A room begins with the last 50 messages, and `load_older` adds the page before until there is none."""
    await scene.say(*(str(n) for n in range(120)))
    async with enter(scene, scene.chat.customer) as (_, room):
        assert (len(room.messages), room.has_older) == (50, True)
        assert await room.load_older()
        assert not await room.load_older()
        assert texts(room) == [str(n) for n in range(120)]


async def test_who_was_let_go_sees_nothing_more(scene: RoomScene) -> None:
    """A member whom ops removed no longer belongs to the room, and receives no message until ops add them again."""
    mediator = await chat.staff(scene.engine)
    await room_members.add_member(scene.engine, people.ADMIN, scene.chat.room, mediator.id)
    async with enter(scene, mediator) as (phone, room):
        await scene.say("together")
        await wait_until(lambda: texts(room) == ["together"], what="the message")
        await room_members.remove_member(scene.engine, people.ADMIN, scene.chat.room, mediator.id)
        await wait_until(lambda: room.state == "left", what="the end of the membership")
        await scene.say("alone")
        await phone.reconnect()
        assert (room.state, texts(room)) == ("left", ["together"])
        await room_members.add_member(scene.engine, people.ADMIN, scene.chat.room, mediator.id)
        await wait_until(lambda: room.state == "open", what="the new membership")
        await scene.say("again")
        await wait_until(lambda: texts(room) == ["together", "alone", "again"], what="the later message")


def test_messages_that_a_member_may_not_read_are_no_hole() -> None:
    """A message waits while the numbers below it are missing. It is shown when the server has no messages between, or
    together with them."""
    messages = MessageList()
    frames = {n: {"n": n, "client_id": str(n), "sender": {"id": "u"}} for n in range(1, 9)}
    messages.add_newer([frames[1]])
    for n in (3, 5, 6):
        messages.add_pushed(frames[n])
    assert (messages.last_n, messages.early) == (1, {3, 5, 6})
    messages.add_newer([frames[2]])
    assert (messages.last_n, messages.early) == (3, {5, 6})
    messages.close_holes({5})
    assert [each["n"] for each in messages.messages] == [1, 2, 3, 5, 6]


async def test_presence_and_positions(scene: RoomScene) -> None:
    """After `watch`, and after each new connection, the client knows who is online; strangers are left out. For each
    job it has the last position, with an age that grows.
    """
    stranger = await people.customer(scene.engine, "Sam Stranger")
    changes: list[Any] = []
    async with connect(scene, scene.chat.customer) as phone:
        presence, positions = Presence(phone.client, changes.append), Positions(phone.client)
        tom = scene.chat.technician.id
        assert [each["user"] for each in await presence.watch([tom, stranger.id])] == [tom]
        await phone.reconnect()
        async with connect(scene, scene.chat.technician):
            await wait_until(lambda: presence.by_user[tom]["online"], what="the technician online")
        assert changes and changes[-1] == presence.by_user[tom]
        assert positions.latest(scene.chat.job) is None
        await chat.send_command(scene.engine, scene.chat.technician, scene.chat.job, "accept")
        fix = Fix(lat=people.HERE.lat + 0.01, lon=people.HERE.lon, accuracy=10)
        await live.store_fixes(scene.engine, scene.chat.technician, tom, [fix])
        first = await wait_until(lambda: positions.latest(scene.chat.job), what="the position")
        assert (first["lat"], first["stale"]) == (fix.lat, False)
        assert positions.latest(scene.chat.job)["age_s"] > first["age_s"]  # type: ignore[index]
        assert await positions.load(scene.chat.job) is not None
