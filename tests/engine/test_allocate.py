"""The engine chooses: who is considered, who gets the job, and what happens when he does not want it."""

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


async def booked(engine: Engine, carla: Principal, serves: ServiceId, **more: Any) -> JobId:
    """A job of the blueprint in which the engine chooses."""
    return people.id_of(await people.job(engine, carla, serves, blueprint="managed", **more))


async def rated(engine: Engine, name: str, stars: float) -> None:
    """Give a technician this rating."""
    row = keys.technician(DEFAULT_ZONE, TechnicianId(UserId(name)))
    await engine.store.redis.hset(row, "rating", str(stars))


async def holder(engine: Engine, job: JobId) -> tuple[str, str]:
    """Who holds a job, and its state."""
    row = await engine.store.redis.hmget(keys.job(DEFAULT_ZONE, job), "holder", "status")
    return row[0].decode(), row[1].decode()


async def unfilled(engine: Engine, job: JobId) -> list[Any]:
    """What ops were told of nobody's taking it."""
    return [(e.to, event_log.payload(e)["step"]) for e in await event_log.events(engine, "job.unfilled", job)]


async def test_nobody_fits_and_it_is_tried_again(engine: Engine) -> None:
    """Ops hear of it once; each minute there is another look, and who has come by then gets the job."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "away", serves, at=None)
    job = await booked(engine, carla, serves)
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


async def test_who_is_not_fit_is_not_chosen(engine: Engine) -> None:
    """Blocked by the customer, of another service, full, or declined before: the record says why."""
    serves, other, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    for name, service in (("blocked", serves), ("elsewhere", other), ("full", serves), ("left", serves)):
        await people.technician(engine, name, service, at=metres_north(10))
    await engine.store.redis.sadd(keys.blocks(DEFAULT_ZONE, carla.id), "blocked")
    row = keys.technician(DEFAULT_ZONE, TechnicianId(UserId("full")))
    await engine.store.redis.hset(row, "load", 1)
    job = await booked(engine, carla, serves)
    await engine.store.redis.hset(keys.offers(DEFAULT_ZONE, job), "left", "left 0 1 1 0")
    await run_due_tasks(engine)
    assert (await holder(engine, job))[0] == ""
    assert await exclusions(engine, job) == {"blocked": ["blocked"], "at_capacity": ["full"], "left": ["left"]}


async def test_the_best_by_the_weights_gets_it_and_the_record_says_by_what(engine: Engine) -> None:
    """Rating and free hands outweigh some kilometres; customer, holder and ops hear of it, and ops see each part."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "near", serves, at=metres_north(100))
    await people.technician(engine, "good", serves, at=metres_north(1_000))
    await people.technician(engine, "busy", serves, at=metres_north(900), capacity=2)
    for name, stars in (("near", 4.0), ("good", 4.9), ("busy", 5.0)):
        await rated(engine, name, stars)
    await engine.store.redis.hset(keys.technician(DEFAULT_ZONE, TechnicianId(UserId("busy"))), "load", 1)
    job = await booked(engine, carla, serves)
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


async def test_who_declines_is_not_asked_again_and_the_next_best_is(engine: Engine) -> None:
    """A no and a silence both pass the job on; when all were asked it is nobody's, and ops hear of it."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "one", serves, at=metres_north(100))
    await people.technician(engine, "two", serves, at=metres_north(200))
    job = await booked(engine, carla, serves)
    await run_due_tasks(engine)
    await jobs.command(engine, one, job, Step(command="decline"))
    await run_due_tasks(engine)
    assert await holder(engine, job) == ("two", "assigned")
    await advance(engine, 60.1)  # his silence is a no: a timer of the blueprint
    await live.touch(engine, DEFAULT_ZONE, ["one", "two"])
    await run_due_tasks(engine)
    assert await holder(engine, job) == ("", "requested") and len(await unfilled(engine, job)) == 1
    assert (await exclusions(engine, job))["left"] == ["one", "two"]
    with pytest.raises(CalloutError):
        await jobs.command(engine, one, job, Step(command="accept"))


async def test_the_preferred_gets_it_before_a_better_one(engine: Engine) -> None:
    """Whom the customer names is chosen if he fits, wherever in the zone he is."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "near", serves, at=metres_north(100))
    await people.technician(engine, "friend", serves, at=metres_north(30_000))
    job = await booked(engine, carla, serves, technician="friend")
    await run_due_tasks(engine)
    assert (await holder(engine, job))[0] == "friend"


async def test_the_zone_is_searched_outward_and_a_crowd_does_not_hide_others(engine: Engine) -> None:
    """Far from everybody the look widens turn by turn; amid 300 who were asked already it goes on beyond them."""
    serves, carla = await people.service(engine), await people.customer(engine)
    crowd = [f"c{n}" for n in range(300)]
    for name in crowd:
        await people.technician(engine, name, serves, at=metres_north(20))
    far = await booked(engine, carla, serves, at=metres_north(900_000))
    await run_due_tasks(engine)
    first = (await holder(engine, far))[0]
    assert first in crowd
    await people.technician(engine, "beyond", serves, at=metres_north(3_000))
    job = await booked(engine, carla, serves)
    await engine.store.redis.hset(keys.offers(DEFAULT_ZONE, job), mapping=dict.fromkeys(crowd, "left 0 1 1 0"))
    await run_due_tasks(engine)
    assert (await holder(engine, job))[0] == "beyond"


async def test_two_runners_assign_once(engine: Engine) -> None:
    """The due work done again is a no-op: one assignment, one job more in his hands."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "one", serves, capacity=5)
    job = await booked(engine, carla, serves)
    await run_due_tasks(engine)
    await engine.store.redis.zadd(keys.due(DEFAULT_ZONE), {f"allocate:{job}:1": 0})
    await run_due_tasks(engine)
    assert len(await event_log.events(engine, "job.assigned", job)) == 1
    assert await engine.store.redis.hget(keys.technician(DEFAULT_ZONE, TechnicianId(UserId("one"))), "load") == b"1"
    shown = msgspec.json.decode(await job_queries.read(engine, people.ADMIN, job))
    assert shown["phase"] == "assigned" and shown["technician"]["id"] == "one"
