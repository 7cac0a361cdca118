"""Matching windows: a matcher proposes how the waiting jobs of a service go to its free technicians (docs/matching.md).

``match_view`` reads, the matcher proposes, and ``match_take`` checks everything again and assigns in the same step. In
between, a window holds no lock and no lease of a pair. So two windows at the same time do no harm, and a window that
dies loses nothing: its scheduled task ``window:<service>`` is due again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from engine.blueprint import registry
from engine.blueprint.match_rule import MatchRule
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import schedules
from engine.domain.waves import is_customer_suspended
from engine.domain.window_solver import solve_window
from engine.errors import Unavailable
from engine.events import rfc3339_of
from engine.rules import matching
from engine.rules.matching import Candidate, Match, WaitingJob
from engine.rules.travel import TravelModel, travel_model
from engine.rules.zone_areas import timezone_of
from engine.store import keys
from engine.store.scripts import Args
from engine.types import JobId, ServiceId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

log = structlog.get_logger(__name__)

MAX_WINDOW_JOBS = 1024
"""How many jobs, or technicians, one window reads. If there are more, the next window is due at once."""
IDS_PER_VIEW, VIEWS_AT_ONCE = 8, 4
"""How many jobs or technicians one call of ``match_view`` looks at (about 2 ms of Redis' time), and how many calls are
sent together."""
TAKES_AT_ONCE = 32
FARTHEST_M = 21_000_000
"""A distance in metres that reaches every place of the earth."""
IDLE_S = 60.0
"""When the next window is due if nobody is free: somebody who becomes free makes it due sooner (lua/lib/window.lua)."""


async def run_window(engine: Engine, zone: Zone, task_entry: str, service: ServiceId) -> None:
    """Run one matching window of a service: match the waiting jobs, assign them, and make the next window due.
    ``task_entry`` is the scheduled task ``window:<service>``. Raises Unavailable if the rule's matcher is not
    installed, and the errors of ``Store.run``.
    """
    names = {"open": keys.waiting_jobs(zone, service), "supply": keys.technician_supply(zone, service)}
    waiting = int(await engine.store.command("ZCARD", names["open"]))
    free = int(await engine.store.command("ZCARD", names["supply"]))
    rule = MatchRule()
    if waiting and free:
        jobs = await _view(engine, zone, names, waiting, free)
        rules = {each.name: each.dispatch.match for _, each in jobs if each.dispatch.match}
        rule = rules[min(rules)] if rules else rule  # Blueprints may share a service, but one window has one rule.
        await _assign(engine, zone, jobs, rule, waiting=waiting, free=free)
    args: Args = {
        "entry": task_entry,
        "length_ms": round(rule.window_s * 1000),
        "idle_ms": round(IDLE_S * 1000),
        "more": int(min(waiting, free) > MAX_WINDOW_JOBS),
    }
    script_keys = {"meta": keys.zone_meta(zone), "due": keys.due_tasks(zone), **names}
    await engine.store.run(zone, "window_close", keys=script_keys, args=args)


async def _view(
    engine: Engine, zone: Zone, names: dict[str, str], waiting: int, free: int
) -> list[tuple[WaitingJob, Blueprint]]:
    """Return the jobs of a window with their candidates and costs, each with its blueprint. The script reads the
    nearest technicians of each job; if fewer technicians are free than jobs wait, the nearest jobs of each technician.

    Jobs of suspended customers, and of blueprints that this process has not loaded, are left out.
    """
    side, count = ("jobs", waiting) if waiting <= free else ("technicians", free)
    # A random part, so that each job gets into a window sooner or later if there are too many for one.
    first = random.randrange(count - MAX_WINDOW_JOBS + 1) if count > MAX_WINDOW_JOBS else 0
    index = names["open" if side == "jobs" else "supply"]
    ids = [each.decode() for each in await engine.store.command("ZRANGE", index, first, first + MAX_WINDOW_JOBS - 1)]
    found: dict[str, WaitingJob] = {}
    pieces = [ids[start : start + IDS_PER_VIEW] for start in range(0, len(ids), IDS_PER_VIEW)]
    rules = schedules.rules_json(engine, zone, ("allocate",))
    for start in range(0, len(pieces), VIEWS_AT_ONCE):
        calls = (
            _view_piece(engine, zone, names, side, rules, piece) for piece in pieces[start : start + VIEWS_AT_ONCE]
        )
        for job in [job for jobs in await asyncio.gather(*calls) for job in jobs]:
            found[job.id] = found[job.id].join(job) if job.id in found else job
    return await _add_costs(engine, zone, found.values())


async def view_nearest(
    engine: Engine, zone: Zone, service: ServiceId, lat: float, lon: float, limit: int
) -> tuple[list[WaitingJob], int]:
    """Return the jobs nearest to a place that wait for the next window of a service, with their candidates and costs,
    and how many jobs wait.
    """
    names = {"open": keys.waiting_jobs(zone, service), "supply": keys.technician_supply(zone, service)}
    waiting = int(await engine.store.command("ZCARD", names["open"]))
    words = ("FROMLONLAT", lon, lat, "BYRADIUS", FARTHEST_M, "m", "COUNT", limit, "ASC")
    found = await engine.store.command("GEOSEARCH", names["open"], *words) if waiting else []
    ids, rules = [each.decode() for each in found], schedules.rules_json(engine, zone, ("allocate",))
    jobs = await _view_piece(engine, zone, names, "jobs", rules, ids) if ids else []
    return [job for job, _ in await _add_costs(engine, zone, jobs)], waiting


async def _add_costs(engine: Engine, zone: Zone, found: Collection[WaitingJob]) -> list[tuple[WaitingJob, Blueprint]]:
    """Return jobs with the costs of their candidates, and their blueprints, without those that ``_view`` leaves out."""
    travel = travel_now(engine, zone)
    suspended = await _suspended_customers(engine, {job.customer for job in found if job.candidates})
    jobs = []
    for job in found:
        blueprint = _find_blueprint(engine, job)
        if blueprint is not None and job.customer not in suspended:
            rule = blueprint.dispatch.match or MatchRule()
            farthest_m = rule.reach_m + rule.grow_m_s * job.waiting_ms / 1000
            jobs.append((job.with_costs(blueprint.dispatch.weights, travel, farthest_m=farthest_m), blueprint))
    return jobs


def travel_now(engine: Engine, zone: Zone) -> TravelModel:
    """Return the travel times of journeys in a zone that begin now."""
    return travel_model(zone, now_ms(), timezone_of(engine.settings.zone_areas, zone))


async def _view_piece(
    engine: Engine, zone: Zone, names: dict[str, str], side: str, schedule_rules: bytes, ids: Sequence[str]
) -> list[WaitingJob]:
    script_keys = {"meta": keys.zone_meta(zone), **names}
    jobs: list[WaitingJob] = []
    while ids:
        args: Args = {"side": side, "limit": MatchRule().k, "schedules": schedule_rules, "ids": list(ids)}
        done = await engine.store.run(zone, "match_view", keys=script_keys, args=args)
        looked, *rows = done.values
        jobs += map(_parse_job, rows)
        ids = ids[int(looked) :]
    return jobs


def _parse_job(row: Sequence[Any]) -> WaitingJob:
    """Return the job of a row of lua/match_view.lua."""
    job, version, blueprint, status, customer, waiting_ms, reach_m, how, *candidates = (
        each.decode() if isinstance(each, bytes) else str(each) for each in row
    )
    return WaitingJob(
        id=job,
        version=int(version),
        blueprint=blueprint,
        status=status,
        customer=customer,
        waiting_ms=int(waiting_ms),
        reach_m=float(reach_m),
        how=how,  # type: ignore[arg-type]
        candidates=tuple(map(Candidate.parse, candidates)),
    )


def _find_blueprint(engine: Engine, job: WaitingJob) -> Blueprint | None:
    try:
        return registry.require_version(engine.blueprints, job.blueprint)
    except Unavailable:
        log.warning("match_skipped", job=job.id, blueprint=job.blueprint)
        return None


async def _suspended_customers(engine: Engine, customers: Iterable[str]) -> set[str]:
    """Return which of these customers are suspended. Their jobs wait until the customer is reinstated."""
    found = sorted(customers)
    suspended = await asyncio.gather(*(is_customer_suspended(engine, UserId(each)) for each in found))
    return {customer for customer, out in zip(found, suspended, strict=True) if out}


async def _assign(
    engine: Engine,
    zone: Zone,
    jobs: Sequence[tuple[WaitingJob, Blueprint]],
    rule: MatchRule,
    *,
    waiting: int,
    free: int,
) -> None:
    """Solve a window, and assign what the matcher proposes."""
    matches, degraded = await solve_window([job for job, _ in jobs], rule)
    if degraded:
        engine.metrics.match_degraded.inc()
    blueprint_of = {job.id: blueprint for job, blueprint in jobs}
    facts = {"window": rfc3339_of(now_ms()), "jobs": waiting, "free": free}
    for start in range(0, len(matches), TAKES_AT_ONCE):
        group = matches[start : start + TAKES_AT_ONCE]
        await asyncio.gather(*(_take(engine, zone, match, blueprint_of[match.job.id], facts) for match in group))


async def _take(engine: Engine, zone: Zone, match: Match, blueprint: Blueprint, facts: dict[str, Any]) -> None:
    """Assign one job as a window proposes, unless something that the proposal depends on has changed."""
    job = JobId(match.job.id)
    plan = engine.plans.find_engine_plan(blueprint, match.job.status, effect="assign")
    if plan is None:
        return
    script_keys = {
        "meta": keys.zone_meta(zone),
        "job": keys.job(zone, job),
        "offers": keys.job_offers(zone, job),
        "waves": keys.job_waves(zone, job),
        "log": keys.log(zone),
    }
    args: Args = {
        "technician": match.technician,
        "seen": match.job.version,
        "how": match.job.how,
        "plan": plan.plan_json,
        "others": " ".join(match.job.candidates[each].technician for each in match.others),
        "record": matching.record_members(match, **facts),
        "schedule": schedules.rule_text(engine, zone, blueprint),
    }
    done = await engine.store.run(zone, "match_take", keys=script_keys, args=args)
    outcome = done.values[1].decode() or "taken"
    engine.metrics.matches.labels(outcome).inc()
