"""The map of `delivery`: over two gateways the customer and the staff follow the driver, and nobody else does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from engine.domain import positions
from engine.process.settings import Settings
from server.serve import RunningServer
from tests.story.conftest import Person, Scenario, run_second_gateway
from tests.support.socket_client import Frame, SocketClient
from tests.support.wait import wait_until
from tests.support.wide import needs_own_process

pytestmark = needs_own_process

PLACE = {"lat": 40.75, "lon": -73.99}
ORDER_BODY = {**PLACE, "address": "1 Main St", "amount": 2550, "currency": "EUR"}
POSITION = "delivery:location:update"
STALE_S = 2.5
"""The age at which a position is stale in this test."""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose default blueprint is `delivery`."""
    return msgspec.structs.replace(settings, blueprint="delivery")


@pytest.fixture
async def second(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningServer]:
    """Run a second gateway. At both, a position is stale after `STALE_S`."""
    monkeypatch.setattr(positions, "MIN_STALE_S", STALE_S)
    monkeypatch.setattr(positions, "STALE_INTERVALS", 0)
    async with run_second_gateway(server) as running:
        yield running


async def send_fix(driver: Person, north_m: float, ago_s: float = 0.0) -> None:
    """Send a fix ``north_m`` metres north of the customer, measured ``ago_s`` seconds ago."""
    at = (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat()
    lat = PLACE["lat"] + north_m / 111_195
    reply = await driver.socket.request(
        "location", lat=lat, lon=PLACE["lon"], at=at, accuracy=8.0, speed=0.5, heading=180.0
    )
    assert "ok" in reply, reply


async def next_position(socket: SocketClient, seen: int) -> dict[str, Any]:
    """Wait until the socket has received more than ``seen`` positions, and return the next."""
    await wait_until(lambda: len(socket.received(POSITION)) > seen, what="a position")
    frame: Frame = socket.received(POSITION)[seen]
    assert "seq" not in frame, "positions are not in the log"
    data: dict[str, Any] = frame["data"]
    return data


async def test_the_customer_follows_the_driver(scenario: Scenario, second: RunningServer) -> None:
    """From the departure on, the customer and the staff receive the driver's position with its age and the arrival,
    marked as stale when no fix follows, and never an older one. Technicians and others receive none, and nobody does
    after the delivery.
    """
    service = await scenario.create_service("Delivery")
    carla, otto = await scenario.create_person("customer", "Carla"), await scenario.create_person("customer", "Otto")
    olga = await scenario.create_person("ops_manager", "Olga")
    payer = await scenario.create_person("service", "Payments")
    for person in (carla, otto, olga, payer):
        person.socket.url = second.ws_url  # the driver is at the first gateway
        await person.socket.open()
    dan = await scenario.create_technician("Dan", service, lat=40.78)
    dora = await scenario.create_technician("Dora", service, lat=40.755)
    job: str = (await carla.post("/v1/jobs", {**ORDER_BODY, "service": service})).json()["job"]["id"]
    for command in ("confirm", "prepare"):
        assert (await olga.post(f"/v1/jobs/{job}/{command}")).status_code == 200
    assert (await olga.post(f"/v1/jobs/{job}/assign", {"technician": dan.id})).status_code == 200
    assert (await olga.post(f"/v1/jobs/{job}/ready")).status_code == 200
    await dan.socket.wait_for("job.assigned", job)

    # Before the departure the customer sees nothing of the driver.
    await send_fix(dan, 3000)
    assert (await dan.post(f"/v1/jobs/{job}/depart")).status_code == 200
    await carla.socket.wait_for("order:status:update", job)
    assert not carla.socket.received(POSITION)

    # A position has its age; it is sent once more when it becomes stale, and then nothing says when the driver arrives.
    await send_fix(dan, 2000)
    first = await next_position(carla.socket, 0)
    assert (first["job"], first["heading"], first["accuracy"], first["stale"]) == (job, 180.0, 8.0, False)
    assert 60 <= first["eta_s"] <= 900 and first["at"] < first["low"] <= first["arrives_at"] <= first["high"]
    stale = await next_position(carla.socket, 1)
    assert (stale["lat"], stale["at"], stale["stale"]) == (first["lat"], first["at"], True) and "eta_s" not in stale
    assert first["age_s"] <= STALE_S <= stale["age_s"]
    assert (await carla.get(f"/v1/jobs/{job}/track"))["position"]["stale"] is True

    # The next fix moves the marker. An older fix does not move it back.
    await send_fix(dan, 1000)
    moved = await next_position(carla.socket, 2)
    assert moved["stale"] is False and moved["lat"] < first["lat"] and moved["eta_s"] < first["eta_s"]
    await send_fix(dan, 1500, ago_s=20)

    # The arrival is reported once, in two steps.
    for metres in (400, 20, 10, 10):
        await send_fix(dan, metres)
    for event in ("technician.near", "technician.arrived"):
        for person in (carla, olga, dan):
            assert (await person.socket.wait_for(event, job))["data"]["job"] == {"id": job}
    await wait_until(lambda: carla.socket.received(POSITION)[-1]["data"]["lat"] < 40.7502, what="the last position")
    marks = [frame["data"]["at"] for frame in carla.socket.received(POSITION)]
    assert marks == sorted(marks)

    # After the delivery nobody receives a position.
    assert (await dan.post(f"/v1/jobs/{job}/deliver")).status_code == 200
    await wait_until(lambda: carla.socket.received("order:status:update", job)[-1]["data"]["to"] == "delivered")
    counts = [len(person.socket.received(POSITION)) for person in (carla, olga)]
    await send_fix(dan, 5000)
    await wait_for_all_events(scenario, (carla, otto, olga, dan, dora))
    assert [len(person.socket.received(POSITION)) for person in (carla, olga)] == counts and min(counts) >= 3
    for person in (dan, dora, otto, payer):
        assert not person.socket.received(POSITION), person.user["name"]
    for name in ("near", "arrived"):
        told = [len(person.socket.received(f"technician.{name}")) for person in (carla, olga, dan, dora, otto, payer)]
        assert told == [1, 1, 1, 0, 0, 0]


async def wait_for_all_events(scenario: Scenario, persons: tuple[Person, ...]) -> None:
    """Send an announcement, and wait until each person has received it."""
    roles = ["customer", "technician", "ops_manager"]
    marked = await scenario.admin.post("/v1/announcements", {"event": "announcement.mark", "roles": roles, "data": {}})
    seq = marked.json()["announcement"]["seq"]
    for person in persons:
        await wait_until(lambda p=person: any(f.get("seq", 0) >= seq for f in p.socket.pushes))  # type: ignore[misc]
