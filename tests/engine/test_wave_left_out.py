"""Tests of eligible technicians who receive no offer: blocked, former holders, with too many open offers, or behind a
newcomer.
"""

from __future__ import annotations

import pytest

from engine.blueprint.schema import Wave
from engine.domain import blocks, jobs, offers
from engine.errors import NotOffered
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, TechnicianId, UserId
from engine.workers import scheduler
from tests.engine import staff
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


async def test_a_blocked_technician_receives_no_offer(engine: Engine) -> None:
    """While a customer blocks a technician, or a technician blocks the customer, neither a wave nor a late match offers
    that technician the customer's job. After the block is removed the next wave does.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await staff.create_eligible_technician(engine, service, online=False) for _ in range(2)]
    await blocks.put_block(engine, carla, tom.id)
    await blocks.put_block(engine, tara, carla.id)
    await live.set_availability(engine, tom, tom.id, online=True, position=metres_north(100))
    job = await people.offered_job(engine, carla, service)
    await live.set_availability(engine, tara, tara.id, online=True, position=metres_north(100))
    await run_due_tasks(engine)
    assert await offered_technicians(engine, job) == [] and await exclusions(engine, job) == {"blocked": [tom.id]}
    await blocks.lift_block(engine, carla, tom.id)
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 2)
    assert await offered_technicians(engine, job) == [tom.id]


async def test_a_block_withdraws_open_offers(engine: Engine) -> None:
    """A block withdraws the technician's open offers of this customer's jobs with `offer.closed`; offers of other
    customers' jobs stay.
    """
    service = await people.service(engine)
    carla, other = await people.customer(engine), await people.customer(engine, "Other")
    tom = await staff.create_eligible_technician(engine, service)
    job, other_job = await people.offered_job(engine, carla, service), await people.offered_job(engine, other, service)
    await blocks.put_block(engine, tom, carla.id)
    with pytest.raises(NotOffered):
        await jobs.claim(engine, tom, job)
    [closed] = await event_log.events(engine, "offer.closed")
    assert event_log.payload(closed)["job"]["id"] == job and set(closed.to) == {f"user:{tom.id}"}
    assert (await jobs.claim(engine, tom, other_job)).message == "Job accepted"


@pytest.mark.usefixtures("records_by_hand")
async def test_a_former_holder_receives_no_new_offer(engine: Engine) -> None:
    """A wave makes no offer to a former holder of the job and records the reason `left`."""
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "gone", service, at=metres_north(100))
    job = people.id_of(await people.job(engine, carla, service))
    await engine.store.redis.hset(keys.job_offers(DEFAULT_ZONE, job), "gone", "left 0 1 1 0")
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [] and await exclusions(engine, job) == {"left": ["gone"]}


async def test_open_offers_of_a_technician_are_limited(engine: Engine) -> None:
    """A technician with `open_offers` open offers receives no further offer, also as a late joiner. After a decline, or
    a claim by another technician, they receive offers again.
    """
    set_dispatch(engine, open_offers=2)
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "one", service, at=metres_north(100))
    other = await people.technician(engine, "other", service, at=metres_north(200), capacity=9)
    first, second, third = [await people.offered_job(engine, carla, service) for _ in range(3)]
    assert await offered_technicians(engine, third) == [] and await exclusions(engine, third) == {
        "offers": ["one", "other"]
    }
    await engine.store.redis.zadd(keys.due_tasks(DEFAULT_ZONE), {f"match:{tom.id}": 0})
    await run_due_tasks(engine)
    assert await offered_technicians(engine, third) == []
    await jobs.claim(engine, other, first)
    await offers.decline_offer(engine, other, second)
    await advance(engine, 10.1)
    await run_due_tasks(engine)
    assert await offered_technicians(engine, third) == ["one", "other"]


async def test_a_share_of_offers_is_reserved_for_newcomers(engine: Engine) -> None:
    """With `newcomers` 0.33 one of three offers goes to the nearest technician who has won few jobs, although
    experienced technicians are nearer. Without such a newcomer all three go to experienced technicians.
    """
    set_dispatch(engine, newcomers=0.33, newcomer_jobs=5, waves=(Wave(size=3, radius_m=3000, interval_s=10),))
    service, carla = await people.service(engine), await people.customer(engine)
    for number in range(4):
        await people.technician(engine, f"old{number}", service, at=metres_north(100 + number))
        row = keys.technician(DEFAULT_ZONE, TechnicianId(UserId(f"old{number}")))
        await engine.store.redis.hset(row, "accepted", 5)
    job = await people.offered_job(engine, carla, service)
    assert await offered_technicians(engine, job) == ["old0", "old1", "old2"]
    assert await exclusions(engine, job) == {"rank": ["old3"]}
    for number in range(2):
        await people.technician(engine, f"new{number}", service, at=metres_north(900 + number))
    job = await people.offered_job(engine, carla, service)
    assert await offered_technicians(engine, job) == ["new0", "old0", "old1"]
    assert await exclusions(engine, job) == {"newcomers": ["old2"], "rank": ["new1", "old3"]}


async def test_newcomers_who_rank_among_the_best_fill_the_share(engine: Engine) -> None:
    """A newcomer who ranks among the best counts for the reserved share, so no other technician loses an offer."""
    set_dispatch(engine, newcomers=0.5, newcomer_jobs=1, waves=(Wave(size=2, radius_m=3000, interval_s=10),))
    service, carla = await people.service(engine), await people.customer(engine)
    for index, name in enumerate(("new0", "old", "new1")):
        await people.technician(engine, name, service, at=metres_north(100 + index))
    await engine.store.redis.hset(keys.technician(DEFAULT_ZONE, TechnicianId(UserId("old"))), "accepted", 5)
    assert await offered_technicians(engine, await people.offered_job(engine, carla, service)) == ["new0", "old"]
