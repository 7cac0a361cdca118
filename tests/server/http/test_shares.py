"""Links to a job: who may create and end them, what they show, and when they end."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import httpx
import pytest

from engine.domain import shares
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Role
from server.gateway import share_stream
from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Join
from tests.support.wait import wait_until

Staff = dict[Role, Client]


async def share(caller: Client, job: str, **body: Any) -> dict[str, Any]:
    """Create a link, assert the status 201 and its `Location`, and return the link."""
    reply = await caller("POST", f"/v1/jobs/{job}/shares", body)
    assert reply.status_code == 201, reply.text
    found: dict[str, Any] = reply.json()["share"]
    assert reply.headers["location"] == f"/v1/jobs/{job}/shares/{found['id']}"
    return found


def token_of(link: dict[str, Any]) -> str:
    """Return the token of a link."""
    path, _, token = str(link["url"]).rpartition("/")
    assert path == "/track"
    return token


async def follow(nobody: Client, link: dict[str, Any]) -> httpx.Response:
    """Follow a job through its link, without an account."""
    return await nobody("GET", f"/v1/shares/{token_of(link)}")


async def start_job(customer: Client, technician: Client, service: str) -> str:
    """Book a job, and let the technician claim it, depart, and send a position 1.1 km away."""
    job = str((await people.book(customer, service))["id"])
    await people.wait_for_offer(technician, job)
    for command in ("claim", "depart"):
        assert (await technician("POST", f"/v1/jobs/{job}/{command}", {})).is_success
    await move(technician, 0.01)
    return job


async def move(technician: Client, north: float) -> None:
    """Send a fix of the technician, ``north`` degrees north of ``HERE``."""
    place = {"lat": HERE["lat"] + north, "lon": HERE["lon"], "accuracy": 5, "speed": 0}
    assert (await technician("PUT", f"/v1/technicians/{technician.user}/location", place)).is_success


async def test_only_the_customer_and_ops_share_a_job(
    customer: Client, join: Join, technician: Client, service: str, staff: Staff, nobody: Client
) -> None:
    """Other customers get `not_found`, all other roles `forbidden`. A duration of the link outside the limits is
    `invalid`. Nobody else sees or ends a link.
    """
    job = str((await people.book(customer, service))["id"])
    path = f"/v1/jobs/{job}/shares"
    stranger = await join("customer")
    for caller in (technician, staff["mediator"], staff["service"], staff["onboarding_manager"]):
        assert code_of(await caller("POST", path, {})) == (403, "forbidden")
    assert code_of(await stranger("POST", path, {})) == (404, "not_found")
    assert code_of(await customer("POST", "/v1/jobs/job_main_x/shares", {})) == (404, "not_found")
    for wrong in (0, 59, 604_801, "60", 1.5):
        assert pointers(await customer("POST", path, {"ttl_s": wrong})) == {"/ttl_s"}
    link = await share(customer, job)
    for method, where in (("GET", path), ("GET", f"{path}/{link['id']}"), ("DELETE", f"{path}/{link['id']}")):
        assert code_of(await stranger(method, where)) == (404, "not_found")
        assert code_of(await technician(method, where)) == (403, "forbidden")
        assert code_of(await nobody(method, where)) == (401, "unauthenticated")
    assert code_of(await customer("GET", f"{path}/shr_none")) == (404, "not_found")


async def test_a_token_that_is_none_is_not_found(nobody: Client, customer: Client, service: str) -> None:
    """A token that was changed in one character, cut off, or invented finds no job."""
    token = token_of(await share(customer, str((await people.book(customer, service))["id"])))
    for place in (0, 30, 61):
        other = "A" if token[place] != "A" else "B"
        assert code_of(await nobody("GET", f"/v1/shares/{token[:place]}{other}{token[place + 1 :]}"))[0] == 404
    alike = token[:-1] + chr(ord(token[-1]) + 1)  # base64 decodes it to the same bytes
    junk = (f"{token}~", f"{token[:9]}*{token[9:]}", f"{token}=", alike)
    for wrong in (token[:-1], token[1:], "none", "shr_main", "A" * 63, f"{token}A", *junk):
        assert code_of(await nobody("GET", f"/v1/shares/{wrong}")) == (404, "not_found")


async def test_a_job_has_five_open_links(customer: Client, service: str, staff: Staff) -> None:
    """A sixth link is `invalid` for every caller. After one link has ended, another is allowed. A repeat with the same
    key creates no second link, also when no further one is allowed. A link may be ended twice.
    """
    job = str((await people.book(customer, service))["id"])
    path, key = f"/v1/jobs/{job}/shares", str(uuid.uuid4())
    first = await customer("POST", path, {"ttl_s": 600}, Idempotency_Key=key)
    links = [first.json()["share"], *[await share(customer, job) for _ in range(3)], await share(staff["admin"], job)]
    assert code_of(await staff["ops_manager"]("POST", path, {})) == (422, "invalid")
    again = await customer("POST", path, {"ttl_s": 600}, Idempotency_Key=key)
    assert again.json() == first.json() and again.headers["idempotency-replayed"] == "true"
    assert code_of(await customer("POST", path, {"ttl_s": 601}, Idempotency_Key=key)) == (422, "reused_key")
    assert (await customer("GET", path)).json()["items"] == links
    assert (await staff["admin"]("GET", f"{path}/{links[1]['id']}")).json()["share"] == links[1]
    assert len({link["url"] for link in links}) == 5
    for _ in range(2):
        assert (await customer("DELETE", f"{path}/{links[1]['id']}")).status_code == 204
    assert code_of(await customer("GET", f"{path}/{links[1]['id']}")) == (404, "not_found")
    await share(customer, job)


@pytest.mark.parametrize("count", [12])
async def test_links_opened_at_once_are_five(customer: Client, service: str, count: int) -> None:
    """Of twelve simultaneous requests five create a link, and seven are `invalid`."""
    job = str((await people.book(customer, service))["id"])
    replies = await asyncio.gather(*(customer("POST", f"/v1/jobs/{job}/shares", {}) for _ in range(count)))
    assert sorted(reply.status_code for reply in replies) == [201] * shares.MAX_OPEN + [422] * (count - 5)


async def test_a_link_shows_where_the_technician_is_on_the_way(
    customer: Client, technician: Client, service: str, nobody: Client
) -> None:
    """A link shows the phase of the job. While the technician is on the way it shows the position and the expected
    arrival, but no id, name, address or destination. From the arrival on it shows no position, because that would be
    the address. The link ends with the job.
    """
    job = str((await people.book(customer, service))["id"])
    link = await share(customer, job)
    assert (await follow(nobody, link)).json().items() >= {"phase": "open", "says": "Looking for a technician"}.items()
    await people.wait_for_offer(technician, job)
    await technician("POST", f"/v1/jobs/{job}/claim", {})
    await move(technician, 0.02)
    seen = (await follow(nobody, link)).json()
    assert (seen["phase"], "position" in seen) == ("assigned", False)
    await technician("POST", f"/v1/jobs/{job}/depart", {})
    await move(technician, 0.01)
    reply = await follow(nobody, link)
    seen = reply.json()
    assert seen["position"]["lat"] == pytest.approx(HERE["lat"] + 0.01) and not seen["position"]["stale"]
    assert seen["eta_s"] > 0 and seen["says"] == "The technician is on the way"
    assert set(seen) == {"phase", "says", "position", "eta_s", "as_of"}
    for hidden in (job, customer.user, technician.user, service, "Ada", "Torstrasse", str(HERE["lat"]), "/track"):
        assert hidden not in reply.text
    for _ in range(3):
        await move(technician, 0.0)
    assert "position" not in (await follow(nobody, link)).json()
    for command in ("arrive", "start"):
        assert (await technician("POST", f"/v1/jobs/{job}/{command}", {})).is_success
    seen = (await follow(nobody, link)).json()
    assert (seen["says"], "position" in seen, "eta_s" in seen) == ("The work is being done", False, False)
    await technician("POST", f"/v1/jobs/{job}/complete", {})
    assert code_of(await follow(nobody, link)) == (404, "not_found")
    assert code_of(await customer("POST", f"/v1/jobs/{job}/shares", {})) == (409, "illegal_transition")
    assert (await customer("GET", f"/v1/jobs/{job}/shares")).json()["items"] == []


async def test_a_link_ends_with_its_time_and_with_its_maker(
    customer: Client, service: str, nobody: Client, staff: Staff, site: RunningServer
) -> None:
    """A link that was ended or has expired shows nothing, and neither does the link of a suspended customer; a link of
    ops stays open. The job's record has no token.
    """
    job = str((await people.book(customer, service))["id"])
    ended, own, of_ops = await share(customer, job), await share(customer, job), await share(staff["admin"], job)
    await customer("DELETE", f"/v1/jobs/{job}/shares/{ended['id']}")
    assert code_of(await follow(nobody, ended)) == (404, "not_found")
    admin, account = staff["admin"], f"/v1/users/{customer.user}"
    assert (await follow(nobody, own)).is_success
    await admin("POST", f"{account}/suspend", {"reason": "x", "jobs": "keep"})
    assert code_of(await follow(nobody, own)) == (404, "not_found")
    assert (await follow(nobody, of_ops)).is_success
    await admin("POST", f"{account}/reinstate", {})
    assert (await follow(nobody, own)).is_success
    record = await site.engine.store.command("HGETALL", keys.job(DEFAULT_ZONE, JobId(job)))
    stored = b" ".join(record).decode()
    assert own["id"] in stored and token_of(own) not in stored
    expired = stored[stored.index(own["id"]) :].split(" ")[1]
    stale = record[record.index(b"shares") + 1].replace(expired.encode(), b"1")
    await site.engine.store.redis.hset(keys.job(DEFAULT_ZONE, JobId(job)), "shares", stale)
    assert code_of(await follow(nobody, own)) == (404, "not_found")
    assert (await follow(nobody, of_ops)).is_success


async def test_a_stream_sends_changes_until_the_link_ends(
    customer: Client,
    technician: Client,
    service: str,
    nobody: Client,
    site: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stream begins with the content of the link, sends each new state and position, and ends with the event `end`
    when the link is ended. More streams of one link than allowed are `rate_limited`.
    """
    monkeypatch.setattr(share_stream, "READ_EVERY_S", 0.05)
    monkeypatch.setattr(share_stream, "MAX_STREAMS_OF_LINK", 1)
    job = await start_job(customer, technician, service)
    link, seen = await share(customer, job), list[Any]()
    accept = {"Accept": "text/event-stream"}

    async def listen() -> None:
        path = f"{site.url}/v1/shares/{token_of(link)}"
        async with httpx.AsyncClient(trust_env=False) as http, http.stream("GET", path, headers=accept) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            async for line in answer.aiter_lines():
                if line.startswith(("data: ", "event: ")):
                    seen.append(json.loads(line[6:]) if line.startswith("data: ") else line)

    listening = asyncio.create_task(listen())
    await wait_until(lambda: seen, what="the first object")
    assert seen[0]["position"]["lat"] == pytest.approx(HERE["lat"] + 0.01)
    refused = await nobody("GET", f"/v1/shares/{token_of(link)}", Accept="text/event-stream")
    assert code_of(refused) == (429, "rate_limited")
    await move(technician, 0.005)
    await wait_until(lambda: seen[-1]["position"]["lat"] == pytest.approx(HERE["lat"] + 0.005), what="the position")
    await technician("POST", f"/v1/jobs/{job}/arrive", {})
    await wait_until(lambda: seen[-1]["says"] == "The technician has arrived", what="the state")
    await customer("DELETE", f"/v1/jobs/{job}/shares/{link['id']}")
    async with asyncio.timeout(10):
        await listening
    assert seen[-2:] == ["event: end", {}]
