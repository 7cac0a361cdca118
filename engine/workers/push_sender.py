"""The push sender: signed HTTP POSTs to one receiver, which forwards them to APNs, FCM or another service."""

from __future__ import annotations

import hashlib
import hmac

from engine.clock import now_ms
from engine.process.metrics import Metrics
from engine.workers.push_delivery import (
    TIMEOUT_S,
    WORKER_COUNT,
    Attempt,
    PushDelivery,
    PushMessage,
    attempt_of_status,
)


def signature_of(secret: str, body: bytes, at_s: int) -> str:
    """Return the value of the header ``Callout-Signature`` for ``body``, sent at ``at_s`` (Unix seconds).

    The time is signed with the body, so that a receiver can refuse an old message that is replayed.
    """
    digest = hmac.new(secret.encode(), b"%d." % at_s + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


class PushSender(PushDelivery):
    """The delivery of pushes to the receiver at ``url``."""

    def __init__(self, url: str, secret: str, metrics: Metrics) -> None:
        super().__init__(metrics.pushes)
        self._url = url
        self._secret = secret
        import httpx  # here, because a start without a push receiver then needs 10 % less CPU time

        self._client = httpx.AsyncClient(
            timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=WORKER_COUNT), follow_redirects=False
        )

    async def _send(self, message: PushMessage) -> Attempt:
        import httpx

        headers = {
            "Content-Type": "application/json",
            "Callout-Signature": signature_of(self._secret, message.body, now_ms() // 1000),
        }
        try:
            reply = await self._client.post(self._url, content=message.body, headers=headers)
        except httpx.HTTPError as error:
            return Attempt(None, str(error) or type(error).__name__)
        return attempt_of_status(reply.status_code, reply.headers.get("retry-after", ""))

    async def __aexit__(self, *exc: object) -> None:
        await super().__aexit__(*exc)
        await self._client.aclose()
