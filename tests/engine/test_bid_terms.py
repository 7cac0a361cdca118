"""A bid is for the terms of the job at the time of the bid: nobody is bound to terms that they have not seen."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.domain import bids, edits, job_queries, jobs, offers
from engine.domain.commands import Step
from engine.errors import Expired, IllegalTransition, NotOffered, VersionConflict
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live, profile
from engine.technicians.profile import ProfilePatch
from engine.types import DEFAULT_ZONE, JobId, Principal, TechnicianId
from engine.workers import scheduler
from tests.engine import staff
from tests.engine.test_bids import bid, listed, post
from tests.support import event_log, people
from tests.support.clock import advance

TERMS: list[dict[str, Any]] = [
    {"lat": 42.8},
    {"scheduled_for": 4_000_000_000_000},
    {"amount": 6000},
    {"amount": 5000, "currency": "EUR"},
]


@pytest.mark.parametrize("change", TERMS, ids="-".join)
async def test_a_change_of_terms_ends_open_bids(engine: Engine, change: dict[str, Any]) -> None:
    """After a change of place, time or price each bidder receives the job's public part and the end of their bid;
    the old bid cannot be accepted, and a new one can.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    job = await post(engine, carla, serves)
    old = await bid(engine, tom, job, 4200)
    await edits.edit_job(engine, carla, job, change)
    told = [event for event in await event_log.public_events(engine, "job.updated", job) if event.to == ("user:tom",)]
    assert len(told) == 1 and "address" not in event_log.payload(told[0])["job"]
    [closed] = await event_log.events(engine, "bid.closed", job)
    assert event_log.payload(closed)["reason"] == "changed" and "user:tom" in closed.to
    with pytest.raises(IllegalTransition):
        await bids.accept(engine, carla, job, old)
    await bids.accept(engine, carla, job, await bid(engine, tom, job, 4300))


async def test_a_change_that_is_no_term_leaves_bids_open(engine: Engine) -> None:
    """The bidder receives the change in the public part, and the bid stays open."""
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    job = await post(engine, carla, serves)
    mine = await bid(engine, tom, job, 4200)
    await edits.edit_job(engine, carla, job, {"notes": "gate code 4711"})
    told = [event for event in await event_log.public_events(engine, "job.updated", job) if event.to == ("user:tom",)]
    assert len(told) == 1 and b"4711" not in told[0].data
    assert [found["status"] for found in await listed(engine, tom, job)] == ["open"]
    await bids.accept(engine, carla, job, mine)


async def test_a_bid_from_before_the_terms_binds_nobody(engine: Engine) -> None:
    """Accepting compares the version that the bid was made on, whichever command changed the terms."""
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    job = await post(engine, carla, serves)
    old = await bid(engine, tom, job, 4200)
    await engine.store.command("HSET", keys.job(DEFAULT_ZONE, job), "terms", 2)
    with pytest.raises(VersionConflict):
        await bids.accept(engine, carla, job, old)


async def test_a_bidder_is_not_invited_to_bid(engine: Engine) -> None:
    """Neither a wave nor a late match invites a bidder; the wave records the reason, and a technician who withdrew
    the bid may be invited.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, serves) for name in ("tom", "tara")]
    job = await post(engine, carla, serves)
    await bid(engine, tom, job)
    taken_back = await bid(engine, tara, job)
    await bids.withdraw(engine, tara, job, taken_back)
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
    created = await event_log.events(engine, "offer.created", job)
    assert [event.to for event in created] == [("user:tara",)]
    noted = await engine.store.redis.lrange(keys.job_waves(DEFAULT_ZONE, job), 0, -1)
    assert b'"bid":{"count":1,"technicians":["tom"]}' in noted[0]
    await scheduler.run_once(engine, DEFAULT_ZONE)
    assert len(await event_log.events(engine, "offer.created", job)) == 1


async def test_removing_a_skill_withdraws_its_offers(engine: Engine) -> None:
    """The open offer for the service closes (`withdrawn`), leaves the list, and a claim is `not_offered`; offers for
    other services stay.
    """
    plumbing, wiring = await people.service(engine), await people.service(engine, name="Wiring")
    carla = await people.customer(engine)
    who = await staff.eligible(engine, plumbing, capacity=2)
    await profile.patch_technician(engine, who, TechnicianId(who.id), ProfilePatch(services=[plumbing, wiring]))
    gone, kept = [await people.offered(engine, carla, serves) for serves in (plumbing, wiring)]
    await profile.patch_technician(engine, who, TechnicianId(who.id), ProfilePatch(services=[wiring]))
    [closed] = await event_log.events(engine, "offer.closed", gone)
    assert closed.to == (f"user:{who.id}",) and event_log.payload(closed)["reason"] == "withdrawn"
    with pytest.raises(NotOffered):
        await jobs.claim(engine, who, gone)
    listed_now = [
        msgspec.json.decode(offer)["job"]["id"] for offer in (await offers.find_open_offers(engine, who)).items
    ]
    assert listed_now == [kept]
    await jobs.claim(engine, who, kept)


@pytest.mark.parametrize("blueprint", ["direct_booking", "marketplace"])
async def test_removing_a_skill_closes_a_direct_request(engine: Engine, blueprint: str) -> None:
    """The request closes and cannot be claimed, and the job expires; if the technician went offline before, the
    result is the same.
    """
    plumbing, wiring = await people.service(engine), await people.service(engine, name="Wiring")
    carla, who = await people.customer(engine), await staff.eligible(engine, plumbing)
    job = people.id_of(await people.job(engine, carla, plumbing, blueprint=blueprint, technician=who.id))
    await live.set_availability(engine, who, who.id, online=False)
    assert len((await offers.find_open_offers(engine, who)).items) == 1
    await profile.patch_technician(engine, who, TechnicianId(who.id), ProfilePatch(services=[wiring]))
    [closed] = await event_log.events(engine, "offer.closed", job)
    assert (
        event_log.payload(closed)["reason"] == "withdrawn" and (await offers.find_open_offers(engine, who)).items == []
    )
    with pytest.raises((NotOffered, Expired)):
        await jobs.run_command(engine, who, job, Step(command="accept"))
    await advance(engine, 60)
    await scheduler.run_once(engine, DEFAULT_ZONE)
    assert await engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), "status") == b"expired"


async def _actions(engine: Engine, who: Principal, job: JobId) -> list[str]:
    found: list[str] = msgspec.json.decode(await job_queries.read_job(engine, who, job))["actions"]
    return found


async def test_removing_a_skill_leaves_only_decline_for_an_unaccepted_assignment(engine: Engine) -> None:
    """The technician can only decline the assignment until they have the skill again; an assignment that ops forced
    can be accepted.
    """
    plumbing, wiring = await people.service(engine), await people.service(engine, name="Wiring")
    carla, who = await people.customer(engine), await staff.eligible(engine, plumbing)
    me = TechnicianId(who.id)
    job = people.id_of(await people.job(engine, carla, plumbing, blueprint="managed"))
    assign = Step(command="assign", technician=who.id)
    await jobs.run_command(engine, people.ADMIN, job, assign)
    await profile.patch_technician(engine, who, me, ProfilePatch(services=[wiring]))
    with pytest.raises(IllegalTransition):
        await jobs.run_command(engine, who, job, Step(command="accept"))
    assert await _actions(engine, who, job) == ["decline"]
    await profile.patch_technician(engine, who, me, ProfilePatch(services=[plumbing]))
    assert await _actions(engine, who, job) == ["accept", "decline"]
    await profile.patch_technician(engine, who, me, ProfilePatch(services=[wiring]))
    await jobs.run_command(engine, who, job, Step(command="decline"))
    await jobs.run_command(engine, people.ADMIN, job, msgspec.structs.replace(assign, force=True))
    assert await _actions(engine, who, job) == ["accept", "decline"]
    await jobs.run_command(engine, who, job, Step(command="accept"))
