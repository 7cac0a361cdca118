"""Callout's HTTP interface as an outside client uses it. One `Api` serves all people of a process."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from callout_client.backoff import Backoff
from callout_client.failures import Refusal, Unreachable


class Api:
    """Requests under request keys, over one bounded pool of connections.

    A pool for each person would hold hundreds of sockets open for a request a minute.
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
        """Let go of the connections."""
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
    ) -> dict[str, Any]:
        """The decoded answer, ``{}`` where it has no body, with ``repeated`` where it was given before. ``key`` is made
        where none is given; ``trace`` is sent as ``traceparent``.

        Lost answers and temporary refusals are repeated with the same key for ``patience_s``. Raises Refusal,
        or Unreachable when no answer came in that time.
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
                return await self._once(method, path, headers, body)
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

    async def _once(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None
    ) -> dict[str, Any]:
        response = await self._http.request(method, path, headers=headers, json=body)
        answer = _decoded(response)
        if response.is_success:
            return answer | ({"repeated": True} if "idempotency-replayed" in response.headers else {})
        answer.setdefault("code", "internal")
        answer.setdefault("title", f"{method} {path} answered {response.status_code}")
        answer.setdefault("temporary", response.status_code in (502, 503, 504))
        raise Refusal(answer)


def _decoded(response: httpx.Response) -> dict[str, Any]:
    """The body where it is a JSON object; a proxy's error page is no object of ours and has no members."""
    try:
        answer = msgspec.json.decode(response.content or b"{}")
    except msgspec.DecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
