"""The position of a job's technician, for users who follow the job.

A position always has an age (guarantee G6 of docs/design.md): the age of the fix, whether the position is read or
received as an event. Only the last position is stored, in the technician's record in Redis.
``lua/technician_locate.lua`` publishes it to the zone's live channel. A published position may be lost, since the next
one follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import arrivals, job_queries
from engine.errors import NotFound
from engine.events import ms_of, rfc3339_of
from engine.idempotency.in_redis import parse_job_id
from engine.rules import job_document
from engine.rules.fixes import ON_JOB_RATE, parse_fix_rate
from engine.store import keys
from engine.types import JobId, Principal, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

MIN_STALE_S, STALE_INTERVALS = 30.0, 3
"""A position is stale if it is older than this and older than so many intervals of the app's present rate: the
technician may have moved since.
"""

VISIBLE_AFTER_END_MS = 86_400_000
"""How long after the end of a job the customer and the technician may see the technician's last position."""
ENDED_PHASES = ("done", "closed")


class JobPosition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The position of a technician in degrees (WGS 84). ``age_s`` is the position's age in seconds, ``heading`` is in
    degrees from north, ``accuracy`` is a radius in metres. ``jump`` is true if the technician cannot have moved that
    far since the previous fix. ``eta_s`` and the following are the estimated arrival, if the technician is on the way
    (engine/rules/travel.py).
    """

    job: JobId
    lat: float
    lon: float
    at: str
    age_s: float
    stale: bool
    heading: float | None = None
    accuracy: float | None = None
    jump: bool = False
    eta_s: int | None = None
    arrives_at: str | None = None
    low: str | None = None
    high: str | None = None
    source: str | None = None


class WatchedJob(msgspec.Struct, frozen=True):
    """A job whose technician sent a fix: the job's customer, the blueprint that declares the event's audience, the
    job's state, the job's scheduled time (ms since the Unix epoch; 0 = not scheduled) and place. ``arrived``: the
    technician is there (lua/lib/arrival.lua).
    """

    id: JobId
    bp: str
    customer: UserId
    status: str = ""
    scheduled: int = 0
    lat: float | None = None
    lon: float | None = None
    arrived: bool = False


class PublishedFix(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="fix"):
    """A technician's fix, as lua/technician_locate.lua publishes it to gateways. ``at`` is ms since the Unix epoch.
    ``seq`` is the head of the zone's log at the same moment: later events of ``jobs`` are newer than the fix.
    ``every_s`` is the interval (s) at which the server last asked the app to send a fix.
    """

    technician: TechnicianId
    lat: float
    lon: float
    at: int
    seq: int
    jobs: list[WatchedJob]
    heading: float | None = None
    accuracy: float | None = None
    jump: bool = False
    every_s: int = ON_JOB_RATE.every_s


class PublishedRate(msgspec.Struct, frozen=True, tag_field="kind", tag="rate"):
    """A change of how often a technician's app is to send a fix, as the scripts publish it (lua/lib/fix_rate.lua)."""

    technician: TechnicianId
    every_s: int
    distance_m: int


def stale_after_s(every_s: float) -> float:
    """Return the age (s) from which a position is stale, if the app has to send a fix every ``every_s`` seconds."""
    return max(MIN_STALE_S, STALE_INTERVALS * every_s)


def position_of_fix(job: JobId, lat: float, lon: float, at: int, every_s: float, **more: Any) -> JobPosition:
    """Return the position for a job from a fix that was measured at ``at`` (ms), with its present age. ``every_s`` is
    the interval (s) of the app's fixes; ``more`` are the other members.
    """
    age_s = max(0, now_ms() - at) / 1000
    stale = age_s > stale_after_s(every_s)
    return JobPosition(job=job, lat=lat, lon=lon, at=rfc3339_of(at), age_s=round(age_s, 1), stale=stale, **more)


def with_arrival(
    engine: Engine,
    position: JobPosition,
    blueprint: Blueprint,
    zone: Zone,
    state: str,
    place: tuple[float, float],
    *,
    arrived: bool,
) -> JobPosition:
    """Return the position of a job in ``state`` with the estimated arrival at ``place`` (latitude, longitude). A stale
    position, and one of a technician who is not on the way, is returned unchanged.
    """
    if position.stale or not blueprint.is_on_the_way(state):
        return position
    here = (position.lat, position.lon)
    members = arrivals.arrival_members(engine, zone, here, ms_of(position.at), place, arrived=arrived)
    return msgspec.structs.replace(position, **members)


def is_shared_with_customer(blueprint: Blueprint, state: str, scheduled: int | None, at: int) -> bool:
    """Return whether the customer may see a fix that was measured at ``at`` (ms), for a job that was in ``state`` then
    and is scheduled for ``scheduled`` (ms). Ops and the technician may see the fix in any case. Nobody receives
    positions of a technician who is offline.
    """
    opens = 0 if not scheduled else scheduled - round(blueprint.track_lead_s * 1000)
    return at >= opens and state in blueprint.states and blueprint.is_tracked(state)


class JobTrack(NamedTuple):
    """What a caller may see of the movements of a job's technician: the position, and the technician whose path on the
    job they may see. None for what they may not see, or what is unknown.
    """

    zone: Zone
    job: JobId
    position: JobPosition | None = None
    technician: TechnicianId | None = None


async def read_position(engine: Engine, caller: Principal, job_id: str) -> JobPosition | None:
    """Return the position of a job's technician, or their position when the work ended, if the caller may see it."""
    return (await read_track(engine, caller, job_id)).position


async def read_track(engine: Engine, caller: Principal, job_id: str) -> JobTrack:
    """Return the position of a job's technician, or their position when the work ended, and whose path may be seen. The
    customer may see both only while the position is shared, and for a day after the end; ops as long as they are
    stored. There is nothing if the job has no holder, or if this process has not loaded the job's blueprint. Raises
    NotFound if the caller is no party of the job, also if the job was offered to them.
    """
    zone, job = parse_job_id(job_id)
    shown = job_document.decode_job(await job_queries.read_job(engine, caller, job_id))
    if shown.customer is None:
        raise NotFound("No such job")
    if shown.technician is None:
        return JobTrack(zone, job)
    holder = TechnicianId(shown.technician.id)
    bp, last, *place = await engine.store.command("HMGET", keys.job(zone, job), "bp", "track", "lat", "lon", "arrival")
    if bp is None:  # only SQL has the job
        return JobTrack(zone, job, None, holder if caller.is_ops else None)
    blueprint = engine.blueprints.find_exact(bp.decode())
    if blueprint is None:
        return JobTrack(zone, job)
    scheduled = ms_of(shown.scheduled_for) if shown.scheduled_for else None
    # The technician's set of jobs decides, not the job's record: the record of a job that has ended still contains its
    # last technician.
    if await engine.store.command("SISMEMBER", keys.technician_jobs(zone, holder), job):
        position, online = await _position_and_online(engine, zone, job, holder)
        state, seen_until, allowed = shown.status, now_ms(), online
        if position is not None:
            position = await _read_arrival(engine, position, blueprint, zone, state, holder, place)
    else:
        position, state, seen_until = _position_at_end(job, holder, last or b"")
        allowed = now_ms() - seen_until <= VISIBLE_AFTER_END_MS
        if not allowed and not caller.is_ops:
            return JobTrack(zone, job)

    def may_see(at: int) -> bool:
        unrestricted = caller.is_ops or caller.id == holder
        return unrestricted or (allowed and is_shared_with_customer(blueprint, state, scheduled, at))

    shared = position if position is not None and may_see(ms_of(position.at)) else None
    return JobTrack(zone, job, shared, holder if may_see(seen_until) else None)


async def _read_arrival(
    engine: Engine,
    position: JobPosition,
    blueprint: Blueprint,
    zone: Zone,
    state: str,
    holder: TechnicianId,
    record: list[bytes | None],
) -> JobPosition:
    """Return the position with the estimated arrival. A router is asked first. ``record`` are the job's fields ``lat
    lon arrival``.
    """
    lat, lon, arrival = record
    if not lat or not lon:
        return position
    arrived = (arrival or b"").split()[:2] == [holder.encode(), b"there"]  # lua/lib/arrival.lua packs the value
    place = (float(lat), float(lon))
    if not (position.stale or arrived) and blueprint.is_on_the_way(state):
        await engine.road_times.ask_for([(position.lat, position.lon)], [place], ms_of(position.at))
    return with_arrival(engine, position, blueprint, zone, state, place, arrived=arrived)


async def _position_and_online(
    engine: Engine, zone: Zone, job: JobId, holder: TechnicianId
) -> tuple[JobPosition | None, bool]:
    """Return the present position of the holder (None if unknown), and whether they are online."""
    fix = ("lat", "lon", "fix_at", "online", "load", "rate", "heading", "acc")
    row = await engine.store.command("HMGET", keys.technician(zone, holder), *fix)
    lat, lon, at, online, load, rate, heading, acc = row
    if not lat or not at:
        return None, online == b"1"
    known = {"heading": heading, "accuracy": None if acc == b"-" else acc}
    every_s, more = parse_fix_rate(rate, int(load)).every_s, {name: float(v) for name, v in known.items() if v}
    return position_of_fix(job, float(lat), float(lon), int(at), every_s, **more), online == b"1"


def _position_at_end(job: JobId, holder: TechnicianId, track: bytes) -> tuple[JobPosition | None, str, int]:
    """Return the holder's position when the work ended, the state of the job before the end, and the time of the end
    (ms). ``track`` is the job's field in Redis that lua/lib/capacity.lua writes.
    """
    technician, *fields = track.decode().split() or [""]
    if technician != holder or len(fields) < 5:
        return None, "", 0
    lat, lon, at, ended, state = fields
    return position_of_fix(job, float(lat), float(lon), int(at), ON_JOB_RATE.every_s), state, int(ended)
