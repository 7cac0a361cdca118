"""Rooms of more than 64 members: all their events go to one channel, and a user receives that channel as long as they
are a member."""

from __future__ import annotations

import msgspec
import pytest

from engine.domain.rooms import room_keys
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests.server.gateway.conftest import Client, Node
from tests.server.gateway.test_ops import connect_as, next_push_of
from tests.server.gateway.test_room_ops import received_types
from tests.support import chat, event_log
from tests.support.chat import Chat
from tests.support.wait import wait_until


async def change_member(engine: Engine, room: str, user: str, *, add: bool) -> None:
    """Add a mediator to the room, or remove them, only by the Lua script; no account is created."""
    zone = DEFAULT_ZONE
    names = {**room_keys(zone, room), "log": keys.log(zone)}
    args = {"user": user, "actor": "admin:ada", "key": f"{user}{add}", "fingerprint": "f", "trace": ""}
    names["req"] = keys.idempotency_record(zone, user, str(add))
    if add:
        args |= {"name": msgspec.json.encode(user), "role": "mediator"}
    await engine.store.run(zone, "room_member_add" if add else "room_member_remove", keys=names, args=args)


@pytest.fixture
async def room(node: Node) -> Chat:
    """Create a room with 64 members: the two sides of its job and 62 mediators."""
    opened = await chat.book_with_room(node.engine)
    for number in range(62):
        await change_member(node.engine, opened.room, f"med_{number}", add=True)
    for user, role in ((opened.customer.id, "customer"), (opened.technician.id, "technician"), ("late", "mediator")):
        await node.token(user, role)
    return opened


async def channels_of_messages(engine: Engine) -> list[tuple[str, ...]]:
    """Return the channels of each message in the log."""
    return [event.to for event in await event_log.events(engine, "message.created")]


async def test_a_room_that_grows_loses_nobody(node: Node, room: Chat) -> None:
    """Members who are connected while the room becomes large, and users who join it then, receive each message once. A
    member who leaves receives nothing after that. When the room is small again, each event names its members one by
    one."""
    engine = node.engine
    async with (
        connect_as(node, room.customer) as carla,
        node.connect("late", "mediator") as late,
    ):
        await chat.say(engine, room.customer, room.room, "64")
        await change_member(engine, room.room, "late", add=True)
        await chat.say(engine, room.customer, room.room, "65")
        assert (await received_messages(carla, "65")) == ["64", "65"]
        assert (await received_messages(late, "65")) == ["65"]
        async with connect_as(node, room.technician) as tom:
            await chat.say(engine, room.customer, room.room, "connected later")
            for client in (carla, late, tom):
                assert (await received_messages(client, "connected later")) == ["connected later"]
            await change_member(engine, room.room, "late", add=False)
            await chat.say(engine, room.customer, room.room, "64 again")
            assert (await received_messages(tom, "64 again")) == ["64 again"]
            assert "room.left" in await types_until_pong(late)
    sizes = [len(to) for to in await channels_of_messages(engine)]
    assert sizes == [64, 1, 1, 64]
    start = node.gateway.heads()[0][1]
    cursors = {"main": {"epoch": start.epoch, "seq": 0}}
    async with node.connect(room.customer.id, "customer", cursors=cursors) as back:  # the room was large meanwhile
        assert (await received_messages(back, "64 again")) == ["64", "65", "connected later", "64 again"]


async def test_a_large_room_shows_who_types(node: Node, room: Chat) -> None:
    """The members of a large room receive `typing` and the events about the room's mediator."""
    await wait_until(lambda: node.gateway.live.is_subscribed, what="the live channel")
    await change_member(node.engine, room.room, "late", add=True)
    async with connect_as(node, room.customer) as carla, connect_as(node, room.technician) as tom:
        for client in (carla, tom):
            assert "ok" in await client.request(op="join", room=room.room)
        await tom.request(op="typing", room=room.room, on=True)
        assert (await next_push_of(carla, "typing"))["data"]["user"] == room.technician.id  # type: ignore[index]
        await node.append(f"role:ops room:{room.room}", kind="mediator.invited", data="{}")
        assert await next_push_of(carla, "mediator.invited")


async def test_a_large_room_is_replayed_to_its_members_alone(node: Node, room: Chat) -> None:
    """A member who resumes receives the messages of a large room. A former member and a user who never was a member
    receive none."""
    engine = node.engine
    await change_member(engine, room.room, "late", add=True)
    start = node.gateway.heads()[0][1]
    await chat.say(engine, room.customer, room.room, "large")
    await node.wait_until_relayed((await event_log.events(engine))[-1].seq)
    cursors = {"main": {"epoch": start.epoch, "seq": start.seq}}
    async with node.connect("late", "mediator", cursors=cursors) as late:
        assert (await received_messages(late, "large")) == ["large"]
    await change_member(engine, room.room, "med_0", add=False)
    await node.wait_until_relayed((await event_log.events(engine))[-1].seq)
    for user in ("med_0", "stranger"):
        async with node.connect(user, "mediator", cursors=cursors) as former:
            assert "large" not in await types_until_pong(former)


async def test_a_room_that_grew_unseen_is_found_after_a_resynchronisation(node: Node, room: Chat) -> None:
    """If the gateway did not notice that a room became large, the room's members receive its events after the sessions
    have resynchronised."""
    async with node.connect(room.customer.id, "customer"):  # now the gateway knows which rooms are large: none
        pass
    await node.engine.store.redis.sadd(keys.large_rooms(DEFAULT_ZONE), room.room)
    node.gateway._close_to_resync("trimmed")
    async with node.connect(room.customer.id, "customer") as carla:
        await node.append(f"room:{room.room}", kind="room.read", data="{}")
        assert (await carla.next_push())["type"] == "room.read"


async def received_messages(client: Client, until: str) -> list[str]:
    """Return the texts of the messages that the client received up to the one with the text ``until``."""
    return [text for text in await received_types(client, until) if "." not in text]


async def types_until_pong(client: Client) -> list[str]:
    """Return the types of all pushes that the server sent before the reply to a ping; for a message, its text."""
    await client.request(op="ping")
    return [push["data"].get("message", {}).get("text", push["type"]) for push in client.pushes]
