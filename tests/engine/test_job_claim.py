"""Claims: each refusal in the order of PROTOCOL §3, then the success, then its repeats."""

from __future__ import annotations

import uuid

import orjson
import pytest

from engine.domain import job_queries, jobs, offers
from engine.domain.jobs import CommandInput
from engine.errors import (
    AccountNotApproved,
    AtCapacity,
    CalloutError,
    Cancelled,
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
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, Principal, TechnicianId, UserId, new_job_id
from tests.support import event_log, people
from tests.support.clock import advance


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"complete": False}, ProfileIncomplete),
        ({"kyc": "pending"}, KycNotApproved),
        ({"kyc": "rejected"}, KycNotApproved),
        ({"account": "suspended"}, AccountNotApproved),
        ({"complete": False, "kyc": "pending", "account": "suspended"}, ProfileIncomplete),
        ({"kyc": "pending", "account": "suspended"}, KycNotApproved),
    ],
)
async def test_the_technician_is_checked_before_the_job(
    engine: Engine, change: dict[str, object], error: type[CalloutError]
) -> None:
    """A claim checks profile, KYC and account of the technician, in this order, before the job: even a job that does
    not exist gets these refusals.
    """
    service = await people.service(engine)
    who = await people.technician(engine, "t1", service, at=None, **change)
    with pytest.raises(error):
        await jobs.claim(engine, who, new_job_id(DEFAULT_ZONE))


async def test_a_technician_without_a_record_is_incomplete(engine: Engine) -> None:
    """A claim by a technician without a record in Redis is refused with `profile_incomplete`."""
    with pytest.raises(ProfileIncomplete):
        await jobs.claim(engine, people.technician_without_account("nobody"), new_job_id(DEFAULT_ZONE))


@pytest.mark.parametrize("role", ["customer", "ops_manager", "admin", "service", "mediator"])
async def test_only_technicians_claim(engine: Engine, role: str) -> None:
    """A claim by any role except `technician` is forbidden for every job."""
    with pytest.raises(Forbidden):
        await jobs.claim(engine, Principal(UserId("x"), role), new_job_id(DEFAULT_ZONE))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["", "job_main_1", "x", "job_other_01m7ykehw8kv7j2zzy75kyk383", "job_main_{}" + "0" * 24]
)
async def test_a_claim_of_an_invalid_job_id_is_refused(engine: Engine, name: str) -> None:
    """A claim with an invalid job id, or with the id of a zone that is not served, is refused with `not_found` or
    `unavailable`, never with an internal error.
    """
    service = await people.service(engine)
    who = await people.technician(engine, "t1", service)
    with pytest.raises(CalloutError) as caught:
        await jobs.claim(engine, who, name)
    assert caught.value.code in ("not_found", "unavailable")


async def test_a_key_that_is_no_uuid_is_invalid(engine: Engine) -> None:
    """A claim whose idempotency key is not a UUID is invalid, because the key becomes part of a Redis key."""
    service = await people.service(engine)
    who = await people.technician(engine, "t1", service)
    with pytest.raises(Invalid):
        await jobs.claim(engine, who, new_job_id(DEFAULT_ZONE), key="x y")


async def test_the_job_is_checked_before_the_offer(engine: Engine) -> None:
    """A claim of a job that is taken, cancelled or expired gets `taken`, `cancelled` or `expired`, even from a
    technician who never had an offer.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    near = await people.technician(engine, "t1", service)
    far = await people.technician(engine, "t2", service, at=live.Coordinates(10, 10))
    claimed_job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, near, claimed_job)
    with pytest.raises(Taken):
        await jobs.claim(engine, far, claimed_job)
    cancelled_job = await people.offered_job(engine, carla, service)
    await jobs.run_command(engine, carla, cancelled_job, CommandInput(command="cancel"))
    with pytest.raises(Cancelled):
        await jobs.claim(engine, far, cancelled_job)
    expired_job = await people.offered_job(engine, carla, service)
    await advance(engine, 901)
    with pytest.raises(Expired):
        await jobs.claim(engine, far, expired_job)


async def test_a_claim_without_an_open_offer_is_refused(engine: Engine) -> None:
    """A claim without an offer or after a decline is refused with `not_offered`. A claim after the offer expired, while
    the job is open, is refused with `expired`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    two = await people.technician(engine, "t2", service)
    far = await people.technician(engine, "t3", service, at=live.Coordinates(10, 10))
    job = await people.offered_job(engine, carla, service)
    with pytest.raises(NotOffered):
        await jobs.claim(engine, far, job)
    await offers.decline_offer(engine, tom, job)
    with pytest.raises(NotOffered):
        await jobs.claim(engine, tom, job)
    await advance(engine, 61)
    with pytest.raises(Expired):
        await jobs.claim(engine, two, job)


async def test_a_technician_at_capacity_keeps_the_offer(engine: Engine) -> None:
    """A claim by a technician at capacity is refused with `at_capacity`, and the job and the offer remain open. When
    they have capacity again, they can claim the job.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    two = await people.technician(engine, "t2", service)
    first, second = await people.offered_job(engine, carla, service), await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, first)
    with pytest.raises(AtCapacity):
        await jobs.claim(engine, tom, second)
    third = await people.offered_job(engine, carla, service)
    assert (await jobs.claim(engine, two, third)).message == "Job accepted"
    assert not [
        e for e in await event_log.events(engine, "offer.closed") if event_log.payload(e)["reason"] == "withdrawn"
    ]
    await jobs.run_command(engine, tom, first, CommandInput(command="unassign"))
    assert (await jobs.claim(engine, tom, second)).message == "Job accepted"


async def test_a_conflicting_version_is_refused_with_the_current_job(engine: Engine) -> None:
    """A claim for another version of the job is refused with `version_conflict` and the current job."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    with pytest.raises(VersionConflict) as caught:
        await jobs.claim(engine, tom, job, version=7)
    assert orjson.loads(bytes(caught.value.extra["job"]))["version"] == 1


async def test_a_claim_informs_everybody_involved(engine: Engine) -> None:
    """A claim sends one `job.accepted` to the customer, the holder and ops, and one `offer.closed` (`taken`) to all
    other technicians with an offer. The reply, the job's record and the technician's record agree.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    crowd = [await people.technician(engine, f"t{i}", service) for i in range(4)]
    job = await people.offered_job(engine, carla, service)
    outcome = await jobs.claim(engine, crowd[2], job)
    job_view = orjson.loads(bytes(outcome.job or b""))
    assert job_view["status"] == "accepted" and job_view["phase"] == "assigned" and job_view["version"] == 2
    assert job_view["technician"] == {"id": "t2", "name": "T t2", "rating": 4.5}
    assert job_view["customer"]["phone"] == "+1 555 0100" and job_view["actions"] == ["depart", "unassign"]
    [accepted] = await event_log.events(engine, "job.accepted", job)
    assert accepted.seq == outcome.seq
    assert set(accepted.to) == {f"user:{carla.id}", "user:t2", "role:ops", f"job:{job}"}
    assert event_log.payload(accepted)["technician"] == {"id": "t2", "name": "T t2", "rating": 4.5}
    [closed] = await event_log.events(engine, "offer.closed", job)
    assert set(closed.to) == {"user:t0", "user:t1", "user:t3"}
    assert event_log.payload(closed)["reason"] == "taken"
    assert await engine.store.redis.zcard(keys.technician_supply(DEFAULT_ZONE, service)) == 3
    assert await engine.store.redis.zcard(keys.job_demand(DEFAULT_ZONE, service)) == 0
    for loser in (crowd[0], crowd[1], crowd[3]):
        assert (await offers.find_open_offers(engine, loser)).items == []
        offers_key = keys.technician_offers(DEFAULT_ZONE, TechnicianId(UserId(loser.id)))
        assert await engine.store.redis.zcard(offers_key) == 0


async def test_a_repeated_claim_has_the_first_reply_and_one_event(engine: Engine) -> None:
    """A repeat of a claim under its key has exactly the first reply and appends no event, even after later commands."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job, key = await people.offered_job(engine, carla, service), str(uuid.uuid4())
    first = await jobs.claim(engine, tom, job, key=key)
    await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
    again = await jobs.claim(engine, tom, job, key=key)
    assert again.repeated and not first.repeated
    assert (bytes(again.job or b""), again.seq, again.version) == (bytes(first.job or b""), first.seq, first.version)
    assert len(await event_log.events(engine, "job.accepted", job)) == 1


async def test_a_key_of_another_claim_is_refused(engine: Engine) -> None:
    """A claim of another job under the same key is refused as `reused_key` and has no effect."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service, capacity=2)
    key = str(uuid.uuid4())
    first, second = await people.offered_job(engine, carla, service), await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, first, key=key)
    with pytest.raises(ReusedKey):
        await jobs.claim(engine, tom, second, key=key)
    assert not await event_log.events(engine, "job.accepted", second)


@pytest.mark.usefixtures("records_by_hand")
async def test_a_repeat_is_known_as_long_as_the_job_is_live(engine: Engine) -> None:
    """After the idempotency record of a claim has expired, the job's list of causes still identifies the repeat."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job, key = await people.offered_job(engine, carla, service), str(uuid.uuid4())
    first = await jobs.claim(engine, tom, job, key=key)
    await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
    await engine.store.redis.delete(keys.idempotency_record(DEFAULT_ZONE, tom.id, key))
    await engine.store.redis.hincrby(keys.job(DEFAULT_ZONE, job), "created", -600_000)
    again = await jobs.claim(engine, tom, job, key=key)
    assert again.repeated and again.seq == first.seq


async def test_a_refusal_is_repeated_for_a_minute(engine: Engine) -> None:
    """A refusal is stored under its key for a minute too; the repeat gets the same refusal, marked as repeated."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = await people.technician(engine, "t1", service), await people.technician(engine, "t2", service)
    job, key = await people.offered_job(engine, carla, service), str(uuid.uuid4())
    await jobs.claim(engine, tom, job)
    for repeated in (False, True):
        with pytest.raises(Taken) as caught:
            await jobs.claim(engine, tara, job, key=key)
        assert caught.value.repeated is repeated


async def test_a_second_claim_of_the_holder_succeeds(engine: Engine) -> None:
    """A second claim by the holder without a key has the same reply as the first."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    first = await jobs.claim(engine, tom, job)
    again = await jobs.claim(engine, tom, job)
    assert again.repeated and again.seq == first.seq


async def test_commands_are_accepted_only_in_order_and_from_the_holder(engine: Engine) -> None:
    """A command from a wrong state is an illegal transition. From another technician it is `not_found`, and from
    another role `forbidden`. After the work is completed, the technician is available for offers again.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = await people.technician(engine, "t1", service), await people.technician(engine, "t2", service)
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, job)
    with pytest.raises(IllegalTransition):
        await jobs.run_command(engine, tom, job, CommandInput(command="complete"))
    with pytest.raises(NotFound):
        await jobs.run_command(engine, tara, job, CommandInput(command="depart"))
    with pytest.raises(Forbidden):
        await jobs.run_command(engine, carla, job, CommandInput(command="depart"))
    with pytest.raises(NotFound):
        await jobs.run_command(engine, tom, job, CommandInput(command="fly"))
    with pytest.raises(NotFound):
        await jobs.run_command(engine, tom, job, CommandInput(command="expire"))
    for command in ("depart", "arrive", "start", "complete"):
        await jobs.run_command(engine, tom, job, CommandInput(command=command))
    with pytest.raises(IllegalTransition):
        await jobs.run_command(engine, carla, job, CommandInput(command="cancel"))
    assert await engine.store.redis.zscore(keys.technician_supply(DEFAULT_ZONE, service), "t1") is not None


async def test_the_version_is_checked_after_the_offer(engine: Engine) -> None:
    """A claim with a wrong version by a technician without an offer is refused with `not_offered` and
    contains no job.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    far = await people.technician(engine, "far", service, at=live.Coordinates(10, 10))
    near = await people.technician(engine, "near", service)
    job = await people.offered_job(engine, carla, service)
    with pytest.raises(NotOffered) as caught:
        await jobs.claim(engine, far, job, version=99)
    assert caught.value.extra == {}
    with pytest.raises(VersionConflict):
        await jobs.run_command(engine, near, job, CommandInput(command="decline", version=99))


async def test_an_offer_contains_only_the_public_part(engine: Engine) -> None:
    """An offer contains only the public part of the job, and its distance is rounded: 178 m become 200 m."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service, at=live.Coordinates(40.7516, -73.99))
    await people.offered_job(engine, carla, service)
    [offer] = [orjson.loads(o) for o in (await offers.find_open_offers(engine, tom)).items]
    assert offer["distance_m"] == 200
    hidden = {"customer", "address", "postal_code", "notes", "reference", "metadata"}
    full = orjson.loads((await job_queries.find_jobs(engine, carla, job_queries.JobQuery())).items[0])
    assert set(full) - set(offer["job"]) == hidden | {"paid_amount", "refunded_amount", "photos", "quote"}


async def test_a_fix_of_the_year_1970_is_the_oldest(engine: Engine) -> None:
    """In a batch, a fix with the time 0 counts as older than a fix without a time."""
    service = await people.service(engine)
    tom = await people.technician(engine, "t1", service)
    await advance(engine, 1)
    old, new = live.Fix(lat=1, lon=1, at=0), live.Fix(lat=2, lon=2)
    await live.store_fixes(engine, tom, "t1", [new, old])
    row = await engine.store.redis.hget(keys.technician(DEFAULT_ZONE, TechnicianId(tom.id)), "lat")
    assert float(row or 0) == 2
