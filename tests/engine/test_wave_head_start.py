"""Tests of the head start: the customer's preferred technician may claim first, then the best by rank,
then the others.
"""

from __future__ import annotations

import pytest

from engine.blueprint.schema import HeadStart, Weights
from engine.domain import jobs, offers
from engine.errors import TooEarly
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Fix
from engine.types import DEFAULT_ZONE, TechnicianId, UserId
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import (
    exclusions,
    metres_north,
    offer_audiences,
    offered_technicians,
    run_due_tasks,
    set_dispatch,
)


async def count_listed_offers(engine: Engine, technician: str) -> int:
    """Return how many open offers the technician's list contains."""
    return len((await offers.find_open_offers(engine, people.technician_without_account(technician))).items)


async def create_three_technicians(engine: Engine) -> tuple[str, list[str]]:
    """Create a service and three technicians with it, the nearest first. Return the service and their names."""
    service = await people.service(engine)
    for index, name in enumerate(("a", "b", "c")):
        await people.technician(engine, name, service, at=metres_north(100 + 100 * index))
    return service, ["a", "b", "c"]


async def test_the_best_by_rank_receive_the_offer_first(engine: Engine) -> None:
    """During a head start of two technicians the third is refused with `too_early` and lists no offer; after the head
    start they receive the offer and may claim.
    """
    set_dispatch(engine, head_start=HeadStart(first=2, delay_s=5))
    service, _ = await create_three_technicians(engine)
    carla = await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    assert await offer_audiences(engine, job) == [["a", "b"]] and await offered_technicians(engine, job) == [
        "a",
        "b",
        "c",
    ]
    with pytest.raises(TooEarly):
        await jobs.claim(engine, people.technician_without_account("c"), job)
    assert [await count_listed_offers(engine, name) for name in ("b", "c")] == [1, 0]
    await advance(engine, 4)
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [["a", "b"]]
    await advance(engine, 1.1)
    await run_due_tasks(engine)
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [["a", "b"], ["c"]] and await count_listed_offers(engine, "c") == 1
    assert (await jobs.claim(engine, people.technician_without_account("c"), job)).message == "Job accepted"


async def test_a_claim_in_the_head_start_closes_only_sent_offers(engine: Engine) -> None:
    """A claim during the head start sends `offer.closed` only to technicians who received the offer, and only their
    count of received offers rises.
    """
    set_dispatch(engine, head_start=HeadStart(first=2, delay_s=5))
    service, names = await create_three_technicians(engine)
    carla = await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, people.technician_without_account("a"), job)
    [closed] = await event_log.events(engine, "offer.closed", job)
    assert set(closed.to) == {"user:b"}
    rows = [keys.technician(DEFAULT_ZONE, TechnicianId(UserId(name))) for name in names]
    assert [await engine.store.redis.hget(row, "asked") for row in rows] == [b"1", b"1", None]
    await advance(engine, 6)
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [["a", "b"]]


async def test_the_head_start_ends_when_all_its_technicians_declined(engine: Engine) -> None:
    """When every technician of the head start has declined, the head start ends at once and the others of the wave
    receive the offer.
    """
    set_dispatch(engine, head_start=HeadStart(first=1, delay_s=8))
    service, _ = await create_three_technicians(engine)
    carla = await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    await offers.decline_offer(engine, people.technician_without_account("a"), job)
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [["a"], ["b", "c"]]
    assert len(await event_log.events(engine, "job.searching", job)) == 1
    assert (await jobs.claim(engine, people.technician_without_account("b"), job)).message == "Job accepted"


async def test_a_late_joiner_has_no_head_start(engine: Engine) -> None:
    """A late joiner has no head start, even if they are near: they receive the offer together with the last of the wave
    and may claim from then on.
    """
    set_dispatch(engine, head_start=HeadStart(first=1, delay_s=8))
    service, _ = await create_three_technicians(engine)
    carla = await people.customer(engine)
    job = await people.offered_job(engine, carla, service)
    await people.technician(engine, "late", service, at=metres_north(10))
    await run_due_tasks(engine)
    with pytest.raises(TooEarly):
        await jobs.claim(engine, people.technician_without_account("late"), job)
    await advance(engine, 8.1)
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [["a"], ["b", "c", "late"]]


async def test_an_offline_preferred_technician_has_no_head_start(engine: Engine) -> None:
    """A preferred technician who is offline is excluded like any other technician, and the others may claim at once."""
    set_dispatch(engine, preferred_s=30.0)
    service, _ = await create_three_technicians(engine)
    carla = await people.customer(engine)
    await people.technician(engine, "friend", service, at=None)
    job = await people.offered_job(engine, carla, service, technician="friend")
    assert await offer_audiences(engine, job) == [["a", "b", "c"]]
    assert await exclusions(engine, job) == {"offline": ["friend"]}


async def test_the_preferred_technician_is_offered_the_job_first_at_any_distance(engine: Engine) -> None:
    """A preferred technician 20 km away receives the first offer alone for `preferred_s`, also if a second wave opens
    in that time; then the others receive theirs.
    """
    set_dispatch(engine, preferred_s=30.0)
    service, _ = await create_three_technicians(engine)
    carla = await people.customer(engine)
    await people.technician(engine, "friend", service, at=metres_north(20_000))
    job = await people.offered_job(engine, carla, service, technician="friend")
    assert await offer_audiences(engine, job) == [["friend"]]
    with pytest.raises(TooEarly):
        await jobs.claim(engine, people.technician_without_account("a"), job)
    await people.technician(engine, "farther", service, at=metres_north(5_000))
    await advance(engine, 10.1)
    await run_due_tasks(engine)  # the second wave, too, waits for the preferred technician's time
    assert await offer_audiences(engine, job) == [["friend"]] and "farther" in await offered_technicians(engine, job)
    await advance(engine, 20)
    await run_due_tasks(engine)
    assert sorted(name for names in await offer_audiences(engine, job) for name in names) == [
        "a",
        "b",
        "c",
        "farther",
        "friend",
    ]


async def test_a_decline_of_the_preferred_technician_opens_the_job_to_others(engine: Engine) -> None:
    """After the preferred technician declined, the other technicians receive their offers at once, also
    in later waves.
    """
    set_dispatch(engine, preferred_s=600.0)
    service, _ = await create_three_technicians(engine)
    carla = await people.customer(engine)
    friend = await people.technician(engine, "friend", service, at=metres_north(20_000))
    job = await people.offered_job(engine, carla, service, technician="friend")
    await people.technician(engine, "d", service, at=metres_north(5_000))
    await offers.decline_offer(engine, friend, job)
    await run_due_tasks(engine)
    await advance(engine, 10.1)
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [["friend"], ["a", "b", "c"], ["d"]]


async def test_a_late_preferred_technician_need_not_be_near(engine: Engine) -> None:
    """A preferred technician who comes online outside the current wave's radius receives the offer and may claim at
    once.
    """
    set_dispatch(engine, preferred_s=30.0, head_start=HeadStart(first=1, delay_s=8))
    service, _ = await create_three_technicians(engine)
    carla = await people.customer(engine)
    friend = await people.technician(engine, "friend", service, at=None)
    job = await people.offered_job(engine, carla, service, technician="friend")
    await live.set_availability(engine, friend, "friend", online=True, position=metres_north(10_000))
    await run_due_tasks(engine)
    assert (await offer_audiences(engine, job))[-1] == ["friend"]
    assert (await jobs.claim(engine, friend, job)).message == "Job accepted"


async def test_workload_can_outweigh_distance(engine: Engine) -> None:
    """With a weight on workload, a busy technician ranks behind one who is free and farther away."""
    set_dispatch(engine, weights=Weights(distance=1, workload=5), head_start=HeadStart(first=1, delay_s=5))
    service, carla = await people.service(engine), await people.customer(engine)
    busy = await people.technician(engine, "busy", service, at=metres_north(100), capacity=2)
    await jobs.claim(engine, busy, await people.offered_job(engine, carla, service))
    await people.technician(engine, "free", service, at=metres_north(2_000))
    assert (await offer_audiences(engine, await people.offered_job(engine, carla, service)))[0] == ["free"]


async def test_waiting_time_can_outweigh_distance(engine: Engine) -> None:
    """With a weight on waiting, a technician who has been free for an hour ranks before a nearer one who has just come
    online again.
    """
    set_dispatch(engine, weights=Weights(distance=1, waiting=5), head_start=HeadStart(first=1, delay_s=5))
    service, carla = await people.service(engine), await people.customer(engine)
    back = await people.technician(engine, "back", service, at=metres_north(100))
    await live.set_availability(engine, back, "back", online=False)
    waits = await people.technician(engine, "waits", service, at=metres_north(2_000))
    for _ in range(60):
        await advance(engine, 60)
        await live.renew_leases(engine, DEFAULT_ZONE, ["waits"])
    await live.store_fixes(engine, waits, "waits", [Fix(lat=metres_north(2_000).lat, lon=people.HERE.lon)])
    await live.set_availability(engine, back, "back", online=True, position=metres_north(100))
    assert (await offer_audiences(engine, await people.offered_job(engine, carla, service)))[0] == ["waits"]
