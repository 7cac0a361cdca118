"""Tests of the routes about the server itself: health, readiness, metrics, and the OpenAPI document."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from typing import Any

import pytest

from engine.sql.database import POOL_SIZE, Archive
from engine.types import DEFAULT_ZONE, Role
from server.api.routes import ROUTES
from server.serve import RunningServer
from tests.server.http.client import Client, code_of
from tests.support.closed_zone import closed_zone
from tests.support.wait import wait_until

SERVICE = {"name": "Painting", "category": "home", "base_amount": 5000, "currency": "USD", "pricing": "flat"}
ANSWER_COUNT_PATTERN = re.compile(r"callout_http_answers_total\{operation=\"(\w*)\",status=\"(\d+)\"\} (\d+)")


async def test_not_ready_names_each_problem(
    site: RunningServer, nobody: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that drains, or that has a closed zone, is alive but not ready: `/readyz` returns 503 and names each
    problem, and `/healthz` returns `ok`.
    """
    monkeypatch.setattr(site.health, "draining", True)
    with closed_zone(site.engine.store, DEFAULT_ZONE, why="Redis is behind the archive"):
        answer = await nobody("GET", "/readyz")
    assert answer.status_code == 503
    problems = answer.json()["problems"]
    assert "draining" in problems
    assert any("Redis is behind the archive" in problem for problem in problems)
    assert (await nobody("GET", "/healthz")).json() == {"ok": True}


@pytest.mark.parametrize(
    ("setting", "full", "word"), [("min-replicas-to-write", "1", "NOREPLICAS"), ("maxmemory", "1mb", "OOM")]
)
async def test_a_redis_that_refuses_writes_is_a_problem(
    site: RunningServer, nobody: Client, setting: str, full: str, word: str
) -> None:
    """If Redis refuses writes, `/readyz` returns 503 with Redis' own error. The error is removed once Redis accepts
    writes again.
    """
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


async def set_refusal(archive: Archive, *, refuses: bool) -> None:
    """Let the database refuse every write of the server, or none, on each connection of the pool."""
    is_sqlite = archive.url.get_backend_name() == "sqlite"
    setting = "PRAGMA query_only=" if is_sqlite else "SET default_transaction_read_only="
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(archive.engine.connect()) for _ in range(POOL_SIZE)]
        for connection in connections:
            await connection.exec_driver_sql(f"{setting}{refuses:d}")
            await connection.commit()


async def test_a_database_that_refuses_writes_is_a_problem(site: RunningServer, admin: Client, nobody: Client) -> None:
    """While the database refuses writes, a write is `unavailable`, and `/readyz` returns 503 with the database's own
    error. The error is removed once a write succeeds.
    """
    await set_refusal(site.engine.archive, refuses=True)
    try:
        assert code_of(await admin("POST", "/v1/services", SERVICE)) == (503, "unavailable")
        answer = await nobody("GET", "/readyz")
    finally:
        await set_refusal(site.engine.archive, refuses=False)
    assert answer.status_code == 503
    [refusal] = [text for text in answer.json()["problems"] if text.startswith("the database refuses writes: ")]
    assert "read" in refusal and "only" in refusal
    written = await admin("POST", "/v1/services", SERVICE)
    assert written.status_code == 201, written.text
    assert refusal not in (await nobody("GET", "/readyz")).text


async def test_a_server_that_is_no_demo_has_no_town(nobody: Client) -> None:
    """`/v1/demo/town`, the map of a demo's invented town, is `not_found` on a server that is no demo."""
    assert code_of(await nobody("GET", "/v1/demo/town")) == (404, "not_found")


async def test_ready(nobody: Client) -> None:
    """`/readyz` returns 200 without problems once the relay has read from Redis."""

    async def is_ready() -> bool:
        return (await nobody("GET", "/readyz")).status_code == 200

    await wait_until(is_ready)
    assert (await nobody("GET", "/readyz")).json() == {
        "ready": True,
        "problems": [],
        "durability": {"level": "fast", "checks": [], "warnings": []},
    }


async def test_meta_needs_no_token(nobody: Client) -> None:
    """`/v1/meta` returns the zones, the poll intervals in seconds and the server's time without a token."""
    meta = (await nobody("GET", "/v1/meta")).json()
    assert meta["zones"] == ["main"]
    assert meta["poll"] == {"connected": 60, "disconnected": 15}
    assert meta["now"].endswith("Z") and meta["web_push_key"] is None


async def test_metrics_are_for_ops_and_services(nobody: Client, staff: dict[Role, Client]) -> None:
    """`/metrics` on the public port requires a token of ops or of a service, because its counts show how much business
    there is.
    """
    assert (await nobody("GET", "/metrics")).status_code == 401
    allowed = {role for role, client in staff.items() if (await client("GET", "/metrics")).status_code == 200}
    assert allowed == {"ops_manager", "admin", "service"}


async def test_answers_are_counted_by_route_and_status(nobody: Client, admin: Client) -> None:
    """The metric `callout_http_answers_total` counts each answer, also a refusal, by route and status."""

    async def refused_count() -> int:
        text = (await admin("GET", "/metrics")).text
        return sum(
            int(n) for name, status, n in ANSWER_COUNT_PATTERN.findall(text) if (name, status) == ("users_me", "401")
        )

    before = await refused_count()
    await nobody("GET", "/v1/me")
    assert await refused_count() == before + 1


# The document


@pytest.fixture
async def document(nobody: Client) -> dict[str, Any]:
    """Return the OpenAPI document that the server serves."""
    answer = await nobody("GET", "/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    loaded_document: dict[str, Any] = json.loads(answer.content)
    return loaded_document


def nested_objects(value: Any) -> list[dict[str, Any]]:
    """Return every object inside ``value``, at any depth."""
    if isinstance(value, dict):
        return [value, *(node for inner in value.values() for node in nested_objects(inner))]
    return [node for inner in value for node in nested_objects(inner)] if isinstance(value, list) else []


async def test_the_document_has_every_route(document: dict[str, Any]) -> None:
    """The document contains exactly the routes of the route table, each with its method, path and name."""
    documented = {
        (method.upper(), path, operation["operationId"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert documented == {(route.method, route.path, route.name) for route in ROUTES}


async def test_every_reference_resolves(document: dict[str, Any]) -> None:
    """Each `$ref` of the document points to an object in the document."""
    for node in nested_objects(document):
        if "$ref" in node:
            place: Any = document
            for step in node["$ref"].removeprefix("#/").split("/"):
                place = place[step]
            assert place


async def test_the_document_has_what_openapi_requires(document: dict[str, Any]) -> None:
    """The document contains what OpenAPI 3.1 requires: version, info, a description of each response, and each path
    parameter.
    """
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
            assert body is None or all("schema" in content for content in body["content"].values()), where


async def test_schemas_are_json_schema(document: dict[str, Any]) -> None:
    """Each schema uses only types of JSON Schema, and each required member is a declared property."""
    json_types = {"object", "array", "string", "number", "integer", "boolean", "null"}
    for name, schema in document["components"]["schemas"].items():
        for node in nested_objects(schema):
            kind = node.get("type", "null")
            if isinstance(kind, str | list) and "properties" in node:
                assert set([kind] if isinstance(kind, str) else kind) <= json_types, name
                assert set(node.get("required", [])) <= set(node["properties"]), name


async def test_the_commands_of_jobs_are_described_from_the_blueprint(document: dict[str, Any]) -> None:
    """The description of the command route contains a table of the blueprint's commands: who may send each, in which
    state, and which state follows.
    """
    text = document["paths"]["/v1/jobs/{id}/{command}"]["post"]["description"]
    assert "| depart | holder | accepted | on_the_way |" in text
