"""Zones as places: which zone a booking belongs to, and what users can read about the zones."""

from __future__ import annotations

from structlog.testing import capture_logs

from engine.rules.polygons import parse_polygons
from engine.rules.zone_areas import ZoneArea
from engine.types import Zone
from engine.workers import eraser
from tests.story.conftest import Person, Scenario
from tests.support.http import open_http
from tests.zones.conftest import AREAS, EAST, ELSEWHERE, OUTSIDE, TIMEZONES, WEST, book, book_ok, box, run_gateway_of
from tests.zones.test_border import wait_until_archived


async def test_users_read_the_zones_with_their_areas(border: Scenario) -> None:
    """`GET /v1/zones` has all zones in the order of the settings file, page by page."""
    customer = await border.create_person("customer", "Carla")
    items = [{"name": name, "polygon": area, "timezone": TIMEZONES[name]} for name, area in AREAS.items()]
    assert await customer.get("/v1/zones") == {"items": items, "next": None}
    first = await customer.get("/v1/zones?limit=2")
    assert first["items"] == items[:2]
    assert (await customer.get(f"/v1/zones?limit=2&cursor={first['next']}"))["items"] == items[2:]
    assert (await customer.get("/v1/meta"))["zones"] == list(AREAS)


async def test_a_booking_belongs_to_the_zone_of_its_place(border: Scenario) -> None:
    """A booking at a position outside all areas is refused with `out_of_area` and the pointer of the field. Otherwise
    the position decides the zone, which is in the job and in its id.
    """
    service, customer = await border.create_service(), await border.create_person("customer", "Carla")
    refused = await book(customer, service, OUTSIDE, reference="one")
    assert (refused["code"], refused["status"]) == ("out_of_area", 422)
    assert {error["pointer"] for error in refused["errors"]} == {"/lat", "/lon"}
    for place, zone in ((WEST, "west"), (EAST, "east"), (ELSEWHERE, "main"), ((40.5, -74.0), "east")):
        job = (await book(customer, service, place, reference=zone + str(place)))["job"]
        assert job["zone"] == zone and job["id"].startswith(f"job_{zone}_")
        assert (await customer.get(f"/v1/jobs/{job['id']}"))["job"]["zone"] == zone


async def test_an_edit_moves_no_job_to_another_zone(border: Scenario) -> None:
    """A new place in another zone or outside all zones is refused as `out_of_area`, and the job does not change. A new
    place in the job's own zone is accepted.
    """
    service, customer = await border.create_service(), await border.create_person("customer", "Carla")
    job = (await book(customer, service, EAST, blueprint="marketplace"))["job"]
    path = f"/v1/jobs/{job['id']}"
    for lat, lon in (WEST, ELSEWHERE, OUTSIDE):
        refused = (await customer.request("PATCH", path, {"lat": lat, "lon": lon})).json()
        assert refused["code"] == "out_of_area", refused
        assert {error["pointer"] for error in refused["errors"]} == {"/lat", "/lon"}
    assert (await customer.get(path))["job"]["version"] == job["version"]
    moved = (await customer.request("PATCH", path, {"lat": 40.76, "lon": -73.98})).json()["job"]
    assert (moved["zone"], moved["lat"]) == ("east", 40.76)


async def test_changed_polygons_move_no_job(border: Scenario) -> None:
    """Where the polygons have changed, a job stays in its zone and can be read and edited as before. Its place may move
    within the job's zone or within the zone where the place lies now, but not to a third zone. A new booking at that
    place belongs to the zone where the place lies now.
    """
    service, customer = await border.create_service(), await border.create_person("customer", "Carla")
    job = await book_ok(customer, service, WEST, blueprint="marketplace")
    polygons = {"east": box(-74.5, 40, -73, 41), "west": box(-75, 40, -74.5, 41)}
    areas = tuple(ZoneArea(Zone(name), parse_polygons(polygon), TIMEZONES[name]) for name, polygon in polygons.items())
    async with run_gateway_of(border.server, "west", "east", areas=areas) as changed, open_http(changed.url) as http:
        there = Person(http, changed.ws_url, customer.bearer, customer.user)
        assert (await book_ok(there, service, WEST)).startswith("job_east_")
        path = f"/v1/jobs/{job}"
        assert (await there.get(path))["job"]["zone"] == "west"
        for lon, code in ((-74.02, None), (-74.6, None), (10.0, "out_of_area"), (-74.02, "out_of_area")):
            reply = (await there.request("PATCH", path, {"lat": 40.5, "lon": lon})).json()
            assert reply.get("code") == code, (lon, reply)
        assert (await customer.get(path))["job"]["lon"] == -74.6


async def test_a_zone_that_is_not_declared_any_more_delays_an_erasure(border: Scenario) -> None:
    """A user with events in a zone that is no longer declared cannot be erased: the refusal is `not_erasable` with
    `zone` in `blockers`, and the status of an earlier erasure request names it too. Other users can be erased. The
    user can be erased by a server whose settings declare the zone."""
    service, other = await border.create_service(), await border.create_person("customer", "Carl")
    customer = await border.create_person("customer", "Carla")
    job = await book_ok(customer, service, WEST)
    assert (await customer.post(f"/v1/jobs/{job}/cancel", {"reason": "no time"})).status_code == 200
    await wait_until_archived(border)
    areas = tuple(area for area in border.server.engine.settings.zone_areas if area.name != "west")
    paths = [f"/v1/users/{person.id}/erasure" for person in (customer, other)]
    async with run_gateway_of(border.server, "east", areas=areas) as changed, open_http(changed.url) as http:
        admin = Person(http, changed.ws_url, border.admin.bearer, border.admin.user)
        refused = (await admin.post(paths[0], {"reason": "asked"})).json()
        assert (refused["code"], refused.get("blockers")) == ("not_erasable", ["zone"])
        assert (await customer.request("GET", "/v1/me")).status_code == 200
        assert (await admin.post(paths[1], {"reason": "asked"})).json()["erasure"]["blockers"] == []
        asked = (await border.admin.post(paths[0], {"reason": "asked"})).json()
        assert asked["erasure"]["blockers"] == [], asked
        assert (await admin.get(paths[0]))["erasure"]["blockers"] == ["zone"]
        with capture_logs() as logged:
            assert await eraser.run_once(changed.engine) == 0
        assert any("declare again: zone west" in each.get("error", "") for each in logged), logged
