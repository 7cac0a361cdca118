"""Claims against cancel, expiry, leaving, reassigning and suspension at once: one outcome, told the same to all."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from engine.domain import jobs, waves
from engine.domain.commands import Step
from engine.errors import CalloutError
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId
from engine.workers import scheduled_tasks
from tests.support import event_log, people

ROUNDS, CREW = 2_000, 6
EXPECTED = {
    *("taken", "cancelled", "expired", "illegal_transition", "not_offered", "not_found", "at_capacity", "invalid"),
    "account_not_approved",
}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As always; the races need nobody's patience."""
    return msgspec.structs.replace(settings, job_lifetime_s=600.0)


class Round:
    """One job, and what people try to do to it at the same moment."""

    def __init__(
        self, engine: Engine, job: JobId, carla: Principal, crew: list[Principal], draw: random.Random
    ) -> None:
        self.engine, self.job, self.carla, self.crew, self.draw = engine, job, carla, crew, draw
        self.codes: Counter[str] = Counter()

    async def give(self, who: Principal, command: str, **more: Any) -> None:
        """A command; what it may be refused with is known."""
        try:
            await jobs.command(self.engine, who, self.job, Step(command=command, **more))
        except CalloutError as error:
            assert error.code in EXPECTED, (command, error.code)
            self.codes[error.code] += 1
        else:
            self.codes[command] += 1

    async def expire(self) -> None:
        """The sweep, at a moment at which the job's time is over."""
        redis = self.engine.store.redis
        if await redis.hget(keys.job(DEFAULT_ZONE, self.job), "phase") == b"open":  # type: ignore[misc]
            await redis.eval(PAST, 1, keys.job(DEFAULT_ZONE, self.job))  # type: ignore[misc]
        await scheduled_tasks.do(self.engine, DEFAULT_ZONE, f"expire:{self.job}")

    async def suspend(self, who: Principal) -> None:
        """The hot half of a suspension, and back: nobody claims in between."""
        for account, at in (("suspended", None), ("approved", people.HERE)):
            more = {"account": account, "version": next(VERSIONS)}
            await people.technician(self.engine, who.id, SERVES[0], at=at, capacity=3, **more)

    def acts(self) -> list[Callable[[], Awaitable[None]]]:
        """What is tried: some of everything."""
        one, two, three = self.draw.sample(self.crew, 3)
        every: list[Callable[[], Awaitable[None]]] = [
            lambda: self.give(one, "claim"),
            lambda: self.give(two, "claim"),
            lambda: self.give(self.carla, "cancel"),
            self.expire,
            lambda: self.give(one, "unassign"),
            lambda: self.give(people.ADMIN, "unassign"),
            lambda: self.give(people.ADMIN, "reassign", technician=three.id),
            lambda: self.give(people.ADMIN, "reassign"),
            lambda: self.give(two, "depart"),
            lambda: self.suspend(one),
        ]
        chosen = every[:2] + self.draw.sample(every[2:], 3)
        self.draw.shuffle(chosen)
        return chosen


PAST = "if redis.call('HGET', KEYS[1], 'phase') == 'open' then redis.call('HSET', KEYS[1], 'expires', 1) end return 0"
SERVES: list[ServiceId] = []
VERSIONS = iter(range(2, 10**9))


async def coherent(engine: Engine, job: JobId, crew: list[Principal]) -> str:
    """Job, records, indexes and events tell of the same; returns where the job stands."""
    redis = engine.store.redis
    row = await redis.hgetall(keys.job(DEFAULT_ZONE, job))  # type: ignore[misc]
    status, holder = row[b"status"].decode(), row[b"holder"].decode()
    live = status in ("accepted", "on_the_way")
    for who in crew:
        held = await redis.smembers(keys.technician_jobs(DEFAULT_ZONE, TechnicianId(who.id)))  # type: ignore[misc]
        load = int(await redis.hget(keys.technician(DEFAULT_ZONE, TechnicianId(who.id)), "load") or 0)  # type: ignore[misc]
        assert (job.encode() in held) == (live and holder == who.id), (status, holder, who.id)
        assert load == len(held)
    wanted = await redis.zscore(keys.demand(DEFAULT_ZONE, SERVES[0]), job) is not None
    assert wanted == (status == "broadcasted"), status
    assert (holder == "") == (status == "broadcasted") or status in ("cancelled", "expired")
    told = [e for e in await event_log.events(engine, job=job) if e.type.startswith("job.") and b'"version"' in e.data]
    facts = [event_log.payload(e)["job"] for e in told]
    assert list(dict.fromkeys(f["version"] for f in facts)) == list(range(1, int(row[b"version"]) + 1))
    assert facts[-1]["status"] == status and facts[-1]["version"] == int(row[b"version"])
    seen = [e for e in told if e.type in ("job.accepted", "job.assigned", "job.unassigned", "job.cancelled")]
    left = await event_log.public_events(engine, "job.unassigned", job)
    has = ""
    for event in seen:  # who has it, by what each was told: nobody gets what another one has not left
        now = (event_log.payload(event)["job"]["technician"] or {}).get("id", "")
        if event.type == "job.accepted":
            assert has == ""
        if event.type == "job.unassigned":
            [apart] = [
                e.to
                for e in left
                if event_log.payload(e)["job"]["version"] == event_log.payload(event)["job"]["version"]
            ]
            assert apart == (f"user:{has}",)
        has = now
    assert has == holder
    return status


async def test_thousands_of_rounds_have_one_outcome_each(engine: Engine) -> None:
    """Whatever wins, holder, records, indexes and the events that everybody got agree; all kinds of ends occur."""
    serves, carla = await people.service(engine), await people.customer(engine)
    SERVES[:] = [serves]
    crew = [await people.technician(engine, f"t{i}", serves, capacity=3) for i in range(CREW)]
    draw, ends, codes = random.Random(4), Counter[str](), Counter[str]()
    for number in range(ROUNDS):
        job = people.id_of(await people.job(engine, carla, serves))
        await waves.open_wave(engine, DEFAULT_ZONE, job, 1)
        one = Round(engine, job, carla, crew, draw)
        if number % 2:
            await one.give(draw.choice(crew), "claim")
        await asyncio.gather(*(act() for act in one.acts()))
        ends[await coherent(engine, job, crew)] += 1
        codes += one.codes
        await one.give(people.ADMIN, "cancel")  # frees whoever has it
        await event_log.clear(engine)
    assert set(ends) >= {"accepted", "broadcasted", "cancelled", "expired", "on_the_way"}
    assert {"claim", "cancel", "unassign", "reassign", "depart", "taken", "account_not_approved"} <= set(codes)
