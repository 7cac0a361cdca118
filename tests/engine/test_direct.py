"""Booking a technician by name: who may be named, and how the request ends."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

from engine.domain import bids, job_queries, jobs, offers
from engine.domain.bids import BidTerms
from engine.domain.commands import Step
from engine.errors import (
    AtCapacity,
    CalloutError,
    Cancelled,
    Expired,
    IllegalTransition,
    Invalid,
    NotFound,
    NotOffered,
)
from engine.idempotency.in_redis import Outcome
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, UserId
from engine.workers import scheduled_tasks
from tests.support import event_log, people
from tests.support.clock import advance

DIRECT, MARKET = "direct_booking", "marketplace"


async def request(engine: Engine, who: Principal, serves: ServiceId, technician: str, blueprint: str = DIRECT) -> JobId:
    """Book a technician by name."""
    return people.id_of(await people.job(engine, who, serves, blueprint=blueprint, technician=technician))


async def step(engine: Engine, who: Principal, job: str, command: str) -> Outcome:
    """Send one command for the job."""
    return await jobs.run_command(engine, who, job, Step(command=command))


async def seen(engine: Engine, who: Principal, job: str) -> dict[str, Any]:
    """Return the job as a caller sees it."""
    found: dict[str, Any] = msgspec.json.decode(await job_queries.read_job(engine, who, job))
    return found


async def invited(engine: Engine, who: Principal) -> list[str]:
    """Return the jobs in a technician's list of offers."""
    return [msgspec.json.decode(offer)["job"]["id"] for offer in (await offers.find_open_offers(engine, who)).items]


@pytest.mark.parametrize(
    "name", [None, "nobody", "{main}:log", "incomplete", "pending", "suspended", "gardener", "avoided"]
)
async def test_only_an_eligible_technician_can_be_booked(engine: Engine, name: str | None) -> None:
    """A missing name, an unknown or ineligible technician, one without the service and one who is blocked are each
    invalid at the same field, and leave no job.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "incomplete", serves, at=None, complete=False)
    await people.technician(engine, "pending", serves, at=None, kyc="pending")
    await people.technician(engine, "suspended", serves, at=None, account="suspended")
    await people.technician(engine, "gardener", await people.service(engine, name="Gardening"))
    await people.technician(engine, "avoided", serves)
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, UserId(carla.id)), "avoided")  # type: ignore[misc]
    with pytest.raises(Invalid) as caught:
        await people.job(engine, carla, serves, blueprint=DIRECT, technician=name)
    assert [error[0] for error in caught.value.errors] == ["/technician"]
    assert await event_log.events(engine, "job.created") == []


async def test_nobody_else_can_answer(engine: Engine) -> None:
    """Another technician gets `not_offered` or `not_found`, and the customer cannot accept for the technician."""
    serves, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", serves)
    tara = await people.technician(engine, "tara", serves)
    job = await request(engine, carla, serves, "tom")
    with pytest.raises(NotOffered):
        await step(engine, tara, job, "accept")
    with pytest.raises(NotFound):
        await step(engine, tara, job, "decline")
    with pytest.raises(NotFound):
        await job_queries.read_job(engine, tara, job)
    with pytest.raises(CalloutError) as caught:
        await step(engine, carla, job, "accept")
    assert caught.value.code == "forbidden"


async def test_a_technician_at_capacity_can_be_requested_but_not_accept(engine: Engine) -> None:
    """Capacity counts when the technician accepts; once they have capacity again they may accept."""
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    first, second = await request(engine, carla, serves, "tom"), await request(engine, carla, serves, "tom")
    await step(engine, tom, first, "accept")
    with pytest.raises(AtCapacity):
        await step(engine, tom, second, "accept")
    await step(engine, carla, first, "cancel")
    assert (await step(engine, tom, second, "accept")).message == "Booking accepted"


@pytest.mark.parametrize("command", ["accept", "decline"])
async def test_a_late_answer_is_refused_with_the_reason(engine: Engine, command: str) -> None:
    """A request that was cancelled or expired, processed or not, takes no answer."""
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves, capacity=5)
    cancelled, swept, over = [await request(engine, carla, serves, "tom") for _ in range(3)]
    for job in (cancelled, await request(engine, carla, serves, "tom", MARKET)):
        await step(engine, carla, job, "cancel")
        with pytest.raises(Cancelled):
            await step(engine, tom, job, command)
    await advance(engine, 86_401)
    await scheduled_tasks.run_task(engine, DEFAULT_ZONE, f"expire:{swept}")
    for job in (swept, over):
        with pytest.raises(Expired):
            await step(engine, tom, job, command)
    assert (await seen(engine, carla, swept))["status"] == "expired"
    (closed,) = await event_log.events(engine, "offer.closed", swept)
    assert closed.to == ("user:tom",) and event_log.payload(closed)["reason"] == "expired"


async def test_only_the_named_technician_has_the_offer_while_the_request_is_open(engine: Engine) -> None:
    """There is one offer, also to an offline technician, with the public part, in their list until the request ends;
    going offline does not end it.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    tom, tara = await people.technician(engine, "tom", serves), await people.technician(engine, "tara", serves)
    job = await request(engine, carla, serves, "tom")
    (made,) = await event_log.events(engine, "offer.created", job)
    offer = event_log.payload(made)["offer"]
    assert made.to == ("user:tom",) and offer["status"] == "sent"
    assert offer["expires_at"] == (await seen(engine, carla, job))["expires_at"]
    assert not {"customer", "address", "reference", "metadata"} & set(offer["job"])
    await live.set_availability(engine, tom, "tom", online=False)
    assert await invited(engine, tom) == [job] and await invited(engine, tara) == []
    assert (await seen(engine, tom, job))["actions"] == ["accept", "decline"]
    assert (await seen(engine, carla, job))["actions"] == ["cancel"]


async def test_an_accepted_request_is_worked_to_its_end(engine: Engine) -> None:
    """The technician is the holder and sees the whole job, and both parties receive each step."""
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    job = await request(engine, carla, serves, "tom")
    done = await step(engine, tom, job, "accept")
    (told,) = await event_log.events(engine, "job.accepted", job)
    assert told.seq == done.seq and set(told.to) == {f"user:{carla.id}", "user:tom", "role:ops", f"job:{job}"}
    assert (await seen(engine, carla, job))["technician"]["phone"] == "+1 555 0199"
    assert (await seen(engine, tom, job))["customer"]["phone"] == "+1 555 0100" and await invited(engine, tom) == []
    with pytest.raises(IllegalTransition):
        await step(engine, tom, job, "decline")
    for command, status in (("start", "in_progress"), ("complete", "completed")):
        await step(engine, tom, job, command)
        assert (await seen(engine, carla, job))["status"] == status


async def test_a_declined_request_is_closed(engine: Engine) -> None:
    """The customer is informed; a repeat has the same reply with only the public part; nobody else receives an
    offer.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    job = await request(engine, carla, serves, "tom")
    key = str(uuid.uuid4())
    for again in (key, key, None):
        done = await jobs.run_command(engine, tom, job, Step(command="decline"), key=again)
        told_him = msgspec.json.decode(done.job or b"")
        assert told_him["status"] == "declined" and not {"customer", "address"} & set(told_him)
    assert done.repeated
    shown = await seen(engine, carla, job)
    assert (shown["status"], shown["phase"], shown["technician"], shown["actions"]) == ("declined", "closed", None, [])
    (told,) = await event_log.events(engine, "job.status", job)
    assert (
        set(told.to) == {f"user:{carla.id}", "role:ops", f"job:{job}"}
        and event_log.payload(told)["actor"]["id"] == "tom"
    )
    assert await invited(engine, tom) == [] and len(await event_log.events(engine, "offer.created", job)) == 1
    with pytest.raises(IllegalTransition):
        await step(engine, tom, job, "accept")


async def test_cancelling_withdraws_the_request(engine: Engine) -> None:
    """Before an answer the technician learns that the offer is closed; after it, that the job is cancelled, and they
    have capacity again.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    first, second = await request(engine, carla, serves, "tom"), await request(engine, carla, serves, "tom")
    await step(engine, carla, first, "cancel")
    (closed,) = await event_log.events(engine, "offer.closed", first)
    assert closed.to == ("user:tom",) and event_log.payload(closed)["reason"] == "cancelled"
    await step(engine, tom, second, "accept")
    await step(engine, carla, second, "cancel")
    (told,) = await event_log.events(engine, "job.cancelled", second)
    assert "user:tom" in told.to and await event_log.events(engine, "offer.closed", second) == []
    assert await engine.store.redis.smembers(keys.technician_jobs(DEFAULT_ZONE, tom.id)) == set()  # type: ignore[misc, arg-type]


async def test_in_the_market_a_declined_job_takes_bids(engine: Engine) -> None:
    """In `marketplace` a named job is requested; after a decline it is open to bids of all who are eligible, also of
    the technician who declined.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    tom, tara = await people.technician(engine, "tom", serves), await people.technician(engine, "tara", serves)
    job = await request(engine, carla, serves, "tom", MARKET)
    assert (await seen(engine, carla, job))["status"] == "requested"
    with pytest.raises(IllegalTransition):
        await bids.create(engine, tara, job, BidTerms())
    declined = await step(engine, tom, job, "decline")
    assert msgspec.json.decode(declined.job or b"")["actions"] == ["bid"]
    shown = await seen(engine, carla, job)
    assert (shown["status"], shown["phase"]) == ("open", "open") and shown["expires_at"]
    assert (await seen(engine, tara, job))["actions"] == ["bid"] and (await seen(engine, tom, job))["actions"] == [
        "bid"
    ]
    made = await bids.create(engine, tara, job, BidTerms(amount=4000))
    done = await bids.accept(engine, carla, job, msgspec.json.decode(made.bid)["id"])
    assert msgspec.json.decode(done.job or b"")["technician"]["id"] == "tara"


async def test_in_the_market_the_requested_technician_may_accept_at_once(engine: Engine) -> None:
    """Accepting sends the same event as an accepted bid, at the customer's price."""
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    job = await request(engine, carla, serves, "tom", MARKET)
    done = await step(engine, tom, job, "accept")
    (told,) = await event_log.events(engine, "job.assigned", job)
    assert told.seq == done.seq and event_log.payload(told)["job"]["status"] == "scheduled"
    assert event_log.payload(told)["technician"]["id"] == "tom"


@pytest.mark.parametrize(("blueprint", "kind"), [(DIRECT, "job.accepted"), (MARKET, "job.assigned")])
async def test_an_event_names_the_command_that_caused_it(engine: Engine, blueprint: str, kind: str) -> None:
    """The event, and so the history, has the blueprint's own name of the command, not the usual name of its event
    type.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", serves)
    job = await request(engine, carla, serves, "tom", blueprint)
    await step(engine, tom, job, "claim")
    [event] = await event_log.events(engine, kind, job)
    assert event_log.payload(event)["command"] == "accept"
