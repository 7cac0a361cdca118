"""Fill a zone with the engine's own scripts, so that a benchmark measures the same state that bookings leave behind.

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
from engine.blueprint.compiler import state_entry
from engine.blueprint.schema import Blueprint
from engine.store import keys
from engine.store.connection import ScriptReply, Store, close_store, open_store
from engine.store.pipeline import Pipeline
from engine.types import DEFAULT_ZONE, JobId, ServiceId, UserId, new_job_id
from engine.zone import opening
from engine.zone.records import ZoneRecord

ZONE = DEFAULT_ZONE
SERVICE = ServiceId("plumbing")
LEASE_MS = 90_000
LONG_MS = 3_600_000
"""Offers and jobs of a benchmark outlive it: a run measures claims, not expiry."""
AT_ONCE = 512
CELL_DEG = 0.2
"""Squads are put 22 km apart: a wave of 3 km finds one squad, and each job is offered to the same ten."""

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


async def open_town(url: str) -> Town:
    """The zone of the Redis at ``url``, opened as by a server whose archive is empty."""
    return Town(await open_store(url, [ZONE], _open_new), load_blueprints("home_service", shipped_folder()).default)


async def _open_new(store: Store, pipe: Pipeline, run_id: str) -> None:
    # A benchmark has no database: it goes by the server's where one was here first, and else leaves none behind.
    paired = await pipe.urgent("HGET", keys.zone_meta(ZONE), "database")
    database = paired.decode() if paired else "bench"
    answer = await opening.compare_with_sql(store, pipe.urgent, ZONE, run_id, "1", ZoneRecord(database, 0, {}))
    if answer.word != "OK":
        raise BenchError(f"the zone does not open: {answer.word}")
    if not paired:
        await pipe.urgent("HDEL", keys.zone_meta(ZONE), "database")
    state = store.zones[ZONE]
    state.epoch, state.open = answer.epoch, True


class Prepared(NamedTuple):
    """A call of a script, ready to be made."""

    script: str
    keys: dict[str, str]
    args: dict[str, Any]


class Town:
    """One zone, its store and its blueprint; the verbs fill it."""

    def __init__(self, store: Store, blueprint: Blueprint) -> None:
        self.store = store
        self.blueprint = blueprint

    def prepared(self, script: str, **given: Any) -> Prepared:
        """A call with the keys and arguments of the script's header. Raises BenchError for a gap."""
        header = self.store.scripts[script]
        try:
            names = {name: _KEYS[name](given) for name in header.keys}
            return Prepared(script, names, {name: given[name] for name in header.given})
        except KeyError as error:
            raise BenchError(f"{script} now takes {error}: bench/load/seed.py does not know it") from error

    async def run(self, call: Prepared) -> ScriptReply:
        """Run what was prepared."""
        return await self.store.run(ZONE, call.script, keys=call.keys, args=call.args)

    async def call(self, script: str, **given: Any) -> ScriptReply:
        """Run one script by its argument names."""
        return await self.run(self.prepared(script, **given))

    async def close(self) -> None:
        """Let the connections go."""
        await close_store(self.store)

    async def technician(self, who: str, lat: float, lon: float, *, capacity: int = 1_000, rating: float = 4.5) -> None:
        """Somebody approved and online at a position. Again: a fresh position."""
        await self.call(
            "technician_put",
            id=who,
            technician=who,
            profile=1,
            complete=1,
            kyc="approved",
            account="approved",
            capacity=capacity,
            services=SERVICE,
            name=f'"Technician {who}"',
            phone='"+4912345678"',
            actor="engine",
            offline_reason="review",
            rating=f"{rating:.1f}",
            rated=0,
            audience="ops",
        )
        await self.call(
            "technician_online",
            id=who,
            technician=who,
            principal=who,
            key=str(uuid.uuid4()),
            fingerprint="f" * 64,
            lat=f"{lat:.6f}",
            lon=f"{lon:.6f}",
            audience="ops",
        )

    async def account(self, who: str, role: str) -> None:
        """The hot record that lets a token of this user connect."""
        record = {"version": 1, "role": role, "active": 1, "out": "", "life": self.store.run_id}
        names = {"account": keys.account(UserId(who))}
        await self.store.run_without_epoch(self.store.pipeline.submit, "account_put", keys=names, args=record)

    async def job(self, lat: float, lon: float, *, customer: str = "user_customer") -> JobId:
        """A booking at a position, not yet offered to anybody."""
        job, key = new_job_id(ZONE), str(uuid.uuid4())
        body = _members(job, self.blueprint.name, lat, lon, customer)
        await self.call(
            "job_create",
            id=job,
            job=job,
            actor=f"customer:{customer}",
            principal=customer,
            key=key,
            fingerprint="f" * 64,
            trace="",
            reference="",
            bp=self.blueprint.key,
            goal=state_entry(self.blueprint, self.blueprint.initial, LONG_MS / 1000),
            service=SERVICE,
            customer=customer,
            lat=f"{lat:.6f}",
            lon=f"{lon:.6f}",
            full=body[0],
            pub=body[1],
            amount=5_000,
            release=0,
            scheduled=0,
            named="",
            preferred="",
            audience=self.blueprint.audience("job.created"),
            contact="null",
        )
        return job

    def wave(self, job: JobId, number: int, *, size: int = 10, radius_m: int = 3_000) -> Prepared:
        """The call of one round of offers for ``job``."""
        dispatch = self.blueprint.dispatch
        return self.prepared(
            "wave_open",
            job=job,
            service=SERVICE,
            entry=f"wave:{job}:{number}",
            wave=number,
            size=size,
            radius_m=radius_m,
            interval_ms=10_000,
            offer_ms=LONG_MS,
            walks=0,
            weights=wave_plan.weights_text(dispatch),
            limits=wave_plan.limits_text(dispatch),
            audience=self.blueprint.audience("job.searching"),
            unfilled_audience="",
        )

    def claim(self, job: JobId, technician: str) -> Prepared:
        """The call by which ``technician`` takes ``job``."""
        command = self.blueprint.commands["claim"]
        return self.prepared(
            "job_claim",
            job=job,
            technician=technician,
            principal=technician,
            key=str(uuid.uuid4()),
            fingerprint="f" * 64,
            trace="",
            if_version="",
            bp=self.blueprint.key,
            plan="",
            command="claim",
            ended="",
            goal=state_entry(self.blueprint, command.to),
            type=command.event,
            audience=self.blueprint.audience(command.event),
            tech_audience="",
            grace_ms=0,
            lease_ms=LEASE_MS,
            **{"from": " " + " ".join(command.from_) + " "},
        )

    async def offered_job(self, squad: int) -> JobId:
        """A job beside a squad, offered to its ten members."""
        job = await self.job(*place_of(squad))
        done = await self.run(self.wave(job, 1))
        if int(done.rest[0]) != SQUAD:
            raise BenchError(f"a job was offered to {int(done.rest[0])} and not to {SQUAD}")
        return job


SQUAD = 10


def member(squad: int, place: int = 0) -> str:
    """Who stands at ``place`` of a squad; the first of each is the one who connects and claims."""
    return f"user_s{squad}m{place}"


def place_of(squad: int) -> tuple[float, float]:
    """Where a squad stands: on a grid around the equator, out of the others' reach."""
    row, column = divmod(squad, 40)
    return -4 + row * CELL_DEG, -4 + column * CELL_DEG


async def muster(town: Town, squads: int) -> None:
    """Ten technicians for each squad, online, within some metres of each other. Again: fresh positions."""
    spots = itertools.product(range(squads), range(SQUAD))
    await in_batches(town.technician(member(s, m), place_of(s)[0] + m * 1e-4, place_of(s)[1]) for s, m in spots)


async def in_batches(work: Iterable[Awaitable[Any]]) -> list[Any]:
    """Do it all, some hundred at once: the pipeline packs them, and its queue stays short."""
    done: list[Any] = []
    it = iter(work)
    while batch := list(itertools.islice(it, AT_ONCE)):
        done += await asyncio.gather(*batch)
    return done


def _members(job: str, blueprint: str, lat: float, lon: float, customer: str) -> tuple[str, str]:
    """The job's fixed members as ``engine/domain/booking.py`` encodes them once at creation: whole, and the public
    part.
    """
    public = (
        f'"id":"{job}","zone":"{ZONE}","blueprint":"{blueprint}","service":"{SERVICE}","lat":{lat:.3f},"lon":{lon:.3f},'
        '"postal_code":"10115","amount":4900,"currency":"EUR","pricing":"flat","notes":"The tap in the kitchen drips",'
        '"scheduled_for":null'
    )
    whole = (
        f'{public},"customer":{{"id":"{customer}","name":"Maria Sommer","phone":"+4930123456"}},'
        '"address":"Invalidenstrasse 43, 10115 Berlin","reference":null,"metadata":null,"room":null'
    )
    return whole, public
