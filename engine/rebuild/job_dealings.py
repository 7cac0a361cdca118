"""The hashes of a job's bids and payments, from the rows of the bids and the events of the payments."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.domain.payment_fold import PaymentFold
from engine.events import Event, ms_of


class BidRow(msgspec.Struct, frozen=True):
    """A row of the table of bids. ``document`` is the bid as JSON, ``created_at`` is in ms."""

    technician: str
    created_at: int
    updated_at: int
    document: bytes


def bid_records(bids: Sequence[BidRow]) -> dict[str, str]:
    """Return the latest bid of each technician in the format of lua/lib/bids.lua."""
    latest: dict[str, BidRow] = {}
    for bid in sorted(bids, key=lambda each: (each.created_at, each.updated_at)):
        latest[bid.technician] = bid
    return {technician: _bid_record(bid) for technician, bid in latest.items()}


def _bid_record(bid: BidRow) -> str:
    members = msgspec.json.decode(bid.document, type=dict[str, msgspec.Raw])
    plain = {name: msgspec.json.decode(members[name]) for name in ("id", "status", "created_at", "amount")}
    moving = {"id", "job", "amount", "status", "created_at"}
    rest = msgspec.json.encode({name: raw for name, raw in members.items() if name not in moving})[1:-1].decode()
    amount = "-" if plain["amount"] is None else plain["amount"]
    return f"{plain['status']} {plain['id']} {ms_of(plain['created_at'])} {amount} {rest}"


def payment_hash(events: Sequence[Event]) -> dict[str, str]:
    """Return the payments that ``events`` report, in the format of lua/lib/payment.lua."""
    payments = PaymentFold()
    payments.add(event for event in events if event.type.startswith("payment."))
    return payments.hash_fields()
