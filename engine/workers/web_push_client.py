"""The client of Web Push: a message is encrypted for one browser and posted to its push service (RFC 8030)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.clock import now_ms
from engine.identity.push_subscriptions import Subscription, parse_subscription
from engine.process.vapid import open_vapid_key
from engine.workers.push_delivery import TIMEOUT_S, Attempt, PushMessage, attempt_of_status
from engine.workers.web_push_encryption import encrypt_text

if TYPE_CHECKING:
    from engine.runtime import Engine

NOTIFICATION_TTL_S = 86_400
"""How long a push service keeps a notification for a browser that is off. An offer is kept until its deadline."""
MAX_REPLY_BYTES = 4_096
"""More of a reply is not read: an endpoint is a user's choice."""
ENDED_STATUSES = (404, 410)
"""By these a push service says that the subscription has ended."""
MAX_TITLE, MAX_TEXT = 120, 400
"""The most characters of a title and of a text. Longer ones are cut, so that each push fits one record."""


class WebPushClient:
    """The connections to push services."""

    def __init__(self, engine: Engine, contact: str, max_connections: int) -> None:
        import httpcore

        from engine.workers.public_network import PublicNetwork

        self._trusted = engine.settings.web_push_origins
        self._key = open_vapid_key(engine.signer, contact)
        hosts = [_host_and_port(each) for each in self._trusted]
        tls = httpcore.default_ssl_context()
        tls.load_default_certs()  # also those of the machine, and of SSL_CERT_FILE, for a push service of one's own
        self._network = PublicNetwork(hosts)
        self._pool = httpcore.AsyncConnectionPool(
            tls, max_connections=max_connections, keepalive_expiry=60, network_backend=self._network
        )

    async def send(self, message: PushMessage) -> Attempt:
        """Send a message once."""
        import httpcore

        from engine.workers.public_network import PrivateAddress

        try:
            to = parse_subscription(message.token, self._trusted)
        except ValueError as error:
            return Attempt("refused", str(error))
        try:
            status, retry_after = await self._post(message, to)
        except PrivateAddress as error:
            return Attempt("refused", str(error))
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            return Attempt(None, str(error) or type(error).__name__)
        if status in ENDED_STATUSES:
            return Attempt("gone", f"HTTP {status}")
        return attempt_of_status(status, retry_after)

    async def _post(self, message: PushMessage, to: Subscription) -> tuple[int, str]:
        """Post a message; return the status and the header ``Retry-After``."""
        left_s = (message.deadline - now_ms()) // 1000
        headers: dict[bytes | str, bytes | str] = {
            "Authorization": self._key.authorization(to.origin),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(max(0, left_s) if message.deadline else NOTIFICATION_TTL_S),
            "Urgency": "high" if message.kind == "offer" else "normal",
        }
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
        body = encrypt_text(shown_text(message.body), to)
        request = self._pool.stream(
            "POST", to.endpoint, headers=headers, content=body, extensions={"timeout": timeouts}
        )
        async with request as reply:
            await _skip_body(reply)
            named = {name.lower(): value for name, value in reply.headers}
            return reply.status, named.get(b"retry-after", b"").decode("latin-1")

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()
        self._network.close()


class _OfferedJob(msgspec.Struct):
    id: str


class _Offer(msgspec.Struct):
    job: _OfferedJob
    expires_at: str | None = None


class _Notice(msgspec.Struct):
    title: str = ""
    body: str = ""
    job: str | None = None
    room: str | None = None


class _PushBody(msgspec.Struct):
    at: str
    offer: _Offer | None = None
    notice: _Notice | None = None
    notification: _Notice | None = None


def shown_text(body: bytes) -> bytes:
    """Return what a browser gets of a push: JSON with the kind, the texts, the ids and the times."""
    push = msgspec.json.decode(body, type=_PushBody)
    texts = push.notice or push.notification or _Notice()
    shown = {
        "kind": "offer" if push.offer else "notification",
        "title": texts.title[:MAX_TITLE],
        "body": texts.body[:MAX_TEXT],
        "job": push.offer.job.id if push.offer else texts.job,
        "room": texts.room,
        "at": push.at,
        "until": push.offer.expires_at if push.offer else None,
    }
    return msgspec.json.encode({name: value for name, value in shown.items() if value is not None})


async def _skip_body(reply: object) -> None:
    """Read a short body, so that the connection can be used again. A long one ends the connection."""
    import httpcore

    assert isinstance(reply, httpcore.Response)
    read = 0
    async for part in reply.aiter_stream():
        read += len(part)
        if read > MAX_REPLY_BYTES:
            break


def _host_and_port(origin: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(origin)
    return f"{parts.hostname}:{parts.port or {'http': 80, 'https': 443}[parts.scheme]}"
