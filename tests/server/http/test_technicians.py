"""Services and technicians: profiles, reviews, availability and positions."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.store import keys
from engine.types import DEFAULT_ZONE, Role, TechnicianId
from server.http.auth import AuthenticationLayer
from server.serve import RunningServer
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Join
from tests.support.wait import wait_until

SERVICE = {"name": "Gutters", "category": "roof", "base_amount": 100, "currency": "EUR", "pricing": "hourly"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_amount", -1),
        ("base_amount", 1.5),
        ("currency", "euro"),
        ("currency", "ZZZ"),
        ("pricing", "free"),
        ("duration_min", 0),
    ],
)
async def test_a_bad_service_is_refused(field: str, value: object, admin: Client) -> None:
    """A service with a negative or fractional amount, an unknown currency or pricing, or a duration of 0 is refused at
    the field.
    """
    assert pointers(await admin("POST", "/v1/services", {**SERVICE, field: value})) == {f"/{field}"}


async def test_services_are_created_found_and_deactivated(admin: Client, customer: Client) -> None:
    """A new service has defaults, is found by name and category, and disappears for customers once it is inactive."""
    name = f"Gutters {uuid.uuid4().hex[:8]}"
    answer = await admin("POST", "/v1/services", {**SERVICE, "name": name})
    created_service = answer.json()["service"]
    assert (created_service["duration_min"], created_service["active"]) == (60, True)
    assert (await customer("GET", answer.headers["location"])).json()["service"] == created_service
    found = await customer("GET", f"/v1/services?q={name.upper()}&category=roof")
    assert [item["id"] for item in found.json()["items"]] == [created_service["id"]]
    await admin("PATCH", f"/v1/services/{created_service['id']}", {"active": False})
    assert (await customer("GET", f"/v1/services?q={name}")).json()["items"] == []


async def test_a_customer_sees_the_public_profile_only(technician: Client, customer: Client, admin: Client) -> None:
    """A customer does not see a technician's phone, load and review. The technician and an admin see the
    whole profile.
    """
    path = f"/v1/technicians/{technician.user}"
    card = (await customer("GET", path)).json()["technician"]
    assert {"phone", "kyc", "account", "load"}.isdisjoint(card)
    full_profile = (await admin("GET", path)).json()["technician"]
    assert full_profile == (await technician("GET", path)).json()["technician"]
    assert (full_profile["kyc"], full_profile["account"], full_profile["online"]) == ("approved", "approved", True)


async def test_nobody_else_changes_a_profile(technician: Client, join: Join) -> None:
    """Another technician may not change a profile. The technician may not change a field that is for managers."""
    other, profile_path = await join("technician"), f"/v1/technicians/{technician.user}"
    assert code_of(await other("PATCH", profile_path, {"name": "Eve"}))[0] in (403, 404)
    assert code_of(await technician("PATCH", profile_path, {"capacity": 9})) == (403, "forbidden")
    for path, body in (("availability", {"online": False}), ("location", HERE)):
        assert code_of(await other("PUT", f"{profile_path}/{path}", body))[0] in (403, 404)


async def test_going_online_checks_in_order(join: Join, admin: Client, service: str) -> None:
    """Going online is refused until these are complete, in this order: profile, KYC, account, position. A repeat with
    the same key is marked with `Idempotency-Replayed`.
    """
    technician = await join("technician")
    profile_path = f"/v1/technicians/{technician.user}"
    online = {"online": True, **HERE}

    async def refusal() -> tuple[int, str]:
        return code_of(await technician("PUT", f"{profile_path}/availability", online))

    assert await refusal() == (403, "profile_incomplete")
    await technician("PATCH", profile_path, {"services": [service]})
    assert await refusal() == (403, "kyc_not_approved")
    await admin("POST", f"{profile_path}/review", {"kyc": "approved"})
    assert await refusal() == (403, "account_not_approved")
    await admin("POST", f"{profile_path}/review", {"account": "approved"})
    assert pointers(await technician("PUT", f"{profile_path}/availability", {"online": True})) == {"/lat", "/lon"}
    answer = await technician("PUT", f"{profile_path}/availability", online)
    assert answer.json() == {
        "online": True,
        "receiving": True,
        "blockers": [],
        "lease_s": 90.0,
        "fix": {"every_s": 30, "distance_m": 250},
        "clock_offset_s": 0.0,
    }
    key = str(uuid.uuid4())
    for is_repeat in (False, True):
        off = await technician("PUT", f"{profile_path}/availability", {"online": False}, Idempotency_Key=key)
        assert (off.json()["online"], off.json()["blockers"]) == (False, ["offline"])
        assert ("idempotency-replayed" in off.headers) is is_repeat


async def test_a_review_returns_the_technician(join: Join, staff: dict[Role, Client]) -> None:
    """The reply to an onboarding manager's review contains the technician with the new `kyc`."""
    technician = await join("technician")
    path = f"/v1/technicians/{technician.user}/review"
    answer = await staff["onboarding_manager"]("POST", path, {"kyc": "rejected", "reason": "blurred"})
    assert answer.json()["technician"]["kyc"] == "rejected"


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"lat": 91, "lon": 0}, {"/lat"}),
        ({"lat": 0, "lon": -181}, {"/lon"}),
        ({"lat": 89.9, "lon": 0}, {"/lat"}),
        ({**HERE, "at": "2026-01-31"}, {"/at"}),
        ({"fixes": []}, {"/fixes"}),
        ({"fixes": [HERE] * 101}, {"/fixes"}),
        ({"fixes": [{"lat": 1}, 5]}, {"/fixes/0/lon", "/fixes/1"}),
        ({"fixes": [{"lat": 89, "lon": 0}]}, {"/lat"}),
    ],
)
async def test_a_bad_fix_is_refused(body: object, wrong: set[str], technician: Client) -> None:
    """A position with an invalid latitude or longitude, a time without a time zone and an empty list are refused at the
    field.
    """
    assert pointers(await technician("PUT", f"/v1/technicians/{technician.user}/location", body)) == wrong


@pytest.mark.parametrize("many", [False, True])
async def test_fixes_are_accepted(many: bool, site: RunningServer, technician: Client) -> None:
    """One fix or several are answered with 204, and Redis has the newest position."""
    fix = {"lat": 52.5, "lon": 13.41, "at": datetime.now(UTC).isoformat(), "accuracy": 5}
    body = {"fixes": [{**HERE, "at": "2020-01-01T00:00:00Z"}, fix]} if many else fix
    answer = await technician("PUT", f"/v1/technicians/{technician.user}/location", body)
    assert (answer.status_code, answer.content) == (204, b"")
    name = keys.technician(DEFAULT_ZONE, TechnicianId(technician.user))  # type: ignore[arg-type]

    async def is_stored() -> bool:
        return float(await site.engine.store.redis.hget(name, "lat") or 0) == 52.5

    await wait_until(is_stored)


@pytest.mark.parametrize(
    "fix",
    [
        {"speed": -1, "heading": -1, "accuracy": -1},
        {"heading": 360},
        {"heading": 400, "altitude": "NaN", "speed": None},
    ],
)
async def test_unmeasured_values_are_ignored(fix: dict[str, object], technician: Client) -> None:
    """A value that means "not measured", such as a speed of -1, is ignored, and the position is accepted. In a batch,
    invalid fixes are ignored.
    """
    path = f"/v1/technicians/{technician.user}/location"
    assert (await technician("PUT", path, {**HERE, **fix})).status_code == 204
    assert (await technician("PUT", path, {"fixes": [{"lat": 1}, {**HERE, **fix}, "x"]})).status_code == 204


async def test_a_fix_reports_offline_and_clock_offset(technician: Client) -> None:
    """The reply to a fix says if the technician is offline or the device's clock is wrong. Availability and account
    show the same clock offset.
    """
    profile_path = f"/v1/technicians/{technician.user}"
    slow = {**HERE, "at": (datetime.now(UTC) - timedelta(minutes=5)).isoformat()}
    reply = (await technician("PUT", f"{profile_path}/location", slow)).json()
    assert reply["online"] is True and reply["clock_offset_s"] == pytest.approx(-300, abs=5)
    off = await technician("PUT", f"{profile_path}/availability", {"online": False})
    me = await technician("GET", "/v1/me")
    assert off.json()["clock_offset_s"] == me.json()["clock_offset_s"] == reply["clock_offset_s"]
    assert (await technician("PUT", f"{profile_path}/location", HERE)).json() == {**reply, "online": False}


async def test_technicians_are_listed_by_service_and_place(technician: Client, customer: Client, service: str) -> None:
    """With a service and a position, the list contains the technicians who could come now. A position without a service
    is refused.
    """
    query = f"/v1/technicians?service={service}&lat={HERE['lat']}&lon={HERE['lon']}&limit=200"
    technicians = (await customer("GET", query)).json()["items"]
    assert technician.user in {item["id"] for item in technicians}
    assert pointers(await customer("GET", "/v1/technicians?lat=1&lon=2")) == {"/service"}


async def test_a_request_renews_the_lease(site: RunningServer, technician: Client) -> None:
    """An authenticated HTTP request or WebSocket renews the presence lease, at most four times in one lease."""
    last_seen, client = keys.last_seen(DEFAULT_ZONE), site.engine.store.redis
    token = f"Bearer {technician.token}".encode()

    before = round(time.time()) * 1000 - 50_000  # old, but within the lease, because the scheduler ends expired leases

    async def lease_after_request(authenticate: AuthenticationLayer, kind: str) -> float:
        await client.zadd(last_seen, {technician.user: before})
        scope: dict[str, Any] = {"type": kind, "headers": [(b"authorization", token)]}
        await authenticate(scope, ignore_call, ignore_call)
        assert scope["state"]["principal"].id == technician.user
        return float(await client.zscore(last_seen, technician.user) or 0)

    async def ignore_call(*_: object) -> Any: ...

    for kind in ("http", "websocket"):
        fresh = AuthenticationLayer(ignore_call, site.engine)
        assert await lease_after_request(fresh, kind) > before
        assert await lease_after_request(fresh, kind) == before
    await client.zadd(last_seen, {technician.user: time.time() * 1000})
