"""Append the ``payout.*`` events to the log of the zone ``main``.

A command on a payout inserts a row in ``payout_events`` in its own SQL transaction, so that neither is committed
without the other. The row waits until the archiver has the event: the archiver writes the payout's entry in the ledger
and the seq of the event in the row, in one transaction. Until then the event is appended again under its key, which
Redis treats as a repeat. Therefore an event that Redis has lost is appended again. An event that the log contains twice
gives one entry of the ledger, because the payout and its status are the cause of the entry.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.errors import CalloutError
from engine.events import rfc3339_of
from engine.identity.log_append import append_event
from engine.rules.ledger import PayoutStatus
from engine.sql.ledger_tables import payout_events, payouts

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_ROWS_PER_ROUND = 500

log = structlog.get_logger(__name__)


class Payout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A payout to a technician: ``amount`` is in minor units, ``at`` the time of the request (RFC 3339)."""

    id: str
    technician: str
    amount: int
    currency: str
    reference: str
    status: PayoutStatus
    at: str
    test: bool = False
    """The adapter `test` has paid it: no money has moved."""


def payout_of_row(row: Any) -> Payout:
    """Return the payout of a row of ``payouts``."""
    return Payout(
        id=row.id,
        technician=row.technician,
        amount=row.amount,
        currency=row.currency,
        reference=row.reference,
        status=row.status,
        at=rfc3339_of(row.created_at),
        test=row.test,
    )


async def add_row(conn: AsyncConnection, payout: str, status: PayoutStatus, actor: str) -> None:
    """Add the event ``payout.<status>`` in the transaction of a command."""
    row = {"key": str(uuid.uuid4()), "payout": payout, "status": status, "actor": actor, "at": now_ms()}
    await conn.execute(insert(payout_events).values(**row))


async def append_waiting(engine: Engine) -> int:
    """Append the events that are not archived yet, in the order of their commands. Return their number. Raises the
    errors of ``Store.run``: what was not appended waits for the next round.
    """
    columns = payout_events.c
    query = (
        select(columns.key, columns.status.label("told"), columns.actor, payouts)
        .select_from(payout_events.join(payouts, payouts.c.id == columns.payout))
        .where(columns.seq.is_(None))
        .order_by(columns.id)
        .limit(MAX_ROWS_PER_ROUND)
    )
    async with engine.archive.begin_read() as conn:
        rows = (await conn.execute(query)).all()
    for row in rows:
        payout = msgspec.structs.replace(payout_of_row(row), status=row.told)
        data, channels = msgspec.json.encode({"payout": payout}), f"user:{payout.technician} role:ops role:service"
        await append_event(engine, f"payout.{row.told}", channels=channels, data=data, actor=row.actor, key=row.key)
    return len(rows)


async def try_append_waiting(engine: Engine) -> None:
    """Append the waiting events like ``append_waiting``, but log an error instead of raising it."""
    try:
        await asyncio.shield(append_waiting(engine))
    except CalloutError as error:
        log.warning("payout_event_waits", error=str(error))
