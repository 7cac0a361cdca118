"""How fast are the 20 nearest suitable technicians found among 100,000, and how does the time grow with their number?

The script match.lua searches technicians with the steps of ``wave_open``, and writes nothing. The same rounds also
measure the searches of Redis and Tile38, which do not know which technicians are suitable, and a whole wave, which also
writes its offers. Each number of technicians has its own Valkey, so that every round can measure all of these numbers.
Before and after the rounds, the results are compared with those of a search by brute force over all technicians.
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Iterator
from itertools import cycle
from typing import NamedTuple

import uvloop

from bench.load.city import MATCH_COUNT, RADIUS_M, City, Position
from bench.load.redis_clients import CallPattern, CallTiming, RedisClients
from bench.load.seed import open_seeded_zone
from bench.peers import tile38
from bench.peers.catalogue import PEERS
from bench.questions.wave import CITY_KM
from bench.report import Figure, Report, ratio
from bench.rig import BENCH_DIR, SERVER_CORE, BenchError, PeerUnavailable, Rig, pin_to_core, print_progress
from engine.store import scripts

CALL_PATTERNS = {
    "1 client in series": CallPattern(1, 1),
    "8 clients in series": CallPattern(8, 1),
    "packed": CallPattern(4, 16),
}
PACKED = "packed"
"""Four clients with sixteen calls each in one write, so that the server is always busy and is the limit."""
CHECKED_JOBS = 10
NEAREST_GOAL, RATED_GOAL, GROWTH_GOAL = 0.6, 0.3, 1.3
"""The goals of docs/design.md, chapter 9: each match divided by ``GEOSEARCH``, and the growth of the match by distance.
"""
NEAREST, RATED, GEOSEARCH, TILE38, WAVE = "nearest", "rated", "GEOSEARCH", "Tile38", "wave"
LABELS = {
    NEAREST: "match, by distance",
    RATED: "match, by rating and distance",
    GEOSEARCH: "GEOSEARCH, fitted radius, ASC COUNT 20",
    TILE38: "Tile38 NEARBY LIMIT 20",
    WAVE: "wave_open, 20 offers written",
}


class CitySize(NamedTuple):
    """One of the compared cities. The cities of the series "equal density" have different areas, and those of the
    series "one city" have the same area.
    """

    series: str
    technicians: int
    side_km: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--technicians", type=int, default=100_000, help="in the city of the goal (100000)")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 300_000], help="compared with that")
    parser.add_argument("--city-km", type=float, default=CITY_KM, help=f"side of that city (default: {CITY_KM:.0f})")
    parser.add_argument("--jobs", type=int, default=1_000, help="different jobs in each city (default: 1000)")
    parser.add_argument("--waves", type=int, default=500, help="whole waves in a round (default: 500)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure each city in turn, round by round, and in it each kind of search."""
    with pin_to_core(SERVER_CORE):
        return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("match", (__doc__ or "").split("\n", 1)[0])
    matching, peer = _load_match_script(rig), _start_tile38(rig, report) if arguments.peers else None
    cities: dict[CitySize, City] = {}
    for size in _city_sizes(arguments):
        print_progress(f"{size.technicians:,} technicians come online in {size.side_km:.1f} x {size.side_km:.1f} km")
        cities[size] = await _create_city(rig, matching, size, arguments.jobs)
        if peer:
            await _fill_tile38(peer, _fleet_name(size), cities[size])
    goal_city = cities[_goal_size(arguments)]
    report.versions["valkey"] = str((await goal_city.zone.store.redis.info("server"))["valkey_version"])
    rounds = Rounds(cities, peer, arguments)
    turns = [await city.check_matches(CHECKED_JOBS) for city in cities.values()]
    for number in range(arguments.rounds):
        print_progress(f"round {number + 1}")
        await rounds.run_round()
    turns += [await city.check_matches(CHECKED_JOBS) for city in cities.values()]
    rounds.add_figures(report)
    report.notes.append(
        f"{len(turns) * CHECKED_JOBS} jobs had the right {MATCH_COUNT}, by one pass over everybody, before and after"
    )
    turns_text = f"turns of those matches: {max(map(max, turns))} at most; radius {RADIUS_M / 1000:.0f} km"
    report.notes.append(f"{turns_text}, of GEOSEARCH where the goal is {goal_city.fitted_radius_m} m")
    for city in cities.values():
        await city.close()
    if peer:
        await peer.redis_clients.close()
    return report


def _load_match_script(rig: Rig) -> scripts.ScriptLibrary:
    """Return the library with the matching script, assembled from the engine's files by the engine's loader."""
    root = rig.folder / "lua"
    root.mkdir()
    (root / "lib").symlink_to(scripts.scripts_folder() / "lib")
    shutil.copy(BENCH_DIR / "match.lua", root)
    return scripts.load_library(root)


def _start_tile38(rig: Rig, report: Report) -> tile38.Tile38 | None:
    try:
        peer = tile38.start(rig)
        report.add_version(TILE38)
    except PeerUnavailable as missing:
        report.unavailable_peers.append(f"Tile38: {missing}")
        return None
    return peer


async def _fill_tile38(peer: tile38.Tile38, fleet: str, city: City) -> None:
    """Store the technicians of a city in Tile38 too, and check that it returns the nearest ones."""
    await peer.fill(fleet, [(p.user, p.lat, p.lon) for p in city.people])
    for _, position in city.jobs[:CHECKED_JOBS]:
        reply = await peer.redis_clients.call(_tile38_search(fleet, position))
        city.require_expected("Tile38", tile38.reply_names(reply), city.expected_ranking(position, set()))


def _tile38_search(fleet: str, position: Position) -> bytes:
    return tile38.nearby_command(fleet, *position, count=MATCH_COUNT, radius_m=RADIUS_M)


def _goal_size(arguments: argparse.Namespace) -> CitySize:
    return CitySize("equal density", arguments.technicians, arguments.city_km)


def _city_sizes(arguments: argparse.Namespace) -> list[CitySize]:
    """Return the cities of equal density (the smallest first; one is the city of the goal), then those of
    equal area.
    """
    others = [number for number in arguments.sizes if number != arguments.technicians]
    alike = [CitySize("equal density", n, arguments.city_km * math.sqrt(n / arguments.technicians)) for n in others]
    return sorted([*alike, _goal_size(arguments)], key=lambda s: s.technicians) + [
        CitySize("one city", number, arguments.city_km) for number in sorted(others)
    ]


async def _create_city(rig: Rig, matching: scripts.ScriptLibrary, size: CitySize, jobs: int) -> City:
    url, valkey = rig.start_redis()
    zone = await open_seeded_zone(url)
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    city = City(zone, RedisClients(valkey, port), matching, size.side_km)
    await city.fill(size.technicians, jobs)
    return city


def _fleet_name(size: CitySize) -> str:
    return f"{size.series.replace(' ', '-')}:{size.technicians}"


class Rounds:
    """The timings of all rounds, by city, kind of search and call pattern."""

    def __init__(self, cities: dict[CitySize, City], peer: tile38.Tile38 | None, arguments: argparse.Namespace) -> None:
        self._cities = cities
        self._peer = peer
        self._arguments = arguments
        self._goal_size = _goal_size(arguments)
        self._calls = {(size, search): calls for size in cities for search, calls in self._calls_for(size)}
        self._timings: dict[tuple[CitySize, str, str], list[CallTiming]] = {}

    def _calls_for(self, size: CitySize) -> Iterator[tuple[str, list[bytes]]]:
        city = self._cities[size]
        yield NEAREST, [city.match_call(job, NEAREST) for job, _ in city.jobs]
        yield RATED, [city.match_call(job, RATED) for job, _ in city.jobs]
        yield GEOSEARCH, [city.geosearch_call(position) for _, position in city.jobs]
        if self._peer:
            yield TILE38, [_tile38_search(_fleet_name(size), position) for _, position in city.jobs]

    async def run_round(self) -> None:
        """Measure each city in turn; the city of the goal with each call pattern and with whole waves."""
        for size, city in self._cities.items():
            await city.renew_positions()
            for pattern in CALL_PATTERNS if size == self._goal_size else [PACKED]:
                for search in (name for s, name in self._calls if s == size):
                    redis_clients = self._peer.redis_clients if self._peer and search == TILE38 else city.redis_clients
                    calls = cycle(self._calls[size, search])
                    timing = await redis_clients.time_calls(calls, CALL_PATTERNS[pattern], self._arguments.seconds)
                    self._record(size, search, pattern, timing)
        await self._time_waves(self._cities[self._goal_size])

    async def _time_waves(self, city: City) -> None:
        jobs = await city.book_jobs(self._arguments.waves)
        replies: list[list[bytes]] = []
        calls = iter([city.wave_call(job) for job, _ in jobs])
        timing = await city.redis_clients.time_calls(calls, CALL_PATTERNS[PACKED], replies=replies)
        self._record(self._goal_size, WAVE, PACKED, timing)
        if not all(reply[0] == b"OK" and int(reply[4]) for reply in replies):
            raise BenchError("a wave made no offer, so the figure would not be that of a wave with offers")

    def _record(self, size: CitySize, search: str, pattern: str, timing: CallTiming) -> None:
        self._timings.setdefault((size, search, pattern), []).append(timing)

    def add_figures(self, report: Report) -> None:
        """Add to the report the calls per second in the city of the size for which DESIGN §9 sets the goal, and then
        the server's processor time for each kind of search in each city.
        """
        for (size, search, pattern), timings in self._timings.items():
            if size == self._goal_size:
                note = f"server busy {min(each.server_share for each in timings):.0%} or more"
                if search in PEERS:
                    note += f"; {PEERS[search].omits}"
                report.add(
                    Figure(f"{LABELS[search]}, {pattern}", "calls/s", [t.per_second for t in timings], note=note)
                )
        self._add_ratios(report)
        for size in self._cities:
            for search in (name for s, name, pattern in self._timings if s == size and pattern == PACKED):
                cost = [t.server_us for t in self._timings[size, search, PACKED]]
                report.add(Figure(f"{size.series}, {size.technicians:,}: {LABELS[search]}", "µs of server", cost))
        alike = [size for size in self._cities if size.series == self._goal_size.series]
        for search in (name for s, name in self._calls if s == self._goal_size and len(alike) > 1):
            most, least = ([t.server_us for t in self._timings[s, search, PACKED]] for s in (alike[-1], alike[0]))
            name = f"equal density, {alike[-1].technicians:,} ÷ {alike[0].technicians:,}: {LABELS[search]}"
            report.add(ratio(name, most, least, better="less", goal=GROWTH_GOAL if search == NEAREST else None))

    def _add_ratios(self, report: Report) -> None:
        for pattern in CALL_PATTERNS:
            near, rated = (NEAREST_GOAL, RATED_GOAL) if pattern == PACKED else (None, None)
            rate = {search: [t.per_second for t in timings] for search, timings in self._goal_timings(pattern)}
            report.add(ratio(f"{LABELS[NEAREST]} ÷ GEOSEARCH, {pattern}", rate[NEAREST], rate[GEOSEARCH], goal=near))
            report.add(ratio(f"{LABELS[RATED]} ÷ GEOSEARCH, {pattern}", rate[RATED], rate[GEOSEARCH], goal=rated))
            if TILE38 in rate:
                report.add(ratio(f"{LABELS[NEAREST]} ÷ Tile38, {pattern}", rate[NEAREST], rate[TILE38]))
        cost = {search: [t.server_us for t in timings] for search, timings in self._goal_timings(PACKED)}
        for search, goal in ((NEAREST, NEAREST_GOAL), (RATED, RATED_GOAL)):
            report.add(
                ratio(f"the server's time: GEOSEARCH ÷ {LABELS[search]}", cost[GEOSEARCH], cost[search], goal=goal)
            )

    def _goal_timings(self, pattern: str) -> Iterator[tuple[str, list[CallTiming]]]:
        return (
            (search, timings)
            for (size, search, timed_pattern), timings in self._timings.items()
            if size == self._goal_size and timed_pattern == pattern
        )
