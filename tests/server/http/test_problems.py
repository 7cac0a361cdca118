"""The problem object: every refusal has the same form on HTTP and WebSocket."""

from __future__ import annotations

import json

import msgspec
import pytest

from engine.errors import ERROR_OF_CODE, FieldError, Invalid, RateLimited, Taken, TokenExpired, VersionConflict
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
