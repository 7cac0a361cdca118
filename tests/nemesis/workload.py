"""What the users of a run do: customers book and cancel, technicians compete and work, ops reassign. All choices come
from a seed. An attempt that is unavailable or indeterminate is repeated with its key, or abandoned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from engine.types import JobId, room_of
from tests.nemesis.client import Client
from tests.nemesis.history import NOT_DONE, UNKNOWN, History, Operation

HERE = {"lat": 52.52, "lon": 13.405}
WORK = ("depart", "arrive", "start", "complete")


@dataclass
class Pace:
    """How fast the users act. ``booking_s``: the mean pause between two bookings of a customer. ``step_s``: the mean
    pause before a technician's next step. ``repeats``: the share of commands that are sent again with their key after
    they succeeded. ``leaves``: the share of steps in whose place the technician leaves the job. ``probes``: the share
    of steps before which the technician sends a command that must be refused, or that repeats the claim.
    ``probe_s``: the mean pause between two commands of a technician for a job that others may hold. ``chats``: the
    share of claimed jobs whose customer and technician talk in its room.
    """

    booking_s: float = 0.4
    step_s: float = 0.12
    repeats: float = 0.15
    leaves: float = 0.05
    probes: float = 0.1
    probe_s: float = 0.8
    chats: float = 0.5


@dataclass
class Workload:
    """The users of a run. After ``stop`` nobody begins anything new."""

    history: History
    customers: list[Client]
    technicians: list[Client]
    ops: Client
    service: str
    pace: Pace = field(default_factory=Pace)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    connections: set[asyncio.Task[Any]] = field(default_factory=set)
    jobs: list[str] = field(default_factory=list)
    customer_of: dict[str, Client] = field(default_factory=dict)

    @property
    def clients(self) -> list[Client]:
        """Return the clients of all users: customers, technicians and ops."""
        return [*self.customers, *self.technicians, self.ops]

    def booking(self, place: dict[str, float] = HERE) -> dict[str, Any]:
        """Return the body of a booking at a place."""
        return {"service": self.service, **place, "address": "Torstrasse 1"}

    def start(self) -> None:
        """Connect all users, and let them act."""
        for client in self.clients:
            self.connections.add(self._spawn(client.run()))
        for customer in self.customers:
            self._spawn(self._book_jobs(customer))
        for technician in self.technicians:
            self._spawn(self._answer_offers(technician))
            self._spawn(self._probe(technician))
            self._spawn(self._send_positions(technician))
        self._spawn(self._supervise(self.ops))

    def _spawn(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def stop(self) -> None:
        """Begin nothing new, and wait until what has begun is answered or abandoned."""
        self.stopping.set()
        while commands := self.tasks - self.connections:
            async with asyncio.timeout(40):
                await asyncio.wait(commands)

    async def disconnect(self) -> None:
        """Close the connections of all users."""
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for client in self.clients:
            await client.close()

    # commands

    async def _send(self, client: Client, cmd: str, job: str, args: dict[str, Any] | None = None) -> Operation:
        """Send a command until it is answered. Give up with some probability, as a user does, or when the run stops."""
        op = await client.attempt(cmd, job, args=args, by_http=client.draw.random() < 0.1)
        while op.out in (NOT_DONE, UNKNOWN) and client.draw.random() > 0.05:
            if self.stopping.is_set() and client.draw.random() < 0.5:
                break
            await asyncio.sleep(client.draw.uniform(0.1, 0.5))
            op = await client.attempt(cmd, job, op.key, args, by_http=client.draw.random() < 0.2)
        if op.out == "ok" and client.draw.random() < self.pace.repeats:
            self._spawn(self._repeat_later(client, op))
        return op

    async def _repeat_later(self, client: Client, op: Operation) -> None:
        """Send a command again with its key, some time after it succeeded."""
        await asyncio.sleep(client.draw.uniform(0, 1.5))
        job = "" if op.cmd == "book" else op.job
        await client.attempt(op.cmd, job, op.key, op.args, by_http=client.draw.random() < 0.2)

    # the users

    async def _book_jobs(self, customer: Client) -> None:
        while not self.stopping.is_set():
            booked = await self._send(customer, "book", "", self.booking())
            if booked.out == "ok":
                self.jobs.append(booked.job)
                self.customer_of[booked.job] = customer
                if customer.draw.random() < 0.12:
                    self._spawn(self._later(customer, 1.5, lambda job=booked.job: self._send(customer, "cancel", job)))
            await asyncio.sleep(customer.draw.uniform(0, 2 * self.pace.booking_s))

    async def _later(self, client: Client, within_s: float, work: Callable[[], Awaitable[Any]]) -> None:
        await asyncio.sleep(client.draw.uniform(0, within_s))
        await work()

    async def _answer_offers(self, technician: Client) -> None:
        while not self.stopping.is_set():
            try:
                async with asyncio.timeout(0.3):
                    job = await technician.offered.get()
            except TimeoutError:
                continue
            choice = technician.draw.random()
            if choice < 0.08:
                self._spawn(self._send(technician, "decline", job))
            elif choice < 0.97:
                self._spawn(self._compete(technician, job))

    async def _compete(self, technician: Client, job: str) -> None:
        """Claim a job, some milliseconds after the offer or when it is long gone, and do its work."""
        await asyncio.sleep(technician.draw.choice([0.0, 0.005, 0.02, 0.3]) * technician.draw.random())
        claimed = await self._send(technician, "claim", job)
        if claimed.out != "ok":
            return
        if technician.draw.random() < self.pace.chats:
            for member in (technician, self.customer_of[job]) if job in self.customer_of else ():
                self._spawn(self._talk(member, room_of(JobId(job))))
        for step in WORK:
            await asyncio.sleep(technician.draw.uniform(0, 2 * self.pace.step_s))
            if technician.draw.random() < self.pace.probes:
                wrong = claimed.version + 7
                await technician.attempt(step, job, args={"version": wrong})
            if technician.draw.random() < self.pace.probes:
                await technician.attempt(technician.draw.choice(WORK), job, claimed.key)
            if technician.draw.random() < self.pace.probes:
                await technician.attempt("claim", job)
            if step != "complete" and technician.draw.random() < self.pace.leaves:
                await self._send(technician, "unassign", job)
                return
            done = await self._send(technician, step, job)
            if done.out not in ("ok", NOT_DONE, UNKNOWN):
                return

    async def _talk(self, member: Client, room: str) -> None:
        """Open a room, say something in it, read it, and look again."""
        await member.attempt("join", room)
        for _ in range(member.draw.randint(1, 3)):
            await asyncio.sleep(member.draw.uniform(0, 4 * self.pace.step_s))
            client_id = f"{member.name}-{member.draw.getrandbits(64):x}"
            said = await self._send(member, "say", room, {"text": f"Text {client_id}", "client_id": client_id})
            if said.out != "ok":
                return
        await member.attempt("join", room, by_http=member.draw.random() < 0.3)
        await member.attempt("read", room, args={"n": said.version})

    async def _send_positions(self, technician: Client) -> None:
        """Send a position every second, more often than an app does. SQL has no position of the last half minute."""
        while not self.stopping.is_set():
            await technician.send("location", **HERE)
            await asyncio.sleep(1.0)

    async def _probe(self, technician: Client) -> None:
        """Sometimes send a claim or a work command for a recent job in any state and with any holder."""
        while not self.stopping.is_set():
            await asyncio.sleep(technician.draw.uniform(0, 2 * self.pace.probe_s))
            if not self.jobs:
                continue
            job, command = technician.draw.choice(self.jobs[-4:]), technician.draw.choice(("claim", "claim", *WORK))
            await technician.attempt(command, job)

    async def _supervise(self, ops: Client) -> None:
        """As ops, now and then reassign a recent job, take it from its technician, or cancel it."""
        while not self.stopping.is_set():
            await asyncio.sleep(ops.draw.uniform(0.2, 1.2))
            if not self.jobs:
                continue
            job, command = (
                ops.draw.choice(self.jobs[-6:]),
                ops.draw.choice(["reassign", "reassign", "unassign", "cancel"]),
            )
            taker = ops.draw.choice(self.technicians).id
            args = {"technician": taker, "reason": "so it is"} if command == "reassign" else {}
            await self._send(ops, command, job, args)
