"""Where the technician of a job is, for those who follow it.

A position always carries its age (G6): it is as old as the fix, whatever way it came. Kept is the last one alone, in
the technician's hot record; on its way to who watches live it may be lost (``lua/technician_locate.lua`` publishes it
to the zone's live channel), since the next one follows.
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
from engine.store import keys
from engine.technicians import live
from engine.types import JobId, Principal, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

STALE_S = max(30.0, 3.0 * live.FIX_ON_JOB_S)
"""Older than this, a position says where they were and not where they are: 30 s, or three of the intervals that an app
on a job is told, whichever is longer.
"""

AFTER_MS = 86_400_000
"""How long after the end of a job its parties may see where it was."""
OVER = ("done", "closed")


class Position(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Degrees (WGS 84); ``age_s`` is how long ago they were there, ``heading`` degrees from north, ``accuracy`` the
    radius in metres; ``jump``: they came there faster than anybody can.
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
    """A job that the technician of a fix holds: whose it is, the blueprint that names what is told of it, its state,
    and the time it is for (ms, 0: none).
    """

    id: JobId
    bp: str
    customer: UserId
    status: str = ""
    scheduled: int = 0


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A fix as it is published. ``at`` is ms since the Unix epoch, ``seq`` the head of the zone's log at that
    instant: what the log tells later of one of ``jobs`` is newer than this.
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


class _Person(msgspec.Struct):
    id: str


class _Job(msgspec.Struct):
    status: str
    customer: _Person | None = None
    technician: _Person | None = None
    scheduled_for: str | None = None


_job = msgspec.json.Decoder(_Job)


def position(job: JobId, lat: float, lon: float, at: int, **more: Any) -> Position:
    """A fix of ``at`` (ms) as it is told of a job now; ``more`` are the other members."""
    age_s = max(0, now_ms() - at) / 1000
    stale = age_s > STALE_S
    return Position(job=job, lat=lat, lon=lon, at=iso(at), age_s=round(age_s, 1), stale=stale, **more)


def is_shared(blueprint: Blueprint, state: str, scheduled: int | None, at: int) -> bool:
    """Whether a fix of ``at`` (ms) is for the customer to see: of a job that was in ``state`` then, and is to be
    done at ``scheduled`` (ms). Ops and the technician see it in any case; nobody follows a technician who is offline.
    """
    opens = 0 if not scheduled else scheduled - round(blueprint.track_lead_s * 1000)
    return at >= opens and state in blueprint.states and blueprint.tracks(state)


async def track(engine: Engine, caller: Principal, job_id: str) -> Position | None:
    """Where the technician of a job is, or was when the work ended: for its customer only while that is shared, and a
    day after the end. None where nobody holds it, no fix is known, or the job's blueprint is not known here. Raises
    NotFound for strangers, and for who was only offered the job.
    """
    zone, job = located(job_id)
    shown = _job.decode(await job_queries.read(engine, caller, job_id))
    if shown.customer is None:
        raise NotFound("No such job")
    bp, last = await engine.store.command("HMGET", keys.job(zone, job), "bp", "track")
    if shown.technician is None or bp is None:
        return None
    blueprint, holder = engine.blueprints.exactly(bp.decode()), TechnicianId(UserId(shown.technician.id))
    if blueprint is None:
        return None
    freely = caller.is_ops or caller.id == holder
    # The set and not the job: a job that is over keeps the name of who did it.
    if await engine.store.command("SISMEMBER", keys.technician_jobs(zone, holder), job):
        found, state = await _present(engine, zone, job, holder, freely=freely), shown.status
    else:
        found, state, ended = _last(job, holder, last or b"")
        if not caller.is_ops and now_ms() - ended > AFTER_MS:
            return None
    scheduled = ms_of(shown.scheduled_for) if shown.scheduled_for else None
    if found is None or (not freely and not is_shared(blueprint, state, scheduled, ms_of(found.at))):
        return None
    return found


async def _present(engine: Engine, zone: Zone, job: JobId, holder: TechnicianId, *, freely: bool) -> Position | None:
    """Where the holder is now, unless they are offline."""
    fix = ("lat", "lon", "fix_at", "online", "heading", "acc")
    lat, lon, at, online, heading, acc = await engine.store.command("HMGET", keys.technician(zone, holder), *fix)
    if not lat or not at or (online != b"1" and not freely):
        return None
    known = {"heading": heading, "accuracy": None if acc == b"-" else acc}
    return position(job, float(lat), float(lon), int(at), **{name: float(v) for name, v in known.items() if v})


def _last(job: JobId, holder: TechnicianId, track: bytes) -> tuple[Position | None, str, int]:
    """Where the holder was when the work was over, in which state it was until then, and when that was (ms): as
    lua/lib/capacity.lua keeps it.
    """
    who, *kept = track.decode().split() or [""]
    if who != holder or len(kept) < 5:
        return None, "", 0
    lat, lon, at, ended, state = kept
    return position(job, float(lat), float(lon), int(at)), state, int(ended)
