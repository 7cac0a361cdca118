"""The blueprint `managed` from the quote to the end of the work: the quoted price does not change, a matching window
assigns the technician, the customer gets a promised arrival, and no technician has two jobs at the same time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from tests.story.conftest import Scenario
from tests.story.test_managed import PLACE, send_command, wait_for_assignment
from tests.support.photos import add_photos
from tests.support.wait import wait_until


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose default blueprint is `managed`."""
    return msgspec.structs.replace(settings, blueprint="managed")


async def test_from_the_quote_to_the_end_of_the_work(scenario: Scenario) -> None:
    """The quote belongs to one customer, can be used for one booking, and is the price of the job until its end."""
    fixing = await scenario.create_service("Fixing")
    carla, other = await scenario.create_person("customer", "Carla"), await scenario.create_person("customer", "Other")
    ops = await scenario.create_person("ops_manager", "Olga")
    await carla.socket.open()
    wanted = {"blueprint": "managed", "service": fixing, "lat": PLACE["lat"], "lon": PLACE["lon"]}
    reply = await carla.post("/v1/quotes", wanted)
    assert reply.status_code == 201, reply.text
    quote: dict[str, Any] = reply.json()["quote"]
    assert sum(line["amount"] for line in quote["breakdown"]) == quote["amount"]
    assert "inputs" not in quote and "inputs" in (await ops.get(f"/v1/quotes/{quote['id']}"))["quote"]

    booking = {**PLACE, "service": fixing, "quote": quote["id"]}
    assert (await other.post("/v1/jobs", booking)).json()["code"] == "not_found"
    assert (await carla.post("/v1/jobs", {**booking, "amount": 1})).json()["code"] == "invalid"
    # The price of the service rises. The job still has the quoted price.
    raised = await scenario.admin.request("PATCH", f"/v1/services/{fixing}", {"base_amount": 9000})
    assert raised.status_code == 200, raised.text
    made = await carla.post("/v1/jobs", booking)
    assert made.status_code == 201, made.text
    job: str = made.json()["job"]["id"]
    assert (made.json()["job"]["amount"], made.json()["job"]["quote"]["id"]) == (quote["amount"], quote["id"])
    assert (await carla.post("/v1/jobs", booking)).json()["code"] == "duplicate"

    # No technician is online yet. The first one who comes online gets the job from the next window.
    tom = await scenario.create_technician("Tom", fixing, lat=40.76)
    assert await wait_for_assignment(scenario, job) == tom.id
    wave = (await ops.get(f"/v1/jobs/{job}/waves"))["items"][-1]
    assert (wave["jobs"], wave["free"]) == (1, 1) and wave["cost"] > 0
    asked = (await tom.get(f"/v1/jobs/{job}"))["job"]
    assert "address" not in asked, "a technician who is only asked sees the public part"
    accepted = await send_command(tom, job, "accept")
    assert datetime.fromisoformat(accepted["promise"]) > datetime.now(UTC)
    await send_command(tom, job, "depart")
    sent = await tom.request("PUT", f"/v1/technicians/{tom.id}/location", {"lat": 40.755, "lon": PLACE["lon"]})
    assert sent.status_code == 204, sent.text
    await wait_until(lambda: any("eta_s" in f["data"] for f in carla.socket.received("position")), what="an arrival")

    # The technician cannot hold a booked job and a second one at the same time.
    at = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0).isoformat()
    later = [await carla.post("/v1/jobs", {**PLACE, "service": fixing, "scheduled_for": at}) for _ in range(2)]
    first, second = (reply.json()["job"]["id"] for reply in later)
    assert (await ops.post(f"/v1/jobs/{first}/assign", {"technician": tom.id})).status_code == 200
    refused = await ops.post(f"/v1/jobs/{second}/assign", {"technician": tom.id})
    assert refused.json()["code"] == "schedule_conflict", refused.text

    await send_command(tom, job, "start")
    await add_photos(tom.http, tom.bearer, job)
    done = await send_command(tom, job, "finish")
    assert (done["status"], done["amount"]) == ("work_done", quote["amount"])
