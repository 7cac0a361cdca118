"""The problem object: one shape for every refusal, on HTTP and WebSocket alike."""

from __future__ import annotations

import json

import msgspec
import pytest

from engine.errors import ERROR_OF_CODE, FieldError, Invalid, RateLimited, Taken, TokenExpired, VersionConflict
from server.schemas import problems
from server.schemas.problems import Problem, WrongMethod


def test_a_bug_is_told_without_its_text() -> None:
    """An exception of any other kind is `internal`, and says nothing of itself."""
    told = problems.problem_object(ZeroDivisionError("secret"), "req")
    assert (told["code"], told["status"], told["detail"], told["request_id"]) == ("internal", 500, None, "req")
    assert "secret" not in problems.encode_problem(ZeroDivisionError("secret")).decode()


@pytest.mark.parametrize("code", sorted(ERROR_OF_CODE))
def test_every_code_has_the_one_shape(code: str) -> None:
    """Each code's problem decodes as the documented type, with nothing missing."""
    told = msgspec.json.decode(problems.encode_problem(ERROR_OF_CODE[code]("why"), "req"), type=Problem)
    assert (told.code, told.status, told.type) == (code, ERROR_OF_CODE[code].status, f"/problems/{code}")


def test_wrong_fields_are_listed() -> None:
    """Field errors become pointers and details."""
    told = problems.problem_object(Invalid(errors=[FieldError("/lat", "Required")]))
    assert told["errors"] == [{"pointer": "/lat", "detail": "Required"}]


def test_extra_members_stand_beside_the_others() -> None:
    """A version conflict carries the present job, embedded as the JSON it is."""
    told = json.loads(problems.encode_problem(VersionConflict(job=b'{"id":"job_1","version":7}')))
    assert told["job"] == {"id": "job_1", "version": 7}


def test_headers_of_refusals() -> None:
    """401 challenges, 429 says when to come back (at least a second), 405 says what is allowed."""
    assert dict(problems.problem_headers(TokenExpired()))[b"www-authenticate"].startswith(
        b'Bearer realm="callout", error='
    )
    assert dict(problems.problem_headers(RateLimited(retry_after=0.05)))[b"retry-after"] == b"1"
    assert dict(problems.problem_headers(RateLimited(retry_after=2.2)))[b"retry-after"] == b"3"
    assert dict(problems.problem_headers(WrongMethod(["POST", "GET"])))[b"allow"] == b"GET, POST"
    assert dict(problems.problem_headers(Taken(repeated=True)))[b"idempotency-replayed"] == b"true"
