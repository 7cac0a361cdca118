"""Claims race with cancel, expiry, unassign, reassign and suspension: each round has one outcome, and all events agree
with it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from engine.domain import jobs, waves
from engine.domain.commands import CommandInput
from engine.errors import CalloutError
from engine.events import Event
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId
from engine.workers import scheduled_tasks
from tests.support import event_log, people
from tests.support.sizes import choose_size

ROUNDS, CREW = choose_size(250, 1_000), 6
"""Each round draws three of eight commands and their order. In 1,000 rounds each order of any three of them occurs
three times on average, and each order of two fifty times; in 250 rounds each order of two a dozen times.
"""
EXPECTED_CODES = {
    *("taken", "cancelled", "expired", "illegal_transition", "not_offered", "not_found", "at_capacity", "invalid"),
    "account_not_approved",
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The usual settings with a job lifetime of ten minutes: races need no waiting."""
    return msgspec.structs.replace(settings, job_lifetime_s=600.0)


class Round:
    """One round of the race: one job, and the commands that are sent for it at the same time."""

    def __init__(
        self, engine: Engine, job: JobId, carla: Principal, crew: list[Principal], random_source: random.Random
    ) -> None:
        self.engine, self.job, self.carla, self.crew, self.random_source = engine, job, carla, crew, random_source
        self.codes: Counter[str] = Counter()

    async def send_command(self, who: Principal, command: str, **more: Any) -> None:
        """Send a command, and count its outcome. Only expected codes may refuse it."""
        try:
            await jobs.run_command(self.engine, who, self.job, CommandInput(command=command, **more))
        except CalloutError as error:
            assert error.code in EXPECTED_CODES, (command, error.code)
            self.codes[error.code] += 1
        else:
            self.codes[command] += 1

    async def expire(self) -> None:
        """Run the expiry task at a moment after the end of the job's lifetime."""
        redis = self.engine.store.redis
        if await redis.hget(keys.job(DEFAULT_ZONE, self.job), "phase") == b"open":  # type: ignore[misc]
            await redis.eval(EXPIRE_SCRIPT, 1, keys.job(DEFAULT_ZONE, self.job))  # type: ignore[misc]
        await scheduled_tasks.run_task(self.engine, DEFAULT_ZONE, f"expire:{self.job}")

    async def suspend(self, who: Principal) -> None:
        """Do in Redis what a suspension does, and undo it. The technician cannot claim in between."""
        for account, at in (("suspended", None), ("approved", people.HERE)):
            more = {"account": account, "version": next(PROFILE_VERSIONS)}
            await people.technician(self.engine, who.id, OFFERED_SERVICES[0], at=at, capacity=3, **more)

    def draw_commands(self) -> list[Callable[[], Awaitable[None]]]:
        """Choose the commands of this round at random: both claims and three others, in random order."""
        one, two, three = self.random_source.sample(self.crew, 3)
        every: list[Callable[[], Awaitable[None]]] = [
            lambda: self.send_command(one, "claim"),
            lambda: self.send_command(two, "claim"),
            lambda: self.send_command(self.carla, "cancel"),
            self.expire,
            lambda: self.send_command(one, "unassign"),
            lambda: self.send_command(people.ADMIN, "unassign"),
            lambda: self.send_command(people.ADMIN, "reassign", technician=three.id),
            lambda: self.send_command(people.ADMIN, "reassign"),
            lambda: self.send_command(two, "depart"),
            lambda: self.suspend(one),
        ]
        chosen = every[:2] + self.random_source.sample(every[2:], 3)
        self.random_source.shuffle(chosen)
        return chosen


EXPIRE_SCRIPT = (
    "if redis.call('HGET', KEYS[1], 'phase') == 'open' then redis.call('HSET', KEYS[1], 'expires', 1) end return 0"
)
OFFERED_SERVICES: list[ServiceId] = []
PROFILE_VERSIONS = iter(range(2, 10**9))


async def assert_records_agree(engine: Engine, job: JobId, crew: list[Principal]) -> str:
    """Assert that the job's record, the technicians' records, the indexes and the events agree on holder and state.
    Return the job's status."""
    pipeline = engine.store.redis.pipeline(transaction=False).hgetall(keys.job(DEFAULT_ZONE, job))
    pipeline.zscore(keys.job_demand(DEFAULT_ZONE, OFFERED_SERVICES[0]), job)
    for who in crew:
        technician = TechnicianId(who.id)
        pipeline.smembers(keys.technician_jobs(DEFAULT_ZONE, technician))
        pipeline.hget(keys.technician(DEFAULT_ZONE, technician), "load")
    row, demand, *records = await pipeline.execute()
    status, holder = row[b"status"].decode(), row[b"holder"].decode()
    live = status in ("accepted", "on_the_way")
    for who, held_jobs, load in zip(crew, records[::2], records[1::2], strict=True):
        assert (job.encode() in held_jobs) == (live and holder == who.id), (status, holder, who.id)
        assert int(load or 0) == len(held_jobs)
    assert (demand is not None) == (status == "broadcasted"), status
    assert (holder == "") == (status == "broadcasted") or status in ("cancelled", "expired")
    whole: list[tuple[Event, Any]] = []
    public: list[tuple[Event, Any]] = []
    for event in await event_log.events(engine):
        if event.type.startswith("job.") and job.encode() in event.data and b'"version"' in event.data:
            fact = event_log.payload(event)["job"]
            (whole if "customer" in fact else public).append((event, fact))
    facts = [fact for _, fact in whole]
    assert list(dict.fromkeys(f["version"] for f in facts)) == list(range(1, int(row[b"version"]) + 1))
    assert facts[-1]["status"] == status and facts[-1]["version"] == int(row[b"version"])
    changes = ("job.accepted", "job.assigned", "job.unassigned", "job.cancelled")
    unassignments = [(e.to, fact["version"]) for e, fact in public if e.type == "job.unassigned"]
    current_holder = ""  # checked only with the events: nobody gets the job before the former holder has left it
    for event, fact in whole:
        if event.type == "job.accepted":
            assert current_holder == ""
        if event.type == "job.unassigned":
            [audience] = [to for to, version in unassignments if version == fact["version"]]
            assert audience == (f"user:{current_holder}",)
        if event.type in changes:
            current_holder = (fact["technician"] or {}).get("id", "")
    assert current_holder == holder
    return status


async def test_all_rounds_have_one_outcome_each(engine: Engine) -> None:
    """In every round, holder, records, indexes and events agree. Every kind of outcome occurs."""
    service, carla = await people.service(engine), await people.customer(engine)
    OFFERED_SERVICES[:] = [service]
    crew = [await people.technician(engine, f"t{i}", service, capacity=3) for i in range(CREW)]
    draw, ends, codes = random.Random(4), Counter[str](), Counter[str]()
    for number in range(ROUNDS):
        job = people.id_of(await people.job(engine, carla, service))
        await waves.open_wave(engine, DEFAULT_ZONE, job, 1)
        round_ = Round(engine, job, carla, crew, draw)
        if number % 2:
            await round_.send_command(draw.choice(crew), "claim")
        await asyncio.gather(*(act() for act in round_.draw_commands()))
        ends[await assert_records_agree(engine, job, crew)] += 1
        codes += round_.codes
        await round_.send_command(people.ADMIN, "cancel")  # frees the holder
        await event_log.clear(engine)
    assert set(ends) >= {"accepted", "broadcasted", "cancelled", "expired", "on_the_way"}
    assert {"claim", "cancel", "unassign", "reassign", "depart", "taken", "account_not_approved"} <= set(codes)
