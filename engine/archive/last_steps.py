"""Find the steps by which an archived job got its holder and its state. A repeat of such a step gets the same reply as
the first time.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from sqlalchemy import select

from engine.sql.database import Archive
from engine.sql.schema import events
from engine.types import JobId


class LastSteps(NamedTuple):
    """The fields ``claimed`` and ``last`` of a job in Redis. ``claimed`` is ``<seq> <version>`` of the claim by which
    the holder got the job, "" if the job was assigned to them. ``last`` is ``<command> <actor> <seq>`` of the job's
    last step, "" if its last change was not a step.
    """

    claimed: str = ""
    last: str = ""


class _Holder(msgspec.Struct):
    id: str = ""


class _Job(msgspec.Struct):
    version: int = 0
    technician: _Holder | msgspec.UnsetType | None = msgspec.UNSET


class _Data(msgspec.Struct):
    """The members of an event's data that say who holds the job, and why. Some events have only the job's id instead of
    the job.
    """

    job: _Job | str | None = None
    command: str | None = None


_data_decoder = msgspec.json.Decoder(_Data)


async def read_last_steps(archive: Archive, job: JobId) -> LastSteps:
    """Return the last steps of an archived job, if the archive still has their events.

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
