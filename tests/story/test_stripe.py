"""The marketplace paid through Stripe: the app confirms the PaymentIntents, and the webhooks come over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import httpx
import msgspec
import pytest

from engine.payments.stripe_signature import sign
from engine.process.settings import Settings
from tests.payments.stripe_server import KEY, WEBHOOK_SECRET, StripeServer, run_stripe
from tests.story.conftest import Person, Scenario
from tests.story.test_marketplace import create_bid, post_job, post_ok, status_and_code
from tests.support.wait import wait_until

WEBHOOKS = "/v1/payments/webhooks/stripe"


@pytest.fixture
async def stripe() -> AsyncIterator[StripeServer]:
    """Yield a simulated Stripe server."""
    async with run_stripe() as server:
        yield server


@pytest.fixture
def settings(settings: Settings, stripe: StripeServer) -> Settings:
    """Return settings of a marketplace that is paid through Stripe."""
    more = {"stripe_key": KEY, "stripe_webhook_secret": WEBHOOK_SECRET, "stripe_url": stripe.url}
    return msgspec.structs.replace(settings, blueprint="marketplace", payments="stripe", **more)


async def deliver(scenario: Scenario, stripe: StripeServer, seed: int) -> None:
    """Deliver each event of Stripe ten times, in any order; each is answered with 200."""
    events = stripe.events * 10
    Random(seed).shuffle(events)
    for event in events:
        body, headers = stripe.signed(event)
        reply = await scenario.http.post(WEBHOOKS, content=body, headers=headers)
        assert (reply.status_code, reply.json()) == (200, {"received": True})


async def intent_for(stripe: StripeServer, amount: int) -> str:
    """Wait until a PaymentIntent of an amount can be confirmed, and return its id."""

    def found() -> list[str]:
        all_of_it = stripe.intents.values()
        return [i["id"] for i in all_of_it if (i["amount"], i["status"]) == (amount, "requires_payment_method")]

    return str((await wait_until(found))[0])


async def test_a_marketplace_job_is_paid_through_stripe(scenario: Scenario, stripe: StripeServer) -> None:
    """The award, another price, the work and its confirmation lead to one capture, although each webhook arrives ten
    times in another order. A webhook without a valid signature changes nothing.
    """
    plumbing = await scenario.create_service()
    carla, tom = await scenario.create_person("customer", "Carla"), await scenario.create_technician("Tom", plumbing)
    await carla.socket.open()
    await wait_until(lambda: scenario.server.engine.store.zones["main"].open)
    job = await post_job(carla, plumbing, amount=6000)
    await post_ok(carla, f"/v1/jobs/{job}/bids/{await create_bid(tom, job)}/accept")
    stripe.confirm(await intent_for(stripe, 6000))
    await refuse_strangers(scenario, stripe, carla, job)
    await deliver(scenario, stripe, 1)
    held = (await carla.socket.wait_for("payment.authorized", job))["data"]["payment"]
    assert (held["kind"], held["amount"]) == ("hold", 6000)

    # Another price: the first hold is canceled and the second one is authorized. The client sees that a new payment was
    # requested.
    proposal = (await post_ok(tom, f"/v1/jobs/{job}/price-proposals", amount=7000))["proposal"]["id"]
    await post_ok(carla, f"/v1/jobs/{job}/price-proposals/{proposal}/accept")
    assert (await carla.socket.wait_for("PRICE_CHANGED", job))["data"]["paymentIntentUpdated"] is True
    second = await intent_for(stripe, 7000)
    await wait_until(lambda: next(iter(stripe.intents.values()))["status"] == "canceled")
    stripe.confirm(second)
    await deliver(scenario, stripe, 2)

    codes = (await carla.get(f"/v1/jobs/{job}"))["job"]["codes"]
    await post_ok(tom, f"/v1/jobs/{job}/start", code=codes["start"])
    assert status_and_code(await tom.post(f"/v1/jobs/{job}/price-proposals", {"amount": 1})) == (409, "price_locked")
    await post_ok(tom, f"/v1/jobs/{job}/complete", code=codes["completion"])
    assert stripe.intents[second]["amount_received"] == 0
    await post_ok(carla, f"/v1/jobs/{job}/confirm")
    paid = (await tom.socket.wait_for("PAYMENT_CAPTURED", job))["data"]
    assert (paid["status"], paid["paymentId"]) == ("PAID", second)
    await deliver(scenario, stripe, 3)
    assert len(carla.socket.received("PAYMENT_CAPTURED", job)) == 1
    view = (await carla.get(f"/v1/jobs/{job}"))["job"]
    assert (view["status"], view["paid_amount"], view["refunded_amount"]) == ("paid", 7000, 0)
    assert sorted(i["amount_received"] for i in stripe.intents.values()) == [0, 7000] and not stripe.refunds
    items = (await scenario.admin.get(f"/v1/jobs/{job}/payments"))["items"]
    assert sorted((item["status"], item["amount"]) for item in items) == [("captured", 7000), ("released", 6000)]

    # The app charges a tip, and ops refund a part of it and of the price at Stripe: the refunds' webhooks come first.
    tip = stripe._create_intent({"amount": "900", "currency": "usd", "capture_method": "automatic"})
    tip["metadata"] = {"callout_job": job}
    stripe.events.clear()
    stripe.confirm(tip["id"])
    for intent, amount in ((tip["id"], "300"), (tip["id"], "100"), (second, "2000")):
        stripe._create_refund({"payment_intent": intent, "amount": amount})
    [_, *refunds], every = stripe.events, stripe.events[:]
    for events in (refunds, every):
        stripe.events[:] = events
        await deliver(scenario, stripe, 4)
    view = (await carla.get(f"/v1/jobs/{job}"))["job"]
    assert (view["paid_amount"], view["refunded_amount"]) == (7900, 2400)


async def refuse_strangers(scenario: Scenario, stripe: StripeServer, carla: Person, job: str) -> None:
    """A webhook with no, a wrong or an old signature gets 401; other adapters get 404; a large body gets 413. A signed
    webhook without an effect gets 200. None of them gets a 5xx or changes the job.
    """
    before = (await carla.get(f"/v1/jobs/{job}"))["job"]["version"]
    captured = {"id": "pi_x", "status": "succeeded", "amount": 6000, "amount_received": 6000, "currency": "usd"}
    event: dict[str, Any] = {"type": "payment_intent.succeeded", "data": {"object": captured}}
    named = {**event, "data": {"object": {**captured, "metadata": {"callout_job": job}}}}
    body, headers = stripe.signed(named)
    now = time.time()
    refused: list[tuple[bytes, dict[str, str]]] = [
        (body, {}),
        (body, {"Stripe-Signature": "t=1,v1=0"}),
        (body, {"Stripe-Signature": "\xff,,,=,t=" + "9" * 4000}),
        (body + b" ", headers),
        stripe.signed(named, at_s=now - 301),
        stripe.signed(named, at_s=now + 400),
        (b"", {}),
        (b"\xff\x00", headers),
    ]
    for content, sent in refused:
        reply = await post(scenario, WEBHOOKS, content, sent)
        assert status_and_code(reply) == (401, "unauthenticated"), (content, sent)
    for adapter in ("outside", "test", "paypal", "..%2f", "%00"):
        assert (await post(scenario, f"/v1/payments/webhooks/{adapter}", body, headers)).status_code == 404, adapter
    assert (await post(scenario, WEBHOOKS, b"x" * 2_000_000, headers)).status_code == 413
    objects = [
        *(event, {"type": "customer.created", "data": {"object": {}}}, {"type": 7}, [], None, {}, "text", 1e400),
        {"type": "payment_intent.succeeded", "data": {"object": None}},
        {"type": "payment_intent.succeeded", "data": {"object": {**captured, "amount_received": -5}}},
        {"type": "payment_intent.succeeded", "data": {"object": {**captured, "amount_received": 10**30}}},
        {"type": "payment_intent.succeeded", "data": {"object": {**captured, "currency": "🙂"}}},
        {"type": "payment_intent.succeeded", "data": {"object": {**captured, "metadata": {"callout_job": "../x"}}}},
        {"type": "payment_intent.succeeded", "data": {"object": {**captured, "metadata": {"callout_job": "\x00"}}}},
        {
            "type": "refund.created",
            "data": {"object": {"id": "re_1", "status": "succeeded", "amount": 1, "currency": "usd"}},
        },
    ]
    for meaningless in objects:
        content, sent = stripe.signed(meaningless)  # type: ignore[arg-type]
        assert (await post(scenario, WEBHOOKS, content, sent)).status_code == 200, json.dumps(meaningless)
    deep = b"[" * 60_000
    at = {"Stripe-Signature": sign(WEBHOOK_SECRET, deep, round(now))}
    assert (await post(scenario, WEBHOOKS, deep, at)).status_code == 200
    assert (await carla.get(f"/v1/jobs/{job}"))["job"]["version"] == before


async def post(scenario: Scenario, path: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
    """Send a webhook."""
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    return await scenario.http.post(path, content=content, headers=raw)  # type: ignore[arg-type]
