"""Read what technicians earned: their balances at a position of the logs, the changes of the balances, and statements
of a month.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from engine.archive import ledger_reader
from engine.archive.ledger_reader import LedgerItem
from engine.domain import ledger_position
from engine.errors import Forbidden, NotFound
from engine.events import rfc3339_of
from engine.rules.zone_areas import timezone_of
from engine.sql.paging import check_limit, decode_cursor, make_slice
from engine.technicians import sql
from engine.types import Principal, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

Position = dict[Zone, dict[str, str | int]]
"""A position in the log of each zone."""


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """The balance of a technician in one currency, in minor units. It counts exactly the events up to ``as_of``."""

    currency: str
    pending: int
    available: int
    paid_out: int
    as_of: Position


class EarningsItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of a technician's balance: money that they earned with a job (``earned``; negative after a refund), or a
    payout (``requested``, ``failed``). ``amount`` = ``gross`` - ``fee``, in minor units. ``test``: the adapter `test`
    made a payment of the job, or the payout, so no money has moved.
    """

    zone: Zone
    seq: int
    kind: str
    at: str
    currency: str
    amount: int
    available_at: str
    gross: int | None = None
    fee: int | None = None
    job: str | None = None
    payout: str | None = None
    test: bool = False


class Earnings(msgspec.Struct, frozen=True, kw_only=True):
    """The balances of a technician and a page of their changes, the newest first."""

    balance: list[Balance]
    items: list[EarningsItem]
    next: str | None


class StatementLine(EarningsItem, frozen=True, kw_only=True, omit_defaults=True):
    """A change in a statement. ``balance`` is the technician's balance after the change, in its currency."""

    balance: int


class StatementTotal(msgspec.Struct, frozen=True, kw_only=True):
    """The balances of one currency before the first line and after the last one. Both include pending money."""

    currency: str
    opening: int
    closing: int


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """All changes of a month, in the time zone ``timezone``, the oldest first. ``final`` is true if the month is over
    and the ledger has all its events: the statement can no longer change.
    """

    technician: str
    month: str
    timezone: str
    since: str = msgspec.field(name="from")
    until: str = msgspec.field(name="to")
    totals: list[StatementTotal]
    lines: list[StatementLine]
    final: bool
    as_of: Position


async def read_earnings(
    engine: Engine, caller: Principal, technician: str, *, limit: int = 50, cursor: str | None = None
) -> Earnings:
    """Return the balances of a technician and a page of changes, the newest first. Raises Forbidden, NotFound, Invalid
    (limit, cursor), Unavailable.
    """
    name = (await _read_technician(engine, caller, technician)).id
    before = decode_cursor(cursor, tuple[int, str, int, str]) if cursor else None
    at_ms = await ledger_position.read_clock(engine)
    async with engine.archive.begin_read() as conn:
        as_of = await ledger_reader.read_position(conn)
        balances = await ledger_reader.read_balances(conn, name, at_ms)
        found = await ledger_reader.read_items(conn, name, before=before, limit=check_limit(limit) + 1)
    page = make_slice(found, limit, lambda item: (item.at, item.zone, item.seq, item.kind))
    return Earnings(
        balance=[Balance(as_of=as_of, **msgspec.structs.asdict(each)) for each in balances],
        items=[EarningsItem(**_members_of(item)) for item in page.items],
        next=page.next,
    )


async def read_statement(engine: Engine, caller: Principal, technician: str, month: str) -> Statement:
    """Return the statement of a technician for ``month`` (``YYYY-MM``), in the time zone of the technician's zone.
    Raises Forbidden, NotFound, Unavailable.
    """
    row = await _read_technician(engine, caller, technician)
    timezone = timezone_of(engine.settings.zone_areas, row.zone)
    span_ms = month_span_ms(month, timezone)
    is_final = await ledger_position.has_passed(engine, span_ms[1])
    async with engine.archive.begin_read() as conn:
        as_of = await ledger_reader.read_position(conn)
        opening = await ledger_reader.read_sums_before(conn, row.id, span_ms[0])
        items = await ledger_reader.read_items(conn, row.id, span_ms=span_ms)
    lines, closing = _add_up(opening, items)
    return Statement(
        technician=row.id,
        month=month,
        timezone=timezone,
        since=rfc3339_of(span_ms[0]),
        until=rfc3339_of(span_ms[1]),
        totals=[
            StatementTotal(currency=each, opening=opening.get(each, 0), closing=closing[each])
            for each in sorted(closing)
        ],
        lines=lines,
        final=is_final,
        as_of=as_of,
    )


def month_span_ms(month: str, timezone: str) -> tuple[int, int]:
    """Return the beginning of a month (``YYYY-MM``) and of the next one in a time zone, in ms since the Unix epoch."""
    year, number = (int(part) for part in month.split("-"))
    first = datetime(year, number, 1, tzinfo=ZoneInfo(timezone))
    after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=ZoneInfo(timezone))
    return round(first.timestamp() * 1000), round(after.timestamp() * 1000)


def _add_up(opening: dict[str, int], items: list[LedgerItem]) -> tuple[list[StatementLine], dict[str, int]]:
    """Return the lines of a statement, the oldest first, and the closing balances. ``items`` begin with the newest."""
    closing, lines = dict(opening), []
    for item in reversed(items):
        closing[item.currency] = closing.get(item.currency, 0) + item.amount
        lines.append(StatementLine(balance=closing[item.currency], **_members_of(item)))
    return lines, closing


def _members_of(item: LedgerItem) -> dict[str, Any]:
    members = msgspec.structs.asdict(item)
    return members | {name: rfc3339_of(members[name]) for name in ("at", "available_at")}


async def _read_technician(engine: Engine, caller: Principal, technician: str) -> Any:
    if not caller.is_ops:
        if caller.role != "technician":
            raise Forbidden("Only technicians and ops may read a technician's earnings")
        if caller.id != technician:
            raise NotFound("No such technician")
    return await sql.read_row(engine, TechnicianId(UserId(technician)))
