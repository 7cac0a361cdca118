"""Tests of the ledger, on both databases: the entries of each event about money, and that no row can be changed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, func, insert, select, text, update

from engine.archive import ledger_reader
from engine.domain import earnings, erasures, payouts
from engine.domain.payments import Payment, PaymentStatus, put_payment
from engine.domain.payouts import NewPayout
from engine.errors import (
    Duplicate,
    Forbidden,
    IllegalTransition,
    InsufficientBalance,
    NotFound,
    Unavailable,
)
from engine.identity import payout_events
from engine.runtime import Engine
from engine.sql.database import Archive
from engine.sql.ledger_tables import ledger_entries, ledger_lines
from engine.types import JobId, Principal, UserId
from engine.workers import archiver
from tests.archive.test_refunds import ADMIN_CALLER, PAYMENT_SERVICE, archive_and_forget, create_confirmed_job
from tests.support import event_log
from tests.support.booked_money import create_account
from tests.support.clock import advance

HOLD_S = 172_800
"""The hold of the marketplace's commission, which keeps 10 %."""


async def pay(engine: Engine, job: JobId, status: PaymentStatus, amount: int, reference: str, **more: Any) -> None:
    """Report a payment in USD."""
    word = Payment(**{"reference": reference, "status": status, "amount": amount, "currency": "USD"} | more)
    await put_payment(engine, PAYMENT_SERVICE, job, word)


async def read_lines(archive: Archive) -> list[tuple[Any, ...]]:
    """Return all lines of the ledger."""
    async with archive.begin_read() as conn:
        query = select(ledger_lines).order_by(*ledger_lines.primary_key.columns)
        return [tuple(row) for row in await conn.execute(query)]


async def read_sums(engine: Engine) -> dict[str, int]:
    """Archive everything. Return the balance of each account that is not 0, and check that the lines sum to 0. A
    balance in another currency than USD has its own key.
    """
    await archiver.run_once(engine)
    lines = ledger_lines.c
    async with engine.archive.begin_read() as conn:
        assert await ledger_reader.find_unbalanced(conn) == []
        query = select(lines.account, lines.currency, func.sum(lines.amount)).group_by(lines.account, lines.currency)
        rows = [tuple(row) for row in await conn.execute(query)]
    return {name if unit == "USD" else f"{name} {unit}": int(total) for name, unit, total in rows if total}


async def read_balance(engine: Engine) -> tuple[int, int, int]:
    """Return the pending, available and paid-out amounts of the technician t1, in USD."""
    found = await earnings.read_earnings(engine, ADMIN_CALLER, "t1")
    (usd,) = [each for each in found.balance if each.currency == "USD"]
    return usd.pending, usd.available, usd.paid_out


async def _write(archive: Archive, changes: list[Any]) -> None:
    async with archive.begin_write() as conn:
        for change in changes:
            await conn.execute(change)


async def test_money_of_a_job_is_booked(engine: Engine) -> None:
    """Captures credit the job. The step into `done` moves the job's money, less the fee, to the technician as pending.
    A later capture and a refund do the same, also after Redis has deleted the job. Money in another currency stays in
    the job's account.
    """
    await create_account(engine, "t1")
    _, job = await create_confirmed_job(engine)
    await pay(engine, job, "captured", 2005, "pi_1")
    assert await read_sums(engine) == {"clearing": -2005, f"job:{job}": 2005}
    await pay(engine, job, "captured", 2995, "pi_2")
    assert await read_sums(engine) == {"clearing": -5000, "technician:t1": 4500, "fees": 500}
    assert await read_balance(engine) == (4500, 0, 0)
    await archive_and_forget(engine, job)
    await pay(engine, job, "captured", 5, "pi_3")
    await pay(engine, job, "captured", 70, "pi_4", currency="JPY")
    assert await read_sums(engine) == {
        **{"clearing": -5005, "technician:t1": 4505, "fees": 500},
        **{"clearing JPY": -70, f"job:{job} JPY": 70},
    }
    await pay(engine, job, "refunded", 2005, "pi_1")
    await pay(engine, job, "refunded", 70, "pi_4", currency="JPY")
    assert await read_sums(engine) == {"clearing": -3000, "technician:t1": 2700, "fees": 300}
    assert await read_balance(engine) == (2700, 0, 0)


async def test_payouts_cannot_exceed_what_is_available(engine: Engine) -> None:
    """Only ops and services can request payouts, for known technicians and of at most the available amount; of two
    requests at the same time one succeeds. A repeat of the reference returns the same payout. A failed payout gives the
    money back, and its outcome never changes. An event that the log contains twice is booked once. A balance and an
    unfinished payout prevent an erasure, also while the ledger does not have them yet.
    """
    await create_account(engine, "t1")
    _, job = await create_confirmed_job(engine)
    await pay(engine, job, "captured", 5000, "pi_1")
    new = NewPayout(technician="t1", amount=4500, currency="USD", reference="tr_1")
    assert await erasures.read_blockers(engine, UserId("t1")) == ["balance"]
    with pytest.raises(Unavailable):
        await payouts.request_payout(engine, ADMIN_CALLER, new)
    await archiver.run_once(engine)
    with pytest.raises(Forbidden):
        await payouts.request_payout(engine, Principal(UserId("t1"), "technician"), new)
    with pytest.raises(InsufficientBalance):
        await payouts.request_payout(engine, ADMIN_CALLER, new)
    await advance(engine, HOLD_S)
    await pay(engine, job, "failed", 1, "pi_9")
    await archiver.run_once(engine)
    assert await read_balance(engine) == (0, 4500, 0)
    for change, error in (
        ({"technician": "t9"}, NotFound),
        ({"amount": 4501}, InsufficientBalance),
        ({"currency": "EUR"}, InsufficientBalance),
    ):
        with pytest.raises(error):
            await payouts.request_payout(engine, PAYMENT_SERVICE, msgspec.structs.replace(new, **change))
    others = [msgspec.structs.replace(new, reference=f"tr_{n}") for n in range(4)]
    done = await asyncio.gather(
        *(payouts.request_payout(engine, PAYMENT_SERVICE, each) for each in others), return_exceptions=True
    )
    (won,) = [each for each in done if not isinstance(each, BaseException)]
    lost = [type(each) for each in done if isinstance(each, BaseException)]
    assert set(lost) <= {InsufficientBalance, Unavailable} and InsufficientBalance in lost
    same = msgspec.structs.replace(new, reference=won.value.reference)
    again = await payouts.request_payout(engine, ADMIN_CALLER, same)
    assert (again.value, again.repeated) == (won.value, True)
    with pytest.raises(Duplicate):
        await payouts.request_payout(engine, ADMIN_CALLER, msgspec.structs.replace(same, amount=1))
    assert await read_sums(engine) == {"clearing": -5000, "transit:t1": 4500, "fees": 500}
    assert await read_balance(engine) == (0, 0, 4500)
    assert await erasures.read_blockers(engine, UserId("t1")) == ["payout"]

    failed = await payouts.settle_payout(engine, PAYMENT_SERVICE, won.value.id, "failed")
    assert (await payouts.settle_payout(engine, ADMIN_CALLER, won.value.id, "failed")).value == failed.value
    with pytest.raises(IllegalTransition):
        await payouts.settle_payout(engine, ADMIN_CALLER, won.value.id, "paid")
    with pytest.raises(NotFound):
        await payouts.settle_payout(engine, ADMIN_CALLER, "pyt_none", "paid")
    assert await erasures.read_blockers(engine, UserId("t1")) == ["payout"]
    await archiver.run_once(engine)
    assert await read_balance(engine) == (0, 4500, 0)
    assert await erasures.read_blockers(engine, UserId("t1")) == ["balance"]
    second = await payouts.request_payout(engine, ADMIN_CALLER, msgspec.structs.replace(new, reference="tr_8"))
    async for name in engine.store.redis.scan_iter("*:req:outbox:*"):
        await engine.store.redis.delete(name)
    await payout_events.append_waiting(engine)  # as if Redis had lost the idempotency record, but not the event
    told = [event for event in await event_log.events(engine, "payout.requested") if b"tr_8" in event.data]
    assert len(told) == 2
    await payouts.settle_payout(engine, ADMIN_CALLER, second.value.id, "paid")
    await pay(engine, job, "refunded", 5000, "pi_1")
    assert await read_sums(engine) == {"paid:t1": 4500, "technician:t1": -4500}
    assert await read_balance(engine) == (0, -4500, 4500)


async def test_the_ledger_is_immutable_and_balanced(engine: Engine, settings: Any) -> None:
    """The database refuses to change or delete a row, an entry that does not balance, another line for an entry, and a
    line without an entry. A ledger that is written again from the events has the same lines.
    """
    _, job = await create_confirmed_job(engine)
    await pay(engine, job, "captured", 5000, "pi_1")
    await archiver.run_once(engine)
    before = await read_lines(engine.archive)
    line = {"zone": "main", "seq": 1, "kind": "x", "n": 1, "account": "fees", "currency": "USD", "amount": 1}
    entry = {"zone": "main", "seq": 1, "kind": "x", "cause": "x", "at": 1}
    (first, *_) = before
    own = dict(zip(ledger_lines.c.keys(), first, strict=True))
    for changes in (
        [update(ledger_lines).values(amount=0)],
        [delete(ledger_lines)],
        [update(ledger_entries).values(at=0)],
        [delete(ledger_entries)],
        [insert(ledger_lines).values(line | {"available_at": 1})],
        [insert(ledger_entries).values(entry)],
        [insert(ledger_lines).values(line | {"available_at": 1}), insert(ledger_entries).values(entry)],
        [
            insert(ledger_lines).values(own | {"n": 9}),
            insert(ledger_lines).values(own | {"n": 8, "amount": -own["amount"]}),
        ],
        [text("INSERT OR REPLACE INTO ledger_lines SELECT * FROM ledger_lines")] if engine.archive.is_sqlite else [],
    ):
        if changes:
            with pytest.raises(Exception, match=r"ledger|FOREIGN KEY|foreign key"):
                await _write(engine.archive, changes)
    assert await read_lines(engine.archive) == before
