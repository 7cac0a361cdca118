"""`match_take` assigns the proposal of a matching window only if nothing has changed since the window's view."""

from __future__ import annotations

from typing import Any

import pytest

from engine.domain import schedules
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, ServiceId, TechnicianId, UserId
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import change_record, metres_north

REFUSALS: dict[str, dict[str, str]] = {
    "profile_incomplete": {"complete": ""},
    "kyc_not_approved": {"kyc": "pending"},
    "account_not_approved": {"account": "suspended"},
    "offline": {"online": ""},
    "at_capacity": {"load": "1"},
    "no_position": {"lat": ""},
    "stale_position": {"fix_at": "1"},
    "service": {"services": "another"},
}
"""What changes in the record of the technician between the window and the take, by the reason of the refusal."""


async def book(engine: Engine, service: ServiceId | None = None, **more: Any) -> JobId:
    """Book a job of `managed` at `people.HERE`, of a new service unless it is given, and return its id."""
    service, carla = service or await people.service(engine), await people.customer(engine)
    return people.id_of(await people.job(engine, carla, service, blueprint="managed", **more))


async def scene(engine: Engine, **more: Any) -> JobId:
    """Book a job with the technician `tom` 100 m away, and return its id."""
    service = await people.service(engine)
    await people.technician(engine, "tom", service, at=metres_north(100))
    return await book(engine, service, **more)


async def take(engine: Engine, job: JobId, technician: str = "tom", **changes: Any) -> str:
    """Propose a pair to `match_take`, as a window that has seen the job's present version does; ``changes`` replace
    arguments. Return "taken", or the reason why nothing was done. Assert that the log and the job's version have
    changed only if the job was taken.
    """
    blueprint = engine.blueprints.by_name["managed"]
    version = await read_field(engine, job, "version")
    plan = engine.plans.find_plan(blueprint, "assign")
    assert plan is not None
    args: dict[str, Any] = {
        "technician": technician,
        "seen": version or 0,
        "how": "reach",
        "plan": plan.plan_json,
        "others": "",
    }
    args |= {"others": "", "record": "", "schedule": schedules.rule_text(engine, DEFAULT_ZONE, blueprint)}
    script_keys = {
        "meta": keys.zone_meta(DEFAULT_ZONE),
        "job": keys.job(DEFAULT_ZONE, job),
        "offers": keys.job_offers(DEFAULT_ZONE, job),
        "waves": keys.job_waves(DEFAULT_ZONE, job),
        "log": keys.log(DEFAULT_ZONE),
    }
    before = len(await event_log.events(engine))
    done = await engine.store.run(DEFAULT_ZONE, "match_take", keys=script_keys, args={**args, **changes})
    who, why = (each.decode() for each in done.values)
    after = await read_field(engine, job, "version")
    changed = (len(await event_log.events(engine)) > before, after != version)
    assert changed == (who != "", who != "") and (who == technician) == (why == "")
    return why or "taken"


async def read_field(engine: Engine, job: JobId, name: str) -> str:
    """Return a field of a job's record; "" if it is missing."""
    found: bytes = await engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), name) or b""
    return found.decode()


async def change_job(engine: Engine, job: JobId, **fields: str) -> None:
    """Write fields of a job's record directly, without a script."""
    await engine.store.redis.hset(keys.job(DEFAULT_ZONE, job), mapping=fields)  # type: ignore[arg-type]


@pytest.mark.usefixtures("records_by_hand")
async def test_a_job_that_has_changed_is_not_taken(engine: Engine) -> None:
    """A job is not taken if it is unknown, has another version, is frozen, is not released yet, is in no window, or is
    in a state from which the engine may not assign it. Then the same job is taken once, and not a second time.
    """
    job = await scene(engine)
    assert await take(engine, JobId("job_main_unknown")) == "not_searching"
    assert await take(engine, job, seen=7) == "version"
    await change_job(engine, job, frozen="dsp_1")
    assert await take(engine, job) == "frozen"
    release = await read_field(engine, job, "release")
    await change_job(engine, job, frozen="", release="9000000000000")
    assert await take(engine, job) == "too_early"
    rule = await read_field(engine, job, "window")
    await change_job(engine, job, release=release)
    await engine.store.command("HDEL", keys.job(DEFAULT_ZONE, job), "window")
    assert await take(engine, job) == "no_window"
    await change_job(engine, job, window=rule)
    accept = engine.plans.find_plan(engine.blueprints.by_name["managed"], "accept")
    assert accept is not None
    assert await take(engine, job, plan=accept.plan_json) == "illegal_transition"
    assert await take(engine, job, how="preferred") == "not_preferred"
    assert await take(engine, job) == "taken"
    assert await take(engine, job) == "not_searching"


@pytest.mark.usefixtures("records_by_hand")
async def test_a_technician_who_has_changed_gets_nothing(engine: Engine) -> None:
    """A technician whose record has changed so that they do not fit any more does not get the job."""
    job = await scene(engine)
    # The grace period after the opening of the zone, in which no position is stale, is over.
    await advance(engine, 130)
    tom = people.technician_without_account("tom")
    await live.set_availability(engine, tom, "tom", online=True, position=metres_north(100))
    record = keys.technician(DEFAULT_ZONE, TechnicianId(UserId("tom")))
    for reason, changes in REFUSALS.items():
        before = await engine.store.command("HMGET", record, *changes)
        await change_record(engine, "tom", **changes)
        assert await take(engine, job) == reason
        await change_record(engine, "tom", **dict(zip(changes, before, strict=True)))
    assert await take(engine, job) == "taken"


@pytest.mark.usefixtures("records_by_hand")
async def test_who_was_asked_or_is_blocked_gets_nothing(engine: Engine) -> None:
    """An unknown technician, one who left the job, and one whom the customer has blocked meanwhile do not get the
    job.
    """
    job = await scene(engine)
    assert await take(engine, job, technician="nobody") == "unknown"
    offers = keys.job_offers(DEFAULT_ZONE, job)
    for record, reason in (("left 0 1 1 0", "left"), ("rejected 0 1 1 0", "asked")):
        await engine.store.redis.hset(offers, "tom", record)
        assert await take(engine, job) == reason
    await engine.store.redis.delete(offers)
    customer = await read_field(engine, job, "customer")
    blocks = keys.user_blocks(DEFAULT_ZONE, UserId(customer))
    await engine.store.redis.sadd(blocks, "tom")
    assert await take(engine, job) == "blocked"
    await engine.store.redis.delete(blocks)
    assert await take(engine, job) == "taken"


async def test_a_technician_who_went_away_is_too_far(engine: Engine) -> None:
    """A technician may be at most 250 m farther away than the reach of the job (2,800 m), because they may have moved
    since the view. A technician beyond the reach gets the job only while nobody nearer is busy. The preferred
    technician gets it at any distance.
    """
    job = await scene(engine)
    tom = people.technician_without_account("tom")
    for metres, why in ((3_200, "too_far"), (3_000, "taken")):
        await live.set_availability(engine, tom, "tom", online=True, position=metres_north(metres))
        assert await take(engine, job) == why
    service = ServiceId(await read_field(engine, job, "service"))
    await people.technician(engine, "far", service, at=metres_north(9_000))
    other = await book(engine, service, technician="far")
    assert await take(engine, other, "far", how="beyond") == "too_far", "tom is busy, and nearer"
    assert await take(engine, other, "far", how="preferred") == "taken"


async def test_a_technician_beyond_the_reach_gets_the_job_if_nobody_nearer_is_busy(engine: Engine) -> None:
    """If nobody nearer could become free, a technician beyond the reach gets the job."""
    service = await people.service(engine)
    await people.technician(engine, "far", service, at=metres_north(9_000))
    job = await book(engine, service)
    assert await take(engine, job, "far") == "too_far"
    assert await take(engine, job, "far", how="beyond") == "taken"
