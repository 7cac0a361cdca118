"""Reading the bids of a job: from Redis as long as Redis has the job, later from SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from engine.domain import job_queries
from engine.domain.job_queries import Page
from engine.errors import NotFound
from engine.idempotency.in_redis import parse_job_id
from engine.rules import sort_keys
from engine.sql.schema import bids as bid_rows
from engine.store import keys
from engine.types import JobId, Principal

if TYPE_CHECKING:
    from engine.runtime import Engine


async def find_bids(engine: Engine, caller: Principal, job_id: str) -> Page:
    """Return the bids for a job, the earliest first. A technician receives only their own bid; all others who may see
    the job receive all bids.

    Raises NotFound if there is no such job or the caller may not see it.
    """
    zone, job = parse_job_id(job_id)
    await job_queries.read_job(engine, caller, job_id)
    own = caller.id if caller.role == "technician" else ""
    try:
        names = {"meta": keys.zone_meta(zone), "job": keys.job(zone, job), "bids": keys.job_bids(zone, job)}
        done = await engine.store.read(zone, "bid_list", keys=names, args={"technician": own})
    except NotFound:
        return Page(await _archived_bids(engine, job, own), None)
    as_of: dict[str, str | int] = {"epoch": engine.store.zones[zone].epoch, "seq": done.seq}
    return Page(sorted(done.values, key=sort_keys.creation_key), None, {zone: as_of})


async def _archived_bids(engine: Engine, job: JobId, technician: str) -> list[bytes]:
    query = select(bid_rows.c.doc).where(bid_rows.c.job == job)
    if technician:
        query = query.where(bid_rows.c.technician == technician)
    async with engine.archive.begin_read() as conn:
        docs = (await conn.execute(query.order_by(bid_rows.c.created_at, bid_rows.c.id))).scalars()
    return [doc.encode() for doc in docs]
