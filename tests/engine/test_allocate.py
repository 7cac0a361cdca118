"""Allocation of one job at a time, in which the engine assigns the job without an offer: which technicians it
considers, whom it assigns, and what happens after a refusal. (Allocation in windows has its own tests,
tests/engine/test_match_*.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest

from engine.clock import now_ms
from engine.domain import job_history, job_queries, jobs
from engine.domain.jobs import CommandInput
from engine.errors import CalloutError
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId, UserId
from tests.support import blueprints, event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import change_record, exclusions, metres_north, run_due_tasks


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with the blueprint `alone`: `managed` without matching windows."""
    text = blueprints.edited_toml("managed", {'name = "managed"': 'name = "alone"', "\nmatch = ": "\n# match = "})
    return blueprints.settings_with_blueprints(settings, tmp_path / "blueprints", alone=text)


async def book_managed_job(engine: Engine, carla: Principal, service: ServiceId, **more: Any) -> JobId:
    """Book a job of the blueprint `alone`, in which the engine assigns the technician. Return its id."""
    return people.id_of(await people.job(engine, carla, service, blueprint="alone", **more))


async def set_rating(engine: Engine, technician: str, stars: float) -> None:
    """Write a technician's rating to Redis."""
    await change_record(engine, technician, rating=str(stars))


async def holder_and_status(engine: Engine, job: JobId) -> tuple[str, str]:
    """Return a job's holder ("" if it has none) and its status."""
    row = await engine.store.redis.hmget(keys.job(DEFAULT_ZONE, job), "holder", "status")
    return row[0].decode(), row[1].decode()


async def unfilled_events(engine: Engine, job: JobId) -> list[Any]:
    """Return the channels and the step of each `job.unfilled`, the event that informs ops that no technician takes the
    job.
    """
    return [(e.to, event_log.payload(e)["step"]) for e in await event_log.events(engine, "job.unfilled", job)]


async def test_allocation_is_retried_while_nobody_is_eligible(engine: Engine) -> None:
    """If no technician is eligible, ops receive one `job.unfilled` and the engine tries again every minute. It assigns
    a technician who goes online in the meantime.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "away", service, at=None)
    job = await book_managed_job(engine, carla, service)
    await run_due_tasks(engine)
    assert await holder_and_status(engine, job) == ("", "requested")
    [(to, step)] = await unfilled_events(engine, job)
    assert "role:ops" in to and step == "allocate"
    await advance(engine, 60.1)
    await run_due_tasks(engine)
    assert len(await unfilled_events(engine, job)) == 1
    await live.set_availability(
        engine, people.technician_without_account("away"), "away", online=True, position=metres_north(50)
    )
    await advance(engine, 60.1)
    await run_due_tasks(engine)
    assert await holder_and_status(engine, job) == ("away", "assigned")


@pytest.mark.usefixtures("records_by_hand")
async def test_ineligible_technicians_are_not_chosen(engine: Engine) -> None:
    """The engine assigns no technician whom the customer blocked, who lacks the service, who is at capacity or who left
    the job before. The wave's record contains each reason.
    """
    service, other, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    for name, offered_service in (("blocked", service), ("elsewhere", other), ("full", service), ("left", service)):
        await people.technician(engine, name, offered_service, at=metres_north(10))
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, carla.id), "blocked")
    await change_record(engine, "full", load=1)
    job = await book_managed_job(engine, carla, service)
    await engine.store.redis.hset(keys.job_offers(DEFAULT_ZONE, job), "left", "left 0 1 1 0")
    await run_due_tasks(engine)
    assert (await holder_and_status(engine, job))[0] == ""
    assert await exclusions(engine, job) == {"blocked": ["blocked"], "at_capacity": ["full"], "left": ["left"]}


async def test_a_technician_whose_time_is_taken_is_not_chosen(engine: Engine) -> None:
    """A booked job is assigned to the nearest technician who has no other job at that time. The wave's record contains
    the reason for the other technicians.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    near = await people.technician(engine, "near", service, capacity=2)
    await people.technician(engine, "far", service, at=metres_north(500))
    first, second = [await book_managed_job(engine, carla, service, scheduled_for=now_ms() + 300_000) for _ in range(2)]
    step = CommandInput(command="assign", technician=near.id)
    await jobs.run_command(engine, people.ADMIN, first, step)
    await run_due_tasks(engine)
    assert await holder_and_status(engine, second) == ("far", "assigned")
    assert (await exclusions(engine, second))["schedule_conflict"] == ["near"]


async def test_the_best_score_gets_the_job_and_its_parts_are_recorded(engine: Engine) -> None:
    """The engine assigns the technician with the best score, in which rating and low workload outweigh some kilometres.
    The wave's record contains each part of each score.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "near", service, at=metres_north(100))
    await people.technician(engine, "good", service, at=metres_north(1_000))
    await people.technician(engine, "busy", service, at=metres_north(900), capacity=2)
    for name, stars in (("near", 4.0), ("good", 4.9), ("busy", 5.0)):
        await set_rating(engine, name, stars)
    await change_record(engine, "busy", load=1)
    job = await book_managed_job(engine, carla, service)
    await run_due_tasks(engine)
    assert await holder_and_status(engine, job) == ("good", "assigned")
    [event] = await event_log.events(engine, "job.assigned", job)
    assert {f"user:{carla.id}", "role:ops"} <= set(event.to) and "user:good" not in event.to
    [public_event] = await event_log.public_events(engine, "job.assigned", job)
    assert public_event.to == ("user:good",) and event_log.payload(public_event)["job"]["technician"]["id"] == "good"
    payload = event_log.payload(event)
    assert (payload["technician"]["id"], payload["actor"]["role"]) == ("good", "engine")
    [look] = [orjson.loads(w) for w in await job_history.waves(engine, people.ADMIN, job)]
    assert look["in"]["technicians"] == ["good"] and sorted(look["out"]["rank"]["technicians"]) == ["busy", "near"]
    scores = {s["technician"]: s for s in look["scores"]}
    assert [s["technician"] for s in look["scores"]] == ["good", "near", "busy"]
    assert scores["busy"]["workload"] == 2.5 and scores["good"]["rating"] == -9.8
    assert scores["good"]["score"] == pytest.approx(1.0 - 9.8, abs=0.01)


async def test_after_a_decline_the_next_best_is_assigned(engine: Engine) -> None:
    """After a decline or 60 s without an answer, the engine assigns the next best technician. Without a further
    candidate the job is `requested` again and ops receive `job.unfilled`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "one", service, at=metres_north(100))
    await people.technician(engine, "two", service, at=metres_north(200))
    job = await book_managed_job(engine, carla, service)
    await run_due_tasks(engine)
    await jobs.run_command(engine, tom, job, CommandInput(command="decline"))
    await run_due_tasks(engine)
    assert await holder_and_status(engine, job) == ("two", "assigned")
    await advance(engine, 60.1)  # a timer of the blueprint treats a missing answer as a decline
    await live.renew_leases(engine, DEFAULT_ZONE, ["one", "two"])
    await run_due_tasks(engine)
    assert await holder_and_status(engine, job) == ("", "requested") and len(await unfilled_events(engine, job)) == 1
    assert (await exclusions(engine, job))["left"] == ["one", "two"]
    with pytest.raises(CalloutError):
        await jobs.run_command(engine, tom, job, CommandInput(command="accept"))


async def test_the_preferred_technician_is_assigned_before_a_better_one(engine: Engine) -> None:
    """If the technician whom the customer prefers is eligible, the engine assigns them, at any distance within the
    zone.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "near", service, at=metres_north(100))
    await people.technician(engine, "friend", service, at=metres_north(30_000))
    job = await book_managed_job(engine, carla, service, technician="friend")
    await run_due_tasks(engine)
    assert (await holder_and_status(engine, job))[0] == "friend"


@pytest.mark.usefixtures("records_by_hand")
async def test_the_search_widens_until_it_finds_an_eligible_technician(engine: Engine) -> None:
    """A search far from all technicians widens its radius until it finds one. If the nearest 300 technicians left the
    job before, the search continues beyond them.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    crowd = [f"c{n}" for n in range(300)]
    for name in crowd:
        await people.technician(engine, name, service, at=metres_north(20))
    far_job = await book_managed_job(engine, carla, service, at=metres_north(900_000))
    await run_due_tasks(engine)
    first = (await holder_and_status(engine, far_job))[0]
    assert first in crowd
    await people.technician(engine, "beyond", service, at=metres_north(3_000))
    job = await book_managed_job(engine, carla, service)
    await engine.store.redis.hset(keys.job_offers(DEFAULT_ZONE, job), mapping=dict.fromkeys(crowd, "left 0 1 1 0"))
    await run_due_tasks(engine)
    assert (await holder_and_status(engine, job))[0] == "beyond"


async def test_a_repeated_allocation_assigns_once(engine: Engine) -> None:
    """If the scheduled task of an allocation runs twice, the job is assigned once and the technician's load rises by
    one.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "one", service, capacity=5)
    job = await book_managed_job(engine, carla, service)
    await run_due_tasks(engine)
    await engine.store.redis.zadd(keys.due_tasks(DEFAULT_ZONE), {f"allocate:{job}:1": 0})
    await run_due_tasks(engine)
    assert len(await event_log.events(engine, "job.assigned", job)) == 1
    assert await engine.store.redis.hget(keys.technician(DEFAULT_ZONE, TechnicianId(UserId("one"))), "load") == b"1"
    job_view = msgspec.json.decode(await job_queries.read_job(engine, people.ADMIN, job))
    assert job_view["phase"] == "assigned" and job_view["technician"]["id"] == "one"
