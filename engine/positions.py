"""Where the technician of a job is, for those who follow it.

A position always carries its age (G6): it is as old as the fix, whatever way it came. Kept is the last one alone, in
the technician's hot record; on its way to who watches live it may be lost (``lua/technician_locate.lua`` publishes it
to the zone's live channel), since the next one follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine import board, technicians
from engine.clock import now_ms
from engine.errors import NotFound
from engine.events import iso
from engine.requests import located
from engine.store import keys
from engine.types import JobId, Principal, TechnicianId, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

STALE_S = max(30.0, 3.0 * technicians.FIX_ON_JOB_S)
"""Older than this, a position says where they were and not where they are: 30 s, or three of the intervals that an app
on a job is told, whichever is longer.
"""


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
    """A job that the technician of a fix holds: whose it is, and the blueprint that names what is told of it."""

    id: JobId
    bp: str
    customer: UserId


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
    customer: _Person | None = None
    technician: _Person | None = None


_job = msgspec.json.Decoder(_Job)


def position(job: JobId, lat: float, lon: float, at: int, **more: Any) -> Position:
    """A fix of ``at`` (ms) as it is told of a job now; ``more`` are the other members."""
    age_s = max(0, now_ms() - at) / 1000
    stale = age_s > STALE_S
    return Position(job=job, lat=lat, lon=lon, at=iso(at), age_s=round(age_s, 1), stale=stale, **more)


async def track(engine: Engine, caller: Principal, job_id: str) -> Position | None:
    """Where the technician of a job is now; None where nobody holds it, or he has sent no fix. Raises NotFound for
    strangers, and for who was only offered the job.
    """
    zone, job = located(job_id)
    shown = _job.decode(await board.read(engine, caller, job_id))
    if shown.customer is None:
        raise NotFound("No such job")
    if shown.technician is None:
        return None
    holder = TechnicianId(UserId(shown.technician.id))
    # The set and not the job: a job that is over keeps the name of who did it.
    if not await engine.store.command("SISMEMBER", keys.technician_jobs(zone, holder), job):
        return None
    fix = ("lat", "lon", "fix_at", "heading", "acc")
    lat, lon, at, heading, accuracy = await engine.store.command("HMGET", keys.technician(zone, holder), *fix)
    if not lat or not at:
        return None
    known = {"heading": heading, "accuracy": None if accuracy == b"-" else accuracy}
    return position(job, float(lat), float(lon), int(at), **{name: float(v) for name, v in known.items() if v})
