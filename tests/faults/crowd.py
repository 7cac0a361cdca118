"""Users on a real server process: they book, claim at the same time, reconnect after cuts, and record each event that
they receive.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from callout_client import Api, Callout, Listeners, Refusal
from callout_client.listeners import Frame
from engine.process.signer import Signer, sign_token
from engine.types import UserId
from server.simulation.account import Account, Operator
from tests.support.process import Server

POSITION = {"lat": 52.52, "lon": 13.405}


@dataclass
class Person:
    """A user with a socket. ``events`` are the events that the user received, by sequence number; ``repeats`` are those
    that arrived more than once.
    """

    account: Account
    events: dict[int, Frame] = field(default_factory=dict)
    repeats: list[Frame] = field(default_factory=list)
    unrecovered_zones: list[Frame] = field(default_factory=list)
    """The zones of connect replies with ``recovered: false``, after which a client has to load its state again."""
    pushes_without_seq: list[Frame] = field(default_factory=list)
    first_seq: int | None = None
    """The head of the log at the first connect reply; None before that reply."""
    socket: Callout = field(init=False)

    @property
    def id(self) -> str:
        return self.account.id

    def count_types(self) -> Counter[str]:
        """Return the number of received events of each type."""
        return Counter(frame["type"] for frame in self.events.values())

    def on_push(self, frame: Frame) -> None:
        """Record a push. Position updates have no sequence number."""
        if "seq" not in frame:
            self.pushes_without_seq.append(frame)
        elif frame["seq"] in self.events:
            self.repeats.append(frame)
        else:
            self.events[frame["seq"]] = frame

    def on_connect(self, ok: Frame) -> None:
        """Record a connect reply. A zone that is closed at that moment is not in it."""
        zone = ok["zones"].get("main")
        if zone is None:
            return
        if self.first_seq is None:
            self.first_seq = zone["seq"]
        elif not zone["recovered"]:
            self.unrecovered_zones.append(zone)


@dataclass
class Scenario:
    """A server with one service, and methods that create users and jobs on it."""

    server: Server
    api: Api
    admin: Operator
    service: str
    stack: AsyncExitStack

    async def create_person(self, role: str) -> Person:
        """Register a customer or a technician and connect them."""
        body = {
            "email": f"{uuid.uuid4().hex}@example.org",
            "password": "correct horse",
            "name": f"A {role}",
            "role": role,
        }
        person = Person(Account(self.api, await self.api.request("POST", "/v1/auth/register", body=body)))
        on = Listeners(person.on_push, joined=person.on_connect, repeat=person.repeats.append)
        person.socket = Callout(self.server.url, person.account.token, on, api=self.api)
        self.stack.push_async_callback(person.socket.close)
        await person.socket.open()
        return person

    async def create_technician(self, capacity: int = 1) -> Person:
        """Create a technician who is approved and online at ``POSITION``."""
        person = await self.create_person("technician")
        profile_path = f"/v1/technicians/{person.id}"
        await person.account.request("PATCH", profile_path, {"services": [self.service]})
        await self.admin.request("PATCH", profile_path, {"capacity": capacity})
        await self.admin.request("POST", f"{profile_path}/review", {"kyc": "approved", "account": "approved"})
        availability = await person.account.request("PUT", f"{profile_path}/availability", {"online": True, **POSITION})
        assert availability["receiving"] is True, availability
        return person

    async def book_job(self, customer: Person) -> str:
        """Book a job at ``POSITION`` and return its id."""
        body = {"service": self.service, **POSITION, "address": "Torstrasse 1"}
        return str((await customer.account.request("POST", "/v1/jobs", body))["job"]["id"])

    async def read_job(self, job: str) -> dict[str, Any]:
        """Return the job as an admin sees it."""
        job_view: dict[str, Any] = (await self.admin.request("GET", f"/v1/jobs/{job}"))["job"]
        return job_view


@asynccontextmanager
async def scenario_on(server: Server) -> AsyncIterator[Scenario]:
    """Yield a scenario on a server without users."""
    signer = Signer.load_or_create(server.data / "signing.key")
    async with AsyncExitStack() as stack:
        api = Api(server.url)
        stack.push_async_callback(api.close)
        admin = Operator(api, sign_token(signer, UserId("cli_admin"), "admin"))
        body = {"name": "Boilers", "category": "heating", "base_amount": 9000, "currency": "EUR", "pricing": "flat"}
        created = await admin.request("POST", "/v1/services", body)
        yield Scenario(server, api, admin, created["service"]["id"], stack)


class Racer:
    """A technician who claims each offered job at once and records the acknowledged claims."""

    def __init__(self, person: Person) -> None:
        self.technician = person
        self.acknowledged: set[str] = set()
        self.refused: Counter[str] = Counter()
        self._claimed: set[str] = set()

    async def claim_offers(self) -> None:
        """Claim each offered job once, until the task is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                for frame in list(self.technician.events.values()):
                    job = frame["data"]["offer"]["job"]["id"] if frame["type"] == "offer.created" else ""
                    if job and job not in self._claimed:
                        self._claimed.add(job)
                        group.create_task(self._claim_job(job))
                await asyncio.sleep(0.005)

    async def _claim_job(self, job: str) -> None:
        try:
            await self.technician.socket.request("claim", job=job)
            self.acknowledged.add(job)
        except Refusal as refusal:
            self.refused[refusal.code] += 1


def expected_seqs(server: Server, person: Person) -> list[int]:
    """Return the sequence numbers of all events in the log that this person should have received since they first
    connected.
    """
    channel = f"user:{person.id}"
    with redis.Redis.from_url(server.redis_url, decode_responses=True) as client:
        rows: Any = client.xrange("{main}:log", f"({person.first_seq}-0", "+")
    return [
        int(entry.partition("-")[0])
        for entry, fields in rows
        if channel in fields["to"].split() and not fields["type"].startswith("session.")
    ]
