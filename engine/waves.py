"""Looking for a technician: rounds of offers, who comes late, and the engine's own choice.

All of it is due work (engine/due.py). What happens is decided in Lua, in one step each; what is done here is to send
the numbers of the job's blueprint along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine import lives
from engine.errors import NotFound
from engine.rules import waves
from engine.rules.lifecycle import Blueprint
from engine.store import keys
from engine.store.connection import Done
from engine.technicians import lease_ms
from engine.types import JobId, ServiceId, TechnicianId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

LATE_JOBS = 8
"""How many open jobs are looked at for who comes late."""


async def blueprint_of(engine: Engine, zone: Zone, job: JobId) -> tuple[Blueprint, ServiceId]:
    """The blueprint and the service of a job; the default one's where there is no such job any more.

    Raises Unavailable where its blueprint is not known here.
    """
    bp, service = await engine.store.run("HMGET", keys.job(zone, job), "bp", "service")
    return lives.judged(engine, (bp or b"").decode()), ServiceId((service or b"").decode())


async def open_wave(engine: Engine, zone: Zone, job: JobId, number: int) -> Done:
    """Open wave ``number`` of a job (or go on with it), with the numbers its blueprint gives."""
    blueprint, service = await blueprint_of(engine, zone, job)
    dispatch = blueprint.dispatch
    wave, walks = blueprint.wave(number)
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
            round(dispatch.offer_s * 1000),
            int(walks),
            waves.weights(dispatch),
            waves.limits(dispatch),
            blueprint.audience("job.searching"),
            _unfilled(blueprint) if waves.looked_in_vain(dispatch, number) else "",
        ],
    )


def _unfilled(blueprint: Blueprint) -> str:
    """Who hears that nobody took a job: ops, whether the blueprint says so or not."""
    return blueprint.audience("job.unfilled") or "ops"


async def open_offers(engine: Engine, zone: Zone, entry: str, job: JobId, wave: str, opens: str) -> Done:
    """Let those claim whose head start others had until ``opens`` (ms), and tell them."""
    names = [keys.meta(zone), keys.job(zone, job), keys.offers(zone, job), keys.due(zone), keys.log(zone)]
    return await engine.store.call(zone, "offer_open", names, [entry, wave, opens])


async def expire_offers(engine: Engine, zone: Zone, entry: str, job: JobId, wave: str) -> Done:
    """Close what has run out of a wave's offers; not before the blueprint's grace is over."""
    blueprint, _ = await blueprint_of(engine, zone, job)
    names = [keys.meta(zone), keys.job(zone, job), keys.offers(zone, job), keys.due(zone), keys.log(zone)]
    grace_ms = round(blueprint.dispatch.grace_s * 1000)
    return await engine.store.call(zone, "offer_expire", names, [entry, wave, grace_ms, lease_ms(engine)])


async def match(engine: Engine, zone: Zone, entry: str, technician: TechnicianId) -> Done:
    """Offer to who comes late what is open around him."""
    names = [keys.meta(zone), keys.technician(zone, technician), keys.due(zone), keys.log(zone)]
    reach = waves.reach_m(engine.blueprints.by_name.values())
    return await engine.store.call(zone, "match_open", names, [entry, reach, LATE_JOBS])


async def allocate(engine: Engine, zone: Zone, entry: str, job: JobId, number: str) -> None:
    """Choose a technician for a job and give it to him; nobody fit: again after the blueprint's ``repeat_s``."""
    blueprint, service = await blueprint_of(engine, zone, job)
    names = (name for name, spec in blueprint.commands.items() if spec.does == "assign" and "engine" in spec.by)
    plan = engine.plans.of(blueprint, next(names, ""))
    if plan is None:  # the job began with a blueprint in which the engine chose, and nobody knows it here
        raise NotFound(f"{blueprint.key}: no command by which the engine assigns")
    dispatch = blueprint.dispatch
    await engine.store.call(
        zone,
        "allocate_open",
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
            entry,
            number,
            dispatch.radius_m,
            round(dispatch.repeat_s * 1000),
            waves.weights(dispatch),
            plan.body,
            _unfilled(blueprint),
        ],
    )
