"""Who hears of what, by deed: jobs are lived through with everybody listening, and what reached each person is compared
with the table of PROTOCOL §5, both ways. Each event's data is held to the shape that ``/asyncapi.json`` promises.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from engine.process.settings import Settings
from engine.types import DEFAULT_ZONE, ROLES
from engine.zone import log
from server.schemas import payloads
from server.serve import running
from tests.server.gateway.streams import Site, site_of
from tests.server.http import people
from tests.server.http.client import Client
from tests.support.epochs import epoch_name

OPS = {"admin", "ops_manager"}
TECHNICIANS = {"holder", "loser", "decliner"}
TABLE: dict[str, set[str]] = {
    "job.created": {"customer"} | OPS,
    "job.searching": {"customer"} | OPS,
    "job.accepted": {"customer", "holder"} | OPS,
    "job.status": {"customer", "holder"} | OPS,
    "job.cancelled": {"customer", "holder"} | OPS,
    "job.expired": {"customer"} | OPS,
    "offer.created": TECHNICIANS,
    "offer.closed": TECHNICIANS,
    "offer.declined": OPS,
    "technician.reviewed": {*TECHNICIANS, "idle", "onboarding_manager"} | OPS,
    "technician.status": OPS | TECHNICIANS,
    "notification": {"customer", "holder"},
    "announcement.outage": {"customer", "stranger"},
}
"""Who hears of each type, of the people below. All three technicians lose an offer in some way; the mediator, the
service and a technician who is not at work are concerned by nothing.
"""


class Town:
    """Everybody, by what he is to the jobs: parties, strangers, and one of each role of staff."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.nobody = Client(site.http)
        self.root = people.principal(site.running, site.http, "admin")
        self.all: dict[str, Client] = {}

    async def settle(self) -> None:
        """Make them."""
        for name in ("customer", "stranger"):
            self.all[name] = await people.register(self.nobody, "customer")
        for name in (*sorted(TECHNICIANS), "idle"):
            self.all[name] = await people.register(self.nobody, "technician")
        for role in ROLES[2:]:
            who: dict[str, Any] = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse"}
            await self.root("POST", "/v1/users", {**who, "name": role, "role": role})
            signed = (await self.nobody("POST", "/v1/auth/login", who)).json()
            self.all[role] = Client(self.site.http, signed["access_token"], signed["user"]["id"])
        self.service = await people.make_service(self.root)

    async def job(self, *offered: str) -> str:
        """A job of the customer's that is offered to ``offered``."""
        for name in offered:
            await people.go_online(self.all[name])
        booked = await people.book(self.all["customer"], self.service)
        for name in offered:
            await people.wait_for_offer(self.all[name], booked["id"])
        return str(booked["id"])

    async def step(self, name: str, job: str, command: str) -> None:
        """One step that is done."""
        answer = await self.all[name]("POST", f"/v1/jobs/{job}/{command}", {})
        assert answer.status_code == 200, answer.text

    async def live(self) -> None:
        """Reviews; a job done, one cancelled open, one cancelled taken, one that nobody took; and an announcement."""
        for name in (*sorted(TECHNICIANS), "idle"):
            await people.approve(self.all[name], self.root, self.service)
        unwanted = await self.job()
        done = await self.job(*sorted(TECHNICIANS))
        await self.step("decliner", done, "decline")
        for command in ("claim", "depart", "arrive", "start", "complete"):
            await self.step("holder", done, command)
        await self.step("customer", await self.job(*sorted(TECHNICIANS)), "cancel")
        taken = await self.job(*sorted(TECHNICIANS))
        await self.step("holder", taken, "claim")
        await self.step("customer", taken, "cancel")
        outage = {"event": "announcement.outage", "roles": ["customer"], "data": {"until": "noon"}}
        assert (await self.root("POST", "/v1/announcements", outage)).status_code == 200
        # Nobody answers the first one any more: who could see it is told nothing but that.
        async with asyncio.timeout(30):
            while (await self.all["customer"]("GET", f"/v1/jobs/{unwanted}")).json()["job"]["status"] != "expired":
                for name in sorted(TECHNICIANS):
                    await self.all[name]("GET", "/v1/me")
                await asyncio.sleep(0.2)


async def heard(town: Town, name: str) -> list[dict[str, Any]]:
    """Everything that was for this person from the beginning on, by poll."""
    answer = await town.all[name]("GET", f"/v1/events?after=main:{epoch_name(1)}:0&wait=0")
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


async def test_everybody_hears_what_concerns_him_and_nothing_else(settings: Settings) -> None:
    """Each type of event reaches exactly those whom the table names, live and at replay, in its promised shape."""
    short = msgspec.structs.replace(settings, port=0, lease_s=4.0, job_lifetime_s=6.0)
    async with running(short) as server, site_of(server) as site, AsyncExitStack() as stack:
        town = Town(site)
        await town.settle()
        streams = {
            name: await stack.enter_async_context(
                site.source(name, headers={"Authorization": f"Bearer {client.token}"}, after=f"main:{epoch_name(1)}:0")
            )
            for name, client in town.all.items()
        }
        await town.live()
        head = site.gateway.relay.tails[DEFAULT_ZONE].cursor
        recipients: dict[str, set[str]] = {}
        for name in town.all:
            frames = [frame for frame in await heard(town, name) if frame["seq"] <= head]
            assert [(await streams[name].event()).data for _ in frames] == frames, name
            for frame in frames:
                recipients.setdefault(frame["type"], set()).add(name)
        assert recipients == TABLE
        events = await log.read_range(server.engine.store.redis, DEFAULT_ZONE, 0, 1_000)
        for event in events:
            assert msgspec.json.decode(event.data, type=payloads.shape_of(event.type)) is not None, event.type
        assert {event.type for event in events if not event.type.startswith("session.")} == set(TABLE)
