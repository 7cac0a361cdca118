"""Two zones with a border, over real sockets: nothing happens twice, and everybody receives what concerns them."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from engine.store import keys
from engine.technicians import live
from engine.types import TechnicianId, UserId, Zone
from tests.story.conftest import Person, Scenario
from tests.support.wait import wait_until
from tests.zones.conftest import EAST, ELSEWHERE, WEST, book, book_ok, go_online, work_in


async def test_the_same_booking_from_both_sides_at_once_is_one_job(border: Scenario) -> None:
    """Bookings with one reference are sent from both sides of the border at once, each with its own idempotency key or
    all with one. Exactly one job is created. The other requests return this job, or are refused as a different booking.
    """
    service, customer = await border.create_service(), await border.create_person("customer", "Carla")
    for number, key in enumerate((None, str(uuid.uuid4()))):
        reference = f"order {number}"
        replies = await asyncio.gather(
            *(book(customer, service, place, reference=reference, key=key) for place in (WEST, EAST) * 3)
        )
        jobs = {reply["job"]["id"] for reply in replies if "job" in reply}
        codes = [reply["code"] for reply in replies if "code" in reply]
        assert len(jobs) == 1 and codes == ["reused_key" if key else "duplicate"] * 3, replies
        found = (await customer.get(f"/v1/jobs?reference={reference.replace(' ', '%20')}"))["items"]
        assert {job["id"] for job in found} == jobs


async def test_a_technician_who_moves_over(border: Scenario) -> None:
    """Only a manager can move a technician to another zone; the zone must be declared, and the technician offline and
    without a job. Then only the new zone finds them: its offers reach the socket that stayed open, and their fixes,
    signs of life and commands go there.
    """
    engine, service = border.server.engine, await border.create_service()
    customer, technician = (
        await border.create_person("customer", "Carla"),
        await border.create_technician("Tom", service),
    )
    own = f"/v1/technicians/{technician.id}"
    assert (await technician.request("PATCH", own, {"zone": "east"})).json()["code"] == "forbidden"
    assert (await work_in(border, technician, "north"))["errors"][0]["pointer"] == "/zone"
    assert (await work_in(border, technician, "west"))["code"] == "illegal_transition"
    await technician.request("PUT", f"{own}/availability", {"online": False})
    assert (await work_in(border, technician, "west"))["technician"]["zone"] == "west"
    assert (await go_online(technician, WEST))["receiving"]
    job = await book_ok(customer, service, WEST)
    await technician.socket.wait_for("new_job_broadcast", job)
    assert "ok" in await technician.socket.claim(job)
    await technician.request("PUT", f"{own}/availability", {"online": False})
    assert (await work_in(border, technician, "east"))["code"] == "illegal_transition"
    assert (await technician.get(own))["technician"]["zone"] == "west"
    await border.admin.post(f"/v1/jobs/{job}/cancel", {"reason": "moves"})
    assert (await work_in(border, technician, "east"))["technician"]["zone"] == "east"
    assert (await go_online(technician, EAST))["receiving"]

    left, right = await book_ok(customer, service, WEST), await book_ok(customer, service, EAST)
    await technician.socket.wait_for("new_job_broadcast", right)
    assert [offer["job"]["id"] for offer in (await technician.get("/v1/offers"))["items"]] == [right]
    assert "ok" in await technician.socket.request("location", lat=EAST[0] + 0.01, lon=EAST[1])
    id_ = TechnicianId(UserId(technician.id))
    records = [await engine.store.redis.hget(keys.technician(zone, id_), "lat") for zone in engine.store.zones]
    assert [float(lat or 0) for lat in records] == [0, EAST[0] + 0.01, 0]
    await engine.store.redis.zadd(keys.last_seen(Zone("east")), {technician.id: 1})
    assert "ok" in await technician.socket.claim(right)
    assert (await technician.socket.claim(left))["error"]["code"] == "not_offered"
    assert await live.read_zone(engine, technician.id) == "east"


async def test_a_technician_who_comes_back_goes_on_counting(border: Scenario) -> None:
    """A technician who comes back to a zone has there the same numbers of offers and accepted jobs as SQL
    has for them, as after a rebuild. In the other zone the numbers begin at zero.
    """
    engine, service = border.server.engine, await border.create_service()
    customer, technician = (
        await border.create_person("customer", "Carla"),
        await border.create_technician("Tom", service, lat=None),
    )

    async def read_counters(zone: str) -> list[bytes | None]:
        record = keys.technician(Zone(zone), TechnicianId(UserId(technician.id)))
        return list(await engine.store.redis.hmget(record, "accepted", "asked", "free_at"))  # type: ignore[arg-type]

    await work_in(border, technician, "west")
    assert (await go_online(technician, WEST))["receiving"]
    job = await book_ok(customer, service, WEST)
    await technician.socket.wait_for("new_job_broadcast", job)
    assert "ok" in await technician.socket.claim(job)
    await border.admin.post(f"/v1/jobs/{job}/cancel", {"reason": "moves"})
    await technician.request("PUT", f"/v1/technicians/{technician.id}/availability", {"online": False})
    before = await read_counters("west")
    assert before[:2] == [b"1", b"1"]
    await wait_until_archived(border)
    for zone, counters in (("east", [None] * 3), ("west", before)):
        assert (await work_in(border, technician, zone))["technician"]["zone"] == zone
        assert await read_counters(zone) == counters


async def test_a_customer_with_jobs_in_both_zones(border: Scenario) -> None:
    """A customer receives the events of their jobs in every zone on one socket, each once and with its zone; lists and
    the snapshot have the jobs of all zones in one order; and a socket that was cut is replayed what it missed of each.
    """
    service, customer = await border.create_service(), await border.create_person("customer", "Carla")
    await customer.socket.open()
    assert set(customer.socket.connected["zones"]) == {"west", "east", "main"}
    places = (WEST, EAST, ELSEWHERE, EAST, WEST)
    jobs = [await book_ok(customer, service, place) for place in places]
    for job in jobs:
        await customer.socket.wait_for("job.created", job)
    snapshot = await customer.get("/v1/sync")
    assert [job["id"] for job in snapshot["jobs"]] == jobs[::-1] == await ids_by_page(customer, "/v1/jobs")
    assert set(snapshot["cursor"]) == {"west", "east", "main"}

    customer.socket.abort()
    for job in jobs[:2]:
        assert (await border.admin.post(f"/v1/jobs/{job}/cancel", {"reason": "test"})).status_code == 200
    await customer.socket.open()
    assert all(zone["recovered"] for zone in customer.socket.connected["zones"].values())
    for job in jobs[:2]:
        await customer.socket.wait_for("job.cancelled", job)
    jobs.append(await book_ok(customer, service, EAST))
    await customer.socket.wait_for("job.created", jobs[-1])
    assert_each_once(customer)
    created = {push["data"]["job"]["id"]: push["zone"] for push in customer.socket.received("job.created")}
    assert list(created) == jobs and [created[job].encode() for job in jobs] == [
        job.split("_")[1].encode() for job in jobs
    ]
    await wait_until_archived(border)
    assert await ids_by_page(customer, "/v1/jobs") == jobs[::-1]
    assert await ids_by_page(border.admin, "/v1/jobs") == jobs[::-1]
    assert await ids_by_page(customer, "/v1/jobs?phase=closed") == jobs[1::-1]


async def ids_by_page(person: Person, path: str) -> list[str]:
    """Return the ids of a list, read page by page with two items each."""
    found: list[str] = []
    after = ""
    while True:
        page = await person.get(f"{path}{'&' if '?' in path else '?'}limit=2{after}")
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            return found
        after = f"&cursor={page['next']}"


def assert_each_once(person: Person) -> None:
    """Check that the person's sockets received no event twice, and those of each zone in order."""
    seqs: dict[str, list[int]] = {}
    for push in person.socket.pushes:
        if "seq" in push:
            seqs.setdefault(push["zone"], []).append(push["seq"])
    assert all(found == sorted(set(found)) for found in seqs.values()), seqs


async def wait_until_archived(border: Scenario) -> None:
    """Wait until the archive has all events of all zones."""
    redis, zones = border.server.engine.store.redis, border.server.engine.store.zones

    async def is_archived() -> bool:
        heads: list[Any] = [await redis.hmget(keys.zone_meta(zone), "seq", "archived") for zone in zones]
        return all(int(archived or 0) >= int(seq or 0) for seq, archived in heads)

    await wait_until(is_archived)


async def test_presence_and_notifications_across_zones(border: Scenario) -> None:
    """The holder of a job in one zone is visible to its customer, who has a job in another zone too; the customer's
    notifications of both zones are in one list, the newest first.
    """
    service, customer = await border.create_service(), await border.create_person("customer", "Carla")
    stranger, workers = await border.create_person("customer", "Carl"), []
    for zone, place in (("west", WEST), ("east", EAST)):
        worker = await border.create_technician(f"Tom of {zone}", service, lat=None)
        assert (await work_in(border, worker, zone))["technician"]["zone"] == zone
        assert (await go_online(worker, place))["receiving"]
        job = await book_ok(customer, service, place)
        await worker.socket.wait_for("new_job_broadcast", job)
        assert "ok" in await worker.socket.claim(job)
        workers.append(worker)
    query = "/v1/presence?users=" + ",".join(worker.id for worker in workers)

    async def are_online() -> bool:  # signs of life are written once a second
        seen = {item["user"]: item["online"] for item in (await customer.get(query))["items"]}
        return seen == {worker.id: True for worker in workers}

    await wait_until(are_online)
    assert (await stranger.get(query))["items"] == []
    assert [item["user"] for item in (await workers[0].get(query))["items"]] == [workers[0].id]

    async def is_told() -> bool:
        return len((await customer.get("/v1/notifications"))["items"]) == 2

    await wait_until(is_told)
    found = (await customer.get("/v1/notifications"))["items"]
    assert [item["job"].split("_")[1] for item in found] == ["east", "west"]
    assert await ids_by_page(customer, "/v1/notifications?") == [item["id"] for item in found]


async def test_a_technician_of_another_zone_gets_no_job(border: Scenario) -> None:
    """A technician who works in `east` cannot be booked by name in `west`, assigned there, or chosen by an earlier bid
    from there; each request is refused with a code. If they are the preferred technician of a booking there, the search
    leaves them out."""
    service, customer = await border.create_service(), await border.create_person("customer", "Carla")
    mover, local = [await border.create_technician(name, service, lat=None) for name in ("Max", "Lea")]
    for technician in (mover, local):
        await work_in(border, technician, "west")
    market = await book_ok(customer, service, WEST, blueprint="marketplace")
    bid = await mover.post(f"/v1/jobs/{market}/bids", {"amount": 4000})
    assert bid.status_code == 201, bid.text
    assert (await work_in(border, mover, "east"))["technician"]["zone"] == "east"
    name = bid.json()["bid"]["id"]
    accepted = (await customer.post(f"/v1/jobs/{market}/bids/{name}/accept")).json()
    assert accepted["code"] == "invalid", accepted
    assert (await mover.post(f"/v1/jobs/{market}/bids", {"amount": 3000})).json()["code"] == "not_offered"
    named = await book(customer, service, WEST, blueprint="direct_booking", technician=mover.id)
    assert (named["code"], named["errors"][0]["pointer"]) == ("invalid", "/technician")
    assert (await go_online(local, WEST))["receiving"]
    preferring = await book_ok(customer, service, WEST, technician=mover.id)
    await local.socket.wait_for("new_job_broadcast", preferring)
    assert "ok" in await local.socket.claim(preferring)
    body = {"technician": mover.id, "reason": "test"}
    assigned = (await border.admin.post(f"/v1/jobs/{preferring}/reassign", body)).json()
    assert (assigned["code"], assigned["errors"][0]["pointer"]) == ("invalid", "/technician")
