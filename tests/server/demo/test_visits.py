"""What a visitor does in a running demo: sign in with one click, see the town, and cause faults."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import msgspec
import pytest

from callout_client import Callout, Listeners, Refusal
from server.demo.guests import ROLES
from server.schemas.towns import Town
from server.serve import RunningServer
from tests.support.demo import WITHIN_S, running_demo
from tests.support.http import open_http
from tests.support.wait import wait_until

ZERO = ("two_holders", "lost", "doubled", "overlapping")


class Demo:
    """A running demo, and a browser at this machine."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self.url, self.http = url, http
        self.origin = {"origin": url, "sec-fetch-site": "same-origin"}

    async def post(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        """Send JSON from a page of the demo."""
        return await self.http.post(path, json=body or {}, headers=self.origin | headers)

    async def counters(self) -> dict[str, Any]:
        """Return the counters."""
        answer: dict[str, Any] = (await self.http.get("/demo/counters")).json()
        return answer

    async def wait_for_claims(self, more: int) -> dict[str, Any]:
        """Wait until ``more`` further claims were won. Assert that the counters that must be 0 are 0, and return all
        counters.
        """
        before = (await self.counters())["claims"]

        async def have_come() -> dict[str, Any] | None:
            counters = await self.counters()
            return counters if counters["claims"] >= before + more else None

        counters: dict[str, Any] = await wait_until(have_come, within_s=WITHIN_S, what=f"{more} more claims")
        assert {name: counters[name] for name in ZERO} == dict.fromkeys(ZERO, 0)
        return counters


class Guest:
    """A visitor who signed in with one click and has a connection."""

    def __init__(self, demo: Demo, role: str) -> None:
        self._demo, self._role = demo, role
        self.place: dict[str, float] = {}
        self._events: list[dict[str, Any]] = []

    async def __aenter__(self) -> Guest:
        """Sign in and connect."""
        signed_in = (await self._demo.post("/demo/login", {"role": self._role})).json()
        self.place = signed_in["place"]

        async def token(fresh: bool) -> str:
            return str(signed_in["access_token"])

        self.client = Callout(self._demo.url, token, Listeners(self._events.append))
        await self.client.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    def of(self, event_type: str) -> list[dict[str, Any]]:
        """Return the data of the events of a type that were received."""
        return [event["data"] for event in self._events if event["type"] == event_type]

    def texts(self, pattern: str) -> list[str]:
        """Return the messages of others that contain the pattern."""
        messages = [data["message"] for data in self.of("message.created")]
        others = [each["text"] for each in messages if each["sender"]["id"] != self.client.user_id]
        return [text for text in others if re.search(pattern, text)]

    async def accept_a_bid(self) -> bool:
        """Accept the bid of a technician who is still free. Return whether there is one."""
        for bid in (data["bid"] for data in self.of("bid.created")):
            with suppress(Refusal):
                await self.client.http("POST", f"/v1/jobs/{bid['job']}/bids/{bid['id']}/accept", {})
                return True
        return False

    async def take_work(self) -> dict[str, Any] | None:
        """Claim what was offered, or accept what the engine assigned. Return the job; None if there is none, or if
        somebody was faster.
        """
        wishes = [("claim", data["offer"]["job"]["id"], {}) for data in self.of("offer.created")]
        wishes += [("command", data["job"]["id"], {"command": "accept"}) for data in self.of("job.assigned")]
        self._events.clear()
        for op, job, more in wishes:
            with suppress(Refusal):
                won: dict[str, Any] = (await self.client.request(op, job=job, **more))["job"]
                return won
        return None


@pytest.fixture(scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Demo]:
    """Yield a demo with few people who act fast. All tests of this file share it."""
    data = tmp_path_factory.mktemp("demo") / "data"
    flags = ("--people", "16", "--speed", "8", "--at", "48.137,11.575")
    async with running_demo(data, *flags) as url, open_http(url, timeout_s=60) as http:
        yield Demo(url, http)


async def test_a_server_that_is_no_demo_has_no_such_routes(server: RunningServer) -> None:
    """``callout serve`` answers `not_found` to all routes of demos."""
    async with open_http(server.url) as http:
        for path in ("/demo/logins", "/demo/counters", "/demo/town"):
            assert (await http.get(path)).status_code == 404
        for path in ("/demo/login", "/demo/faults/kill_gateway"):
            assert (await http.post(path, json={"role": "admin"})).status_code == 404


async def test_a_page_of_another_site_is_refused(demo: Demo) -> None:
    """The server asks the demo about each caller. A request with another Host, with another Origin or from a form is
    `forbidden`.
    """
    for path in ("/demo/login", "/demo/faults/pause_redis"):
        for headers in (
            {"host": "stranger.example"},
            {"origin": "http://stranger.example"},
            {"sec-fetch-site": "cross-site"},
            {"content-type": "text/plain"},
            {"x-forwarded-for": "127.0.0.1"},
            {"forwarded": "for=127.0.0.1"},
        ):
            answer = await demo.http.post(
                path, content=b'{"role":"admin"}', headers=demo.origin | {"content-type": "application/json"} | headers
            )
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), headers
            assert "set-cookie" not in answer.headers
    assert (await demo.http.get("/demo/logins", headers={"host": "stranger.example"})).status_code == 403
    for body in ({}, {"role": "service"}, {"role": "admin", "number": 0}, {"role": "admin", "cookie": "other"}):
        assert (await demo.post("/demo/login", body)).json()["code"] == "invalid"
    headers = demo.origin | {"content-type": "application/json"}
    for raw in (b"x" * 5_000, b'{"role":"\xff"}'):
        assert (await demo.http.post("/demo/login", content=raw, headers=headers)).status_code == 422
    assert (await demo.post("/demo/nothing")).status_code == 404


async def test_one_click_signs_in_each_role(demo: Demo) -> None:
    """Each login of the list gives an access token of its role. For a page the refresh token is only in the cookie of
    its app, which scripts cannot read and other sites do not send, and with which the page renews its token.
    """
    logins = (await demo.http.get("/demo/logins")).json()
    assert [each["role"] for each in logins] == [*ROLES]
    for role in ROLES:
        answer = await demo.post("/demo/login", {"role": role, "cookie": "console"})
        signed_in = answer.json()
        assert answer.status_code == 200 and "refresh_token" not in signed_in
        cookie = answer.headers["set-cookie"]
        parts = {part.strip() for part in cookie.split(";")}
        assert {"HttpOnly", "SameSite=Strict", "Path=/v1/auth"} <= parts and "callout_console=" in cookie
        me = await demo.http.get("/v1/me", headers={"authorization": f"Bearer {signed_in['access_token']}"})
        assert me.json()["user"]["role"] == role
    renewed = await demo.post("/v1/auth/refresh", {"cookie": "console"}, cookie=cookie.partition(";")[0])
    assert renewed.json()["user"]["role"] == role
    nobody = await demo.http.post("/demo/login", json={"role": "customer", "cookie": "book"})
    assert (nobody.status_code, nobody.json()["code"]) == (403, "forbidden"), "a page sends its Origin"
    first, second = [(await demo.post("/demo/login", {"role": "customer", "number": n})).json() for n in (1, 2)]
    assert first["user"]["id"] != second["user"]["id"] and first["refresh_token"]
    assert (await demo.post("/demo/login", {"role": "ops"})).json()["user"]["role"] == "ops_manager"


async def test_the_town_is_around_the_chosen_place(demo: Demo) -> None:
    """The map of the town is around the place of ``--at``, and a route leads along its streets."""
    town = msgspec.json.decode((await demo.http.get("/demo/town")).content, type=Town)
    assert town.centre == (11.575, 48.137)
    assert {feature.properties.kind for feature in town.features} >= {"street", "river", "park", "block"}
    route = (await demo.http.get("/demo/route?from=48.137,11.575&to=48.14,11.58")).json()
    times = [point["at_s"] for point in route["points"]]
    assert times == sorted(times) and times[-1] == route["seconds"] > 20
    assert (await demo.http.get("/demo/route?from=48.137&to=nan,0")).json()["code"] == "invalid"


async def test_a_guest_technician_gets_work_near_by(demo: Demo) -> None:
    """A visitor who is online in the town is offered work, and has the time to take it before simulated technicians."""
    async with Guest(demo, "technician") as guest:
        await guest.client.request("availability", online=True, lat=guest.place["lat"], lon=guest.place["lon"])
        job = await wait_until(guest.take_work, within_s=WITHIN_S, what="a job of the guest")
        assert job["technician"]["name"] == ROLES["technician"].name
        await guest.client.request("availability", online=False)


async def test_a_guest_customer_is_served_and_answered(demo: Demo) -> None:
    """Simulated technicians bid for the job of a visitor and answer in the chat. They ask for the code at the door, and
    start when the visitor says it.
    """
    async with Guest(demo, "customer") as guest:
        services = (await guest.client.http("GET", "/v1/services"))["items"]
        service = next(each["id"] for each in services if each["name"] == "Moving help")
        booking = {"service": service, "blueprint": "marketplace", "amount": 9000, "address": "Elm Street 1"}
        job = (await guest.client.http("POST", "/v1/jobs", booking | guest.place))["job"]["id"]
        await wait_until(guest.accept_a_bid, within_s=WITHIN_S, what="a bid that can be accepted")
        room = (await wait_until(lambda: guest.of("room.opened"), within_s=WITHIN_S, what="the room"))[0]["room"]["id"]
        await guest.client.request("say", room=room, text="Hello, when will you be here?", client_id="a")
        await wait_until(lambda: guest.texts("minutes|map|streets"), within_s=WITHIN_S, what="an answer")
        await wait_until(lambda: guest.texts("code"), within_s=WITHIN_S, what="the question for the code")
        codes = (await guest.client.http("GET", f"/v1/jobs/{job}"))["job"]["codes"]
        await guest.client.request("say", room=room, text=f"It is {codes['start']}", client_id="b")
        await wait_until(lambda: guest.of("job.started"), within_s=WITHIN_S, what="the start of the work")


@pytest.mark.parametrize("fault", ["cut_phones", "pause_redis", "kill_gateway"])
async def test_nothing_is_lost_by_a_fault(demo: Demo, fault: str) -> None:
    """After each fault claims continue, and the counters that must be 0 stay 0."""
    await demo.wait_for_claims(1)
    answer = await demo.post(f"/demo/faults/{fault}")
    assert answer.status_code == 200, answer.text
    if fault == "cut_phones":
        assert 0 < answer.json()["cut"] < answer.json()["of"]
    elif fault == "kill_gateway":
        pid = answer.json()["pid"]
        await wait_until(lambda: not os.path.exists(f"/proc/{pid}"), within_s=WITHIN_S, what="the end of the gateway")
        assert (await demo.post(f"/demo/faults/{fault}")).json()["code"] == "rate_limited"
    await demo.wait_for_claims(5)
    events = (await demo.counters())["events"]
    await wait_until(lambda: _has_more(demo, events), within_s=WITHIN_S, what="events that arrive")


async def _has_more(demo: Demo, events: int) -> bool:
    counters = await demo.counters()
    assert {name: counters[name] for name in ZERO} == dict.fromkeys(ZERO, 0)
    return bool(counters["events"] > events)
