"""Webhooks in any order: a refund whose capture is not known yet waits in SQL, and counts once after the capture."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, select

from engine.archive import early_refunds
from engine.domain import payment_reports
from engine.errors import Unavailable
from engine.payments.stripe import StripeAdapter
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.sql.payment_tables import early_refunds as rows
from engine.types import DEFAULT_ZONE, JobId
from engine.workers import archiver, payment_worker
from tests.engine.test_holds import PRICE
from tests.payments.scene import held_job, job_view, receive
from tests.payments.stripe_server import KEY, WEBHOOK_SECRET, StripeServer, run_stripe


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings of a server that is paid through Stripe."""
    return msgspec.structs.replace(settings, payments="stripe", stripe_key=KEY, stripe_webhook_secret=WEBHOOK_SECRET)


@pytest.fixture
async def stripe() -> AsyncIterator[StripeServer]:
    """Yield a simulated Stripe server."""
    async with run_stripe() as server:
        yield server


@pytest.fixture
async def adapter(stripe: StripeServer) -> AsyncIterator[StripeAdapter]:
    """Yield the adapter."""
    opened = StripeAdapter(stripe.url, KEY, WEBHOOK_SECRET)
    yield opened
    await opened.aclose()


async def count_waiting(engine: Engine) -> int:
    """Return how many refunds wait for their captures."""
    async with engine.archive.begin_read() as conn:
        return int((await conn.execute(select(func.count()).select_from(rows))).scalar_one())


def charge_and_refund(
    stripe: StripeServer, job: JobId, *, named: bool
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Let a customer pay 900 at Stripe, and ops refund 300 of it there. Return three webhooks: of the capture, of the
    refund, and of a later failure of the refund. ``named``: the refund names the job.
    """
    intent = stripe._create_intent({"amount": "900", "currency": "usd", "capture_method": "automatic"})
    intent["metadata"] = {"callout_job": job}
    stripe.confirm(intent["id"])
    capture = stripe.events[-1]
    stripe._create_refund(
        {"payment_intent": intent["id"], "amount": "300", **({"metadata[callout_job]": job} if named else {})}
    )
    refund = stripe.events[-1]
    made = next(reversed(stripe.refunds.values()))
    made.update(status="failed", failure_reason="expired_or_canceled_card")
    stripe._emit("refund.failed", made)
    return capture, refund, stripe.events[-1]


async def test_a_refund_waits_for_its_capture(engine: Engine, stripe: StripeServer, adapter: StripeAdapter) -> None:
    """Refunds of a hold and of unknown charges arrive before the captures, and each webhook arrives five times. Each is
    accepted, nothing is refunded before its capture, and each refund counts once. A refund that ops make at Stripe
    names no job, and its charge may not be archived yet. A refund that fails before its capture never counts.
    """
    carla, _, _, job = await held_job(engine, stripe, adapter)
    held = next(iter(stripe.intents.values()))
    stripe._capture(held, PRICE)
    captures = [stripe.events[-1]]
    stripe._create_refund({"payment_intent": held["id"], "amount": "300"})
    refunds = [stripe.events[-1]]
    for named in (True, False):
        capture, refund, _ = charge_and_refund(stripe, job, named=named)
        captures, refunds = [*captures, capture], [*refunds, refund]
    _, *failed = charge_and_refund(stripe, job, named=True)
    capture = stripe.events[-3]
    early = [*refunds, *failed] * 5
    Random(1).shuffle(early)
    for event in early:
        await receive(engine, stripe, event)
    view = await job_view(engine, carla, job)
    assert (view["paid_amount"], view["refunded_amount"]) == (0, 0)
    assert await count_waiting(engine) >= 3
    late = [*captures, capture, *refunds, *failed] * 2
    Random(2).shuffle(late)
    for event in late:
        await asyncio.gather(receive(engine, stripe, event), archiver.run_once(engine))
    view = await job_view(engine, carla, job)
    assert (view["paid_amount"], view["refunded_amount"]) == (PRICE + 3 * 900, 900)
    assert await count_waiting(engine) == 0


async def test_the_worker_records_what_a_dead_process_left(
    engine: Engine, stripe: StripeServer, adapter: StripeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process dies between the capture and the recording of the refund that waits for it: the worker records the
    refund. A refund that waits too long is removed.
    """
    carla, _, _, job = await held_job(engine, stripe, adapter)
    capture, refund, _ = charge_and_refund(stripe, job, named=True)
    await receive(engine, stripe, refund)

    async def die(*_: Any) -> None:
        raise Unavailable("killed")

    with monkeypatch.context() as patch:
        patch.setattr(payment_reports, "_record_early_refunds", die)
        with pytest.raises(Unavailable):
            await receive(engine, stripe, capture)
    assert (await job_view(engine, carla, job))["refunded_amount"] == 0
    other = charge_and_refund(stripe, job, named=True)[1]
    unnamed = charge_and_refund(stripe, job, named=False)[1]
    for event in (other, unnamed):
        await receive(engine, stripe, event)
    now = early_refunds.FIRST_RETRY_MS + payment_reports.now_ms() + 1
    monkeypatch.setattr(payment_reports, "now_ms", lambda: now)
    await payment_worker.process_due_orders(engine, adapter, DEFAULT_ZONE)
    assert ((await job_view(engine, carla, job))["refunded_amount"], await count_waiting(engine)) == (300, 2)
    now += early_refunds.KEPT_MS
    await payment_worker.process_due_orders(engine, adapter, DEFAULT_ZONE)
    assert await count_waiting(engine) == 0
