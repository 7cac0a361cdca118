"""Tests of repeated request keys (promise G2 of docs/design.md): the command acts once, and each repeat gets the reply
of the first time.
"""

from __future__ import annotations

import uuid

import pytest

from engine.archive import reader
from engine.domain import booking, jobs, offers
from engine.domain.booking import Booking
from engine.domain.jobs import CommandInput
from engine.errors import Duplicate, Indeterminate, Invalid, ReusedKey, Taken, Unavailable
from engine.idempotency.in_redis import Outcome
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, ServiceId
from engine.workers import archiver, scheduler
from tests.support import event_log, people
from tests.support.clock import advance

IDEMPOTENCY_KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11"


def reply_of(outcome: Outcome) -> tuple[bytes, str | None, int, int, bool]:
    """Return the parts of the reply that a caller receives, without the mark that it is a repeat."""
    assert outcome.job is not None
    return bytes(outcome.job), outcome.message, outcome.seq, outcome.version, outcome.created


async def test_two_technicians_with_the_same_key_have_one_holder(engine: Engine) -> None:
    """A claim by a second technician with the winner's key is a claim of its own and is refused with `taken`. Each
    principal has their own keys, so the second technician never receives the winner's reply.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom, tara = [await people.technician(engine, name, service) for name in ("t1", "t2")]
    job = await people.offered_job(engine, carla, service)
    assert (await jobs.claim(engine, tom, job, key=IDEMPOTENCY_KEY)).message == "Job accepted"
    with pytest.raises(Taken):
        await jobs.claim(engine, tara, job, key=IDEMPOTENCY_KEY)
    await jobs.run_command(engine, carla, job, CommandInput(command="cancel"), key=IDEMPOTENCY_KEY)


async def test_a_repeated_decline_returns_the_first_reply(engine: Engine) -> None:
    """A repeated decline returns the public part of the job as it was at the first decline, although the job was
    cancelled since then.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    first = await offers.decline_offer(engine, tom, job, key=IDEMPOTENCY_KEY)
    await jobs.run_command(engine, carla, job, CommandInput(command="cancel"))
    again = await offers.decline_offer(engine, tom, job, key=IDEMPOTENCY_KEY)
    assert again.repeated and reply_of(again) == reply_of(first)


async def test_the_key_of_a_request_without_effect_is_refused_for_another_request(engine: Engine) -> None:
    """A second decline and a second booking with the same reference change nothing and get the first outcome. Under the
    same key they get it again, and another request with that key is refused.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job, other = [await people.offered_job(engine, carla, service) for _ in range(2)]
    await offers.decline_offer(engine, tom, job)
    for _ in range(2):
        assert (await offers.decline_offer(engine, tom, job, key=IDEMPOTENCY_KEY)).repeated
    with pytest.raises(ReusedKey):
        await jobs.claim(engine, tom, other, key=IDEMPOTENCY_KEY)
    first = await people.job(engine, carla, service, reference="r1")
    for _ in range(2):
        again = await booking.book_job(engine, carla, booking_with_reference(service, "r1"), key=IDEMPOTENCY_KEY)
        assert people.id_of(again) == people.id_of(first) and again.repeated
    with pytest.raises(ReusedKey):
        await booking.book_job(engine, carla, booking_with_reference(service, "r2"), key=IDEMPOTENCY_KEY)


def booking_with_reference(service: ServiceId, reference: str) -> Booking:
    """Return the booking that ``people.job`` makes with this reference."""
    here = people.HERE
    return Booking(service=service, lat=here.lat, lon=here.lon, address="1 Main St", reference=reference)


@pytest.mark.parametrize("command", ["claim", "depart"])
async def test_a_command_done_before_is_stored_under_the_later_key_too(engine: Engine, command: str) -> None:
    """A command that was already done, sent again with a new key, returns the first reply. A repeat of that new key
    returns the same reply, also after the next command.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    steps = ["claim", "depart", "arrive"]
    for step in steps[: steps.index(command) + 1]:
        first = await jobs.run_command(engine, tom, job, CommandInput(command=step))
    later = await jobs.run_command(engine, tom, job, CommandInput(command=command), key=IDEMPOTENCY_KEY)
    assert later.repeated and reply_of(later) == reply_of(first)
    await jobs.run_command(engine, tom, job, CommandInput(command=steps[steps.index(command) + 1]))
    assert reply_of(
        await jobs.run_command(engine, tom, job, CommandInput(command=command), key=IDEMPOTENCY_KEY)
    ) == reply_of(first)


async def test_a_second_claim_by_the_holder_returns_the_first_reply(engine: Engine) -> None:
    """PROTOCOL §1: a second claim by the holder, without a key and after a later command, returns the reply of the
    first claim and not `taken`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    first = await jobs.claim(engine, tom, job)
    await jobs.run_command(engine, tom, job, CommandInput(command="depart"))
    assert reply_of(await jobs.claim(engine, tom, job)) == reply_of(first)
    assert len(await event_log.events(engine, "job.accepted", job)) == 1


async def test_going_online_again_names_the_same_blockers(engine: Engine) -> None:
    """A technician at capacity who goes online twice with one key receives `at_capacity` in `blockers` both times."""
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    await jobs.claim(engine, tom, await people.offered_job(engine, carla, service))
    replies = [
        await live.set_availability(engine, tom, "t1", online=True, position=people.HERE, key=IDEMPOTENCY_KEY)
        for _ in range(2)
    ]
    assert replies[0].value == replies[1].value and replies[0].value.blockers == ["at_capacity"]
    assert [reply.repeated for reply in replies] == [False, True]


async def test_an_archived_booking_is_repeated_with_the_same_reply(engine: Engine) -> None:
    """After archiving, a booking with the same key returns the first reply, and with other arguments it is refused with
    `reused_key`. With another key and the same reference the job is returned if the arguments are equal, else
    `duplicate`.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    wanted = Booking(service=service, lat=40.75, lon=-73.99, address="1 Main St", reference="order-1")
    first = await booking.book_job(engine, carla, wanted, key=IDEMPOTENCY_KEY)
    await archiver.run_once(engine)
    again = await booking.book_job(engine, carla, wanted, key=IDEMPOTENCY_KEY)
    assert again.repeated and reply_of(again) == reply_of(first)
    other = Booking(service=service, lat=41.0, lon=-73.99, address="1 Main St", reference="order-1")
    with pytest.raises(ReusedKey):
        await booking.book_job(engine, carla, other, key=IDEMPOTENCY_KEY)
    with pytest.raises(Duplicate) as refusal:
        await booking.book_job(engine, carla, other, key=str(uuid.uuid4()))
    assert refusal.value.extra["job"] == {"id": people.id_of(first)}
    assert not (await booking.book_job(engine, carla, wanted, key=str(uuid.uuid4()))).created
    assert len(await event_log.events(engine, "job.created")) == 1


async def test_a_reference_looked_up_before_its_job_was_archived_is_still_known(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is archived between the search for its reference in SQL and the script is not booked twice, because
    Redis stores the reference for one more day.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    wanted = Booking(service=service, lat=40.75, lon=-73.99, address="1 Main St", reference="order-1")
    first = people.id_of(await booking.book_job(engine, carla, wanted))
    await jobs.run_command(engine, carla, first, CommandInput(command="cancel"))
    look = reader.job_of_reference

    async def find_then_archive(*args: object) -> object:
        reply = await look(*args)  # type: ignore[arg-type]
        await archiver.run_once(engine)
        return reply

    monkeypatch.setattr(reader, "job_of_reference", find_then_archive)
    assert people.id_of(await booking.book_job(engine, carla, wanted)) == first
    await advance(engine, 86_401)
    await scheduler.run_once(engine, DEFAULT_ZONE)
    assert not await engine.store.redis.exists(keys.booking_references(DEFAULT_ZONE, carla.id))
    assert people.id_of(await booking.book_job(engine, carla, wanted)) == first


async def test_a_repeat_is_indeterminate_while_its_first_reply_cannot_be_read(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat whose first reply is only in SQL is refused with `indeterminate` while SQL is away. 503 would promise
    that nothing was done.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", service)
    job = await people.offered_job(engine, carla, service)
    await jobs.claim(engine, tom, job, key=IDEMPOTENCY_KEY)
    await engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), maxlen=0, approximate=False)

    async def raise_unavailable(*_: object) -> None:
        raise Unavailable("The database is away")

    monkeypatch.setattr(reader, "event", raise_unavailable)
    with pytest.raises(Indeterminate):
        await jobs.claim(engine, tom, job, key=IDEMPOTENCY_KEY)


@pytest.mark.parametrize("place", [(40.75, -500.0), (89.0, 0.0), (float("nan"), 0.0)])
async def test_a_position_outside_the_geo_index_is_refused_before_the_script(
    engine: Engine, place: tuple[float, float]
) -> None:
    """A booking at a position that the geo index refuses is `invalid` before any script runs. GEOADD would fail after
    the first writes and leave half a job.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    with pytest.raises(Invalid):
        await booking.book_job(engine, carla, Booking(service=service, lat=place[0], lon=place[1], address="x"))
    assert not await engine.store.redis.exists(keys.jobs(DEFAULT_ZONE))
