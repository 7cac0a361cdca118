"""Earnings of technicians, their statements, and payouts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, field

from server.schemas.decode import Body
from server.schemas.fields import Currency, Id
from server.schemas.lists import Cursors, ListQuery
from server.schemas.objects import Shape
from server.schemas.payments import PaymentReference

SignedAmount = Annotated[int, Meta(description="integer minor units, may be negative")]
Month = Annotated[str, Meta(pattern=r"^(19|20)[0-9]{2}-(0[1-9]|1[0-2])$(?!\n)", description="a month: YYYY-MM")]
PayoutStatusName = Literal["requested", "paid", "failed"]


class Balance(Shape):
    """The balance of a technician in one currency. It counts exactly the events up to `as_of`. `pending` is earned and
    not available yet, `available` can be paid out; both may be negative after a refund. `paid_out` is the sum of the
    payouts that were requested or paid.
    """

    currency: str
    pending: SignedAmount
    available: SignedAmount
    paid_out: SignedAmount
    as_of: Annotated[Cursors, Meta(description="for each zone, the position in its log")]


class EarningsItem(Shape, kw_only=True):
    """A change of a technician's balance by `amount`. `earned` is money of a job, negative after a refund: `amount` is
    `gross` less `fee`. `requested` is a payout, `failed` gives its amount back. `test` is true if the adapter `test`
    made a payment of the job, or the payout: then no money has moved. Members that do not apply are left out.
    """

    zone: str
    seq: int
    kind: Literal["earned", "requested", "failed"]
    at: datetime
    currency: str
    amount: SignedAmount
    available_at: datetime
    gross: SignedAmount | None = None
    fee: SignedAmount | None = None
    job: str | None = None
    payout: str | None = None
    test: bool | None = None


class EarningsReply(Shape):
    """The balances, one for each currency, and a page of changes, the newest first."""

    balance: list[Balance]
    items: list[EarningsItem]
    next: str | None


class StatementLine(EarningsItem, kw_only=True):
    """A change, and the balance in its currency after it."""

    balance: SignedAmount


class StatementTotal(Shape):
    """The balance in one currency before and after the month. Pending money is included."""

    currency: str
    opening: SignedAmount
    closing: SignedAmount


class Statement(Shape, kw_only=True):
    """All changes of a month in `timezone`, that of the technician's zone, the oldest first. `final` is true if no
    further change of the month is possible.
    """

    technician: str
    month: str
    timezone: str
    since: datetime = field(name="from")
    until: datetime = field(name="to")
    totals: list[StatementTotal]
    lines: list[StatementLine]
    final: bool
    as_of: Cursors


class StatementReply(Shape):
    statement: Statement


class StatementQuery(Body):
    """The month of a statement, and its format."""

    month: Month
    format: Literal["json", "csv"] = "json"


class NewPayout(Body):
    """A payout to a technician. ``reference`` is the caller's own name for it, which is never used again for another
    one.
    """

    technician: Id
    amount: Annotated[int, Meta(ge=1, le=10**12, description="integer minor units")]
    currency: Currency
    reference: PaymentReference


class SettlePayout(Body):
    """The outcome of a payout."""

    status: Literal["paid", "failed"]


class PayoutsQuery(ListQuery):
    """A filter for payouts."""

    technician: Id | None = None
    status: PayoutStatusName | None = None
    reference: PaymentReference | None = None


class Payout(Shape):
    """A payout to a technician. `at` is the time of the request. `test` is true if the adapter `test` has paid it: no
    money has moved.
    """

    id: str
    technician: str
    amount: int
    currency: str
    reference: str
    status: PayoutStatusName
    at: datetime
    test: bool | None = None


class PayoutReply(Shape):
    payout: Payout


class PayoutEventData(Shape):
    """A payout that was requested, was paid, or has failed."""

    payout: Payout
