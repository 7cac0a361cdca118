"""Announcements: who may make one, of what, to whom; once for each key, over every gateway."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.blueprint import catalogue
from engine.blueprint.catalogue import BlueprintError
from engine.process.settings import Settings
from engine.types import ROLES, Role
from server.serve import running
from tests.server.gateway.streams import site_of
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.people import register

NEW: dict[str, Any] = {"event": "announcement.outage", "roles": ["customer"], "data": {"until": "noon"}}


async def test_the_wrong_role(staff: dict[Role, Client]) -> None:
    """Only ops announce."""
    for role in sorted(set(ROLES) - {"ops_manager", "admin"}):
        assert code_of(await staff[role]("POST", "/v1/announcements", NEW)) == (403, "forbidden")


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"event": "job.accepted"}, {"/event"}),
        ({"event": "session.revoked"}, {"/event"}),
        ({"event": "flash_sale"}, {"/event"}),
        ({"event": "announcement"}, {"/event"}),
        ({"event": "announcement."}, {"/event"}),
        ({"event": "announcement.a b"}, {"/event"}),
        ({"event": "announcement." + "x" * 60}, {"/event"}),
        ({"roles": []}, {"/roles"}),
        ({"roles": ["everybody"]}, {"/roles"}),
        ({"roles": ["customer user:ann"]}, {"/roles"}),
        ({"data": [1]}, {"/data"}),
        ({"data": {"n": 2**60}}, {"/data"}),
        ({"data": {"text": "x" * 9_000}}, {"/data"}),
        ({"event": "Announcement.x", "roles": ["nobody"], "to": "all"}, {"/event", "/roles", "/to"}),
    ],
)
async def test_what_cannot_be_announced(admin: Client, change: dict[str, Any], at: set[str]) -> None:
    """An event that nobody declared, roles that are none, data that is too much: each told by its field."""
    answer = await admin("POST", "/v1/announcements", {**NEW, **change})
    assert {"/" + pointer.split("/")[1] for pointer in pointers(answer)} == at


async def test_it_reaches_the_roles_once(admin: Client, join: Any, staff: dict[Role, Client]) -> None:
    """Everybody of the roles gets it, nobody else; the same key again answers the same and tells nobody."""
    customer, technician = await join("customer"), await join("technician")
    cursors = {who: (await who("GET", "/v1/events?wait=0")).json()["cursor"] for who in (customer, technician)}
    key = str(uuid.uuid4())
    body = {**NEW, "roles": ["customer", "ops", "customer"]}
    first = await admin("POST", "/v1/announcements", body, Idempotency_Key=key)
    assert first.status_code == 200
    told = first.json()["announcement"]
    assert (told["event"], told["roles"], told["zone"]) == (NEW["event"], ["customer", "ops"], "main")
    again = await admin("POST", "/v1/announcements", body, Idempotency_Key=key)
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", first.json())
    other = await admin("POST", "/v1/announcements", {**body, "data": {}}, Idempotency_Key=key)
    assert code_of(other) == (422, "reused_key")
    verdict = (await admin("GET", f"/v1/requests/{key}")).json()
    assert (verdict["status"], verdict["seq"]) == ("done", told["seq"])

    async def heard(who: Client, wait: int) -> list[dict[str, Any]]:
        after = cursors[who]
        answer = (await who("GET", f"/v1/events?after={after}&wait={wait}")).json()
        return [event for event in answer["events"] if event["type"] == NEW["event"]]

    (event,) = await heard(customer, 10)
    assert (event["seq"], event["event"], event["data"]) == (told["seq"], NEW["event"], NEW["data"])
    assert await heard(technician, 0) == []


DECLARED = """
[events.promotion]
announcement = true
as = "promo"
"""


async def test_a_blueprint_declares_one(settings: Settings, tmp_path: Path) -> None:
    """What a blueprint declares may be announced, goes by its name, and reaches the clients of every gateway."""
    mine = tmp_path / "blueprints"
    mine.mkdir()
    (mine / "home_service.toml").write_text((catalogue.shipped_folder() / "home_service.toml").read_text() + DECLARED)
    first = msgspec.structs.replace(settings, port=0, blueprints=str(mine))
    shared = {"key_file": str(tmp_path / "data/signing.key"), "database": f"sqlite:///{tmp_path}/data/callout.db"}
    second = msgspec.structs.replace(first, data=str(tmp_path / "other"), **shared)
    async with running(first) as one, site_of(one) as here, running(second) as two, site_of(two) as there:
        customer = await register(Client(there.http), "customer")
        headers = {"Authorization": f"Bearer {customer.token}"}
        async with there.source("", headers=headers) as source:
            admin = people.principal(one, here.http, "admin")
            body = {"event": "promotion", "roles": ["customer"], "data": {"percent": 10}}
            assert (await admin("POST", "/v1/announcements", body)).status_code == 200
            told = (await source.event()).data
            assert (told["type"], told["event"], told["data"]) == ("promotion", "promo", {"percent": 10})


def test_a_blueprint_cannot_take_the_engines_words(tmp_path: Path) -> None:
    """An announcement that would pass for an event of the engine's is refused at start."""
    text = (catalogue.shipped_folder() / "home_service.toml").read_text() + DECLARED.replace(
        "promotion", '"session.revoked"'
    )
    (tmp_path / "home_service.toml").write_text(text)
    with pytest.raises(BlueprintError, match=r"session\.revoked"):
        catalogue.load_blueprints("home_service", tmp_path)
