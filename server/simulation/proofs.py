"""Counts of photos, signatures, receipts and payments in a simulation."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_RECEIPTS = 1_000


class SignedReceipt(NamedTuple):
    """A receipt of the vault, and the digest of the record that its customer was shown."""

    id: str
    digest: str


@dataclass(slots=True)
class Proofs:
    """Counts of one simulation. Amounts are in minor units. Only the last ``MAX_RECEIPTS`` receipts are stored.
    ``unearned`` is the part of the payments of this run that is neither a technician's nor the platform's fee: 0 if the
    ledger is right. ``ledger_problems`` are those that `callout ledger check` found. Both are None until they are
    known.
    """

    photos: int = 0
    signed: int = 0
    verified: int = 0
    ratings: int = 0
    paid: Counter[str] = field(default_factory=Counter)
    """What was paid for each job."""
    paid_out: int = 0
    paid_out_amount: int = 0
    earned: int = 0
    fees: int = 0
    unearned: int | None = None
    ledger_problems: int | None = None
    receipts: deque[SignedReceipt] = field(default_factory=lambda: deque(maxlen=MAX_RECEIPTS))
