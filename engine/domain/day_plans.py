"""Day plans: they propose to ops which booked jobs of a date should go to another technician, so that all travel less.

A plan is computed in a thread of the process that received the request, within a limit of seconds. Computing changes no
job; ``day_plan_moves.apply_plan`` applies the plan. A plan is stored only in Redis, for a day, because it is a
proposal. The events of the jobs record what was applied.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import date, datetime
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import msgspec
import structlog

from engine.clock import now_ms
from engine.domain import day_plan_search
from engine.domain.day_plan_world import DayWorld, day_span_ms, read_world
from engine.errors import CalloutError, FieldError, Invalid, NotFound, RateLimited
from engine.events import rfc3339_of
from engine.idempotency import in_redis
from engine.roles import OPS, require_role
from engine.rules.day_planning import PlannedDay
from engine.rules.work_times import check_work_date
from engine.rules.zone_areas import timezone_of
from engine.store import keys
from engine.store.scripts import Args
from engine.types import Principal, Zone, new_day_plan_id, zone_of_day_plan

if TYPE_CHECKING:
    from engine.runtime import Engine

Fixed = Literal["started", "accepted"]
PlanState = Literal["computing", "ready", "failed", "applied"]

MAX_WAITING = 4
"""The most plans that one process computes or keeps waiting; they are computed one after the other."""
GRACE_MS = 60_000
"""A plan that is not ready so long (ms) after its budget has failed. Until then it may wait for other plans."""
FIELDS = ("day", "fixed", "state", "until", "groups", "unserved", "expires", "applied")

log = structlog.get_logger(__name__)


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a plan of a date in the zone's time zone, for these technicians or all. ``fixed`` says which jobs
    stay with their technician: those that have ``started``, or also those that are ``accepted``. ``budget_s`` is the
    time limit of the search in seconds.
    """

    zone: str
    date: date
    technicians: list[str] | None = None
    fixed: Fixed = "started"
    budget_s: float = 2.0


class PlanMove(msgspec.Struct, frozen=True, rename={"origin": "from", "target": "to"}):
    """A job goes from a technician (None: nobody) to another one, if it still has this version. ``at`` is the time for
    which it is booked (RFC 3339).
    """

    job: str
    version: int
    origin: str | None
    target: str
    at: str


class PlanGroup(msgspec.Struct, frozen=True):
    """Moves that are applied in one step. ``saves_s`` is the travel time (seconds) that they save if the groups before
    this one have been applied.
    """

    moves: list[PlanMove]
    saves_s: int


class DayPlan(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A plan as ops see it."""

    id: str
    zone: Zone
    date: str
    fixed: str
    state: PlanState
    groups: list[PlanGroup] | None = None
    unserved: list[str] | None = None
    expires_at: str | None = None


class StoredPlan(msgspec.Struct, frozen=True):
    """A plan, and the indexes of its groups that were applied."""

    plan: DayPlan
    applied: frozenset[int]


class PlanCreation(msgspec.Struct, frozen=True):
    """The plan that a request created. ``repeated`` is true if an earlier request with the same key created it."""

    plan: DayPlan
    repeated: bool


async def create_plan(engine: Engine, caller: Principal, request: PlanRequest, *, key: str | None) -> PlanCreation:
    """Start the computation of a plan, and return the plan in the state ``computing``.

    Raises Forbidden unless the caller is ops; Invalid for an unknown zone or technician, a date that is over, and too
    many technicians or jobs; RateLimited if too many plans wait; ReusedKey; Unavailable.
    """
    require_role(caller, OPS)
    key = in_redis.validate_key(key)
    zone = Zone(request.zone)
    if zone not in engine.store.zones:
        raise Invalid(errors=[FieldError("/zone", "Not a zone of this deployment")])
    fingerprint = in_redis.fingerprint_of(engine, "plan", zone, msgspec.to_builtins(request))
    done = await in_redis.find_done_command(engine, zone, caller, key, fingerprint)
    if done is not None:
        return PlanCreation((await read_stored(engine, done.values[0].decode())).plan, True)
    timezone = timezone_of(engine.settings.zone_areas, zone)
    check_work_date("/date", request.date, datetime.fromtimestamp(now_ms() / 1000, ZoneInfo(timezone)).date())
    span_ms = day_span_ms(request.date, timezone)
    world = await read_world(engine, zone, span_ms, request.technicians, request.fixed, now_ms())
    if len(engine.background) >= MAX_WAITING:
        raise RateLimited("Other plans are being computed", retry_after=request.budget_s)
    names = {
        "meta": keys.zone_meta(zone),
        "plan": keys.day_plan(zone, plan := new_day_plan_id(zone)),
        "req": keys.idempotency_record(zone, caller.id, key),
    }
    args: Args = {
        "id": plan,
        "actor": f"{caller.role}:{caller.id}",
        "fingerprint": fingerprint,
        "day": request.date.isoformat(),
        "fixed": request.fixed,
        "until_ms": round(request.budget_s * 1000) + GRACE_MS,
    }
    reply = await engine.store.run(zone, "dayplan_create", keys=names, args=args)
    if not reply.repeated:
        task = asyncio.create_task(_compute_and_store(engine, zone, plan, world, request.budget_s), name=plan)
        engine.background.add(task)
        task.add_done_callback(engine.background.discard)
    return PlanCreation((await read_stored(engine, reply.values[0].decode())).plan, reply.repeated)


async def read_plan(engine: Engine, caller: Principal, plan: str) -> DayPlan:
    """Return a plan. Raises Forbidden unless the caller is ops, and NotFound."""
    require_role(caller, OPS)
    return (await read_stored(engine, plan)).plan


async def read_stored(engine: Engine, plan: str) -> StoredPlan:
    """Return a plan. If the process that computed it has died, its state is ``failed``. Raises NotFound."""
    zone = zone_of_day_plan(plan)
    if zone is None or zone not in engine.store.zones:
        raise NotFound("No such plan")
    row = await engine.store.command("HMGET", keys.day_plan(zone, plan), *FIELDS)
    day, fixed, state, until, groups, unserved, expires, applied = (value and value.decode() for value in row)
    if day is None:
        raise NotFound("No such plan")
    if state == "computing" and int(until) < now_ms():
        state = "failed"
    found = DayPlan(
        id=plan,
        zone=zone,
        date=day,
        fixed=fixed,
        state=state,
        groups=msgspec.json.decode(groups, type=list[PlanGroup]) if groups else None,
        unserved=msgspec.json.decode(unserved) if unserved else None,
        expires_at=rfc3339_of(int(expires)) if expires else None,
    )
    return StoredPlan(found, frozenset(map(int, (applied or "").split())))


async def change_state(engine: Engine, zone: Zone, plan: str, before: PlanState, after: PlanState) -> None:
    """Move a plan from one state to another, if it still is in that state."""
    await _finish(engine, zone, plan, before, after, b"", b"")


async def _finish(
    engine: Engine, zone: Zone, plan: str, before: PlanState, after: PlanState, groups: bytes, unserved: bytes
) -> None:
    names = {"meta": keys.zone_meta(zone), "plan": keys.day_plan(zone, plan)}
    args: Args = {"from": before, "state": after, "groups": groups, "unserved": unserved}
    await engine.store.run(zone, "dayplan_finish", keys=names, args=args)


async def _compute_and_store(engine: Engine, zone: Zone, plan: str, world: DayWorld, budget_s: float) -> None:
    """Compute a plan and store it. Store the state ``failed`` if the computation raises an error."""
    timezone = timezone_of(engine.settings.zone_areas, zone)
    state: PlanState = "failed"
    groups = unserved = b""
    try:
        groups, unserved = _encode(world, await day_plan_search.search(world, zone, timezone, plan, budget_s))
        state = "ready"
    except Exception:  # the task ends here: an error of any type becomes the state failed
        log.exception("day_plan_failed", plan=plan)
    # the plan stays ``computing`` until ``until``, and counts as failed afterwards
    with contextlib.suppress(CalloutError):
        await _finish(engine, zone, plan, "computing", state, groups, unserved)


def _encode(world: DayWorld, found: PlannedDay) -> tuple[bytes, bytes]:
    """Return the groups and the unserved jobs of a plan as JSON."""
    jobs, who = world.jobs, world.technicians
    groups = [
        PlanGroup(
            [
                PlanMove(
                    jobs[move.job].id,
                    jobs[move.job].version,
                    None if move.origin is None else who[move.origin].id,
                    who[move.target].id,
                    rfc3339_of(jobs[move.job].begins_ms),
                )
                for move in group.moves
            ],
            group.saves_s,
        )
        for group in found.groups
    ]
    return msgspec.json.encode(groups), msgspec.json.encode([jobs[number].id for number in found.unserved])
