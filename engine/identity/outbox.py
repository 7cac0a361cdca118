"""The outbox: SQL rows for the changes in Redis that a command on an account or a profile requires. A row is committed
with the command and deleted when its changes are applied.

A command writes its row in the command's transaction, so that neither is committed without the other. Applying a row
writes the account's record by version, appends ``session.revoked`` to ``main``'s log under the row's key (once, however
often this is tried), updates the technician's record, appends ``technician.reviewed`` in the same way, and releases the
technician's jobs if the command requires that. Each of these changes is idempotent, for any process and in any order of
processes. The process that runs the command applies the row before the process replies, and every process looks twice a
second for rows that another process did not apply.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from sqlalchemy import delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.errors import CalloutError
from engine.identity import access, audit_events, payout_events
from engine.identity.log_append import append_event
from engine.process.loops import not_cancelled
from engine.sql.schema import outbox
from engine.technicians import sql
from engine.types import Principal, Role, TechnicianId, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

POLL_INTERVAL_S = 0.5
"""Seconds between two rounds. With 0.5 a revoked user's socket closes within a second of the commit, even if the
committing process died."""
MAX_USERS_PER_ROUND = 500
"""The most users whose rows are applied in one round."""
REVOKED_CODE, ROLE_CHANGED_CODE = 4502, 4006
"""Close codes of ``session.revoked``."""

log = structlog.get_logger(__name__)


async def add_row(
    conn: AsyncConnection,
    user: UserId,
    *,
    code: int | None = None,
    family: str | None = None,
    reassign: bool = False,
    review: bytes | None = None,
    actor: str = "engine",
) -> None:
    """Add a row in the transaction of a command. ``code`` closes the user's sockets with this close code, or only the
    sockets of the login ``family``. ``reassign`` releases the user's jobs, so that the jobs are offered to other
    technicians. ``review`` is the data of a ``technician.reviewed`` event.
    """
    text = review.decode() if review else None
    row = {"user": user, "code": code, "family": family, "reassign": reassign, "review": text, "actor": actor}
    await conn.execute(insert(outbox).values(key=str(uuid.uuid4()), at=now_ms(), **row))


async def apply_rows(engine: Engine, user: UserId) -> None:
    """Make in Redis the changes that the outbox rows of ``user`` require, and delete the rows. After an error the other
    changes are still tried; then the first error is raised, and the rows stay.
    """
    async with engine.archive.begin_read() as conn:
        query = select(outbox).where(outbox.c.user == user).order_by(outbox.c.id)
        rows = (await conn.execute(query)).all()
        if not rows:
            return
        record = await access.read_from_sql(conn, user)
    await access.write_to_redis(engine, record)  # this comes first: from now on every server refuses a suspended user
    steps: list[Callable[[], Awaitable[None]]] = [
        partial(_append_revocation_of_row, engine, row) for row in rows if row.code
    ]
    steps.append(partial(_publish_technician, engine, user, [row for row in rows if row.review]))
    reassignments = [row for row in rows if row.reassign]
    if reassignments and not record.active:
        by = _principal_of_actor(reassignments[-1].actor)
        steps.append(partial(engine.release_jobs, engine, TechnicianId(user), by))
    await _run_every_step(steps)
    async with engine.archive.begin_write() as conn:
        # By key: SQLite gives the id of a deleted row to a later one, which another process may have added meanwhile.
        await conn.execute(delete(outbox).where(outbox.c.key.in_([row.key for row in rows])))


async def try_apply_rows(engine: Engine, user: UserId) -> None:
    """Apply all rows of ``user`` like ``apply_rows``, but log an error instead of raising it: the next round of ``run``
    applies the rows."""
    try:
        await apply_rows(engine, user)
    except CalloutError as error:
        log.warning("outbox_row_waits", user=user, error=str(error))


async def _publish_technician(engine: Engine, user: UserId, reviews: Sequence[Any]) -> None:
    """Write the technician's record, then append the events of their reviews. So a technician who learns of an approval
    can go online at once.
    """
    if not reviews:
        return await sql.publish_to_redis(engine, user)
    await sql.publish_to_redis(engine, user, offline_reason="review", actor=reviews[-1].actor)
    for row in reviews:
        channels, data = f"user:{user} role:managers", row.review.encode()
        await append_event(engine, "technician.reviewed", channels=channels, data=data, actor=row.actor, key=row.key)


def _principal_of_actor(actor: str) -> Principal:
    """Return the principal who ordered the suspension, from a row's ``actor`` (``role:id``)."""
    role, _, name = actor.partition(":")
    named: Role = "admin" if role == "admin" else "ops_manager"
    return Principal(UserId(name), named)


async def _run_every_step(steps: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run every step, also after a failure. Raises the first failure."""
    first: CalloutError | None = None
    for step in steps:
        try:
            await step()
        except CalloutError as error:
            first = first or error
    if first is not None:
        raise first


async def _append_revocation_of_row(engine: Engine, row: Any) -> None:
    await append_revocation(engine, row.user, code=row.code, family=row.family, actor=row.actor, key=row.key)


async def append_revocation(
    engine: Engine, user: UserId, *, code: int, family: str | None = None, actor: str = "engine", key: str
) -> None:
    """Append ``session.revoked`` to ``main``'s log, once for each ``key``. The event has the close code but never the
    reason, which the user must not see.
    """
    data = msgspec.json.encode({"code": code, "family": family} if family else {"code": code})
    await append_event(engine, "session.revoked", channels=f"user:{user}", data=data, actor=actor, key=key)


async def run(engine: Engine) -> None:
    """Apply the waiting outbox rows of all users, and append the ``audit.*`` and ``payout.*`` events that wait, every
    ``POLL_INTERVAL_S`` seconds, until cancelled.
    """
    last_error = ""
    while not_cancelled():
        try:
            await run_once(engine)
            await audit_events.append_waiting(engine)
            await payout_events.append_waiting(engine)
            last_error = ""
        except CalloutError as error:
            if str(error) != last_error:
                log.warning("outbox_waits", error=str(error))
            last_error = str(error)
        except Exception:  # the task must go on after an error of any type
            log.exception("outbox_failed")
        await asyncio.sleep(POLL_INTERVAL_S)


async def run_once(engine: Engine) -> int:
    """Apply the rows of all users. Returns the number of users whose rows were applied. An error for one user
    does not delay the other users.
    """
    query = select(outbox.c.user).group_by(outbox.c.user).order_by(func.min(outbox.c.id)).limit(MAX_USERS_PER_ROUND)
    async with engine.archive.begin_read() as conn:
        waiting = (await conn.execute(query)).scalars().all()
    done = 0
    for user in waiting:
        try:
            await apply_rows(engine, UserId(user))
            done += 1
        except CalloutError as error:
            log.warning("outbox_row_waits", user=user, error=str(error))
        except Exception:  # a bug for one user must not delay the suspension of others
            log.exception("outbox_row_failed", user=user)
    return done
