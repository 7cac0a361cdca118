"""The OpenAPI document is true: what it allows is not refused as malformed, and every answer is as it says.

Schemathesis makes requests from the document alone. The server is one of this file's own: what is made here, services
and accounts of strange names, would be in the way of others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
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
from server.serve import Running, running

EXAMPLES = 3
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
UNSTATED = {
    "/password": "",  # control characters, and the most common ones
    "/email": "",  # characters that nobody sees, and how long it is once they are compared
    "/cursor": "Not a cursor of this list",
    "/customer": "Required: whom the job is for",  # of ops and services
    "/service": "No such service",
    "/technician": "No such technician",
    "/scheduled_for": "In the past",
    "/roles": " is for ",  # what a blueprint declares for its announcement
    "/zone": "Not a zone of this deployment",
    "/version": "Not the version of If-Match",
    "/after": "is given more than once",
    "/data": "",  # its depth, its bytes, the size of integers anywhere in it
    "/metadata": "",
}
"""What a schema cannot say: what there is, who asks, and what holds across all of a text."""


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A server with limits off."""
    async with running(Settings(data=str(tmp_path_factory.mktemp("stage")), port=0, limits="off")) as server:
        yield server


@pytest.fixture(scope="module")
async def document(stage: Running) -> dict[str, Any]:
    """The document as served."""
    async with httpx.AsyncClient(base_url=stage.url, trust_env=False) as client:
        told: dict[str, Any] = json.loads((await client.get("/openapi.json")).content)
    return told


@pytest.fixture(scope="module")
async def schema(document: dict[str, Any]) -> Any:
    """The same, as Schemathesis reads it."""
    read = schemathesis.openapi.from_dict(document)
    read.config.generation.update(allow_x00=False, with_security_parameters=False)
    read.config.max_stream_events = 1
    return read


def probe(operation: Any, url: str, token: str) -> list[str]:
    """Requests that the document allows; what is wrong with their answers."""
    wrong: list[str] = []
    with requests.Session() as session:
        session.trust_env = False
        sent = {"Authorization": f"Bearer {token}"} if token else {}

        @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def run(case: Any) -> None:
            if "wait" in (case.query or {}):
                case.query["wait"] = 0
            answer = case.call(base_url=url, session=session, headers=sent, timeout=20)
            wrong.extend(f"{error}: {case.as_curl_command()}" for error in malformed(answer))
            case.validate_response(answer, checks=CHECKS)

        run()
    return wrong


def malformed(answer: Any) -> list[dict[str, str]]:
    """The fields that are refused for their form."""
    told = answer.json() if answer.status_code in (400, 422) else {}
    if told.get("code") != "invalid":
        return []
    errors: list[dict[str, str]] = told["errors"] or [{"pointer": "", "detail": told["detail"]}]
    return [
        error
        for error in errors
        if not any(error["pointer"].startswith(at) and text in error["detail"] for at, text in UNSTATED.items())
    ]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_what_the_document_allows_is_taken(route: Route, schema: Any, stage: Running) -> None:
    """No request that its schemas allow is refused for its form, and all answers conform."""
    roles = route.roles or ADMIN_ROLE
    role = "customer" if "customer" in roles else sorted(roles)[0]
    token = sign_token(stage.engine.signer, UserId(f"cli_{role}"), role) if route.roles else ""
    assert await asyncio.to_thread(probe, schema[route.path][route.method], stage.url, token) == []


# What the document says beside the types


def test_examples_are_of_their_types() -> None:
    """Each example is of a route that there is, and decodes as its type: nothing missing, nothing unknown."""
    named = {route.name: route for route in ROUTES}
    for name, example in examples.REQUESTS.items():
        body = named[name].body
        assert body is not None and not msgspec.convert(example, body).find_errors(), name
    for name, example in examples.REPLIES.items():
        msgspec.convert(example, named[name].reply)


async def test_examples_are_valid(document: dict[str, Any]) -> None:
    """Each stands in the document, and is what the schema beside it asks for."""
    found = 0
    for methods in document["paths"].values():
        for operation in methods.values():
            contents = [operation.get("requestBody", {}), *operation["responses"].values()]
            for media in (m for content in contents for m in content.get("content", {}).values()):
                if "example" in media:
                    found += 1
                    whole = {**media["schema"], "components": document["components"]}
                    jsonschema_rs.validator_for(whole).validate(media["example"])
    assert found == len(examples.REQUESTS) + len(examples.REPLIES) + len([r for r in ROUTES if r.name == "jobs_create"])


async def test_an_example_that_is_wrong_would_be_found(document: dict[str, Any]) -> None:
    """The schemas refuse what the server refuses: half a position, a review of nothing, a field that nobody knows."""

    def valid(name: str, body: Any) -> bool:
        whole = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        return bool(jsonschema_rs.validator_for(whole).is_valid(body))

    assert valid("SetAvailability", {"online": True}) and valid("SetAvailability", {"online": True, "lat": 1, "lon": 2})
    assert not valid("SetAvailability", {"online": True, "lat": 1})
    assert not valid("SetAvailability", {"online": True, "lat": 1, "lon": None})
    assert not valid("Review", {"reason": "so"}) and not valid("Review", {"kyc": None})
    assert not valid("PatchJob", {"lat": 1.0}) and valid("PatchJob", {"notes": None})
    assert not valid("Location", {}) and not valid("Location", {"lat": 1, "lon": 2, "fixes": [{"lat": 1, "lon": 2}]})
    assert not valid("NewJob", {**examples.REQUESTS["jobs_create"], "blueprint": "no such"})
    assert not valid("NewAnnouncement", {"event": "nonsense", "data": {}, "roles": ["admin"]})
    assert not valid("NewAnnouncement", {"event": "announcement.x", "data": {}})


async def test_every_code_is_listed_once(document: dict[str, Any]) -> None:
    """The document's description is the one list of codes, and each refusal's status names its own."""
    text = document["info"]["description"]
    for code, kind in ERROR_OF_CODE.items():
        assert text.count(f"| `{code}` | {kind.status} | {kind.title} | {MEANING_OF_CODE[code]} |") == 1
        assert f"`{code}`" in document["components"]["responses"][f"Problem{kind.status}"]["description"]


async def test_who_and_what_may_be_refused_is_said(document: dict[str, Any]) -> None:
    """Each route says who may call it, and the refusals that follow from what it takes."""
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        told, names = set(operation["responses"]), {parameter["name"] for parameter in operation["parameters"]}
        assert ("For: " in operation["description"]) is (route.roles is not None)
        assert ({"401", "403"} <= told) is (route.roles is not None)
        assert ("404" in told) is ("{" in route.path or route.policy.object_kind != "nothing")
        assert ("If-Match" in names) is ("412" in told) is route.is_conditional
        assert ("Idempotency-Key" in names) is ("409" in told) is route.has_key


async def test_reassign_without_a_technician_is_said(document: dict[str, Any]) -> None:
    """That it takes the job from its holder stands with the route and with the field."""
    route = document["paths"]["/v1/jobs/{id}/reassign"]["post"]
    assert "Without `technician` the job is taken from its holder" in route["description"]
    fields = document["components"]["schemas"]["Step"]["properties"]
    assert "takes the job from its holder" in fields["technician"]["description"]
    booking = document["components"]["schemas"]["NewJob"]["properties"]
    assert all(len(booking[name]["description"]) > 100 for name in ("reference", "metadata"))
    assert fields["force"]["description"]
