"""A bid is made on the terms of the job (place, time, price) at that moment. It cannot be accepted on other terms."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.domain import bids, edits, job_queries, jobs, offers, profile
from engine.domain.commands import CommandInput
from engine.domain.profile import ProfilePatch
from engine.errors import Expired, IllegalTransition, NotOffered, VersionConflict
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, TechnicianId
from engine.workers import scheduler
from tests.engine import staff
from tests.engine.test_bids import create_bid, post_job, visible_bids
from tests.support import event_log, people
from tests.support.clock import advance

EDITS_OF_TERMS: list[dict[str, Any]] = [
    {"lat": 42.8},
    {"scheduled_for": 4_000_000_000_000},
    {"amount": 6000},
    {"amount": 5000, "currency": "EUR"},
]
"""Edits of a job, each of which changes its terms."""


@pytest.mark.parametrize("change", EDITS_OF_TERMS, ids="-".join)
async def test_a_change_of_terms_ends_open_bids(engine: Engine, change: dict[str, Any]) -> None:
    """A change of place, time or price closes each open bid with the reason `changed`, and each bidder receives the
    job's public part. The old bid cannot be accepted; a new one can.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await post_job(engine, carla, service)
    old = await create_bid(engine, tom, job, 4200)
    await edits.edit_job(engine, carla, job, change)
    updates = [
        event for event in await event_log.public_events(engine, "job.updated", job) if event.to == ("user:tom",)
    ]
    assert len(updates) == 1 and "address" not in event_log.payload(updates[0])["job"]
    [closed] = await event_log.events(engine, "bid.closed", job)
    assert event_log.payload(closed)["reason"] == "changed" and "user:tom" in closed.to
    with pytest.raises(IllegalTransition):
        await bids.accept_bid(engine, carla, job, old)
    await bids.accept_bid(engine, carla, job, await create_bid(engine, tom, job, 4300))


async def test_an_edit_of_the_notes_leaves_bids_open(engine: Engine) -> None:
    """An edit of the notes changes no terms: the bidder receives the job's public part, and the bid remains open and
    can be accepted.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await post_job(engine, carla, service)
    bid = await create_bid(engine, tom, job, 4200)
    await edits.edit_job(engine, carla, job, {"notes": "gate code 4711"})
    updates = [
        event for event in await event_log.public_events(engine, "job.updated", job) if event.to == ("user:tom",)
    ]
    assert len(updates) == 1 and b"4711" not in updates[0].data
    assert [listed["status"] for listed in await visible_bids(engine, tom, job)] == ["open"]
    await bids.accept_bid(engine, carla, job, bid)


@pytest.mark.usefixtures("records_by_hand")
async def test_a_bid_on_older_terms_cannot_be_accepted(engine: Engine) -> None:
    """If the terms changed after a bid in any way, its acceptance is refused with `version_conflict`, because it
    compares the version of the terms with that of the bid.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await post_job(engine, carla, service)
    old = await create_bid(engine, tom, job, 4200)
    await engine.store.command("HSET", keys.job(DEFAULT_ZONE, job), "terms", 2)
    with pytest.raises(VersionConflict):
        await bids.accept_bid(engine, carla, job, old)


async def test_a_bidder_is_not_invited_to_bid(engine: Engine) -> None:
    """No wave and no search for late joiners invites a technician who has an open bid; the wave records the reason
    `bid`. A technician who withdrew the bid may be invited.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service) for name in ("tom", "tara")]
    job = await post_job(engine, carla, service)
    await create_bid(engine, tom, job)
    taken_back = await create_bid(engine, tara, job)
    await bids.withdraw_bid(engine, tara, job, taken_back)
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
    created = await event_log.events(engine, "offer.created", job)
    assert [event.to for event in created] == [("user:tara",)]
    wave_records = await engine.store.redis.lrange(keys.job_waves(DEFAULT_ZONE, job), 0, -1)
    assert b'"bid":{"count":1,"technicians":["tom"]}' in wave_records[0]
    await scheduler.run_once(engine, DEFAULT_ZONE)
    assert len(await event_log.events(engine, "offer.created", job)) == 1


async def test_removing_a_service_withdraws_its_offers(engine: Engine) -> None:
    """When a technician removes a service from the profile, the open offer for this service closes with the reason
    `withdrawn`, and a claim is refused with `not_offered`. Offers for other services remain open.
    """
    plumbing, wiring = await people.service(engine), await people.service(engine, name="Wiring")
    carla = await people.customer(engine)
    who = await staff.create_eligible_technician(engine, plumbing, capacity=2)
    await profile.patch_technician(engine, who, TechnicianId(who.id), ProfilePatch(services=[plumbing, wiring]))
    plumbing_job, wiring_job = [await people.offered_job(engine, carla, service) for service in (plumbing, wiring)]
    await profile.patch_technician(engine, who, TechnicianId(who.id), ProfilePatch(services=[wiring]))
    [closed] = await event_log.events(engine, "offer.closed", plumbing_job)
    assert closed.to == (f"user:{who.id}",) and event_log.payload(closed)["reason"] == "withdrawn"
    with pytest.raises(NotOffered):
        await jobs.claim(engine, who, plumbing_job)
    listed_now = [
        msgspec.json.decode(offer)["job"]["id"] for offer in (await offers.find_open_offers(engine, who)).items
    ]
    assert listed_now == [wiring_job]
    await jobs.claim(engine, who, wiring_job)


@pytest.mark.parametrize("blueprint", ["direct_booking", "marketplace"])
async def test_removing_a_service_closes_a_direct_request(engine: Engine, blueprint: str) -> None:
    """When a booked technician removes the service from the profile, the request closes with the reason `withdrawn`,
    cannot be accepted, and the job expires. The technician was offline before, which changes nothing.
    """
    plumbing, wiring = await people.service(engine), await people.service(engine, name="Wiring")
    carla, who = await people.customer(engine), await staff.create_eligible_technician(engine, plumbing)
    job = people.id_of(await people.job(engine, carla, plumbing, blueprint=blueprint, technician=who.id))
    await live.set_availability(engine, who, who.id, online=False)
    assert len((await offers.find_open_offers(engine, who)).items) == 1
    await profile.patch_technician(engine, who, TechnicianId(who.id), ProfilePatch(services=[wiring]))
    [closed] = await event_log.events(engine, "offer.closed", job)
    assert (
        event_log.payload(closed)["reason"] == "withdrawn" and (await offers.find_open_offers(engine, who)).items == []
    )
    with pytest.raises((NotOffered, Expired)):
        await jobs.run_command(engine, who, job, CommandInput(command="accept"))
    await advance(engine, 60)
    await scheduler.run_once(engine, DEFAULT_ZONE)
    assert await engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), "status") == b"expired"


async def _actions_of(engine: Engine, who: Principal, job: JobId) -> list[str]:
    """Return the actions that a caller sees on a job."""
    actions: list[str] = msgspec.json.decode(await job_queries.read_job(engine, who, job))["actions"]
    return actions


async def test_without_the_service_an_assignment_can_only_be_declined(engine: Engine) -> None:
    """An assigned technician who removed the service can only decline, until they add it again. If ops forced the
    assignment, the technician may also accept.
    """
    plumbing, wiring = await people.service(engine), await people.service(engine, name="Wiring")
    carla, who = await people.customer(engine), await staff.create_eligible_technician(engine, plumbing)
    me = TechnicianId(who.id)
    job = people.id_of(await people.job(engine, carla, plumbing, blueprint="managed"))
    assign = CommandInput(command="assign", technician=who.id)
    await jobs.run_command(engine, people.ADMIN, job, assign)
    await profile.patch_technician(engine, who, me, ProfilePatch(services=[wiring]))
    with pytest.raises(IllegalTransition):
        await jobs.run_command(engine, who, job, CommandInput(command="accept"))
    assert await _actions_of(engine, who, job) == ["decline"]
    await profile.patch_technician(engine, who, me, ProfilePatch(services=[plumbing]))
    assert await _actions_of(engine, who, job) == ["accept", "decline"]
    await profile.patch_technician(engine, who, me, ProfilePatch(services=[wiring]))
    await jobs.run_command(engine, who, job, CommandInput(command="decline"))
    await jobs.run_command(engine, people.ADMIN, job, msgspec.structs.replace(assign, force=True))
    assert await _actions_of(engine, who, job) == ["accept", "decline"]
    await jobs.run_command(engine, who, job, CommandInput(command="accept"))
