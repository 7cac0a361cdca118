"""Replay a recorded day over a real Redis in simulated time: jobs are booked at the recorded times and places, the
engine assigns them, and technicians travel, work and become free.

The zone's clock jumps from one event to the next one, and stands still in between. Therefore a loaded machine gives the
same figures as a quiet one. The apps of the technicians are not simulated, so leases and positions must not run out.
Therefore each move of the clock also marks the zone as just reopened: during the grace after that, leases and positions
stay valid.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any, NamedTuple

import msgspec

from bench.load.seed import gather_in_batches
from bench.rig import Child, print_progress
from engine.domain import booking, jobs, matching, services
from engine.domain.commands import CommandInput
from engine.idempotency.in_redis import Outcome
from engine.identity import accounts
from engine.rules.distances import distance_m
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId, UserId
from engine.workers import scheduler
from server.simulation.pickups import Pickup

ADMIN = Principal(UserId("cli_admin"), "admin", "Admin")
SPEED_M_S, DETOUR = 6.0, 1.3
"""The speed of technicians on the road, and by which factor the road is longer than the straight distance."""
WORK_S, WORK_SIGMA = 1200.0, 0.5
"""The mean length of a job, and the spread of its logarithm."""
LOG_PAGE = 1_000
HELD_MS = 900
"""How long the zone's clock stands still after a move (ms of real time). After a move, the clock skew is set so that
Redis' time plus the skew is this much earlier than the zone's time. The zone's time never goes back: it stands still
until the sum has caught up, if the step back is less than a second (lua/lib/clock.lua).
"""
PROGRESS_RIDES = 500

BLUEPRINT = """
name = "{name}"
version = 1
title = "Replayed"
[dispatch]
job_s = 0
weights = {{ distance = 1.0 }}
{match}
[states]
wanted = {{ phase = "open", seeks = "allocate", says = "Wanted" }}
held = {{ phase = "active", says = "Held" }}
over = {{ phase = "done", says = "Over" }}
[commands]
assign = {{ by = ["engine"], from = ["wanted"], to = "held", does = "assign", event = "job.assigned" }}
finish = {{ by = ["holder"], from = ["held"], to = "over", event = "job.status" }}
[events]
"job.created" = {{ to = ["ops"] }}
"job.assigned" = {{ to = ["holder", "ops"] }}
"job.status" = {{ to = ["ops"] }}
"""
"""The shortest blueprint in which the engine assigns jobs, with the policy to measure."""


class Ride(NamedTuple):
    """One replayed pickup: the time from its booking until it was assigned (s), and the distance of its
    technician (m).
    """

    waited_s: float
    pickup_m: float

    @property
    def arrival_s(self) -> float:
        """The time from the booking to the arrival of the technician."""
        return self.waited_s + travel_s(self.pickup_m)


class WindowTimes(NamedTuple):
    """The length of one window, and the processor time of this process and of Valkey in it, in ms."""

    total_ms: float
    own_ms: float
    valkey_ms: float


def travel_s(straight_m: float) -> float:
    """Return the travel time in seconds for a straight distance in metres."""
    return straight_m * DETOUR / SPEED_M_S


class ReplayedCity:
    """One replay: ``pickups``, the earliest first, at ``speed`` times the recorded speed, with ``technicians`` who
    begin at places drawn from the pickups. ``rides`` are the assigned jobs in order.
    """

    def __init__(
        self, engine: Engine, blueprint: str, pickups: Sequence[Pickup], technicians: int, speed: float
    ) -> None:
        self.rides: list[Ride] = []
        self._engine = engine
        self._blueprint = blueprint
        self._pickups = pickups
        self._count = technicians
        self._speed = speed
        self._at_ms = math.ceil(time.time() * 1000)
        self._seen = "0"
        self._booked: dict[JobId, tuple[float, Pickup]] = {}
        self._places: dict[str, tuple[float, float]] = {}
        self._agenda: list[tuple[float, int, Any]] = []

    async def replay(self, seed: int) -> None:
        """Replay all pickups until each of them has a technician."""
        random = Random(seed)
        service, customer = await self._prepare(random)
        begun, start = self._at_ms, self._pickups[0].at
        for number, pickup in enumerate(self._pickups):
            at = begun + (pickup.at - start).total_seconds() * 1000 / self._speed
            heappush(self._agenda, (at, number, pickup))
        reported = 0
        while len(self.rides) < len(self._pickups):
            due = await self._engine.store.command("ZRANGE", keys.due_tasks(DEFAULT_ZONE), 0, 0, "WITHSCORES")
            times = [float(due[1])] if due else []
            await self._move_clock(min([*times, *(each[0] for each in self._agenda[:1])]))
            while self._agenda and self._agenda[0][0] <= self._at_ms:
                _, _, what = heappop(self._agenda)
                if isinstance(what, Pickup):
                    await self._book(what, service, customer)
                else:
                    await self._finish(*what)
            while await scheduler.run_once(self._engine, DEFAULT_ZONE) == 0.0:
                await self._move_clock(self._at_ms)
            await self._note_assignments(random)
            if len(self.rides) >= reported + PROGRESS_RIDES:
                reported = len(self.rides)
                hours = (self._at_ms - begun) / 3_600_000
                print_progress(f"  {reported:,} of {len(self._pickups):,} jobs taken, {hours:.1f} simulated hours")

    async def time_window(self, seed: int, jobs: int, valkey: Child) -> WindowTimes:
        """Book ``jobs`` jobs at places of the pickups while all technicians are free, and let the engine assign all of
        them in one matching window. Return the times of the window with its assignments.
        """
        random = Random(seed)
        service, customer = await self._prepare(random)
        for pickup in random.choices(self._pickups, k=jobs):
            await self._book(pickup, service, customer)
            await self._move_clock(self._at_ms)
        await self._move_clock(self._at_ms + 1000)
        before = (time.perf_counter(), time.process_time(), valkey.cpu_s())
        await matching.run_window(self._engine, DEFAULT_ZONE, f"window:{service}", service)
        after = (time.perf_counter(), time.process_time(), valkey.cpu_s())
        await self._note_assignments(random)
        return WindowTimes(*(1000 * (end - begun) for begun, end in zip(before, after, strict=True)))

    async def _move_clock(self, at_ms: float) -> None:
        """Move the zone's clock forward to ``at_ms``, and hold it there."""
        self._at_ms = max(self._at_ms, math.ceil(at_ms))
        now, skew = self._at_ms, self._at_ms - HELD_MS - round(time.time() * 1000)
        meta = keys.zone_meta(DEFAULT_ZONE)
        await self._engine.store.command("HSET", meta, "skew", skew, "now", now, "opened_at", now, "offset", 0)

    async def _prepare(self, random: Random) -> tuple[ServiceId, Principal]:
        engine = self._engine
        new = services.NewService(name="Rides", category="city", base_amount=1_000, currency="USD")
        service = (await services.create_service(engine, ADMIN, new)).value.id
        account = accounts.NewAccount(email="c@example.org", password="correct horse", name="Carla", role="customer")
        customer = Principal((await accounts.create_user(engine, ADMIN, account)).value.id, "customer", "Carla")
        for number, pickup in enumerate(random.choices(self._pickups, k=self._count)):
            self._places[f"t{number}"] = (pickup.lat, pickup.lon)
        await gather_in_batches(self._bring_online(name, service) for name in self._places)
        await self._move_clock(time.time() * 1000)
        return service, customer

    async def _bring_online(self, name: str, service: ServiceId) -> None:
        record = live.TechnicianRecord(
            id=TechnicianId(UserId(name)),
            name=name,
            phone="+15550100",
            services=[service],
            capacity=1,
            complete=True,
            kyc="approved",
            account="approved",
            version=1,
        )
        await live.write_record(self._engine, record)
        await self._locate(name)

    async def _locate(self, name: str) -> None:
        who, position = Principal(UserId(name), "technician", name), live.Coordinates(*self._places[name])
        await live.set_availability(self._engine, who, name, online=True, position=position)

    async def _book(self, pickup: Pickup, service: ServiceId, customer: Principal) -> None:
        wanted = booking.Booking(
            service=service, lat=pickup.lat, lon=pickup.lon, address="1 Main St", blueprint=self._blueprint
        )
        outcome: Outcome = await booking.book_job(self._engine, customer, wanted)
        assert outcome.job is not None
        self._booked[JobId(msgspec.json.decode(outcome.job)["id"])] = (self._at_ms, pickup)

    async def _finish(self, job: JobId, name: str) -> None:
        """End a job; the technician stays at its place."""
        await self._locate(name)
        who = Principal(UserId(name), "technician", name)
        await jobs.run_command(self._engine, who, job, CommandInput(command="finish"))

    async def _note_assignments(self, random: Random) -> None:
        """Read from the log which technician got which job, and schedule the end of each such job."""
        while True:
            after = f"({self._seen}"
            page = await self._engine.store.command("XRANGE", keys.log(DEFAULT_ZONE), after, "+", "COUNT", LOG_PAGE)
            for entry, values in page:
                self._seen, fields = entry.decode(), dict(zip(values[::2], values[1::2], strict=True))
                if fields[b"type"] == b"job.assigned" and b"role:ops" in fields[b"to"]:
                    self._note_assignment(msgspec.json.decode(fields[b"data"]), float(fields[b"at"]), random)
            if len(page) < LOG_PAGE:
                return

    def _note_assignment(self, data: dict[str, Any], at_ms: float, random: Random) -> None:
        job, name = JobId(data["job"]["id"]), data["technician"]["id"]
        booked_ms, pickup = self._booked.pop(job)
        place = (pickup.lat, pickup.lon)
        ride = Ride(max(0.0, at_ms - booked_ms) / 1000, distance_m(*self._places[name], *place))
        self.rides.append(ride)
        self._places[name] = place
        work_s = random.lognormvariate(math.log(WORK_S) - WORK_SIGMA**2 / 2, WORK_SIGMA)
        ends = at_ms + 1000 * (travel_s(ride.pickup_m) + work_s)
        heappush(self._agenda, (ends, len(self._pickups) + len(self.rides), (job, name)))
