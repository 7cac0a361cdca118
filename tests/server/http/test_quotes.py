"""Quotes over HTTP: who may create and read them, and the codes and pointers of refused bookings and edits."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from engine.types import Role
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Join
from tests.server.http.people import book, make_service
from tests.support.wait import wait_until


async def quote(who: Client, service: str, **more: Any) -> dict[str, Any]:
    """Request a quote for a job of `managed` at ``HERE``, assert the status 201 and its `Location`, and return the
    quote.
    """
    reply = await who("POST", "/v1/quotes", {"blueprint": "managed", "service": service, **HERE, **more})
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()["quote"]
    assert reply.headers["location"] == f"/v1/quotes/{found['id']}"
    return found


async def test_a_quote_is_kept_by_its_booking(
    customer: Client, join: Join, technician: Client, service: str, staff: dict[Role, Client]
) -> None:
    """A customer gets a quote and books with it, and the job has the price of the quote. Other customers do not see the
    quote. Ops see it with its inputs, services without them.
    """
    promised = await quote(customer, service, postal_code="10119")
    assert promised["amount"] == sum(line["amount"] for line in promised["breakdown"])
    assert "inputs" not in promised and "used_by" not in promised
    path = f"/v1/quotes/{promised['id']}"
    assert code_of(await (await join("customer"))("GET", path)) == (404, "not_found")
    assert code_of(await technician("GET", path)) == (403, "forbidden")
    assert code_of(await customer("GET", "/v1/quotes/quo_main_x")) == (404, "not_found")
    wanted = {"blueprint": "managed", "quote": promised["id"], "postal_code": "10119"}
    job = await book(customer, service, **wanted)
    assert (job["amount"], job["quote"]["id"]) == (promised["amount"], promised["id"])
    for role, sees_inputs in (("ops_manager", True), ("service", False)):
        seen = (await staff[role]("GET", path)).json()["quote"]  # type: ignore[index]
        assert seen["used_by"] == job["id"] and ("inputs" in seen) is sees_inputs
    again = await customer("POST", "/v1/jobs", {"service": service, **HERE, "address": "x", **wanted})
    assert code_of(again) == (409, "duplicate") and again.json()["job"] == {"id": job["id"]}


async def test_a_quote_is_asked_for_like_a_booking(
    customer: Client, technician: Client, service: str, staff: dict[Role, Client]
) -> None:
    """Technicians get no quotes, ops must name the customer, and a booking that would be refused, or whose blueprint
    has no quotes, gets none.
    """
    body = {"blueprint": "managed", "service": service, **HERE}
    assert code_of(await technician("POST", "/v1/quotes", body)) == (403, "forbidden")
    assert pointers(await staff["admin"]("POST", "/v1/quotes", body)) == {"/customer"}
    assert (await quote(staff["service"], service, customer=customer.user))["customer"] == {"id": customer.user}
    for change, pointer in (
        ({"blueprint": "home_service"}, "/blueprint"),
        ({"blueprint": "nothing"}, "/blueprint"),
        ({"service": "srv_none"}, "/service"),
        ({"scheduled_for": "2001-01-01T00:00:00Z"}, "/scheduled_for"),
        ({"amount": 1}, "/amount"),
    ):
        assert pointers(await customer("POST", "/v1/quotes", {**body, **change})) == {pointer}
    key = str(uuid.uuid4())
    first, again = [await customer("POST", "/v1/quotes", body, Idempotency_Key=key) for _ in range(2)]
    assert again.json() == first.json() and again.headers["idempotency-replayed"] == "true"
    other = await customer("POST", "/v1/quotes", {**body, "postal_code": "1"}, Idempotency_Key=key)
    assert code_of(other) == (422, "reused_key")


async def test_an_edit_of_the_place_needs_a_fresh_quote(customer: Client, service: str) -> None:
    """Without a quote an edit of the place is `price_locked`. With a quote the job gets the new place and the quote's
    price.
    """
    job = await book(customer, service, blueprint="managed")
    path, moved = f"/v1/jobs/{job['id']}", {"lat": HERE["lat"] + 0.01, "lon": HERE["lon"]}
    refused = await customer("PATCH", path, moved)
    assert code_of(refused) == (409, "price_locked")
    assert [wrong["pointer"] for wrong in refused.json()["errors"]] == ["/lat"]
    fresh = await quote(customer, service, **moved)
    assert pointers(await customer("PATCH", path, {"notes": "x", "quote": fresh["id"]})) == {"/quote", "/lat", "/lon"}
    edited = (await customer("PATCH", path, {**moved, "quote": fresh["id"]})).json()["job"]
    assert (edited["lat"], edited["quote"]["id"], edited["amount"]) == (moved["lat"], fresh["id"], fresh["amount"])
    assert code_of(await customer("PATCH", path, {**HERE, "quote": job["quote"]["id"]})) == (409, "duplicate")


async def test_a_cap_is_audited(admin: Client, customer: Client, technician: Client) -> None:
    """Only ops can cap the prices of a zone. The cap limits the next quote, and is recorded in the audit trail."""
    service = await make_service(admin)
    path = "/v1/zones/main/pricing"
    assert code_of(await customer("PUT", path, {"max": 1000})) == (403, "forbidden")
    assert code_of(await technician("PUT", path, {"max": 1000})) == (403, "forbidden")
    assert code_of(await admin("PUT", "/v1/zones/nowhere/pricing", {"max": 1000})) == (404, "not_found")
    for wrong in (0, 999, 10_001, "1000", 1.5):
        assert pointers(await admin("PUT", path, {"max": wrong})) == {"/max"}
    assert (await admin("PUT", path, {"max": 1000})).json() == {"pricing": {"zone": "main", "max": 1000}}
    try:
        assert (await quote(customer, service))["amount"] == 9000
    finally:
        assert (await admin("PUT", path, {"max": None})).json() == {"pricing": {"zone": "main", "max": None}}

    async def entries() -> list[dict[str, Any]]:
        items = (await admin("GET", "/v1/audit?zone=main&action=audit.pricing_changed")).json()["items"]
        return items if len(items) >= 2 else []

    found = await wait_until(entries, what="two entries")
    assert {(entry["entity"], entry["id"], entry["actor"]) for entry in found} == {("zone", "main", "admin:cli_admin")}


@pytest.mark.parametrize("count", [10])
async def test_bookings_at_once_use_a_quote_once(customer: Client, service: str, count: int) -> None:
    """Of ten bookings at the same time one gets 201, and nine get `duplicate`, which names the job."""
    promised = await quote(customer, service)
    body = {"blueprint": "managed", "service": service, **HERE, "address": "x", "quote": promised["id"]}
    replies = await asyncio.gather(*(customer("POST", "/v1/jobs", body) for _ in range(count)))
    [won] = [reply.json()["job"]["id"] for reply in replies if reply.status_code == 201]
    lost = [reply for reply in replies if reply.status_code != 201]
    assert {code_of(reply) for reply in lost} == {(409, "duplicate")}
    assert {reply.json()["job"]["id"] for reply in lost} == {won}
