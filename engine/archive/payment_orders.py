"""The requested payments and payouts in SQL that a payment adapter still has to process.

The requests are read from the *archived* log, because a failover of Redis can still lose an event that is not archived.
A request is stored in the transaction that moves the cursor. Therefore each request is stored exactly once, even if a
process dies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import delete, func, select, update

from engine.archive import reader
from engine.rules.event_payloads import EventPayment
from engine.sql.database import Archive
from engine.sql.insert import insert_into
from engine.sql.payment_tables import payment_cursors, payment_orders
from engine.sql.schema import events
from engine.types import JobId, Zone

PAYOUT_PREFIX = "pyt_"
REQUESTS = ("payment.requested", "payout.requested")
PAGE_EVENTS = 200
MAX_DUE = 64

_columns, _cursor = payment_orders.c, payment_cursors.c


class StoredOrder(NamedTuple):
    """A requested payment or payout that waits. ``document`` is its JSON in the event ``seq``. ``job`` is the payment's
    job, or the payout's technician. ``attempts`` is the number of requests to the provider that had no answer.
    """

    id: str
    zone: Zone
    seq: int
    job: JobId
    document: str
    attempts: int

    @property
    def is_payout(self) -> bool:
        """Whether the order pays a technician."""
        return self.id.startswith(PAYOUT_PREFIX)

    @property
    def payment(self) -> EventPayment:
        """Return the payment of this order. Call this only if the order is not a payout."""
        return _payment_decoder.decode(self.document)

    @property
    def payout(self) -> OrderedPayout:
        """Return the payout of this order. Call this only if the order is a payout."""
        return _payout_decoder.decode(self.document)


class OrderedPayout(msgspec.Struct, frozen=True):
    """The members of the payout in ``payout.requested`` that a provider needs."""

    id: str
    technician: str
    amount: int
    currency: str


class _RequestData(msgspec.Struct):
    payment: msgspec.Raw = msgspec.Raw(b"")
    payout: msgspec.Raw = msgspec.Raw(b"")


_data_decoder = msgspec.json.Decoder(_RequestData)
_payment_decoder = msgspec.json.Decoder(EventPayment)
_payout_decoder = msgspec.json.Decoder(OrderedPayout)


async def take_requests(archive: Archive, zone: Zone, now: int) -> bool:
    """Store the requests that were archived since the last call. Return whether there may be more. The first call
    starts at the end of the log, because an outside service got the earlier requests. Raises Unavailable.
    """
    checkpoint = await reader.checkpoint(archive, zone)
    async with archive.begin_read() as conn:
        begin = (await conn.execute(select(_cursor.seq).where(_cursor.zone == zone))).scalar_one_or_none()
    end = checkpoint.seq if checkpoint else 0
    if begin is None:
        async with archive.begin_write() as conn:
            new = insert_into(archive, payment_cursors).values(zone=zone, seq=end).on_conflict_do_nothing()
            await conn.execute(new)
        return False
    if end <= begin:
        return False
    of_zone = (events.c.zone == zone, events.c.seq > begin, events.c.seq <= end, events.c.type.in_(REQUESTS))
    query = select(events.c.seq, events.c.job, events.c.data).where(*of_zone).order_by(events.c.seq).limit(PAGE_EVENTS)
    async with archive.begin_read() as conn:
        rows = (await conn.execute(query)).all()
    is_full = len(rows) == PAGE_EVENTS
    await _store(archive, zone, begin, rows[-1].seq if is_full else end, _order_rows(zone, rows, now))
    return is_full


async def _store(archive: Archive, zone: Zone, begin: int, end: int, rows: list[dict[str, Any]]) -> None:
    """Store new requests and move the cursor. If another process has moved the cursor, do nothing."""
    async with archive.begin_write() as conn:
        where = (_cursor.zone == zone, _cursor.seq == begin)
        moved = await conn.execute(update(payment_cursors).where(*where).values(seq=end))
        if moved.rowcount and rows:
            await conn.execute(insert_into(archive, payment_orders).on_conflict_do_nothing(), rows)


def _order_rows(zone: Zone, rows: Sequence[Any], now: int) -> list[dict[str, Any]]:
    """Return the rows of new orders from events: payouts, and payments that steps of jobs requested. Events that report
    a payment as requested are left out.
    """
    found = []
    for row in rows:
        data = _data_decoder.decode(row.data)
        if data.payout:
            payout = _payout_decoder.decode(data.payout)
            new = {"id": payout.id, "job": payout.technician, "doc": bytes(data.payout).decode()}
        else:
            payment = _payment_decoder.decode(data.payment)
            new = {"id": payment.id, "job": row.job, "doc": bytes(data.payment).decode()}
            if payment.reference is not None or not row.job:
                continue
        found.append(new | {"zone": zone, "seq": row.seq, "attempts": 0, "due_at": now})
    return found


async def due_orders(archive: Archive, zone: Zone, now: int) -> list[StoredOrder]:
    """Return the orders to process at ``now``: for each job the earliest one, if it is due. Raises Unavailable."""
    first = select(func.min(_columns.seq)).where(_columns.zone == zone).group_by(_columns.job)
    query = select(payment_orders).where(_columns.zone == zone, _columns.due_at <= now, _columns.seq.in_(first))
    async with archive.begin_read() as conn:
        rows = (await conn.execute(query.order_by(_columns.due_at).limit(MAX_DUE))).all()
    return [StoredOrder(row.id, zone, row.seq, JobId(row.job), row.doc, row.attempts) for row in rows]


async def postpone(archive: Archive, order: StoredOrder, due_at: int) -> None:
    """Count an attempt without an answer, and make the order due again at ``due_at`` (ms). Raises Unavailable."""
    async with archive.begin_write() as conn:
        changed = update(payment_orders).where(_columns.id == order.id)
        await conn.execute(changed.values(attempts=order.attempts + 1, due_at=due_at))


async def remove(archive: Archive, order: StoredOrder) -> None:
    """Remove an order that is done. Raises Unavailable."""
    async with archive.begin_write() as conn:
        await conn.execute(delete(payment_orders).where(_columns.id == order.id))


async def forget_cursors(archive: Archive) -> None:
    """Delete the cursors of all zones. Call this when no adapter is configured: an outside service then gets the
    requests. Orders whose requests may have reached the provider stay, and continue if an adapter is chosen again.
    Raises Unavailable.
    """
    async with archive.begin_write() as conn:
        await conn.execute(delete(payment_cursors))
