"""Disputes in a chat room over real sockets: the first mediator who joins has the dispute until it is resolved."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from engine.domain import disputes
from engine.types import Principal
from tests.server.gateway.conftest import Client, Node
from tests.server.gateway.test_ops import connect_as, next_push_of
from tests.server.gateway.test_room_ops import received_types, replayed, say
from tests.support import chat


async def disputed_room(node: Node) -> tuple[chat.Chat, str, list[Principal]]:
    """Create a disputed job with a room, and two mediators. All of them may connect. Return the dispute's id too."""
    room = await chat.book_with_room(node.engine)
    mediators = [await chat.staff(node.engine), await chat.staff(node.engine)]
    for who in (room.customer, room.technician, *mediators):
        await node.token(who.id, who.role)
    await chat.send_command(node.engine, room.technician, room.job, "accept")
    done = await disputes.open_dispute(node.engine, room.customer, room.job, "It leaks")
    return room, str(msgspec.json.decode(done.dispute)["id"]), mediators


async def join(client: Client, room: str) -> str:
    """Join a room. Return the code of the refusal, or ""."""
    reply: dict[str, Any] = await client.request(op="join", room=room)
    return str(reply.get("error", {}).get("code", ""))


async def test_the_first_mediator_who_joins_has_the_dispute(node: Node) -> None:
    """Of two mediators who join at once, one is refused with `taken`. The customer and both mediators receive
    `mediator.taken`. After the dispute is resolved the mediator is refused with `not_member`, receives no more events
    of the room, and replays only the event of their own leaving."""
    room, dispute, mediators = await disputed_room(node)
    start = node.gateway.heads()[0][1]
    async with (
        connect_as(node, room.customer) as carla,
        connect_as(node, mediators[0]) as one,
        connect_as(node, mediators[1]) as two,
    ):
        codes = await asyncio.gather(join(one, room.room), join(two, room.room))
        assert sorted(codes) == ["", "taken"]
        winner, mia = (one, mediators[0]) if codes[0] == "" else (two, mediators[1])
        for client in (carla, one, two):
            assert (await next_push_of(client, "mediator.taken"))["data"]["user"]["id"] == mia.id  # type: ignore[index]
        assert (await next_push_of(carla, "room.joined"))["data"]["user"]["id"] == mia.id  # type: ignore[index]
        assert await join(winner, room.room) == ""
        assert (await say(winner, room.room, "What happened?"))["ok"]["message"]["sender"]["role"] == "mediator"
        assert (await received_types(carla, "What happened?"))[-1] == "What happened?"
        await disputes.resolve_dispute(node.engine, mia, dispute, "resume")
        for client in (carla, winner):
            assert (await next_push_of(client, "room.left"))["data"]["user"]["id"] == mia.id  # type: ignore[index]
        assert await join(winner, room.room) == "not_member"
        assert (await say(winner, room.room, "One more thing"))["error"]["code"] == "not_member"
        await say(carla, room.room, "Thank you")
        await say(carla, room.room, "Bye")
        await received_types(carla, "Bye")
    missed = [each for each in await replayed(node, mia, start) if not each.startswith(("mediator.", "job."))]
    assert missed == ["room.left"]


async def test_mediators_hear_of_an_invitation(node: Node) -> None:
    """Members and all mediators receive `mediator.invited`, under the name that the job's blueprint gives it."""
    room = await chat.book_with_room(node.engine)
    mia = await chat.staff(node.engine)
    await chat.send_command(node.engine, room.technician, room.job, "accept")
    for who in (room.customer, mia):
        await node.token(who.id, who.role)
    async with connect_as(node, room.customer) as carla, connect_as(node, mia) as client:
        done = await disputes.open_dispute(node.engine, room.customer, room.job, "It leaks")
        dispute = {"id": msgspec.json.decode(done.dispute)["id"], "job": room.job, "reason": "It leaks"}
        for each in (carla, client):
            push = await next_push_of(each, "mediator.invited")
            assert push["event"] == "mediator_invited"
            assert push["data"] == {"dispute": dispute | {"status": "open"}, "room": {"id": room.room}}
