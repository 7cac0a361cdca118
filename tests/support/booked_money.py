"""Write entries to the ledger without jobs and payments, for tests that read the ledger."""

from __future__ import annotations

import uuid
from functools import partial

from sqlalchemy import insert

from engine.archive import ledger_rows
from engine.archive.ledger_projection import LedgerRows
from engine.rules import ledger
from engine.runtime import Engine
from engine.sql.insert import insert_into
from engine.sql.ledger_tables import payouts
from engine.sql.schema import technicians, users
from engine.types import DEFAULT_ZONE

FIRST_SEQ = 10**12
"""The seq of the first entry, which is above every seq of a test's log."""


def fee_of(amount: int, per_mille: int) -> int:
    """Return the fee for an amount, rounded to minor units. Half a unit is rounded in favour of the technician."""
    return -(-(2 * amount * per_mille - 1000) // 2000)


async def create_account(engine: Engine, technician: str) -> None:
    """Create the account and the profile of a technician in SQL."""
    user = {"id": technician, "email": technician, "name": "T", "role": "technician", "password_hash": ""}
    row = {"id": technician, "zone": "main", "capacity": 1, "kyc": "approved", "account": "approved", "version": 1}
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(users).values(active=True, version=1, created_at=0, **user))
        await conn.execute(insert(technicians).values(**row))


async def book_earnings(engine: Engine, technician: str, *amounts: int, at: int = 0, currency: str = "EUR") -> None:
    """Book these earnings of a technician, in minor units without a fee, one an hour from ``at`` (ms) on."""
    rows = LedgerRows()
    first = FIRST_SEQ + uuid.uuid4().int % 10**9
    for number, amount in enumerate(amounts):
        when = at + number * 3_600_000
        entry = ledger.earned(
            f"job_main_{uuid.uuid4().hex}",
            technician,
            amount,
            0,
            currency,
            at=when,
            available_at=when,
            cause=f"earned {uuid.uuid4().hex}",
        )
        rows.entries.append((first + number, entry))
    async with engine.archive.begin_write() as conn:
        await ledger_rows.apply_rows(conn, partial(insert_into, engine.archive), DEFAULT_ZONE, rows)


async def create_payout(engine: Engine, technician: str) -> str:
    """Insert a requested payout of one minor unit, and return its id."""
    name = f"pyt_{uuid.uuid4().hex}"
    row = {"id": name, "technician": technician, "amount": 1, "currency": "EUR", "reference": name}
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(payouts).values(status="requested", created_at=0, **row))
    return name
