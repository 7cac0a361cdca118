"""The server behaves as its OpenAPI document says: requests that the document allows are accepted, and responses
conform.

Schemathesis generates requests from the document alone. This file has its own server, because the generated services
and accounts would disturb other tests.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from engine.errors import ERROR_OF_CODE, MEANING_OF_CODE
from engine.process.settings import Settings
from engine.process.signer import sign_token
from engine.roles import ADMIN_ROLE
from engine.types import UserId
from server.api import examples
from server.api.route import Route
from server.api.routes import ROUTES
from server.serve import RunningServer, run_server
from tests.support.http import open_http

EXAMPLES_PER_OPERATION = 3
SCHEMATHESIS_CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
UNSTATED_CONSTRAINTS = {
    "/from": "Not ",  # before 1970 or now, or after 2286
    "/to": "Not ",  # before 1970, below `from`, within 14 days after it, or after 2286
    "/blueprint": "Not one of ",
    "/password": "",  # control characters, and the most common passwords
    "/email": "",  # invisible characters, and the length after normalisation
    "/cursor": "Not a cursor of this list",
    "/before": "Not together with after",
    "/customer": "Required: whom the job is for",  # for ops and services
    "/service": "No such service",
    "/technician": "No such technician",
    "/scheduled_for": "Not ",
    "/image": "",  # base64, and the decoded bytes
    "/strokes": "At most ",  # points of all strokes together
    "/date": "Not ",
    "/technicians": "No such technician",
    "/roles": " is for ",  # the roles that a blueprint declares for its announcement
    "/zone": "Not a zone of this deployment",
    "/version": "Not the version of If-Match",
    "/after": "is given more than once",
    "/bbox": " ",  # whether the four numbers make a box
    "/data": "",  # the depth, the size in bytes, and the size of integers at any depth
    "/metadata": "",
}
"""Refusals that a schema cannot predict, as pointer and part of the detail: they depend on the data, on the caller,
or on a whole text. "" matches every detail.
"""


@pytest.fixture(scope="module")
async def fuzzed_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """Start a server without rate limits, for this file only."""
    async with run_server(Settings(data=str(tmp_path_factory.mktemp("stage")), port=0, limits="off")) as server:
        yield server


@pytest.fixture(scope="module")
async def document(fuzzed_server: RunningServer) -> dict[str, Any]:
    """Return the OpenAPI document that the server serves."""
    async with open_http(fuzzed_server.url) as client:
        loaded_document: dict[str, Any] = json.loads((await client.get("/openapi.json")).content)
    return loaded_document


@pytest.fixture(scope="module")
async def schema(document: dict[str, Any]) -> Any:
    """Return the document as a Schemathesis schema."""
    read = schemathesis.openapi.from_dict(document)
    read.config.generation.update(allow_x00=False, with_security_parameters=False)
    read.config.max_stream_events = 1
    return read


def find_violations(operation: Any, url: str, token: str) -> list[str]:
    """Send generated requests that the document allows. Return the responses that violate the document, as text."""
    wrong: list[str] = []
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {token}"} if token else {}

        @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        @settings(
            max_examples=EXAMPLES_PER_OPERATION,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def send_case(case: Any) -> None:
            if "wait" in (case.query or {}):
                case.query["wait"] = 0
            answer = case.call(base_url=url, session=session, headers=headers, timeout=20)
            wrong.extend(f"{error}: {case.as_curl_command()}" for error in form_errors(answer))
            case.validate_response(answer, checks=SCHEMATHESIS_CHECKS)

        send_case()
    return wrong


def form_errors(answer: Any) -> list[dict[str, str]]:
    """Return the errors of a response that refuse the form of a field, without `UNSTATED_CONSTRAINTS`."""
    problem = answer.json() if answer.status_code in (400, 422) else {}
    if problem.get("code") != "invalid":
        return []
    errors: list[dict[str, str]] = problem["errors"] or [{"pointer": "", "detail": problem["detail"]}]
    return [
        error
        for error in errors
        if not any(
            error["pointer"].startswith(at) and text in error["detail"] for at, text in UNSTATED_CONSTRAINTS.items()
        )
    ]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_documented_requests_are_accepted(route: Route, schema: Any, fuzzed_server: RunningServer) -> None:
    """No request that the document allows is refused for its form, and every response conforms to the document."""
    roles = route.roles or ADMIN_ROLE
    role = "customer" if "customer" in roles else sorted(roles)[0]
    token = sign_token(fuzzed_server.engine.signer, UserId(f"cli_{role}"), role) if route.roles else ""
    assert await asyncio.to_thread(find_violations, schema[route.path][route.method], fuzzed_server.url, token) == []


# Examples, roles and refusals in the document


def test_examples_decode_as_their_types() -> None:
    """Each example belongs to an existing route and decodes as the type of its body or reply, without errors."""
    route_of = {route.name: route for route in ROUTES}
    for name, example in examples.REQUESTS.items():
        body = route_of[name].body
        assert body is not None and not msgspec.convert(example, body).find_errors(), name
    for name, example in examples.REPLIES.items():
        msgspec.convert(example, route_of[name].reply)


async def test_each_route_has_examples_that_match_their_schemas(document: dict[str, Any]) -> None:
    """Each JSON body of each route, of a request and of a reply, has an example, which is valid for the schema beside
    it. The written examples are among them.
    """
    found: list[Any] = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            bodies = [content.get("content", {}).get("application/json") for content in contents]
            for media in (body for body in bodies if body and body["schema"] != {}):
                assert "example" in media, (method, path)
                found.append(media["example"])
                schema_with_components = {**media["schema"], "components": document["components"]}
                jsonschema_rs.validator_for(schema_with_components).validate(media["example"])
    assert [each for each in (*examples.REQUESTS.values(), *examples.REPLIES.values()) if each not in found] == []


async def test_schemas_refuse_invalid_bodies(document: dict[str, Any]) -> None:
    """The schemas refuse what the server refuses: half a position, a review without a verdict, a blueprint that does
    not exist.
    """

    def is_valid(name: str, body: Any) -> bool:
        schema_with_components = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        return bool(jsonschema_rs.validator_for(schema_with_components).is_valid(body))

    assert is_valid("SetAvailability", {"online": True}) and is_valid(
        "SetAvailability", {"online": True, "lat": 1, "lon": 2}
    )
    assert not is_valid("SetAvailability", {"online": True, "lat": 1})
    assert not is_valid("SetAvailability", {"online": True, "lat": 1, "lon": None})
    assert not is_valid("Review", {"reason": "so"}) and not is_valid("Review", {"kyc": None})
    assert not is_valid("PatchJob", {"lat": 1.0}) and is_valid("PatchJob", {"notes": None})
    assert not is_valid("Location", {}) and not is_valid(
        "Location", {"lat": 1, "lon": 2, "fixes": [{"lat": 1, "lon": 2}]}
    )
    assert not is_valid("NewJob", {**examples.REQUESTS["jobs_create"], "blueprint": "no such"})
    assert not is_valid("NewAnnouncement", {"event": "nonsense", "data": {}, "roles": ["admin"]})
    assert not is_valid("NewAnnouncement", {"event": "announcement.x", "data": {}})


async def test_every_code_is_listed_once(document: dict[str, Any]) -> None:
    """The document's description lists each code once, and the response of each status names the codes of
    this status.
    """
    text = document["info"]["description"]
    for code, kind in ERROR_OF_CODE.items():
        assert text.count(f"| `{code}` | {kind.status} | {kind.title} | {MEANING_OF_CODE[code]} |") == 1
        assert f"`{code}`" in document["components"]["responses"][f"Problem{kind.status}"]["description"]


async def test_each_operation_states_roles_and_refusals(document: dict[str, Any]) -> None:
    """Each operation states the roles that may call it, and the statuses and headers that follow from its route."""
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        statuses, names = set(operation["responses"]), {parameter["name"] for parameter in operation["parameters"]}
        assert ("For: " in operation["description"]) is (route.roles is not None)
        assert ({"401", "403"} <= statuses) is (route.roles is not None)
        assert ("404" in statuses) is ("{" in route.path or route.policy.object_kind != "nothing")
        assert ("If-Match" in names) is ("412" in statuses) is route.is_conditional
        assert ("Idempotency-Key" in names) is ("409" in statuses) is route.has_key


async def test_reassign_without_a_technician_is_documented(document: dict[str, Any]) -> None:
    """The descriptions of the route and of `technician` say that `reassign` without a technician takes the job from its
    holder.
    """
    route = document["paths"]["/v1/jobs/{id}/reassign"]["post"]
    assert "Without `technician` the job is taken from its holder" in route["description"]
    fields = document["components"]["schemas"]["Step"]["properties"]
    assert "takes the job from its holder" in fields["technician"]["description"]
    booking = document["components"]["schemas"]["NewJob"]["properties"]
    assert all(len(booking[name]["description"]) > 100 for name in ("reference", "metadata"))
    assert fields["force"]["description"]
