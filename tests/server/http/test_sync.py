"""The snapshot of `/v1/sync`: all that is live for the caller, and a cursor after which no event is missing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.domain import job_queries, sync
from engine.store.connection import Store
from engine.types import DEFAULT_ZONE, Role, Zone
from server.serve import RunningServer
from tests.server.http.client import Client, code_of
from tests.server.http.people import register, wait_for_offer
from tests.support.closed_zone import closed_zone
from tests.support.wait import wait_until


def cursor_text(snapshot: dict[str, Any]) -> str:
    """Return the cursor of a snapshot in the form of the parameter `after`."""
    return ",".join(f"{zone}:{at['epoch']}:{at['seq']}" for zone, at in snapshot["cursor"].items())


async def wait_for_relay(site: RunningServer, snapshot: dict[str, Any]) -> None:
    """Wait until the gateway has read up to the snapshot's cursor. The gateway waits two seconds for a cursor that
    it has not reached. After that it replies as for a cursor of another epoch.
    """
    assert site.gateway is not None
    tail = site.gateway.relay.tails[DEFAULT_ZONE]
    await wait_until(lambda: tail.cursor >= snapshot["cursor"][DEFAULT_ZONE]["seq"], within_s=60, what="the relay")


async def test_without_an_open_zone_sync_is_unavailable(site: RunningServer, admin: Client) -> None:
    """Without an open zone the reply is 503. An empty snapshot would look complete."""
    with closed_zone(site.engine.store, *site.engine.store.zones):
        assert code_of(await admin("GET", "/v1/sync")) == (503, "unavailable")


async def test_every_role_gets_a_snapshot(staff: dict[Role, Client]) -> None:
    """The snapshot of each role has the role's account, the poll intervals, and empty lists for what is not for this
    role.
    """
    for role, who in staff.items():
        snapshot = (await who("GET", "/v1/sync")).json()
        assert snapshot["me"]["user"]["role"] == role
        assert snapshot["poll"] == {"connected": 60, "disconnected": 15}
        assert (snapshot["offers"], snapshot["rooms"], snapshot["notifications"]) == ([], [], [])
        assert list(snapshot["cursor"]) == ["main"]
    me = (await staff["admin"]("GET", "/v1/me")).json()
    assert (me["poll"], me["fix"]) == (snapshot["poll"], snapshot["fix"])


async def test_the_snapshot_has_live_jobs_and_open_offers(
    customer: Client, technician: Client, admin: Client, book: Any, nobody: Client
) -> None:
    """The snapshot contains the live jobs and open offers that the caller may see, and no job that is over."""
    open_job, claimed_job = await book(customer), await book(customer)
    cancelled_job = await book(customer)
    await customer("POST", f"/v1/jobs/{cancelled_job['id']}/cancel", {})
    for job in (open_job, claimed_job):
        await wait_for_offer(technician, job["id"])
    await technician("POST", f"/v1/jobs/{claimed_job['id']}/claim", {})
    customer_snapshot = (await customer("GET", "/v1/sync")).json()
    assert [job["id"] for job in customer_snapshot["jobs"]] == [claimed_job["id"], open_job["id"]]
    assert customer_snapshot["next"] is None
    assert customer_snapshot["jobs"][0]["technician"]["id"] == technician.user
    snapshot = (await technician("GET", "/v1/sync")).json()
    assert snapshot["me"]["technician"]["load"] == 1 and snapshot["fix"] == {"every_s": 10, "distance_m": 100}
    assert [job["id"] for job in snapshot["jobs"]] == [claimed_job["id"]]
    assert {offer["job"]["id"] for offer in snapshot["offers"]} >= {open_job["id"]}
    assert all("customer" not in offer["job"] for offer in snapshot["offers"])
    admin_jobs = {job["id"] for job in (await admin("GET", "/v1/sync")).json()["jobs"]}
    assert {open_job["id"], claimed_job["id"]} <= admin_jobs and cancelled_job["id"] not in admin_jobs
    stranger = (await (await register(nobody, "customer"))("GET", "/v1/sync")).json()
    assert (stranger["jobs"], stranger["offers"]) == ([], [])


async def test_the_snapshot_has_unread_notifications(customer: Client, technician: Client, book: Any) -> None:
    """The snapshot contains the notifications that are not read yet, whether or not the archive has them."""
    job = await book(customer)
    await wait_for_offer(technician, job["id"])
    await technician("POST", f"/v1/jobs/{job['id']}/claim", {})

    async def unread_notifications() -> list[dict[str, Any]]:
        notifications: list[dict[str, Any]] = (await customer("GET", "/v1/sync")).json()["notifications"]
        return notifications

    (first,) = await wait_until(unread_notifications)
    assert (first["kind"], first["read"]) == ("job.accepted", False)
    await customer("POST", f"/v1/notifications/{first['id']}/read")
    assert await unread_notifications() == []


async def test_a_full_snapshot_continues_in_the_job_list(
    customer: Client, book: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there are more jobs than the limit, `next` is the cursor with which `GET /v1/jobs` returns the rest."""
    monkeypatch.setattr(sync, "MAX_ITEMS", 2)
    jobs = [(await book(customer))["id"] for _ in range(3)]
    snapshot = (await customer("GET", "/v1/sync")).json()
    assert [job["id"] for job in snapshot["jobs"]] == [jobs[2], jobs[1]]
    rest = (await customer("GET", f"/v1/jobs?cursor={snapshot['next']}")).json()
    assert [job["id"] for job in rest["items"]] == [jobs[0]]


async def test_the_cursor_is_read_before_the_state(
    customer: Client, book: Any, site: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is booked after the cursor was read is in the snapshot, and its event also follows the cursor."""
    live, new_jobs = job_queries.live_jobs, []

    async def list_after_booking(*args: Any) -> Any:
        new_jobs.append(await book(customer))
        return await live(*args)

    monkeypatch.setattr(job_queries, "live_jobs", list_after_booking)
    snapshot = (await customer("GET", "/v1/sync")).json()
    assert new_jobs[0]["id"] in {job["id"] for job in snapshot["jobs"]}
    await wait_for_relay(site, snapshot)
    poll_reply = (await customer("GET", f"/v1/events?after={cursor_text(snapshot)}&wait=10")).json()
    assert poll_reply["recovered"]
    assert new_jobs[0]["id"] in {e["data"]["job"]["id"] for e in poll_reply["events"] if e["type"] == "job.created"}


async def test_a_job_that_changes_during_the_reads_is_included(
    customer: Client, technician: Client, book: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is claimed between two reads of Redis is in the snapshot."""
    job = (await book(customer))["id"]
    await wait_for_offer(technician, job)
    read, steps = Store.read, iter([None, None, "claim"])

    async def claim_before_read(store: Store, zone: Zone, script: str, **more: Any) -> Any:
        if script == "job_list" and (step := next(steps, None)):
            await technician("POST", f"/v1/jobs/{job}/{step}", {})
        return await read(store, zone, script, **more)

    monkeypatch.setattr(Store, "read", claim_before_read)
    snapshot = (await customer("GET", "/v1/sync")).json()
    assert [one["id"] for one in snapshot["jobs"]] == [job]


async def test_a_snapshot_and_later_events_have_every_job(site: RunningServer, customer: Client, book: Any) -> None:
    """While jobs are booked, each job is in the snapshot or in the events after its cursor."""
    booking = asyncio.gather(*(book(customer) for _ in range(20)))
    snapshot: dict[str, Any] = {}
    while not booking.done():
        snapshot = (await customer("GET", "/v1/sync")).json()
        if 0 < len(snapshot["jobs"]) < 15:
            break
    booked_jobs = {job["id"] for job in await booking}
    known_jobs = {job["id"] for job in snapshot["jobs"]}
    cursor = cursor_text(snapshot)
    await wait_for_relay(site, snapshot)
    async with asyncio.timeout(60):
        while not booked_jobs <= known_jobs:
            poll_reply = (await customer("GET", f"/v1/events?after={cursor}&wait=5")).json()
            assert poll_reply["recovered"], poll_reply
            known_jobs |= {e["data"]["job"]["id"] for e in poll_reply["events"] if e["type"] == "job.created"}
            cursor = poll_reply["cursor"]
