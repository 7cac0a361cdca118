"""The map of a zone over a socket: a snapshot, and then what changes in the box of each session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine.domain import jobs, zone_map
from engine.domain.commands import CommandInput
from engine.process.settings import Settings
from engine.rules.fixes import Fix
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Coordinates
from engine.types import DEFAULT_ZONE, OPS, ROLES
from server.gateway import map_reader
from tests.server.gateway.conftest import Node
from tests.server.gateway.map_console import TOWN_BOX, Console
from tests.server.gateway.test_slow import BIG_DATA, small_receive_socket, stop_reading
from tests.support import people
from tests.support.wait import wait_until

WEST_SIDE, EAST_SIDE = [-74.2, 40.6, -74.0, 40.9], [-74.0, 40.6, -73.8, 40.9]


async def send_fix(node: Node, name: str, lat: float, lon: float) -> None:
    """Send two fixes of one place as a technician: the second one confirms a jump."""
    who = people.technician_without_account(name)
    for _ in range(2):
        await live.store_fixes(node.engine, who, name, [Fix(lat=lat, lon=lon)])


# Refusals


async def test_only_ops_see_the_map(node: Node) -> None:
    """Nobody but ops may subscribe to a map, neither by `subscribe` nor by `subs`."""
    view = {"channel": "map:main", "bbox": TOWN_BOX}
    for role in set(ROLES) - OPS:
        async with node.connect("u", role, subs=[view]) as client:
            assert client.hello["subs"] == []  # type: ignore[attr-defined]
            assert client.hello["refused"] == [{"channel": "map:main", "code": "forbidden"}]  # type: ignore[attr-defined]
            assert (await client.request(op="subscribe", **view))["error"]["code"] == "forbidden"
    assert node.gateway.maps.reader_of(DEFAULT_ZONE) is None


WRONG_VIEWS: list[tuple[dict[str, Any], str]] = [
    ({}, "/bbox"),
    ({"bbox": [1, 2, 3]}, "/bbox"),
    ({"bbox": "-74,40,-73,41"}, "/bbox"),
    ({"bbox": [-74, 41, -73, 40]}, "/bbox"),
    ({"bbox": [-74, 40, -74, 41]}, "/bbox"),
    ({"bbox": [-74, 40, -73, 86]}, "/bbox"),
    ({"bbox": [-181, 40, -73, 41]}, "/bbox"),
    ({"bbox": TOWN_BOX, "every_s": 0.4}, "/every_s"),
    ({"bbox": TOWN_BOX, "layers": []}, "/layers"),
    ({"bbox": TOWN_BOX, "layers": ["roads"]}, "/layers/0"),
    ({"bbox": TOWN_BOX, "zoom": 3}, "/zoom"),
]


async def test_a_view_that_is_none_is_invalid(node: Node) -> None:
    """A malformed box, a rate that is too high and an unknown layer are refused with `invalid` and the pointer of the
    field, an unknown zone with `not_found`. The session continues after each refusal."""
    async with node.connect("boss", "admin") as client:
        for arguments, pointer in WRONG_VIEWS:
            error = (await client.request(op="subscribe", channel="map:main", **arguments))["error"]
            assert (error["code"], error["errors"][0]["pointer"]) == ("invalid", pointer), arguments
        refused = await client.request(op="subscribe", channel="zone:main", bbox=TOWN_BOX)
        assert refused["error"]["errors"][0]["pointer"] == "/bbox"
        unknown = await client.request(op="subscribe", channel="map:north", bbox=TOWN_BOX)
        assert unknown["error"]["code"] == "not_found"
    assert node.gateway.maps.reader_of(DEFAULT_ZONE) is None


async def test_a_view_without_a_box_is_refused_in_subs(node: Node) -> None:
    """A map in `subs` needs its box: without one it is refused, and the session continues."""
    async with node.connect("boss", "admin", subs=["map:main", "zone:main"]) as client:
        assert client.hello["subs"] == ["zone:main"]  # type: ignore[attr-defined]
        assert client.hello["refused"] == [{"channel": "map:main", "code": "invalid"}]  # type: ignore[attr-defined]


# What a console sees


async def test_people_enter_move_and_leave(node: Node) -> None:
    """The snapshot shows an idle technician. A technician who comes online appears, a fix moves their marker, and a
    technician who drives out of the box disappears.
    """
    service = await people.service(node.engine)
    await people.technician(node.engine, "idle", service)
    async with node.connect("boss", "ops_manager") as client:
        console = Console(client)
        reply = await console.look(TOWN_BOX)
        assert reply["ok"]["channel"] == "map:main" and reply["ok"]["zone"] == "main"
        assert list(console.things) == ["idle"] and console.things["idle"]["state"] == "free"
        await people.technician(node.engine, "new", service, at=Coordinates(40.7, -74.0))
        await console.until(lambda things: "new" in things)
        await send_fix(node, "new", 40.7003, -74.0004)
        await console.until(lambda things: things["new"]["lat"] == 40.7003)
        assert console.things["new"]["age_s"] < 10 and console.things["new"]["name"] == "T new"
        await send_fix(node, "new", 40.7203, -74.25)
        await console.until(lambda things: "new" not in things)
        assert set(console.frames[1:]) == {"map.delta"}


async def test_states_and_jobs_change_on_the_map(node: Node) -> None:
    """A job appears when it is booked, changes with each step and disappears when it ends. Its holder is shown as busy
    meanwhile, and as offline when they go offline.
    """
    service, customer = await people.service(node.engine), await people.customer(node.engine)
    tom = await people.technician(node.engine, "tom", service)
    async with node.connect("boss", "admin") as client:
        console = Console(client)
        await console.look(TOWN_BOX)
        job = await people.offered_job(node.engine, customer, service)
        await console.until(lambda things: job in things)
        assert console.things[job]["phase"] == "open" and "technician" not in console.things[job]
        await jobs.claim(node.engine, tom, job)
        await console.until(lambda things: things[job]["phase"] == "assigned" and things["tom"]["state"] == "busy")
        assert console.things[job]["technician"] == "tom" and console.things["tom"]["jobs"] == 1
        await jobs.run_command(node.engine, customer, job, CommandInput(command="cancel"))
        await console.until(lambda things: job not in things and things["tom"]["state"] == "free")
        await live.set_availability(node.engine, tom, "tom", online=False)
        await console.until(lambda things: things["tom"]["state"] == "offline")


async def test_an_offline_technician_is_refreshed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fix of an offline technician is not a sign of life; the map still reads their record again."""
    monkeypatch.setattr(map_reader, "REFRESH_EVERY_S", 0.3)
    tom = await people.technician(node.engine, "tom", await people.service(node.engine))
    await live.set_availability(node.engine, tom, "tom", online=False)
    async with node.connect("boss", "admin") as client:
        console = Console(client)
        await console.look(TOWN_BOX)
        await send_fix(node, "tom", 40.7503, -73.9903)
        await console.until(lambda things: things["tom"]["lat"] == 40.7503)
        record = keys.technician(DEFAULT_ZONE, live.TechnicianId(tom.id))
        await node.engine.store.redis.hset(record, "fix_at", 1)
        await console.until(lambda things: "tom" not in things)


async def test_a_box_across_the_antimeridian(node: Node) -> None:
    """A box whose west is above its east shows both sides of the antimeridian, and a person who crosses it stays on the
    map.
    """
    service = await people.service(node.engine)
    for name, lon in (("west", 179.99), ("east", -179.99), ("far", 0.0)):
        await people.technician(node.engine, name, service, at=Coordinates(-17.0, lon))
    async with node.connect("boss", "admin") as client:
        console = Console(client)
        await console.look([179.5, -18, -179.5, -16])
        assert set(console.things) == {"west", "east"}
        await send_fix(node, "west", -17.0, -179.999)
        await console.until(lambda things: things["west"]["lon"] < 0)


async def test_two_consoles_see_their_own_boxes(node: Node) -> None:
    """Two map clients with different boxes each see what is in their own box. The positions are read once for both."""
    service = await people.service(node.engine)
    await people.technician(node.engine, "west", service, at=Coordinates(40.7, -74.1))
    await people.technician(node.engine, "east", service, at=Coordinates(40.7, -73.9))
    async with node.connect("boss", "admin") as one, node.connect("chief", "ops_manager") as two:
        left, right = Console(one), Console(two)
        await left.look(WEST_SIDE, layers=["people"])
        await right.look(EAST_SIDE)
        reader = node.gateway.maps.reader_of(DEFAULT_ZONE)
        assert reader is not None and len(reader.views) == 2
        assert set(left.things) == {"west"} and set(right.things) == {"east"}
        await send_fix(node, "west", 40.7, -73.95)
        await left.until(lambda things: not things)
        await right.until(lambda things: set(things) == {"east", "west"})


async def test_a_moved_view_begins_with_a_snapshot(node: Node) -> None:
    """A second `subscribe` moves the view: a snapshot of the new box follows, the frame number `k` continues, and no
    frame of the old box follows.
    """
    service = await people.service(node.engine)
    await people.technician(node.engine, "west", service, at=Coordinates(40.7, -74.1))
    await people.technician(node.engine, "east", service, at=Coordinates(40.7, -73.9))
    async with node.connect("boss", "admin") as client:
        console = Console(client)
        await console.look(WEST_SIDE)
        await console.look(EAST_SIDE)
        assert set(console.things) == {"east"} and console.frames == ["map.snapshot", "map.snapshot"]
        await send_fix(node, "west", 40.71, -74.1)
        await send_fix(node, "east", 40.71, -73.9)
        delta = await console.next_frame()
        assert [each["id"] for each in delta["moved"]] == ["east"]


async def test_a_crowd_is_shown_as_clusters(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer with more people than the limit is shown as clusters that count them; below the limit each is shown
    again."""
    monkeypatch.setattr(zone_map, "MAX_ENTRIES", 3)
    service = await people.service(node.engine)
    for number in range(3):
        await people.technician(node.engine, f"t{number}", service, at=Coordinates(40.65 + number / 10, -74.0))
    async with node.connect("boss", "admin") as client:
        console = Console(client)
        await console.look(TOWN_BOX)
        assert set(console.things) == {"t0", "t1", "t2"}
        await people.technician(node.engine, "t3", service, at=Coordinates(40.65, -74.0))
        await console.until(lambda things: sorted(each.get("people", 0) for each in things.values()) == [1, 1, 2])
        assert all("cell" in each for each in console.things.values())
        await send_fix(node, "t3", 40.75, -74.0)
        await console.until(lambda things: sum(each["people"] for each in things.values()) == 4 and len(things) == 3)
        for name in ("t2", "t3"):
            await send_fix(node, name, 41.5, -74.0)
        await console.until(lambda things: set(things) == {"t0", "t1"})
        assert console.frames.count("map.snapshot") == 3


async def test_a_session_that_does_not_read_gets_one_difference_later(node: Node) -> None:
    """While a session has not read its last frame, no other frame is queued for it. Afterwards it gets one frame with
    the difference to the last one, and only the newest positions.
    """
    await people.technician(node.engine, "tom", await people.service(node.engine))
    async with node.open_socket(sock=small_receive_socket(node)) as client:
        await client.request(op="connect", token=await node.token("boss", "admin"))
        console = Console(client)
        await console.look(TOWN_BOX)
        await stop_reading(client)
        await node.wait_until_relayed(await node.append("user:boss", times=150, data=BIG_DATA))
        (session,) = node.gateway.sessions
        reader = node.gateway.maps.reader_of(DEFAULT_ZONE)
        assert reader is not None
        for lon in (-74.01, -74.02, -74.03):
            reads = reader.reads
            await send_fix(node, "tom", 40.7, lon)
            await wait_until(lambda reads=reads: reader.reads > reads + 4)  # type: ignore[misc]
        assert session.has_unsent and console.k == reader.views[session].k
        client.socket.transport.resume_reading()
        delta = await console.next_frame()
        assert [each["lon"] for each in delta["moved"]] == [-74.03]


# The end of a view


async def test_nothing_is_read_while_nobody_looks(node: Node) -> None:
    """The positions for the map are read from the beginning of the first view to the end of the last one, which ends by
    `unsubscribe` or with its socket."""

    def is_reading() -> bool:
        return any(task.get_name() == "map of main" for task in asyncio.all_tasks())

    await people.technician(node.engine, "tom", await people.service(node.engine))
    assert not is_reading()
    async with node.connect("boss", "admin") as client:
        async with node.connect("chief", "admin") as other:
            await Console(other).look(TOWN_BOX)
            await Console(client).look(TOWN_BOX)
            assert is_reading()
            assert (await client.request(op="unsubscribe", channel="map:main"))["ok"] == {"channel": "map:main"}
            assert is_reading()
        await wait_until(lambda: not is_reading())
        await send_fix(node, "tom", 40.7, -74.0)
        await client.request(op="ping")
        assert client.pushes == []


async def test_who_loses_the_right_loses_the_map(node: Node) -> None:
    """When the access of a user ends, their socket is closed, and the map sends it no more frames."""
    async with node.connect("boss", "admin") as client:
        await Console(client).look(TOWN_BOX)
        await node.append("user:boss", kind="session.revoked", data='{"code":4006}')
        assert await client.wait_for_close() == 4006
    assert node.gateway.maps.reader_of(DEFAULT_ZONE) is None


async def test_a_view_is_restored_at_connect(node: Node) -> None:
    """A view in `subs` is shown again after `connect`, with a snapshot."""
    await people.technician(node.engine, "tom", await people.service(node.engine))
    view = {"channel": "map:main", "bbox": TOWN_BOX, "layers": ["people"], "every_s": 0.5}
    async with node.connect("boss", "admin", subs=[view, "zone:main"]) as client:
        assert client.hello["subs"] == ["map:main", "zone:main"]  # type: ignore[attr-defined]
        console = Console(client)
        await console.next_frame()
        assert set(console.things) == {"tom"}


async def test_the_map_comes_back_after_redis_was_away(node: Node, settings: Settings) -> None:
    """When Redis cannot be read for a moment, the view stays, and continues with what changed meanwhile."""
    await people.technician(node.engine, "tom", await people.service(node.engine))
    async with node.connect("boss", "admin") as client:
        console = Console(client)
        await console.look(TOWN_BOX)
        node.engine.store.pipeline.disconnect()
        await wait_until(lambda: node.engine.store.pipeline.is_up)
        await send_fix(node, "tom", 40.7, -74.01)
        await console.until(lambda things: things["tom"]["lon"] == -74.01)
