"""Tests of payments and refunds of jobs that Redis has forgotten: the job is restored from SQL, on both databases."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import orjson
import pytest

from engine.domain import codes, edits, job_history, job_queries, jobs, payments
from engine.domain.jobs import CommandInput
from engine.domain.payments import Payment, PaymentOutcome, PaymentStatus
from engine.errors import Duplicate, Forbidden, IllegalTransition, Invalid, NotFound, ReusedKey, Unavailable
from engine.events import Event
from engine.idempotency import in_redis
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, UserId, room_of
from engine.workers import archiver
from server.schemas import payloads
from tests.archive.conftest import DatabaseAway
from tests.support import event_log, people

PAYMENT_SERVICE = Principal(UserId("cli_service"), "service")
ADMIN_CALLER = Principal(UserId("cli_admin"), "admin")
CAPTURED = Payment(reference='pi "1"', status="captured", amount=5000, currency="USD")


def payment_with(status: PaymentStatus, **changes: Any) -> Payment:
    """Return the payment `CAPTURED` with another status, and with other fields as `changes` names them."""
    return msgspec.structs.replace(CAPTURED, status=status, **changes)


async def create_confirmed_job(engine: Engine) -> tuple[Principal, JobId]:
    """Create a job of the marketplace that was worked and confirmed. Return its customer and its id."""
    service, carla = await people.service(engine), await people.customer(engine)
    who = await people.technician(engine, "t1", service)
    more = {"blueprint": "marketplace", "technician": "t1"}
    job = people.id_of(await people.job(engine, carla, service, **more))  # type: ignore[arg-type]
    await jobs.run_command(engine, who, job, CommandInput(command="accept"))
    for name, purpose in (("start", "start"), ("complete", "completion")):
        await jobs.run_command(
            engine, who, job, CommandInput(command=name, code=codes.derive_code(engine, job, purpose, "1"))
        )
    await jobs.run_command(engine, carla, job, CommandInput(command="confirm"))
    return carla, job


async def archive_and_forget(engine: Engine, job: JobId) -> None:
    """Archive everything, then delete the job's keys and the events of the log, as their expiry would."""
    await archiver.run_once(engine)
    redis = engine.store.redis
    names = [name async for name in redis.scan_iter(f"*:job:{job}*")]
    assert names and all([await redis.ttl(name) > 0 for name in names])
    await redis.delete(*names)
    await redis.xtrim(keys.log(DEFAULT_ZONE), maxlen=0, approximate=False)


async def create_forgotten_paid_job(engine: Engine) -> tuple[Principal, JobId, PaymentOutcome]:
    """Create a paid job that Redis has forgotten. Return its customer, its id, and the reply to the capture."""
    carla, job = await create_confirmed_job(engine)
    paid = await payments.put_payment(engine, PAYMENT_SERVICE, job, CAPTURED)
    await archive_and_forget(engine, job)
    return carla, job, paid


def decode_outcome(outcome: PaymentOutcome) -> tuple[Any, Any]:
    """Return the payment and the job of a reply, decoded."""
    return orjson.loads(bytes(outcome.payment)), orjson.loads(bytes(outcome.job))


async def read_refund_events(engine: Engine, job: JobId) -> list[Event]:
    """Return the events `payment.refunded` of the job in the log."""
    return await event_log.events(engine, "payment.refunded", job)


async def test_only_a_service_may_refund_a_known_job(engine: Engine) -> None:
    """A refund by anybody but a `service` is `forbidden`, and a refund of an unknown job is `not_found`."""
    carla, job, _ = await create_forgotten_paid_job(engine)
    for who in (carla, ADMIN_CALLER):
        with pytest.raises(Forbidden):
            await payments.put_payment(engine, who, job, payment_with("refunded"))
    for name in ("job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", "job_north_01jb4zqk3m8r5t7v9x2c6d8f0g"):
        with pytest.raises(NotFound):
            await payments.put_payment(engine, PAYMENT_SERVICE, name, payment_with("refunded"))


async def test_contradicting_payments_are_refused(engine: Engine) -> None:
    """These are refused and append no event: another amount for a recorded capture, a refund of more than was captured,
    in another currency or of an unknown payment, and a status that may not follow the recorded one.
    """
    _, job, _ = await create_forgotten_paid_job(engine)
    with pytest.raises(Duplicate):
        await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("captured", amount=1))
    for change in ({"amount": 5001}, {"currency": "EUR"}, {"reference": "re_1", "of": "pi_2"}):
        with pytest.raises(Invalid):
            await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded", **change))
    for payment in (payment_with("refunded", reference="pi_2"), payment_with("failed"), payment_with("requested")):
        with pytest.raises(IllegalTransition):
            await payments.put_payment(engine, PAYMENT_SERVICE, job, payment)
    assert await event_log.events(engine) == []


async def test_a_capture_is_recorded_long_after_the_end(engine: Engine) -> None:
    """A capture and its refund are recorded even if the job ended long ago or was cancelled; `payment.unexpected` is
    appended with it.
    """
    _, job, paid = await create_forgotten_paid_job(engine)
    outcome = await payments.put_payment(
        engine, PAYMENT_SERVICE, job, payment_with("captured", reference="pi_2", amount=70)
    )
    assert [event.type for event in await event_log.events(engine)] == [
        *("payment.received", "payment.unexpected", "session.ledger")
    ]
    assert (decode_outcome(outcome)[1]["status"], decode_outcome(outcome)[1]["paid_amount"]) == ("paid", 5070)
    assert outcome.version > paid.version
    await archive_and_forget(engine, job)
    assert orjson.loads(await job_queries.read_job(engine, ADMIN_CALLER, job))["paid_amount"] == 5070
    assert len(await payments.find_payments(engine, ADMIN_CALLER, job)) == 2
    carla, service = await people.customer(engine, "c2"), await people.service(engine)
    other = people.id_of(await people.job(engine, carla, service))
    await jobs.run_command(engine, carla, other, CommandInput(command="cancel"))
    await archive_and_forget(engine, other)
    for status in ("captured", "refunded"):
        assert (
            decode_outcome(await payments.put_payment(engine, PAYMENT_SERVICE, other, payment_with(status)))[1][
                "status"
            ]
            == "cancelled"
        )
        await archive_and_forget(engine, other)


async def test_a_capture_in_another_currency_never_counts(engine: Engine) -> None:
    """A capture in a currency that the job did not have then does not count in `paid_amount`, and its refunds do not
    count in `refunded_amount`, before and after Redis forgot the job.
    """
    carla, service = await people.customer(engine), await people.service(engine)
    job = people.id_of(await people.job(engine, carla, service, blueprint="marketplace", amount=5000))
    await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("captured", currency="EUR"))
    await edits.edit_job(engine, carla, job, {"amount": 5000, "currency": "EUR"})
    part = {"of": CAPTURED.reference, "currency": "EUR", "amount": 1000}
    for number in range(2):
        refund = await payments.put_payment(
            engine, PAYMENT_SERVICE, job, payment_with("refunded", reference=f"re_{number}", **part)
        )
        assert (decode_outcome(refund)[1]["paid_amount"], decode_outcome(refund)[1]["refunded_amount"]) == (0, 0)
        if not number:
            await jobs.run_command(engine, carla, job, CommandInput(command="cancel"))
        await archive_and_forget(engine, job)
    last = decode_outcome(
        await payments.put_payment(
            engine, PAYMENT_SERVICE, job, payment_with("captured", reference="pi_2", currency="EUR", amount=70)
        )
    )
    assert (last[1]["paid_amount"], last[1]["refunded_amount"]) == (70, 0)


async def test_partial_refunds_add_up_over_redis_and_sql(engine: Engine) -> None:
    """Partial refunds before and after Redis forgot the job are added together, and concurrent ones never refund more
    than was captured.
    """
    _, job, _ = await create_forgotten_paid_job(engine)
    await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded", amount=2000))
    await archive_and_forget(engine, job)
    parts = [payment_with("refunded", reference=f"re_{n}", of=CAPTURED.reference, amount=1000) for n in range(6)]
    outcomes = await asyncio.gather(
        *(payments.put_payment(engine, PAYMENT_SERVICE, job, part) for part in parts), return_exceptions=True
    )
    assert [type(each) for each in outcomes].count(Invalid) == 3
    await archive_and_forget(engine, job)
    read = orjson.loads(await job_queries.read_job(engine, ADMIN_CALLER, job))
    assert (read["paid_amount"], read["refunded_amount"]) == (5000, 5000)
    items = [orjson.loads(item) for item in await payments.find_payments(engine, ADMIN_CALLER, job)]
    assert [item["amount"] for item in items if item["kind"] == "refund"] == [2000, 1000, 1000, 1000]


async def test_a_restored_job_is_equal_to_the_forgotten_one(engine: Engine) -> None:
    """A job that is restored from SQL, and each of its payments, are equal to what Redis had before."""
    _, job, _ = await create_forgotten_paid_job(engine)
    await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded", amount=1))
    await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("failed", reference="pi 2"))
    await payments.put_payment(
        engine, PAYMENT_SERVICE, job, payment_with("captured", reference="pi 2", currency="EUR", amount=7)
    )
    before = [orjson.loads(item) for item in await payments.find_payments(engine, ADMIN_CALLER, job)]
    records = await engine.store.redis.hgetall(keys.job_payments(DEFAULT_ZONE, job))
    read = orjson.loads(await job_queries.read_job(engine, ADMIN_CALLER, job))
    await archive_and_forget(engine, job)
    for _ in range(2):
        await payments.put_payment(engine, PAYMENT_SERVICE, job, CAPTURED)  # recorded already: this changes nothing
    assert await engine.store.redis.hgetall(keys.job_payments(DEFAULT_ZONE, job)) == records
    assert [orjson.loads(item) for item in await payments.find_payments(engine, ADMIN_CALLER, job)] == before
    assert orjson.loads(await job_queries.read_job(engine, ADMIN_CALLER, job)) == read
    assert await engine.store.redis.ttl(keys.job(DEFAULT_ZONE, job)) > 0


async def test_the_room_of_a_restored_job_is_not_opened_again(engine: Engine) -> None:
    """A refund of a forgotten job names its room as before, and neither opens nor changes it."""
    _, job, paid = await create_forgotten_paid_job(engine)
    room = keys.room(DEFAULT_ZONE, room_of(job))
    await engine.store.redis.delete(room)
    refunded = await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded"))
    assert decode_outcome(refunded)[1]["room"] == decode_outcome(paid)[1]["room"] == room_of(job)
    assert not await engine.store.redis.exists(room)
    assert [event.type for event in await event_log.events(engine)] == ["payment.refunded", "session.ledger"]


async def test_a_refund_waits_for_an_archive_that_is_behind(engine: Engine) -> None:
    """While the archive lacks events of the log, a refund is `unavailable`, because a missing event may be about the
    job.
    """
    _, job, _ = await create_forgotten_paid_job(engine)
    service = await people.service(engine)
    await people.job(engine, await people.customer(engine, "c2"), service)
    with pytest.raises(Unavailable):
        await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded"))
    await archiver.run_once(engine)
    assert not (await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded"))).repeated


async def test_a_job_that_is_not_over_is_not_restored_from_sql(engine: Engine) -> None:
    """A job that is not over is not restored from SQL: if Redis does not have it, a refund is `not_found`."""
    _, job = await create_confirmed_job(engine)
    await archiver.run_once(engine)
    await engine.store.redis.delete(keys.job(DEFAULT_ZONE, job))
    with pytest.raises(NotFound):
        await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded"))


async def test_a_key_of_another_payment_is_refused(engine: Engine) -> None:
    """A key that was used for another payment is refused with `reused_key`, also if the new payment was already
    recorded.
    """
    _, job = await create_confirmed_job(engine)
    key = str(uuid.uuid4())
    await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("requested"), key=key)
    await payments.put_payment(engine, PAYMENT_SERVICE, job, CAPTURED)
    await archive_and_forget(engine, job)
    for payment in (payment_with("refunded"), CAPTURED):
        with pytest.raises(ReusedKey):
            await payments.put_payment(engine, PAYMENT_SERVICE, job, payment, key=key)


async def test_a_refund_is_unavailable_while_the_database_is_away(engine: Engine, database_away: DatabaseAway) -> None:
    """While the database is away a refund is `unavailable` and has no effect, and the same key succeeds after its
    return.
    """
    if engine.archive.is_sqlite:
        pytest.skip("a locked file can still be read, and no more is needed")
    (_, job, _), key = await create_forgotten_paid_job(engine), str(uuid.uuid4())
    async with database_away():
        with pytest.raises(Unavailable):
            await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded"), key=key)
    assert not (await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded"), key=key)).repeated


async def test_a_refund_appends_an_event_and_is_archived(engine: Engine) -> None:
    """A refund appends `payment.refunded` with job and payment to the audience that the blueprint names, and is in the
    list of payments and in the history. The job's state stays `paid`.
    """
    carla, job, paid = await create_forgotten_paid_job(engine)
    (captured, before), key = decode_outcome(paid), str(uuid.uuid4())
    outcome = await payments.put_payment(
        engine, PAYMENT_SERVICE, job, payment_with("refunded"), key=key, trace="00-ab-cd-01"
    )
    payment, after = decode_outcome(outcome)
    expected = {**captured, "kind": "refund", "status": "refunded", "of": CAPTURED.reference}
    assert payment == {**expected, "id": payment["id"], "created_at": payment["created_at"]}
    moved = {name: after[name] for name in ("version", "updated_at", "refunded_amount")}
    assert after == {**before, **moved} and moved["refunded_amount"] == 5000
    assert (outcome.version, outcome.repeated) == (paid.version + 1, False)
    [event] = await read_refund_events(engine, job)
    assert set(event.to) == {f"user:{carla.id}", "user:t1", "role:ops", "role:service", f"job:{job}"}
    assert (event.actor, event.blueprint_key, event.trace) == (
        "service:cli_service",
        engine.blueprints.by_name["marketplace"].key,
        "00-ab-cd-01",
    )
    assert event.cause.startswith(f"{key}:")
    assert msgspec.json.decode(event.data, type=payloads.data_struct_of(event.type)) is not None
    record = await in_redis.find_record(engine, PAYMENT_SERVICE, key)
    assert (record.status, record.seq, record.job) == ("done", event.seq, job)
    await archive_and_forget(engine, job)
    items = [orjson.loads(item) for item in await payments.find_payments(engine, ADMIN_CALLER, job)]
    assert items == [captured, payment]
    last = (await job_history.history(engine, carla, job))[-1]
    assert (last.seq, last.command, last.actor, last.to) == (event.seq, "refund", "service:cli_service", "paid")
    assert orjson.loads(await job_queries.read_job(engine, carla, job))["refunded_amount"] == 5000


async def test_a_repeated_payment_returns_the_first_reply(engine: Engine) -> None:
    """A repeated refund or capture, with its key or without, returns the first reply and appends no event, before and
    after the archiver has run.
    """
    _, job, paid = await create_forgotten_paid_job(engine)
    key = str(uuid.uuid4())
    first = await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded"), key=key)
    for _ in range(2):
        for again in (
            await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded"), key=key),
            await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded")),
        ):
            assert again.repeated and decode_outcome(again) == decode_outcome(first) and again.version == first.version
        other = str(uuid.uuid4())
        for _ in range(2):
            again = await payments.put_payment(engine, PAYMENT_SERVICE, job, CAPTURED, key=other)
            assert again.repeated and decode_outcome(again) == decode_outcome(paid)
        with pytest.raises(ReusedKey):
            await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded"), key=other)
        assert len(await read_refund_events(engine, job)) == 1
        await archiver.run_once(engine)
    await engine.store.redis.delete(*[name async for name in engine.store.redis.scan_iter("*:req:*")])
    assert (await payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded"))).repeated
    assert len(await read_refund_events(engine, job)) == 1


async def test_concurrent_deliveries_of_one_refund_append_one_event(engine: Engine) -> None:
    """Twenty concurrent deliveries of one refund, each with its own key, append one event and return equal replies."""
    _, job, _ = await create_forgotten_paid_job(engine)
    replies = await asyncio.gather(
        *(payments.put_payment(engine, PAYMENT_SERVICE, job, payment_with("refunded")) for _ in range(20))
    )
    assert [put.repeated for put in replies].count(False) == 1
    assert all(decode_outcome(put) == decode_outcome(replies[0]) for put in replies)
    assert len(await read_refund_events(engine, job)) == 1
