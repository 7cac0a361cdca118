"""A server with two zones that share a border, and users on both sides of it."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from engine.process.settings import Settings, read_settings
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


async def book(person: Person, service: str, place: tuple[float, float], **fields: Any) -> dict[str, Any]:
    """Book a job at a position and return the body of the reply, which may be a problem."""
    lat, lon = place
    body = {"service": service, "lat": lat, "lon": lon, "address": "1 Main St", **fields}
    headers = {"Idempotency-Key": fields.pop("key", None) or str(uuid.uuid4())}
    found: dict[str, Any] = (await person.post("/v1/jobs", body, **headers)).json()
    return found
