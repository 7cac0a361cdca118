"""Fill a zone with the engine's own scripts, so that a benchmark measures the same state that real bookings
produce.

``account_put``, ``technician_put``, ``technician_online``, ``job_create`` and ``wave_open`` create accounts,
technicians, jobs and offers. They are called with their arguments by name, as each script's header lists them, so that
every key, index and event exists. SQL and HTTP are skipped, but no write to Redis is skipped.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, NamedTuple

from bench.load.seed_arguments import KEYS, job_members, request_arguments
from bench.rig import BenchError
from engine.blueprint import wave_plan
from engine.blueprint.catalogue import load_blueprints, shipped_folder
from engine.blueprint.compiler import compile_command, compile_room_json, state_entry
from engine.blueprint.schema import Blueprint
from engine.domain import schedules
from engine.process.levels import Level
from engine.store import keys
from engine.store.connection import ScriptReply, Store, close_store, open_store
from engine.store.pipeline import Pipeline
from engine.store.scripts import Args
from engine.store.shard import Shard
from engine.types import DEFAULT_ZONE, JobId, ServiceId, UserId, Zone, new_job_id
from engine.zone import opening
from engine.zone.records import ZoneRecord

ZONE = DEFAULT_ZONE
SERVICE = ServiceId("plumbing")
LEASE_MS = 90_000
CLAIM, STEPS = "claim", ("depart", "arrive", "start", "complete")
"""The commands of a job of ``home_service`` from its claim to its end, in order."""
LIFETIME_MS = 3_600_000
"""The lifetime of offers and jobs, longer than a run: a benchmark measures claims, not expiry."""
BATCH_SIZE = 512
SQUAD_SPACING_DEG = 0.2
"""Squads are 22 km apart: a wave of 3 km finds one squad, and each job is offered to the same ten technicians."""


async def open_seeded_zone(url: str, level: Level = "fast", replicas: int = 0) -> SeededZone:
    """Open the zone of the Redis at ``url`` as a server with an empty archive would."""
    return (await open_seeded_zones(url, [ZONE], level, replicas))[0]


async def open_seeded_zones(
    url: str, names: Sequence[Zone], level: Level = "fast", replicas: int = 0
) -> list[SeededZone]:
    """Open several zones with one store. Closing one of them closes the store of all."""
    store = await open_store(url, names, _open_new_zones, level=level, replicas=replicas)
    blueprint = load_blueprints("home_service", shipped_folder()).default
    return [SeededZone(store, blueprint, name) for name in names]


async def _open_new_zones(store: Store, shard: Shard, pipe: Pipeline, zones: Sequence[Zone]) -> None:
    # A benchmark has no database. If a server stored its database's id in Redis before, use that id. Otherwise the
    # check stores the id "bench", which is then removed.
    for zone in zones:
        database_id = await pipe.submit_urgent("HGET", keys.zone_meta(zone), "database")
        database = database_id.decode() if database_id else "bench"
        at = ZoneRecord(database, 0, {})
        answer = await opening.compare_with_sql(store, pipe.submit_urgent, zone, shard.run_id, "1", at)
        if answer.word != "OK":
            raise BenchError(f"the zone {zone} does not open: {answer.word}")
        if not database_id:
            await pipe.submit_urgent("HDEL", keys.zone_meta(zone), "database")
        store.zones[zone].epoch, store.zones[zone].open = answer.epoch, True


class ScriptCall(NamedTuple):
    """A call of a script with its keys and arguments."""

    script: str
    keys: dict[str, str]
    args: dict[str, Any]


class SeededZone:
    """One open zone with its store and its blueprint. Its methods fill the zone."""

    def __init__(self, store: Store, blueprint: Blueprint, name: Zone = ZONE) -> None:
        self.store = store
        self.blueprint = blueprint
        self.name = name
        self._plans = {name: compile_command(blueprint, name, blueprint.commands[name]) for name in (CLAIM, *STEPS)}

    def prepare(self, script: str, **arguments: Any) -> ScriptCall:
        """Return a call with the keys and arguments of the script's header. Raise BenchError if one of them is
        missing.
        """
        header = self.store.scripts[script]
        try:
            names = {name: KEYS[name](self.name, arguments) for name in header.keys}
            return ScriptCall(script, names, {name: arguments[name] for name in header.argument_names})
        except KeyError as error:
            raise BenchError(f"{script} now takes {error}: bench/load/seed.py does not know it") from error

    async def run(self, call: ScriptCall) -> ScriptReply:
        """Run a call that ``prepare`` returned, and return its reply."""
        return await self.store.run(self.name, call.script, keys=call.keys, args=call.args)

    async def call(self, script: str, **arguments: Any) -> ScriptReply:
        """Run a script with its arguments by name."""
        return await self.run(self.prepare(script, **arguments))

    async def close(self) -> None:
        """Close the connections."""
        await close_store(self.store)

    async def create_technician(
        self, technician: str, lat: float, lon: float, *, rating: float = 4.5, services: str = SERVICE
    ) -> None:
        """Create a technician who is approved and online at a position. A second call renews the position."""
        await self.call(
            "technician_put",
            id=technician,
            technician=technician,
            profile=1,
            complete=1,
            kyc="approved",
            account="approved",
            capacity=1_000,
            services=services,
            name=f'"Technician {technician}"',
            phone='"+4912345678"',
            actor="engine",
            offline_reason="review",
            rating=f"{rating:.1f}",
            rated=0,
            audience="ops",
            accepted=0,
            asked=0,
            free_at=0,
        )
        await self.call(
            "technician_online",
            id=technician,
            technician=technician,
            **request_arguments(technician),
            lat=f"{lat:.6f}",
            lon=f"{lon:.6f}",
            audience="ops",
        )

    async def create_account(self, user: str, role: str) -> None:
        """Create the live account record with which a token of this user can connect."""
        record: Args = {
            "version": 1,
            "role": role,
            "active": 1,
            "ended_logins": "",
            "run_id": self.store.run_id_of(self.name),
        }
        await self.store.run_for_user("account_put", keys={"account": keys.account(UserId(user))}, args=record)

    async def create_job(self, lat: float, lon: float, *, customer: str = "user_customer") -> JobId:
        """Book a job at a position, without offers."""
        job = new_job_id(self.name)
        await self.run(self.booking_call(job, lat, lon, customer=customer))
        return job

    def booking_call(self, job: JobId, lat: float, lon: float, *, customer: str = "user_customer") -> ScriptCall:
        """Return the call that books ``job`` at a position."""
        full, pub = job_members(job, self.name, SERVICE, self.blueprint.name, lat, lon, customer)
        return self.prepare(
            "job_create",
            id=job,
            job=job,
            actor=f"customer:{customer}",
            **request_arguments(customer),
            reference="",
            bp=self.blueprint.key,
            state_entry=state_entry(self.blueprint, self.blueprint.initial_state, LIFETIME_MS / 1000),
            service=SERVICE,
            customer=customer,
            **{"full": full, "pub": pub, "lat": f"{lat:.6f}", "lon": f"{lon:.6f}"},
            amount=5_000,
            release=0,
            scheduled=0,
            named="",
            preferred="",
            audience=self.blueprint.audience("job.created"),
            contact="null",
            room=compile_room_json(self.blueprint),
            reserve="",
            quote="",
            quoted="",
            quote_ms=0,
        )

    def wave_call(self, job: JobId, number: int, *, size: int = 10, radius_m: int = 3_000) -> ScriptCall:
        """Return the call that opens wave ``number`` of ``job``."""
        return self.prepare(
            "wave_open",
            job=job,
            service=SERVICE,
            entry=f"wave:{job}:{number}",
            wave=number,
            size=size,
            radius_m=radius_m,
            interval_ms=10_000,
            offer_ms=LIFETIME_MS,
            whole_zone=0,
            weights=wave_plan.weights_text(self.blueprint.dispatch),
            limits=wave_plan.limits_text(self.blueprint.dispatch),
            audience=self.blueprint.audience("job.searching"),
            unfilled_audience="",
            schedule=schedules.compile_rule(self.blueprint.schedule, self.name, "UTC"),
        )

    def claim_call(self, job: JobId, technician: str) -> ScriptCall:
        """Return the call with which ``technician`` claims ``job``."""
        return self.prepare(
            "job_claim",
            job=job,
            technician=technician,
            **request_arguments(technician),
            if_version="",
            bp=self.blueprint.key,
            plan=self._plans[CLAIM].plan_json,
            grace_ms=0,
            lease_ms=LEASE_MS,
            schedule=schedules.compile_rule(self.blueprint.schedule, self.name, "UTC"),
        )

    def step_call(self, job: JobId, technician: str, command: str) -> ScriptCall:
        """Return the call with which the holder ``technician`` takes a step of ``job``."""
        return self.prepare(
            "job_step",
            job=job,
            **request_arguments(technician),
            actor=f"technician:{technician}",
            if_version="",
            bp=self.blueprint.key,
            plan=self._plans[command].plan_json,
            args=b"{}",
        )

    async def create_offered_job(self, squad: int) -> JobId:
        """Book a job beside a squad, and offer it to the ten members."""
        job = await self.create_job(*squad_position(squad))
        reply = await self.run(self.wave_call(job, 1))
        if int(reply.values[0]) != SQUAD_SIZE:
            raise BenchError(f"a job was offered to {int(reply.values[0])} and not to {SQUAD_SIZE}")
        return job


SQUAD_SIZE = 10
"""The number of technicians in a squad: they are within some metres of each other and out of reach of all other squads.
A benchmark books each job beside a squad, so that exactly these ten have its offers. One of them connects and claims.
"""


def member_id(squad: int, place: int = 0) -> str:
    """Return the user id of a member of a squad. Member 0 of each squad is the one that connects and claims."""
    return f"user_s{squad}m{place}"


def squad_position(squad: int) -> tuple[float, float]:
    """Return the position of a squad: on a grid around the equator, out of reach of the other squads."""
    row, column = divmod(squad, 40)
    return -4 + row * SQUAD_SPACING_DEG, -4 + column * SQUAD_SPACING_DEG


async def bring_squads_online(zone: SeededZone, squads: int, *, first: int = 0) -> None:
    """Bring the ten technicians of each squad online, within some metres of each other. The squads are numbered from
    ``first`` on. A second call renews their positions.
    """
    spots = itertools.product(range(first, first + squads), range(SQUAD_SIZE))
    await gather_in_batches(
        zone.create_technician(member_id(s, m), squad_position(s)[0] + m * 1e-4, squad_position(s)[1]) for s, m in spots
    )


async def gather_in_batches(work: Iterable[Awaitable[Any]]) -> list[Any]:
    """Await all of ``work``, ``BATCH_SIZE`` at a time. The store's pipeline sends their commands together, and its
    queue stays short.
    """
    results: list[Any] = []
    it = iter(work)
    while batch := list(itertools.islice(it, BATCH_SIZE)):
        results += await asyncio.gather(*batch)
    return results
