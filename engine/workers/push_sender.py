"""The push sender: signed HTTP POSTs to one receiver, which forwards them to APNs, FCM or another service.

Delivery is best effort by design. A push only wakes a phone; the offer or notification itself is in the log and in SQL.
So no caller ever waits for a push: a full queue drops it, an unreachable receiver is tried a few times and then given
up, and a message whose offer has expired is not sent. Every outcome is counted, and failures are logged at intervals.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
from typing import Literal, Self

import msgspec
import structlog

from engine.clock import now_ms
from engine.process.loops import not_cancelled
from engine.process.metrics import Metrics

WORKER_COUNT = 16
MAX_QUEUED = 2_000
MAX_ATTEMPTS = 3
TIMEOUT_S = 5.0
RETRY_PAUSE_S = 0.5
LOG_INTERVAL_S = 10.0

PushOutcome = Literal["sent", "failed", "refused", "late", "dropped", "inactive"]

log = structlog.get_logger(__name__)


class PushMessage(msgspec.Struct, frozen=True):
    """One push to one user. ``body`` is JSON; ``deadline`` is the time (ms since the Unix epoch) after which the push
    is useless (0: never). ``user`` is whose devices are added ("": none).
    """

    kind: Literal["offer", "notification"]
    body: bytes
    deadline: int = 0
    user: str = ""


def signature_of(secret: str, body: bytes, at_s: int) -> str:
    """Return the value of the header ``Callout-Signature`` for ``body``, sent at ``at_s`` (Unix seconds).

    The time is signed with the body, so that a receiver can refuse an old message that is replayed.
    """
    digest = hmac.new(secret.encode(), b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


class PushSender:
    """A queue of messages that are posted, ``WORKER_COUNT`` at a time, while the ``async with`` block runs."""

    def __init__(self, url: str, secret: str, metrics: Metrics) -> None:
        self._url = url
        self._secret = secret
        self._metrics = metrics
        import httpx  # here, because a start without a push receiver then needs 10 % less CPU time

        self._queue: asyncio.Queue[PushMessage] = asyncio.Queue(MAX_QUEUED)
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=WORKER_COUNT), follow_redirects=False
        )
        self._workers: list[asyncio.Task[None]] = []
        self._logged_at = float("-inf")

    async def __aenter__(self) -> Self:
        self._workers = [asyncio.create_task(self._send_queued(), name=f"push-{n}") for n in range(WORKER_COUNT)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._client.aclose()

    def queue_message(self, message: PushMessage) -> None:
        """Queue a message. If the queue is full, drop and count the message. This never waits."""
        try:
            self._queue.put_nowait(message)
        except asyncio.QueueFull:
            self._count_outcome(message, "dropped", "too many pushes wait")

    async def wait_until_sent(self) -> None:
        """Wait until every queued message is sent or given up."""
        await self._queue.join()

    async def _send_queued(self) -> None:
        while not_cancelled():
            message = await self._queue.get()
            try:
                await self._deliver(message)
            except Exception:  # a task boundary: one bad message must not stop the others
                log.exception("push_crashed", kind=message.kind)
            finally:
                self._queue.task_done()

    async def _deliver(self, message: PushMessage) -> None:
        """Post a message, at most ``MAX_ATTEMPTS`` times, and count the outcome."""
        import httpx

        problem = ""
        for attempt in range(MAX_ATTEMPTS):
            if attempt:
                # Full jitter: a receiver that is back does not get all retries at once.
                await asyncio.sleep(random.uniform(0, RETRY_PAUSE_S * 2**attempt))
            if message.deadline and now_ms() >= message.deadline:
                return self._count_outcome(message, "late", problem)
            try:
                # httpx limits each phase only; a receiver that sends single bytes would block a worker without end.
                async with asyncio.timeout(TIMEOUT_S):
                    status = await self._send(message.body)
            except (httpx.HTTPError, TimeoutError) as error:
                problem = str(error) or type(error).__name__
                continue
            if status < 300:
                return self._count_outcome(message, "sent")
            problem = f"HTTP {status}"
            if status < 500 and status != 429:
                return self._count_outcome(message, "refused", problem)
        return self._count_outcome(message, "failed", problem)

    async def _send(self, body: bytes) -> int:
        """Post a body once; return the HTTP status."""
        headers = {
            "Content-Type": "application/json",
            "Callout-Signature": signature_of(self._secret, body, now_ms() // 1000),
        }
        return (await self._client.post(self._url, content=body, headers=headers)).status_code

    def _count_outcome(self, message: PushMessage, outcome: PushOutcome, problem: str = "") -> None:
        """Count an outcome. Log a failure, at most one every ``LOG_INTERVAL_S`` seconds."""
        self._metrics.pushes.labels(message.kind, outcome).inc()
        now = asyncio.get_running_loop().time()
        if outcome != "sent" and now - self._logged_at > LOG_INTERVAL_S:
            self._logged_at = now
            log.warning("push_" + outcome, kind=message.kind, problem=problem, quiet_s=LOG_INTERVAL_S)
