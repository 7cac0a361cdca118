"""The sender of Web Push: the pushes to browsers, in two queues.

The workers of the first queue try each message once; those of the second one make the further attempts. A push service
that did not take a message gets the next ones from the second queue, until it answers. So a push service that is down,
or an endpoint that a user made to be slow, delays no push to another one. A device whose subscription has ended is
removed.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Self

from engine.errors import Unavailable
from engine.identity import devices
from engine.identity.push_subscriptions import origin_of_token
from engine.workers import push_delivery
from engine.workers.push_delivery import Attempt, PushDelivery, PushMessage
from engine.workers.web_push_client import WebPushClient

if TYPE_CHECKING:
    from engine.runtime import Engine

SLOW_S = 600.0
"""How long a push service that did not take a message gets the next ones from the second queue, unless it answers."""
MAX_SLOW_ORIGINS = 10_000


class WebPushSender:
    """The delivery of pushes to browsers, while the ``async with`` block runs."""

    def __init__(self, engine: Engine, contact: str) -> None:
        self._client = WebPushClient(engine, contact, max_connections=2 * push_delivery.WORKER_COUNT)
        self._slow = _SlowOrigins()
        self._retries = _Retries(engine, self._client, self._slow)
        self._first = _FirstAttempts(engine, self._client, self._slow, self._retries)

    async def __aenter__(self) -> Self:
        await self._retries.__aenter__()
        await self._first.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._first.__aexit__(*exc)
        await self._retries.__aexit__(*exc)
        await self._client.close()

    def queue_message(self, message: PushMessage) -> None:
        """Queue a message to the browser with ``message.token``. If the queue is full, drop and count it. This never
        waits.
        """
        is_slow = origin_of_token(message.token) in self._slow
        (self._retries if is_slow else self._first).queue_message(message)

    async def wait_until_sent(self) -> None:
        """Wait until every queued message is sent or given up."""
        await self._first.wait_until_sent()
        await self._retries.wait_until_sent()


class _SlowOrigins:
    """The origins of push services that did not take a message, each for ``SLOW_S`` seconds."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def __contains__(self, origin: str) -> bool:
        return self._until.get(origin, 0.0) > time.monotonic()

    def add(self, origin: str) -> None:
        """Add an origin. If there are too many, the one that was added first is forgotten."""
        self._until.pop(origin, None)
        self._until[origin] = time.monotonic() + SLOW_S
        if len(self._until) > MAX_SLOW_ORIGINS:
            del self._until[next(iter(self._until))]

    def discard(self, origin: str) -> None:
        """Remove an origin: its push service has answered."""
        self._until.pop(origin, None)


class _Retries(PushDelivery):
    """The second queue."""

    def __init__(self, engine: Engine, client: WebPushClient, slow: _SlowOrigins) -> None:
        super().__init__(engine.metrics.web_pushes)
        self._archive = engine.archive
        self._client = client
        self._slow = slow

    async def _send(self, message: PushMessage) -> Attempt:
        attempt = await self._client.send(message)
        if attempt.outcome is not None:
            self._slow.discard(origin_of_token(message.token))
        return attempt

    async def _try(self, message: PushMessage, problem: str) -> Attempt:
        attempt = await super()._try(message, problem)
        if attempt.outcome == "gone":  # here and not in _send, whose time is limited: the database may need longer
            with contextlib.suppress(Unavailable):  # the next push to the device gets the same answer
                await devices.remove_ended_device(self._archive, message.token)
        return attempt


class _FirstAttempts(_Retries):
    """The first queue. A message that may be sent again goes to ``retries``."""

    def __init__(self, engine: Engine, client: WebPushClient, slow: _SlowOrigins, retries: _Retries) -> None:
        super().__init__(engine, client, slow)
        self._retries = retries

    async def _deliver(self, message: PushMessage, last: Attempt | None) -> None:
        attempt = await self._try(message, last.problem if last else "")
        if attempt.outcome is not None:
            return self._count_outcome(message, attempt.outcome, attempt.problem)
        self._slow.add(origin_of_token(message.token))
        return self._retries.queue_message(message, attempt)
