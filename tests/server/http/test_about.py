"""The server itself: alive, ready, counted, described."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from engine.types import Role
from server.api.routes import ROUTES
from server.serve import Running
from tests.server.http.client import Client
from tests.support.wait import wait_until

CODE = re.compile(r"callout_http_answers_total\{operation=\"(\w*)\",status=\"(\d+)\"\} (\d+)")


async def test_not_ready_names_each_problem(site: Running, nobody: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draining, or with a zone closed, the server is alive and not ready, and says why."""
    monkeypatch.setattr(site.health, "draining", True)
    zone = next(iter(site.engine.store.zones.values()))
    monkeypatch.setattr(zone, "open", False)
    monkeypatch.setattr(zone, "why", "Redis is behind the archive")
    answer = await nobody("GET", "/readyz")
    assert answer.status_code == 503
    problems = answer.json()["problems"]
    assert "draining" in problems
    assert any("Redis is behind the archive" in problem for problem in problems)
    assert (await nobody("GET", "/healthz")).json() == {"ok": True}


@pytest.mark.parametrize(
    ("setting", "full", "word"), [("min-replicas-to-write", "1", "NOREPLICAS"), ("maxmemory", "1mb", "OOM")]
)
async def test_a_redis_that_takes_no_writes_is_a_problem(
    site: Running, nobody: Client, setting: str, full: str, word: str
) -> None:
    """Where every command would be refused the server is not ready, with Redis' own reason; and ready again after."""
    redis = site.engine.store.redis
    await redis.config_set(setting, full)
    try:
        await site.health.check()
        answer = await nobody("GET", "/readyz")
    finally:
        await redis.config_set(setting, "0")
    assert answer.status_code == 503
    assert [problem for problem in answer.json()["problems"] if problem.startswith(f"Redis refuses writes: {word}")]
    await site.health.check()
    assert site.health.writes_problem == ""


async def test_a_database_that_takes_no_writes_is_a_problem(site: Running, nobody: Client) -> None:
    """What the last attempt to write was told is among the problems of `/readyz`."""
    site.engine.archive.refuses = "database or disk is full"
    try:
        answer = await nobody("GET", "/readyz")
    finally:
        site.engine.archive.refuses = ""
    assert "the database refuses writes: database or disk is full" in answer.json()["problems"]


async def test_ready(nobody: Client) -> None:
    """A server that serves says so, once its relay has heard from Redis."""

    async def ready() -> bool:
        return (await nobody("GET", "/readyz")).status_code == 200

    await wait_until(ready)
    assert (await nobody("GET", "/readyz")).json() == {"ready": True, "problems": []}


async def test_meta_tells_what_a_client_needs(nobody: Client) -> None:
    """Version, zones, the socket's address and how often to poll are told without a token."""
    told = (await nobody("GET", "/v1/meta")).json()
    assert told["zones"] == ["main"]
    assert told["poll"] == {"connected": 60, "disconnected": 15}
    assert told["now"].endswith("Z")


async def test_metrics_are_for_ops_and_services(nobody: Client, staff: dict[Role, Client]) -> None:
    """Counts tell how much business there is: on the public port they take a token of ops or a service."""
    assert (await nobody("GET", "/metrics")).status_code == 401
    allowed = {role for role, client in staff.items() if (await client("GET", "/metrics")).status_code == 200}
    assert allowed == {"ops_manager", "admin", "service"}


async def test_answers_are_counted_by_operation_and_status(nobody: Client, admin: Client) -> None:
    """Each answer is counted under its route's name, refusals by their status."""

    async def counted() -> int:
        text = (await admin("GET", "/metrics")).text
        return sum(int(n) for name, status, n in CODE.findall(text) if (name, status) == ("users_me", "401"))

    before = await counted()
    await nobody("GET", "/v1/me")
    assert await counted() == before + 1


# The document


@pytest.fixture
async def document(nobody: Client) -> dict[str, Any]:
    """The OpenAPI document as served."""
    answer = await nobody("GET", "/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    told: dict[str, Any] = json.loads(answer.content)
    return told


def nodes(value: Any) -> list[dict[str, Any]]:
    """Every object inside ``value``."""
    if isinstance(value, dict):
        return [value, *(node for inner in value.values() for node in nodes(inner))]
    return [node for inner in value for node in nodes(inner)] if isinstance(value, list) else []


async def test_the_document_has_every_route(document: dict[str, Any]) -> None:
    """Each line of the table is there under its method and name, and nothing else is."""
    found = {
        (method.upper(), path, operation["operationId"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert found == {(route.method, route.path, route.name) for route in ROUTES}


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    """No $ref dangles."""
    for node in nodes(document):
        if "$ref" in node:
            place: Any = document
            for step in node["$ref"].removeprefix("#/").split("/"):
                place = place[step]
            assert place


async def test_the_document_is_whole(document: dict[str, Any]) -> None:
    """What OpenAPI 3.1 requires is there: version, info, responses with descriptions, declared parameters."""
    assert document["openapi"].startswith("3.1.")
    assert {"title", "version"} <= set(document["info"])
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            names = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert names == set(re.findall(r"{(\w+)}", path)), where
            assert all({"name", "in", "schema"} <= set(p) for p in operation["parameters"]), where
            for status, answer in operation["responses"].items():
                assert status == "default" or status.isdigit(), where
                assert "$ref" in answer or answer["description"], where
            body = operation.get("requestBody")
            assert body is None or "schema" in body["content"]["application/json"], where


async def test_schemas_are_json_schema(document: dict[str, Any]) -> None:
    """Types are the six that JSON Schema has, and each required member is a declared one."""
    known = {"object", "array", "string", "number", "integer", "boolean", "null"}
    for name, schema in document["components"]["schemas"].items():
        for node in nodes(schema):
            kind = node.get("type", "null")
            if isinstance(kind, str | list) and "properties" in node:
                assert set([kind] if isinstance(kind, str) else kind) <= known, name
                assert set(node.get("required", [])) <= set(node["properties"]), name


async def test_the_steps_of_jobs_are_told_from_the_blueprint(document: dict[str, Any]) -> None:
    """The command route carries the table of who may do what, from where, to where."""
    text = document["paths"]["/v1/jobs/{id}/{command}"]["post"]["description"]
    assert "| depart | holder | accepted | on_the_way |" in text
