"""Travel times from routing servers: a small HTTP server sends their formats, and can be slow, broken or
unreachable.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.clock import now_ms
from engine.domain import positions
from engine.domain.travel_tables import travel_table
from engine.process import road_times
from engine.process.road_times import RoadTimes
from engine.process.settings import Settings, SettingsError, read_settings
from engine.rules.distances import distance_m
from engine.rules.road_routers import MAX_PLACES, parse_router_address
from engine.rules.travel import COLD_START, Place
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE
from tests.support.trips import start_trip
from tests.support.wait import wait_until

HERE, THERE, AWAY = (52.50, 13.40), (52.53, 13.45), (52.60, 13.60)
PACE = 100.0
"""How many seconds 1 km of the straight distance takes by the made-up router."""


class Router:
    """An artificial router that answers in the formats of OSRM and Valhalla. `answer` replaces the body of its answers,
    `delay_s` is the delay before each. `asked` has the numbers of origins and destinations of each request.
    """

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[tuple[int, int]] = []
        self.answer: bytes | None = None
        self.status = 200
        self.delay_s = 0.0
        self.terse = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                sizes = [line.split(":")[1] for line in lines if line.lower().startswith("content-length")]
                body = await reader.readexactly(int(sizes[0]) if sizes else 0)
                answer = self.answer if self.answer is not None else self.table(lines[0].split()[1], body)
                await asyncio.sleep(self.delay_s)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (self.status, len(answer), answer))
                await writer.drain()
        writer.close()

    def table(self, target: str, body: bytes) -> bytes:
        """Return the table that a request asks for, in the format of its router."""
        url = urlsplit(target)
        if url.path == "/sources_to_targets":
            wanted = json.loads(body)
            assert wanted["costing"] == "auto"
            sides = [[(place["lat"], place["lon"]) for place in wanted[side]] for side in ("sources", "targets")]
        else:
            query = parse_qs(url.query)
            assert url.path.startswith("/table/v1/driving/") and query["annotations"] == ["duration"]
            places = [tuple(map(float, text.split(",")))[::-1] for text in url.path.rpartition("/")[2].split(";")]
            sides = [[places[int(at)] for at in query[name][0].split(";")] for name in ("sources", "destinations")]
        self.asked.append((len(sides[0]), len(sides[1])))
        rows = [[seconds_by_road(*pair) for pair in ((one, other) for other in sides[1])] for one in sides[0]]
        if url.path != "/sources_to_targets":
            return json.dumps({"code": "Ok", "durations": rows}).encode()
        pairs = {"durations": rows} if self.terse else [[{"time": t, "distance": 1.0} for t in row] for row in rows]
        return json.dumps({"sources_to_targets": pairs}).encode()


def seconds_by_road(one: Place, other: Place) -> float:
    """Return the travel time (s) in the answers of the artificial router."""
    return distance_m(*one, *other) / 1000 * PACE


@pytest.fixture
async def router(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Router]:
    """Run an artificial router. The time limit is longer than in the product, because the tests share the machine with
    others.
    """
    monkeypatch.setattr(road_times, "BUDGET_S", 5.0)
    made = Router()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


@contextlib.asynccontextmanager
async def with_router(engine: Engine, url: str) -> AsyncIterator[Engine]:
    """Give the engine a router."""
    asking = dataclasses.replace(engine)
    object.__setattr__(asking, "road_times", RoadTimes(parse_router_address(url)))
    yield asking
    await asking.road_times.close()


@pytest.mark.parametrize(("kind", "terse"), [("osrm", False), ("valhalla", False), ("valhalla", True)])
async def test_a_router_gives_the_times_by_road(engine: Engine, router: Router, kind: str, terse: bool) -> None:
    """The table has the times of the router, which is asked once an hour. Other places in the same cells get a time for
    their own distance. Nearer than 500 m the learnt times apply.
    """
    router.terse = terse
    async with with_router(engine, f"{kind}+http://127.0.0.1:{router.port}/") as asking:
        now = now_ms() // 3_600_000 * 3_600_000
        for _ in range(2):
            found = await travel_table(asking, DEFAULT_ZONE, [HERE, AWAY], [THERE, HERE], now)
            assert found.source == kind
            assert found.seconds[0][0] == pytest.approx(seconds_by_road(HERE, THERE), rel=1e-3)
            assert found.seconds[1] == pytest.approx([seconds_by_road(AWAY, each) for each in (THERE, HERE)], rel=1e-3)
            assert found.seconds[0][1] == 0
        assert router.asked == [(2, 2)]
        near = (HERE[0] + 0.0001, HERE[1])
        found = await travel_table(asking, DEFAULT_ZONE, [near], [THERE], now)
        assert found.seconds[0][0] == pytest.approx(seconds_by_road(near, THERE), rel=1e-3) and len(router.asked) == 1
        await travel_table(asking, DEFAULT_ZONE, [HERE], [THERE], now + 3_600_000)
        assert len(router.asked) == 2


async def test_a_large_table_is_asked_for_in_parts(engine: Engine, router: Router) -> None:
    """A request has at most `MAX_PLACES` origins and destinations, so that no router refuses it."""
    origins = [(52.0 + at / 100, 13.0) for at in range(MAX_PLACES + 10)]
    async with with_router(engine, f"osrm+http://127.0.0.1:{router.port}") as asking:
        found = await travel_table(asking, DEFAULT_ZONE, origins, [AWAY], now_ms())
    assert found.source == "osrm" and sorted(router.asked) == [(10, 1), (MAX_PLACES, 1)]
    assert [row[0] for row in found.seconds] == pytest.approx([seconds_by_road(o, AWAY) for o in origins], rel=1e-3)


BROKEN: dict[str, tuple[int, bytes]] = {
    "no JSON": (200, b"<html>"),
    "an error of OSRM": (400, b'{"code":"InvalidQuery","message":"no"}'),
    "an error of the server": (500, b""),
    "a redirection": (302, b'{"durations":[[1]]}'),
    "too few rows": (200, b'{"code":"Ok","durations":[]}'),
    "too many columns": (200, b'{"code":"Ok","durations":[[1,2]]}'),
    "a text": (200, b'{"code":"Ok","durations":[["soon"]]}'),
    "a negative time": (200, b'{"code":"Ok","durations":[[-3]]}'),
    "no table": (200, b'{"code":"Ok"}'),
    "too long": (200, b" " * (road_times.MAX_ANSWER_BYTES + 1)),
}


@pytest.mark.parametrize("flaw", BROKEN)
async def test_a_broken_answer_is_no_time(engine: Engine, router: Router, flaw: str) -> None:
    """If the router's answer is invalid, the learnt times apply and the reply says so. The router is not asked again
    for a while.
    """
    router.status, router.answer = BROKEN[flaw]
    async with with_router(engine, f"osrm+http://127.0.0.1:{router.port}") as asking:
        found = await travel_table(asking, DEFAULT_ZONE, [HERE], [THERE], now_ms())
        assert found.source == "learned"
        assert found.seconds[0][0] == pytest.approx(COLD_START.travel_time_s(distance_m(*HERE, *THERE)))
        router.status, router.answer = 200, None
        assert (await travel_table(asking, DEFAULT_ZONE, [HERE], [THERE], now_ms())).source == "learned"
        asking.road_times._paused_until = 0.0
        assert (await travel_table(asking, DEFAULT_ZONE, [HERE], [THERE], now_ms())).source == "osrm"


async def test_no_way_is_no_time(engine: Engine, router: Router) -> None:
    """For places without a road between them the router answers null, and the learnt times apply."""
    router.answer = b'{"code":"Ok","durations":[[null]]}'
    async with with_router(engine, f"osrm+http://127.0.0.1:{router.port}") as asking:
        assert (await travel_table(asking, DEFAULT_ZONE, [HERE], [THERE], now_ms())).source == "learned"


@pytest.mark.parametrize("away", ["slow", "silent", "closed"])
async def test_a_router_that_is_away_costs_one_budget(
    engine: Engine, router: Router, away: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router that is slow, accepts a connection without an answer, or is unreachable delays the first reply by its
    budget of 150 ms. The next replies do not wait.
    """
    monkeypatch.setattr(road_times, "BUDGET_S", 0.15)
    router.delay_s = {"slow": 0.4}.get(away, 60.0)
    port = 1 if away == "closed" else router.port
    async with with_router(engine, f"valhalla+http://127.0.0.1:{port}") as asking:
        began = monotonic()
        assert (await travel_table(asking, DEFAULT_ZONE, [HERE], [THERE], now_ms())).source == "learned"
        assert monotonic() - began < 2 * road_times.BUDGET_S + 0.2  # a margin for a busy machine
        asked = len(router.asked)
        assert (await travel_table(asking, DEFAULT_ZONE, [HERE], [AWAY], now_ms())).source == "learned"
        assert len(router.asked) == asked <= 1


async def test_the_eta_of_a_job_is_by_road(engine: Engine, router: Router) -> None:
    """`/track` waits for the router. The position feed does not wait, and uses the answer for the next position. Near
    the place, and while the router is unreachable, `source` is `learned`.
    """
    trip = await start_trip(engine)
    async with with_router(engine, f"osrm+http://127.0.0.1:{router.port}") as asking:
        await trip.send_fix(3000)
        found = await positions.read_position(asking, trip.customer, trip.job)
        assert found is not None and found.source == "osrm" and found.eta_s == pytest.approx(300, abs=2)
        assert found.low is not None and found.high is not None and found.low < found.high
        await trip.send_fix(300)
        found = await positions.read_position(asking, trip.customer, trip.job)
        assert found is not None and found.source == "learned"
        model = asking.road_times.model_by_road(COLD_START, AWAY, HERE, now_ms())
        assert model is COLD_START, "it is asked for the next time"
        await wait_until(
            lambda: asking.road_times.model_by_road(COLD_START, AWAY, HERE, now_ms()).source == "osrm",
            what="the answer of the router",
        )


@pytest.mark.parametrize(
    "text", ["http://router:5000", "osrm+ftp://router", "osrm+http://", "ors+http://router", "osrm"]
)
def test_a_router_that_is_none_is_refused(text: str) -> None:
    """The setting `router` names a kind and a URL; anything else is refused at the start with its text."""
    with pytest.raises(SettingsError, match="router: "):
        read_settings({"router": text}, env={})


def test_the_setting_names_kind_and_address() -> None:
    """The two kinds are read with their addresses, without a slash at the end."""
    settings: Any = read_settings({"router": "valhalla+https://routes.example/v/"}, env={})
    assert isinstance(settings, Settings)
    assert parse_router_address(settings.router) == ("valhalla", "https://routes.example/v")
