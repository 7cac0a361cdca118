"""The search for a technician: waves of offers, offers to technicians who come online later, and allocation by the
engine.

All of these are scheduled tasks (engine/workers/scheduled_tasks.py). One Lua script runs each of these tasks. This
module passes the numbers of the job's blueprint to the scripts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from engine.blueprint import registry, wave_plan
from engine.blueprint.schema import Blueprint
from engine.domain import schedules
from engine.errors import Unauthenticated, Unavailable
from engine.identity import access
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.store.scripts import Args
from engine.technicians.live import presence_lease_ms
from engine.types import JobId, ServiceId, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

ACCOUNT_TIMEOUT_S = 0.3
"""How long a wave waits for the customer's account. In a cluster another primary than the zone's may have it."""
MAX_JOBS_PER_MATCH = 8
"""How many open jobs are examined for a technician who comes online."""


async def blueprint_and_service_of(engine: Engine, zone: Zone, job: JobId) -> tuple[Blueprint, ServiceId]:
    """Return the blueprint and the service of a job; the default blueprint if Redis does not have the job any more.

    Raises Unavailable if this process has not loaded the job's blueprint.
    """
    bp, service = await engine.store.command("HMGET", keys.job(zone, job), "bp", "service")
    return registry.require_version(engine.blueprints, (bp or b"").decode()), ServiceId((service or b"").decode())


async def read_status(engine: Engine, zone: Zone, job: JobId) -> str:
    """Return the state of a job; "" if Redis does not have the job any more."""
    return (await engine.store.command("HGET", keys.job(zone, job), "status") or b"").decode()


async def _check_customer(engine: Engine, zone: Zone, job: JobId) -> None:
    """Raise Unavailable if the customer of a job is suspended, so that nobody receives an offer. The scheduled task
    stays due and is tried again: the search continues when the customer is reinstated, or the job expires at the usual
    time.
    """
    customer = await engine.store.command("HGET", keys.job(zone, job), "customer")
    if customer is not None and await is_customer_suspended(engine, UserId(customer.decode())):
        raise Unavailable("The customer of the job is suspended")


async def is_customer_suspended(engine: Engine, customer: UserId) -> bool:
    """Return whether a customer is suspended; False if the database, or the primary that has the account, does not
    answer, because that must not delay offers.
    """
    try:
        async with asyncio.timeout(ACCOUNT_TIMEOUT_S):
            return not (await access.read_access(engine, customer)).active
    except (TimeoutError, Unauthenticated, Unavailable):
        return False


async def open_wave(engine: Engine, zone: Zone, job: JobId, number: int) -> ScriptReply:
    """Open wave ``number`` of a job, which is a round of offers, or continue it. The job's blueprint declares how many
    technicians get an offer, and how far away they may be.
    """
    await _check_customer(engine, zone, job)
    blueprint, service = await blueprint_and_service_of(engine, zone, job)
    dispatch = blueprint.dispatch
    wave, whole_zone = blueprint.wave(number)
    in_vain = wave_plan.is_first_after_declared(dispatch, number)
    return await engine.store.run(
        zone,
        "wave_open",
        keys=_search_keys(zone, job, service),
        args={
            "entry": f"wave:{job}:{number}",
            "wave": number,
            "size": wave.size,
            "radius_m": wave.radius_m,
            "interval_ms": round(wave.interval_s * 1000),
            "offer_ms": round(dispatch.offer_s * 1000),
            "whole_zone": int(whole_zone),
            "weights": wave_plan.weights_text(dispatch),
            "limits": wave_plan.limits_text(dispatch),
            "audience": blueprint.audience("job.searching"),
            "unfilled_audience": blueprint.audience("job.unfilled") if in_vain else "",
            "schedule": schedules.rule_text(engine, zone, blueprint),
        },
    )


def task_script_keys(zone: Zone, job: JobId) -> dict[str, str]:
    """Return the keys of the scripts for a job's scheduled tasks."""
    return {
        "meta": keys.zone_meta(zone),
        "job": keys.job(zone, job),
        "offers": keys.job_offers(zone, job),
        "due": keys.due_tasks(zone),
        "log": keys.log(zone),
    }


def _search_keys(zone: Zone, job: JobId, service: ServiceId) -> dict[str, str]:
    return task_script_keys(zone, job) | {
        "waves": keys.job_waves(zone, job),
        "supply": keys.technician_supply(zone, service),
    }


async def open_offers(
    engine: Engine, zone: Zone, task_entry: str, job: JobId, wave: str, opens_at_ms: str
) -> ScriptReply:
    """Open the offers of a wave that were delayed until ``opens_at_ms`` (ms), because other technicians had a head
    start, and notify their technicians."""
    await _check_customer(engine, zone, job)
    args: Args = {"entry": task_entry, "wave": wave, "opens": opens_at_ms}
    return await engine.store.run(zone, "offer_open", keys=task_script_keys(zone, job), args=args)


async def expire_offers(engine: Engine, zone: Zone, task_entry: str, job: JobId, wave: str) -> ScriptReply:
    """Close the expired offers of a wave, after the blueprint's grace period (``grace_s``)."""
    blueprint, _ = await blueprint_and_service_of(engine, zone, job)
    grace_ms = round(blueprint.dispatch.grace_s * 1000)
    args: Args = {"entry": task_entry, "wave": wave, "grace_ms": grace_ms, "lease_ms": presence_lease_ms(engine)}
    return await engine.store.run(zone, "offer_expire", keys=task_script_keys(zone, job), args=args)


async def offer_open_jobs(engine: Engine, zone: Zone, task_entry: str, technician: TechnicianId) -> ScriptReply:
    """Offer open jobs nearby to a late joiner, except the jobs of suspended customers. ``task_entry`` is the scheduled
    task that requires this search.

    The script returns the customers of those jobs, and makes no offer until this function calls it again with the state
    of each customer.
    """
    names = {
        "meta": keys.zone_meta(zone),
        "tech": keys.technician(zone, technician),
        "due": keys.due_tasks(zone),
        "log": keys.log(zone),
    }
    reach = wave_plan.max_radius_m(engine.blueprints.by_name.values())
    is_suspended: dict[UserId, bool] = {}
    while True:
        args: Args = {
            "entry": task_entry,
            "reach_m": reach,
            "limit": MAX_JOBS_PER_MATCH,
            "asked": " ".join(is_suspended),
            "suspended": " ".join(customer for customer, suspended in is_suspended.items() if suspended),
            "schedules": schedules.rules_json(engine, zone, ("broadcast", "bids")),
        }
        done = await engine.store.run(zone, "match_open", keys=names, args=args)
        unknown = done.values[1].decode().split()
        if not unknown:
            return done
        is_suspended |= {
            UserId(customer): await is_customer_suspended(engine, UserId(customer)) for customer in unknown
        }


async def allocate_job(engine: Engine, zone: Zone, task_entry: str, job: JobId, number: str) -> None:
    """Choose a technician for a job and assign it to them. If nobody is available, try again after the blueprint's
    ``repeat_s``. A job that matching windows assign (engine/domain/matching.py) waits for them.
    """
    await _check_customer(engine, zone, job)
    blueprint, service = await blueprint_and_service_of(engine, zone, job)
    dispatch = blueprint.dispatch
    if await engine.store.command("HEXISTS", keys.job(zone, job), "window"):
        args: Args = {
            "entry": task_entry,
            "round": number,
            "repeat_ms": round(dispatch.repeat_s * 1000),
            "unfilled_audience": blueprint.audience("job.unfilled"),
            "schedule": schedules.rule_text(engine, zone, blueprint),
        }
        await engine.store.run(zone, "match_wait", keys=_search_keys(zone, job, service), args=args)
        return
    plan = engine.plans.find_engine_plan(blueprint, await read_status(engine, zone, job), effect="assign")
    await engine.store.run(
        zone,
        "allocate_open",
        keys=_search_keys(zone, job, service),
        args={
            "entry": task_entry,
            "round": number,
            "radius_m": dispatch.radius_m,
            "repeat_ms": round(dispatch.repeat_s * 1000),
            "weights": wave_plan.weights_text(dispatch),
            "plan": plan.plan_json if plan else "",
            "unfilled_audience": blueprint.audience("job.unfilled"),
            "schedule": schedules.rule_text(engine, zone, blueprint),
        },
    )
