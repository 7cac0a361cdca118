"""Slots: the times at which technicians nearby could do some work. A customer chooses one, and books it in a blueprint
with ``reserve = true``.

A slot is an offer, not a promise. The script that creates the job (lua/job_create.lua) decides by the schedules at that
moment. If the slot is taken by then, the booking is refused, and the reply lists other free slots.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from engine.blueprint import registry, wave_plan
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import schedules, services, zones
from engine.domain.technician_schedules import read_hours
from engine.errors import FieldError, Invalid, ScheduleConflict
from engine.events import rfc3339_of
from engine.rules import slots
from engine.rules.slots import GRID_MS, MAX_SPAN_MS, Availability, Slot, Visit, WantedWork
from engine.rules.work_times import check_work_time
from engine.rules.working_hours import is_working, working_check
from engine.store import keys
from engine.technicians.live import check_mappable
from engine.technicians.nearest import find_nearest
from engine.types import Principal, ServiceId, UserId, Zone, is_id

if TYPE_CHECKING:
    from engine.runtime import Engine

MARGIN_MS = 60_000
"""A slot near the present can still be booked so long (ms) after it was shown."""
DAY_MS = 86_400_000
MAX_LEFT = 8
"""How many free slots the refusal of a booking lists: those nearest to the wanted time."""


class SlotQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A request for slots: for work at a place (degrees) that begins from ``first`` to ``last`` (ms since the Unix
    epoch). With ``technician``, only the slots of this technician.
    """

    service: str
    lat: float
    lon: float
    first: int
    last: int
    technician: str | None = None
    blueprint: str | None = None


class Work(msgspec.Struct, frozen=True):
    """The work that a slot is for. ``customer`` is "" if it is not known."""

    zone: Zone
    blueprint: Blueprint
    service: ServiceId
    customer: UserId
    lat: float
    lon: float
    duration_min: int


class FreeSlots(msgspec.Struct, frozen=True):
    """Free slots, and the cursor of the log at which they were free. ``is_possible`` is true if at least one of the
    technicians could do such work at some time.
    """

    slots: list[Slot]
    as_of: dict[Zone, dict[str, str | int]]
    is_possible: bool


async def find_slots(engine: Engine, caller: Principal, query: SlotQuery) -> FreeSlots:
    """Return the slots of a query.

    Raises Invalid for an unknown service, blueprint or technician, for a blocked technician, for an impossible place,
    and for times in the past, in the wrong order or too far apart; OutOfArea, ServiceInactive.
    """
    blueprint = registry.find_named(engine.blueprints, query.blueprint)
    _check_times(query.first, query.last)
    if query.technician is not None and (not blueprint.technician or not is_id(query.technician)):
        why = "" if blueprint.technician else f": customers name nobody for {blueprint.name}"
        raise Invalid(errors=[FieldError("/technician", f"No such technician{why}")])
    service = await services.active_service(engine, ServiceId(query.service))
    check_mappable(query.lat, query.lon)
    zone = zones.zone_of_place(engine, query.lat, query.lon)
    customer = caller.id if caller.role == "customer" else UserId("")
    work = Work(zone, blueprint, service.id, customer, query.lat, query.lon, service.duration_min)
    technicians = await _candidates(engine, work) if query.technician is None else [query.technician]
    free = await free_slots(engine, work, technicians, query.first, query.last)
    if query.technician is not None and not free.is_possible:
        raise Invalid(errors=[FieldError("/technician", "No such technician for this work")])
    return free


def _check_times(first: int, last: int) -> None:
    check_work_time("/from", first, now_ms())
    if last < first:
        raise Invalid(errors=[FieldError("/to", "Not after `from`")])
    if last - first > MAX_SPAN_MS:
        raise Invalid(errors=[FieldError("/to", "Not within 14 days after `from`")])
    check_work_time("/to", last, first)


async def _candidates(engine: Engine, work: Work) -> list[str]:
    """Return the ids of the technicians whose slots are shown. The script that creates the job ranks them and chooses
    one.
    """
    within_m = work.blueprint.dispatch.radius_m or math.inf
    return [*await find_nearest(engine, work.zone, work.service, work.lat, work.lon, within_m=within_m)]


async def free_slots(engine: Engine, work: Work, technicians: list[str], first: int, last: int) -> FreeSlots:
    """Return the slots of these technicians that begin between two times (ms)."""
    duration_ms = work.duration_min * 60_000
    done = await engine.store.read(
        work.zone,
        "slot_list",
        keys={"meta": keys.zone_meta(work.zone)},
        args={
            "service": work.service,
            "customer": work.customer,
            "from": first,
            "to": last + GRID_MS + duration_ms,
            "ids": technicians,
        },
    )
    now, *rows = (value.decode() for value in done.values)
    soon, lead_ms = int(now) + MARGIN_MS, round(work.blueprint.dispatch.lead_s * 1000)
    numbers = schedules.parse_rule(schedules.rule_text(engine, work.zone, work.blueprint))
    hours = await read_hours(engine, rows[::3])
    free = [
        Availability(
            soon + lead_ms if full == "1" else 0,
            _visits(visits) if numbers.exclusive else [],
            working_check(hours.get(name), first, last + GRID_MS + duration_ms),
        )
        for name, full, visits in zip(rows[::3], rows[1::3], rows[2::3], strict=True)
    ]
    wanted = WantedWork(work.lat, work.lon, duration_ms, numbers.longest_gap_ms)
    as_of: dict[str, str | int] = {"epoch": engine.store.zones[work.zone].epoch, "seq": done.seq}
    return FreeSlots(slots.find_slots(wanted, first, last, soon, free), {work.zone: as_of}, bool(free))


def _visits(text: str) -> list[Visit]:
    """Return the visits that lua/slot_list.lua packs into a text."""
    rows = (visit.split(" ") for visit in text.split(",") if visit)
    return [Visit(int(start), int(end), float(lat), float(lon)) for start, end, lat, lon in rows]


async def reservation_text(engine: Engine, work: Work, state: str, scheduled: int | None, preferred: str) -> bytes:
    """Return the text with which the script of a booking for a time (ms) also chooses a technician
    (lua/lib/reservation.lua). It is empty if the blueprint does not reserve, or if the job does not begin in the
    blueprint's first state.
    """
    blueprint = work.blueprint
    if not blueprint.schedule.reserve or scheduled is None or state != blueprint.initial_state:
        return b""
    plan = engine.plans.find_engine_plan(blueprint, state, effect="assign")
    wanted = dict.fromkeys([*([preferred] if preferred else []), *await _candidates(engine, work)])
    hours, end = await read_hours(engine, wanted), scheduled + work.duration_min * 60_000
    candidates = [name for name in wanted if is_working(hours.get(name), scheduled, end)]
    schedule, weights = schedules.rule_text(engine, work.zone, blueprint), wave_plan.weights_text(blueprint.dispatch)
    return "\n".join((schedule, weights, " ".join(candidates), "")).encode() + (plan.plan_json if plan else b"")


async def add_slots(engine: Engine, error: ScheduleConflict, work: Work, scheduled: int) -> ScheduleConflict:
    """Add the free slots nearest to the wanted time to the refusal of a booking."""
    first = max(now_ms(), scheduled - DAY_MS)
    found = await free_slots(engine, work, await _candidates(engine, work), first, scheduled + 3 * DAY_MS)
    nearest = sorted(found.slots, key=lambda slot: abs(slot.start - scheduled))[:MAX_LEFT]
    error.extra["slots"] = [slot_view(slot) for slot in sorted(nearest)]
    return error


def slot_view(slot: Slot) -> dict[str, str | int]:
    """Return a slot as clients see it."""
    return {"from": rfc3339_of(slot.start), "to": rfc3339_of(slot.end), "free": slot.free}
