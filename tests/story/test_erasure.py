"""A customer has everything about themselves erased, on a whole server: nothing is left in its data directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.process.settings import Settings
from engine.types import JobId, room_of
from engine.workers import archiver, maintenance
from server.serve import run_server
from tests.story.conftest import PASSWORD, Scenario
from tests.support.http import open_http
from tests.support.traces import found_in, traces_in_files, traces_in_redis
from tests.support.wait import wait_until

NAME, PHONE, ADDRESS, TEXT = "Quirina Zwiebelfisch", "+49 30 55 71 22 91", "Wolkenweg 19", "the cat is called Pompadour"
PERSONAL_TEXTS = (NAME, PHONE, ADDRESS, TEXT)


@pytest.fixture
async def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scenario]:
    """Yield a server with an embedded Valkey and SQLite, whose periodic work is done at once."""
    monkeypatch.setattr(maintenance, "INTERVAL_S", 0.3)
    monkeypatch.setattr(archiver, "TRIM_INTERVAL_S", 0.2)
    settings = Settings(data=str(tmp_path / "data"), port=0, limits="off", log_window_s=0.2)
    async with run_server(settings) as server, open_http(server.url, timeout_s=10) as http:
        yield Scenario(server, http)


async def test_a_customer_is_forgotten(scenario: Scenario, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The customer's socket closes at the request. When the erasure is done, no file of the server and no line of its
    log has their name, phone, address or words, while the technician still reads the numbers of the chat.
    """
    data = tmp_path / "data"
    service = await scenario.create_service()
    customer = await scenario.create_person("customer", NAME, phone=PHONE)
    technician = await scenario.create_technician("Tilda", service)
    await customer.socket.open()
    booking = {"service": service, "lat": 40.75, "lon": -73.99, "address": ADDRESS}
    job: str = (await customer.post("/v1/jobs", booking)).json()["job"]["id"]
    await technician.socket.wait_for("new_job_broadcast", job)
    for command in ("claim", "depart", "arrive", "start", "complete"):
        assert (await technician.post(f"/v1/jobs/{job}/{command}")).status_code == 200
    room = f"/v1/rooms/{room_of(JobId(job))}"
    assert (await customer.post(f"{room}/messages", {"text": TEXT, "client_id": "c1"})).status_code == 201
    assert (await technician.post(f"{room}/messages", {"text": "Meow", "client_id": "t1"})).status_code == 201
    assert {each.split(" in ")[0] for each in traces_in_files(data, PERSONAL_TEXTS)} == {
        repr(text) for text in PERSONAL_TEXTS
    }
    path = f"/v1/users/{customer.id}/erasure"
    asked = await customer.post(path, {"reason": "I move away", "password": PASSWORD})
    assert asked.status_code == 202 and asked.json()["erasure"]["state"] == "waiting"
    await wait_until(lambda: customer.socket.close_code == 4502)

    async def is_done() -> bool:
        return bool((await scenario.admin.get(path))["erasure"]["state"] == "done")

    await wait_until(is_done, within_s=30)
    assert await traces_in_redis(scenario.server.engine, PERSONAL_TEXTS) == []
    assert traces_in_files(data, PERSONAL_TEXTS) == []
    logged = capfd.readouterr()
    assert found_in("the log", logged.err + logged.out, PERSONAL_TEXTS) == []
    messages = (await technician.get(f"{room}/messages?after=0"))["items"]
    assert [(each["n"], each["text"], each.get("erased")) for each in messages] == [(1, "", True), (2, "Meow", None)]
