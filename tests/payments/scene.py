"""Functions for tests of the payment worker: run the worker, deliver webhooks, and read the resulting payments."""

from __future__ import annotations

from typing import Any

import msgspec

from engine.archive import payment_orders
from engine.clock import now_ms
from engine.domain import job_queries, payment_webhooks, payments
from engine.payments.adapter import PaymentAdapter
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE, JobId, Principal
from engine.workers import archiver, payment_worker
from tests.engine.test_holds import PAYMENT_SERVICE, PRICE, accepted_job, open_market
from tests.payments.stripe_server import StripeServer


async def work(engine: Engine, adapter: PaymentAdapter) -> None:
    """Archive the log, and run the worker until no order is left. Postponed orders are made due immediately."""
    for _ in range(60):
        await archiver.run_once(engine)
        await payment_worker.process_due_orders(engine, adapter, DEFAULT_ZONE)
        waiting = await payment_orders.due_orders(engine.archive, DEFAULT_ZONE, now_ms() + 10**9)
        if not waiting:
            return
        for order in waiting:
            await payment_orders.postpone(engine.archive, order, 0)
    raise AssertionError("orders are left")


async def deliver(engine: Engine, stripe: StripeServer) -> None:
    """Deliver all webhook events twice, the newest first."""
    for event in [*reversed(stripe.events), *stripe.events]:
        await receive(engine, stripe, event)


async def receive(engine: Engine, stripe: StripeServer, event: dict[str, Any]) -> None:
    """Deliver a webhook event."""
    body, headers = stripe.signed(event)
    raw = {name.lower().encode(): value.encode() for name, value in headers.items()}
    await payment_webhooks.receive(engine, "stripe", raw, body)


async def shown_payments(engine: Engine, job: JobId) -> list[tuple[str, str, int]]:
    """Return kind, status and amount of the job's payments."""
    items = [msgspec.json.decode(item) for item in await payments.find_payments(engine, PAYMENT_SERVICE, job)]
    return [(item["kind"], item["status"], item["amount"]) for item in items]


async def job_view(engine: Engine, carla: Principal, job: JobId) -> dict[str, Any]:
    """Return the job as its customer sees it."""
    found: dict[str, Any] = msgspec.json.decode(bytes(await _read(engine, carla, job)))
    return found


async def _read(engine: Engine, carla: Principal, job: JobId) -> Any:
    return await job_queries.read_job(engine, carla, job)


async def held_job(engine: Engine, stripe: StripeServer, adapter: PaymentAdapter) -> tuple[Any, ...]:
    """Return a customer, a technician and a job whose hold is authorized at Stripe and in Callout."""
    await work(engine, adapter)  # the worker processes all requests from here on
    carla, service, tom = await open_market(engine)
    job = await accepted_job(engine, carla, service, tom)
    await work(engine, adapter)
    [intent] = stripe.intents.values()
    assert (intent["amount"], intent["capture_method"], intent["currency"]) == (PRICE, "manual", "usd")
    stripe.confirm(intent["id"])
    await deliver(engine, stripe)
    return carla, service, tom, job
