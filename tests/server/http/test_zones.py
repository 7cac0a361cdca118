"""The routes of zones and of their maps."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from random import Random

from engine.archive.past_places import GRID_M, round_place
from engine.rules.distances import METRES_PER_DEGREE
from engine.types import Role
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.support.wait import wait_until

BOX_AROUND_HERE = "13.3,52.4,13.5,52.6"


async def test_users_read_the_zones(staff: dict[Role, Client], nobody: Client) -> None:
    """Every user may read the zones. The only one here is `main`, which has no polygon and contains every place."""
    main = {"name": "main", "polygon": None, "timezone": "UTC"}
    assert code_of(await nobody("GET", "/v1/zones")) == (401, "unauthenticated")
    for client in staff.values():
        assert (await client("GET", "/v1/zones")).json() == {"items": [main], "next": None}


async def test_users_read_how_good_the_predicted_arrivals_were(staff: dict[Role, Client], nobody: Client) -> None:
    """Every user may read the accuracy of a zone's predictions; `sample` is 0 before a journey has ended. An unknown
    zone is `not_found`, an unknown parameter `invalid`.
    """
    assert code_of(await nobody("GET", "/v1/zones/main/quality")) == (401, "unauthenticated")
    assert code_of(await staff["customer"]("GET", "/v1/zones/north/quality")) == (404, "not_found")
    assert pointers(await staff["customer"]("GET", "/v1/zones/main/quality?days=7")) == {"/days"}
    for client in staff.values():
        found = (await client("GET", "/v1/zones/main/quality")).json()
        assert (found["zone"], found["sample"], found["kept"]) == ("main", 0, {"share": None, "sample": 0})
        assert [each["sample"] for each in found["errors"]] == [0, 0, 0]


async def test_a_box_that_is_no_box_is_invalid(admin: Client) -> None:
    """A missing, malformed or empty box, and an unknown layer, are refused with `invalid` and the pointer of the
    parameter."""
    boxes = ("", "?bbox=", "?bbox=13,52,14", "?bbox=13,52,14,53,54", "?bbox=a,b,c,d", "?bbox=nan,52,14,53")
    boxes += ("?bbox=13,53,14,53", "?bbox=14,52,14,53", "?bbox=13,52,14,86", "?bbox=13,52,181,53")
    for query in boxes:
        assert pointers(await admin("GET", f"/v1/zones/main/map{query}")) == {"/bbox"}, query
    for more, pointer in (("layers=demands", "/layers"), ("layers=", "/layers"), ("zoom=3", "/zoom")):
        assert pointers(await admin("GET", f"/v1/zones/main/map?bbox={BOX_AROUND_HERE}&{more}")) == {pointer}


async def test_only_ops_read_a_map(staff: dict[Role, Client]) -> None:
    """The map of a zone is for ops; an unknown zone is `not_found`."""
    for role, client in staff.items():
        answer = await client("GET", f"/v1/zones/main/map?bbox={BOX_AROUND_HERE}")
        assert answer.status_code == (200 if role in ("ops_manager", "admin") else 403), role
    assert code_of(await staff["admin"]("GET", f"/v1/zones/north/map?bbox={BOX_AROUND_HERE}")) == (404, "not_found")


async def test_the_map_has_people_and_jobs(admin: Client, technician: Client, customer: Client, book: Book) -> None:
    """The map has the technician and the job that are in the box, and those layers that were asked for."""
    job = await book(customer)
    found = (await admin("GET", f"/v1/zones/main/map?bbox={BOX_AROUND_HERE}")).json()
    person = next(each for each in found["people"] if each["id"] == technician.user)
    assert (person["lat"], person["lon"], person["state"]) == (HERE["lat"], HERE["lon"], "free")
    place = next(each for each in found["jobs"] if each["id"] == job["id"])
    assert (place["lat"], place["status"], place["phase"]) == (HERE["lat"], "broadcasted", "open")
    assert found["as_of"]["main"]["seq"] > 0 and found["clusters"] == []
    only = (await admin("GET", f"/v1/zones/main/map?bbox={BOX_AROUND_HERE}&layers=jobs")).json()
    assert "people" not in only and only["jobs"]
    elsewhere = (await admin("GET", "/v1/zones/main/map?bbox=170,-20,-170,-10")).json()
    assert elsewhere["people"] == elsewhere["jobs"] == []


async def test_only_ops_read_where_past_jobs_were(
    staff: dict[Role, Client], admin: Client, technician: Client, customer: Client, book: Book
) -> None:
    """The places of past jobs are for ops. They are rounded to 25 m, each is there once, and live jobs are missing."""
    path = "/v1/zones/main/places"
    for role, client in staff.items():
        assert (await client("GET", path)).status_code == (200 if role in ("ops_manager", "admin") else 403), role
    assert code_of(await admin("GET", "/v1/zones/north/places")) == (404, "not_found")
    assert pointers(await admin("GET", f"{path}?limit=3")) == {"/limit"}
    north = 40.0  # of no other test
    for metres in (0, 3, 100, 1000):
        job = await book(customer, lat=north + metres / METRES_PER_DEGREE)
        if metres < 1000:
            assert (await customer("POST", f"/v1/jobs/{job['id']}/cancel", {})).status_code == 200

    async def places() -> list[float]:
        found = (await admin("GET", path)).json()["places"]
        return [lat for lat, lon in found if abs(lat - north) < 0.1 and abs(lon - HERE["lon"]) < 0.001]

    await wait_until(lambda: has_length(places, 2), what="two places")
    low, high = await places()
    assert abs(low - north) * METRES_PER_DEGREE <= GRID_M / 2 and 99 < (high - low) * METRES_PER_DEGREE < 101


async def has_length(read: Callable[[], Awaitable[list[float]]], length: int) -> bool:
    """Return whether a list that is read has this length."""
    return len(await read()) == length


def test_a_rounded_place_is_near_and_valid() -> None:
    """A rounded place is at most half a grid away in each direction, also near the poles' limit and the date line."""
    draw = Random(7)
    for _ in range(2000):
        lat, lon = draw.uniform(-89, 89), draw.choice((draw.uniform(-180, 180), 180.0, -180.0))
        at, beside = round_place(lat, lon)
        width = METRES_PER_DEGREE * math.cos(math.radians(lat))
        assert abs(at - lat) * METRES_PER_DEGREE <= 12.6 and abs(beside - lon) * width <= 12.6
        assert -90 <= at <= 90 and -180 <= beside <= 180


async def test_a_stream_has_no_map(admin: Client) -> None:
    """Only a WebSocket can follow a map: an event stream that names a map as its channel is refused with `invalid`."""
    assert pointers(await admin("GET", "/v1/events?channels=map:main&wait=0&after=main:e1:0")) == {"/channels"}
