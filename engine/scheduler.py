"""Doing what is due: waves, offers and jobs that end, late joiners, leases.

``due_take`` removes nothing, so a runner that dies loses nothing and two runners do no harm: the script that does
the work takes the entry away in its own step, and is a no-op where the job has moved on. What is left for Python is
to read the entry's name and to send the blueprint's numbers along.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

import structlog

from engine.errors import CalloutError
from engine.rules.blueprint import Blueprint
from engine.store import keys
from engine.store.connection import Done
from engine.technicians import lease_ms
from engine.types import JobId, ServiceId, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

TAKE = 32
LEASE_S = 3.0
"""How long a node that fell silent keeps others from a zone's due work."""
LATE_JOBS = 8

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Do due work for ever, for every zone of which this node holds the lease. Faults of Redis are waited out."""
    node = secrets.token_hex(8)
    async with asyncio.TaskGroup() as group:
        for zone in engine.store.zones:
            group.create_task(_run_zone(engine, zone, node), name=f"scheduler:{zone}")


async def _run_zone(engine: Engine, zone: Zone, node: str) -> None:
    while True:
        try:
            wait_s = await run_once(engine, zone, node)
        except CalloutError as error:
            log.debug("scheduler_waits", zone=zone, error=str(error))
            wait_s = 0.5
        except Exception:
            log.exception("scheduler_failed", zone=zone)
            wait_s = 1.0
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(engine.wake.wait(), wait_s)
            engine.wake.clear()


async def run_once(engine: Engine, zone: Zone, node: str = "one") -> float:
    """Take what is due and do it. Returns the seconds until there is more to do (at most 1: time must tick)."""
    held = await engine.store.call(
        zone, "runner_lease", [keys.meta(zone), keys.runner(zone, "scheduler")], [node, round(LEASE_S * 1000)]
    )
    if held.rest[0] != b"1":
        return 1.0
    names = [keys.meta(zone), keys.due(zone), keys.seen(zone)]
    done = await engine.store.call(zone, "due_take", names, [TAKE, lease_ms(engine)])
    wait_ms, *entries = done.rest
    results = await asyncio.gather(*(_do(engine, zone, entry.decode()) for entry in entries), return_exceptions=True)
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, CalloutError):
            log.debug("due_later", zone=zone, entry=entry.decode(), error=str(result))
        elif isinstance(result, BaseException):
            log.error("due_failed", zone=zone, entry=entry.decode(), exc_info=result)
    # The work itself may have made more due at once (a wave not done, a freed technician): look again.
    return 0.0 if entries else int(wait_ms) / 1000


async def _do(engine: Engine, zone: Zone, entry: str) -> None:
    kind, _, rest = entry.partition(":")
    if kind == "wave":
        job, _, number = rest.partition(":")
        await open_wave(engine, zone, JobId(job), int(number))
    elif kind == "offers":
        job, _, number = rest.partition(":")
        await _expire_offers(engine, zone, entry, JobId(job), number)
    elif kind == "expire":
        await _expire_job(engine, zone, entry, JobId(rest))
    elif kind == "match":
        await _match(engine, zone, entry, TechnicianId(UserId(rest)))
    elif kind == "lease":
        await _end_lease(engine, zone, TechnicianId(UserId(rest)))
    elif kind == "forget":
        principal, _, reference = rest.partition(":")
        names = [keys.meta(zone), keys.reference(zone, UserId(principal)), keys.due(zone)]
        await engine.store.call(zone, "reference_forget", names, [entry, reference])
    else:
        log.error("due_unknown", zone=zone, entry=entry)


async def _blueprint(engine: Engine, zone: Zone, job: JobId) -> tuple[Blueprint, ServiceId]:
    bp, service = await engine.store.run("HMGET", keys.job(zone, job), "bp", "service")
    return engine.blueprints.of((bp or b"").decode()), ServiceId((service or b"").decode())


async def open_wave(engine: Engine, zone: Zone, job: JobId, number: int) -> Done:
    """Open wave ``number`` of a job (or go on with it), with the numbers its blueprint gives."""
    blueprint, service = await _blueprint(engine, zone, job)
    wave, walks = blueprint.wave(number)
    weights = blueprint.dispatch.weights
    return await engine.store.call(
        zone,
        "wave_open",
        [
            keys.meta(zone),
            keys.job(zone, job),
            keys.offers(zone, job),
            keys.waves(zone, job),
            keys.supply(zone, service),
            keys.due(zone),
            keys.log(zone),
        ],
        [
            f"wave:{job}:{number}",
            number,
            wave.size,
            wave.radius_m,
            round(wave.interval_s * 1000),
            round(blueprint.dispatch.offer_s * 1000),
            int(walks),
            weights.distance,
            weights.rating,
            weights.acceptance,
            weights.waiting,
            blueprint.audience("job.searching"),
        ],
    )


async def _expire_offers(engine: Engine, zone: Zone, entry: str, job: JobId, number: str) -> None:
    names = [
        keys.meta(zone),
        keys.job(zone, job),
        keys.offers(zone, job),
        keys.due(zone),
        keys.log(zone),
    ]
    await engine.store.call(zone, "offer_expire", names, [entry, number, lease_ms(engine)])


async def _expire_job(engine: Engine, zone: Zone, entry: str, job: JobId) -> None:
    blueprint, _ = await _blueprint(engine, zone, job)
    to = next((c.to for c in blueprint.commands.values() if c.event == "job.expired"), "expired")
    names = [
        keys.meta(zone),
        keys.job(zone, job),
        keys.offers(zone, job),
        keys.due(zone),
        keys.log(zone),
    ]
    told = blueprint.audience("job.expired")
    await engine.store.call(zone, "job_expire", names, [entry, to, told, lease_ms(engine)])


async def _match(engine: Engine, zone: Zone, entry: str, technician: TechnicianId) -> None:
    names = [keys.meta(zone), keys.technician(zone, technician), keys.due(zone), keys.log(zone)]
    reach = max(wave.radius_m for b in engine.blueprints.by_name.values() for wave in b.dispatch.waves)
    await engine.store.call(zone, "match_open", names, [entry, reach, LATE_JOBS])


async def _end_lease(engine: Engine, zone: Zone, technician: TechnicianId) -> None:
    names = [
        keys.meta(zone),
        keys.technician(zone, technician),
        keys.seen(zone),
        keys.log(zone),
        keys.request(zone, technician, "lease"),  # never written: a sweep has no request key
    ]
    args: list[str | int] = [technician, "engine", "", "", "lease", lease_ms(engine)]
    await engine.store.call(zone, "technician_offline", names, args)
