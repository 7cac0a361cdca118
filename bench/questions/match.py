"""How fast are the 20 nearest suitable technicians found among 100,000, and how does the time grow with their number?

The match alone, read-only, is a script of the same steps as ``wave_open`` (match.lua). In the same rounds run Redis'
own search and Tile38's, which do not know who is suitable, and the whole wave with its offers. Each number of
technicians has its own Valkey, so that every round visits all of them. The results are compared with those of one pass
over everybody, before and after.
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple

import uvloop

from bench.load.callers import Callers, Taken, Way
from bench.load.city import RADIUS_M, WANTED, City
from bench.load.seed import open_town
from bench.peers import tile38
from bench.questions.wave import CITY_KM
from bench.report import Figure, Report, ratio
from bench.rig import BENCH, SERVER_CORE, BenchError, Missing, Rig, pinned, say
from engine.store import scripts

WAYS = {"1 client in series": Way(1, 1), "8 clients in series": Way(8, 1), "packed": Way(4, 16)}
PACKED = "packed"
"""Four clients with sixteen calls each in one write: the server always has the next one, and is the limit."""
CHECKED = 10
NEAREST, RATED, PLAIN, TILE38, WAVE = "nearest", "rated", "GEOSEARCH", "Tile38", "wave"
SAID = {
    NEAREST: "match, by distance",
    RATED: "match, by rating and distance",
    PLAIN: "GEOSEARCH 5 km ASC COUNT 20",
    TILE38: "Tile38 NEARBY LIMIT 20",
    WAVE: "wave_open, 20 offers written",
}


class Size(NamedTuple):
    """One of the cities that are compared: ``kind`` says what grows with the number of technicians."""

    kind: str
    technicians: int
    side_km: float


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument("--technicians", type=int, default=100_000, help="in the city of the goal (100000)")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 300_000], help="compared with that")
    parser.add_argument("--city-km", type=float, default=CITY_KM, help=f"side of that city (default: {CITY_KM:.0f})")
    parser.add_argument("--jobs", type=int, default=1_000, help="different jobs in each city (default: 1000)")
    parser.add_argument("--waves", type=int, default=500, help="whole waves in a round (default: 500)")


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """Measure, round by round, each city in turn and in it everybody in turn."""
    with pinned(SERVER_CORE):
        return uvloop.run(_run(rig, asked))


async def _run(rig: Rig, asked: argparse.Namespace) -> Report:
    report = Report("match", (__doc__ or "").split("\n", 1)[0])
    matching, peer = _assembled(rig), _tile38(rig, report) if asked.peers else None
    if peer:
        report.versions["tile38"] = await peer.version()
    cities: dict[Size, City] = {}
    for size in _sizes(asked):
        say(f"{size.technicians:,} technicians come online in {size.side_km:.1f} x {size.side_km:.1f} km")
        cities[size] = await _city(rig, matching, size, asked.jobs)
        if peer:
            await _settle(peer, _fleet(size), cities[size])
    report.versions["valkey"] = str((await cities[_goal(asked)].town.store.redis.info("server"))["valkey_version"])
    found = Rounds(cities, peer, asked)
    turns = [await city.check(CHECKED) for city in cities.values()]
    for number in range(asked.rounds):
        say(f"round {number + 1}")
        await found.round()
    turns += [await city.check(CHECKED) for city in cities.values()]
    found.report(report)
    report.notes.append(
        f"{len(turns) * CHECKED} jobs had the right {WANTED}, by one pass over everybody, before and after"
    )
    report.notes.append(f"turns of those matches: {max(map(max, turns))} at most; radius {RADIUS_M / 1000:.0f} km")
    for city in cities.values():
        await city.close()
    if peer:
        await peer.callers.close()
    return report


def _assembled(rig: Rig) -> scripts.ScriptLibrary:
    """The matching script, put together by the engine's own loader from the engine's own folder of steps."""
    root = rig.folder / "lua"
    root.mkdir()
    (root / "lib").symlink_to(scripts.scripts_folder() / "lib")
    shutil.copy(BENCH / "match.lua", root)
    return scripts.load_library(root)


def _tile38(rig: Rig, report: Report) -> tile38.Tile38 | None:
    try:
        return tile38.started(rig)
    except Missing as missing:
        report.missing.append(f"Tile38: {missing}")
        return None


async def _settle(peer: tile38.Tile38, fleet: str, city: City) -> None:
    """Put everybody of a city into Tile38 as well, and see that it finds them."""
    await peer.fill(fleet, [(p.name, p.lat, p.lon) for p in city.people])
    for _, spot in city.jobs[:CHECKED]:
        reply = await peer.callers.one(tile38.nearest(fleet, *spot, count=WANTED, radius_m=RADIUS_M))
        city.compare("Tile38", tile38.names(reply), city.right(spot, set()))


def _goal(asked: argparse.Namespace) -> Size:
    return Size("equal density", asked.technicians, asked.city_km)


def _sizes(asked: argparse.Namespace) -> list[Size]:
    """The city of the goal among those as dense as it, the smallest first; then those of the same area."""
    others = [number for number in asked.sizes if number != asked.technicians]
    alike = [Size("equal density", n, asked.city_km * math.sqrt(n / asked.technicians)) for n in others]
    return sorted([*alike, _goal(asked)], key=lambda s: s.technicians) + [
        Size("one city", number, asked.city_km) for number in sorted(others)
    ]


async def _city(rig: Rig, matching: scripts.ScriptLibrary, size: Size, jobs: int) -> City:
    url, valkey = rig.redis()
    town = await open_town(url)
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    city = City(town, Callers(valkey, port), matching, size.side_km)
    await city.fill(size.technicians, jobs)
    return city


def _fleet(size: Size) -> str:
    return f"{size.kind.replace(' ', '-')}:{size.technicians}"


class Rounds:
    """What every round found of every city, by what was asked and how."""

    def __init__(self, cities: dict[Size, City], peer: tile38.Tile38 | None, asked: argparse.Namespace) -> None:
        self._cities = cities
        self._peer = peer
        self._asked = asked
        self._goal = _goal(asked)
        self._calls = {(size, what): calls for size in cities for what, calls in self._asking(size)}
        self._found: dict[tuple[Size, str, str], list[Taken]] = {}

    def _asking(self, size: Size) -> Iterator[tuple[str, list[bytes]]]:
        city = self._cities[size]
        yield NEAREST, [city.match(job, NEAREST) for job, _ in city.jobs]
        yield RATED, [city.match(job, RATED) for job, _ in city.jobs]
        yield PLAIN, [city.plain(spot) for _, spot in city.jobs]
        if self._peer:
            where = [spot for _, spot in city.jobs]
            yield TILE38, [tile38.nearest(_fleet(size), *spot, count=WANTED, radius_m=RADIUS_M) for spot in where]

    async def round(self) -> None:
        """Every city in turn; in that of the goal each way of calling, and whole waves."""
        for size, city in self._cities.items():
            await city.refreshed()
            for way in WAYS if size == self._goal else [PACKED]:
                for what in (w for s, w in self._calls if s == size):
                    callers = self._peer.callers if self._peer and what == TILE38 else city.callers
                    calls = cycle(self._calls[size, what])
                    self._note(size, what, way, await callers.timed(calls, WAYS[way], self._asked.seconds))
        await self._waves(self._cities[self._goal])

    async def _waves(self, city: City) -> None:
        jobs = await city.booked(self._asked.waves)
        replies: list[list[bytes]] = []
        calls = iter([city.wave(job) for job, _ in jobs])
        self._note(self._goal, WAVE, PACKED, await city.callers.timed(calls, WAYS[PACKED], kept=replies))
        if not all(reply[0] == b"OK" and int(reply[4]) for reply in replies):
            raise BenchError("a wave came to no offer: what was measured is not what was meant")

    def _note(self, size: Size, what: str, way: str, taken: Taken) -> None:
        self._found.setdefault((size, what, way), []).append(taken)

    def report(self, report: Report) -> None:
        """The city of the goal, then what a match costs the server in each."""
        for (size, what, way), taken in self._found.items():
            if size == self._goal:
                busy = f"server busy {min(each.busy for each in taken):.0%} or more"
                report.add(Figure(f"{SAID[what]}, {way}", "calls/s", [t.per_second for t in taken], note=busy))
        self._ratios(report)
        for size in self._cities:
            for what in (w for s, w, way in self._found if s == size and way == PACKED):
                cost = [t.server_us for t in self._found[size, what, PACKED]]
                report.add(Figure(f"{size.kind}, {size.technicians:,}: {SAID[what]}", "µs of server", cost))
        alike = [size for size in self._cities if size.kind == self._goal.kind]
        for what in (w for s, w in self._calls if s == self._goal and len(alike) > 1):
            most, least = ([t.server_us for t in self._found[s, what, PACKED]] for s in (alike[-1], alike[0]))
            name = f"equal density, {alike[-1].technicians:,} ÷ {alike[0].technicians:,}: {SAID[what]}"
            report.add(ratio(name, most, least, better="less"))

    def _ratios(self, report: Report) -> None:
        for way in WAYS:
            goal = 3.0 if way == PACKED else None
            rate = {w: [t.per_second for t in taken] for w, taken in self._of_goal(way)}
            report.add(ratio(f"{SAID[NEAREST]} ÷ GEOSEARCH, {way}", rate[NEAREST], rate[PLAIN], goal=goal))
            report.add(ratio(f"{SAID[RATED]} ÷ GEOSEARCH, {way}", rate[RATED], rate[PLAIN]))
            if TILE38 in rate:
                report.add(ratio(f"{SAID[NEAREST]} ÷ Tile38, {way}", rate[NEAREST], rate[TILE38]))
        cost = {w: [t.server_us for t in taken] for w, taken in self._of_goal(PACKED)}
        report.add(ratio("the server's time: GEOSEARCH ÷ match, by distance", cost[PLAIN], cost[NEAREST], goal=3))

    def _of_goal(self, way: str) -> Iterator[tuple[str, list[Taken]]]:
        return ((what, taken) for (size, what, w), taken in self._found.items() if size == self._goal and w == way)
