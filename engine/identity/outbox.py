"""What a command on an account or a profile still owes to Redis: rows of SQL, committed with the command, done and then
deleted.

A command writes its row in its own transaction, so that neither is there without the other. Then the account's record
is put by version, ``session.revoked`` is appended to ``main``'s log under the row's key (once, however often it is
tried), the technician's record follows, a review is told in the same way as a revocation, and held jobs are handed over
where that was ordered. All of it may be done again, by any process, in any order of processes: the one that ran the
command does it before it answers, and every process looks twice a second for what another left undone.
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
from engine.domain import reassign as handover
from engine.errors import CalloutError
from engine.identity import access
from engine.process.loops import not_cancelled
from engine.sql.schema import outbox
from engine.store import keys
from engine.store.scripts import Args
from engine.technicians import sql
from engine.types import DEFAULT_ZONE, TechnicianId, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

EVERY_S = 0.5
"""A live socket ends within a second of the commit, also where the process that committed is gone."""
MOST = 500
"""Users looked after in one round."""
REVOKED, ROLE_CHANGED = 4502, 4006
"""Close codes of ``session.revoked``."""
PRINCIPAL = UserId("outbox")
"""Under whose name ``main`` remembers which rows were told."""

log = structlog.get_logger(__name__)


async def add(
    conn: AsyncConnection,
    user: UserId,
    *,
    code: int | None = None,
    family: str | None = None,
    reassign: bool = False,
    review: bytes | None = None,
    actor: str = "engine",
) -> None:
    """In the transaction of a command: what Redis and the gateways are to learn of it. ``code`` closes the user's
    sockets, those of one login where ``family`` names it; ``reassign`` has what they hold offered to others;
    ``review`` is told as ``technician.reviewed``.
    """
    told = review.decode() if review else None
    row = {"user": user, "code": code, "family": family, "reassign": reassign, "review": told, "actor": actor}
    await conn.execute(insert(outbox).values(key=str(uuid.uuid4()), at=now_ms(), **row))


async def finish(engine: Engine, user: UserId) -> None:
    """Do everything that is owed for ``user``. Raises the first failure after all was tried: the rows stay then."""
    async with engine.archive.reading() as conn:
        query = select(outbox).where(outbox.c.user == user).order_by(outbox.c.id)
        rows = (await conn.execute(query)).all()
        if not rows:
            return
        record = await access.read(conn, user)
    await access.put(engine, record)  # first: it shuts every door
    steps: list[Callable[[], Awaitable[None]]] = [partial(_tell, engine, row) for row in rows if row.code]
    steps.append(partial(_publish, engine, user, [row for row in rows if row.review]))
    ordered = [row for row in rows if row.reassign]
    if ordered and not record.active:
        by = handover.orderer(ordered[-1].actor)
        steps.append(partial(handover.hand_over, engine, TechnicianId(user), by))
    await _all(steps)
    async with engine.archive.writing() as conn:
        await conn.execute(delete(outbox).where(outbox.c.id.in_([row.id for row in rows])))


async def finish_soon(engine: Engine, user: UserId) -> None:
    """The same where nobody waits for it: what fails now is done at the next look."""
    try:
        await finish(engine, user)
    except CalloutError as error:
        log.warning("outbox_row_waits", user=user, error=str(error))


async def _publish(engine: Engine, user: UserId, reviews: Sequence[Any]) -> None:
    """Put the technician's record, and tell of the reviews once it is there: who is approved may go online at once."""
    if not reviews:
        return await sql.publish(engine, user)
    await sql.publish(engine, user, why="review", actor=reviews[-1].actor)
    for row in reviews:
        told, data = f"user:{user} role:managers", row.review.encode()
        await _append(engine, "technician.reviewed", told=told, data=data, actor=row.actor, key=row.key)


async def _all(steps: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """One that fails keeps none of the others from being done. Raises the first failure."""
    failed: CalloutError | None = None
    for step in steps:
        try:
            await step()
        except CalloutError as error:
            failed = failed or error
    if failed is not None:
        raise failed


async def _tell(engine: Engine, row: Any) -> None:
    await tell(engine, row.user, code=row.code, family=row.family, actor=row.actor, key=row.key)


async def tell(
    engine: Engine, user: UserId, *, code: int, family: str | None = None, actor: str = "engine", key: str
) -> None:
    """Append ``session.revoked`` to ``main``'s log, once for each ``key``. It says who and which close code: never
    why, which is not for the person.
    """
    data = msgspec.json.encode({"code": code, "family": family} if family else {"code": code})
    await _append(engine, "session.revoked", told=f"user:{user}", data=data, actor=actor, key=key)


async def _append(engine: Engine, kind: str, *, told: str, data: bytes, actor: str, key: str) -> None:
    zone = DEFAULT_ZONE
    names = {"meta": keys.meta(zone), "log": keys.log(zone), "req": keys.request(zone, PRINCIPAL, key)}
    event: Args = {"kind": kind, "channels": told, "data": data, "trace": "", "bp": ""}
    args: Args = {**event, "actor": actor, "key": key, "fingerprint": "outbox"}
    await engine.store.run(zone, "event_append", keys=names, args=args)


async def run(engine: Engine) -> None:
    """Look every ``EVERY_S`` for what is owed, for ever."""
    away = ""
    while not_cancelled():
        try:
            await run_once(engine)
            away = ""
        except CalloutError as error:
            if str(error) != away:
                log.warning("outbox_waits", error=str(error))
            away = str(error)
        except Exception:  # the task's boundary
            log.exception("outbox_failed")
        await asyncio.sleep(EVERY_S)


async def run_once(engine: Engine) -> int:
    """Finish what is owed for whom; returns for how many it was done. One who fails keeps no other waiting."""
    query = select(outbox.c.user).group_by(outbox.c.user).order_by(func.min(outbox.c.id)).limit(MOST)
    async with engine.archive.reading() as conn:
        waiting = (await conn.execute(query)).scalars().all()
    done = 0
    for user in waiting:
        try:
            await finish(engine, UserId(user))
            done += 1
        except CalloutError as error:
            log.warning("outbox_row_waits", user=user, error=str(error))
        except Exception:  # a bug must not keep the others' suspensions from their effect
            log.exception("outbox_row_failed", user=user)
    return done
