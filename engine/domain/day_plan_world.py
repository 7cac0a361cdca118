"""Read the input of a day plan: the booked jobs of a date, and the technicians who could do them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import select

from engine.blueprint import registry
from engine.blueprint.schema import Blueprint
from engine.domain.job_queries import LIVE_PAGE_SIZE
from engine.domain.technician_schedules import read_hours
from engine.errors import FieldError, Invalid
from engine.events import ms_of
from engine.rules.day_planning import DayJob, DayTechnician
from engine.rules.working_hours import working_spans
from engine.sql.schema import technicians
from engine.store import keys
from engine.types import JobId, Phase, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_TECHNICIANS, MAX_JOBS = 200, 500
"""The most technicians and jobs of a plan: with more, a few seconds are not enough to find a good one."""
WHOLE_TIME = (0, 2**53)
"""The working time (ms) of a technician who has set no hours."""
DAY_MS, DURATION_MIN = 86_400_000, 60
"""A day in ms. The duration in minutes of a job that an older release booked, which has none of its own."""


class _Party(msgspec.Struct):
    id: UserId


class _JobRow(msgspec.Struct):
    """The members of a live job that a plan needs."""

    id: str
    version: int
    phase: Phase
    status: str
    service: str
    lat: float
    lon: float
    customer: _Party
    technician: _Party | None = None
    scheduled_for: str | None = None
    duration_min: int | None = None
    asked: bool = False
    frozen: bool = False

    @property
    def begins_ms(self) -> int:
        """Return the time of the job (ms); 0 if it has none."""
        return ms_of(self.scheduled_for) if self.scheduled_for else 0


_job_decoder = msgspec.json.Decoder(_JobRow)


class DayWorld(msgspec.Struct, frozen=True):
    """The jobs and the technicians of a day, for the planner."""

    jobs: list[DayJob]
    technicians: list[DayTechnician]


def day_span_ms(day: date, timezone: str) -> tuple[int, int]:
    """Return the begin and the end of a date in a time zone (ms since the Unix epoch)."""
    zone = ZoneInfo(timezone)
    midnights = (datetime.combine(each, time(), zone) for each in (day, day + timedelta(days=1)))
    begin, end = (round(midnight.timestamp() * 1000) for midnight in midnights)
    return begin, end


async def read_world(
    engine: Engine, zone: Zone, span_ms: tuple[int, int], chosen: Sequence[str] | None, fixed: str, now_ms: int
) -> DayWorld:
    """Return the jobs that begin in ``span_ms`` and the technicians: those ``chosen``, or else all of the zone. Jobs of
    the days before and after that the technicians hold are fixed, as are those that have begun and, with ``fixed`` =
    "accepted", those that were accepted.

    Raises Invalid for an unknown technician, and if there are too many technicians or jobs; Unavailable.
    """
    rows = await _read_booked_jobs(engine, zone, span_ms[0] - DAY_MS, span_ms[1] + DAY_MS)
    holders = {row.technician.id for row in rows if row.technician and span_ms[0] <= row.begins_ms < span_ms[1]}
    who = await _read_technicians(engine, zone, chosen, holders, (span_ms[0], span_ms[1] + DAY_MS))
    planned = {technician.id for technician in who}
    mine = [row for row in rows if row.technician is None or row.technician.id in planned]
    blueprints = await _read_blueprints(engine, zone, mine)
    jobs = []
    for row, blueprint in zip(mine, blueprints, strict=True):
        if blueprint is not None and (job := _day_job(row, blueprint, span_ms, fixed, now_ms)):
            jobs.append(job)
    if len(jobs) > MAX_JOBS:
        raise Invalid(errors=[FieldError("/technicians", f"More than {MAX_JOBS} jobs: name fewer technicians")])
    return DayWorld(await _add_barred(engine, zone, jobs, mine), who)


def _day_job(row: _JobRow, blueprint: Blueprint, span_ms: tuple[int, int], fixed: str, now_ms: int) -> DayJob | None:
    """Return a job for the planner. Return None for a job that the planner does not need: it is in no schedule, or it
    has no technician and is of another day, or its blueprint does not let ops assign it.
    """
    in_day = span_ms[0] <= row.begins_ms < span_ms[1]
    may_move = assign_command(blueprint, row.status) is not None and not row.frozen and row.begins_ms > now_ms
    has_begun = row.phase == "active" or (fixed == "accepted" and row.technician is not None and not row.asked)
    is_fixed = not (in_day and may_move) or has_begun
    if not blueprint.schedule.exclusive or (row.technician is None and is_fixed):
        return None
    duration_ms = (row.duration_min or DURATION_MIN) * 60_000
    return DayJob(
        id=row.id,
        version=row.version,
        service=row.service,
        lat=row.lat,
        lon=row.lon,
        begins_ms=row.begins_ms,
        ends_ms=row.begins_ms + duration_ms,
        buffer_ms=round(blueprint.schedule.buffer_s * 1000),
        holder=row.technician.id if row.technician else None,
        fixed=is_fixed,
    )


def assign_command(blueprint: Blueprint, status: str) -> str | None:
    """Return the command with which ops assign a job in this state to a technician; None if the blueprint has none."""
    names = (
        name
        for name, command in blueprint.commands.items()
        if command.effect == "assign" and status in command.from_states(("ops",))
    )
    return next(names, None)


async def _read_booked_jobs(engine: Engine, zone: Zone, after_ms: int, before_ms: int) -> list[_JobRow]:
    """Return the live jobs that are booked for a time between two times (ms)."""
    found: dict[str, _JobRow] = {}
    below = "+inf"
    while True:
        names = {"meta": keys.zone_meta(zone), "index": keys.jobs(zone)}
        args: dict[str, str | int | float | bytes] = {"technician": "", "below": below, "limit": LIVE_PAGE_SIZE}
        done = await engine.store.read(zone, "job_list", keys=names, args=args)
        for document in done.values[1::2]:
            row = _job_decoder.decode(document)
            if after_ms <= row.begins_ms < before_ms and row.phase in ("open", "assigned", "active"):
                found[row.id] = row
        last = done.values[-2].decode() if done.values else below
        if len(done.values) < 2 * LIVE_PAGE_SIZE or last == below:
            return sorted(found.values(), key=lambda row: (row.begins_ms, row.id))
        below = last


async def _read_technicians(
    engine: Engine, zone: Zone, chosen: Sequence[str] | None, holders: Collection[str], span_ms: tuple[int, int]
) -> list[DayTechnician]:
    ids = sorted(await _ids_of_zone(engine, zone) | set(holders)) if chosen is None else list(dict.fromkeys(chosen))
    if len(ids) > MAX_TECHNICIANS:
        raise Invalid(errors=[FieldError("/technicians", f"At most {MAX_TECHNICIANS}: name those to plan for")])
    fields = ("services", "complete", "kyc", "account")
    reads = (engine.store.command("HMGET", keys.technician(zone, TechnicianId(UserId(name))), *fields) for name in ids)
    hours, found, unknown = await read_hours(engine, ids), [], []
    for position, (name, row) in enumerate(zip(ids, await asyncio.gather(*reads), strict=True)):
        services, *states = row
        if services is None:
            unknown.append(FieldError(f"/technicians/{position}", "No such technician in this zone"))
        able = states == [b"1", b"approved", b"approved"]
        known = frozenset((services or b"").decode().split() if able else ())
        works = tuple(working_spans(hours[name], *span_ms)) if name in hours else (WHOLE_TIME,)
        found.append(DayTechnician(name, known, works))
    if unknown and chosen is not None:
        raise Invalid(errors=unknown)
    return found


async def _ids_of_zone(engine: Engine, zone: Zone) -> set[str]:
    """Return the ids of the zone's approved technicians. Raises Unavailable."""
    columns = technicians.c
    query = select(columns.id).where(columns.zone == zone, columns.kyc == "approved", columns.account == "approved")
    async with engine.archive.begin_read() as conn:
        return set((await conn.execute(query.limit(MAX_TECHNICIANS + 1))).scalars())


async def _read_blueprints(engine: Engine, zone: Zone, rows: Sequence[_JobRow]) -> list[Blueprint | None]:
    """Return the blueprint of each job; None for a job that is no longer live."""
    reads = (engine.store.command("HGET", keys.job(zone, JobId(row.id)), "bp") for row in rows)
    found = await asyncio.gather(*reads)
    return [registry.require_version(engine.blueprints, key.decode()) if key else None for key in found]


async def _add_barred(engine: Engine, zone: Zone, jobs: list[DayJob], rows: Sequence[_JobRow]) -> list[DayJob]:
    """Return the jobs with ``barred`` filled in for those that may move. It contains the technicians who may not get
    the job: one of the two blocked the other, or the technician refused the job or held it before.
    """
    customer_of = {row.id: row.customer.id for row in rows}
    movable = [job for job in jobs if not job.fixed]
    blocks = [engine.store.command("SMEMBERS", keys.user_blocks(zone, customer_of[job.id])) for job in movable]
    offers = [engine.store.command("HGETALL", keys.job_offers(zone, JobId(job.id))) for job in movable]
    answers = await asyncio.gather(*blocks, *offers)
    barred: dict[str, frozenset[str]] = {}
    for job, blocked, offered in zip(movable, answers[: len(movable)], answers[len(movable) :], strict=True):
        answers_of = zip(offered[::2], offered[1::2], strict=True)
        refused = {name for name, text in answers_of if text.startswith((b"rejected ", b"left "))}
        barred[job.id] = frozenset(name.decode() for name in {*blocked, *refused})
    return [msgspec.structs.replace(job, barred=barred.get(job.id, frozenset())) for job in jobs]
