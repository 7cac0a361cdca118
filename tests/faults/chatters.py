"""Members of many chat rooms on two gateways, who say messages over sockets that are cut, and record what they receive
and what was acknowledged to them.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from callout_client import Api, Callout, Listeners
from callout_client.listeners import Frame
from engine.runtime import Engine
from engine.types import Principal, RoomId, room_of
from tests.support import people, socket_client

PATIENCE_S = 120.0


class Size(msgspec.Struct, frozen=True):
    """How large a run is: the rooms, the messages, the pairs of a customer and a technician, how often a gateway is
    killed, and for how many seconds the database is away. Each member pauses ``pause_s`` on average before a message.
    On average one of ``cut_every`` messages is followed by a cut of its sender's socket, and one of ``repeat_every`` is
    sent twice.
    """

    rooms: int = 20
    messages: int = 400
    pairs: int = 5
    kills: int = 1
    away_s: float = 0.7
    pause_s: float = 0.08
    cut_every: int = 25
    repeat_every: int = 10

    @staticmethod
    def from_environment() -> Size:
        """Return the usual size with the changes of `CALLOUT_TEST_CHAT`, for example `rooms=1000 messages=50000`."""
        words = os.environ.get("CALLOUT_TEST_CHAT", "").split()
        return msgspec.convert(dict(word.split("=", 1) for word in words), Size, strict=False)


@dataclass
class Chatter:
    """A user with a socket. ``received`` are the numbers of the messages of each room, in the order of arrival."""

    who: Principal
    rooms: list[RoomId] = field(default_factory=list)
    received: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    repeats: list[Frame] = field(default_factory=list)
    unrecovered: list[Frame] = field(default_factory=list)
    connections: int = 0
    socket: Callout = field(init=False)

    def on_push(self, frame: Frame) -> None:
        """Record the number of a received message, by its room."""
        if frame["type"] == "message.created":
            self.received[frame["data"]["message"]["room"]].append(frame["data"]["message"]["n"])

    def on_connect(self, ok: Frame) -> None:
        """Record a connect reply."""
        self.connections += 1
        if self.connections > 1 and not ok["zones"]["main"]["recovered"]:
            self.unrecovered.append(ok["zones"]["main"])


@dataclass
class Chats:
    """All rooms with their members. ``acknowledged`` has the messages of each room by number, as they were answered.
    ``strangers`` are connected and members of no room.
    """

    size: Size
    members: list[Chatter]
    strangers: list[Chatter]
    rooms: list[RoomId]
    acknowledged: dict[str, dict[int, Any]] = field(default_factory=lambda: defaultdict(dict))
    count: int = 0
    repeated: int = 0
    cuts: int = 0
    draw: random.Random = field(default_factory=lambda: random.Random(11))

    async def say_all(self) -> None:
        """Let all members say their part of the messages at the same time."""
        shares = [range(place, self.size.messages, len(self.members)) for place in range(len(self.members))]
        await asyncio.gather(*(self._say(*each) for each in zip(self.members, shares, strict=True)))

    async def _say(self, chatter: Chatter, numbers: range) -> None:
        """Say messages one after the other, each in a room of the chatter's. Some are said twice, and some cuts hit the
        connection while a message is on its way.
        """
        for number in numbers:
            await asyncio.sleep(self.draw.uniform(0, 2 * self.size.pause_s))
            room, client_id = self.draw.choice(chatter.rooms), f"c-{number}"
            saying = asyncio.create_task(self._say_once(chatter, room, client_id))
            if self.draw.randrange(self.size.cut_every) == 0:
                await asyncio.sleep(self.draw.uniform(0, 0.01))
                await chatter.socket.cut()
                self.cuts += 1
            message = await saying
            assert message["n"] not in self.acknowledged[room], "two messages have one number"
            self.acknowledged[room][message["n"]] = message
            self.count += 1
            if self.draw.randrange(self.size.repeat_every) == 0:
                assert await self._say_once(chatter, room, client_id) == message
                self.repeated += 1

    async def _say_once(self, chatter: Chatter, room: RoomId, client_id: str) -> Frame:
        """Send a message until it is acknowledged, even if the connection is lost several times."""
        reply = await chatter.socket.request(
            "say", room=room, text=f"text {client_id}", client_id=client_id, patience_s=PATIENCE_S
        )
        message: Frame = reply["message"]
        return message

    def expected_numbers(self, chatter: Chatter) -> dict[str, list[int]]:
        """Return the numbers that the chatter must have received of each room, in order."""
        return {room: sorted(self.acknowledged[room]) for room in chatter.rooms if self.acknowledged[room]}


@asynccontextmanager
async def connected_chats(engine: Engine, urls: tuple[str, str], size: Size) -> AsyncIterator[Chats]:
    """Open the rooms: bookings of `direct_booking`, spread over the customers and the technicians. The customers are
    connected to the first gateway, the technicians to the second, and a stranger to each.
    """
    service = await people.service(engine)
    customers = [Chatter(await people.customer(engine, f"C {i}")) for i in range(size.pairs)]
    technicians = [
        Chatter(await people.technician(engine, f"t{i}", service, capacity=size.rooms)) for i in range(size.pairs)
    ]
    strangers = [Chatter(await people.customer(engine, "Stranger")) for _ in urls]
    rooms = []
    for number in range(size.rooms):
        customer, technician = customers[number % size.pairs], technicians[(number + number // size.pairs) % size.pairs]
        booked = await people.job(
            engine, customer.who, service, blueprint="direct_booking", technician=technician.who.id
        )
        rooms.append(room_of(people.id_of(booked)))
        for chatter in (customer, technician):
            chatter.rooms.append(rooms[-1])
    async with AsyncExitStack() as stack:
        for url, chatters in zip(urls, ([*customers, strangers[0]], [*technicians, strangers[1]]), strict=True):
            api = Api(url)
            stack.push_async_callback(api.close)
            for chatter in chatters:
                bearer = await socket_client.token(engine, chatter.who)
                chatter.socket = _create_client(chatter, url, bearer, api)
                stack.push_async_callback(chatter.socket.close)
                await chatter.socket.open()
        yield Chats(size, [*customers, *technicians], strangers, rooms)


def _create_client(chatter: Chatter, url: str, bearer: str, api: Api) -> Callout:
    async def token(fresh: bool) -> str:
        return bearer

    on = Listeners(chatter.on_push, joined=chatter.on_connect, repeat=chatter.repeats.append)
    return Callout(url, token, on, api=api)
