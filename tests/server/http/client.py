"""An HTTP client for these tests that checks each successful reply against the route table, and functions that read
refusals.
"""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from server.api.route import Route
from server.api.routes import ROUTES

ORIGIN = "https://app.example"
HERE = {"lat": 52.52, "lon": 13.405}


class Client:
    """Sends requests as one user or without a token, and checks each successful reply against the route table."""

    def __init__(self, http: httpx.AsyncClient, token: str = "", user: str = "") -> None:
        self.http = http
        self.token = token
        self.user = user

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send ``body`` (bytes unchanged, any other value as JSON) and return the response. ``If_Match=…`` sets the
        header If-Match.
        """
        request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            request_headers.setdefault("Authorization", f"Bearer {self.token}")
        raw = body if isinstance(body, bytes) or body is None else msgspec.json.encode(body)
        answer = await self.http.request(method, path, content=raw, headers=request_headers)
        is_json = answer.headers.get("content-type") != "application/zip"
        if answer.is_success and method != "HEAD" and is_json:
            check_reply_type(method, path.partition("?")[0], answer)
        return answer


def check_reply_type(method: str, path: str, answer: httpx.Response) -> None:
    """Decode a successful reply as the reply type of its route. Raises ``msgspec.ValidationError`` if a field is
    missing or unknown.
    """
    route = route_of(method, path)
    is_csv = answer.headers.get("content-type", "").startswith("text/csv")
    if route is not None and route.reply not in (None, dict) and not is_csv:
        msgspec.json.decode(answer.content, type=route.reply)


def route_of(method: str, path: str) -> Route | None:
    """Return the row of the route table that serves this request: the first that matches, as in the router. None if no
    row matches.
    """
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
    """Return the status and the code of a refusal. Assert that its body is a problem object with the request's id."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    problem = answer.json()
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["x-request-id"]
    return answer.status_code, problem["code"]


def pointers(answer: httpx.Response) -> set[str]:
    """Return the JSON pointers of the fields that a refusal with the code `invalid` names."""
    assert code_of(answer)[1] == "invalid"
    return {wrong["pointer"] for wrong in answer.json()["errors"]}
