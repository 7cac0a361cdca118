"""The payment worker against a server that behaves as Stripe documents: after any failure and any death of a process,
each payment is made once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import AsyncMock

import msgspec
import pytest

from engine.archive import ledger_reader, payment_orders
from engine.clock import now_ms
from engine.domain import jobs, payment_reports, payments, payouts
from engine.domain.commands import CommandInput
from engine.domain.payments import Payment
from engine.errors import Unavailable
from engine.payments.adapter import PayoutOrder, ProviderRefused, ProviderUnavailable, Report
from engine.payments.simulated import SimulatedAdapter
from engine.payments.stripe import StripeAdapter
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE
from engine.workers import archiver, payment_worker
from tests.engine import staff
from tests.engine.test_holds import PAYMENT_SERVICE, PRICE, accepted_job, change_price, complete, open_market, step
from tests.payments import stripe_server
from tests.payments.scene import deliver, held_job, job_view, shown_payments, work
from tests.payments.stripe_server import KEY, WEBHOOK_SECRET, StripeServer, run_stripe
from tests.support import event_log
from tests.support.booked_money import book_earnings
from tests.support.postgres import on_both_databases

FAULTS = ["500", "hang", "lost", "409", "429", "garbage", "slow"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose payment provider is Stripe."""
    more = {"stripe_key": KEY, "stripe_webhook_secret": WEBHOOK_SECRET}
    return msgspec.structs.replace(settings, payments="stripe", **more)


@pytest.fixture
async def stripe(engine: Engine) -> AsyncIterator[StripeServer]:
    """Yield a simulated Stripe server."""
    async with run_stripe() as server:
        yield server


@pytest.fixture
async def adapter(stripe: StripeServer) -> AsyncIterator[StripeAdapter]:
    """Yield an adapter with short timeouts."""
    opened = StripeAdapter(stripe.url, KEY, WEBHOOK_SECRET, timeout_s=0.3)
    yield opened
    await opened.aclose()


@on_both_databases
async def test_a_hold_is_captured_once_whatever_fails(
    engine: Engine, stripe: StripeServer, adapter: StripeAdapter
) -> None:
    """Each fault happens to each request. The hold is captured once, and the job is paid."""
    stripe.faults = list(FAULTS)
    carla, _, tom, job = await held_job(engine, stripe, adapter)
    assert await shown_payments(engine, job) == [("hold", "authorized", PRICE)]
    stripe.faults = list(FAULTS)
    await complete(engine, carla, tom, job)
    await work(engine, adapter)
    await deliver(engine, stripe)
    assert [intent["amount_received"] for intent in stripe.intents.values()] == [PRICE]
    assert await shown_payments(engine, job) == [("charge", "captured", PRICE)]
    [intent] = stripe.intents
    # an event that names no job changes nothing
    late = Report(reference=intent, status="failed", amount=PRICE, currency="USD")
    await payment_reports.record(engine, late)
    assert await payment_reports._find_job(engine, late) == job
    view = await job_view(engine, carla, job)
    assert (view["status"], view["paid_amount"]) == ("paid", PRICE)
    keys = {key for _, key in stripe.requests}
    assert len(keys) == 2 and len(stripe.requests) == len(FAULTS) * 2


async def test_a_worker_that_dies_before_it_notes_asks_again(
    engine: Engine, stripe: StripeServer, adapter: StripeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies after Stripe has captured and before the report is recorded, or SQL is unavailable when the order
    is to be removed. The next worker repeats the request, and Stripe captures nothing more.
    """
    carla, _, tom, job = await held_job(engine, stripe, adapter)
    await complete(engine, carla, tom, job)
    await archiver.run_once(engine)
    record, remove = payment_reports.record, payment_orders.remove
    for target, name, error in (
        (payment_reports, "record", asyncio.CancelledError()),
        (payment_orders, "remove", Unavailable("away")),
    ):

        async def fail(*_: Any, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(target, name, fail)
        with pytest.raises(type(error)):
            await payment_worker.process_due_orders(engine, adapter, DEFAULT_ZONE)
        assert stripe.intents[next(iter(stripe.intents))]["amount_received"] == PRICE
        monkeypatch.setattr(payment_reports, "record", record)
        monkeypatch.setattr(payment_orders, "remove", remove)
    await asyncio.gather(*(payment_worker.process_due_orders(engine, adapter, DEFAULT_ZONE) for _ in range(3)))
    await work(engine, adapter)
    assert len([path for path, _ in stripe.requests if path.endswith("/capture")]) >= 3
    assert len(await event_log.events(engine, "payment.received", job)) == 1
    assert (await job_view(engine, carla, job))["status"] == "paid"
    assert len(stripe.intents) == 1


async def test_another_price_and_a_leaving_technician_release_the_hold(
    engine: Engine, stripe: StripeServer, adapter: StripeAdapter
) -> None:
    """The hold of the old price is canceled and a new one is requested, which is canceled when the technician leaves. A
    hold that the customer authorizes after that is canceled too.
    """
    carla, _, tom, job = await held_job(engine, stripe, adapter)
    await change_price(engine, carla, tom, job, 7_000)
    stripe.faults = ["lost", "500"]
    await work(engine, adapter)
    first, second = stripe.intents.values()
    assert (first["status"], second["status"], second["amount"]) == ("canceled", "requires_payment_method", 7_000)
    await step(engine, carla, job, "unassign")
    await work(engine, adapter)
    stripe.confirm(second["id"])
    await deliver(engine, stripe)
    await work(engine, adapter)
    await deliver(engine, stripe)
    assert second["status"] == "canceled" and not stripe.refunds
    assert await shown_payments(engine, job) == [("hold", "released", PRICE), ("hold", "released", 7_000)]


async def test_a_refund_is_made_once_in_parts(engine: Engine, stripe: StripeServer, adapter: StripeAdapter) -> None:
    """Two captured charges are refunded in two parts, once each, although the replies are lost and each webhook arrives
    twice.
    """
    carla, _, _, job = await held_job(engine, stripe, adapter)
    for amount in (900, 400):
        intent = stripe._create_intent({"amount": str(amount), "currency": "usd", "capture_method": "automatic"})
        intent["metadata"] = {"callout_job": job}
        stripe.confirm(intent["id"])
    await deliver(engine, stripe)
    assert (await job_view(engine, carla, job))["paid_amount"] == 1_300
    stripe.faults = ["lost", "hang"]
    await step(engine, carla, job, "unassign")
    await work(engine, adapter)
    await deliver(engine, stripe)
    assert sorted(refund["amount"] for refund in stripe.refunds.values()) == [400, 900]
    view = await job_view(engine, carla, job)
    assert (view["status"], view["refunded_amount"]) == ("open", 1_300)
    assert stripe.intents[next(iter(stripe.intents))]["status"] == "canceled"


async def test_what_the_provider_refuses_is_reported_as_failed(
    engine: Engine, stripe: StripeServer, adapter: StripeAdapter
) -> None:
    """A refused request and a declined card are reported as `payment.failed` with a reason. A request that Stripe never
    answers fails in the end, and a later capture is still recorded.
    """
    carla, service, tom, job = await held_job(engine, stripe, adapter)
    stripe.intents.clear()
    await complete(engine, carla, tom, job)
    await work(engine, adapter)
    [failed] = await event_log.events(engine, "payment.failed", job)
    assert event_log.payload(failed)["why"] == "resource_missing"
    other = await accepted_job(engine, carla, service, tom)
    await work(engine, adapter)
    [intent] = stripe.intents.values()
    stripe.confirm(intent["id"], fails=True)
    await deliver(engine, stripe)
    [declined] = await event_log.events(engine, "payment.failed", other)
    assert event_log.payload(declined)["why"] == "card_declined"
    stripe.confirm(intent["id"])
    await deliver(engine, stripe)
    assert await shown_payments(engine, other) == [("hold", "authorized", PRICE)]
    stripe.url, never = "", StripeAdapter("http://127.0.0.1:9", KEY, WEBHOOK_SECRET, timeout_s=0.3)
    await step(engine, carla, other, "unassign")
    await archiver.run_once(engine)
    await payment_worker.process_due_orders(engine, never, DEFAULT_ZONE)
    [waiting] = await payment_orders.due_orders(engine.archive, DEFAULT_ZONE, now_ms() + 10**9)
    assert waiting.attempts == 1
    await payment_worker.process_order(engine, never, waiting._replace(attempts=payment_worker.MAX_ATTEMPTS))
    failures = await event_log.events(engine, "payment.failed", other)
    assert event_log.payload(failures[-1])["why"] == "provider_unreachable"
    await never.aclose()


async def test_a_refund_of_which_a_part_is_refused_is_noted_as_far_as_it_was_made(
    engine: Engine, stripe: StripeServer, adapter: StripeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider makes the first part of a refund and refuses the second one. The first part is recorded, and the
    order fails.
    """
    carla, _, _, job = await held_job(engine, stripe, adapter)
    for amount in (900, 400):
        intent = stripe._create_intent({"amount": str(amount), "currency": "usd", "capture_method": "automatic"})
        intent["metadata"] = {"callout_job": job}
        stripe.confirm(intent["id"])
    await deliver(engine, stripe)
    create, made = stripe._create_refund, []

    def refuse_the_second(fields: Any) -> Any:
        made.append(fields)
        refused = stripe_server.error(400, "invalid_request_error", "charge_already_refunded")
        return refused if len(made) == 2 else create(fields)

    monkeypatch.setattr(stripe, "_create_refund", refuse_the_second)
    await jobs.run_command(engine, carla, job, CommandInput(command="unassign"))
    await work(engine, adapter)
    await deliver(engine, stripe)
    [refunded] = [refund["amount"] for refund in stripe.refunds.values()]
    assert (await job_view(engine, carla, job))["refunded_amount"] == refunded
    assert await event_log.events(engine, "payment.failed", job)


async def read_items(engine: Engine, technician: str) -> list[ledger_reader.LedgerItem]:
    """Return the changes of a technician's balance, the newest first."""
    async with engine.archive.begin_read() as conn:
        return await ledger_reader.read_items(conn, technician)


async def test_payouts_go_through_the_adapter(
    engine: Engine, adapter: StripeAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter `test` pays a payout once, even if the worker dies before the outcome is recorded. A refusal gives
    the money back. A payout that Stripe cannot make, or whose outcome is unknown, stays requested. An outcome that ops
    recorded first stays.
    """
    await work(engine, SimulatedAdapter())
    technician = (await staff.register_technician(engine)).id
    await book_earnings(engine, technician, 10_000)

    async def request(reference: str) -> str:
        await archiver.run_once(engine)  # the ledger must have reached the head of the log
        new = payouts.NewPayout(technician=technician, amount=1_000, currency="EUR", reference=reference)
        return (await payouts.request_payout(engine, PAYMENT_SERVICE, new)).value.id

    class Refuses(SimulatedAdapter):
        async def payout(self, order: PayoutOrder) -> Any:
            raise ProviderRefused("no_account")

    class Away(SimulatedAdapter):
        async def payout(self, order: PayoutOrder) -> Any:
            raise ProviderUnavailable("away")

    paid = await request("p1")
    await archiver.run_once(engine)
    remove = payment_orders.remove
    monkeypatch.setattr(payment_orders, "remove", AsyncMock(side_effect=Unavailable("away")))
    with pytest.raises(Unavailable):
        await payment_worker.process_due_orders(engine, SimulatedAdapter(), DEFAULT_ZONE)
    monkeypatch.setattr(payment_orders, "remove", remove)
    await work(engine, SimulatedAdapter())
    failed, waits, unknown, settled = [await request(name) for name in ("p2", "p3", "p4", "p5")]
    for name, used in ((failed, Refuses()), (waits, adapter), (unknown, Away()), (settled, SimulatedAdapter())):
        await archiver.run_once(engine)
        await payment_orders.take_requests(engine.archive, DEFAULT_ZONE, now_ms())
        due = await payment_orders.due_orders(engine.archive, DEFAULT_ZONE, now_ms() + 10**9)
        order = due[0]._replace(attempts=payment_worker.MAX_ATTEMPTS)
        assert order.id == name
        if name == settled:
            await payouts.settle_payout(engine, PAYMENT_SERVICE, name, "failed")
        await payment_worker.process_order(engine, used, order)
    found = (await payouts.find_payouts(engine, PAYMENT_SERVICE, payouts.PayoutQuery())).items
    statuses = {payout.id: payout.status for payout in found}
    assert statuses == {
        paid: "paid",
        failed: "failed",
        waits: "requested",
        unknown: "requested",
        settled: "failed",
    }
    await archiver.run_once(engine)
    (told,) = await event_log.events(engine, "payout.paid", None)
    assert event_log.payload(told)["payout"]["test"] is True
    assert [payout.id for payout in found if payout.test] == [paid]
    assert msgspec.json.encode(found[0]).count(b"test") == 0
    items = await read_items(engine, technician)
    marks = {(item.payout, item.kind): item.test for item in items if item.payout in (paid, settled)}
    assert marks == {(paid, "requested"): True, (settled, "requested"): False, (settled, "failed"): False}
    assert not any(item.test for item in items if item.kind == "earned")  # paid by an outside service


async def test_the_test_adapter_marks_what_it_does(engine: Engine) -> None:
    """The adapter `test` authorizes, captures and refunds immediately, and each payment is marked as a test."""
    adapter = SimulatedAdapter()
    carla, service, tom = await open_market(engine)
    earlier = await accepted_job(engine, carla, service, tom)
    await work(engine, adapter)  # earlier requests belong to an outside service
    assert await shown_payments(engine, earlier) == []
    job = await accepted_job(engine, carla, service, tom)
    await work(engine, adapter)
    assert await shown_payments(engine, job) == [("hold", "authorized", PRICE)]
    await complete(engine, carla, tom, job)
    await work(engine, adapter)
    assert (await job_view(engine, carla, job))["status"] == "paid"
    items = [msgspec.json.decode(item) for item in await payments.find_payments(engine, PAYMENT_SERVICE, job)]
    assert [(item["test"], item["status"]) for item in items] == [(True, "captured")]
    await archiver.run_once(engine)
    (earned,) = await read_items(engine, tom.id)
    assert (earned.job, earned.kind, earned.test) == (job, "earned", True)
    again = await accepted_job(engine, carla, service, tom)
    await work(engine, adapter)
    paid = Payment(reference="pi_1", status="captured", amount=700, currency="USD")
    await payments.put_payment(engine, PAYMENT_SERVICE, again, paid)
    await jobs.run_command(engine, carla, again, CommandInput(command="unassign"))
    await work(engine, adapter)
    assert sorted(await shown_payments(engine, again)) == [
        ("charge", "captured", 700),
        ("hold", "released", PRICE),
        ("refund", "refunded", 700),
    ]
