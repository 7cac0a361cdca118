"""The same request key again (G2): it acts once and is answered as the first time, whoever else uses that key."""

from __future__ import annotations

import uuid

import pytest

from engine.archive import reader
from engine.domain import booking, jobs, offers
from engine.domain.booking import Booking
from engine.domain.jobs import Step
from engine.errors import Duplicate, Indeterminate, Invalid, ReusedKey, Taken, Unavailable
from engine.idempotency.in_redis import Outcome
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE
from engine.workers import archiver, scheduler
from tests.support import event_log, people
from tests.support.clock import advance

KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11"


def told(done: Outcome) -> tuple[bytes, str | None, int, int, bool]:
    """What a caller gets to see of an answer, but for the mark of its being a repeat."""
    assert done.job is not None
    return bytes(done.job), done.message, done.seq, done.version, done.created


async def test_two_technicians_with_the_same_key_have_one_holder(engine: Engine) -> None:
    """Keys are each principal's own: who derives his from the job, as others do, is not given the winner's yes."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one, two = [await people.technician(engine, name, serves) for name in ("t1", "t2")]
    job = await people.offered(engine, carla, serves)
    assert (await jobs.claim(engine, one, job, key=KEY)).message == "Job accepted"
    with pytest.raises(Taken):
        await jobs.claim(engine, two, job, key=KEY)
    await jobs.run_command(engine, carla, job, Step(command="cancel"), key=KEY)


async def test_a_repeated_decline_is_answered_as_the_first(engine: Engine) -> None:
    """With the job's public part, whatever became of the job meanwhile."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = await people.offered(engine, carla, serves)
    first = await offers.decline_offer(engine, one, job, key=KEY)
    await jobs.run_command(engine, carla, job, Step(command="cancel"))
    again = await offers.decline_offer(engine, one, job, key=KEY)
    assert again.repeated and told(again) == told(first)


@pytest.mark.parametrize("command", ["claim", "depart"])
async def test_a_step_taken_already_is_remembered_under_the_later_key_too(engine: Engine, command: str) -> None:
    """A second key that was answered by the step's being done hears the same when it is repeated after the next one."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = await people.offered(engine, carla, serves)
    steps = ["claim", "depart", "arrive"]
    for step in steps[: steps.index(command) + 1]:
        first = await jobs.run_command(engine, one, job, Step(command=step))
    later = await jobs.run_command(engine, one, job, Step(command=command), key=KEY)
    assert later.repeated and told(later) == told(first)
    await jobs.run_command(engine, one, job, Step(command=steps[steps.index(command) + 1]))
    assert told(await jobs.run_command(engine, one, job, Step(command=command), key=KEY)) == told(first)


async def test_a_claim_by_the_present_holder_answers_as_it_did(engine: Engine) -> None:
    """PROTOCOL §1: also when he has gone on since, and with no key of then; nobody is told that he lost his own job."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = await people.offered(engine, carla, serves)
    first = await jobs.claim(engine, one, job)
    await jobs.run_command(engine, one, job, Step(command="depart"))
    assert told(await jobs.claim(engine, one, job)) == told(first)
    assert len(await event_log.events(engine, "job.accepted", job)) == 1


async def test_going_online_again_names_the_same_blockers(engine: Engine) -> None:
    """Who is full hears so on the repeat as well."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    await jobs.claim(engine, one, await people.offered(engine, carla, serves))
    replies = [
        await live.set_availability(engine, one, "t1", online=True, position=people.HERE, key=KEY) for _ in range(2)
    ]
    assert replies[0] == replies[1] and replies[0].blockers == ["at_capacity"]


async def test_a_booking_is_repeated_alike_once_it_is_archived(engine: Engine) -> None:
    """The key goes before the reference: the first answer again, other arguments refused; another key: the job, or
    `duplicate` for another booking.
    """
    serves, carla = await people.service(engine), await people.customer(engine)
    wanted = Booking(service=serves, lat=40.75, lon=-73.99, address="1 Main St", reference="order-1")
    first = await booking.create(engine, carla, wanted, key=KEY)
    await archiver.run_once(engine)
    again = await booking.create(engine, carla, wanted, key=KEY)
    assert again.repeated and told(again) == told(first)
    other = Booking(service=serves, lat=41.0, lon=-73.99, address="1 Main St", reference="order-1")
    with pytest.raises(ReusedKey):
        await booking.create(engine, carla, other, key=KEY)
    with pytest.raises(Duplicate) as refusal:
        await booking.create(engine, carla, other, key=str(uuid.uuid4()))
    assert refusal.value.extra["job"] == {"id": people.id_of(first)}
    assert not (await booking.create(engine, carla, wanted, key=str(uuid.uuid4()))).created
    assert len(await event_log.events(engine, "job.created")) == 1


async def test_a_reference_looked_up_before_its_job_was_archived_is_still_known(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Finished and archived between the look into SQL and the script, a reference is in Redis a day longer."""
    serves, carla = await people.service(engine), await people.customer(engine)
    wanted = Booking(service=serves, lat=40.75, lon=-73.99, address="1 Main St", reference="order-1")
    first = people.id_of(await booking.create(engine, carla, wanted))
    await jobs.run_command(engine, carla, first, Step(command="cancel"))
    look = reader.job_of_reference

    async def slow(*args: object) -> object:
        found = await look(*args)  # type: ignore[arg-type]
        await archiver.run_once(engine)
        return found

    monkeypatch.setattr(reader, "job_of_reference", slow)
    assert people.id_of(await booking.create(engine, carla, wanted)) == first
    await advance(engine, 86_401)
    await scheduler.run_once(engine, DEFAULT_ZONE)
    assert not await engine.store.redis.exists(keys.booking_references(DEFAULT_ZONE, carla.id))
    assert people.id_of(await booking.create(engine, carla, wanted)) == first


async def test_a_done_command_whose_answer_cannot_be_read_is_not_called_undone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its event in SQL alone and SQL away, a repeat is `indeterminate`: 503 promises that nothing was done."""
    serves, carla = await people.service(engine), await people.customer(engine)
    one = await people.technician(engine, "t1", serves)
    job = await people.offered(engine, carla, serves)
    await jobs.claim(engine, one, job, key=KEY)
    await engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), maxlen=0, approximate=False)

    async def away(*_: object) -> None:
        raise Unavailable("The database is away")

    monkeypatch.setattr(reader, "event", away)
    with pytest.raises(Indeterminate):
        await jobs.claim(engine, one, job, key=KEY)


@pytest.mark.parametrize("place", [(40.75, -500.0), (89.0, 0.0), (float("nan"), 0.0)])
async def test_a_place_that_no_index_takes_is_refused_before_the_script(
    engine: Engine, place: tuple[float, float]
) -> None:
    """GEOADD would fail after the job's first writes, and half a job stand there."""
    serves, carla = await people.service(engine), await people.customer(engine)
    with pytest.raises(Invalid):
        await booking.create(engine, carla, Booking(service=serves, lat=place[0], lon=place[1], address="x"))
    assert not await engine.store.redis.exists(keys.jobs(DEFAULT_ZONE))
