"""Schedules: a technician has no two booked jobs that overlap with travel and buffer. Each way to get a job refuses it
with `schedule_conflict`, before it succeeds for another time.
"""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from engine.clock import now_ms
from engine.domain import bids, edits, jobs, technician_schedules
from engine.domain.commands import CommandInput
from engine.errors import AtCapacity, Invalid, NotOffered, ScheduleConflict
from engine.events import ms_of, rfc3339_of
from engine.rules.working_hours import WeekSpan, WorkingHours
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, TechnicianId
from engine.workers import scheduler
from tests.engine import staff
from tests.engine.test_bids import create_bid, post_job
from tests.engine.test_previews import preview
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import exclusions, metres_north, offered_technicians, run_due_tasks
from tests.support.postgres import on_both_databases

MINUTE_MS = 60_000


def in_minutes(minutes: float) -> int:
    """Return the time ``minutes`` from now, in ms."""
    return now_ms() + round(minutes * MINUTE_MS)


async def booked(engine: Engine, carla: Principal, service: ServiceId, when: int | None, **more: Any) -> JobId:
    """Book a job of half an hour for a time, offer it, and return its id."""
    return await people.offered_job(engine, carla, service, **{"scheduled_for": when, "duration_min": 30, **more})


async def visits(engine: Engine, technician: Principal) -> dict[str, tuple[int, int]]:
    """Return start and end of each visit in a technician's schedule, by its job."""
    key = keys.technician_schedule(DEFAULT_ZONE, TechnicianId(technician.id))
    found = [
        (m.decode().split(" "), round(at)) for m, at in await engine.store.redis.zrange(key, 0, -1, withscores=True)
    ]
    return {words[1]: (at, int(words[0])) for words, at in found}


async def assign(engine: Engine, job: JobId, technician: Principal, *, force: bool = False) -> Any:
    """Let ops assign an open job of the blueprint ``managed``."""
    step = CommandInput(command="assign", technician=technician.id, force=force)
    return await jobs.run_command(engine, people.ADMIN, job, step)


async def managed(engine: Engine, carla: Principal, service: ServiceId, when: int, **more: Any) -> JobId:
    """Book a job of the blueprint ``managed`` for a time and return its id."""
    fields = {"blueprint": "managed", "scheduled_for": when, "duration_min": 30, **more}
    return people.id_of(await people.job(engine, carla, service, **fields))  # type: ignore[arg-type]


async def deliver(engine: Engine, driver: Principal, carla: Principal, service: ServiceId, at: int | None) -> None:
    """Book an order and let ops give it to a driver."""
    order = people.id_of(await people.job(engine, carla, service, blueprint="delivery", scheduled_for=at))
    await jobs.run_command(engine, people.ADMIN, order, CommandInput(command="confirm"))
    await jobs.run_command(engine, people.ADMIN, order, CommandInput(command="assign", technician=driver.id))


async def test_a_claim_that_overlaps_is_refused_with_the_times(engine: Engine) -> None:
    """A technician below their capacity cannot claim a job whose time, with the buffer, overlaps their other job. The
    refusal names the other job and its times, also when it is repeated. Another technician can claim the job, and the
    first one can claim a job that begins after the buffer.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service, capacity=3) for name in ("tom", "tara")]
    at = in_minutes(5)
    first = await booked(engine, carla, service, at)
    overlapping = await booked(engine, carla, service, at + 29 * MINUTE_MS)
    in_the_buffer = await booked(engine, carla, service, at + 44 * MINUTE_MS)
    after = await booked(engine, carla, service, at + 45 * MINUTE_MS)
    await jobs.claim(engine, tom, first)
    request_key = str(uuid.uuid4())
    for job, key in ((overlapping, request_key), (overlapping, request_key), (in_the_buffer, None)):
        with pytest.raises(ScheduleConflict) as refused:
            await jobs.claim(engine, tom, job, key=key)
        conflict = {"from": rfc3339_of(at), "to": rfc3339_of(at + 30 * MINUTE_MS)}
        assert refused.value.extra == {"conflict": conflict, "job": {"id": first}}
    assert await visits(engine, tom) == {first: (at, at + 30 * MINUTE_MS)}
    await jobs.claim(engine, tara, overlapping)
    await jobs.claim(engine, tom, after)
    assert set(await visits(engine, tom)) == {first, after}


async def test_a_wave_asks_nobody_whose_time_is_taken(engine: Engine) -> None:
    """A technician below their capacity whose booked job overlaps a new one is not asked, and the record and the
    preview say why. They are asked for a later job, and for the first one when their time is free.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service, capacity=3) for name in ("tom", "tara")]
    at = in_minutes(5)
    mine = await managed(engine, carla, service, at)
    await assign(engine, mine, tom)
    during = await booked(engine, carla, service, at + 29 * MINUTE_MS)
    assert await offered_technicians(engine, during) == [tara.id]
    assert await exclusions(engine, during) == {"schedule_conflict": [tom.id]}
    with pytest.raises(NotOffered):
        await jobs.claim(engine, tom, during)
    after = await booked(engine, carla, service, at + 45 * MINUTE_MS)
    assert await offered_technicians(engine, after) == [tara.id, tom.id]
    seen = await preview(engine, service, carla, scheduled_for=at + 29 * MINUTE_MS, duration_min=30)
    assert seen["out"]["schedule_conflict"]["technicians"] == [tom.id]
    await jobs.run_command(engine, people.ADMIN, mine, CommandInput(command="cancel", reason="r"))
    await scheduler.open_wave(engine, DEFAULT_ZONE, during, 2)
    assert await offered_technicians(engine, during) == [tara.id, tom.id]


async def test_travel_counts_in_both_directions(engine: Engine) -> None:
    """A job 10 km away needs the travel time besides the buffer, before and after it."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=3)
    here, far = in_minutes(20), metres_north(10_000)
    await assign(engine, await managed(engine, carla, service, here, duration_min=1), tom)
    for minutes in (-17, 17):
        near = await managed(engine, carla, service, here + minutes * MINUTE_MS, duration_min=1)
        away = await managed(engine, carla, service, here + minutes * MINUTE_MS, duration_min=1, at=far)
        with pytest.raises(ScheduleConflict):
            await assign(engine, away, tom)
        await assign(engine, near, tom)


async def test_a_job_without_a_time_is_refused_only_if_it_makes_a_booked_one_late(engine: Engine) -> None:
    """Jobs without a time can run at the same time, up to the capacity. A job that ends too late for a booked job is
    refused; a shorter one is not. A booked job that overlaps such a job is refused.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=3)
    job, soon = [await booked(engine, carla, service, in_minutes(minutes), duration_min=1) for minutes in (50, 40)]
    long, *short = [await booked(engine, carla, service, None, duration_min=minutes) for minutes in (40, 30, 30, 30)]
    await jobs.claim(engine, tom, job)
    with pytest.raises(ScheduleConflict) as refused:
        await jobs.claim(engine, tom, long)
    assert refused.value.extra["job"] == {"id": job}
    for each in short[:2]:
        await jobs.claim(engine, tom, each)
    with pytest.raises(ScheduleConflict):
        await jobs.claim(engine, tom, soon)
    with pytest.raises(AtCapacity):
        await jobs.claim(engine, tom, short[2])


async def test_deliveries_run_beside_each_other(engine: Engine) -> None:
    """A driver with capacity 3 takes three deliveries for the same time. A fourth is `at_capacity`. None of them is in
    the schedule, and one without a time that would make a booked job late is refused.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    dora = await people.technician(engine, "dora", service, capacity=3)
    at = in_minutes(30)
    for _ in range(3):
        await deliver(engine, dora, carla, service, at)
    with pytest.raises(AtCapacity):
        await deliver(engine, dora, carla, service, at)
    assert await visits(engine, dora) == {}
    dan = await people.technician(engine, "dan", service, capacity=3)
    await assign(engine, await managed(engine, carla, service, in_minutes(5)), dan)
    with pytest.raises(ScheduleConflict):
        await deliver(engine, dan, carla, service, None)


async def test_ops_may_force_an_overlap_and_the_event_says_so(engine: Engine) -> None:
    """Ops assign a job that overlaps another one only by `force`, which the event records. Both jobs are then in the
    schedule, and a third one is still refused.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=3)
    at = in_minutes(5)
    first, second, third = [await managed(engine, carla, service, at) for _ in range(3)]
    await assign(engine, first, tom)
    with pytest.raises(ScheduleConflict) as refused:
        await assign(engine, second, tom)
    assert refused.value.extra["job"] == {"id": first}
    await assign(engine, second, tom, force=True)
    forced = [event_log.payload(event).get("forced") for event in await event_log.events(engine, "job.assigned")]
    assert forced == [None, True]
    assert set(await visits(engine, tom)) == {first, second}
    with pytest.raises(ScheduleConflict):
        await assign(engine, third, tom)


async def test_whoever_is_freed_has_the_time_again(engine: Engine) -> None:
    """The technician's time is free again after the job was given back, reassigned, cancelled or done."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service, capacity=3) for name in ("tom", "tara")]
    at = in_minutes(5)

    async def next_job() -> JobId:
        job = await booked(engine, carla, service, at)
        await jobs.claim(engine, tom, job)
        assert set(await visits(engine, tom)) == {job}
        return job

    await jobs.run_command(engine, tom, await next_job(), CommandInput(command="unassign"))
    given = await next_job()
    step = CommandInput(command="reassign", technician=tara.id, reason="r")
    await jobs.run_command(engine, people.ADMIN, given, step)
    assert set(await visits(engine, tara)) == {given}
    await jobs.run_command(engine, carla, await next_job(), CommandInput(command="cancel", reason="r"))
    done = await next_job()
    for command in ("depart", "arrive", "start", "complete"):
        await jobs.run_command(engine, tom, done, CommandInput(command=command))
    await next_job()


async def test_a_late_joiner_is_asked_only_if_they_have_time(engine: Engine) -> None:
    """A technician who comes online is not offered a waiting job that overlaps their booked one. They are offered one
    that does not overlap, and the first one when their time is free.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=3)
    at = in_minutes(5)
    mine = await managed(engine, carla, service, at)
    await assign(engine, mine, tom)
    await live.set_availability(engine, tom, tom.id, online=False)
    during, after = [await booked(engine, carla, service, at + minutes * MINUTE_MS) for minutes in (29, 45)]
    for has_time in (False, True):
        if has_time:
            await jobs.run_command(engine, people.ADMIN, mine, CommandInput(command="cancel", reason="r"))
        await live.set_availability(engine, tom, tom.id, online=False)
        await live.set_availability(engine, tom, tom.id, online=True, position=people.HERE)
        await run_due_tasks(engine)
        assert await offered_technicians(engine, after) == [tom.id]
        assert await offered_technicians(engine, during) == [tom.id] * has_time


async def test_a_bid_at_a_time_that_is_taken_is_refused(engine: Engine) -> None:
    """A technician cannot bid for a job that overlaps their booked one, and is not invited to. The refusal names the
    other job. They may bid for one that does not overlap, and for one without a time, which takes none yet.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service, capacity=3) for name in ("tom", "tara")]
    at = in_minutes(24 * 60)
    mine = await post_job(engine, carla, service, scheduled_for=at)
    await bids.accept_bid(engine, carla, mine, await create_bid(engine, tom, mine))
    during, after = [await post_job(engine, carla, service, scheduled_for=at + hours * 3_600_000) for hours in (1, 2)]
    await scheduler.open_wave(engine, DEFAULT_ZONE, during, 1)
    assert await offered_technicians(engine, during) == [tara.id]
    seen = await preview(engine, service, carla, scheduled_for=at, duration_min=60, blueprint="marketplace")
    assert seen["out"]["schedule_conflict"]["technicians"] == [tom.id]
    for key in [str(uuid.uuid4())] * 2:
        with pytest.raises(ScheduleConflict) as refused:
            await create_bid(engine, tom, during, key=key)
        conflict = {"from": rfc3339_of(at), "to": rfc3339_of(at + 60 * MINUTE_MS)}
        assert refused.value.extra == {"conflict": conflict, "job": {"id": mine}}
    for job in (after, await post_job(engine, carla, service, duration_min=1_440)):
        await create_bid(engine, tom, job)


async def test_an_award_that_overlaps_is_refused(engine: Engine) -> None:
    """A bid of a technician whose time was taken after the bid cannot be accepted. The customer sees the times of the
    conflict, not the other job. Another bid can be accepted.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service, capacity=3) for name in ("tom", "tara")]
    at = in_minutes(24 * 60)
    first, second = [await post_job(engine, carla, service, scheduled_for=at) for _ in range(2)]
    first_bid, second_bid = [await create_bid(engine, tom, job) for job in (first, second)]
    await bids.accept_bid(engine, carla, first, first_bid)
    with pytest.raises(ScheduleConflict) as refused:
        await bids.accept_bid(engine, carla, second, second_bid)
    assert refused.value.extra == {"conflict": {"from": rfc3339_of(at), "to": rfc3339_of(at + 60 * MINUTE_MS)}}
    await bids.accept_bid(engine, carla, second, await create_bid(engine, tara, second))


async def test_an_edit_that_overlaps_is_refused(engine: Engine) -> None:
    """The time, the duration and the place of a job that somebody holds change only if their schedule allows it."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=3)
    at = in_minutes(24 * 60)
    first = await post_job(engine, carla, service, scheduled_for=at)
    second = await post_job(engine, carla, service, scheduled_for=at + 80 * MINUTE_MS)
    for job in (first, second):
        await bids.accept_bid(engine, carla, job, await create_bid(engine, tom, job))
    changes: list[dict[str, Any]] = [{"scheduled_for": at + 6 * MINUTE_MS}, {"duration_min": 66}, {"lat": 40.85}]
    for change in changes:
        with pytest.raises(ScheduleConflict) as refused:
            await edits.edit_job(engine, carla, first, change)
        assert set(refused.value.extra) == {"conflict"}
        with pytest.raises(ScheduleConflict) as refused:
            await edits.edit_job(engine, people.ADMIN, first, change)
        assert refused.value.extra["job"] == {"id": second}
    await edits.edit_job(engine, carla, first, {"notes": "Ring twice"})
    await edits.edit_job(engine, carla, first, {"scheduled_for": at - 60 * MINUTE_MS, "duration_min": 90})
    assert (await visits(engine, tom))[first] == (at - 60 * MINUTE_MS, at + 30 * MINUTE_MS)


async def test_the_engine_chooses_somebody_who_has_time(engine: Engine) -> None:
    """A matching window gives a booked job to the nearest technician who has time."""
    service, carla = await people.service(engine), await people.customer(engine)
    near = await people.technician(engine, "near", service, capacity=2)
    await people.technician(engine, "far", service, capacity=2, at=metres_north(500))
    at = in_minutes(5)
    await jobs.claim(engine, near, await booked(engine, carla, service, at))
    job = await managed(engine, carla, service, at)
    await advance(engine, 1.1)  # the length of a matching window
    await run_due_tasks(engine)
    assert await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "holder") == b"far"  # type: ignore[misc]


async def test_a_job_that_is_not_finished_lasts_until_now(engine: Engine) -> None:
    """An overdue visit of a job that the technician still holds counts as if it ended now."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=3)
    at = in_minutes(1)
    await jobs.claim(engine, tom, await booked(engine, carla, service, at, duration_min=1))
    later = await managed(engine, carla, service, at + 30 * MINUTE_MS)
    await advance(engine, 20 * 60)
    await live.set_availability(engine, tom, tom.id, online=True, position=people.HERE)
    with pytest.raises(ScheduleConflict) as refused:
        await assign(engine, later, tom)
    assert ms_of(refused.value.extra["conflict"]["to"]) >= in_minutes(19)


@pytest.mark.usefixtures("records_by_hand")
async def test_more_visits_than_are_compared_are_a_conflict(engine: Engine) -> None:
    """A technician with 65 visits around the time gets no other booked job."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=100)
    key = keys.technician_schedule(DEFAULT_ZONE, TechnicianId(tom.id))
    job = await managed(engine, carla, service, in_minutes(24 * 60))
    start = in_minutes(60)
    many = {f"{start + 1} job_main_{number:02} 40.75 -73.99": start for number in range(65)}
    await engine.store.redis.zadd(key, many)
    with pytest.raises(ScheduleConflict):
        await assign(engine, job, tom)
    await engine.store.redis.zrem(key, next(iter(many)))
    await assign(engine, job, tom)


@on_both_databases
async def test_hours_are_stored_and_read_for_many(engine: Engine) -> None:
    """The hours of a technician are the last ones that were stored. Technicians without hours are left out."""
    tom, tara = await staff.register_technician(engine), await staff.register_technician(engine)
    with pytest.raises(Invalid):
        await technician_schedules.put_hours(engine, tom, tom.id, WorkingHours("nowhere"))
    for hours in (WorkingHours("UTC"), WorkingHours("UTC", (WeekSpan(1, "08:00", "12:00"),))):
        await technician_schedules.put_hours(engine, tom, tom.id, hours)
    ids = [TechnicianId(who.id) for who in (tom, tara)]
    assert await technician_schedules.read_hours(engine, ids) == {tom.id: hours}
