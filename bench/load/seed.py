"""Fill a zone with the engine's own scripts, so that a benchmark measures the same state that real bookings
produce.

``account_put``, ``technician_put``, ``technician_online``, ``job_create`` and ``wave_open`` create accounts,
technicians, jobs and offers. They are called with their arguments by name, as each script's header lists them, so that
every key, index and event exists. SQL and HTTP are skipped; no write to Redis is.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from bench.rig import BenchError
from engine.blueprint import wave_plan
from engine.blueprint.catalogue import load_blueprints, shipped_folder
from engine.blueprint.compiler import compile_command, compile_room_json, state_entry
from engine.blueprint.schema import Blueprint
from engine.process.levels import Level
from engine.store import keys
from engine.store.connection import ScriptReply, Store, close_store, open_store
from engine.store.pipeline import Pipeline
from engine.store.shard import Shard
from engine.types import DEFAULT_ZONE, JobId, ServiceId, UserId, new_job_id
from engine.zone import opening
from engine.zone.records import ZoneRecord

ZONE = DEFAULT_ZONE
SERVICE = ServiceId("plumbing")
LEASE_MS = 90_000
CLAIM, STEPS = "claim", ("depart", "arrive", "start", "complete")
"""The commands of a whole job of ``home_service``, in order."""
LIFETIME_MS = 3_600_000
"""The lifetime of offers and jobs, longer than a run: a benchmark measures claims, not expiry."""
BATCH_SIZE = 512
SQUAD_SPACING_DEG = 0.2
"""Squads are 22 km apart: a wave of 3 km finds one squad, and each job is offered to the same ten technicians."""

Arguments = Mapping[str, Any]
_KEYS: dict[str, Callable[[Arguments], str]] = {
    "meta": lambda a: keys.zone_meta(ZONE),
    "log": lambda a: keys.log(ZONE),
    "due": lambda a: keys.due_tasks(ZONE),
    "seen": lambda a: keys.last_seen(ZONE),
    "jobs": lambda a: keys.jobs(ZONE),
    "epochs": lambda a: keys.epochs(ZONE),
    "job": lambda a: keys.job(ZONE, a["job"]),
    "offers": lambda a: keys.job_offers(ZONE, a["job"]),
    "causes": lambda a: keys.job_causes(ZONE, a["job"]),
    "waves": lambda a: keys.job_waves(ZONE, a["job"]),
    "tech": lambda a: keys.technician(ZONE, a["technician"]),
    "user_jobs": lambda a: keys.user_jobs(ZONE, a["customer"]),
    "supply": lambda a: keys.technician_supply(ZONE, a["service"]),
    "demand": lambda a: keys.job_demand(ZONE, a["service"]),
    "mine": lambda a: keys.user_blocks(ZONE, a["one"]),
    "theirs": lambda a: keys.user_blocks(ZONE, a["other"]),
    "req": lambda a: keys.idempotency_record(ZONE, a["principal"], a["key"]),
    "ref": lambda a: keys.booking_references(ZONE, a["principal"]),
}


async def open_seeded_zone(url: str, level: Level = "fast", replicas: int = 0) -> SeededZone:
    """Open the zone of the Redis at ``url`` as a server with an empty archive would."""
    store = await open_store(url, [ZONE], _open_new_zone, level=level, replicas=replicas)
    return SeededZone(store, load_blueprints("home_service", shipped_folder()).default)


async def _open_new_zone(store: Store, shard: Shard, pipe: Pipeline, _: object) -> None:
    # A benchmark has no database: it uses the id that a server stored before, and otherwise removes its own id.
    database_id = await pipe.submit_urgent("HGET", keys.zone_meta(ZONE), "database")
    database = database_id.decode() if database_id else "bench"
    at = ZoneRecord(database, 0, {})
    answer = await opening.compare_with_sql(store, pipe.submit_urgent, ZONE, shard.run_id, "1", at)
    if answer.word != "OK":
        raise BenchError(f"the zone does not open: {answer.word}")
    if not database_id:
        await pipe.submit_urgent("HDEL", keys.zone_meta(ZONE), "database")
    store.zones[ZONE].epoch, store.zones[ZONE].open = answer.epoch, True


class ScriptCall(NamedTuple):
    """A call of a script with its keys and arguments."""

    script: str
    keys: dict[str, str]
    args: dict[str, Any]


class SeededZone:
    """One open zone with its store and its blueprint. Its methods fill the zone."""

    def __init__(self, store: Store, blueprint: Blueprint) -> None:
        self.store = store
        self.blueprint = blueprint
        self._plans = {name: compile_command(blueprint, name, blueprint.commands[name]) for name in (CLAIM, *STEPS)}

    def prepare(self, script: str, **arguments: Any) -> ScriptCall:
        """Return a call with the keys and arguments of the script's header. Raise BenchError if one of them is
        missing.
        """
        header = self.store.scripts[script]
        try:
            names = {name: _KEYS[name](arguments) for name in header.keys}
            return ScriptCall(script, names, {name: arguments[name] for name in header.argument_names})
        except KeyError as error:
            raise BenchError(f"{script} now takes {error}: bench/load/seed.py does not know it") from error

    async def run(self, call: ScriptCall) -> ScriptReply:
        """Run a call that ``prepare`` returned, and return its reply."""
        return await self.store.run(ZONE, call.script, keys=call.keys, args=call.args)

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
        )
        await self.call(
            "technician_online",
            id=technician,
            technician=technician,
            **_request_members(technician),
            lat=f"{lat:.6f}",
            lon=f"{lon:.6f}",
            audience="ops",
        )

    async def create_account(self, user: str, role: str) -> None:
        """Create the live account record with which a token of this user can connect."""
        record = {"version": 1, "role": role, "active": 1, "ended_logins": "", "run_id": self.store.run_id_of(ZONE)}
        await self.store.run_for_user("account_put", keys={"account": keys.account(UserId(user))}, args=record)

    async def create_job(self, lat: float, lon: float, *, customer: str = "user_customer") -> JobId:
        """Book a job at a position, without offers."""
        job = new_job_id(ZONE)
        await self.run(self.booking_call(job, lat, lon, customer=customer))
        return job

    def booking_call(self, job: JobId, lat: float, lon: float, *, customer: str = "user_customer") -> ScriptCall:
        """Return the call that books ``job`` at a position."""
        full, pub = _job_members(job, self.blueprint.name, lat, lon, customer)
        return self.prepare(
            "job_create",
            id=job,
            job=job,
            actor=f"customer:{customer}",
            **_request_members(customer),
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
        )

    def claim_call(self, job: JobId, technician: str) -> ScriptCall:
        """Return the call with which ``technician`` claims ``job``."""
        return self.prepare(
            "job_claim",
            job=job,
            technician=technician,
            **_request_members(technician),
            if_version="",
            bp=self.blueprint.key,
            plan=self._plans[CLAIM].plan_json,
            grace_ms=0,
            lease_ms=LEASE_MS,
        )

    def step_call(self, job: JobId, technician: str, command: str) -> ScriptCall:
        """Return the call with which the holder ``technician`` takes a step of ``job``."""
        return self.prepare(
            "job_step",
            job=job,
            **_request_members(technician),
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


async def bring_squads_online(zone: SeededZone, squads: int) -> None:
    """Bring the ten technicians of each squad online, within some metres of each other. A second call renews their
    positions.
    """
    spots = itertools.product(range(squads), range(SQUAD_SIZE))
    await gather_in_batches(
        zone.create_technician(member_id(s, m), squad_position(s)[0] + m * 1e-4, squad_position(s)[1]) for s, m in spots
    )


async def gather_in_batches(work: Iterable[Awaitable[Any]]) -> list[Any]:
    """Await all of ``work``, ``BATCH_SIZE`` at a time: the store's pipeline packs them, and its queue stays short."""
    results: list[Any] = []
    it = iter(work)
    while batch := list(itertools.islice(it, BATCH_SIZE)):
        results += await asyncio.gather(*batch)
    return results


def _request_members(principal: str) -> dict[str, str]:
    """Return the arguments of a request that is sent once."""
    return {"principal": principal, "key": str(uuid.uuid4()), "fingerprint": "f" * 64, "trace": ""}


def _job_members(job: str, blueprint: str, lat: float, lon: float, customer: str) -> tuple[str, str]:
    """Return the job's fixed members as ``engine/domain/booking.py`` encodes them once at creation: all of them, and
    the public part.
    """
    public = (
        f'"id":"{job}","zone":"{ZONE}","blueprint":"{blueprint}","service":"{SERVICE}","lat":{lat:.3f},"lon":{lon:.3f},'
        '"postal_code":"10115","amount":4900,"currency":"EUR","pricing":"flat","notes":"The tap in the kitchen drips",'
        '"scheduled_for":null'
    )
    full = (
        f'{public},"customer":{{"id":"{customer}","name":"Maria Sommer","phone":"+4930123456"}},'
        '"address":"Invalidenstrasse 43, 10115 Berlin","reference":null,"metadata":null,"room":null'
    )
    return full, public
