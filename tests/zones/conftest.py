"""A server with two zones that share a border, and users on both sides of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings, read_settings
from engine.rules.zone_areas import ZoneArea
from engine.types import Zone
from server.serve import RunningServer, run_server
from tests.story.conftest import Person, Scenario
from tests.support.http import open_http

WEST, EAST, ELSEWHERE, OUTSIDE = (40.75, -74.01), (40.75, -73.99), (10.0, 10.0), (60.0, 10.0)
"""Positions: 850 m west and east of the border at 74° west; in neither zone; outside the area of `main`."""


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    """Return a box as a GeoJSON Polygon."""
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


AREAS = {"west": box(-75, 40, -74, 41), "east": box(-74, 40, -73, 41), "main": box(-90, -10, 90, 50)}
TIMEZONES = {"west": "America/New_York", "east": "America/Halifax", "main": "UTC"}


def declare_zones(settings: Settings, folder: Path, served: str | None = None) -> Settings:
    """Return the settings with the zones of this module, which it writes to a settings file in ``folder``. ``served``
    are those of `--zones`."""
    lines = []
    for name, area in AREAS.items():
        (folder / f"{name}.geojson").write_text(json.dumps(area))
        lines += [f"[zones.{name}]", f'polygon = "{name}.geojson"', f'timezone = "{TIMEZONES[name]}"']
    (folder / "callout.toml").write_text("\n".join(lines))
    flags = {name: value for name in ("data", "redis", "database", "limits") if (value := getattr(settings, name))}
    return read_settings({**flags, "port": 0, "zones": served}, env={}, file=folder / "callout.toml")


@pytest.fixture
async def zoned_server(settings: Settings, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """Run a server that serves all zones."""
    async with run_server(declare_zones(settings, tmp_path)) as serving:
        yield serving


@pytest.fixture
async def border(zoned_server: RunningServer) -> AsyncIterator[Scenario]:
    """Yield a scenario on the server with two zones."""
    async with open_http(zoned_server.url) as http:
        built = Scenario(zoned_server, http)
        yield built
        for person in built.people:
            await person.socket.close()


async def book(
    person: Person, service: str, place: tuple[float, float], *, key: str | None = None, **fields: Any
) -> dict[str, Any]:
    """Book a job at a position and return the body of the reply, which may be a problem."""
    lat, lon = place
    body = {"service": service, "lat": lat, "lon": lon, "address": "1 Main St", **fields}
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    found: dict[str, Any] = (await person.post("/v1/jobs", body, **headers)).json()
    return found


async def book_ok(person: Person, service: str, place: tuple[float, float], **fields: Any) -> str:
    """Book a job at a position and return its id."""
    reply = await book(person, service, place, **fields)
    assert "job" in reply, reply
    job: str = reply["job"]["id"]
    return job


@asynccontextmanager
async def run_gateway_of(
    server: RunningServer, *zones: str, areas: tuple[ZoneArea, ...] | None = None
) -> AsyncIterator[RunningServer]:
    """Run a gateway that serves only ``zones`` (and `main`), on the Redis and the database of ``server``. ``areas`` are
    the places of the zones if they differ from the server's.
    """
    settings = server.engine.settings
    other = msgspec.structs.replace(
        settings,
        data=f"{settings.data}-{'-'.join(zones)}",
        database=settings.database or f"sqlite:///{settings.data}/callout.db",
        key_file=f"{settings.data}/signing.key",
        files=f"{settings.data}/blobs",
        roles=("gateway",),
        zones=tuple(map(Zone, (*zones, "main"))),
        zone_areas=settings.zone_areas if areas is None else areas,
    )
    Path(other.data).mkdir(exist_ok=True)
    async with run_server(other) as running:
        yield running


async def work_in(border: Scenario, technician: Person, zone: str) -> dict[str, Any]:
    """Let a manager set the technician's zone, and return the body of the reply, which may be a problem."""
    reply = await border.admin.request("PATCH", f"/v1/technicians/{technician.id}", {"zone": zone})
    body: dict[str, Any] = reply.json()
    return body


async def go_online(technician: Person, place: tuple[float, float]) -> dict[str, Any]:
    """Set the technician online at a position and return the body of the reply."""
    availability = {"online": True, "lat": place[0], "lon": place[1]}
    reply = await technician.request("PUT", f"/v1/technicians/{technician.id}/availability", availability)
    body: dict[str, Any] = reply.json()
    return body
