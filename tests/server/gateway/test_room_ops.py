"""The ops about chat rooms over real sockets, and who receives what of a room: live and in a replay."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.domain import room_members, rooms
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal
from tests.server.gateway.conftest import Client, Node
from tests.server.gateway.test_ops import connect_as, next_push_of
from tests.support import chat, event_log, people
from tests.support.chat import Chat
from tests.support.wait import wait_until


@pytest.fixture
async def room(node: Node) -> Chat:
    """Create a job of `direct_booking` with an open room; both sides may connect."""
    opened = await chat.book_with_room(node.engine)
    for who in (opened.customer, opened.technician):
        await node.token(who.id, who.role)
    return opened


async def say(client: Client, room: str, text: str, client_id: str = "", **more: Any) -> dict[str, Any]:
    """Say a message and return the reply."""
    return await client.request(op="say", room=room, text=text, client_id=client_id or uuid.uuid4().hex, **more)


async def received_types(client: Client, until: str) -> list[str]:
    """Return the types of the pushes up to the message with the text ``until``; a message as its text."""
    types: list[str] = []
    while True:
        push = await client.next_push()
        if push["type"] != "message.created":
            types.append(push["type"])
            continue
        types.append(push["data"]["message"].get("text", "without text"))
        if types[-1] == until:
            return types


async def test_what_a_stranger_may_not_do(node: Node, room: Chat) -> None:
    """A stranger is refused with `not_member` in every op about a room, a malformed room id with `not_found`, and a
    wrong value with `invalid`."""
    stranger = await people.customer(node.engine, "Sam Stranger")
    await node.token(stranger.id, "customer")
    async with connect_as(node, stranger) as client:
        for op, more in (("join", {}), ("say", {"text": "hi", "client_id": "1"}), ("typing", {"on": True})):
            reply = await client.request(op=op, room=room.room, **more)
            assert reply["error"]["code"] == "not_member", op
        assert (await client.request(op="read", room=room.room, n=0))["error"]["code"] == "not_member"
        assert (await client.request(op="join", room="room_x"))["error"]["code"] == "not_found"
    async with connect_as(node, room.customer) as client:
        assert (await say(client, room.room, " "))["error"]["code"] == "invalid"
        assert (await say(client, room.room, "x" * 4001))["error"]["code"] == "invalid"
        assert (await say(client, room.room, "hi", "no spaces"))["error"]["code"] == "invalid"
        assert (await say(client, room.room, "hi", files=["file_1"]))["error"]["errors"][0]["pointer"] == "/files/0"
        assert (await client.request(op="read", room=room.room, n=5))["error"]["code"] == "invalid"
    assert await chat.texts(node.engine, room.customer, room.room) == []


async def test_members_talk(node: Node, room: Chat) -> None:
    """A message gets a reply and reaches every connection of both members, with its `client_id`. A repeat gets the
    reply of the first message. The reply to `join` has the last messages, and `room.joined` is sent once.
    """
    async with connect_as(node, room.customer) as carla, connect_as(node, room.technician) as tom:
        joined = (await carla.request(op="join", room=room.room))["ok"]
        assert joined["messages"] == [] and joined["room"]["id"] == room.room
        assert (await next_push_of(tom, "room.joined"))["event"] == "user_joined"
        first = await say(carla, room.room, "Where are you?", "c-1")
        assert first["ok"]["message"]["n"] == 1 and "repeated" not in first
        for client in (carla, tom):
            pushed = await next_push_of(client, "message.created")
            assert pushed["event"] == "new_message" and pushed["data"]["message"] == first["ok"]["message"]
        again = await say(carla, room.room, "Where are you?", "c-1")
        assert again["repeated"] is True and again["ok"]["message"] == first["ok"]["message"]
        assert (await say(carla, room.room, "Other", "c-1"))["error"]["code"] == "reused_key"
        assert (await say(tom, room.room, "At the door"))["ok"]["message"]["n"] == 2
        # The user's own message counts as read.
        assert (await tom.request(op="read", room=room.room, n=1))["ok"]["n"] == 2
        shown = (await tom.request(op="join", room=room.room))["ok"]
        assert [message["text"] for message in shown["messages"]] == ["Where are you?", "At the door"]


async def test_typing_comes_to_connections_that_joined(node: Node, room: Chat) -> None:
    """Only the connections of other members that joined the room receive `typing`, until they leave it."""
    await wait_until(lambda: node.gateway.live.is_subscribed, what="the live channel")
    async with (
        connect_as(node, room.customer) as carla,
        connect_as(node, room.customer) as second,
        connect_as(node, room.technician) as tom,
    ):
        for client in (carla, tom):
            assert "ok" in await client.request(op="join", room=room.room)
        assert (await tom.request(op="typing", room=room.room, on=True))["ok"] == {"room": room.room}
        pushed = await next_push_of(carla, "typing")
        assert pushed["data"] == {"room": room.room, "user": room.technician.id, "on": True}
        assert "seq" not in pushed
        assert (await carla.request(op="leave", room=room.room))["ok"] == {"room": room.room}
        await say(tom, room.room, "end")
        assert "typing" not in await received_types(second, "end")
        assert "typing" not in await received_types(tom, "end")


async def test_a_former_member_replays_nothing(node: Node, room: Chat) -> None:
    """A mediator whom ops added to a room and removed resumes from an older cursor: they receive only their own
    `room.left`. A member receives every message. If the mediator is added again, they replay the messages from the time
    of each of their memberships.
    """
    mediator = await chat.staff(node.engine)
    start = node.gateway.heads()[0][1]
    await chat.say(node.engine, room.customer, room.room, "before")
    await room_members.add_member(node.engine, people.ADMIN, room.room, mediator.id)
    await chat.say(node.engine, room.customer, room.room, "together")
    await room_members.remove_member(node.engine, people.ADMIN, room.room, mediator.id)
    await chat.say(node.engine, room.customer, room.room, "after")
    assert await replayed(node, mediator, start) == ["room.left"]
    assert [each for each in await replayed(node, room.customer, start) if "." not in each] == [
        "before",
        "together",
        "after",
    ]
    await room_members.add_member(node.engine, people.ADMIN, room.room, mediator.id)
    await chat.say(node.engine, room.customer, room.room, "again")
    assert [each for each in await replayed(node, mediator, start) if "." not in each] == ["together", "again"]


async def test_a_resume_of_ops_is_no_reading_of_a_room(node: Node, room: Chat) -> None:
    """Ops who left a room resume without its messages, and neither the server's log nor the audit trail says that they
    read the room. If they do read it, both say so. A read by a member is in neither.
    """
    olga = await chat.staff(node.engine, "ops_manager")
    start = node.gateway.heads()[0][1]
    await room_members.add_member(node.engine, people.ADMIN, room.room, olga.id)
    await chat.say(node.engine, room.customer, room.room, "together")
    await room_members.remove_member(node.engine, people.ADMIN, room.room, olga.id)
    with capture_logs() as logged:
        assert "together" not in await replayed(node, olga, start)
        assert "room_read_by_staff" not in [line["event"] for line in logged]
        assert node.engine.staff_reads.take() == ([], 0)
        await rooms.read_room(node.engine, olga, room.room)
        await rooms.read_room(node.engine, room.customer, room.room)
    assert [(read.action, read.actor) for read in node.engine.staff_reads.take()[0]] == [
        ("room_read", f"ops_manager:{olga.id}")
    ]
    assert [line["user"] for line in logged if line["event"] == "room_read_by_staff"] == [olga.id]


async def test_a_member_replays_a_room_that_was_closed_long_ago(node: Node, room: Chat) -> None:
    """A room that was closed long ago, and that Redis no longer lists for its members, is still replayed to them, and
    to nobody else."""
    mediator = await chat.staff(node.engine)
    start = node.gateway.heads()[0][1]
    await chat.say(node.engine, room.customer, room.room, "goodbye")
    for who in (room.customer, room.technician, mediator):
        await node.engine.store.redis.delete(keys.user_rooms(DEFAULT_ZONE, who.id))
    assert "goodbye" in await replayed(node, room.customer, start)
    assert await replayed(node, mediator, start) == []


async def test_ops_who_follow_a_zone_receive_no_text(node: Node, room: Chat) -> None:
    """Ops who subscribed to the zone receive a message without text and files, live and in a replay."""
    start = node.gateway.heads()[0][1]
    ops = Principal(people.ADMIN.id, "admin")
    await node.token(ops.id, "admin")
    async with connect_as(node, ops) as client:
        await client.request(op="subscribe", channel="zone:main")
        await chat.say(node.engine, room.customer, room.room, "secret")
        message = (await next_push_of(client, "message.created"))["data"]["message"]  # type: ignore[index]
        assert message["n"] == 1 and "text" not in message and "files" not in message
    assert "without text" in await replayed(node, ops, start, subs=["zone:main"])


async def replayed(node: Node, who: Principal, cursor: Any, **more: Any) -> list[str]:
    """Return what a socket of ``who`` replays after ``cursor``: the text of a message, or the type of the event."""
    await node.wait_until_relayed((await event_log.events(node.engine))[-1].seq)
    token = await node.token(who.id, who.role)
    async with node.open_socket() as client:
        cursors = {"main": {"epoch": cursor.epoch, "seq": cursor.seq}}
        hello = (await client.request(op="connect", token=token, cursors=cursors, **more))["ok"]
        assert hello["zones"]["main"]["recovered"] is True
        pushes = [await client.next_push() for _ in range(hello["zones"]["main"]["missed"])]
    return [
        push["data"]["message"].get("text", "without text") if push["type"] == "message.created" else push["type"]
        for push in pushes
    ]
