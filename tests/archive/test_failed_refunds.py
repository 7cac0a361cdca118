"""A refund that was made and fails later at the customer's bank: job and ledger reverse it, on both databases, while
Redis has the job and after that.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.archive import ledger_checker
from engine.domain import jobs, payments
from engine.domain.commands import CommandInput
from engine.domain.payments import Payment, PaymentOutcome
from engine.errors import Duplicate, IllegalTransition, Invalid
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, ServiceId
from tests.archive.test_ledger import pay, read_balance, read_sums
from tests.archive.test_refunds import (
    CAPTURED,
    PAYMENT_SERVICE,
    archive_and_forget,
    create_confirmed_job,
    decode_outcome,
)
from tests.rebuild.compare import check_rebuild
from tests.support import event_log, people
from tests.support.booked_money import create_account

REFUND = Payment(reference="re_1", status="refunded", amount=2000, currency="USD", of=CAPTURED.reference)


async def report(engine: Engine, job: JobId, **changes: Any) -> PaymentOutcome:
    """Report ``REFUND`` with these changes."""
    return await payments.put_payment(engine, PAYMENT_SERVICE, job, Payment(**_members(REFUND) | changes))


def _members(payment: Payment) -> dict[str, Any]:
    return {name: getattr(payment, name) for name in payment.__struct_fields__}


async def test_a_failure_must_be_that_of_the_refund(engine: Engine) -> None:
    """A failure with another amount, currency or charge than the refund's is refused, and a failed reference cannot be
    refunded. A failure that comes before its refund changes nothing.
    """
    _, job = await create_confirmed_job(engine)
    await payments.put_payment(engine, PAYMENT_SERVICE, job, CAPTURED)
    await pay(engine, job, "captured", 900, "pi_2")
    with pytest.raises(Invalid):
        await report(engine, job, status="captured")
    await report(engine, job)
    for wrong in ({"amount": 1999}, {"currency": "JPY"}, {"of": "pi_2"}):
        with pytest.raises(Duplicate):
            await report(engine, job, status="failed", **wrong)
    early = decode_outcome(await report(engine, job, status="failed", reference="re_2", reason="lost"))
    assert (early[0]["kind"], early[0]["status"], early[1]["refunded_amount"]) == ("refund", "failed", 2000)
    with pytest.raises(IllegalTransition):
        await report(engine, job, reference="re_2")
    (event,) = await event_log.events(engine, "payment.failed", job)
    told = event_log.payload(event)
    assert (told["payment"], told["why"], "reversed" in told) == (early[0], "lost", False)


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_a_failed_refund_is_taken_back(engine: Engine, is_forgotten: bool) -> None:
    """The job's sums, the technician's earnings and the fees are as before the refund. A repeat changes nothing. The
    money can be refunded again, but not more than was captured.
    """
    await create_account(engine, "t1")
    _, job = await create_confirmed_job(engine)
    await payments.put_payment(engine, PAYMENT_SERVICE, job, CAPTURED)
    before = await read_sums(engine)
    await report(engine, job)
    assert await read_sums(engine) == {"clearing": -3000, "technician:t1": 2700, "fees": 300}
    if is_forgotten:
        await archive_and_forget(engine, job)
    failed = await report(engine, job, status="failed", reason="expired_card")
    assert decode_outcome(failed)[1]["refunded_amount"] == 0
    assert (await report(engine, job, status="failed", reason="expired_card")).repeated
    assert await read_sums(engine) == before and (await read_balance(engine))[:1] == (4500,)
    assert (await ledger_checker.find_problems(engine.archive))[1] == []
    (event,) = await event_log.events(engine, "payment.failed", job)
    assert event_log.payload(event)["reversed"] is True
    with pytest.raises(Invalid):
        await report(engine, job, reference="re_3", amount=5001)
    await report(engine, job, reference="re_3", amount=5000)
    assert await read_sums(engine) == {}


async def test_what_a_step_requested_back_is_owed_again(engine: Engine) -> None:
    """The customer of a job whose technician left is owed the money until a refund succeeds: a failed refund neither
    pays for the job nor is requested twice. A rebuild gives the same records.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "t1", ServiceId(service))
    more: Any = {"blueprint": "marketplace", "technician": "t1"}
    job = people.id_of(await people.job(engine, carla, service, **more))
    await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
    await pay(engine, job, "captured", 2500, CAPTURED.reference)
    await jobs.run_command(engine, carla, job, CommandInput(command="unassign"))
    await report(engine, job)
    assert await read_owed(engine, job) == 500
    await report(engine, job, status="failed")
    assert await read_owed(engine, job) == 2500
    requested = await event_log.events(engine, "payment.requested", job)
    kinds = [event_log.payload(event)["payment"]["kind"] for event in requested]
    assert kinds.count("refund") == 1
    await check_rebuild(engine)
    await report(engine, job, reference="re_4", amount=2500)
    assert await read_owed(engine, job) == 0
    assert await read_sums(engine) == {}
    await check_rebuild(engine)


async def read_owed(engine: Engine, job: JobId) -> int:
    """Return the amount that steps requested back and that is not refunded."""
    return int(await engine.store.command("HGET", keys.job(DEFAULT_ZONE, job), "asked_back"))
