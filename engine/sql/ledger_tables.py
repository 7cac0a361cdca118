"""The tables of the ledger and of payouts. No row has a text about a person, so that the rows stay at an erasure:
without the person's data, the random ids identify nobody.

The rows of the ledger are immutable: triggers refuse UPDATE and DELETE. The lines of an entry are inserted first, and
then the entry: its trigger refuses an entry whose lines do not sum to 0 in each currency, and another trigger refuses
lines for an entry that exists. The foreign key refuses a line whose entry is missing at the commit. Therefore the
database contains only balanced entries, and SQLite, which has no trigger at the commit, enforces the same as
PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKeyConstraint, Index, Integer, Table, Text, false

from engine.sql.columns import id_column, metadata, seq_column, text_column, time_column

ledger_entries = Table(
    "ledger_entries",
    metadata,
    id_column("zone"),
    seq_column(),
    id_column("kind"),
    Column("cause", Text, nullable=False, unique=True),
    time_column("at"),
    Column("job", Text),
    Column("payout", Text),
    Column("test", Boolean, nullable=False, server_default=false()),
    Index(None, "job"),
)
"""The entries: each follows from one event (``zone``, ``seq``). ``cause`` is unique and names the payment, the payout
or the event, so that nothing is booked twice. ``test``: the adapter `test` made the payment or the payout, so no money
has moved. Only the archiver writes this table."""

ledger_lines = Table(
    "ledger_lines",
    metadata,
    id_column("zone"),
    seq_column(),
    id_column("kind"),
    Column("n", Integer, primary_key=True, autoincrement=False),
    text_column("account"),
    text_column("currency"),
    Column("amount", BigInteger, nullable=False),
    time_column("available_at"),
    ForeignKeyConstraint(
        ["zone", "seq", "kind"],
        ["ledger_entries.zone", "ledger_entries.seq", "ledger_entries.kind"],
        deferrable=True,
        initially="DEFERRED",
    ),
    Index(None, "account", "zone", "seq"),
)
"""The lines of the entries (engine/rules/ledger.py). ``amount`` is in minor units; the balance of an account is the sum
of its lines. From ``available_at`` on, the money of a technician can be paid out."""

ledger_progress = Table(
    "ledger_progress",
    metadata,
    id_column("zone"),
    Column("seq", BigInteger, nullable=False),
)
"""The seq up to which the ledger has the events of a zone. It is the archiver's checkpoint, or lower if a release
without a ledger has archived events: engine/archive/ledger_refill.py then reads these from ``events``."""

payouts = Table(
    "payouts",
    metadata,
    id_column(),
    text_column("technician"),
    Column("amount", BigInteger, nullable=False),
    text_column("currency"),
    Column("reference", Text, nullable=False, unique=True),
    text_column("status"),
    time_column("created_at"),
    Column("test", Boolean, nullable=False, server_default=false()),
    Index(None, "technician"),
)
"""The payouts, of which SQL is the source. ``status`` is requested, paid or failed; ``test``: no money has moved."""

payout_events = Table(
    "payout_events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),
    text_column("payout"),
    text_column("status"),
    text_column("actor"),
    time_column("at"),
    Column("seq", BigInteger),
    Index(None, "seq"),
)
"""The outbox of payouts: the event of each change. ``seq`` is NULL until the archiver has copied the event from
``main``'s log; until then the event is appended again, under its ``key``."""
