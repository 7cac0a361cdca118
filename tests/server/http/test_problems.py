"""The problem object: every refusal has the same form on HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import msgspec
import pytest
from starlette.types import Receive, Scope, Send

from engine.errors import ERROR_OF_CODE, FieldError, Invalid, RateLimited, Taken, TokenExpired, VersionConflict
from server.app import RequestLayer
from server.http.http_metrics import HttpMetrics
from server.schemas import problems
from server.schemas.problems import Problem, WrongMethod


def test_an_unexpected_exception_is_internal() -> None:
    """An exception that is no refusal becomes the code `internal`, and its text is not sent."""
    body = problems.problem_object(ZeroDivisionError("secret"), "req")
    assert (body["code"], body["status"], body["detail"], body["request_id"]) == ("internal", 500, None, "req")
    assert "secret" not in problems.encode_problem(ZeroDivisionError("secret")).decode()


@pytest.mark.parametrize("code", sorted(ERROR_OF_CODE))
def test_every_code_encodes_as_a_problem(code: str) -> None:
    """The problem of each code decodes as the type `Problem`, with code, status and type."""
    problem = msgspec.json.decode(problems.encode_problem(ERROR_OF_CODE[code]("why"), "req"), type=Problem)
    assert (problem.code, problem.status, problem.type) == (code, ERROR_OF_CODE[code].status, f"/problems/{code}")


def test_field_errors_are_listed() -> None:
    """Field errors are listed in `errors`, each with pointer and detail."""
    problem = problems.problem_object(Invalid(errors=[FieldError("/lat", "Required")]))
    assert problem["errors"] == [{"pointer": "/lat", "detail": "Required"}]


def test_a_version_conflict_contains_the_job() -> None:
    """The problem of a version conflict contains the present job as JSON in the member `job`."""
    problem = json.loads(problems.encode_problem(VersionConflict(job=b'{"id":"job_1","version":7}')))
    assert problem["job"] == {"id": "job_1", "version": 7}


def test_headers_of_refusals() -> None:
    """A 401 has `WWW-Authenticate`, a 429 `Retry-After` (whole seconds, at least 1), a 405 `Allow`, and a repeated
    refusal `Idempotency-Replayed`.
    """
    assert dict(problems.problem_headers(TokenExpired()))[b"www-authenticate"].startswith(
        b'Bearer realm="callout", error='
    )
    assert dict(problems.problem_headers(RateLimited(retry_after=0.05)))[b"retry-after"] == b"1"
    assert dict(problems.problem_headers(RateLimited(retry_after=2.2)))[b"retry-after"] == b"3"
    assert dict(problems.problem_headers(WrongMethod(["POST", "GET"])))[b"allow"] == b"GET, POST"
    assert dict(problems.problem_headers(Taken(repeated=True)))[b"idempotency-replayed"] == b"true"


@pytest.mark.parametrize(("method", "code"), [("GET", "unavailable"), ("POST", "indeterminate")])
async def test_a_request_that_the_end_of_the_server_cancels_gets_a_problem(method: str, code: str) -> None:
    """A request that is cancelled before its answer gets a problem object, and no exception leaves the layer: 503 if it
    only reads, else 504 with its request key.
    """
    begun, sent = asyncio.Event(), list[MutableMapping[str, Any]]()

    async def wait_for_ever(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["key"] = "k"
        begun.set()
        await asyncio.Event().wait()

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/v1/jobs", "headers": []}
    request = asyncio.create_task(RequestLayer(wait_for_ever, HttpMetrics())(scope, receive, send))
    await begun.wait()
    request.cancel()
    await request
    start, body = sent
    problem = json.loads(body["body"])
    assert (start["status"], problem["code"]) == (ERROR_OF_CODE[code].status, code)
    assert (b"content-type", problems.MEDIA_TYPE) in start["headers"]
    assert problem.get("key") == ("k" if method == "POST" else None)
