"""A gateway that serves one zone: it sends the events of this zone and of `main`, and takes commands for every zone."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from tests.story.conftest import Person, Scenario
from tests.support.http import open_http
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until
from tests.zones.conftest import EAST, WEST, book_ok, go_online, run_gateway_of, work_in
from tests.zones.test_border import assert_each_once


async def test_a_gateway_of_one_zone(border: Scenario) -> None:
    """At a gateway that serves only `west` and `main`, a customer books in `west` and `east`, and a technician of
    `east` takes the job there. Their sockets receive only events of `west` and `main`, and the reply to `connect` says
    so. With its cursors, each client then receives the missed events once at a gateway of all zones.
    """
    service, customer = await border.create_service(), await border.create_person("customer", "Carla")
    technician = await border.create_technician("Tom", service, lat=None)
    assert (await work_in(border, technician, "east"))["technician"]["zone"] == "east"
    async with run_gateway_of(border.server, "west") as gateway, open_http(gateway.url) as http:
        assert gateway.ready_line()["zones"] == ("west", "main")
        there = {person: at_gateway(person, http, gateway.ws_url) for person in (customer, technician)}
        for person in there.values():
            await person.socket.open()
            assert set(person.socket.connected["zones"]) == {"west", "main"}
        assert (await go_online(there[technician], EAST))["receiving"]
        start = (await there[customer].get("/v1/sync"))["cursor"]
        assert set(start) == {"west", "east", "main"}
        jobs = [await book_ok(there[customer], service, place) for place in (WEST, EAST, WEST)]
        await wait_until(lambda: offered(there[technician], jobs[1]))
        assert "ok" in await there[technician].socket.claim(jobs[1])
        assert (await there[customer].get(f"/v1/jobs/{jobs[1]}"))["job"]["status"] == "accepted"
        await there[customer].socket.wait_for("job.created", jobs[2])
        assert {push["zone"] for push in there[customer].socket.pushes if "seq" in push} == {"west"}
        admin = at_gateway(border.admin, http, gateway.ws_url)
        seen = await admin.get("/v1/zones/east/map?bbox=-75,40,-73,41")
        assert [person["id"] for person in seen["people"]] == [technician.id] and list(seen["as_of"]) == ["east"]
        assert (await there[customer].get(f"/v1/jobs/{jobs[1]}/history"))["items"]
        await check_poll(there[customer], start)
        await check_stream(there[customer], start, jobs)
        await check_refused_subscriptions(border, gateway.ws_url, jobs)
        mine = there[customer].socket
        await mine.close()
        await there[technician].socket.close()
    assert_each_once(there[customer])

    behind = SocketClient(border.server.ws_url, customer.bearer)
    behind.cursors = {**mine.cursors, "east": start["east"]}
    await behind.open()
    for event in ("job.created", "job_accepted"):
        await behind.wait_for(event, jobs[1])
    both = [*mine.pushes, *behind.pushes]
    created = [push["data"]["job"]["id"] for push in both if push["type"] == "job.created"]
    assert sorted(created) == sorted(jobs)
    assert all(zone["recovered"] for zone in behind.connected["zones"].values())
    await behind.close()


def at_gateway(person: Person, http: Any, ws_url: str) -> Person:
    """Return the person with clients for another gateway."""
    return Person(http, ws_url, person.bearer, person.user)


async def offered(technician: Person, job: str) -> bool:
    """Return whether the technician's list of offers has the job."""
    return job in [offer["job"]["id"] for offer in (await technician.get("/v1/offers"))["items"]]


async def check_poll(customer: Person, start: dict[str, Any]) -> None:
    """Check that a poll at this gateway has only the events of `west`, and returns the cursor of `east` unchanged."""
    after = ",".join(f"{zone}:{cursor['epoch']}:{cursor['seq']}" for zone, cursor in start.items())
    polled = await customer.get(f"/v1/events?wait=0&after={after},mars:e1:7")
    assert {event["zone"] for event in polled["events"]} == {"west"} and polled["recovered"]
    cursors = dict(each.split(":", 1) for each in polled["cursor"].split(","))
    assert set(cursors) == set(start)
    assert cursors["east"] == f"{start['east']['epoch']}:{start['east']['seq']}"


async def check_stream(customer: Person, start: dict[str, Any], jobs: list[str]) -> None:
    """Check that every event id of a stream at this gateway repeats the cursor of `east` as the client sent it: the id
    of the first block, of a replayed event, of the heads and of a live event.
    """
    after = ",".join(f"{zone}:{cursor['epoch']}:{cursor['seq']}" for zone, cursor in start.items())
    headers = {"Authorization": f"Bearer {customer.bearer}", "Accept": "text/event-stream", "Last-Event-ID": after}
    given, ids, events = f"east:{start['east']['epoch']}:{start['east']['seq']}", [], []
    async with (
        asyncio.timeout(20),
        httpx.AsyncClient(base_url=customer.http.base_url, trust_env=False) as http,
        http.stream("GET", "/v1/events", headers=headers) as stream,
    ):
        async for line in stream.aiter_lines():
            ids += [line] if line.startswith("id: ") else []
            events += [line] if line.startswith("data: ") and "job.cancelled" in line else []
            if jobs[2] in line and "job.created" in line and not events:
                await customer.post(f"/v1/jobs/{jobs[0]}/cancel", {"reason": "no time"})
            if events:
                break
    assert len(ids) >= 5 and all(each.count(given) == 1 and each.count("west:") == 1 for each in ids), ids


async def check_refused_subscriptions(border: Scenario, ws_url: str, jobs: list[str]) -> None:
    """Check that ops may not subscribe to channels whose events this gateway does not send, and that the refusal says
    why."""
    admin = SocketClient(ws_url, border.admin.bearer)
    await admin.open(resume=False)
    for channel in ("zone:east", "map:east", f"job:{jobs[1]}"):
        box = {"bbox": [-75, 40, -73, 41]} if channel.startswith("map:") else {}
        refused = (await admin.request("subscribe", channel=channel, **box))["error"]
        assert (refused["code"], "zone east" in refused["detail"]) == ("not_found", True), channel
    for channel in ("zone:west", f"job:{jobs[0]}"):
        assert "ok" in await admin.request("subscribe", channel=channel), channel
    await admin.close()
