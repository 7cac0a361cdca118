"""Many technicians on their own Valkey, jobs among them, and the right candidates, computed by brute force.

The right result comes from a table of positions in this process and one pass over everybody. It uses nothing of Callout
except the rules: leave out those who were asked already and those whom the customer blocked; order the rest by distance
or score.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from bench.load.callers import Callers, command
from bench.load.seed import SERVICE, ZONE, Town, in_batches
from bench.questions.wave import CITY, moved
from bench.rig import BenchError, Child
from engine.blueprint import wave_plan
from engine.store import keys
from engine.store.scripts import ScriptLibrary
from engine.types import JobId

WANTED = 20
RADIUS_M = 5_000
CUSTOMER = "user_customer"
STAR_KM = 0.5
"""What a star is worth where ratings count, beside a kilometre."""
WEIGHTS = {"nearest": "1 0 0 0 0", "rated": f"1 {STAR_KM} 0 0 0"}
ASKED_BEFORE = 5
EARTH_M = 6372797.560856
BORDER_M = 1.0
"""The index keeps places to some 0.6 m: two people closer than this at the edge of an answer may change places."""

Spot = tuple[float, float]


class Person(NamedTuple):
    """A technician as he was put there."""

    name: str
    lat: float
    lon: float
    rating: float


class Chosen(NamedTuple):
    """What the matching script replied."""

    turns: int
    radius_m: float
    visited: int
    names: list[str]

    @classmethod
    def read(cls, reply: list[Any]) -> Chosen:
        """Of the words of the reply. Raises BenchError for a refusal."""
        if reply[0] != b"OK":
            raise BenchError(f"the match is refused: {reply[0].decode()}")
        return cls(int(reply[1]), float(reply[2]), int(reply[3]), [name.decode() for name in reply[4:]])


class City:
    """So many technicians, evenly dense over a square of ``side_km``."""

    def __init__(self, town: Town, callers: Callers, matching: ScriptLibrary, side_km: float) -> None:
        self.town = town
        self.callers = callers
        self.side_km = side_km
        self.people: list[Person] = []
        self.jobs: list[tuple[JobId, Spot]] = []
        self._matching = matching
        self._blocked: set[str] = set()
        self._chance = random.Random(3)

    @property
    def server(self) -> Child:
        return self.callers.server

    async def fill(self, technicians: int, jobs: int) -> None:
        """Let the technicians come online, and the jobs be booked all over the city."""
        stars = [3.0 + 0.1 * step for step in range(21)]
        for number in range(technicians):
            lat, lon = self._spot()
            self.people.append(Person(f"user_t{number}", lat, lon, self._chance.choice(stars)))
        await in_batches(self.town.technician(p.name, p.lat, p.lon, rating=p.rating) for p in self.people)
        self.jobs = await self.booked(jobs)
        await self.town.store.redis.function_load(self._matching.source)

    async def booked(self, jobs: int) -> list[tuple[JobId, Spot]]:
        """New jobs, with their places."""
        spots = [self._spot() for _ in range(jobs)]
        made = await in_batches(self.town.job(*spot, customer=CUSTOMER) for spot in spots)
        return list(zip(made, spots, strict=True))

    async def close(self) -> None:
        """Let the connections go."""
        await self.callers.close()
        await self.town.close()

    def _spot(self) -> Spot:
        side = self.side_km * 1_000
        lat, lon = moved(CITY, self._chance.uniform(0, side), self._chance.uniform(0, side))
        return round(lat, 6), round(lon, 6)

    async def refreshed(self) -> None:
        """Let positions count as fresh from now: as when the zone has just been opened again."""
        now = round(time.time() * 1000)
        await self.town.store.redis.hset(keys.zone_meta(ZONE), mapping={"opened_at": now, "now": now})

    def match(self, job: JobId, ranking: str) -> bytes:
        """The call that says whom a job would be offered."""
        names = [
            keys.zone_meta(ZONE),
            keys.job(ZONE, job),
            keys.job_offers(ZONE, job),
            keys.technician_supply(ZONE, SERVICE),
        ]
        limits = wave_plan.limits_text(self.town.blueprint.dispatch)
        function = self._matching["match"].function
        return command("FCALL", function, 4, *names, self._epoch, WANTED, RADIUS_M, WEIGHTS[ranking], limits)

    def wave(self, job: JobId, size: int = WANTED) -> bytes:
        """The call that makes the offers: the first round of a job."""
        call = self.town.wave(job, 1, size=size, radius_m=RADIUS_M)
        return command(*self.town.store.scripts[call.script].call(call.keys, call.args, self._epoch))

    def plain(self, spot: Spot) -> bytes:
        """Redis' own search, of the same index, as DESIGN §9 has it."""
        lat, lon = spot
        where = ("FROMLONLAT", lon, lat, "BYRADIUS", RADIUS_M // 1_000, "km")
        return command("GEOSEARCH", keys.technician_supply(ZONE, SERVICE), *where, "ASC", "COUNT", WANTED)

    @property
    def _epoch(self) -> str:
        return self.town.store.zones[ZONE].epoch

    async def check(self, jobs: int) -> list[int]:
        """Compare answers with the right ones, and say how many turns they took. Raises BenchError for a wrong one.

        Of each job somebody near is blocked by the customer, and a first round has asked the five nearest of the rest.
        """
        await self.refreshed()
        booked = await self.booked(jobs)
        blocks = {found[6 % len(found)][1].name for _, spot in booked if (found := _around(self.people, spot))}
        for name in blocks:
            await self.town.call("block_put", one=CUSTOMER, other=name, blocked=1)
        self._blocked |= blocks
        turns = []
        for job, spot in booked:
            self.compare("GEOSEARCH", _names(await self.callers.one(self.plain(spot))), self.right(spot, set()))
            await self.callers.one(self.wave(job, ASKED_BEFORE))
            out = set(_names(await self._asked(job))) | self._blocked
            near = Chosen.read(await self.callers.one(self.match(job, "nearest")))
            self.compare("nearest", near.names, self.right(spot, out))
            best = Chosen.read(await self.callers.one(self.match(job, "rated")))
            self.compare("rated", best.names, self.right(spot, out, best.radius_m))
            turns += [near.turns, best.turns]
        return turns

    async def _asked(self, job: JobId) -> list[bytes]:
        return cast("list[bytes]", await self.town.store.redis.hkeys(keys.job_offers(ZONE, job)))

    def right(self, spot: Spot, out: set[str], complete_m: float = 0) -> list[tuple[float, str]]:
        """All who may be asked, the best first: by distance, or by score among those within ``complete_m``."""
        found = [(far, p) for far, p in _around(self.people, spot) if p.name not in out]
        if not complete_m:
            return [(far, p.name) for far, p in found]
        scored = ((far - p.rating * STAR_KM * 1_000, p.name) for far, p in found if far <= complete_m)
        return sorted(scored)

    def compare(self, what: str, names: list[str], right: list[tuple[float, str]]) -> None:
        """Raises BenchError unless these are the first of the right ones, but for ties at the edge."""
        values, best = {name: value for value, name in right}, right[:WANTED]
        wrong = set(names) ^ {name for _, name in best}
        edge = best[-1][0] if best else 0
        if any(abs(values.get(name, math.inf) - edge) > BORDER_M for name in wrong):
            raise BenchError(f"{what} of {len(self.people)} technicians: not the right {WANTED}: {sorted(wrong)}")


def _names(reply: Iterable[bytes]) -> list[str]:
    return [name.decode() for name in reply]


def _around(people: Iterable[Person], spot: Spot) -> list[tuple[float, Person]]:
    """Everybody within the radius, the nearest first."""
    lat, lon = spot
    high = math.degrees(RADIUS_M / EARTH_M) * 1.01
    wide = high / math.cos(math.radians(lat))
    near = ((_metres(spot, p), p) for p in people if abs(p.lat - lat) <= high and abs(p.lon - lon) <= wide)
    return sorted((far, p) for far, p in near if far <= RADIUS_M)


def _metres(spot: Spot, person: Person) -> float:
    here, there = math.radians(spot[0]), math.radians(person.lat)
    u = math.sin((there - here) / 2)
    v = math.sin(math.radians(person.lon - spot[1]) / 2)
    return 2 * EARTH_M * math.asin(math.sqrt(u * u + math.cos(here) * math.cos(there) * v * v))
