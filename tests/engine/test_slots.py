"""Slots and reservations: the refusals, that each slot that is shown can be booked, and that of many simultaneous
bookings exactly as many get a slot as technicians are free.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from engine.blueprint.schedule_rule import ScheduleRule
from engine.clock import now_ms
from engine.domain import booking, jobs, slots, technician_schedules
from engine.domain.booking import Booking
from engine.domain.jobs import CommandInput
from engine.domain.slots import SlotQuery
from engine.errors import CalloutError, ScheduleConflict
from engine.events import ms_of
from engine.idempotency.in_redis import Outcome
from engine.rules.slots import GRID_MS, Slot
from engine.rules.working_hours import DateSpan, WeekSpan, WorkingHours
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId
from engine.workers import position_archive
from tests.engine import staff
from tests.engine.test_allocate import holder_and_status
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import metres_north, run_due_tasks

HOUR_MS = 3_600_000
RESERVING = "managed"


@pytest.fixture
def reserving(engine: Engine) -> Engine:
    """Return the engine, whose blueprint ``managed`` books a technician with each booking for a time."""
    blueprints = engine.blueprints
    found = msgspec.structs.replace(blueprints.by_name[RESERVING], schedule=ScheduleRule(reserve=True))
    blueprints.by_name[RESERVING] = blueprints.by_key[found.key] = found
    return engine


async def technicians_of_town(engine: Engine, service: ServiceId, *metres: float) -> list[str]:
    """Create an approved technician for each distance ``metres`` north of ``people.HERE``, and store their positions in
    SQL. Return their ids.
    """
    found = [await staff.create_eligible_technician(engine, service) for _ in metres]
    for who, north in zip(found, metres, strict=True):
        await live.set_availability(engine, who, who.id, online=True, position=metres_north(north))
    await position_archive.store_positions(engine, DEFAULT_ZONE)
    return [who.id for who in found]


def query(service: ServiceId, *, hours: float = 24, **changes: Any) -> SlotQuery:
    """Return a query for slots at ``people.HERE`` in the next hours."""
    place = {"lat": people.HERE.lat, "lon": people.HERE.lon}
    times = {"first": now_ms(), "last": now_ms() + round(hours * HOUR_MS)}
    fields = {"service": service, "blueprint": RESERVING, **place, **times, **changes}
    return SlotQuery(**fields)  # type: ignore[arg-type]


async def find(engine: Engine, caller: Principal, service: ServiceId, **changes: Any) -> list[Slot]:
    """Return the slots that the caller sees."""
    return (await slots.find_slots(engine, caller, query(service, **changes))).slots


async def book(engine: Engine, customer: Principal, service: ServiceId, begin: int, **changes: Any) -> Outcome:
    """Book the slot that begins at a time (ms)."""
    return await people.job(engine, customer, service, **{"blueprint": RESERVING, "scheduled_for": begin, **changes})


async def cancel(engine: Engine, customer: Principal, booked: Outcome) -> None:
    """Cancel the job of a booking."""
    await jobs.run_command(engine, customer, people.id_of(booked), CommandInput(command="cancel"))


async def holders(engine: Engine, outcomes: list[Any]) -> list[str]:
    """Return the holders of the jobs of successful bookings, sorted."""
    names = [people.id_of(outcome) for outcome in outcomes if isinstance(outcome, Outcome)]
    return sorted([(await holder_and_status(engine, job))[0] for job in names])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"first": 1_000_000}, "invalid"),
        ({"last": 1_000_000}, "invalid"),
        ({"last": 2**42}, "invalid"),
        ({"service": "srv_none"}, "invalid"),
        ({"lat": 89.0}, "invalid"),
        ({"blueprint": "none"}, "invalid"),
        ({"technician": "tom"}, "invalid"),
        ({"technician": "nobody", "blueprint": "marketplace"}, "invalid"),
        ({"technician": "{main}:log", "blueprint": "marketplace"}, "invalid"),
        ({"technician": "avoided", "blueprint": "marketplace"}, "invalid"),
    ],
)
async def test_a_wrong_query_is_refused(engine: Engine, changes: dict[str, Any], code: str) -> None:
    """Times in the past, in the wrong order or more than 14 days apart, an unknown service, blueprint or technician, a
    place outside the map, a technician in a blueprint in which customers name nobody, and a technician who is blocked
    for the customer are refused.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    for name in ("tom", "avoided"):
        await people.technician(engine, name, service)
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, carla.id), "avoided")
    with pytest.raises(CalloutError) as refused:
        await slots.find_slots(engine, carla, msgspec.structs.replace(query(service), **changes))
    assert refused.value.code == code
    assert {pointer.lstrip("/") for pointer, _ in refused.value.errors} <= {"from", "to", *changes}


async def test_slots_show_only_whom_the_customer_may_meet(engine: Engine) -> None:
    """A technician counts if they provide the service and are approved and not blocked, also while they are offline or
    busy, because today's work does not affect other days.
    """
    service, other, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service)
    await people.technician(engine, "avoided", service)
    await people.technician(engine, "gardener", other)
    await people.technician(engine, "pending", service, at=None, kyc="pending")
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, carla.id), "avoided")
    free = await find(engine, carla, service, hours=5)
    assert free and {slot.free for slot in free} == {1}
    assert all(slot.start % GRID_MS == 0 and slot.end - slot.start == HOUR_MS for slot in free)
    assert {slot.free for slot in await find(engine, people.ADMIN, service, hours=5)} == {2}
    assert await find(engine, carla, service, technician="tom", blueprint="marketplace") != []


async def test_slots_do_not_show_where_work_is(reserving: Engine) -> None:
    """The slots at a place are the same if a technician's other work is next door or 4 km away."""
    service, carla = await people.service(reserving), await people.customer(reserving)
    seen = []
    for metres in (10, 4_000):
        await people.technician(reserving, "tom", service)
        at = (await find(reserving, carla, service))[12].start
        booked = await book(reserving, carla, service, at, at=metres_north(metres))
        seen.append([slot.start for slot in await find(reserving, carla, service)])
        await cancel(reserving, carla, booked)
    assert seen[0] == seen[1]


async def test_every_slot_that_is_shown_can_be_booked(reserving: Engine) -> None:
    """Each slot of the next days can be booked at the moment when it is shown, with other bookings at many places. A
    slot that was taken is refused as `schedule_conflict`, with other slots that can be booked.
    """
    engine = reserving
    service, carla = await people.service(engine), await people.customer(engine)
    await technicians_of_town(engine, service, 0, 500, 1_000)
    for number in range(9):
        at = (await find(engine, carla, service, hours=60))[number * 5].start
        await book(engine, carla, service, at, at=metres_north(3_000 * (number - 4)), duration_min=30 + 20 * number)
    shown = await find(engine, carla, service, hours=60)
    assert len({slot.free for slot in shown}) > 1
    for slot in shown[::3]:
        for booked in [await book(engine, carla, service, slot.start) for _ in range(slot.free)]:
            await cancel(engine, carla, booked)
    await asyncio.gather(*(book(engine, carla, service, shown[9].start) for _ in range(shown[9].free)))
    # by the real distance other technicians may be free, although not by the distance of the area
    for _ in range(3 - shown[9].free):
        try:
            await book(engine, carla, service, shown[9].start)
        except ScheduleConflict:
            break
    with pytest.raises(ScheduleConflict) as late:
        await book(engine, carla, service, shown[9].start)
    left = late.value.extra["slots"]
    assert left and ms_of(left[0]["from"]) != shown[9].start
    for slot in left:
        await cancel(engine, carla, await book(engine, carla, service, ms_of(slot["from"])))


async def test_many_bookings_of_one_slot_get_as_many_technicians_as_are_free(reserving: Engine) -> None:
    """Of twelve simultaneous bookings of one slot with four technicians, four are booked, each with another technician;
    eight are refused with other slots.
    """
    engine = reserving
    service = await people.service(engine)
    people_of_town = [await people.customer(engine) for _ in range(12)]
    names = await technicians_of_town(engine, service, 100, 100, 100, 100)
    [slot, *_] = await find(engine, people_of_town[0], service)
    assert slot.free == 4
    done = await asyncio.gather(
        *(book(engine, customer, service, slot.start) for customer in people_of_town), return_exceptions=True
    )
    assert await holders(engine, done) == sorted(names)
    refused = [each for each in done if not isinstance(each, Outcome)]
    assert len(refused) == 8 and all(isinstance(each, ScheduleConflict) and each.extra["slots"] for each in refused)


async def test_slots_and_reservations_keep_to_working_hours(reserving: Engine) -> None:
    """A technician who does not work at a time has no slot then and cannot be reserved; in their hours they can."""
    engine = reserving
    service, carla = await people.service(engine), await people.customer(engine)
    [name] = await technicians_of_town(engine, service, 100)
    free = await find(engine, carla, service)
    off = WorkingHours("UTC", exceptions=tuple(DateSpan(f"2000-01-0{day}", "08:00", "09:00") for day in range(1, 4)))
    await technician_schedules.put_hours(engine, people.ADMIN, name, off)
    assert await find(engine, carla, service) == []
    with pytest.raises(ScheduleConflict) as refused:
        await book(engine, carla, service, free[4].start)
    assert refused.value.extra["slots"] == []
    always = WorkingHours("UTC", tuple(WeekSpan(day, "00:00", "24:00") for day in range(1, 8)))
    await technician_schedules.put_hours(engine, people.ADMIN, name, always)
    assert await find(engine, carla, service) != []
    assert await holders(engine, [await book(engine, carla, service, free[4].start)]) == [name]


async def test_a_reserved_job_has_its_technician_and_waits_for_its_release(reserving: Engine) -> None:
    """The reply shows the reserved technician, also when it is repeated. The technician is asked, and the time for
    their answer counts from the release of the job.
    """
    engine = reserving
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "far", service, at=metres_north(2_000))
    await people.technician(engine, "near", service, at=metres_north(100))
    at = (await find(engine, carla, service))[10].start
    key = str(uuid.uuid4())
    wanted = Booking(
        service=service, lat=people.HERE.lat, lon=people.HERE.lon, address="x", blueprint=RESERVING, scheduled_for=at
    )
    first = await booking.book_job(engine, carla, wanted, key=key)
    again = await booking.book_job(engine, carla, wanted, key=key)
    for outcome in (first, again):
        assert outcome.job is not None
        shown = msgspec.json.decode(outcome.job)
        assert (shown["status"], shown["technician"]["id"], shown["version"]) == ("assigned", "near", 2)
    assert again.repeated
    job = people.id_of(first)
    [created] = await event_log.events(engine, "job.created", job)
    [assigned] = await event_log.events(engine, "job.assigned", job)
    assert created.seq < assigned.seq and event_log.payload(assigned)["from"] == "requested"
    assert await timer_times(engine, job) == [at - HOUR_MS + 60_000]
    await advance(engine, 120)
    await run_due_tasks(engine)
    assert await holder_and_status(engine, job) == ("near", "assigned")


async def timer_times(engine: Engine, job: JobId) -> list[int]:
    """Return the times (ms) at which the timers of a job's second state are due, in which a technician is asked."""
    entries = await engine.store.redis.zrange(keys.due_tasks(DEFAULT_ZONE), 0, -1, withscores=True)
    return [round(at) for entry, at in entries if entry.decode().startswith(f"timer:{job}:2:")]
