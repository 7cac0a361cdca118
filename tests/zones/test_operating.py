"""An operator handles each zone on its own: they pause, empty, rebuild or audit one zone while the others continue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import msgspec

from engine.process.settings import Settings
from engine.store import keys
from engine.types import Zone
from server.serve import run_server
from tests.conftest import SlowRefill
from tests.story.conftest import Person, Scenario
from tests.support.http import open_http
from tests.support.process import FinishedCommand, run_callout
from tests.support.wait import wait_until
from tests.zones.conftest import EAST, WEST, book, book_ok, declare_zones, go_online, work_in
from tests.zones.test_border import wait_until_archived


async def run_command(border: Scenario, folder: Path, *arguments: str) -> FinishedCommand:
    """Run a command of ``callout`` in the folder of the settings file, on the stores of the server."""
    settings = border.server.engine.settings
    flags = ("--data", settings.data, *(("--database", settings.database) if settings.database else ()))
    redis = ("--redis", settings.redis or "") if arguments[0] == "zone" else ()
    return await run_callout(*arguments, *flags, *redis, cwd=folder)


async def test_a_paused_zone_leaves_the_other_alone(border: Scenario, tmp_path: Path) -> None:
    """`callout zone` works for one zone. While `west` is paused, bookings there are `unavailable`, and everything in
    the other zones continues: bookings, lists, the snapshot, blocks and outcomes of request keys.
    """
    service, customer = await border.create_service(), await border.create_person("customer", "Carla")
    technician = await border.create_technician("Tom", service, lat=None)
    jobs = {zone: await book_ok(customer, service, place) for zone, place in (("west", WEST), ("east", EAST))}
    done = await run_command(border, tmp_path, "zone", "status", "--json")
    assert {name: state["state"] for name, state in json.loads(done.out).items()} == dict.fromkeys(
        ("west", "east", "main"), "open"
    ), done.err
    assert (await run_command(border, tmp_path, "zone", "close", "west")).code == 0
    await wait_until(lambda: is_refused(customer, service))
    booked = await book(customer, service, EAST)
    assert [job["id"] for job in (await customer.get("/v1/jobs"))["items"]] == [booked["job"]["id"], jobs["east"]]
    assert set((await customer.get("/v1/jobs"))["as_of"]) == set((await customer.get("/v1/sync"))["cursor"])
    assert set((await customer.get("/v1/rooms"))["as_of"]) == {"east", "main"}
    assert (await customer.get("/v1/disputes"))["items"] == []
    assert (await customer.post("/v1/me/blocks", {"user": technician.id})).status_code == 200
    assert (await customer.get(f"/v1/jobs/{jobs['west']}"))["code"] == "unavailable"
    opened = await run_command(border, tmp_path, "zone", "open", "west")
    assert (opened.code, "zone west is open" in opened.out) == (0, True), opened.err
    await wait_until(lambda: is_readable(customer, jobs["west"]))
    assert len((await customer.get("/v1/jobs"))["items"]) == 3


async def is_refused(customer: Person, service: str) -> bool:
    """Return whether a booking in `west` is refused as `unavailable`."""
    return (await book(customer, service, WEST)).get("code") == "unavailable"


async def is_readable(customer: Person, job: str) -> bool:
    """Return whether the customer can read the job."""
    return (await customer.request("GET", f"/v1/jobs/{job}")).status_code == 200


async def test_a_zone_is_written_anew_and_audited_alone(border: Scenario, tmp_path: Path) -> None:
    """If Redis loses one zone, the server rebuilds the zone's keys from SQL. Its jobs and technicians are there again,
    a client that follows both zones resumes, and the other zone stays in its epoch. Each zone has an audit tree of its
    own.
    """
    engine, service = border.server.engine, await border.create_service()
    customer, technician = (
        await border.create_person("customer", "Carla"),
        await border.create_technician("Tom", service),
    )
    await technician.request("PUT", f"/v1/technicians/{technician.id}/availability", {"online": False})
    await work_in(border, technician, "west")
    assert (await go_online(technician, WEST))["receiving"]
    await customer.socket.open()
    jobs = {zone: await book_ok(customer, service, place) for zone, place in (("west", WEST), ("east", EAST))}
    await technician.socket.wait_for("new_job_broadcast", jobs["west"])
    assert "ok" in await technician.socket.claim(jobs["west"])
    await wait_until_archived(border)
    before = {zone: state.epoch for zone, state in engine.store.zones.items()}
    names = [name async for name in engine.store.redis.scan_iter(match="{west}:*")]
    assert await engine.store.redis.delete(*names) == len(names) > 5
    await wait_until(lambda: engine.store.zones[Zone("west")].epoch != before[Zone("west")], within_s=20)
    await wait_until(lambda: is_readable(customer, jobs["west"]))
    assert {zone for zone, state in engine.store.zones.items() if state.epoch != before[zone]} == {"west"}
    assert (await customer.get(f"/v1/jobs/{jobs['west']}"))["job"]["technician"]["id"] == technician.id
    assert await engine.store.redis.hget(keys.technician(Zone("west"), technician.id), "online") == b"1"  # type: ignore[arg-type]
    assert await engine.store.redis.keys(f"{{east}}:tech:{technician.id}*") == []

    await wait_until_archived(border)
    await wait_until(lambda: have_heads(border.http, *jobs), within_s=20)
    entries = {zone: (await border.admin.get(f"/v1/audit?zone={zone}"))["items"] for zone in jobs}
    assert {entry["id"] for entry in entries["east"] if entry["entity"] == "job"} == {jobs["east"]}
    verified = await run_command(border, tmp_path, "audit", "verify", "--json")
    found: dict[str, Any] = json.loads(verified.out)
    assert found["ok"] and {each["zone"] for each in found["zones"]} >= set(jobs), found


async def have_heads(http: httpx.AsyncClient, *zones: str) -> bool:
    """Return whether each zone's audit tree has a published head."""
    replies = [await http.get(f"/v1/audit/{zone}/head") for zone in zones]
    return all(reply.status_code == 200 and reply.json()["head"]["zone"] for reply in replies)


async def test_the_doctor_reports_what_no_declared_zone_has(border: Scenario, tmp_path: Path) -> None:
    """`callout doctor` names each zone that still has unfinished jobs or technicians but is no longer declared in the
    settings."""
    service, customer = await border.create_service(), await border.create_person("customer", "Carla")
    technician = await border.create_technician("Tom", service, lat=None)
    await work_in(border, technician, "west")
    await book_ok(customer, service, WEST)
    await wait_until_archived(border)
    for toml, problems in (
        ((tmp_path / "callout.toml").read_text(), []),
        ("", [f"zone west is not declared and has 1 {noun}" for noun in ("unfinished jobs", "technicians")]),
    ):
        (tmp_path / "callout.toml").write_text(toml)
        report = json.loads((await run_command(border, tmp_path, "doctor", "--json")).out)
        [found] = [finding for finding in report["findings"] if finding["name"] == "zones"]
        assert found["problems"] == problems
        assert found["facts"]["declared"] == ("west east main" if toml else "main")


async def test_a_server_with_a_wrong_declaration_does_not_start(tmp_path: Path) -> None:
    """`callout serve` ends with exit code 2 and one line that has all problems of the zones. It starts nothing."""
    (tmp_path / "callout.toml").write_text("[zones.West]\n[zones.east]\npolygon = 'none.geojson'\n")
    done = await run_callout("serve", "--zones", "south", "--data", str(tmp_path / "data"), cwd=tmp_path)
    assert done.code == 2 and not (tmp_path / "data").exists()
    for part in ("zones.West: a zone's name", "zones.east: polygon: none.geojson: No such file", "zones: 'south'"):
        assert part in done.error_line


async def test_a_limit_counts_in_all_zones_together(
    settings: Settings, tmp_path: Path, slow_refill: SlowRefill
) -> None:
    """A user who books in several zones has one rate limit for all zones together."""
    slow_refill("requests")
    limited = msgspec.structs.replace(declare_zones(settings, tmp_path), limits="on")
    async with run_server(limited) as server, open_http(server.url) as http:
        there = Scenario(server, http)
        service, customer = await there.create_service(), await there.create_person("customer", "Carla")
        codes = [(await book(customer, service, place)).get("code") for place in (WEST, EAST) * 11]
    assert codes == [None] * 20 + ["rate_limited"] * 2
