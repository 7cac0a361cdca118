"""Money that comes and goes when Redis has forgotten the job: on both databases, by what SQL has of it."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import orjson
import pytest

from engine.domain import codes, edits, job_queries, jobs, payments
from engine.domain.jobs import Step
from engine.domain.payments import Payment, PaymentOutcome, PaymentStatus
from engine.errors import Duplicate, Forbidden, IllegalTransition, Invalid, NotFound, ReusedKey, Unavailable
from engine.events import Event
from engine.idempotency import in_redis
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, UserId
from engine.workers import archiver
from server.schemas import payloads
from tests.archive.conftest import Away
from tests.support import event_log, people

PAY = Principal(UserId("cli_service"), "service")
OPS = Principal(UserId("cli_admin"), "admin")
CAPTURED = Payment(reference='pi "1"', status="captured", amount=5000, currency="USD")


def word(status: PaymentStatus, **changes: Any) -> Payment:
    """Another word of the same payment."""
    return msgspec.structs.replace(CAPTURED, status=status, **changes)


async def finished(engine: Engine) -> tuple[Principal, JobId]:
    """A job of the marketplace that was worked and confirmed; and its customer."""
    serves, carla = await people.service(engine), await people.customer(engine)
    who = await people.technician(engine, "t1", serves)
    more = {"blueprint": "marketplace", "technician": "t1"}
    job = people.id_of(await people.job(engine, carla, serves, **more))  # type: ignore[arg-type]
    await jobs.run_command(engine, who, job, Step(command="accept"))
    for name, purpose in (("start", "start"), ("complete", "completion")):
        await jobs.run_command(engine, who, job, Step(command=name, code=codes.derive_code(engine, job, purpose, "1")))
    await jobs.run_command(engine, carla, job, Step(command="confirm"))
    return carla, job


async def forget(engine: Engine, job: JobId) -> None:
    """Archive everything; then the job's keys run out, and its events leave the log."""
    await archiver.run_once(engine)
    redis = engine.store.redis
    names = [name async for name in redis.scan_iter(f"*:job:{job}*")]
    assert names and all([await redis.ttl(name) > 0 for name in names])
    await redis.delete(*names)
    await redis.xtrim(keys.log(DEFAULT_ZONE), maxlen=0, approximate=False)


async def long_paid(engine: Engine) -> tuple[Principal, JobId, PaymentOutcome]:
    """A job that was paid, forgotten by Redis; what the capture was answered."""
    carla, job = await finished(engine)
    paid = await payments.put_payment(engine, PAY, job, CAPTURED)
    await forget(engine, job)
    return carla, job, paid


def shown(put: PaymentOutcome) -> tuple[Any, Any]:
    """The payment and the job of an answer."""
    return orjson.loads(bytes(put.payment)), orjson.loads(bytes(put.job))


async def refunds(engine: Engine, job: JobId) -> list[Event]:
    """The refunds that were told."""
    return await event_log.events(engine, "payment.refunded", job)


async def test_who_may_not_and_what_was_never_there(engine: Engine) -> None:
    """Services alone; and no job that nobody ever booked."""
    carla, job, _ = await long_paid(engine)
    for who in (carla, OPS):
        with pytest.raises(Forbidden):
            await payments.put_payment(engine, who, job, word("refunded"))
    for name in ("job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", "job_north_01jb4zqk3m8r5t7v9x2c6d8f0g"):
        with pytest.raises(NotFound):
            await payments.put_payment(engine, PAY, name, word("refunded"))


async def test_what_is_refused(engine: Engine) -> None:
    """Another amount for a word that was said, more than was captured, what was never captured, and what comes too late
    in order: nothing is told of it.
    """
    _, job, _ = await long_paid(engine)
    with pytest.raises(Duplicate):
        await payments.put_payment(engine, PAY, job, word("captured", amount=1))
    for change in ({"amount": 5001}, {"currency": "EUR"}, {"reference": "re_1", "of": "pi_2"}):
        with pytest.raises(Invalid):
            await payments.put_payment(engine, PAY, job, word("refunded", **change))
    for payment in (word("refunded", reference="pi_2"), word("failed"), word("requested")):
        with pytest.raises(IllegalTransition):
            await payments.put_payment(engine, PAY, job, payment)
    assert await event_log.events(engine) == []


async def test_captured_long_after(engine: Engine) -> None:
    """What was captured is a fact, however long the job is over; so is a capture after a cancel, and its refund."""
    _, job, paid = await long_paid(engine)
    done = await payments.put_payment(engine, PAY, job, word("captured", reference="pi_2", amount=70))
    assert [event.type for event in await event_log.events(engine)] == ["payment.received", "payment.unexpected"]
    assert (shown(done)[1]["status"], shown(done)[1]["paid_amount"]) == ("paid", 5070)
    assert done.version > paid.version
    await forget(engine, job)
    assert orjson.loads(await job_queries.read_job(engine, OPS, job))["paid_amount"] == 5070
    assert len(await payments.find_payments(engine, OPS, job)) == 2
    carla, serves = await people.customer(engine, "c2"), await people.service(engine)
    other = people.id_of(await people.job(engine, carla, serves))
    await jobs.run_command(engine, carla, other, Step(command="cancel"))
    await forget(engine, other)
    for status in ("captured", "refunded"):
        assert shown(await payments.put_payment(engine, PAY, other, word(status)))[1]["status"] == "cancelled"
        await forget(engine, other)


async def test_what_did_not_count_does_not_count_afterwards(engine: Engine) -> None:
    """Captured before the job had that currency, and refunded before and after Redis forgot the job."""
    carla, serves = await people.customer(engine), await people.service(engine)
    job = people.id_of(await people.job(engine, carla, serves, blueprint="marketplace", amount=5000))
    await payments.put_payment(engine, PAY, job, word("captured", currency="EUR"))
    await edits.edit_job(engine, carla, job, {"amount": 5000, "currency": "EUR"})
    part = {"of": CAPTURED.reference, "currency": "EUR", "amount": 1000}
    for number in range(2):
        back = await payments.put_payment(engine, PAY, job, word("refunded", reference=f"re_{number}", **part))
        assert (shown(back)[1]["paid_amount"], shown(back)[1]["refunded_amount"]) == (0, 0)
        if not number:
            await jobs.run_command(engine, carla, job, Step(command="cancel"))
        await forget(engine, job)
    last = shown(
        await payments.put_payment(engine, PAY, job, word("captured", reference="pi_2", currency="EUR", amount=70))
    )
    assert (last[1]["paid_amount"], last[1]["refunded_amount"]) == (70, 0)


async def test_parts_add_up_over_both_stores(engine: Engine) -> None:
    """Refunds before and after Redis forgot the job count together; of many at once no more is taken than is there."""
    _, job, _ = await long_paid(engine)
    await payments.put_payment(engine, PAY, job, word("refunded", amount=2000))
    await forget(engine, job)
    parts = [word("refunded", reference=f"re_{n}", of=CAPTURED.reference, amount=1000) for n in range(6)]
    told = await asyncio.gather(
        *(payments.put_payment(engine, PAY, job, part) for part in parts), return_exceptions=True
    )
    assert [type(each) for each in told].count(Invalid) == 3
    await forget(engine, job)
    read = orjson.loads(await job_queries.read_job(engine, OPS, job))
    assert (read["paid_amount"], read["refunded_amount"]) == (5000, 5000)
    items = [orjson.loads(item) for item in await payments.find_payments(engine, OPS, job)]
    assert [item["amount"] for item in items if item["kind"] == "refund"] == [2000, 1000, 1000, 1000]


async def test_put_back_it_is_the_same(engine: Engine) -> None:
    """The job as Redis shows it again, and each of its payments, are as they were before they were forgotten."""
    _, job, _ = await long_paid(engine)
    await payments.put_payment(engine, PAY, job, word("refunded", amount=1))
    await payments.put_payment(engine, PAY, job, word("failed", reference="pi 2"))
    await payments.put_payment(engine, PAY, job, word("captured", reference="pi 2", currency="EUR", amount=7))
    before = [orjson.loads(item) for item in await payments.find_payments(engine, OPS, job)]
    records = await engine.store.redis.hgetall(keys.job_payments(DEFAULT_ZONE, job))
    read = orjson.loads(await job_queries.read_job(engine, OPS, job))
    await forget(engine, job)
    for _ in range(2):
        await payments.put_payment(engine, PAY, job, CAPTURED)  # said already: it changes nothing
    assert await engine.store.redis.hgetall(keys.job_payments(DEFAULT_ZONE, job)) == records
    assert [orjson.loads(item) for item in await payments.find_payments(engine, OPS, job)] == before
    assert orjson.loads(await job_queries.read_job(engine, OPS, job)) == read
    assert await engine.store.redis.ttl(keys.job(DEFAULT_ZONE, job)) > 0


async def test_the_archive_is_behind(engine: Engine) -> None:
    """What SQL has not yet taken in might be about the job: nothing is put back from an older picture."""
    _, job, _ = await long_paid(engine)
    serves = await people.service(engine)
    await people.job(engine, await people.customer(engine, "c2"), serves)
    with pytest.raises(Unavailable):
        await payments.put_payment(engine, PAY, job, word("refunded"))
    await archiver.run_once(engine)
    assert not (await payments.put_payment(engine, PAY, job, word("refunded"))).repeated


async def test_a_job_that_is_not_over_is_not_served_from_sql(engine: Engine) -> None:
    """That Redis has not got it is no sign that it was archived: it is to be found there, or nowhere."""
    _, job = await finished(engine)
    await archiver.run_once(engine)
    await engine.store.redis.delete(keys.job(DEFAULT_ZONE, job))
    with pytest.raises(NotFound):
        await payments.put_payment(engine, PAY, job, word("refunded"))


async def test_a_key_that_stood_for_something_else(engine: Engine) -> None:
    """It is refused, though the word itself was said already."""
    _, job = await finished(engine)
    key = str(uuid.uuid4())
    await payments.put_payment(engine, PAY, job, word("requested"), key=key)
    await payments.put_payment(engine, PAY, job, CAPTURED)
    await forget(engine, job)
    for payment in (word("refunded"), CAPTURED):
        with pytest.raises(ReusedKey):
            await payments.put_payment(engine, PAY, job, payment, key=key)


async def test_the_database_is_away(engine: Engine, away: Away) -> None:
    """Nothing was done, and the same key does it when it is back."""
    if engine.archive.is_sqlite:
        pytest.skip("a locked file can still be read, and no more is needed")
    (_, job, _), key = await long_paid(engine), str(uuid.uuid4())
    async with away():
        with pytest.raises(Unavailable):
            await payments.put_payment(engine, PAY, job, word("refunded"), key=key)
    assert not (await payments.put_payment(engine, PAY, job, word("refunded"), key=key)).repeated


async def test_a_refund_is_told_and_archived(engine: Engine) -> None:
    """To those whom the blueprint names, with job and payment; payments and history have it, and the job is as over
    as before.
    """
    carla, job, paid = await long_paid(engine)
    (captured, before), key = shown(paid), str(uuid.uuid4())
    done = await payments.put_payment(engine, PAY, job, word("refunded"), key=key, trace="00-ab-cd-01")
    payment, after = shown(done)
    told = {**captured, "kind": "refund", "status": "refunded", "of": CAPTURED.reference}
    assert payment == {**told, "id": payment["id"], "created_at": payment["created_at"]}
    moved = {name: after[name] for name in ("version", "updated_at", "refunded_amount")}
    assert after == {**before, **moved} and moved["refunded_amount"] == 5000
    assert (done.version, done.repeated) == (paid.version + 1, False)
    [event] = await refunds(engine, job)
    assert set(event.to) == {f"user:{carla.id}", "user:t1", "role:ops", "role:service", f"job:{job}"}
    assert (event.actor, event.bp, event.trace) == ("service:cli_service", "marketplace@2", "00-ab-cd-01")
    assert event.cause.startswith(f"{key}:")
    assert msgspec.json.decode(event.data, type=payloads.shape_of(event.type)) is not None
    record = await in_redis.find_record(engine, PAY, key)
    assert (record.status, record.seq, record.job) == ("done", event.seq, job)
    await forget(engine, job)
    items = [orjson.loads(item) for item in await payments.find_payments(engine, OPS, job)]
    assert items == [captured, payment]
    last = (await job_queries.history(engine, carla, job))[-1]
    assert (last.seq, last.command, last.actor, last.to) == (event.seq, "refund", "service:cli_service", "paid")
    assert orjson.loads(await job_queries.read_job(engine, carla, job))["refunded_amount"] == 5000


async def test_each_word_again_is_answered_as_the_first_time(engine: Engine) -> None:
    """By its key or without, before the archive has it and after, from log and SQL: the capture too, as it was then."""
    _, job, paid = await long_paid(engine)
    key = str(uuid.uuid4())
    first = await payments.put_payment(engine, PAY, job, word("refunded"), key=key)
    for _ in range(2):
        for again in (
            await payments.put_payment(engine, PAY, job, word("refunded"), key=key),
            await payments.put_payment(engine, PAY, job, word("refunded")),
        ):
            assert again.repeated and shown(again) == shown(first) and again.version == first.version
        other = str(uuid.uuid4())
        for _ in range(2):
            again = await payments.put_payment(engine, PAY, job, CAPTURED, key=other)
            assert again.repeated and shown(again) == shown(paid)
        with pytest.raises(ReusedKey):
            await payments.put_payment(engine, PAY, job, word("refunded"), key=other)
        assert len(await refunds(engine, job)) == 1
        await archiver.run_once(engine)
    await engine.store.redis.delete(*[name async for name in engine.store.redis.scan_iter("*:req:*")])
    assert (await payments.put_payment(engine, PAY, job, word("refunded"))).repeated
    assert len(await refunds(engine, job)) == 1


async def test_of_many_at_once_one_is_told(engine: Engine) -> None:
    """Twenty deliveries of the same webhook, each under a key of its own."""
    _, job, _ = await long_paid(engine)
    told = await asyncio.gather(*(payments.put_payment(engine, PAY, job, word("refunded")) for _ in range(20)))
    assert [put.repeated for put in told].count(False) == 1
    assert all(shown(put) == shown(told[0]) for put in told)
    assert len(await refunds(engine, job)) == 1
