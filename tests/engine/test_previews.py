"""Tests of previews: their refusals, that they write nothing, and that the real booking asks exactly the technicians of
the preview.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from engine.domain import job_history, jobs, previews
from engine.domain.booking import Booking
from engine.domain.commands import CommandInput
from engine.errors import CalloutError, Forbidden, Invalid
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, UserId
from tests.support import people
from tests.support.clock import advance
from tests.support.dispatch_setup import (
    change_record,
    metres_north,
    offered_technicians,
    run_due_tasks,
    set_dispatch,
)

BACKEND = Principal(UserId("cli_service"), "service", "Shop")


def wanted(service: ServiceId, customer: Principal, **changes: Any) -> Booking:
    """Return a booking for the customer at ``people.HERE``."""
    fields = {"service": service, "lat": people.HERE.lat, "lon": people.HERE.lon, "address": "1 Main St", **changes}
    return Booking(customer=customer.id, **fields)


async def preview(engine: Engine, service: ServiceId, customer: Principal, **changes: Any) -> dict[str, Any]:
    """Return the preview of a booking as ops see it."""
    return await previews.preview_booking(engine, people.ADMIN, wanted(service, customer, **changes))


async def book(engine: Engine, service: ServiceId, customer: Principal, **changes: Any) -> JobId:
    """Book the job that ``preview`` previews, and run what is due."""
    job = people.id_of(await people.job(engine, customer, service, **changes))
    await run_due_tasks(engine)
    return job


async def first_wave(engine: Engine, job: JobId) -> dict[str, Any]:
    """Return the record of a job's first wave."""
    record: dict[str, Any] = orjson.loads((await job_history.waves(engine, people.ADMIN, job))[0])
    return record


def assert_same_choice(seen: dict[str, Any], record: dict[str, Any]) -> None:
    """Assert that a preview asks the same technicians as the wave, in the same order, and that it excludes at least
    those whom the wave excluded, for the same reasons.
    """
    assert seen["in"] == record["in"] and seen["radius_m"] == record["radius_m"]
    for reason, group in record["out"].items():
        assert set(group["technicians"]) <= set(seen["out"][reason]["technicians"]), reason


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"service": "srv_none"}, "invalid"),
        ({"lat": 89.0}, "invalid"),
        ({"blueprint": "none"}, "invalid"),
        ({"customer": "nobody"}, "invalid"),
        ({"customer": None}, "invalid"),
        ({"scheduled_for": 1}, "invalid"),
        ({"technician": "{main}:log"}, "invalid"),
        ({"blueprint": "direct_booking"}, "invalid"),
        ({"blueprint": "managed", "amount": 5000}, "invalid"),
        ({"blueprint": "managed", "currency": "EUR"}, "invalid"),
        ({"quote": "quo_main_01J00000000000000000000000"}, "not_found"),
    ],
)
async def test_a_booking_that_would_be_refused_has_no_preview(
    engine: Engine, changes: dict[str, Any], code: str
) -> None:
    """A preview of a booking with an unknown service, blueprint or customer, an impossible place or time, or without a
    technician that the blueprint requires is refused as the booking would be; so is an amount where the price is
    quoted, and a quote that does not exist.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    fields = {"service": service, "customer": carla.id, "lat": 40.75, "lon": -73.99, "address": "1 Main St", **changes}
    with pytest.raises(CalloutError) as refused:
        await previews.preview_booking(engine, people.ADMIN, Booking(**fields))
    assert refused.value.code == code


async def test_customers_and_technicians_get_no_preview(engine: Engine) -> None:
    """A preview names technicians and their scores, so it is for ops and services only."""
    service, carla = await people.service(engine), await people.customer(engine)
    for caller in (carla, people.technician_without_account("tom")):
        with pytest.raises(Forbidden):
            await previews.preview_booking(engine, caller, wanted(service, carla))


async def test_a_preview_of_a_broadcast_is_what_the_booking_asks(engine: Engine) -> None:
    """The first wave of a broadcast asks exactly the technicians of the preview, in its order. Technicians who are too
    far away, at the limit of open offers, blocked or beyond the size of the wave have the same reason in both. The
    preview also has the reasons of technicians who are not in the index of available ones.
    """
    set_dispatch(engine, open_offers=1)
    service, other, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    for number in range(12):
        await people.technician(engine, f"t{number:02}", service, at=metres_north(150 + 100 * number))
    await people.technician(engine, "full", service, at=metres_north(40))
    await people.technician(engine, "busy", service, at=metres_north(30), capacity=2)
    await people.technician(engine, "elsewhere", other, at=metres_north(60))
    await people.technician(engine, "friend", service, at=metres_north(9_000))
    await people.technician(engine, "avoided", service, at=metres_north(20))
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, carla.id), "avoided")
    earlier = await book(engine, service, await people.customer(engine), at=metres_north(-2_900))
    held = await offered_technicians(engine, earlier)  # this technician has as many jobs as they may have
    seen = await preview(engine, service, carla, technician="friend")
    record = await first_wave(engine, await book(engine, service, carla, technician="friend"))
    assert_same_choice(seen, record)
    assert seen["in"]["technicians"][0] == "friend" and seen["in"]["count"] > 1
    assert seen["mode"] == "broadcast" and [each["technician"] for each in seen["scores"]] == seen["in"]["technicians"]
    assert set(held) - {"avoided"} <= set(seen["out"]["offers"]["technicians"])
    assert seen["out"]["blocked"]["technicians"] == ["avoided"] and seen["out"]["service"]["technicians"] == [
        "elsewhere"
    ]


async def test_a_preview_of_bids_is_what_the_booking_invites(engine: Engine) -> None:
    """The technicians who are invited to bid are those of the preview. Services see their number and the reasons of the
    others, but no technician and no score.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    for number, stars in enumerate((4.1, 4.9, 4.5)):
        await people.technician(engine, f"t{number}", service, at=metres_north(100 * number), rating=stars)
    await people.technician(engine, "stale", service, at=metres_north(50))
    await advance(engine, 130)
    for number in range(3):
        await people.technician(engine, f"t{number}", service, at=metres_north(100 * number), rating=4.0, version=2)
    seen = await preview(engine, service, carla, blueprint="marketplace")
    counted = await previews.preview_booking(engine, BACKEND, wanted(service, carla, blueprint="marketplace"))
    record = await first_wave(engine, await book(engine, service, carla, blueprint="marketplace"))
    assert_same_choice(seen, record)
    assert seen["in"]["count"] == 3 and seen["out"]["stale_position"]["technicians"] == ["stale"]
    assert counted["in"] == {"count": 3} and counted["out"]["stale_position"] == {"count": 1}
    assert "scores" not in counted and "t0" not in orjson.dumps(counted).decode()


async def test_a_preview_of_the_engines_choice_is_whom_it_assigns(engine: Engine) -> None:
    """If the engine chooses for each job separately, it assigns the technician of the preview, with the same scores."""
    managed = engine.blueprints.by_name["managed"]
    alone = msgspec.structs.replace(managed, dispatch=msgspec.structs.replace(managed.dispatch, match=None))
    engine.blueprints.by_name["managed"] = engine.blueprints.by_key[managed.key] = alone
    service, carla = await people.service(engine), await people.customer(engine)
    for name, metres, stars in (("near", 100, 4.0), ("good", 1_000, 4.9), ("far", 5_000, 4.9)):
        await people.technician(engine, name, service, at=metres_north(metres), rating=stars)
    await people.technician(engine, "away", service, at=None)
    seen = await preview(engine, service, carla, blueprint="managed")
    record = await first_wave(engine, await book(engine, service, carla, blueprint="managed"))
    assert_same_choice(seen, record)
    assert seen["in"]["technicians"] == ["good"] and sorted(seen["out"]["rank"]["technicians"]) == ["far", "near"]
    assert seen["scores"] == record["scores"] and seen["mode"] == "allocate"


async def test_a_preview_of_a_window_is_whom_it_assigns(engine: Engine) -> None:
    """The next window assigns the technician of the preview, with the same scores: the one with the least cost of
    travel and rating, one beyond the reach if there is nobody else, or the one whom the customer prefers.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    for name, metres, stars in (("near", 100, 3.0), ("good", 500, 4.9), ("far", 5_000, 4.9), ("friend", 9_000, 4.0)):
        await people.technician(engine, name, service, at=metres_north(metres), rating=stars)
    await people.technician(engine, "away", service, at=None)
    for expected, outranked, changes in (
        ("friend", [], {"technician": "friend"}),
        ("good", ["near"], {}),
        ("near", [], {}),
    ):
        seen = await preview(engine, service, carla, blueprint="managed", **changes)
        job = people.id_of(await people.job(engine, carla, service, blueprint="managed", **changes))
        await advance(engine, 1.001)
        await run_due_tasks(engine)
        record = await first_wave(engine, job)
        assert seen["in"] == record["in"] == {"count": 1, "technicians": [expected]}
        assert seen["scores"] == record["scores"]
        rank = seen["out"].get("rank", {"technicians": []})["technicians"]
        assert set(outranked) <= set(rank) and (seen["radius_m"] is None) == (record["radius_m"] is None)
    # Somebody nearer is busy, so the job would wait for them.
    assert (await preview(engine, service, carla, blueprint="managed"))["in"]["count"] == 0
    other = await people.service(engine)
    await people.technician(engine, "alone", other, at=metres_north(9_000))
    assert (await preview(engine, other, carla, blueprint="managed"))["in"]["technicians"] == ["alone"]


async def test_a_preview_of_a_window_counts_the_jobs_that_wait(engine: Engine) -> None:
    """If another waiting job has only the nearer technician, a window gives the booking the farther one, as the preview
    says, with the same reason, scores and cost. A caller with the role `service` sees that somebody would get the
    booking, and nothing of the other job.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "both", service, at=metres_north(300))
    await people.technician(engine, "farther", service, at=metres_north(-1_500))
    await people.technician(engine, "full", service, at=metres_north(50))
    first = people.id_of(await people.job(engine, await people.customer(engine), service, blueprint="managed"))
    await jobs.run_command(engine, people.ADMIN, first, CommandInput(command="assign", technician="full"))
    waits = people.id_of(await people.job(engine, carla, service, blueprint="managed", at=metres_north(3_000)))
    seen = await preview(engine, service, carla, blueprint="managed")
    counted = await previews.preview_booking(engine, BACKEND, wanted(service, carla, blueprint="managed"))
    booked = people.id_of(await people.job(engine, carla, service, blueprint="managed"))
    await advance(engine, 1.1)
    await run_due_tasks(engine)
    assert [await holder(engine, each) for each in (waits, booked)] == ["both", "farther"]
    record = await first_wave(engine, booked)
    for name in ("in", "scores", "jobs", "free", "next_best", "why_not_nearest"):
        assert seen[name] == record[name], name
    assert "both was nearer" in seen["why_not_nearest"] and seen["out"]["at_capacity"]["technicians"] == ["full"]
    assert counted["in"] == {"count": 1} and "both" not in orjson.dumps(counted).decode()


async def holder(engine: Engine, job: JobId) -> str:
    """Return a job's holder."""
    return str((await engine.store.redis.hget(keys.job(DEFAULT_ZONE, job), "holder") or b"").decode())


@pytest.mark.parametrize("named", ["tom", "gardener", "pending", "avoided", "nobody"])
async def test_a_preview_of_a_named_technician_is_what_the_booking_does(engine: Engine, named: str) -> None:
    """A named technician is listed as asked in the preview if the booking asks them, and as left out, with the reason,
    if the booking is refused because of them.
    """
    service, other, carla = await people.service(engine), await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service, at=None)
    await people.technician(engine, "gardener", other)
    await people.technician(engine, "pending", service, at=None, kyc="pending")
    await people.technician(engine, "avoided", service)
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, carla.id), "avoided")
    seen = await preview(engine, service, carla, blueprint="direct_booking", technician=named)
    reasons = {
        "gardener": "service",
        "pending": "kyc_not_approved",
        "avoided": "blocked",
        "nobody": "profile_incomplete",
    }
    try:
        job = await book(engine, service, carla, blueprint="direct_booking", technician=named)
        asked = await offered_technicians(engine, job)
    except Invalid:
        asked = []
    assert seen["in"]["technicians"] == asked == ([] if named in reasons else [named])
    assert [why for why, group in seen["out"].items() if group["technicians"] == [named]] == (
        [reasons[named]] if named in reasons else []
    )


async def test_a_preview_of_a_job_that_is_sought_later(engine: Engine) -> None:
    """A delivery is offered only once it is ready: its preview is that of this state. The preview of a job for later
    says when its search begins.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service)
    seen = await preview(engine, service, carla, blueprint="delivery")
    assert (seen["state"], seen["mode"], seen["in"]["technicians"]) == ("ready", "broadcast", ["tom"])
    noon = 4_070_952_000_000
    later = await preview(engine, service, carla, scheduled_for=noon)
    assert later["starts_at"] == "2099-01-01T11:00:00.000Z" and seen["starts_at"] is None


async def test_a_preview_finds_its_way_through_a_crowd_and_reads_few(engine: Engine) -> None:
    """Among 400 technicians in one street the preview asks whom the wave asks, and examines at most 256."""
    service, carla = await people.service(engine), await people.customer(engine)
    for number in range(400):
        await people.technician(engine, f"t{number:03}", service, at=metres_north(1 + number))
    seen = await preview(engine, service, carla)
    record = await first_wave(engine, await book(engine, service, carla))
    assert_same_choice(seen, record)
    assert seen["in"]["count"] == 10 and 10 < seen["visited"] <= 256


async def test_a_preview_writes_nothing(engine: Engine) -> None:
    """A preview changes no key of Redis, not even a technician's list of offers, from which a real search would remove
    closed offers.
    """
    set_dispatch(engine, open_offers=1)
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service, at=metres_north(100))
    await people.technician(engine, "una", service, at=metres_north(200))
    job = await book(engine, service, carla)
    await jobs.claim(engine, people.technician_without_account("una"), job)
    await change_record(engine, "una", load=0)
    before = await all_keys(engine)
    seen = await preview(engine, service, carla)
    assert seen["in"]["count"] + sum(group["count"] for group in seen["out"].values()) == 2
    assert await all_keys(engine) == before


async def all_keys(engine: Engine) -> dict[bytes, bytes | None]:
    """Return all keys of Redis with their serialised values, except for the zone's clock."""
    redis = engine.store.redis
    names = sorted(await redis.keys("*"))
    return {name: await redis.dump(name) for name in names if not name.endswith(b":meta") and b":runner" not in name}
