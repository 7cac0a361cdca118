"""Payouts of earned money to technicians. Callout moves no money: a payment service or ops request a payout, and report
later that it was paid or has failed.

The same money cannot be paid out twice. The command waits until the ledger has all events that the logs have at the
request, and then locks the technician's row in SQL. The available amount is the earned money less all payouts that have
not failed, whether or not the ledger has these payouts yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive import ledger_reader
from engine.clock import now_ms
from engine.domain import ledger_position
from engine.errors import Duplicate, IllegalTransition, InsufficientBalance, NotFound
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import Result
from engine.identity import audit_events, payout_events
from engine.identity.payout_events import Payout, payout_of_row
from engine.roles import OPS, SERVICE_ROLE, require_role
from engine.sql.insert import insert_into
from engine.sql.ledger_tables import payouts
from engine.sql.paging import Slice, check_limit, decode_cursor, make_slice
from engine.sql.schema import technicians
from engine.types import Principal, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

PAYOUT_ROLES = OPS | SERVICE_ROLE
PayoutOutcome = Literal["paid", "failed"]


class NewPayout(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a payout. ``amount`` is in minor units of ``currency``. ``reference`` is the caller's own name for
    the payout, which is never used again for another one.
    """

    technician: str
    amount: int
    currency: str
    reference: str


class PayoutQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter for payouts. A field that is None does not filter."""

    technician: str | None = None
    status: str | None = None
    reference: str | None = None
    limit: int = 50
    cursor: str | None = None


async def find_payouts(engine: Engine, caller: Principal, query: PayoutQuery) -> Slice[Payout]:
    """List payouts, the newest first. Raises Forbidden, Invalid (limit, cursor)."""
    require_role(caller, PAYOUT_ROLES)
    limit, columns = check_limit(query.limit), payouts.c
    rows = select(payouts).order_by(columns.id.desc()).limit(limit + 1)
    for name in ("technician", "status", "reference"):
        if (value := getattr(query, name)) is not None:
            rows = rows.where(columns[name] == value)
    if query.cursor is not None:
        (last,) = decode_cursor(query.cursor, tuple[str])
        rows = rows.where(columns.id < last)
    async with engine.archive.begin_read() as conn:
        loaded = [payout_of_row(row) for row in await conn.execute(rows)]
    return make_slice(loaded, limit, lambda payout: (payout.id,))


async def request_payout(
    engine: Engine, caller: Principal, new: NewPayout, *, key: str | None = None
) -> Result[Payout]:
    """Request a payout. A repeated request with the same ``reference`` returns the same payout.

    Raises Forbidden, NotFound (no such technician), Duplicate (the reference belongs to another payout),
    InsufficientBalance, ReusedKey, and Unavailable if the ledger does not reach the heads of the logs in time.
    """
    require_role(caller, PAYOUT_ROLES)
    request = in_sql.new_request(caller.id, key, "request_payout", new, ttl_s=in_sql.CREATION_TTL_S)
    is_repeat = await in_sql.find_record(engine.archive, caller.id, request.key) is not None
    if not is_repeat and (existing := await _find_by_reference(engine, new)) is not None:
        await payout_events.try_append_waiting(engine)
        return Result(existing, request.key, True)
    at_ms = 0 if is_repeat else await ledger_position.wait_for_heads(engine)
    payout = Payout(id=new_id("pyt"), status="requested", at="", **msgspec.structs.asdict(new))

    async def run_in_transaction(conn: AsyncConnection) -> Payout:
        lock = select(technicians.c.id).where(technicians.c.id == new.technician).with_for_update()
        if (await conn.execute(lock)).one_or_none() is None:
            raise NotFound("No such technician")
        members = {name: getattr(payout, name) for name in ("id", "status", *new.__struct_fields__)}
        row = insert_into(engine.archive, payouts).values(created_at=now_ms(), **members)
        payable = await ledger_reader.read_payable(conn, new.technician, new.currency, at_ms)
        if (await conn.execute(row.on_conflict_do_nothing(index_elements=["reference"]))).rowcount != 1:
            return _check_same(await _select_payout(conn, payouts.c.reference == new.reference), new)
        if new.amount > payable:
            raise InsufficientBalance
        await payout_events.add_row(conn, payout.id, "requested", audit_events.actor_of(caller))
        return await _select_payout(conn, payouts.c.id == payout.id)

    done = await in_redis.run_once(engine, request, Payout, run_in_transaction)
    await payout_events.try_append_waiting(engine)
    return done


async def settle_payout(
    engine: Engine,
    caller: Principal,
    payout: str,
    status: PayoutOutcome,
    *,
    is_test: bool = False,
    key: str | None = None,
) -> Result[Payout]:
    """Record that a payout was paid or has failed. After a failure, the money is available to the technician again. A
    repeated request changes nothing.

    Raises Forbidden, NotFound, IllegalTransition (the other status is recorded already), ReusedKey.
    """
    require_role(caller, PAYOUT_ROLES)

    async def run_in_transaction(conn: AsyncConnection) -> Payout:
        current = await _select_payout(conn, payouts.c.id == payout, lock=True)
        if current.status == status:
            return current
        if current.status != "requested":
            raise IllegalTransition
        await conn.execute(update(payouts).where(payouts.c.id == payout).values(status=status, test=is_test))
        await payout_events.add_row(conn, payout, status, audit_events.actor_of(caller))
        return msgspec.structs.replace(current, status=status, test=is_test)

    request = in_sql.new_request(caller.id, key, "settle_payout", payout, status, ttl_s=in_sql.CREATION_TTL_S)
    done = await in_redis.run_once(engine, request, Payout, run_in_transaction)
    await payout_events.try_append_waiting(engine)
    return done


async def _find_by_reference(engine: Engine, new: NewPayout) -> Payout | None:
    async with engine.archive.begin_read() as conn:
        row = (await conn.execute(select(payouts).where(payouts.c.reference == new.reference))).one_or_none()
    return _check_same(payout_of_row(row), new) if row else None


def _check_same(payout: Payout, new: NewPayout) -> Payout:
    """Return the payout under this reference. Raises Duplicate if the request differs from it."""
    if any(getattr(payout, name) != getattr(new, name) for name in new.__struct_fields__):
        raise Duplicate("This reference belongs to another payout")
    return payout


async def _select_payout(conn: AsyncConnection, condition: object, *, lock: bool = False) -> Payout:
    query = select(payouts).where(condition)  # type: ignore[arg-type]
    row = (await conn.execute(query.with_for_update() if lock else query)).one_or_none()
    if row is None:
        raise NotFound("No such payout")
    return payout_of_row(row)
