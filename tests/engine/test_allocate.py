"""The engine allocates jobs: which technicians it considers, which one gets the job, and what happens after a
refusal."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from engine.domain import job_queries, jobs
from engine.domain.jobs import Step
from engine.errors import CalloutError
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId, UserId
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import exclusions, metres_north, run_due_tasks


async def book(engine: Engine, carla: Principal, serves: ServiceId, **more: Any) -> JobId:
    """Book a job of the blueprint in which the engine chooses."""
    return people.id_of(await people.job(engine, carla, serves, blueprint="managed", **more))


async def rate(engine: Engine, name: str, stars: float) -> None:
    """Set a technician's rating."""
    row = keys.technician(DEFAULT_ZONE, TechnicianId(UserId(name)))
    await engine.store.redis.hset(row, "rating", str(stars))


async def holder(engine: Engine, job: JobId) -> tuple[str, str]:
    """Return a job's holder and status."""
    row = await engine.store.redis.hmget(keys.job(DEFAULT_ZONE, job), "holder", "status")
    return row[0].decode(), row[1].decode()


async def unfilled(engine: Engine, job: JobId) -> list[Any]:
    """Return the events that inform ops that nobody takes a job."""
    return [(e.to, event_log.payload(e)["step"]) for e in await event_log.events(engine, "job.unfilled", job)]


async def test_allocation_is_retried_while_nobody_is_eligible(engine: Engine) -> None:
    """Ops are informed once, the engine tries again every minute, and a technician who is eligible by then gets the
    job.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "away", serves, at=None)
    job = await book(engine, carla, serves)
    await run_due_tasks(engine)
    assert await holder(engine, job) == ("", "requested")
    [(to, step)] = await unfilled(engine, job)
    assert "role:ops" in to and step == "allocate"
    await advance(engine, 60.1)
    await run_due_tasks(engine)
    assert len(await unfilled(engine, job)) == 1
    await live.set_availability(engine, people.hot_technician("away"), "away", online=True, position=metres_north(50))
    await advance(engine, 60.1)
    await run_due_tasks(engine)
    assert await holder(engine, job) == ("away", "assigned")


async def test_ineligible_technicians_are_not_chosen(engine: Engine) -> None:
    """A technician who is blocked by the customer, lacks the service, is at capacity or declined before is excluded,
    and the wave records the reason.
    """
    serves, other, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    for name, service in (("blocked", serves), ("elsewhere", other), ("full", serves), ("left", serves)):
        await people.technician(engine, name, service, at=metres_north(10))
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, carla.id), "blocked")
    row = keys.technician(DEFAULT_ZONE, TechnicianId(UserId("full")))
    await engine.store.redis.hset(row, "load", 1)
    job = await book(engine, carla, serves)
    await engine.store.redis.hset(keys.job_offers(DEFAULT_ZONE, job), "left", "left 0 1 1 0")
    await run_due_tasks(engine)
    assert (await holder(engine, job))[0] == ""
    assert await exclusions(engine, job) == {"blocked": ["blocked"], "at_capacity": ["full"], "left": ["left"]}


async def test_the_best_score_gets_the_job_and_its_parts_are_recorded(engine: Engine) -> None:
    """Rating and low workload outweigh some kilometres; customer, holder and ops receive the event, and ops see each
    part of the score.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "near", serves, at=metres_north(100))
    await people.technician(engine, "good", serves, at=metres_north(1_000))
    await people.technician(engine, "busy", serves, at=metres_north(900), capacity=2)
    for name, stars in (("near", 4.0), ("good", 4.9), ("busy", 5.0)):
        await rate(engine, name, stars)
    await engine.store.redis.hset(keys.technician(DEFAULT_ZONE, TechnicianId(UserId("busy"))), "load", 1)
    job = await book(engine, carla, serves)
    await run_due_tasks(engine)
    assert await holder(engine, job) == ("good", "assigned")
    [event] = await event_log.events(engine, "job.assigned", job)
    assert {f"user:{carla.id}", "role:ops"} <= set(event.to) and "user:good" not in event.to
    [asked] = await event_log.public_events(engine, "job.assigned", job)
    assert asked.to == ("user:good",) and event_log.payload(asked)["job"]["technician"]["id"] == "good"
    told = event_log.payload(event)
    assert (told["technician"]["id"], told["actor"]["role"]) == ("good", "engine")
    [look] = [orjson.loads(w) for w in await job_queries.waves(engine, people.ADMIN, job)]
    assert look["in"]["technicians"] == ["good"] and sorted(look["out"]["rank"]["technicians"]) == ["busy", "near"]
    scores = {s["technician"]: s for s in look["scores"]}
    assert [s["technician"] for s in look["scores"]] == ["good", "near", "busy"]
    assert scores["busy"]["workload"] == 2.5 and scores["good"]["rating"] == -9.8
    assert scores["good"]["score"] == pytest.approx(1.0 - 9.8, abs=0.01)


async def test_after_a_decline_the_next_best_is_assigned(engine: Engine) -> None:
    """A decline and a missing answer both pass the job on; when no candidate is left it is unfilled, and ops are
    informed.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "one", serves, at=metres_north(100))
    await people.technician(engine, "two", serves, at=metres_north(200))
    job = await book(engine, carla, serves)
    await run_due_tasks(engine)
    await jobs.run_command(engine, one, job, Step(command="decline"))
    await run_due_tasks(engine)
    assert await holder(engine, job) == ("two", "assigned")
    await advance(engine, 60.1)  # no answer counts as a decline: a timer of the blueprint
    await live.renew_leases(engine, DEFAULT_ZONE, ["one", "two"])
    await run_due_tasks(engine)
    assert await holder(engine, job) == ("", "requested") and len(await unfilled(engine, job)) == 1
    assert (await exclusions(engine, job))["left"] == ["one", "two"]
    with pytest.raises(CalloutError):
        await jobs.run_command(engine, one, job, Step(command="accept"))


async def test_the_preferred_technician_comes_before_a_better_one(engine: Engine) -> None:
    """The customer's preferred technician is chosen if they are eligible, wherever in the zone they are."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "near", serves, at=metres_north(100))
    await people.technician(engine, "friend", serves, at=metres_north(30_000))
    job = await book(engine, carla, serves, technician="friend")
    await run_due_tasks(engine)
    assert (await holder(engine, job))[0] == "friend"


async def test_the_zone_is_searched_outward_and_a_crowd_does_not_hide_others(engine: Engine) -> None:
    """Far from all technicians the radius grows step by step; among 300 technicians with former offers the search
    continues beyond them.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    crowd = [f"c{n}" for n in range(300)]
    for name in crowd:
        await people.technician(engine, name, serves, at=metres_north(20))
    far = await book(engine, carla, serves, at=metres_north(900_000))
    await run_due_tasks(engine)
    first = (await holder(engine, far))[0]
    assert first in crowd
    await people.technician(engine, "beyond", serves, at=metres_north(3_000))
    job = await book(engine, carla, serves)
    await engine.store.redis.hset(keys.job_offers(DEFAULT_ZONE, job), mapping=dict.fromkeys(crowd, "left 0 1 1 0"))
    await run_due_tasks(engine)
    assert (await holder(engine, job))[0] == "beyond"


async def test_two_schedulers_assign_once(engine: Engine) -> None:
    """A repeated task has no effect: there is one assignment, and the load grows by one."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "one", serves, capacity=5)
    job = await book(engine, carla, serves)
    await run_due_tasks(engine)
    await engine.store.redis.zadd(keys.due_tasks(DEFAULT_ZONE), {f"allocate:{job}:1": 0})
    await run_due_tasks(engine)
    assert len(await event_log.events(engine, "job.assigned", job)) == 1
    assert await engine.store.redis.hget(keys.technician(DEFAULT_ZONE, TechnicianId(UserId("one"))), "load") == b"1"
    shown = msgspec.json.decode(await job_queries.read_job(engine, people.ADMIN, job))
    assert shown["phase"] == "assigned" and shown["technician"]["id"] == "one"
