"""How an archived job came to its holder and to its state. A repeat of either step gets the same reply as the first."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from sqlalchemy import select

from engine.sql.database import Archive
from engine.sql.schema import events
from engine.types import JobId


class LastSteps(NamedTuple):
    """The fields ``claimed`` and ``last`` of a job in Redis: ``<seq> <version>`` of the claim by which its holder came
    to hold it, and ``<command> <actor> <seq>`` of its last step. "" if there was none: somebody gave them the job, or
    something else than a step changed it last.
    """

    claimed: str = ""
    last: str = ""


class _Holder(msgspec.Struct):
    id: str = ""


class _Job(msgspec.Struct):
    version: int = 0
    technician: _Holder | msgspec.UnsetType | None = msgspec.UNSET


class _Data(msgspec.Struct):
    """The members of an event's data that say who holds the job, and why. Some have the job's id in its place."""

    job: _Job | str | None = None
    command: str | None = None


_data_decoder = msgspec.json.Decoder(_Data)


async def read_last_steps(archive: Archive, job: JobId) -> LastSteps:
    """Return the steps of an archived job that a repeat asks for, as far as the archive still has their events.

    Raises Unavailable.
    """
    columns = events.c
    query = select(columns.seq, columns.actor, columns.data).where(columns.job == job).order_by(columns.seq)
    async with archive.begin_read() as conn:
        rows = (await conn.execute(query)).all()
    found, holder, version = LastSteps(), "", 0
    for seq, actor, text in rows:
        data = _data_decoder.decode(text)
        if not isinstance(data.job, _Job) or data.job.version <= version:
            continue
        version = data.job.version
        found = found._replace(last=f"{data.command} {actor} {seq}" if data.command else "")
        if isinstance(data.job.technician, msgspec.UnsetType):
            continue
        before, holder = holder, data.job.technician.id if data.job.technician else ""
        if holder != before:
            found = found._replace(claimed=f"{seq} {version}" if actor == f"technician:{holder}" else "")
    return found
