"""Ratings: when a job is done, its two sides rate each other, each once.

SQL is the source. The sum of a technician's stars and the number of ratings are part of the profile and change in the
transaction that stores the rating. The mean (engine/rules/rating.py) therefore reaches the record in Redis by the
profile's version, like every other change, and two concurrent ratings end in the state of SQL. The ratings of customers
are stored but shown to nobody: PROTOCOL has a field only for a technician's rating, and an offer contains nothing about
the customer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.domain import job_queries
from engine.errors import Duplicate, IllegalTransition, NotFound
from engine.events import rfc3339_of
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import CREATION_TTL_S, Result
from engine.identity import audit_events, outbox
from engine.rules import job_document
from engine.rules.job_document import JobView
from engine.sql.insert import insert_into
from engine.sql.schema import ratings, technicians
from engine.technicians import sql
from engine.types import JobId, Principal, TechnicianId, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine


class Rating(msgspec.Struct, frozen=True, kw_only=True):
    """A rating of the user ``of`` by the user ``by`` after a job: 1 to 5 stars, and an optional comment."""

    job: JobId
    by: UserId
    of: UserId
    stars: int
    comment: str | None
    at: str


async def rate_job(
    engine: Engine, caller: Principal, job_id: str, stars: int, comment: str | None = None, *, key: str | None = None
) -> Result[Rating]:
    """Rate the other side of a job that is done. Raises NotFound if the caller is neither side, IllegalTransition
    before the job is done, Duplicate if the caller's side has already rated, ReusedKey, and the errors of
    ``Archive.begin_write``.
    """
    job = job_document.decode_job(await job_queries.read_job(engine, caller, job_id))
    of = _other_party(caller, job)
    if job.phase != "done":
        raise IllegalTransition("A job can be rated when it is done")

    async def run_in_transaction(conn: AsyncConnection) -> Rating:
        at = now_ms()
        row = {"job": job.id, "side": caller.role, "by": caller.id, "of": of, "stars": stars, "comment": comment}
        new = insert_into(engine.archive, ratings).values(at=at, **row).on_conflict_do_nothing()
        if (await conn.execute(new)).rowcount != 1:
            raise Duplicate("You have already rated this job")
        actor = audit_events.actor_of(caller)
        await audit_events.add_row(conn, actor, "job_rated", "job", job.id, job=job.id, stars=stars)
        if caller.role == "customer":
            columns = technicians.c
            await sql.update_technician(conn, TechnicianId(of), stars=columns.stars + stars, rated=columns.rated + 1)
            await outbox.add_row(conn, of)
        return Rating(job=job.id, by=caller.id, of=of, stars=stars, comment=comment, at=rfc3339_of(at))

    request = in_sql.new_request(caller.id, key, "rate", job.id, stars, comment, ttl_s=CREATION_TTL_S)
    result = await in_redis.run_once(engine, request, Rating, run_in_transaction)
    if caller.role == "customer":
        with in_sql.unavailable_as_indeterminate():
            await outbox.apply_rows(engine, of)
    return result


def _other_party(caller: Principal, job: JobView) -> UserId:
    """Return the user whom the caller rates. Raises NotFound if the caller is neither side: for a technician to whom
    the job is only offered, the job contains no customer.
    """
    if job.customer is not None and job.technician is not None:
        if caller.role == "customer" and caller.id == job.customer.id:
            return job.technician.id
        if caller.role == "technician" and caller.id == job.technician.id:
            return job.customer.id
    elif job.customer is not None and caller.role == "customer" and caller.id == job.customer.id:
        raise IllegalTransition("Nobody has done this job")
    raise NotFound("No such job")
