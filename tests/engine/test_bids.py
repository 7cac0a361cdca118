"""Bids: who may bid, how a bid is accepted, and how the other bids of the job end."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

from engine.domain import bid_list, bids, job_queries, jobs, offers
from engine.domain.bids import BidOutcome, BidTerms
from engine.domain.commands import CommandInput
from engine.errors import (
    AccountNotApproved,
    AtCapacity,
    CalloutError,
    Duplicate,
    Expired,
    Forbidden,
    IllegalTransition,
    Invalid,
    KycNotApproved,
    NotFound,
    NotOffered,
    ProfileIncomplete,
    ReusedKey,
    Taken,
    VersionConflict,
)
from engine.idempotency.in_redis import Outcome
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, UserId
from engine.workers import scheduled_tasks
from tests.support import event_log, people
from tests.support.clock import advance
from tests.support.dispatch_setup import change_record


async def post_job(engine: Engine, who: Principal, service: ServiceId, **changes: object) -> JobId:
    """Book a job of the blueprint `marketplace`, which takes bids, and return its id. No wave opens, so no technician
    is invited.
    """
    return people.id_of(await people.job(engine, who, service, blueprint="marketplace", **changes))  # type: ignore[arg-type]


async def create_bid(engine: Engine, who: Principal, job: str, amount: int | None = None, **more: Any) -> str:
    """Make a bid and return its id. Without ``amount`` the bid accepts the customer's price."""
    created = await bids.create_bid(engine, who, job, BidTerms(amount=amount), **more)
    return str(msgspec.json.decode(created.bid)["id"])


async def visible_bids(engine: Engine, who: Principal, job: str) -> list[dict[str, Any]]:
    """Return the bids of the job that a caller may see."""
    return [msgspec.json.decode(item) for item in (await bid_list.find_bids(engine, who, job)).items]


async def visible_job(engine: Engine, who: Principal, job: str) -> dict[str, Any]:
    """Return the job as the caller sees it."""
    view: dict[str, Any] = msgspec.json.decode(await job_queries.read_job(engine, who, job))
    return view


def json_of(reply: Outcome | BidOutcome) -> dict[str, Any]:
    """Return the decoded bid of a `BidOutcome`, or the decoded job of an `Outcome`."""
    document: dict[str, Any] = msgspec.json.decode((reply.bid if isinstance(reply, BidOutcome) else reply.job) or b"")
    return document


async def send_command(engine: Engine, who: Principal, job: str, command: str, **more: Any) -> None:
    """Send a command of the job's blueprint."""
    await jobs.run_command(engine, who, job, CommandInput(command=command, **more))


# Refusals


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"complete": False}, ProfileIncomplete),
        ({"kyc": "pending"}, KycNotApproved),
        ({"account": "suspended"}, AccountNotApproved),
    ],
)
async def test_the_technician_is_checked_before_the_job(
    engine: Engine, change: dict[str, object], error: type[CalloutError]
) -> None:
    """A bid by an ineligible technician is refused with the reason of their own account, even for a job that they may
    not read.
    """
    service = await people.service(engine)
    who = await people.technician(engine, "t1", await people.service(engine), at=None, **change)
    job = await post_job(engine, await people.customer(engine), service)
    with pytest.raises(error):
        await create_bid(engine, who, job)


async def test_only_technicians_bid_and_only_customers_accept(engine: Engine) -> None:
    """A bid or a withdrawal by any role but `technician` is forbidden, and so is the acceptance of a bid by any role
    but `customer`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    job, tom = await post_job(engine, carla, service), await people.technician(engine, "t1", service)
    for role in ("customer", "ops_manager", "admin", "service", "mediator"):
        stranger = Principal(UserId("x"), role)  # type: ignore[arg-type]
        with pytest.raises(Forbidden):
            await create_bid(engine, stranger, job)
        with pytest.raises(Forbidden):
            await bids.withdraw_bid(engine, stranger, job, "bid_x")
        if role != "customer":
            with pytest.raises(Forbidden):
                await bids.accept_bid(engine, stranger, job, "bid_x")
    with pytest.raises(Forbidden):
        await bids.accept_bid(engine, tom, job, "bid_x")


async def test_strangers_get_not_found(engine: Engine) -> None:
    """A technician without the service, a technician whom the customer blocked and another customer get `not_found`
    when they read the job, bid for it or accept a bid.
    """
    service, other = await people.service(engine), await people.service(engine, name="Gardening")
    carla, otto = await people.customer(engine), await people.customer(engine, "Otto")
    job = await post_job(engine, carla, service)
    gus, avoided = await people.technician(engine, "gus", other), await people.technician(engine, "bo", service)
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, UserId(carla.id)), avoided.id)  # type: ignore[misc]
    tom = await people.technician(engine, "tom", service)
    name = await create_bid(engine, tom, job)
    for who in (gus, avoided):
        read_job, find_bids = job_queries.read_job, bid_list.find_bids
        for ask in (create_bid(engine, who, job), read_job(engine, who, job), find_bids(engine, who, job)):
            with pytest.raises(NotFound):
                await ask
        with pytest.raises(NotFound):
            await bids.withdraw_bid(engine, who, job, name)
    with pytest.raises(NotFound):
        await bids.accept_bid(engine, otto, job, name)
    for wrong in ("bid_none", "", "x y", "{main}:log"):
        with pytest.raises(NotFound):
            await bids.accept_bid(engine, carla, job, wrong)


async def test_a_job_that_is_broadcast_takes_no_bids(engine: Engine) -> None:
    """A bid for a job whose blueprint has no bids is refused with `not_found`."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, carla, service)
    with pytest.raises(NotFound):
        await create_bid(engine, tom, job)


async def test_one_open_bid_per_technician_and_a_limit_per_job(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second bid of a technician is refused as `duplicate` until they withdraw the first. A bid above the limit of
    open bids for each job is refused with `at_capacity`.
    """
    monkeypatch.setattr(bids, "MAX_BIDS", 2)
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara, tim = [await people.technician(engine, name, service) for name in ("tom", "tara", "tim")]
    job = await post_job(engine, carla, service)
    name = await create_bid(engine, tom, job)
    with pytest.raises(Duplicate):
        await create_bid(engine, tom, job)
    await create_bid(engine, tara, job)
    with pytest.raises(AtCapacity):
        await create_bid(engine, tim, job)
    await bids.withdraw_bid(engine, tom, job, name)
    assert await create_bid(engine, tom, job) != name
    with pytest.raises(NotFound):
        await bids.withdraw_bid(engine, tom, job, name)


async def test_a_bid_for_another_version_is_refused(engine: Engine) -> None:
    """A bid, a withdrawal and an acceptance with another version of the job are refused with `version_conflict` and the
    current job; the technician gets its public part only.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, job = await people.technician(engine, "tom", service), await post_job(engine, carla, service)
    with pytest.raises(VersionConflict) as caught:
        await bids.create_bid(engine, tom, job, BidTerms(version=7))
    assert "customer" not in msgspec.json.decode(caught.value.extra["job"])
    name = await create_bid(engine, tom, job)
    for act, who in ((bids.withdraw_bid, tom), (bids.accept_bid, carla)):
        with pytest.raises(VersionConflict) as caught:
            await act(engine, who, job, name, version=7)
        assert msgspec.json.decode(caught.value.extra["job"])["id"] == job


async def test_a_closed_bid_is_not_accepted(engine: Engine) -> None:
    """A withdrawn bid and a bid of an expired job cannot be accepted, and an expired job takes no bids."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = await people.technician(engine, "tom", service), await people.technician(engine, "tara", service)
    job = await post_job(engine, carla, service)
    first, second = await create_bid(engine, tom, job), await create_bid(engine, tara, job)
    await bids.withdraw_bid(engine, tom, job, first)
    with pytest.raises(IllegalTransition):
        await bids.accept_bid(engine, carla, job, first)
    await advance(engine, 604_801)
    with pytest.raises(Expired):
        await bids.accept_bid(engine, carla, job, second)
    with pytest.raises(Expired):
        await create_bid(engine, tom, job)


@pytest.mark.parametrize("change", [{"kyc": "rejected"}, {"account": "suspended"}, {"services": []}])
async def test_a_bid_of_a_technician_who_is_no_longer_eligible_is_invalid(
    engine: Engine, change: dict[str, Any]
) -> None:
    """Acceptance of a bid whose bidder is no longer eligible is invalid at `/bid`, and the job remains open."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom, job = await people.technician(engine, "tom", service), await post_job(engine, carla, service)
    name = await create_bid(engine, tom, job)
    text = {field: " ".join(value) if isinstance(value, list) else value for field, value in change.items()}
    await change_record(engine, "tom", **text)
    with pytest.raises(Invalid) as caught:
        await bids.accept_bid(engine, carla, job, name)
    assert [error[0] for error in caught.value.errors] == ["/bid"]
    assert (await visible_job(engine, carla, job))["status"] == "open"


async def test_a_bid_of_a_technician_at_capacity_is_not_accepted(engine: Engine) -> None:
    """A technician may bid for more jobs than their capacity. When they are at capacity, the acceptance of another bid
    is refused with `at_capacity`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job, other = await post_job(engine, carla, service), await post_job(engine, carla, service)
    name, elsewhere = await create_bid(engine, tom, job), await create_bid(engine, tom, other)
    await bids.accept_bid(engine, carla, other, elsewhere)
    with pytest.raises(AtCapacity):
        await bids.accept_bid(engine, carla, job, name)


# Effects


async def test_only_the_parties_receive_a_bid(engine: Engine) -> None:
    """The bidder, the customer and ops receive `bid.created` with the bidder's public card and the amount. Other
    bidders do not receive it and do not see the bid in the list.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = await people.technician(engine, "tom", service), await people.technician(engine, "tara", service)
    job = await post_job(engine, carla, service)
    bid = json_of(await bids.create_bid(engine, tom, job, BidTerms(amount=4200, note='I have "all" tools')))
    await create_bid(engine, tara, job)
    assert {**bid, "created_at": ""} == {
        "id": bid["id"],
        "job": job,
        "technician": {"id": "tom", "name": "T tom", "rating": 4.5},
        "note": 'I have "all" tools',
        "amount": 4200,
        "status": "open",
        "version": 1,
        "created_at": "",
    }
    first, second = await event_log.events(engine, "bid.created", job)
    assert event_log.payload(first) == {"bid": bid, "job": {"id": job}}
    assert set(first.to) == {"user:tom", f"user:{carla.id}", "role:ops", f"job:{job}"}
    assert first.actor == "technician:tom"
    assert event_log.payload(second)["bid"]["amount"] is None and "user:tom" not in second.to
    assert [b["technician"]["id"] for b in await visible_bids(engine, carla, job)] == ["tom", "tara"]
    assert [b["technician"]["id"] for b in await visible_bids(engine, people.ADMIN, job)] == ["tom", "tara"]
    assert [b["technician"]["id"] for b in await visible_bids(engine, tara, job)] == ["tara"]


async def test_a_possible_bidder_reads_the_public_part(engine: Engine) -> None:
    """A technician with the service reads the job's public part without an invitation; the action is `bid`, and
    `withdraw` after a bid. After another bid is accepted, a bidder can still read the job, and others cannot.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = await people.technician(engine, "tom", service), await people.technician(engine, "tara", service)
    job = await post_job(engine, carla, service)
    before = await visible_job(engine, tom, job)
    assert before["actions"] == ["bid"] and not {"customer", "address", "reference", "metadata"} & set(before)
    name = await create_bid(engine, tom, job)
    assert (await visible_job(engine, tom, job))["actions"] == ["withdraw"]
    await bids.accept_bid(engine, carla, job, await create_bid(engine, tara, job))
    assert (await visible_job(engine, tom, job))["actions"] == []
    assert [b["id"] for b in await visible_bids(engine, tom, job)] == [name]
    latecomer = await people.technician(engine, "late", service)
    with pytest.raises(NotFound):
        await job_queries.read_job(engine, latecomer, job)


async def test_a_bid_closes_the_invitation(engine: Engine) -> None:
    """When an invited technician bids, the offer leaves their list. After they withdraw the bid, they may bid again."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service)
    job = await people.offered_job(engine, carla, service, blueprint="marketplace")
    assert [msgspec.json.decode(o)["job"]["id"] for o in (await offers.find_open_offers(engine, tom)).items] == [job]
    name = await create_bid(engine, tom, job)
    assert (await offers.find_open_offers(engine, tom)).items == []
    await bids.withdraw_bid(engine, tom, job, name)
    assert (await visible_job(engine, tom, job))["actions"] == ["bid"]


async def test_an_accepted_bid_assigns_the_job_and_declines_the_others(engine: Engine) -> None:
    """When a bid is accepted, its bidder holds the job at the price of the bid. Each other bidder receives only
    `bid.closed` of their own bid, with the reason `declined`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    crowd = [await people.technician(engine, name, service) for name in ("tom", "tara", "tim")]
    job = await post_job(engine, carla, service, amount=5000)
    names = [await create_bid(engine, who, job, 4000 + n) for n, who in enumerate(crowd)]
    await bids.withdraw_bid(engine, crowd[2], job, names[2])
    reply = await bids.accept_bid(engine, carla, job, names[1])
    job_now = json_of(reply)
    assert (job_now["status"], job_now["phase"], job_now["amount"]) == ("scheduled", "assigned", 4001)
    assert job_now["technician"]["id"] == "tara" and reply.message == "Bid accepted"
    assigned, accepted, closed, opened, asked = (await event_log.events(engine, job=job))[-5:]
    assert (assigned.type, accepted.type, closed.type) == ("job.assigned", "bid.accepted", "bid.closed")
    assert (opened.type, asked.type) == ("room.opened", "payment.requested")
    assert assigned.seq == reply.seq and set(assigned.to) == {f"user:{carla.id}", "user:tara", "role:ops", f"job:{job}"}
    assert "phone" not in assigned.data.decode() and job_now["technician"]["phone"] == "+1 555 0199"
    assert event_log.payload(accepted)["bid"]["id"] == names[1] and "user:tom" not in accepted.to
    assert event_log.payload(closed)["bid"]["id"] == names[0] and event_log.payload(closed)["reason"] == "declined"
    assert set(closed.to) == {"user:tom", f"user:{carla.id}", "role:ops"}
    statuses = {b["id"]: b["status"] for b in await visible_bids(engine, carla, job)}
    assert statuses == dict(zip(names, ("declined", "accepted", "withdrawn"), strict=True))
    again = await bids.accept_bid(engine, carla, job, names[1])
    assert again.repeated and json_of(again)["version"] == job_now["version"]
    with pytest.raises(Taken):
        await create_bid(engine, crowd[2], job)
    for late in (bids.accept_bid(engine, carla, job, names[0]), bids.withdraw_bid(engine, crowd[1], job, names[1])):
        with pytest.raises(IllegalTransition):
            await late


async def test_a_bid_changes_no_hourly_rate(engine: Engine) -> None:
    """The acceptance of a bid for hourly work does not change the rate, with any content of the metadata. A bid without
    an amount does not change the price.
    """
    hourly, flat = await people.service(engine, pricing="hourly"), await people.service(engine)
    carla = await people.customer(engine)
    tom = await people.technician(engine, "tom", hourly, capacity=3)
    tara = await people.technician(engine, "tara", flat)
    job = await post_job(engine, carla, hourly, metadata={"pricing": "flat"})
    assert json_of(await bids.accept_bid(engine, carla, job, await create_bid(engine, tom, job, 1)))["amount"] == 5000
    other = await post_job(engine, carla, flat, amount=700)
    assert json_of(await bids.accept_bid(engine, carla, other, await create_bid(engine, tara, other)))["amount"] == 700


@pytest.mark.parametrize("how", ["cancelled", "expired"])
async def test_bids_end_with_their_job(engine: Engine, how: str) -> None:
    """When a job is cancelled or expires, its bids close for the same reason, and each bidder receives
    only their own.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    crowd = [await people.technician(engine, name, service) for name in ("tom", "tara")]
    job = await post_job(engine, carla, service)
    names = [await create_bid(engine, who, job) for who in crowd]
    if how == "cancelled":
        await send_command(engine, carla, job, "cancel")
    else:
        await advance(engine, 604_801)
        await scheduled_tasks.run_task(engine, DEFAULT_ZONE, f"expire:{job}")
    closures = await event_log.events(engine, "bid.closed", job)
    assert [event_log.payload(e)["reason"] for e in closures] == [how, how]
    event_of_bid = {event_log.payload(event)["bid"]["id"]: event for event in closures}
    for who, name in zip(crowd, names, strict=True):
        assert [to for to in event_of_bid[name].to if to in ("user:tom", "user:tara")] == [f"user:{who.id}"]
        assert event_log.payload(event_of_bid[name])["bid"] == (await visible_bids(engine, who, job))[0]
        assert (await visible_bids(engine, who, job))[0]["status"] == "closed"


async def test_after_an_unassign_all_but_the_former_holder_may_bid_again(engine: Engine) -> None:
    """When the holder leaves the job, their bid closes (`unassigned`). They may not bid again; other
    technicians may.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = await people.technician(engine, "tom", service), await people.technician(engine, "tara", service)
    job = await post_job(engine, carla, service)
    first, _ = await create_bid(engine, tom, job), await create_bid(engine, tara, job)
    await bids.accept_bid(engine, carla, job, first)
    await send_command(engine, tom, job, "unassign", reason="ill")
    assert (await visible_job(engine, tom, job))["actions"] == []
    with pytest.raises(NotOffered):
        await create_bid(engine, tom, job)
    last = (await event_log.events(engine, "bid.closed", job))[-1]
    assert event_log.payload(last)["reason"] == "unassigned" and event_log.payload(last)["bid"]["id"] == first
    second = await create_bid(engine, tara, job, 4500)
    assert json_of(await bids.accept_bid(engine, carla, job, second))["technician"]["id"] == "tara"


async def test_a_repeat_has_the_same_reply_and_one_effect(engine: Engine) -> None:
    """A repeat of a bid under its key returns the same bid, even after the bid was withdrawn. Other arguments under the
    key are refused as `reused_key`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, job = await people.technician(engine, "tom", service), await post_job(engine, carla, service)
    key, other = str(uuid.uuid4()), str(uuid.uuid4())
    created = await bids.create_bid(engine, tom, job, BidTerms(amount=1), key=key)
    withdrawal = await bids.withdraw_bid(engine, tom, job, json_of(created)["id"], key=other)
    again = await bids.create_bid(engine, tom, job, BidTerms(amount=1), key=key)
    assert again.repeated and json_of(again) == json_of(created)
    assert json_of(await bids.withdraw_bid(engine, tom, job, json_of(created)["id"], key=other)) == json_of(withdrawal)
    assert (await bids.withdraw_bid(engine, tom, job, json_of(created)["id"])).repeated
    with pytest.raises(ReusedKey):
        await bids.create_bid(engine, tom, job, BidTerms(amount=2), key=key)
    assert len([e for e in await event_log.events(engine, job=job) if e.type.startswith("bid.")]) == 2
