"""The push adapter against a real HTTP receiver: up, down, slow, broken."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time

import pytest
from structlog.testing import capture_logs

from engine.clock import now_ms
from engine.process.metrics import Metrics
from engine.workers import push_sender
from engine.workers.push_sender import Message, PushSender
from tests.faults.receiver import receiving

SECRET = "a secret"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_sender, "PAUSE_S", 0.01)


def counted(metrics: Metrics, outcome: str, kind: str = "offer") -> float:
    """How many pushes of a kind ended so."""
    return metrics.registry.get_sample_value("callout_pushes_total", {"kind": kind, "outcome": outcome}) or 0.0


async def posted(url: str, *messages: Message) -> Metrics:
    """Post the messages, wait until each is sent or given up, and give the counts."""
    metrics = Metrics()
    async with PushSender(url, SECRET, metrics) as poster:
        for message in messages:
            poster.put(message)
        await poster.drain()
    return metrics


async def test_a_receiver_that_is_down_is_given_up_on() -> None:
    """Nobody listens: the push is counted as failed and complained of once, whatever the number."""
    async with receiving() as receiver:
        gone = receiver.url
    with capture_logs() as said:
        metrics = await posted(gone, *[Message("offer", b"{}")] * 20)
    assert counted(metrics, "failed") == 20
    assert [entry["event"] for entry in said] == ["push_failed"]


async def test_a_refusal_is_not_tried_again() -> None:
    """A 4xx will be a 4xx the next time too."""
    async with receiving(lambda _: 410) as receiver:
        metrics = await posted(receiver.url, Message("offer", b"{}"))
    assert (len(receiver.bodies), counted(metrics, "refused")) == (1, 1)


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_broken_receiver_is_tried_a_few_times(status: int) -> None:
    """A 5xx or a 429 is tried three times, then given up."""
    async with receiving(lambda _: status) as receiver:
        metrics = await posted(receiver.url, Message("offer", b"{}"))
    assert (len(receiver.bodies), counted(metrics, "failed")) == (3, 1)


async def test_a_redirect_is_not_followed() -> None:
    """What is signed for one receiver goes to no other."""
    async with receiving(lambda _: 302) as receiver:
        metrics = await posted(receiver.url, Message("offer", b"{}"))
    assert counted(metrics, "refused") == 1


async def test_an_offer_that_has_run_out_is_not_pushed() -> None:
    """Nobody is woken for what he can no longer have."""
    async with receiving() as receiver:
        metrics = await posted(receiver.url, Message("offer", b"{}", now_ms() - 1))
    assert (receiver.bodies, counted(metrics, "late")) == ([], 1)


async def test_a_silent_receiver_is_left_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes the request and never answers costs a worker the timeout, not for ever."""
    monkeypatch.setattr(push_sender, "TIMEOUT_S", 0.05)
    async with receiving(lambda _: None) as receiver:
        metrics = await posted(receiver.url, Message("offer", b"{}"))
    assert (len(receiver.bodies), counted(metrics, "failed")) == (3, 1)


async def test_putting_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a silent receiver and a full queue, what more comes is dropped at once, and counted."""
    monkeypatch.setattr(push_sender, "QUEUE", 10)
    metrics = Metrics()
    async with receiving(lambda _: None) as receiver, PushSender(receiver.url, SECRET, metrics) as poster:
        began = time.perf_counter()
        for _ in range(1_000):
            poster.put(Message("offer", b"{}"))
        assert time.perf_counter() - began < 0.5
    assert counted(metrics, "dropped") == 990


async def test_no_more_than_so_many_at_once() -> None:
    """The receiver never meets more requests at a time than there are workers."""
    async with receiving() as receiver:
        metrics = await posted(receiver.url, *[Message("notification", b"{}")] * 200)
    assert counted(metrics, "sent", "notification") == 200
    assert receiver.busiest <= push_sender.WORKERS


async def test_one_that_recovers_gets_it() -> None:
    """Two failures and then a success is a success."""
    async with receiving(lambda number: 200 if number == 2 else 503) as receiver:
        metrics = await posted(receiver.url, Message("offer", b'{"a":1}', now_ms() + 60_000))
    assert receiver.bodies == [b'{"a":1}'] * 3
    assert counted(metrics, "sent") == 1


async def test_the_signature_proves_body_and_time() -> None:
    """``t`` is now, and ``v1`` the HMAC-SHA256 of ``t.body`` under the secret, as a receiver computes it."""
    body = '{"name":"Zoë"}'.encode()
    async with receiving() as receiver:
        await posted(receiver.url, Message("offer", body))
    moment, digest = (part.split("=", 1)[1] for part in receiver.signatures[0].split(","))
    assert abs(int(moment) - time.time()) <= 2
    signed = moment.encode() + b"." + receiver.bodies[0]
    assert hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest() == digest


async def test_leaving_does_not_wait_for_what_is_queued() -> None:
    """A server that stops does not hang on a silent receiver."""
    async with (
        receiving(lambda _: None) as receiver,
        asyncio.timeout(2),
        PushSender(receiver.url, SECRET, Metrics()) as poster,
    ):
        poster.put(Message("offer", b"{}"))
