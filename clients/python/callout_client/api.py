"""HTTP requests with idempotency keys and retries. All users of a process can share one `Api`."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from callout_client.backoff import Backoff
from callout_client.errors import Refusal, Unreachable


class Api:
    """A sender of requests over one bounded connection pool. ``connections`` is the most connections at once.

    Rejected: a pool for each user, because hundreds of sockets would then be open for one request a minute each.
    """

    def __init__(self, url: str, *, connections: int = 32) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.AsyncClient(
            base_url=self.url,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            timeout=httpx.Timeout(30.0, pool=None),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        body: dict[str, Any] | None = None,
        key: str = "",
        trace: str = "",
        patience_s: float = 30.0,
        image: bytes | None = None,
    ) -> dict[str, Any]:
        """Send one request. Return the decoded body of the response; ``{}`` if the response has no JSON object. A
        replayed response has ``repeated``.

        After a lost response or a temporary refusal, send the request again with the same ``key``, for at most
        ``patience_s`` seconds. An empty ``key`` is replaced by a new key. ``trace`` is sent as ``traceparent``.
        ``image`` is sent as the body instead of ``body``. Raises Refusal, or Unreachable if no response arrives in that
        time.
        """
        headers = {"idempotency-key": key or str(uuid4())} if method != "GET" else {}
        if token:
            headers["authorization"] = f"Bearer {token}"
        if trace:
            headers["traceparent"] = trace
        backoff, deadline = Backoff(), time.monotonic() + patience_s
        while True:
            failure: Refusal | Unreachable
            try:
                return await self._send_once(method, path, headers, body, image)
            except Refusal as refusal:
                if not refusal.temporary:
                    raise
                failure = refusal
            except httpx.TransportError as error:
                failure = Unreachable(f"{method} {self.url}{path}: {str(error) or type(error).__name__}")
            wait = getattr(failure, "retry_after", None) or backoff.next_s()
            if time.monotonic() + wait > deadline:
                raise failure
            await asyncio.sleep(wait)

    async def upload(self, path: str, image: bytes, *, token: str) -> dict[str, Any]:
        """Upload an image (JPEG, PNG or WebP) to ``/v1/files?for=…`` or ``/v1/jobs/{id}/photos``. A repeated upload of
        the same image returns the same file, so that a lost response does no harm. Raises the errors of ``request``.
        """
        return await self.request("POST", path, token=token, image=image)

    async def _send_once(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None, image: bytes | None
    ) -> dict[str, Any]:
        response = await self._http.request(method, path, headers=headers, json=body, content=image)
        answer = _decode_body(response)
        if response.is_success:
            return answer | ({"repeated": True} if "idempotency-replayed" in response.headers else {})
        answer.setdefault("code", "internal")
        answer.setdefault("title", f"{method} {path} answered {response.status_code}")
        answer.setdefault("temporary", response.status_code in (502, 503, 504))
        raise Refusal(answer)


def _decode_body(response: httpx.Response) -> dict[str, Any]:
    """Return the body if it is a JSON object; else ``{}``, for example for the error page of a proxy."""
    try:
        answer = msgspec.json.decode(response.content or b"{}")
    except msgspec.DecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
