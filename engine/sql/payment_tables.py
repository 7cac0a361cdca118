"""The tables of the payment worker: the position up to which it has read each zone's requests, and the requests that
wait.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table

from engine.sql.columns import id_column, metadata, text_column, time_column

payment_cursors = Table(
    "payment_cursors",
    metadata,
    id_column("zone"),
    Column("seq", BigInteger, nullable=False),
)
"""The seq up to which a zone's payment requests were read from the archived log. There is no row while an outside
service moves the money."""

payment_orders = Table(
    "payment_orders",
    metadata,
    id_column(),
    text_column("zone"),
    Column("seq", BigInteger, nullable=False),
    text_column("job"),
    text_column("doc"),
    Column("attempts", Integer, nullable=False),
    time_column("due_at"),
    Index(None, "zone", "due_at"),
)
"""The requested payments and payouts that were not sent to the provider yet, or must be sent again. ``id`` and ``doc``
are the payment's, ``seq`` is that of its event, and ``due_at`` the time (ms) of the next attempt. For a payout, ``job``
is the technician."""

early_refunds = Table(
    "early_refunds",
    metadata,
    id_column("job"),
    id_column("reference"),
    text_column("zone"),
    text_column("charge"),
    Column("amount", BigInteger, nullable=False),
    text_column("currency"),
    time_column("at"),
    time_column("due_at"),
    Index(None, "zone", "due_at"),
)
"""Refunds that the provider reported before the capture of their charge, ``charge``. Each waits until the capture is
recorded. ``at`` is the time (ms) of the first report, ``due_at`` that of the next attempt."""
