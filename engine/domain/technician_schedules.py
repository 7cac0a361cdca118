"""The schedule of a technician, and their working hours."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import select

from engine.blueprint.schedule_rule import ScheduleRule
from engine.clock import now_ms
from engine.domain import zones
from engine.errors import Forbidden, Invalid, NotFound
from engine.events import rfc3339_of
from engine.identity import audit_events
from engine.rules.distances import distance_m
from engine.rules.travel import travel_model
from engine.rules.working_hours import WorkingHours
from engine.rules.zone_areas import timezone_of
from engine.sql.insert import insert_into
from engine.sql.technician_tables import technician_hours
from engine.store import keys
from engine.technicians import sql
from engine.types import Principal, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

IDS_PER_QUERY = 500


class Visit(msgspec.Struct, frozen=True):
    """A visit of a technician's schedule. ``starts`` and ``ends`` are in ms since the Unix epoch. ``is_booked`` is
    whether its job has a time.
    """

    zone: Zone
    job: str
    starts: int
    ends: int
    place: tuple[float, float]
    blueprint_key: str
    is_booked: bool


async def read_schedule(engine: Engine, caller: Principal, technician: str) -> dict[str, Any]:
    """Return the visits of a technician in their order, each with the travel time from the visit before (P80) and the
    buffer, in seconds; and their working hours.

    For the technician and ops. Raises Forbidden for other roles, NotFound for another technician.
    """
    name = await _check_technician(engine, caller, technician)
    hours = await read_hours(engine, [name])
    visits = await read_visits(engine, name)
    items = []
    for position, visit in enumerate(visits):
        items.append(_describe_visit(engine, visit, visits[position - 1] if position else None))
    return {"technician": name, "hours": hours.get(name), "visits": items}


async def put_hours(engine: Engine, caller: Principal, technician: str, hours: WorkingHours) -> WorkingHours:
    """Replace the working hours of a technician. Raises Forbidden, NotFound, Invalid."""
    name = await _check_technician(engine, caller, technician)
    if errors := hours.find_errors():
        raise Invalid(errors=errors)
    values = {"technician": name, "changed_at": now_ms(), "doc": msgspec.json.encode(hours).decode()}
    put = insert_into(engine.archive, technician_hours).values(values)
    put = put.on_conflict_do_update(
        index_elements=["technician"], set_={"changed_at": put.excluded.changed_at, "doc": put.excluded.doc}
    )
    async with engine.archive.begin_write() as conn:
        await conn.execute(put)
        await audit_events.add_row(conn, audit_events.actor_of(caller), "hours_changed", "technician", name)
    return hours


async def read_hours(engine: Engine, technicians: Collection[str]) -> dict[str, WorkingHours]:
    """Return the working hours of these technicians. Those without hours are left out: they work at any time."""
    found: dict[str, WorkingHours] = {}
    ids, columns = list(technicians), technician_hours.c
    async with engine.archive.begin_read() as conn:
        for start in range(0, len(ids), IDS_PER_QUERY):
            query = select(columns.technician, columns.doc).where(
                columns.technician.in_(ids[start : start + IDS_PER_QUERY])
            )
            for row in await conn.execute(query):
                found[row.technician] = msgspec.json.decode(row.doc, type=WorkingHours)
    return found


async def read_visits(engine: Engine, technician: TechnicianId) -> list[Visit]:
    """Return the visits of a technician in all open zones, the earliest first."""
    pages = await asyncio.gather(
        *(_read_visits_of_zone(engine, zone, technician) for zone in zones.readable_zones(engine))
    )
    return sorted((visit for page in pages for visit in page), key=lambda visit: (visit.starts, visit.ends))


async def _read_visits_of_zone(engine: Engine, zone: Zone, technician: TechnicianId) -> list[Visit]:
    names = {"meta": keys.zone_meta(zone), "schedule": keys.technician_schedule(zone, technician)}
    visits = []
    for text in (await engine.store.read(zone, "schedule_read", keys=names)).values:
        start, end, job, lat, lon, blueprint, scheduled = text.decode().split(" ")
        place = float(lat), float(lon)
        visits.append(Visit(zone, job, int(start), int(end), place, blueprint, scheduled != "0"))
    return visits


def _describe_visit(engine: Engine, visit: Visit, before: Visit | None) -> dict[str, Any]:
    blueprint = engine.blueprints.by_key.get(visit.blueprint_key)
    rule = blueprint.schedule if blueprint else ScheduleRule()
    item: dict[str, Any] = {
        "job": visit.job,
        "from": rfc3339_of(visit.starts),
        "to": rfc3339_of(visit.ends),
        "booked": visit.is_booked,
        "buffer_s": rule.buffer_s,
    }
    if before is not None:
        model = travel_model(visit.zone, before.ends, timezone_of(engine.settings.zone_areas, visit.zone))
        travel_s = model.travel_time_s(distance_m(*before.place, *visit.place)) * model.high
        item["travel_s"] = round(travel_s)
    return item


async def _check_technician(engine: Engine, caller: Principal, technician: str) -> TechnicianId:
    if not caller.is_ops:
        if caller.role != "technician":
            raise Forbidden("Only technicians and ops may see and change a technician's schedule")
        if caller.id != technician:
            raise NotFound("No such technician")
    return (await sql.read_row(engine, TechnicianId(UserId(technician)))).id
