"""The routes of demand: which roles may read which data of which areas."""

from __future__ import annotations

from typing import Any

import pytest

from engine.domain import demand_pulse
from engine.rules.pulse import AreaKind, AreaPulse, HourAhead, cell_at, lineage_of
from engine.runtime import Engine
from engine.sql.demand_tables import demand_hours
from engine.store import keys
from engine.types import DEFAULT_ZONE, Role
from server.serve import RunningServer
from tests.server.http.client import Client, code_of, pointers

MIDDLE, NEXT_TO_IT, FAR = cell_at(10.0, 10.0), cell_at(10.008, 10.0), cell_at(12.0, 12.0)
PARENT = lineage_of(FAR)[1]
READERS = {"ops_manager", "admin", "service"}


@pytest.fixture
async def stored(site: RunningServer) -> None:
    """Store the pulse of three cells, of a parent, and of two postal codes whose cells touch."""
    engine = site.engine
    ahead = (HourAhead(1, 4.25, 2, 7),)
    cells = {
        MIDDLE: AreaPulse(score=100.0, lift=1.5, waiting=2, free=1, arrivals=4.0, ahead=ahead, sample=900),
        NEXT_TO_IT: AreaPulse(score=50.0, sample=300, multipliers={"managed": 1200, "other": 1100}),
        FAR: AreaPulse(score=10.0, sample=29),
        PARENT: AreaPulse(score=70.0, sample=31),
    }
    await store(engine, "cell", cells)
    await store(engine, "postal_code", {"A 1": AreaPulse(score=60.0, sample=90), "B": AreaPulse(sample=30)})
    same = {"zone": DEFAULT_ZONE, "kind": "postal_cell", "hour": 10**7, "quoted": 0, "filled": 0, "expired": 0}
    rows = [{**same, "area": f"A 1 {MIDDLE}", "booked": 90}, {**same, "area": f"B {NEXT_TO_IT}", "booked": 30}]
    async with engine.archive.begin_write() as conn:
        await conn.execute(demand_hours.delete().where(demand_hours.c.kind == "postal_cell"))
        await conn.execute(demand_hours.insert(), rows)


async def store(engine: Engine, kind: AreaKind, pulses: dict[str, AreaPulse]) -> None:
    """Store pulses as of now, instead of all others."""
    await engine.store.command("DEL", keys.demand_pulse(DEFAULT_ZONE, kind))
    encoded = {area: demand_pulse.encode_pulse(pulse) for area, pulse in pulses.items()}
    now = int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now"))
    await demand_pulse.store_pulses(engine, DEFAULT_ZONE, kind, encoded, now)


async def read(client: Client, query: str = "") -> list[dict[str, Any]]:
    """Return the items of demand."""
    answer = await client("GET", f"/v1/demand{query}")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_a_wrong_query_is_invalid(admin: Client) -> None:
    """An unknown kind of area and an invalid box are refused with the pointer; an unknown zone is `not_found`."""
    for query, pointer in (
        ("by=street", "/by"),
        ("bbox=1,2,3", "/bbox"),
        ("bbox=1,3,2,2", "/bbox"),
        ("zone=A!", "/zone"),
    ):
        assert pointers(await admin("GET", f"/v1/demand?{query}")) == {pointer}, query
    for path in ("", "/clusters", "/backtest"):
        assert code_of(await admin("GET", f"/v1/demand{path}?zone=north")) == (404, "not_found")


async def test_customers_and_mediators_read_nothing_and_technicians_scores(
    staff: dict[Role, Client], technician: Client, customer: Client, nobody: Client, stored: None
) -> None:
    """Ops and services read everything. A technician reads only scores. Customers and mediators read nothing."""
    assert code_of(await nobody("GET", "/v1/demand")) == (401, "unauthenticated")
    for role, client in {**staff, "customer": customer, "technician": technician}.items():
        for path in ("", "/clusters", "/backtest"):
            allowed = role in READERS or (role == "technician" and not path)
            answer = await client("GET", f"/v1/demand{path}")
            assert answer.status_code == (200 if allowed else 403), (role, path)
    assert {name for item in await read(technician) for name in item} == {"area", "polygon", "score", "from", "as_of"}


async def test_areas_are_listed_by_score(admin: Client, stored: None) -> None:
    """The highest score comes first. A cell with few requests has the numbers of its parent, which it names. Parents
    are not listed as items.
    """
    first, second, third = await read(admin)
    assert [each["area"] for each in (first, second, third)] == [MIDDLE, FAR, NEXT_TO_IT]
    expected = {"score": 100.0, "lift": 1.5, "waiting": 2, "free": 1, "multiplier": 1000, "sample": 900}
    assert {name: first[name] for name in expected} == expected
    assert first["ahead"] == [{"h": 1, "mean": 4.25, "p10": 2, "p90": 7}]
    assert len(first["polygon"]["coordinates"][0]) == 7
    assert (second["from"], second["score"], second["sample"]) == (PARENT, 70.0, 31)
    assert third["multiplier"] == 1200 and "from" not in third


async def test_a_box_selects_areas(admin: Client, stored: None) -> None:
    """A box selects the cells whose centres it contains, and the postal codes that have such a cell."""
    around_far, around_middle = "?bbox=11.9,11.9,12.1,12.1", "?bbox=9.99,9.99,10.01,10.004"
    assert [each["area"] for each in await read(admin, around_far)] == [FAR]
    assert [each["area"] for each in await read(admin, "?by=postal_code")] == ["A 1", "B"]
    assert [each["area"] for each in await read(admin, f"{around_middle}&by=postal_code")] == ["A 1"]


async def test_the_map_has_a_layer_of_demand(admin: Client, stored: None) -> None:
    """If it is requested, the map of a zone has the areas of its box as a further layer, in the order of the list."""
    path = "/v1/zones/main/map?bbox=9,9,13,13"
    found = (await admin("GET", f"{path}&layers=demand")).json()
    assert found["demand"] == await read(admin) and "people" not in found
    assert "demand" not in (await admin("GET", path)).json()
    nothing = await admin("GET", "/v1/zones/main/map?bbox=20,9,21,10&layers=people,demand")
    assert nothing.json()["demand"] == []


async def test_clusters_join_neighbours(admin: Client, stored: None) -> None:
    """Adjacent cells form one cluster, and so do postal codes with adjacent cells. A distant cell forms a cluster of
    its own.
    """
    found = (await admin("GET", "/v1/demand/clusters")).json()["items"]
    assert [(each["area"], each["areas"], each["sample"]) for each in found] == [
        (MIDDLE, sorted([MIDDLE, NEXT_TO_IT]), 1200),
        (FAR, [FAR], 29),
    ]
    assert (found[0]["waiting"], found[0]["free"], found[0]["expected"]) == (2, 1, 4.0)
    by_code = (await admin("GET", "/v1/demand/clusters?by=postal_code")).json()["items"]
    assert [each["areas"] for each in by_code] == [["A 1", "B"]]
