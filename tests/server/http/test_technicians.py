"""Services and technicians: profiles, reviews, availability and positions."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.store import keys
from engine.types import DEFAULT_ZONE, Role, TechnicianId
from server.http.auth import Authenticate
from server.serve import Running
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
    """Amounts are whole and not negative, currencies have three letters, prices are flat or hourly."""
    assert pointers(await admin("POST", "/v1/services", {**SERVICE, field: value})) == {f"/{field}"}


async def test_services_are_made_found_and_changed(admin: Client, customer: Client) -> None:
    """A service is made with defaults, found by name and category, and withdrawn from customers' sight."""
    name = f"Gutters {uuid.uuid4().hex[:8]}"
    answer = await admin("POST", "/v1/services", {**SERVICE, "name": name})
    made = answer.json()["service"]
    assert (made["duration_min"], made["active"]) == (60, True)
    assert (await customer("GET", answer.headers["location"])).json()["service"] == made
    found = await customer("GET", f"/v1/services?q={name.upper()}&category=roof")
    assert [item["id"] for item in found.json()["items"]] == [made["id"]]
    await admin("PATCH", f"/v1/services/{made['id']}", {"active": False})
    assert (await customer("GET", f"/v1/services?q={name}")).json()["items"] == []


async def test_a_customer_sees_the_card_only(at_work: Client, customer: Client, admin: Client) -> None:
    """Phone, load and review are for himself and managers."""
    path = f"/v1/technicians/{at_work.user}"
    card = (await customer("GET", path)).json()["technician"]
    assert {"phone", "kyc", "account", "load"}.isdisjoint(card)
    whole = (await admin("GET", path)).json()["technician"]
    assert whole == (await at_work("GET", path)).json()["technician"]
    assert (whole["kyc"], whole["account"], whole["online"]) == ("approved", "approved", True)


async def test_nobody_else_changes_a_profile(at_work: Client, join: Join) -> None:
    """Another technician is refused; so is he himself, where the field is for managers."""
    other, mine = await join("technician"), f"/v1/technicians/{at_work.user}"
    assert code_of(await other("PATCH", mine, {"name": "Eve"}))[0] in (403, 404)
    assert code_of(await at_work("PATCH", mine, {"capacity": 9})) == (403, "forbidden")
    for path, body in (("availability", {"online": False}), ("location", HERE)):
        assert code_of(await other("PUT", f"{mine}/{path}", body))[0] in (403, 404)


async def test_going_online_is_refused_in_order(join: Join, admin: Client, service: str) -> None:
    """Profile before KYC, KYC before account, account before position."""
    technician = await join("technician")
    mine = f"/v1/technicians/{technician.user}"
    online = {"online": True, **HERE}

    async def told() -> tuple[int, str]:
        return code_of(await technician("PUT", f"{mine}/availability", online))

    assert await told() == (403, "profile_incomplete")
    await technician("PATCH", mine, {"services": [service]})
    assert await told() == (403, "kyc_not_approved")
    await admin("POST", f"{mine}/review", {"kyc": "approved"})
    assert await told() == (403, "account_not_approved")
    await admin("POST", f"{mine}/review", {"account": "approved"})
    assert pointers(await technician("PUT", f"{mine}/availability", {"online": True})) == {"/lat", "/lon"}
    answer = await technician("PUT", f"{mine}/availability", online)
    assert answer.json() == {
        "online": True,
        "receiving": True,
        "blockers": [],
        "lease_s": 90.0,
        "fix": {"every_s": 30},
        "clock_offset_s": 0.0,
    }
    off = await technician("PUT", f"{mine}/availability", {"online": False})
    assert (off.json()["online"], off.json()["blockers"]) == (False, ["offline"])


async def test_review_is_told_in_the_answer(join: Join, staff: dict[Role, Client]) -> None:
    """An onboarding manager's verdict stands in the technician he gets back."""
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
async def test_a_bad_fix_is_refused(body: object, wrong: set[str], at_work: Client) -> None:
    """Positions off the map, times without a zone, empty lists: refused where they are."""
    assert pointers(await at_work("PUT", f"/v1/technicians/{at_work.user}/location", body)) == wrong


@pytest.mark.parametrize("many", [False, True])
async def test_fixes_are_taken(many: bool, site: Running, at_work: Client) -> None:
    """A fix, or several, is answered 204 and stands in the hot record."""
    fix = {"lat": 52.5, "lon": 13.41, "at": datetime.now(UTC).isoformat(), "accuracy": 5}
    body = {"fixes": [{**HERE, "at": "2020-01-01T00:00:00Z"}, fix]} if many else fix
    answer = await at_work("PUT", f"/v1/technicians/{at_work.user}/location", body)
    assert (answer.status_code, answer.content) == (204, b"")
    name = keys.technician(DEFAULT_ZONE, TechnicianId(at_work.user))  # type: ignore[arg-type]

    async def there() -> bool:
        return float(await site.engine.store.redis.hget(name, "lat") or 0) == 52.5

    await wait_until(there)


@pytest.mark.parametrize(
    "fix",
    [
        {"speed": -1, "heading": -1, "accuracy": -1},
        {"heading": 360},
        {"heading": 400, "altitude": "NaN", "speed": None},
    ],
)
async def test_what_was_not_measured_is_absent(fix: dict[str, object], at_work: Client) -> None:
    """A device that does not know its speed or heading says so in its own way, and its place counts; in a batch, the
    fixes that are wrong are left out.
    """
    path = f"/v1/technicians/{at_work.user}/location"
    assert (await at_work("PUT", path, {**HERE, **fix})).status_code == 204
    assert (await at_work("PUT", path, {"fixes": [{"lat": 1}, {**HERE, **fix}, "x"]})).status_code == 204


async def test_who_is_offline_or_has_a_wrong_clock_is_told(at_work: Client) -> None:
    """In the answer to a fix; the clock also where availability and account are asked for."""
    mine = f"/v1/technicians/{at_work.user}"
    slow = {**HERE, "at": (datetime.now(UTC) - timedelta(minutes=5)).isoformat()}
    told = (await at_work("PUT", f"{mine}/location", slow)).json()
    assert told["online"] is True and told["clock_offset_s"] == pytest.approx(-300, abs=5)
    off = await at_work("PUT", f"{mine}/availability", {"online": False})
    me = await at_work("GET", "/v1/me")
    assert off.json()["clock_offset_s"] == me.json()["clock_offset_s"] == told["clock_offset_s"]
    assert (await at_work("PUT", f"{mine}/location", HERE)).json() == {**told, "online": False}


async def test_technicians_are_found_near_by(at_work: Client, customer: Client, service: str) -> None:
    """With a service and a place, those who could come now."""
    near = f"/v1/technicians?service={service}&lat={HERE['lat']}&lon={HERE['lon']}&limit=200"
    found = (await customer("GET", near)).json()["items"]
    assert at_work.user in {item["id"] for item in found}
    assert pointers(await customer("GET", "/v1/technicians?lat=1&lon=2")) == {"/service"}


async def test_a_request_renews_the_lease(site: Running, at_work: Client) -> None:
    """Any authenticated request is a sign of life, at most four times in a lease, on both kinds of scope."""
    seen, client = keys.last_seen(DEFAULT_ZONE), site.engine.store.redis
    token = f"Bearer {at_work.token}".encode()

    before = round(time.time()) * 1000 - 50_000  # old, and within the lease: the scheduler ends those that ran out

    async def after(authenticate: Authenticate, kind: str) -> float:
        await client.zadd(seen, {at_work.user: before})
        scope: dict[str, Any] = {"type": kind, "headers": [(b"authorization", token)]}
        await authenticate(scope, nothing, nothing)
        assert scope["state"]["principal"].id == at_work.user
        return float(await client.zscore(seen, at_work.user) or 0)

    async def nothing(*_: object) -> Any: ...

    for kind in ("http", "websocket"):
        fresh = Authenticate(nothing, site.engine)
        assert await after(fresh, kind) > before
        assert await after(fresh, kind) == before
    await client.zadd(seen, {at_work.user: time.time() * 1000})
