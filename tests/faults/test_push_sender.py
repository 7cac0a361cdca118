"""The push sender with a real HTTP receiver that is up, down, slow or broken."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time

import pytest
from structlog.testing import capture_logs

from engine.clock import now_ms
from engine.process.metrics import Metrics
from engine.workers import push_delivery
from engine.workers.push_delivery import PushMessage
from engine.workers.push_sender import PushSender
from tests.faults.receiver import running_receiver

SECRET = "a secret"


@pytest.fixture(autouse=True)
def shorten_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push_delivery, "RETRY_PAUSE_S", 0.01)


def count_pushes(metrics: Metrics, outcome: str, kind: str = "offer") -> float:
    """Return the number of pushes of ``kind`` with this outcome."""
    return metrics.registry.get_sample_value("callout_pushes_total", {"kind": kind, "outcome": outcome}) or 0.0


async def send_pushes(url: str, *messages: PushMessage) -> Metrics:
    """Send the messages, wait until each is sent or given up, and return the metrics."""
    metrics = Metrics()
    async with PushSender(url, SECRET, metrics) as sender:
        for message in messages:
            sender.queue_message(message)
        await sender.wait_until_sent()
    return metrics


async def test_a_receiver_that_is_down_is_given_up_on() -> None:
    """If no process listens at the URL, each push counts as `failed`, and one line is logged for all of them."""
    async with running_receiver() as receiver:
        url = receiver.url
    with capture_logs() as logs:
        metrics = await send_pushes(url, *[PushMessage("offer", b"{}")] * 20)
    assert count_pushes(metrics, "failed") == 20
    assert [entry["event"] for entry in logs] == ["push_failed"]


async def test_a_refusal_is_not_retried() -> None:
    """A push that gets a 4xx status is not sent again and counts as `refused`."""
    async with running_receiver(lambda _: 410) as receiver:
        metrics = await send_pushes(receiver.url, PushMessage("offer", b"{}"))
    assert (len(receiver.bodies), count_pushes(metrics, "refused")) == (1, 1)


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_server_error_is_tried_three_times(status: int) -> None:
    """A push that gets a 5xx status or 429 is sent three times in all and then counts as `failed`."""
    async with running_receiver(lambda _: status) as receiver:
        metrics = await send_pushes(receiver.url, PushMessage("offer", b"{}"))
    assert (len(receiver.bodies), count_pushes(metrics, "failed")) == (3, 1)


async def test_a_redirect_is_not_followed() -> None:
    """A redirect is not followed and counts as `refused`, because the request is signed for one receiver."""
    async with running_receiver(lambda _: 302) as receiver:
        metrics = await send_pushes(receiver.url, PushMessage("offer", b"{}"))
    assert count_pushes(metrics, "refused") == 1


async def test_an_expired_offer_is_not_pushed() -> None:
    """An offer that its technician can no longer accept is not pushed and counts as `late`."""
    async with running_receiver() as receiver:
        metrics = await send_pushes(receiver.url, PushMessage("offer", b"{}", now_ms() - 1))
    assert (receiver.bodies, count_pushes(metrics, "late")) == ([], 1)


async def test_a_silent_receiver_is_left_after_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that never responds blocks a worker only until the timeout; after three attempts the push counts as
    `failed`.
    """
    monkeypatch.setattr(push_delivery, "TIMEOUT_S", 0.05)
    async with running_receiver(lambda _: None) as receiver:
        metrics = await send_pushes(receiver.url, PushMessage("offer", b"{}"))
    assert (len(receiver.bodies), count_pushes(metrics, "failed")) == (3, 1)


async def test_putting_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a silent receiver and a full queue, `put` drops further messages at once, and they count as `dropped`."""
    monkeypatch.setattr(push_delivery, "MAX_QUEUED", 10)
    metrics = Metrics()
    async with running_receiver(lambda _: None) as receiver, PushSender(receiver.url, SECRET, metrics) as sender:
        began = time.perf_counter()
        for _ in range(1_000):
            sender.queue_message(PushMessage("offer", b"{}"))
        assert time.perf_counter() - began < 0.5
    assert count_pushes(metrics, "dropped") == 990


async def test_concurrent_requests_are_limited() -> None:
    """The push sender never has more requests open at the receiver than it has workers."""
    async with running_receiver() as receiver:
        metrics = await send_pushes(receiver.url, *[PushMessage("notification", b"{}")] * 200)
    assert count_pushes(metrics, "sent", "notification") == 200
    assert receiver.max_open_requests <= push_delivery.WORKER_COUNT


async def test_a_receiver_that_recovers_gets_the_push() -> None:
    """A push that fails twice and then succeeds counts as `sent`."""
    async with running_receiver(lambda number: 200 if number == 2 else 503) as receiver:
        metrics = await send_pushes(receiver.url, PushMessage("offer", b'{"a":1}', now_ms() + 60_000))
    assert receiver.bodies == [b'{"a":1}'] * 3
    assert count_pushes(metrics, "sent") == 1


async def test_the_signature_proves_body_and_time() -> None:
    """The signature contains the current time as ``t``, and as ``v1`` the HMAC-SHA256 of ``t.body`` under the secret,
    as a receiver computes it.
    """
    body = '{"name":"Zoë"}'.encode()
    async with running_receiver() as receiver:
        await send_pushes(receiver.url, PushMessage("offer", body))
    moment, digest = (part.split("=", 1)[1] for part in receiver.signatures[0].split(","))
    assert abs(int(moment) - time.time()) <= 2
    signed = moment.encode() + b"." + receiver.bodies[0]
    assert hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest() == digest


async def test_closing_does_not_wait_for_the_queue() -> None:
    """Closing the push sender does not wait for a silent receiver."""
    async with (
        running_receiver(lambda _: None) as receiver,
        asyncio.timeout(2),
        PushSender(receiver.url, SECRET, Metrics()) as sender,
    ):
        sender.queue_message(PushMessage("offer", b"{}"))
