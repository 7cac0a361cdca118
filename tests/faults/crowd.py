"""A few people on a real server process: they book, race, come back after cuts, and remember what they heard."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from callout_client import Api, Callout, On, Refusal
from callout_client.listeners import Frame
from engine.process.signer import Signer, access_token
from engine.types import UserId
from server.simulation.account import Account, Operator
from tests.support.process import Server

HERE = {"lat": 52.52, "lon": 13.405}


@dataclass
class Person:
    """Somebody with a socket: what he heard, by seq, and what he heard twice."""

    account: Account
    seen: dict[int, Frame] = field(default_factory=dict)
    repeats: list[Frame] = field(default_factory=list)
    lost: list[Frame] = field(default_factory=list)
    """Connect replies that told him to resynchronise."""
    live: list[Frame] = field(default_factory=list)
    since: int | None = None
    socket: Callout = field(init=False)

    @property
    def id(self) -> str:
        return self.account.id

    def types(self) -> Counter[str]:
        """How often he heard of what."""
        return Counter(frame["type"] for frame in self.seen.values())

    def heard(self, frame: Frame) -> None:
        """A push."""
        if "seq" not in frame:
            self.live.append(frame)
        elif frame["seq"] in self.seen:
            self.repeats.append(frame)
        else:
            self.seen[frame["seq"]] = frame

    def joined(self, ok: Frame) -> None:
        """A connect reply."""
        zone = ok["zones"]["main"]
        if self.since is None:
            self.since = zone["seq"]
        elif not zone["recovered"]:
            self.lost.append(zone)


@dataclass
class Town:
    """One service, and whoever is asked for."""

    server: Server
    api: Api
    admin: Operator
    service: str
    stack: AsyncExitStack

    async def person(self, role: str) -> Person:
        """A registered customer or technician, connected."""
        body = {
            "email": f"{uuid.uuid4().hex}@example.org",
            "password": "correct horse",
            "name": f"A {role}",
            "role": role,
        }
        person = Person(Account(self.api, await self.api.request("POST", "/v1/auth/register", body=body)))
        on = On(person.heard, joined=person.joined, repeat=person.repeats.append)
        person.socket = Callout(self.server.url, person.account.token, on, api=self.api)
        self.stack.push_async_callback(person.socket.close)
        await person.socket.open()
        return person

    async def technician(self, capacity: int = 1) -> Person:
        """One who is approved, online and here."""
        person = await self.person("technician")
        mine = f"/v1/technicians/{person.id}"
        await person.account.request("PATCH", mine, {"services": [self.service]})
        await self.admin.request("PATCH", mine, {"capacity": capacity})
        await self.admin.request("POST", f"{mine}/review", {"kyc": "approved", "account": "approved"})
        told = await person.account.request("PUT", f"{mine}/availability", {"online": True, **HERE})
        assert told["receiving"] is True, told
        return person

    async def book(self, customer: Person) -> str:
        """A job here; gives its id."""
        body = {"service": self.service, **HERE, "address": "Torstrasse 1"}
        return str((await customer.account.request("POST", "/v1/jobs", body))["job"]["id"])

    async def job(self, job: str) -> dict[str, Any]:
        """The job as ops see it."""
        found: dict[str, Any] = (await self.admin.request("GET", f"/v1/jobs/{job}"))["job"]
        return found


@asynccontextmanager
async def town(server: Server) -> AsyncIterator[Town]:
    """The town of a server that has nobody yet."""
    signer = Signer.load_or_create(server.data / "signing.key")
    async with AsyncExitStack() as stack:
        api = Api(server.url)
        stack.push_async_callback(api.close)
        admin = Operator(api, access_token(signer, UserId("cli_admin"), "admin"))
        body = {"name": "Boilers", "category": "heating", "base_amount": 9000, "currency": "EUR", "pricing": "flat"}
        made = await admin.request("POST", "/v1/services", body)
        yield Town(server, api, admin, made["service"]["id"], stack)


class Racer:
    """A technician who claims whatever he is offered, at once, and notes what he was told he has."""

    def __init__(self, person: Person) -> None:
        self.person = person
        self.acknowledged: set[str] = set()
        self.refused: Counter[str] = Counter()
        self._asked: set[str] = set()

    async def race(self) -> None:
        """Claim for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                for frame in list(self.person.seen.values()):
                    job = frame["data"]["offer"]["job"]["id"] if frame["type"] == "offer.created" else ""
                    if job and job not in self._asked:
                        self._asked.add(job)
                        group.create_task(self._claim(job))
                await asyncio.sleep(0.005)

    async def _claim(self, job: str) -> None:
        try:
            await self.person.socket.request("claim", job=job)
            self.acknowledged.add(job)
        except Refusal as refusal:
            self.refused[refusal.code] += 1


def addressed(server: Server, person: Person) -> list[int]:
    """The seqs in the log that this person should have heard, since he first joined."""
    mine = f"user:{person.id}"
    with redis.Redis.from_url(server.redis_url, decode_responses=True) as client:
        rows: Any = client.xrange("{main}:log", f"({person.since}-0", "+")
    return [
        int(entry.partition("-")[0])
        for entry, fields in rows
        if mine in fields["to"].split() and not fields["type"].startswith("session.")
    ]
