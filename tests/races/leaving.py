"""The users of a race between chat messages and the removal of a room's member, on two gateways, and what each user
received.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from engine.events import Event
from engine.runtime import Engine
from engine.technicians import live
from engine.types import Principal, ServiceId, room_of
from server.serve import RunningServer
from tests.server.gateway.conftest import Node
from tests.support import chat, event_log, people, socket_client
from tests.support.chat import Chat
from tests.support.socket_client import SocketClient


@dataclass
class Leaving:
    """One membership that ended: the seq of its `room.left`, and the messages of the room by number."""

    room: str
    user: str
    left_seq: int
    seq_of: dict[int, int]

    def is_after(self, n: int) -> bool:
        """Return whether the message was said after the removal."""
        return self.seq_of[n] > self.left_seq


@dataclass
class Race:
    """The people of all rounds on two gateways. The customer stays, and is connected to the server. The leaver of a
    round is connected to the other gateway; the absent member has no connection.
    """

    server: RunningServer
    other: Node
    http: httpx.AsyncClient
    customer: Principal
    technician: Principal
    service: ServiceId
    draw: random.Random
    sockets: dict[str, SocketClient] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    leavings: list[Leaving] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        return self.server.engine

    async def connect(self, who: Principal, url: str) -> SocketClient:
        """Return the open socket of a user, who has one for all rounds."""
        if who.id not in self.sockets:
            self.sockets[who.id] = await SocketClient(url, await socket_client.token(self.engine, who)).open()
        return self.sockets[who.id]

    async def request(self, who: Principal, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send an HTTP request as this user."""
        bearer = await socket_client.token(self.engine, who)
        return await self.http.request(method, path, json=body, headers={"Authorization": f"Bearer {bearer}"})

    async def open_room(self, *, with_mediators: bool) -> Chat:
        """Open a room at a booking of `direct_booking`, for mediators, or at an acceptance of `home_service`."""
        carla, tom = self.customer, self.technician
        if with_mediators:
            booked = await people.job(self.engine, carla, self.service, blueprint="direct_booking", technician=tom.id)
            job = people.id_of(booked)
        else:
            await live.set_availability(self.engine, tom, tom.id, online=True, position=people.HERE)  # a fresh position
            job = await people.offered_job(self.engine, carla, self.service)
            await chat.send_command(self.engine, tom, job, "claim")
        return Chat(self.service, job, room_of(job), carla, tom)

    async def wait_some_time(self) -> None:
        """Wait up to 20 ms, so that the commands of a round arrive in any order."""
        await asyncio.sleep(self.draw.uniform(0, 0.02))

    async def say(self, socket: SocketClient, room: str, name: str) -> str:
        """Say a message, and return the reply's code, or nothing for a message that was accepted."""
        await self.wait_some_time()
        reply = await socket.request("say", room=room, text=name, client_id=name)
        return str(reply["error"]["code"]) if "error" in reply else ""

    async def read_pages(self, who: Principal, room: str) -> list[list[int]]:
        """Read the newest page of the room until it is refused. Return the numbers of the messages of each page."""
        pages = []
        for _ in range(3):
            reply = await self.request(who, "GET", f"/v1/rooms/{room}/messages")
            if reply.status_code == 403:
                break
            pages.append([message["n"] for message in reply.json()["items"]])
        return pages


async def read_round(engine: Engine, room: str) -> tuple[dict[str, int], list[Leaving]]:
    """Return the number of each message of the room by its text, and who left the room, from the log."""
    events = [event for event in await recent_events(engine) if room.encode() in event.data]
    messages = [(event.seq, event_log.payload(event)["message"]) for event in events if event.type == "message.created"]
    seq_of = {message["n"]: seq for seq, message in messages}
    left = [(event.seq, event_log.payload(event)["user"]["id"]) for event in events if event.type == "room.left"]
    return {message["text"]: message["n"] for _, message in messages}, [
        Leaving(room, who, n, seq_of) for n, who in left
    ]


async def recent_events(engine: Engine) -> list[Event]:
    """Return the newest events of the log, enough to contain all events of the last round."""
    return await event_log.events(engine, after=max(0, (await event_log.read_head(engine)) - 200))


def numbers_in(socket: SocketClient, room: str) -> list[int]:
    """Return the numbers of the room's messages that a socket has received, in order."""
    messages = [push["data"]["message"] for push in socket.received("new_message") + socket.received("message.created")]
    return [message["n"] for message in messages if message["room"] == room]
