"""Many technicians in their own Valkey, jobs among them, and the expected candidates, computed by brute force.

The expected result is computed from a table of positions in this process, in one pass over all technicians. It uses
nothing of Callout except the rules: leave out technicians who have an offer already and those whom the customer
blocked; order the others by distance or by score.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from bench.load.redis_clients import RedisClients, pack_command
from bench.load.seed import SERVICE, ZONE, SeededZone, gather_in_batches
from bench.questions.wave import CITY_CORNER, offset_position
from bench.rig import BenchError, Child
from engine.blueprint import wave_plan
from engine.store import keys
from engine.store.scripts import ScriptLibrary
from engine.types import JobId

MATCH_COUNT = 20
RADIUS_M = 5_000
CUSTOMER = "user_customer"
GEOSEARCH_SURPLUS = 3
"""``GEOSEARCH`` has the radius in which this many times ``MATCH_COUNT`` technicians are expected. So there are enough
near the edge of the city too, where half of the circle is empty."""
KM_PER_STAR = 0.5
"""Where ratings count, one star is worth as much as this distance in kilometres."""
WEIGHTS = {"nearest": "1 0 0 0 0", "rated": f"1 {KM_PER_STAR} 0 0 0"}
EARLIER_OFFER_COUNT = 5
"""The number of technicians who have an offer of a job before its match is checked."""
EARTH_RADIUS_M = 6372797.560856
TIE_TOLERANCE_M = 1.0
"""The index stores positions with an error of about 0.6 m: the order of two technicians at the end of a result is not
checked when their distances differ by less than this.
"""

Position = tuple[float, float]


class TechnicianPlace(NamedTuple):
    """A technician with the position and the rating that the benchmark stored."""

    user: str
    lat: float
    lon: float
    rating: float


class MatchReply(NamedTuple):
    """The reply of the script ``match.lua``: the number of calls (turns) that ``wave_open`` would need for the same
    search, the radius in metres, the number of visited technicians and the ids of the matches.
    """

    turns: int
    radius_m: float
    visited: int
    names: list[str]

    @classmethod
    def parse(cls, reply: list[Any]) -> MatchReply:
        """Return the decoded reply. Raise BenchError if the script refused the call."""
        if reply[0] != b"OK":
            raise BenchError(f"the match is refused: {reply[0].decode()}")
        return cls(int(reply[1]), float(reply[2]), int(reply[3]), [name.decode() for name in reply[4:]])


class City:
    """Technicians spread evenly over a square with sides of ``side_km``, in their own Valkey."""

    def __init__(self, zone: SeededZone, redis_clients: RedisClients, matching: ScriptLibrary, side_km: float) -> None:
        self.zone = zone
        self.redis_clients = redis_clients
        self.side_km = side_km
        self.people: list[TechnicianPlace] = []
        self.jobs: list[tuple[JobId, Position]] = []
        self._matching = matching
        self._blocked: set[str] = set()
        self._random = random.Random(3)

    @property
    def server(self) -> Child:
        return self.redis_clients.server

    async def fill(self, technicians: int, jobs: int) -> None:
        """Bring the technicians online and book the jobs, all at random positions."""
        stars = [3.0 + 0.1 * step for step in range(21)]
        for number in range(technicians):
            lat, lon = self._random_position()
            self.people.append(TechnicianPlace(f"user_t{number}", lat, lon, self._random.choice(stars)))
        await gather_in_batches(self.zone.create_technician(p.user, p.lat, p.lon, rating=p.rating) for p in self.people)
        self.jobs = await self.book_jobs(jobs)
        await self.zone.store.redis.function_load(self._matching.source)

    async def book_jobs(self, jobs: int) -> list[tuple[JobId, Position]]:
        """Book jobs at random positions, and return each id with its position."""
        positions = [self._random_position() for _ in range(jobs)]
        job_ids = await gather_in_batches(self.zone.create_job(*position, customer=CUSTOMER) for position in positions)
        return list(zip(job_ids, positions, strict=True))

    async def close(self) -> None:
        """Close all connections."""
        await self.redis_clients.close()
        await self.zone.close()

    def _random_position(self) -> Position:
        side = self.side_km * 1_000
        lat, lon = offset_position(CITY_CORNER, self._random.uniform(0, side), self._random.uniform(0, side))
        return round(lat, 6), round(lon, 6)

    async def renew_positions(self) -> None:
        """Set the time at which the zone was opened to now: from then on no position is too old for a match."""
        now = round(time.time() * 1000)
        await self.zone.store.redis.hset(keys.zone_meta(ZONE), mapping={"opened_at": now, "now": now})

    @property
    def fitted_radius_m(self) -> int:
        """The radius of ``geosearch_call`` in metres, at most ``RADIUS_M``: it fits the density of this city."""
        area = (self.side_km * 1_000) ** 2
        return min(RADIUS_M, round(math.sqrt(GEOSEARCH_SURPLUS * MATCH_COUNT / len(self.people) * area / math.pi)))

    def match_call(self, job: JobId, ranking: str) -> bytes:
        """Return the packed call of the script that computes whom a job would be offered to, without writing offers."""
        names = [
            keys.zone_meta(ZONE),
            keys.job(ZONE, job),
            keys.job_offers(ZONE, job),
            keys.technician_supply(ZONE, SERVICE),
        ]
        limits = wave_plan.limits_text(self.zone.blueprint.dispatch)
        function = self._matching["match"].function
        return pack_command("FCALL", function, 4, *names, self._epoch, MATCH_COUNT, RADIUS_M, WEIGHTS[ranking], limits)

    def wave_call(self, job: JobId, size: int = MATCH_COUNT) -> bytes:
        """Return the packed call that opens the first wave of a job and writes its offers."""
        call = self.zone.wave_call(job, 1, size=size, radius_m=RADIUS_M)
        return pack_command(*self.zone.store.scripts[call.script].call(call.keys, call.args, self._epoch))

    def geosearch_call(self, centre: Position) -> bytes:
        """Return the packed ``GEOSEARCH`` command of Redis on the same index, with the options that DESIGN §9
        states. A wider search would find the same technicians and take longer.
        """
        lat, lon = centre
        where = ("FROMLONLAT", lon, lat, "BYRADIUS", self.fitted_radius_m, "m")
        return pack_command("GEOSEARCH", keys.technician_supply(ZONE, SERVICE), *where, "ASC", "COUNT", MATCH_COUNT)

    @property
    def _epoch(self) -> str:
        return self.zone.store.zones[ZONE].epoch

    async def check_matches(self, jobs: int) -> list[int]:
        """Compare the results for ``jobs`` new jobs with the expected ones, and return the ``turns`` of each match.
        Raise BenchError for a wrong result.

        For each job, the customer has blocked one near technician, and a first wave has made offers to the five nearest
        of the others.
        """
        await self.renew_positions()
        jobs_at = await self.book_jobs(jobs)
        blocks = {
            found[6 % len(found)][1].user for _, position in jobs_at if (found := _within_radius(self.people, position))
        }
        for name in blocks:
            await self.zone.call("block_put", one=CUSTOMER, other=name, blocked=1)
        self._blocked |= blocks
        turns = []
        for job, position in jobs_at:
            self.require_expected(
                "GEOSEARCH",
                _decode_names(await self.redis_clients.call(self.geosearch_call(position))),
                [
                    (metres, name)
                    for metres, name in self.expected_ranking(position, set())
                    if metres <= self.fitted_radius_m
                ],
            )
            await self.redis_clients.call(self.wave_call(job, EARLIER_OFFER_COUNT))
            excluded = set(_decode_names(await self._offered_technicians(job))) | self._blocked
            nearest = MatchReply.parse(await self.redis_clients.call(self.match_call(job, "nearest")))
            self.require_expected("nearest", nearest.names, self.expected_ranking(position, excluded))
            best = MatchReply.parse(await self.redis_clients.call(self.match_call(job, "rated")))
            self.require_expected("rated", best.names, self.expected_ranking(position, excluded, best.radius_m))
            turns += [nearest.turns, best.turns]
        return turns

    async def _offered_technicians(self, job: JobId) -> list[bytes]:
        return cast("list[bytes]", await self.zone.store.redis.hkeys(keys.job_offers(ZONE, job)))

    def expected_ranking(
        self, job_position: Position, excluded: set[str], complete_m: float = 0
    ) -> list[tuple[float, str]]:
        """Return all technicians who may receive an offer, the best first: by distance, or by score among those within
        ``complete_m`` metres (0: by distance).
        """
        distances = [(metres, p) for metres, p in _within_radius(self.people, job_position) if p.user not in excluded]
        if not complete_m:
            return [(metres, p.user) for metres, p in distances]
        scored = ((metres - p.rating * KM_PER_STAR * 1_000, p.user) for metres, p in distances if metres <= complete_m)
        return sorted(scored)

    def require_expected(self, search: str, names: list[str], right: list[tuple[float, str]]) -> None:
        """Raise BenchError unless ``names`` are the first technicians of the correct ranking ``right``. At the end of
        the list, technicians with nearly equal distances may replace each other.
        """
        values, best = {name: value for value, name in right}, right[:MATCH_COUNT]
        unexpected = set(names) ^ {name for _, name in best}
        edge = best[-1][0] if best else 0
        if any(abs(values.get(name, math.inf) - edge) > TIE_TOLERANCE_M for name in unexpected):
            raise BenchError(
                f"{search} of {len(self.people)} technicians: not the right {MATCH_COUNT}: {sorted(unexpected)}"
            )


def _decode_names(reply: Iterable[bytes]) -> list[str]:
    return [name.decode() for name in reply]


def _within_radius(people: Iterable[TechnicianPlace], centre: Position) -> list[tuple[float, TechnicianPlace]]:
    """Return all technicians within ``RADIUS_M`` with their distances in metres, the nearest first."""
    lat, lon = centre
    high = math.degrees(RADIUS_M / EARTH_RADIUS_M) * 1.01
    wide = high / math.cos(math.radians(lat))
    candidates = ((_distance_m(centre, p), p) for p in people if abs(p.lat - lat) <= high and abs(p.lon - lon) <= wide)
    return sorted((metres, p) for metres, p in candidates if metres <= RADIUS_M)


def _distance_m(position: Position, person: TechnicianPlace) -> float:
    lat_a, lat_b = math.radians(position[0]), math.radians(person.lat)
    u = math.sin((lat_b - lat_a) / 2)
    v = math.sin(math.radians(person.lon - position[1]) / 2)
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(u * u + math.cos(lat_a) * math.cos(lat_b) * v * v))
