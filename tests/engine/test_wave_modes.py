"""Tests of the search modes of blueprints: waves serve `broadcast` and `bids`, and no other mode."""

from __future__ import annotations

import pytest

from engine.domain import offers, waves
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, TechnicianId
from engine.workers import scheduler
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import metres_north, offer_audiences, offered_technicians, run_due_tasks


@pytest.mark.parametrize("blueprint", ["managed", "delivery", "direct_booking"])
async def test_a_job_in_another_mode_gets_no_wave(engine: Engine, blueprint: str) -> None:
    """For a job in another mode than `broadcast` and `bids`, neither a wave nor a late match makes an offer, and
    `job.searching` is not sent.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "t1", service)
    fields = {"technician": "t1"} if blueprint == "direct_booking" else {}
    job = people.id_of(await people.job(engine, carla, service, blueprint=blueprint, **fields))
    before = await offered_technicians(engine, job)
    await people.technician(engine, "t2", service)
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
    await engine.store.redis.zadd(keys.due_tasks(DEFAULT_ZONE), {"match:t2": 0})
    await waves.offer_open_jobs(
        engine, DEFAULT_ZONE, "match:t2", TechnicianId(people.technician_without_account("t2").id)
    )
    assert await offered_technicians(engine, job) == before == sorted(fields.values())
    assert not await event_log.events(engine, "job.searching", job)


async def test_going_offline_does_not_withdraw_a_direct_request(engine: Engine) -> None:
    """A technician who goes offline loses the offers of waves, but not the request of a direct booking."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    request = people.id_of(await people.job(engine, carla, service, blueprint="direct_booking", technician="t1"))
    invited = await people.offered_job(engine, carla, service)
    await live.set_availability(engine, tom, "t1", online=False)
    [closed] = await event_log.events(engine, "offer.closed")
    assert event_log.payload(closed)["job"]["id"] == invited
    assert len((await offers.find_open_offers(engine, tom)).items) == 1
    assert (await offered_technicians(engine, request)) == ["t1"]


async def test_a_job_for_bids_is_offered_in_waves(engine: Engine) -> None:
    """A job that takes bids is offered in the blueprint's waves and to late joiners."""
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "near", service, at=metres_north(100))
    job = people.id_of(await people.job(engine, carla, service, blueprint="marketplace"))
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [["near"]]
    await advance(engine, 1)
    await people.technician(engine, "late", service, at=metres_north(200))
    await run_due_tasks(engine)
    assert await offer_audiences(engine, job) == [["near"], ["late"]]
