"""The payment worker sends the requested payments and payouts to the payment provider, and records the provider's
reports.

It processes each order at least once, and nothing is paid twice: the idempotency key of an order is a pure function of
its id, and a report that was recorded before is a repeat. Therefore a worker may die at any moment, and two workers may
process the same order. An order is removed from the table only after its reports are recorded. The orders of one job
are processed in sequence; other jobs do not wait for a job whose order fails.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Literal

import structlog

from engine.archive import payment_orders, reader
from engine.archive.payment_orders import StoredOrder
from engine.clock import now_ms
from engine.domain import payment_reports, payouts
from engine.domain.payment_fold import PAYMENT_EVENTS
from engine.errors import CalloutError, Conflict, NotFound
from engine.payments.adapter import (
    PaymentAdapter,
    PaymentOrder,
    PayoutOrder,
    ProviderRefused,
    ProviderUnavailable,
    RefundPart,
    Report,
    failed_part,
)
from engine.payments.choice import open_adapter
from engine.payments.refund_parts import refund_parts
from engine.payments.simulated import TEST_PREFIX
from engine.process.loops import not_cancelled
from engine.types import Zone
from engine.zone.leases import Leases

if TYPE_CHECKING:
    from engine.runtime import Engine

LEASE_S = 5.0
PAUSE_S = 0.25
ERROR_PAUSE_S = 2.0
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 300.0
MAX_ATTEMPTS = 300
"""The most attempts, over about a day. Then the payment is reported as failed (`provider_unreachable`): if the provider
has made the payment nevertheless, its webhook reports that, and a capture is always recorded.
"""

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Process the orders of every zone whose lease this process holds, until cancelled. Without an adapter, do
    nothing.
    """
    adapter = open_adapter(engine.settings)
    if adapter is None:
        await _forget_cursors(engine)
        await asyncio.Event().wait()
        return
    leases = Leases(engine.store, "payments", LEASE_S)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(adapter.aclose)
        stack.push_async_callback(leases.release_all)
        while not_cancelled():
            pause_s = PAUSE_S
            for zone in engine.settings.zones:
                try:
                    if engine.store.zones[zone].open and await leases.holds_lease(zone):
                        await process_due_orders(engine, adapter, zone)
                except (CalloutError, OSError) as error:
                    log.warning("payments_wait", zone=zone, error=str(error) or type(error).__name__)
                    pause_s = ERROR_PAUSE_S
                except Exception:  # a task boundary: one zone must not stop the others
                    log.exception("payments_failed", zone=zone)
                    pause_s = ERROR_PAUSE_S
            await asyncio.sleep(pause_s)


async def _forget_cursors(engine: Engine) -> None:
    try:
        await payment_orders.forget_cursors(engine.archive)
    except CalloutError as error:
        log.warning("payment_cursors_stay", error=str(error))


async def process_due_orders(engine: Engine, adapter: PaymentAdapter, zone: Zone) -> int:
    """Store the zone's new requests, and process all orders that are due. Return their number. If an order fails with a
    CalloutError, process the others first and then raise it.
    """
    await payment_reports.retry_early_refunds(engine, zone)
    while await payment_orders.take_requests(engine.archive, zone, now_ms()):
        pass
    due = await payment_orders.due_orders(engine.archive, zone, now_ms())
    results = await asyncio.gather(*(process_order(engine, adapter, order) for order in due), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return len(due)


async def process_order(engine: Engine, adapter: PaymentAdapter, order: StoredOrder) -> None:
    """Send one order to the provider, record the reports, and remove or postpone the order."""
    try:
        reports = await (_pay_out if order.is_payout else _ask)(engine, adapter, order)
    except ProviderUnavailable as error:
        if order.attempts + 1 < MAX_ATTEMPTS:
            wait_s = min(MAX_RETRY_S, FIRST_RETRY_S * 2 ** min(order.attempts, 16)) * random.uniform(0.5, 1)
            log.warning("payment_waits", payment=order.id, attempt=order.attempts + 1, error=str(error))
            await payment_orders.postpone(engine.archive, order, now_ms() + round(wait_s * 1000))
            return
        # It is unknown whether the payout was made. It stays requested until ops or a service settle it.
        log.error("payment_given_up", payment=order.id, error=str(error))
        reports = await _failures(engine, order, "provider_unreachable")
    except ProviderRefused as error:
        log.warning("payment_refused", payment=order.id, reason=error.reason)
        reports = await _failures(engine, order, error.reason)
        if order.is_payout:
            await _settle(engine, order, "failed")
    for report in reports:
        await payment_reports.record(engine, report)
    await payment_orders.remove(engine.archive, order)


async def _ask(engine: Engine, adapter: PaymentAdapter, stored: StoredOrder) -> list[Report]:
    order = _payment_order(stored)
    if order.kind == "release":
        return await adapter.release(order)
    if order.kind != "refund":
        return await adapter.request(order)
    return await adapter.refund(order, await _refund_parts(engine, stored))


def _payment_order(stored: StoredOrder) -> PaymentOrder:
    payment = stored.payment
    return PaymentOrder(
        id=stored.id,
        job=stored.job,
        kind=payment.kind,  # type: ignore[arg-type]  # only steps of jobs request payments, with these kinds
        amount=payment.amount,
        currency=payment.currency,
        of=payment.of or "",
        held=payment.held or 0,
    )


async def _refund_parts(engine: Engine, stored: StoredOrder) -> list[RefundPart]:
    """Return how a refund is divided among the charges that the log has before the request of the refund."""
    events = await reader.job_events(engine.archive, stored.job, PAYMENT_EVENTS)
    facts = [payment_reports.fact_of(event) for event in events if event.seq < stored.seq]
    prefix = TEST_PREFIX if engine.settings.payments == "test" else ""
    return refund_parts(facts, stored.id, stored.payment.amount, prefix)


async def _pay_out(engine: Engine, adapter: PaymentAdapter, stored: StoredOrder) -> list[Report]:
    """Request a payout from the provider, and record its outcome."""
    payout = stored.payout
    order = PayoutOrder(
        id=payout.id, technician=payout.technician, account="", amount=payout.amount, currency=payout.currency
    )
    status = await adapter.payout(order)
    if status != "requested":
        await _settle(engine, stored, status, is_test=adapter.is_test)
    return []


async def _settle(
    engine: Engine, order: StoredOrder, status: Literal["paid", "failed"], *, is_test: bool = False
) -> None:
    """Record the outcome of a payout. If ops or a service have already recorded an outcome, that outcome stays."""
    try:
        await payouts.settle_payout(engine, payment_reports.PROVIDER, order.id, status, is_test=is_test)
    except (Conflict, NotFound) as error:
        log.warning("payout_settled_before", payout=order.id, status=status, code=error.code)


async def _failures(engine: Engine, stored: StoredOrder, reason: str) -> list[Report]:
    """Return the reports that an order failed: none for a payout, and one for each part of a refund. The reference is
    the order's id, because the provider gave none; for the parts of a refund see ``failed_part``.
    """
    if stored.is_payout:
        return []
    order = _payment_order(stored)
    if order.kind == "refund":
        return [failed_part(order, part, reason) for part in await _refund_parts(engine, stored)]
    return [
        Report(
            reference=order.id,
            status="failed",
            amount=order.amount,
            currency=order.currency,
            job=order.job,
            reason=reason,
        )
    ]
