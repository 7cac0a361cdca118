"""Payments of an erased customer's job: later reports about them have the same outcome as without the erasure."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest

from engine.archive import ledger_checker
from engine.domain import job_queries, jobs, payments
from engine.domain.commands import CommandInput
from engine.domain.payments import Payment, PaymentOutcome
from engine.errors import Duplicate, Invalid
from engine.runtime import Engine
from engine.types import JobId
from tests.archive.erasure.life import begin_life
from tests.archive.test_refunds import ADMIN_CALLER, PAYMENT_SERVICE
from tests.support import people

CAPTURED = Payment(reference="pi_77", status="captured", amount=5000, currency="USD")


async def read_payments(engine: Engine, job: JobId) -> list[dict[str, Any]]:
    """Return the payments of a job as ops see them."""
    return [orjson.loads(item) for item in await payments.find_payments(engine, ADMIN_CALLER, job)]


async def report(engine: Engine, job: JobId, **changes: Any) -> PaymentOutcome:
    """Report `CAPTURED` with these changes."""
    payment = msgspec.structs.replace(CAPTURED, **changes)
    return await payments.put_payment(engine, PAYMENT_SERVICE, job, payment)


async def test_no_text_of_a_customer_changes_what_is_booked(engine: Engine) -> None:
    """A customer's address texts equal values in payment records: a reference, ids, a state, a year. After the
    customer's erasure each payment still has its reference and times, no report is recorded twice, and no refund
    exceeds its charge.
    """
    life = await begin_life(engine, 1)
    (job,) = life.jobs
    await report(engine, job)
    read = orjson.loads(await job_queries.read_job(engine, ADMIN_CALLER, job))
    for text in (CAPTURED.reference, job, life.technician.id, "home_service", read["created_at"][:4]):
        other = people.id_of(await people.job(engine, life.customer, life.service, address=text))
        await jobs.run_command(engine, life.customer, other, CommandInput(command="cancel"))
    before = await read_payments(engine, job)
    assert (await life.erase()).state == "done"

    with pytest.raises(Duplicate):
        await report(engine, job, amount=1)
    with pytest.raises(Invalid):
        await report(engine, job, status="refunded", amount=5001)
    assert (await report(engine, job)).repeated
    assert await read_payments(engine, job) == before
    erased = orjson.loads(await job_queries.read_job(engine, ADMIN_CALLER, job))
    kept = ("id", "blueprint", "status", "phase", "at", "technician", "created_at", "paid_amount", "amount", "currency")
    assert [erased[name] for name in kept] == [read[name] for name in kept]
    await report(engine, job, status="refunded")
    await life.archive_all()
    assert (await ledger_checker.find_problems(engine.archive))[1] == []
