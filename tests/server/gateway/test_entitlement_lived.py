"""The recipients of events, tested with real jobs: all users are connected while jobs are done, and the recipients of
each type are compared with the table of PROTOCOL §5. Each event's data must fit its schema in ``/asyncapi.json``.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from engine.process.settings import Settings
from engine.types import DEFAULT_ZONE, ROLES, JobId, room_of
from engine.zone import log
from server.gateway.frames import INTERNAL_PREFIXES
from server.schemas import payloads
from server.serve import run_server
from tests.server.gateway.streams import EventServer, EventStream, open_event_server
from tests.server.http import people
from tests.server.http.client import Client
from tests.support.epochs import epoch_name

OPS = {"admin", "ops_manager"}
TECHNICIANS = {"holder", "loser", "decliner"}
RECIPIENTS: dict[str, set[str]] = {
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
    "room.opened": {"customer", "holder"},
    "room.closed": {"customer", "holder"},
    "room.read": {"customer", "holder"},
    "message.created": {"customer", "holder"},
    "notification": {"customer", "holder"},
    "announcement.outage": {"customer", "stranger"},
}
"""The users who receive each type of event. All three technicians lose an offer. The mediator, the service and the
technician `idle`, who is offline, receive no event of a job.
"""


class Participants:
    """All users of the test: the sides of a job, strangers, and one user of each role of staff."""

    def __init__(self, site: EventServer) -> None:
        self.site = site
        self.nobody = Client(site.http)
        self.root = people.principal(site.running, site.http, "admin")
        self.clients: dict[str, Client] = {}

    async def create_accounts(self) -> None:
        """Create an account for each user, and a service."""
        for name in ("customer", "stranger"):
            self.clients[name] = await people.register(self.nobody, "customer")
        for name in (*sorted(TECHNICIANS), "idle"):
            self.clients[name] = await people.register(self.nobody, "technician")
        for role in ROLES[2:]:
            who: dict[str, Any] = {"email": f"{uuid.uuid4().hex}@example.org", "password": "correct horse"}
            await self.root("POST", "/v1/users", {**who, "name": role, "role": role})
            login = (await self.nobody("POST", "/v1/auth/login", who)).json()
            self.clients[role] = Client(self.site.http, login["access_token"], login["user"]["id"])
        self.service = await people.make_service(self.root)

    async def book_job(self, *offered: str) -> str:
        """Book a job as the customer, and wait until the technicians ``offered`` have an open offer. Return its id."""
        for name in offered:
            await people.go_online(self.clients[name])
        job = await people.book(self.clients["customer"], self.service)
        for name in offered:
            await people.wait_for_offer(self.clients[name], job["id"])
        return str(job["id"])

    async def take_step(self, participant: str, job: str, command: str) -> None:
        """Send one command as ``participant`` and assert that the status is 200."""
        answer = await self.clients[participant]("POST", f"/v1/jobs/{job}/{command}", {})
        assert answer.status_code == 200, answer.text

    async def run_jobs(self) -> None:
        """Approve the technicians, make an announcement, and run four jobs: completed, cancelled while open, cancelled
        after the claim, and expired without a claim.
        """
        for name in (*sorted(TECHNICIANS), "idle"):
            await people.approve(self.clients[name], self.root, self.service)
        unwanted = await self.book_job()
        finished_job = await self.book_job(*sorted(TECHNICIANS))
        await self.take_step("decliner", finished_job, "decline")
        for command in ("claim", "depart", "arrive", "start", "complete"):
            await self.take_step("holder", finished_job, command)
        room = f"/v1/rooms/{room_of(JobId(finished_job))}"
        said = await self.clients["customer"]("POST", f"{room}/messages", {"text": "Thank you", "client_id": "c1"})
        assert said.status_code == 201, said.text
        assert (await self.clients["holder"]("POST", f"{room}/read", {"n": 1})).status_code == 200
        await self.take_step("customer", await self.book_job(*sorted(TECHNICIANS)), "cancel")
        job = await self.book_job(*sorted(TECHNICIANS))
        await self.take_step("holder", job, "claim")
        await self.take_step("customer", job, "cancel")
        outage = {"event": "announcement.outage", "roles": ["customer"], "data": {"until": "noon"}}
        assert (await self.root("POST", "/v1/announcements", outage)).status_code == 200
        # The job `unwanted` must expire by itself. Requests renew the leases of the technicians until then.
        async with asyncio.timeout(30):
            while (await self.clients["customer"]("GET", f"/v1/jobs/{unwanted}")).json()["job"]["status"] != "expired":
                for name in sorted(TECHNICIANS):
                    await self.clients[name]("GET", "/v1/me")
                await asyncio.sleep(0.2)


async def received_events(participants: Participants, participant: str) -> list[dict[str, Any]]:
    """Return all events that a poll of ``participant`` returns from the beginning of the log."""
    answer = await participants.clients[participant]("GET", f"/v1/events?after=main:{epoch_name(1)}:0&wait=0")
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


async def next_logged_event(stream: EventStream) -> Any:
    """Return the next event of a stream that is in the log; pushes that are only live are skipped."""
    while "seq" not in (data := (await stream.next_event()).data):
        pass
    return data


async def test_each_type_of_event_reaches_exactly_its_recipients(settings: Settings) -> None:
    """Each type of event reaches exactly the users in the table, live and in a replay, and its data fits its schema."""
    short = msgspec.structs.replace(settings, port=0, lease_s=4.0, job_lifetime_s=6.0)
    async with run_server(short) as server, open_event_server(server) as site, AsyncExitStack() as stack:
        participants = Participants(site)
        await participants.create_accounts()
        streams = {
            name: await stack.enter_async_context(
                site.open_stream(
                    name, headers={"Authorization": f"Bearer {client.token}"}, after=f"main:{epoch_name(1)}:0"
                )
            )
            for name, client in participants.clients.items()
        }
        await participants.run_jobs()
        head = site.gateway.relay.tails[DEFAULT_ZONE].cursor
        recipients: dict[str, set[str]] = {}
        for name in participants.clients:
            frames = [frame for frame in await received_events(participants, name) if frame["seq"] <= head]
            assert [await next_logged_event(streams[name]) for _ in frames] == frames, name
            for frame in frames:
                recipients.setdefault(frame["type"], set()).add(name)
        assert recipients == RECIPIENTS
        events = await log.read_range(server.engine.store.redis, DEFAULT_ZONE, 0, 1_000)
        for event in events:
            assert msgspec.json.decode(event.data, type=payloads.data_struct_of(event.type)) is not None, event.type
        assert {event.type for event in events if not event.type.startswith(INTERNAL_PREFIXES)} == set(RECIPIENTS)
