"""Eight writers assign, move and release booked jobs at the same time: no technician ever has two jobs that overlap."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter, defaultdict
from typing import Any

import msgspec

from engine.clock import now_ms
from engine.domain import bid_list, bids, edits, jobs
from engine.domain.bids import BidTerms
from engine.domain.commands import CommandInput
from engine.errors import CalloutError, Duplicate, ScheduleConflict
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, TechnicianId
from engine.workers import scheduled_tasks
from engine.zone import log
from tests.races.overlaps import change_of, zone_checker
from tests.support import people
from tests.support.dispatch_setup import metres_north

TRIES = int(os.environ.get("CALLOUT_TEST_SCHEDULE_TRIES", "600"))
"""How many commands are tried. The measurement in docs/schedule.md used 10,000."""
WRITERS, TECHNICIANS, JOBS_OF_EACH_KIND = 8, 6, 8
HOURS = 10
MINUTE_MS = 60_000
BLUEPRINT_OF_WAY = {"claim": "home_service", "assign": "managed", "match": "managed", "award": "marketplace"}


class Writers:
    """The writers, the open jobs by their blueprint, and the held jobs."""

    def __init__(self, engine: Engine, carla: Principal, service: Any, crowd: list[Principal]) -> None:
        self.engine, self.carla, self.service, self.crowd = engine, carla, service, crowd
        self.draw = random.Random(15)
        self.open: dict[str, list[JobId]] = defaultdict(list)
        self.held: dict[str, list[JobId]] = defaultdict(list)
        self.counts: Counter[tuple[str, str]] = Counter()

    def draw_time(self) -> int:
        """Return a random time at a full minute (ms since 1970), at least half an hour from now."""
        return now_ms() + self.draw.randrange(30, HOURS * 60) * MINUTE_MS

    async def book(self, blueprint: str) -> JobId:
        """Book a job, offer it if its blueprint needs a claim, and return its id. One of eight jobs has no time."""
        when = None if self.draw.random() < 0.125 else self.draw_time()
        fields = {"blueprint": blueprint, "scheduled_for": when, "duration_min": self.draw.choice((5, 20, 60))}
        book = people.offered_job if blueprint == "home_service" else self._book_unoffered
        at = metres_north(self.draw.randrange(3_000))
        job = await book(self.engine, self.carla, self.service, at=at, **fields)
        # Each technician who has time bids at once. They may have no time left when their bid is accepted.
        if blueprint == "marketplace":
            for who in self.crowd:
                with contextlib.suppress(ScheduleConflict):
                    await bids.create_bid(self.engine, who, job, BidTerms())
        return job

    async def _book_unoffered(self, *args: Any, **fields: Any) -> JobId:
        return people.id_of(await people.job(*args, **fields))

    async def run(self, tries: int) -> None:
        """Try ``tries`` commands, one after the other."""
        for _ in range(tries):
            way = self.draw.choice((*BLUEPRINT_OF_WAY, "edit", "reassign", "free"))
            try:
                done = await (self.give(way) if way in BLUEPRINT_OF_WAY else self.change(way))
            except CalloutError as error:
                self.counts[way, error.code] += 1
            else:
                self.counts[way, done] += 1

    async def give(self, way: str) -> str:
        """Let a technician get an open job, in the way ``way``."""
        blueprint = BLUEPRINT_OF_WAY[way]
        waiting = self.open[blueprint]
        if len(waiting) < JOBS_OF_EACH_KIND:
            waiting.append(await self.book(blueprint))
        job, who = self.draw.choice(waiting), self.draw.choice(self.crowd)
        match way:
            case "claim":
                await jobs.claim(self.engine, who, job)
            case "assign":
                await self.command(people.ADMIN, job, command="assign", technician=who.id)
            case "match":
                return await self.match()
            case _:
                await self.award(job, who)
        if job in waiting:
            waiting.remove(job)
            self.held[blueprint].append(job)
        return "done"

    async def match(self) -> str:
        """Run a matching window, which assigns each open job to a technician who has time, if there is one."""
        await scheduled_tasks.run_task(self.engine, DEFAULT_ZONE, f"window:{self.service}")
        waiting, found = self.open["managed"], "nobody"
        for job in list(waiting):
            if await self.engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), "holder") and job in waiting:
                waiting.remove(job)
                self.held["managed"].append(job)
                found = "done"
        return found

    async def award(self, job: JobId, who: Principal) -> None:
        """Accept the technician's bid. If the technician has not bid yet, they bid first."""
        with contextlib.suppress(Duplicate):
            await bids.create_bid(self.engine, who, job, BidTerms())
        items = (await bid_list.find_bids(self.engine, who, job)).items
        await bids.accept_bid(self.engine, self.carla, job, msgspec.json.decode(items[0])["id"])

    async def change(self, way: str) -> str:
        """Edit a held job, reassign it to another technician, or take it from its holder."""
        blueprint = {"edit": "marketplace", "reassign": "home_service"}.get(way) or self.draw.choice(
            [*BLUEPRINT_OF_WAY.values()]
        )
        if not self.held[blueprint]:
            return "nothing"
        job, who = self.draw.choice(self.held[blueprint]), self.draw.choice(self.crowd)
        if way == "edit":
            change: dict[str, Any] = {"scheduled_for": self.draw_time()}
            change |= {"duration_min": self.draw.choice((5, 60)), "lat": metres_north(self.draw.randrange(3_000)).lat}
            name = self.draw.choice(list(change))
            await edits.edit_job(self.engine, self.carla, job, {name: change[name]})
        elif way == "reassign":
            await self.command(people.ADMIN, job, command="reassign", technician=who.id, reason="r")
        else:
            command = "unassign" if blueprint == "marketplace" else "cancel"
            await self.command(self.carla, job, command=command, reason="r")
            if job in self.held[blueprint]:
                self.held[blueprint].remove(job)
        return "done"

    async def command(self, who: Principal, job: JobId, **step: Any) -> None:
        await jobs.run_command(self.engine, who, job, CommandInput(**step))


async def test_no_technician_has_two_booked_jobs_that_overlap(engine: Engine) -> None:
    """Eight writers claim, assign, match, award, edit, reassign and release jobs of six technicians. The log has no
    pair of jobs of one technician with less than travel time and buffer between them. Each kind of command was refused
    and succeeded at least once.
    """
    for name, blueprint in engine.blueprints.by_name.items():  # all jobs are on offer immediately, and for a long time
        dispatch = msgspec.structs.replace(blueprint.dispatch, lead_s=86_400.0, offer_s=86_400.0, job_s=86_400.0)
        changed = msgspec.structs.replace(blueprint, dispatch=dispatch)
        engine.blueprints.by_name[name] = engine.blueprints.by_key[blueprint.key] = changed
    engine.blueprints.default = engine.blueprints.by_name[engine.blueprints.default.name]
    service, carla = await people.service(engine), await people.customer(engine)
    crowd = [await people.technician(engine, f"t{i}", service, capacity=1_000) for i in range(TECHNICIANS)]
    writers = Writers(engine, carla, service, crowd)
    for _ in range(max(1, TRIES // 600)):
        await asyncio.gather(*(writers.run(min(TRIES, 600) // WRITERS) for _ in range(WRITERS)))
        for who in crowd:  # positions are fresh for two minutes
            await live.set_availability(engine, who, who.id, online=True, position=people.HERE)
    checker, seq, matched = zone_checker(), 0, 0
    while events := await log.read_range(engine.store.redis, DEFAULT_ZONE, seq, 1_000):
        for event in events:
            checker.follow([change_of(event)])
            matched += event.type == "job.assigned" and event.actor == "engine"
        seq = events[-1].seq
    assert checker.overlaps == []
    assert checker.compared > TRIES // 2, writers.counts
    for way in ("claim", "assign", "award", "edit", "reassign"):
        assert writers.counts[way, "schedule_conflict"] > 0 < writers.counts[way, "done"], writers.counts
    assert matched > 0, writers.counts
    for who in crowd:
        key = keys.technician_schedule(DEFAULT_ZONE, TechnicianId(who.id))
        scheduled = {member.split(b" ")[1].decode() for member in await engine.store.redis.zrange(key, 0, -1)}
        assert scheduled == checker.held.get(who.id, {}).keys()
