"""Queries on the ledger. The functions that take a connection read from one state of the database, so that the sums and
the position in the log up to which the ledger is written belong together.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules.ledger import FEES, paid_account, technician_account, transit_account
from engine.sql.database import Archive
from engine.sql.ledger_tables import ledger_entries, ledger_lines, ledger_progress, payout_events, payouts
from engine.sql.schema import epochs
from engine.types import JobId, Zone, epoch_number

TECHNICIAN = technician_account("")
MAX_UNBALANCED_ENTRIES = 20
"""The most entries that ``find_unbalanced`` reports."""


class LedgerBalance(msgspec.Struct, frozen=True, kw_only=True):
    """The balance of a technician in one currency, in minor units. ``pending`` is earned and not available yet,
    ``available`` can be paid out, ``paid_out`` is the sum of payouts that were requested or paid. ``pending`` and
    ``available`` may be negative.
    """

    currency: str
    pending: int
    available: int
    paid_out: int


class LedgerItem(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a technician's balance by ``amount``, in minor units. If the change is money earned with a job,
    ``amount`` is ``gross`` less ``fee``. ``at`` and ``available_at`` are in ms since the Unix epoch. ``test`` is true
    if the adapter `test` made the payout or a payment of the job, so that no real money has moved.
    """

    zone: Zone
    seq: int
    kind: str
    at: int
    job: str | None
    payout: str | None
    currency: str
    amount: int
    gross: int | None
    fee: int | None
    available_at: int
    test: bool


class Payee(NamedTuple):
    """The technician who earned the money of a job, and the time (ms) from which the first part of it could be paid
    out.
    """

    technician: str
    available_at: int


async def read_position(conn: AsyncConnection) -> dict[Zone, dict[str, str | int]]:
    """Return for each zone the position in its log up to which the ledger is written."""
    firsts: dict[Zone, list[Any]] = {}
    for row in await conn.execute(select(epochs)):
        firsts.setdefault(Zone(row.zone), []).append(row)
    found: dict[Zone, dict[str, str | int]] = {}
    for zone, seq in await conn.execute(select(ledger_progress.c.zone, ledger_progress.c.seq)):
        begun = [row.epoch for row in firsts.get(zone, []) if row.first_seq <= seq]
        found[zone] = {"epoch": max(begun, key=epoch_number, default=""), "seq": seq}
    return found


async def read_balances(conn: AsyncConnection, technician: str, now_ms: int) -> list[LedgerBalance]:
    """Return the balances of a technician by currency, at ``now_ms``."""
    columns, own = ledger_lines.c, technician_account(technician)
    others = [transit_account(technician), paid_account(technician)]
    is_pending = and_(columns.account == own, columns.available_at > now_ms)
    is_available = and_(columns.account == own, columns.available_at <= now_ms)
    query = (
        select(columns.currency, _sum_where(is_pending), _sum_where(is_available), _sum_where(columns.account != own))
        .where(columns.account.in_([own, *others]))
        .group_by(columns.currency)
        .order_by(columns.currency)
    )
    return [
        LedgerBalance(currency=row[0], pending=int(row[1]), available=int(row[2]), paid_out=int(row[3]))
        for row in await conn.execute(query)
    ]


async def read_payable(conn: AsyncConnection, technician: str, currency: str, now_ms: int) -> int:
    """Return the amount that a technician can be paid out: their available earnings less every payout that has not
    failed. The payouts are read from the table ``payouts``, because the ledger gets them from the log a moment later.
    """
    lines, entries = ledger_lines.c, ledger_entries.c
    same = and_(lines.zone == entries.zone, lines.seq == entries.seq, lines.kind == entries.kind)
    earned = (
        select(func.coalesce(func.sum(lines.amount), 0))
        .select_from(ledger_lines.join(ledger_entries, same))
        .where(lines.account == technician_account(technician), lines.currency == currency)
        .where(lines.available_at <= now_ms, entries.payout.is_(None))
    )
    taken = select(func.coalesce(func.sum(payouts.c.amount), 0)).where(
        payouts.c.technician == technician, payouts.c.currency == currency, payouts.c.status != "failed"
    )
    return int((await conn.execute(earned)).scalar_one()) - int((await conn.execute(taken)).scalar_one())


async def read_items(
    conn: AsyncConnection,
    technician: str,
    *,
    before: tuple[int, str, int, str] | None = None,
    limit: int | None = None,
    span_ms: tuple[int, int] | None = None,
) -> list[LedgerItem]:
    """Return changes of a technician's balance, the newest first: at most ``limit``, before the item with the sort key
    ``before`` (at, zone, seq, kind), and in ``span_ms`` (its first ms, and the first ms after it).
    """
    lines, entries = ledger_lines.c, ledger_entries.c
    key = (entries.at, entries.zone, entries.seq, entries.kind)
    same = and_(lines.zone == entries.zone, lines.seq == entries.seq, lines.kind == entries.kind)
    paid = ledger_entries.alias("paid")
    is_test_job = exists().where(paid.c.job == entries.job, paid.c.kind == "captured", paid.c.test)
    is_test_payout = exists().where(payouts.c.id == entries.payout, payouts.c.test)
    is_test = or_(entries.test, and_(entries.kind == "earned", is_test_job), is_test_payout).label("is_test")
    query = (
        select(ledger_entries, lines.currency, lines.amount, lines.available_at, is_test)
        .select_from(ledger_lines.join(ledger_entries, same))
        .where(lines.account == technician_account(technician))
        .order_by(*(column.desc() for column in key))
    )
    if before is not None:
        query = query.where(tuple_(*key) < before)
    if span_ms is not None:
        query = query.where(entries.at >= span_ms[0], entries.at < span_ms[1])
    rows = (await conn.execute(query.limit(limit))).all()
    fees = await _read_fees(conn, [(row.zone, row.seq) for row in rows if row.kind == "earned"])
    return [_item_of_row(row, fees.get((row.zone, row.seq), 0)) for row in rows]


async def read_sums_before(conn: AsyncConnection, technician: str, at_ms: int) -> dict[str, int]:
    """Return the technician's balance before ``at_ms`` by currency, pending money included."""
    lines, entries = ledger_lines.c, ledger_entries.c
    same = and_(lines.zone == entries.zone, lines.seq == entries.seq, lines.kind == entries.kind)
    query = (
        select(lines.currency, func.sum(lines.amount))
        .select_from(ledger_lines.join(ledger_entries, same))
        .where(lines.account == technician_account(technician), entries.at < at_ms)
        .group_by(lines.currency)
    )
    return {currency: int(total) for currency, total in await conn.execute(query)}


async def find_payee(archive: Archive, job: JobId, holder: str) -> Payee | None:
    """Return the technician who earned the money of a job; None if there is none. If the fee was the whole amount, the
    ledger has no line of a technician: then return the job's ``holder``. Raises Unavailable.
    """
    lines, entries, is_theirs = ledger_lines.c, ledger_entries.c, ledger_lines.c.account.startswith(TECHNICIAN)
    same = and_(lines.zone == entries.zone, lines.seq == entries.seq, lines.kind == entries.kind, is_theirs)
    query = (
        select(func.max(lines.account), func.coalesce(func.min(lines.available_at), func.min(entries.at)))
        .select_from(ledger_entries.outerjoin(ledger_lines, same))
        .where(entries.job == job, entries.kind == "earned")
    )
    async with archive.begin_read() as conn:
        account, available_at = (await conn.execute(query)).one()
    technician = account.removeprefix(TECHNICIAN) if account else holder
    return Payee(technician, available_at) if technician and available_at is not None else None


async def find_unbalanced(conn: AsyncConnection) -> list[str]:
    """Return one sentence for each currency and each entry whose lines do not sum to 0."""
    lines = ledger_lines.c
    sums = select(lines.currency, func.sum(lines.amount)).group_by(lines.currency).having(func.sum(lines.amount) != 0)
    found = [f"the lines in {currency} sum to {total}" for currency, total in await conn.execute(sums)]
    key = (lines.zone, lines.seq, lines.kind)
    entry_sums = (
        select(*key, lines.currency)
        .group_by(*key, lines.currency)
        .having(func.sum(lines.amount) != 0)
        .limit(MAX_UNBALANCED_ENTRIES)
    )
    found += [f"the entry {row.zone}:{row.seq} {row.kind} does not balance" for row in await conn.execute(entry_sums)]
    return found


def _sum_where(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, ledger_lines.c.amount), else_=0)), 0)


async def _read_fees(conn: AsyncConnection, places: Collection[tuple[str, int]]) -> dict[tuple[str, int], int]:
    columns = ledger_lines.c
    by_zone: dict[str, list[int]] = {}
    found: dict[tuple[str, int], int] = {}
    for zone, seq in places:
        by_zone.setdefault(zone, []).append(seq)
    for zone, seqs in by_zone.items():
        for start in range(0, len(seqs), 500):
            here = and_(columns.zone == zone, columns.seq.in_(seqs[start : start + 500]), columns.account == FEES)
            for row in await conn.execute(select(columns.seq, columns.amount).where(here)):
                found[zone, row.seq] = row.amount
    return found


def _item_of_row(row: Any, fee: int) -> LedgerItem:
    is_earned = row.kind == "earned"
    return LedgerItem(
        zone=row.zone,
        seq=row.seq,
        kind=row.kind,
        at=row.at,
        job=row.job,
        payout=row.payout,
        currency=row.currency,
        amount=row.amount,
        gross=row.amount + fee if is_earned else None,
        fee=fee if is_earned else None,
        available_at=row.available_at,
        test=bool(row.is_test),
    )


async def has_balance(archive: Archive, technician: str) -> bool:
    """Return whether a technician's balance is not 0 in some currency. Raises Unavailable."""
    columns = ledger_lines.c
    query = (
        select(columns.currency)
        .where(columns.account == technician_account(technician))
        .group_by(columns.currency)
        .having(func.sum(columns.amount) != 0)
    )
    async with archive.begin_read() as conn:
        return (await conn.execute(query)).first() is not None


async def has_open_payout(archive: Archive, technician: str) -> bool:
    """Return whether a payout to a technician is requested, or the ledger does not have its outcome yet. Raises
    Unavailable.
    """
    is_unbooked = payouts.c.id.in_(select(payout_events.c.payout).where(payout_events.c.seq.is_(None)))
    is_open = or_(payouts.c.status == "requested", is_unbooked)
    query = select(payouts.c.id).where(payouts.c.technician == technician, is_open)
    async with archive.begin_read() as conn:
        return (await conn.execute(query.limit(1))).first() is not None
