"""The ledger: compute the lines of each event about money (pure functions).

The ledger uses double entry, because fees, refunds after a payout and negative balances cannot be shown otherwise. The
lines of each entry sum to 0 in each currency: an amount that leaves one account is in another. The accounts:

| account | holds |
|---|---|
| ``clearing`` | what the payers paid, negative, without what was paid back to them |
| ``job:<id>`` | what was paid for a job and nobody has earned |
| ``technician:<id>`` | what a technician earned, without fees and payouts; below 0 after a refund of money paid out |
| ``fees`` | what the platform keeps |
| ``transit:<id>``, ``paid:<id>`` | payouts to a technician that were requested, and that were paid |

A capture moves money from ``clearing`` to the job, and a refund moves it back. If the refund fails later, its amount
moves to the job again. The step into a state of the phase
``done`` moves the job's balance to its technician and to the fees, and so does each later capture or refund. Money in
another currency than the job's stays in the job's account until it is refunded.
"""

from __future__ import annotations

from typing import Literal

import msgspec

CLEARING, FEES = "clearing", "fees"
EntryKind = Literal["captured", "refunded", "reversed", "earned", "requested", "paid", "failed"]
PayoutStatus = Literal["requested", "paid", "failed"]


class Line(msgspec.Struct, frozen=True):
    """A change of one account by ``amount`` (minor units). ``available_at`` (ms) is when it can be paid out."""

    account: str
    amount: int
    available_at: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of one cause, all in one currency. ``at`` is in ms. Lines of 0 are left out. ``test``: the adapter
    `test` made the payment or the payout.
    """

    kind: EntryKind
    cause: str
    at: int
    currency: str
    lines: tuple[Line, ...]
    job: str | None = None
    payout: str | None = None
    test: bool = False


def job_account(job: str) -> str:
    """Return the account of the money that was paid for a job."""
    return f"job:{job}"


def technician_account(technician: str) -> str:
    """Return the account of the money that a technician earned and has not been paid yet."""
    return f"technician:{technician}"


def transit_account(technician: str) -> str:
    """Return the account of a technician's requested payouts."""
    return f"transit:{technician}"


def paid_account(technician: str) -> str:
    """Return the account of a technician's paid payouts."""
    return f"paid:{technician}"


def captured(job: str, payment: str, amount: int, currency: str, at: int) -> Entry:
    """Return the entry of a captured payment."""
    lines = _move(CLEARING, job_account(job), amount, at)
    return Entry(kind="captured", cause=f"captured {payment}", at=at, currency=currency, lines=lines, job=job)


def refunded(job: str, payment: str, amount: int, currency: str, at: int) -> Entry:
    """Return the entry of a refund."""
    lines = _move(job_account(job), CLEARING, amount, at)
    return Entry(kind="refunded", cause=f"refunded {payment}", at=at, currency=currency, lines=lines, job=job)


def reversed_refund(job: str, payment: str, amount: int, currency: str, at: int) -> Entry:
    """Return the entry of a refund that was booked and has failed: the payer did not get the money."""
    lines = _move(CLEARING, job_account(job), amount, at)
    return Entry(kind="reversed", cause=f"reversed {payment}", at=at, currency=currency, lines=lines, job=job)


def earned(
    job: str, technician: str, amount: int, fee: int, currency: str, *, at: int, available_at: int, cause: str
) -> Entry:
    """Return the entry of a technician's earnings from a job: ``amount`` less ``fee``. Both are negative for a
    refund.
    """
    lines = (
        Line(job_account(job), -amount, at),
        Line(technician_account(technician), amount - fee, available_at),
        Line(FEES, fee, at),
    )
    return Entry(kind="earned", cause=cause, at=at, currency=currency, lines=_without_zeros(lines), job=job)


def payout(name: str, technician: str, status: PayoutStatus, amount: int, currency: str, at: int) -> Entry:
    """Return the entry of a payout that was requested, was paid, or has failed. A failure moves the money back to the
    technician.
    """
    earnings, transit = technician_account(technician), transit_account(technician)
    if status == "requested":
        lines = _move(earnings, transit, amount, at)
    elif status == "paid":
        lines = _move(transit, paid_account(technician), amount, at)
    else:
        lines = _move(transit, earnings, amount, at)
    return Entry(kind=status, cause=f"{status} {name}", at=at, currency=currency, lines=lines, payout=name)


def _move(source: str, target: str, amount: int, at: int) -> tuple[Line, ...]:
    return _without_zeros((Line(source, -amount, at), Line(target, amount, at)))


def _without_zeros(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    return tuple(line for line in lines if line.amount)
