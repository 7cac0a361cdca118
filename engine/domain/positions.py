"""The position of a job's technician, for users who follow the job.

A position always has its age (G6), which is the age of the fix, whichever way it arrives. Only the last position is
stored, in the technician's record in Redis. ``lua/technician_locate.lua`` publishes it to the zone's live channel. A
published position may be lost, since the next one follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import job_queries
from engine.errors import NotFound
from engine.events import iso, ms_of
from engine.idempotency.in_redis import located
from engine.rules import job_document
from engine.store import keys
from engine.technicians import live
from engine.types import JobId, Principal, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

STALE_S = max(30.0, 3.0 * live.FIX_ON_JOB_S)
"""A position older than this is stale: it is where the technician was. 30 s, or three times the interval of fixes
during a job, whichever is longer.
"""

AFTER_MS = 86_400_000
"""How long after the end of a job its parties may see the technician's last position."""
ENDED_PHASES = ("done", "closed")


class Position(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A position in degrees (WGS 84). ``age_s`` is its age in seconds, ``heading`` is in degrees from north,
    ``accuracy`` is a radius in metres. ``jump``: the distance from the fix before is impossible in the time between.
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


class Watched(msgspec.Struct, frozen=True):
    """A job that the technician of a fix holds: its customer, the blueprint that declares the event's audience, its
    state, and its scheduled time (ms since the Unix epoch, 0 for none).
    """

    id: JobId
    bp: str
    customer: UserId
    status: str = ""
    scheduled: int = 0


class PublishedFix(msgspec.Struct, frozen=True, kw_only=True):
    """A fix as the script publishes it. ``at`` is ms since the Unix epoch. ``seq`` is the head of the zone's log at the
    same moment: later events of ``jobs`` are newer than the fix.
    """

    technician: TechnicianId
    lat: float
    lon: float
    at: int
    seq: int
    jobs: list[Watched]
    heading: float | None = None
    accuracy: float | None = None
    jump: bool = False


def position(job: JobId, lat: float, lon: float, at: int, **more: Any) -> Position:
    """The position of a job from a fix of ``at`` (ms), with its age now. ``more`` are the other members."""
    age_s = max(0, now_ms() - at) / 1000
    stale = age_s > STALE_S
    return Position(job=job, lat=lat, lon=lon, at=iso(at), age_s=round(age_s, 1), stale=stale, **more)


def is_shared(blueprint: Blueprint, state: str, scheduled: int | None, at: int) -> bool:
    """Whether the customer may see a fix of ``at`` (ms), for a job that was in ``state`` then and is scheduled for
    ``scheduled`` (ms). Ops and the technician see it in any case. Nobody follows a technician who is offline.
    """
    opens = 0 if not scheduled else scheduled - round(blueprint.track_lead_s * 1000)
    return at >= opens and state in blueprint.states and blueprint.tracks(state)


async def track(engine: Engine, caller: Principal, job_id: str) -> Position | None:
    """The position of a job's technician, or their position when the work ended. The customer sees it only while it is
    shared, and for a day after the end. None if the job has no holder, if no fix is known, or if this process does not
    know the job's blueprint. Raises NotFound if the caller is no party of the job, also if it was offered to them.
    """
    zone, job = located(job_id)
    shown = job_document.view(await job_queries.read(engine, caller, job_id))
    if shown.customer is None:
        raise NotFound("No such job")
    bp, last = await engine.store.command("HMGET", keys.job(zone, job), "bp", "track")
    if shown.technician is None or bp is None:
        return None
    blueprint, holder = engine.blueprints.exactly(bp.decode()), TechnicianId(shown.technician.id)
    if blueprint is None:
        return None
    unrestricted = caller.is_ops or caller.id == holder
    # The set decides, not the job: a job that is over still names its last technician.
    if await engine.store.command("SISMEMBER", keys.technician_jobs(zone, holder), job):
        result, state = await _present(engine, zone, job, holder, unrestricted=unrestricted), shown.status
    else:
        result, state, ended = _last(job, holder, last or b"")
        if not caller.is_ops and now_ms() - ended > AFTER_MS:
            return None
    scheduled = ms_of(shown.scheduled_for) if shown.scheduled_for else None
    if result is None or (not unrestricted and not is_shared(blueprint, state, scheduled, ms_of(result.at))):
        return None
    return result


async def _present(
    engine: Engine, zone: Zone, job: JobId, holder: TechnicianId, *, unrestricted: bool
) -> Position | None:
    """The present position of the holder, unless they are offline."""
    fix = ("lat", "lon", "fix_at", "online", "heading", "acc")
    lat, lon, at, online, heading, acc = await engine.store.command("HMGET", keys.technician(zone, holder), *fix)
    if not lat or not at or (online != b"1" and not unrestricted):
        return None
    known = {"heading": heading, "accuracy": None if acc == b"-" else acc}
    return position(job, float(lat), float(lon), int(at), **{name: float(v) for name, v in known.items() if v})


def _last(job: JobId, holder: TechnicianId, track: bytes) -> tuple[Position | None, str, int]:
    """The holder's position when the work ended, the state of the job before that, and the time of the end (ms), from
    the field that lua/lib/capacity.lua writes.
    """
    technician, *fields = track.decode().split() or [""]
    if technician != holder or len(fields) < 5:
        return None, "", 0
    lat, lon, at, ended, state = fields
    return position(job, float(lat), float(lon), int(at)), state, int(ended)
