"""The delivery of pushes: a queue, workers that send its messages, and bounded retries. A subclass sends one message.

Delivery is best effort by design. A push only wakes a phone; the offer or notification itself is in the log and in SQL.
So no caller ever waits for a push: a full queue drops it, an unreachable receiver is tried a few times and then given
up, and a message whose offer has expired is not sent. Every outcome is counted, and failures are logged at intervals.
"""

from __future__ import annotations

import abc
import asyncio
import random
from typing import Literal, NamedTuple, Self

import msgspec
import structlog
from prometheus_client import Counter

from engine.clock import now_ms
from engine.process.loops import not_cancelled

WORKER_COUNT = 16
MAX_QUEUED = 2_000
MAX_ATTEMPTS = 3
TIMEOUT_S = 5.0
RETRY_PAUSE_S = 0.5
MAX_PAUSE_S = 10.0
"""The longest pause that a receiver may request by ``Retry-After``: a worker waits for it. A message for which a longer
one is requested is given up."""
LOG_INTERVAL_S = 10.0

PushOutcome = Literal["sent", "failed", "refused", "late", "dropped", "inactive", "gone"]

log = structlog.get_logger(__name__)


class PushMessage(msgspec.Struct, frozen=True):
    """One push to one user. ``body`` is JSON; ``deadline`` is the time (ms since the Unix epoch) after which the push
    is useless (0: never). ``user`` is the user whose devices are added ("": none). ``token`` is that of the one device
    to which the push goes ("": the receiver of pushes decides).
    """

    kind: Literal["offer", "notification"]
    body: bytes
    deadline: int = 0
    user: str = ""
    token: str = ""


class Attempt(NamedTuple):
    """The result of one attempt: the outcome, or None if the message may be sent again, ``pause_s`` seconds later or
    more.
    """

    outcome: PushOutcome | None
    problem: str = ""
    pause_s: float = 0.0


class PushDelivery(abc.ABC):
    """A queue of messages that are sent, ``WORKER_COUNT`` at a time, while the ``async with`` block runs. ``counter``
    counts them by kind and outcome.
    """

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._queue: asyncio.Queue[tuple[PushMessage, Attempt | None]] = asyncio.Queue(MAX_QUEUED)
        self._workers: list[asyncio.Task[None]] = []
        self._logged_at = float("-inf")

    @abc.abstractmethod
    async def _send(self, message: PushMessage) -> Attempt:
        """Send a message once."""

    async def __aenter__(self) -> Self:
        self._workers = [asyncio.create_task(self._send_queued(), name=f"push-{n}") for n in range(WORKER_COUNT)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def queue_message(self, message: PushMessage, last: Attempt | None = None) -> None:
        """Queue a message. If the queue is full, drop and count the message. This never waits. ``last`` is an attempt
        that was made before: it counts, and its pause is kept.
        """
        try:
            self._queue.put_nowait((message, last))
        except asyncio.QueueFull:
            self._count_outcome(message, "dropped", "too many pushes wait")

    async def wait_until_sent(self) -> None:
        """Wait until every queued message is sent or given up."""
        await self._queue.join()

    async def _send_queued(self) -> None:
        while not_cancelled():
            message, last = await self._queue.get()
            try:
                await self._deliver(message, last)
            except Exception:  # a task boundary: one bad message must not stop the others
                log.exception("push_crashed", kind=message.kind)
            finally:
                self._queue.task_done()

    async def _deliver(self, message: PushMessage, last: Attempt | None) -> None:
        """Send a message, at most ``MAX_ATTEMPTS`` times, and count the outcome."""
        for number in range(1 if last else 0, MAX_ATTEMPTS):
            if last:
                if last.pause_s > MAX_PAUSE_S:
                    break
                # Full jitter: a receiver that is back does not get all retries at once.
                await asyncio.sleep(max(last.pause_s, random.uniform(0, RETRY_PAUSE_S * 2**number)))
            last = await self._try(message, last.problem if last else "")
            if last.outcome is not None:
                return self._count_outcome(message, last.outcome, last.problem)
        return self._count_outcome(message, "failed", last.problem if last else "")

    async def _try(self, message: PushMessage, problem: str) -> Attempt:
        """Send a message once, unless its deadline has passed. ``problem`` is that of the attempt before."""
        if message.deadline and now_ms() >= message.deadline:
            return Attempt("late", problem)
        try:
            # httpx limits each phase only; a receiver that sends single bytes would block a worker without end.
            async with asyncio.timeout(TIMEOUT_S):
                return await self._send(message)
        except TimeoutError as error:
            return Attempt(None, str(error) or type(error).__name__)

    def _count_outcome(self, message: PushMessage, outcome: PushOutcome, problem: str = "") -> None:
        """Count an outcome. Log a failure, at most one every ``LOG_INTERVAL_S`` seconds."""
        self._counter.labels(message.kind, outcome).inc()
        now = asyncio.get_running_loop().time()
        if outcome != "sent" and now - self._logged_at > LOG_INTERVAL_S:
            self._logged_at = now
            log.warning("push_" + outcome, kind=message.kind, problem=problem, quiet_s=LOG_INTERVAL_S)


def attempt_of_status(status: int, retry_after: str = "") -> Attempt:
    """Return the result of an attempt that was answered with an HTTP status. A ``Retry-After`` that is a date is
    ignored, because the clocks of two hosts differ.
    """
    if 200 <= status < 300:
        return Attempt("sent")
    if status < 500 and status != 429:
        return Attempt("refused", f"HTTP {status}")
    pause = retry_after.strip()
    pause_s = float(pause[:9]) if pause.isascii() and pause.isdigit() else 0.0
    return Attempt(None, f"HTTP {status}", pause_s)
