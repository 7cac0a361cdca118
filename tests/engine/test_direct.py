"""Direct booking, in which the customer names the technician: whom a customer may name, and how the request ends."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

from engine.domain import bids, job_queries, jobs, offers
from engine.domain.bids import BidTerms
from engine.domain.commands import CommandInput
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


async def book_technician(
    engine: Engine, who: Principal, service: ServiceId, technician: str, blueprint: str = DIRECT
) -> JobId:
    """Book a job with the technician named, and return its id."""
    return people.id_of(await people.job(engine, who, service, blueprint=blueprint, technician=technician))


async def send_command(engine: Engine, who: Principal, job: str, command: str) -> Outcome:
    """Send a command for the job."""
    return await jobs.run_command(engine, who, job, CommandInput(command=command))


async def visible_job(engine: Engine, who: Principal, job: str) -> dict[str, Any]:
    """Return the job as the caller sees it."""
    view: dict[str, Any] = msgspec.json.decode(await job_queries.read_job(engine, who, job))
    return view


async def offered_jobs(engine: Engine, who: Principal) -> list[str]:
    """Return the jobs in a technician's list of open offers."""
    return [msgspec.json.decode(offer)["job"]["id"] for offer in (await offers.find_open_offers(engine, who)).items]


@pytest.mark.parametrize(
    "name", [None, "nobody", "{main}:log", "incomplete", "pending", "suspended", "gardener", "avoided"]
)
async def test_only_an_eligible_technician_can_be_booked(engine: Engine, name: str | None) -> None:
    """A booking without a technician, or of one who is unknown, not eligible, without the service or blocked, is
    refused as invalid at `/technician`, and no job is created.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "incomplete", service, at=None, complete=False)
    await people.technician(engine, "pending", service, at=None, kyc="pending")
    await people.technician(engine, "suspended", service, at=None, account="suspended")
    await people.technician(engine, "gardener", await people.service(engine, name="Gardening"))
    await people.technician(engine, "avoided", service)
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, UserId(carla.id)), "avoided")  # type: ignore[misc]
    with pytest.raises(Invalid) as caught:
        await people.job(engine, carla, service, blueprint=DIRECT, technician=name)
    assert [error[0] for error in caught.value.errors] == ["/technician"]
    assert await event_log.events(engine, "job.created") == []


async def test_only_the_named_technician_can_answer(engine: Engine) -> None:
    """Another technician who accepts or declines a request gets `not_offered` or `not_found`, and the customer who
    accepts gets `forbidden`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    await people.technician(engine, "tom", service)
    tara = await people.technician(engine, "tara", service)
    job = await book_technician(engine, carla, service, "tom")
    with pytest.raises(NotOffered):
        await send_command(engine, tara, job, "accept")
    with pytest.raises(NotFound):
        await send_command(engine, tara, job, "decline")
    with pytest.raises(NotFound):
        await job_queries.read_job(engine, tara, job)
    with pytest.raises(CalloutError) as caught:
        await send_command(engine, carla, job, "accept")
    assert caught.value.code == "forbidden"


async def test_a_technician_at_capacity_can_be_booked_but_cannot_accept(engine: Engine) -> None:
    """A technician at capacity can be booked, and gets `at_capacity` when they accept. After another job of theirs is
    cancelled they may accept.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    first, second = (
        await book_technician(engine, carla, service, "tom"),
        await book_technician(engine, carla, service, "tom"),
    )
    await send_command(engine, tom, first, "accept")
    with pytest.raises(AtCapacity):
        await send_command(engine, tom, second, "accept")
    await send_command(engine, carla, first, "cancel")
    assert (await send_command(engine, tom, second, "accept")).message == "Booking accepted"


@pytest.mark.parametrize("command", ["accept", "decline"])
async def test_a_late_answer_is_refused_with_the_reason(engine: Engine, command: str) -> None:
    """An answer to a request that was cancelled or has expired is refused with `cancelled` or `expired`, also if the
    scheduled task of the expiry has not run yet.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=5)
    cancelled, swept, over = [await book_technician(engine, carla, service, "tom") for _ in range(3)]
    for job in (cancelled, await book_technician(engine, carla, service, "tom", MARKET)):
        await send_command(engine, carla, job, "cancel")
        with pytest.raises(Cancelled):
            await send_command(engine, tom, job, command)
    await advance(engine, 86_401)
    await scheduled_tasks.run_task(engine, DEFAULT_ZONE, f"expire:{swept}")
    for job in (swept, over):
        with pytest.raises(Expired):
            await send_command(engine, tom, job, command)
    assert (await visible_job(engine, carla, swept))["status"] == "expired"
    (closed,) = await event_log.events(engine, "offer.closed", swept)
    assert closed.to == ("user:tom",) and event_log.payload(closed)["reason"] == "expired"


async def test_only_the_named_technician_has_the_offer_while_the_request_is_open(engine: Engine) -> None:
    """A direct booking creates one offer, to the named technician, with the job's public part. The offer remains open
    when the technician goes offline.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = await people.technician(engine, "tom", service), await people.technician(engine, "tara", service)
    job = await book_technician(engine, carla, service, "tom")
    (event,) = await event_log.events(engine, "offer.created", job)
    offer = event_log.payload(event)["offer"]
    assert event.to == ("user:tom",) and offer["status"] == "sent"
    assert offer["expires_at"] == (await visible_job(engine, carla, job))["expires_at"]
    assert not {"customer", "address", "reference", "metadata"} & set(offer["job"])
    await live.set_availability(engine, tom, "tom", online=False)
    assert await offered_jobs(engine, tom) == [job] and await offered_jobs(engine, tara) == []
    assert (await visible_job(engine, tom, job))["actions"] == ["accept", "decline"]
    assert (await visible_job(engine, carla, job))["actions"] == ["cancel"]


async def test_an_accepted_request_can_be_completed(engine: Engine) -> None:
    """A technician who accepts a request holds the job and sees the customer's phone number. Customer, holder and ops
    receive `job.accepted`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await book_technician(engine, carla, service, "tom")
    outcome = await send_command(engine, tom, job, "accept")
    (event,) = await event_log.events(engine, "job.accepted", job)
    assert event.seq == outcome.seq and set(event.to) == {f"user:{carla.id}", "user:tom", "role:ops", f"job:{job}"}
    assert (await visible_job(engine, carla, job))["technician"]["phone"] == "+1 555 0199"
    assert (await visible_job(engine, tom, job))["customer"]["phone"] == "+1 555 0100" and await offered_jobs(
        engine, tom
    ) == []
    with pytest.raises(IllegalTransition):
        await send_command(engine, tom, job, "decline")
    for command, status in (("start", "in_progress"), ("complete", "completed")):
        await send_command(engine, tom, job, command)
        assert (await visible_job(engine, carla, job))["status"] == status


async def test_a_declined_request_is_closed(engine: Engine) -> None:
    """When the technician declines, the job is closed and the customer and ops receive `job.status`. A repeat has the
    same reply with the public part only, and no other technician receives an offer.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await book_technician(engine, carla, service, "tom")
    key = str(uuid.uuid4())
    for again in (key, key, None):
        outcome = await jobs.run_command(engine, tom, job, CommandInput(command="decline"), key=again)
        payload = msgspec.json.decode(outcome.job or b"")
        assert payload["status"] == "declined" and not {"customer", "address"} & set(payload)
    assert outcome.repeated
    view = await visible_job(engine, carla, job)
    assert (view["status"], view["phase"], view["technician"], view["actions"]) == ("declined", "closed", None, [])
    (event,) = await event_log.events(engine, "job.status", job)
    assert (
        set(event.to) == {f"user:{carla.id}", "role:ops", f"job:{job}"}
        and event_log.payload(event)["actor"]["id"] == "tom"
    )
    assert await offered_jobs(engine, tom) == [] and len(await event_log.events(engine, "offer.created", job)) == 1
    with pytest.raises(IllegalTransition):
        await send_command(engine, tom, job, "accept")


async def test_cancelling_withdraws_the_request(engine: Engine) -> None:
    """When the customer cancels before the answer, the technician receives `offer.closed`; after the answer,
    `job.cancelled`, and the technician no longer holds the job.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    first, second = (
        await book_technician(engine, carla, service, "tom"),
        await book_technician(engine, carla, service, "tom"),
    )
    await send_command(engine, carla, first, "cancel")
    (closed,) = await event_log.events(engine, "offer.closed", first)
    assert closed.to == ("user:tom",) and event_log.payload(closed)["reason"] == "cancelled"
    await send_command(engine, tom, second, "accept")
    await send_command(engine, carla, second, "cancel")
    (event,) = await event_log.events(engine, "job.cancelled", second)
    assert "user:tom" in event.to and await event_log.events(engine, "offer.closed", second) == []
    assert await engine.store.redis.smembers(keys.technician_jobs(DEFAULT_ZONE, tom.id)) == set()  # type: ignore[misc, arg-type]


async def test_in_the_market_a_declined_job_takes_bids(engine: Engine) -> None:
    """A job of `marketplace` with a named technician takes no bids. After the technician declines it takes bids from
    every eligible technician, including the named one.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = await people.technician(engine, "tom", service), await people.technician(engine, "tara", service)
    job = await book_technician(engine, carla, service, "tom", MARKET)
    assert (await visible_job(engine, carla, job))["status"] == "requested"
    with pytest.raises(IllegalTransition):
        await bids.create_bid(engine, tara, job, BidTerms())
    declined = await send_command(engine, tom, job, "decline")
    assert msgspec.json.decode(declined.job or b"")["actions"] == ["bid"]
    view = await visible_job(engine, carla, job)
    assert (view["status"], view["phase"]) == ("open", "open") and view["expires_at"]
    assert (await visible_job(engine, tara, job))["actions"] == ["bid"] and (await visible_job(engine, tom, job))[
        "actions"
    ] == ["bid"]
    created = await bids.create_bid(engine, tara, job, BidTerms(amount=4000))
    outcome = await bids.accept_bid(engine, carla, job, msgspec.json.decode(created.bid)["id"])
    assert msgspec.json.decode(outcome.job or b"")["technician"]["id"] == "tara"


async def test_in_the_market_the_named_technician_may_accept(engine: Engine) -> None:
    """When the named technician accepts a job of `marketplace`, the event is `job.assigned`, as for an accepted bid."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await book_technician(engine, carla, service, "tom", MARKET)
    outcome = await send_command(engine, tom, job, "accept")
    (event,) = await event_log.events(engine, "job.assigned", job)
    assert event.seq == outcome.seq and event_log.payload(event)["job"]["status"] == "scheduled"
    assert event_log.payload(event)["technician"]["id"] == "tom"


@pytest.mark.parametrize(("blueprint", "kind"), [(DIRECT, "job.accepted"), (MARKET, "job.assigned")])
async def test_an_event_names_the_command_that_caused_it(engine: Engine, blueprint: str, kind: str) -> None:
    """The event of a command contains the blueprint's own name of this command (`accept`), even if the caller sent its
    alias `claim`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await book_technician(engine, carla, service, "tom", blueprint)
    await send_command(engine, tom, job, "claim")
    [event] = await event_log.events(engine, kind, job)
    assert event_log.payload(event)["command"] == "accept"
