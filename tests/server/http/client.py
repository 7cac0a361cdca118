"""An HTTP client for these tests: it holds every good answer to the route table, and takes refusals apart."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from server.api.route import Route
from server.api.routes import ROUTES

ORIGIN = "https://app.example"
HERE = {"lat": 52.52, "lon": 13.405}


class Client:
    """Requests in one person's name; every good answer is held to the type that the table promises."""

    def __init__(self, http: httpx.AsyncClient, token: str = "", user: str = "") -> None:
        self.http = http
        self.token = token
        self.user = user

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send ``body`` (bytes as they are, all else as JSON); ``If_Match=…`` is the header If-Match."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        raw = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        answer = await self.http.request(method, path, content=raw, headers=sent)
        if answer.is_success and method != "HEAD":
            hold_to_promise(method, path.partition("?")[0], answer)
        return answer


def hold_to_promise(method: str, path: str, answer: httpx.Response) -> None:
    """A good answer decodes as its route's type, with no field missing and none unknown."""
    route = route_of(method, path)
    if route is not None and route.reply not in (None, dict):
        msgspec.json.decode(answer.content, type=route.reply)


def route_of(method: str, path: str) -> Route | None:
    """The line of the table that serves this request: the first that fits, as in the router."""
    steps = path.split("/")
    for route in ROUTES:
        wanted = route.path.split("/")
        same = len(wanted) == len(steps) and all(
            w.startswith("{") or w == s for w, s in zip(wanted, steps, strict=True)
        )
        if same and route.method == method:
            return route
    return None


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which must be a whole problem object naming its request."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    told = answer.json()
    assert told["status"] == answer.status_code
    assert told["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, told["code"]


def pointers(answer: httpx.Response) -> set[str]:
    """The fields that a refusal names."""
    assert code_of(answer)[1] == "invalid"
    return {wrong["pointer"] for wrong in answer.json()["errors"]}
