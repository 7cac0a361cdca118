"""Tests of announcements: who may send one, with which event, and to which roles. A request that is repeated with its
idempotency key sends one announcement, which reaches the clients of all gateways.
"""

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
from server.serve import run_server
from tests.server.gateway.streams import open_event_server
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.people import register

ANNOUNCEMENT: dict[str, Any] = {"event": "announcement.outage", "roles": ["customer"], "data": {"until": "noon"}}


async def test_only_ops_may_announce(staff: dict[Role, Client]) -> None:
    """An announcement by any role except `ops_manager` and `admin` is refused with 403 `forbidden`."""
    for role in sorted(set(ROLES) - {"ops_manager", "admin"}):
        assert code_of(await staff[role]("POST", "/v1/announcements", ANNOUNCEMENT)) == (403, "forbidden")


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
async def test_a_malformed_announcement_is_refused(admin: Client, change: dict[str, Any], at: set[str]) -> None:
    """An event that is not a declared announcement, an unknown role, and `data` that is too large or not an object are
    refused. The refusal names the field.
    """
    answer = await admin("POST", "/v1/announcements", {**ANNOUNCEMENT, **change})
    assert {"/" + pointer.split("/")[1] for pointer in pointers(answer)} == at


async def test_an_announcement_reaches_its_roles_once(admin: Client, join: Any, staff: dict[Role, Client]) -> None:
    """Each user of the named roles receives the announcement, and nobody else. A repeat with the same key returns the
    first reply and sends no second event.
    """
    customer, technician = await join("customer"), await join("technician")
    cursors = {caller: (await caller("GET", "/v1/events?wait=0")).json()["cursor"] for caller in (customer, technician)}
    key = str(uuid.uuid4())
    body = {**ANNOUNCEMENT, "roles": ["customer", "ops", "customer"]}
    first = await admin("POST", "/v1/announcements", body, Idempotency_Key=key)
    assert first.status_code == 200
    reply = first.json()["announcement"]
    assert (reply["event"], reply["roles"], reply["zone"]) == (ANNOUNCEMENT["event"], ["customer", "ops"], "main")
    again = await admin("POST", "/v1/announcements", body, Idempotency_Key=key)
    assert (again.headers["idempotency-replayed"], again.json()) == ("true", first.json())
    other = await admin("POST", "/v1/announcements", {**body, "data": {}}, Idempotency_Key=key)
    assert code_of(other) == (422, "reused_key")
    verdict = (await admin("GET", f"/v1/requests/{key}")).json()
    assert (verdict["status"], verdict["seq"]) == ("done", reply["seq"])

    async def received_events(caller: Client, wait: int) -> list[dict[str, Any]]:
        after = cursors[caller]
        answer = (await caller("GET", f"/v1/events?after={after}&wait={wait}")).json()
        return [event for event in answer["events"] if event["type"] == ANNOUNCEMENT["event"]]

    (event,) = await received_events(customer, 10)
    assert (event["seq"], event["event"], event["data"]) == (reply["seq"], ANNOUNCEMENT["event"], ANNOUNCEMENT["data"])
    assert await received_events(technician, 0) == []


PROMOTION_TOML = """
[events.promotion]
announcement = true
as = "promo"
"""


async def test_a_declared_announcement_reaches_every_gateway(settings: Settings, tmp_path: Path) -> None:
    """An announcement that a blueprint declares can be sent, has the event name that the blueprint declares, and
    reaches a client of another gateway.
    """
    folder = tmp_path / "blueprints"
    folder.mkdir()
    (folder / "home_service.toml").write_text(
        (catalogue.shipped_folder() / "home_service.toml").read_text() + PROMOTION_TOML
    )
    first = msgspec.structs.replace(settings, port=0, blueprints=str(folder))
    shared = {"key_file": str(tmp_path / "data/signing.key"), "files": str(tmp_path / "data/blobs")}
    shared["database"] = f"sqlite:///{tmp_path}/data/callout.db"
    second = msgspec.structs.replace(first, data=str(tmp_path / "other"), **shared)
    async with (
        run_server(first) as one,
        open_event_server(one) as site,
        run_server(second) as two,
        open_event_server(two) as other_site,
    ):
        customer = await register(Client(other_site.http), "customer")
        headers = {"Authorization": f"Bearer {customer.token}"}
        async with other_site.open_stream("", headers=headers) as source:
            admin = people.principal(one, site.http, "admin")
            body = {"event": "promotion", "roles": ["customer"], "data": {"percent": 10}}
            assert (await admin("POST", "/v1/announcements", body)).status_code == 200
            push = (await source.next_event()).data
            assert (push["type"], push["event"], push["data"]) == ("promotion", "promo", {"percent": 10})


def test_a_blueprint_cannot_declare_an_event_of_the_engine(tmp_path: Path) -> None:
    """A blueprint that declares `session.revoked`, an event type of the engine, as an announcement does not load."""
    text = (catalogue.shipped_folder() / "home_service.toml").read_text() + PROMOTION_TOML.replace(
        "promotion", '"session.revoked"'
    )
    (tmp_path / "home_service.toml").write_text(text)
    with pytest.raises(BlueprintError, match=r"session\.revoked"):
        catalogue.load_blueprints("home_service", tmp_path)
