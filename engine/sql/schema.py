"""The tables of the SQL database. Times are ms since the Unix epoch, money is integer minor units, documents are JSON
text.

There are three kinds of tables. SQL is the *source* of accounts, profiles and the catalogue of services. The tables of
jobs and events are a *projection* of the zones' logs: only the archiver writes these tables. The third kind stores the
*idempotency records* of commands done in SQL.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id_column(column: str = "id") -> Column[str]:
    """Return a text column that is part of the primary key."""
    return Column(column, Text, primary_key=True)


def _text_column(column: str) -> Column[str]:
    """Return a text column that is never NULL."""
    return Column(column, Text, nullable=False)


def _time_column(column: str, **more: Any) -> Column[int]:
    """Return a column for a time in ms since the Unix epoch."""
    return Column(column, BigInteger, nullable=False, **more)


def _seq_column() -> Column[int]:
    """Return the column for an event's position in its zone's log: the last column of the primary key."""
    return Column("seq", BigInteger, primary_key=True, autoincrement=False)


def _document_columns() -> tuple[Column[Any], ...]:
    """Return the last three columns of a projected object that changes: the times of its first and its last event, and
    the whole object as JSON.
    """
    return _time_column("created_at"), _time_column("updated_at"), _text_column("doc")


# The source: accounts, profiles, the catalogue of services.

users = Table(
    "users",
    metadata,
    _id_column(),
    Column("email", Text, nullable=False, unique=True),
    Column("email_typed", Text),
    _text_column("name"),
    _text_column("role"),
    Column("phone", Text),
    Column("active", Boolean, nullable=False),
    Column("reason", Text),
    _text_column("password_hash"),
    Column("version", Integer, nullable=False),
    _time_column("created_at"),
    Index(None, "created_at", "id"),
)
"""The accounts. ``email`` is the compared form of the address (engine/rules/emails.py), ``email_typed`` the form for
display and for mail; it is NULL in accounts that are older than this column. ``version`` rises with each change of
role or ``active`` and with each login that ends. The account record in Redis contains the version, so that an older
record never overwrites a newer one."""

sessions = Table(
    "sessions",
    metadata,
    _id_column(),
    Column("user", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("salt", LargeBinary, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("used", Integer, nullable=False, server_default="0"),
    _time_column("rotated_at"),
    _time_column("expires_at", index=True),
    Column("ended_at", BigInteger),
    Column("device", Text),
)
"""The families of refresh tokens: each row is one login with all tokens that were rotated from its first token. The
tokens themselves are not stored (engine/identity/tokens.py). ``used`` is the latest generation of which an access token
was used; ``device`` is the name that the client gave for itself at the login."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _text_column("key"),
    Column("user", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("code", Integer),
    Column("family", Text),
    Column("reassign", Boolean, nullable=False),
    Column("review", Text),
    _text_column("actor"),
    _time_column("at"),
)
"""Effects of account commands that Redis and the gateways do not have yet (engine/identity/outbox.py). ``code`` is the
close code that the gateways send; ``family`` is set if only this login has ended, and NULL if all have; ``reassign``:
the technician's jobs must be offered again; ``review``: the data of the event ``technician.reviewed``, as JSON."""

technicians = Table(
    "technicians",
    metadata,
    Column("id", Text, ForeignKey("users.id"), primary_key=True),
    _text_column("zone"),
    Column("capacity", Integer, nullable=False),
    _text_column("kyc"),
    _text_column("account"),
    Column("reason", Text),
    Column("stars", BigInteger, nullable=False, server_default="0"),
    Column("rated", BigInteger, nullable=False, server_default="0"),
    Column("version", Integer, nullable=False),
    Index(None, "zone", "id"),
)
"""The part of a technician's profile that other users do not have; name and phone are in ``users``. ``rated`` is the
number of ratings of the technician and ``stars`` their sum: to add up the table ``ratings`` at each read would cost
more with each job.
"""

ratings = Table(
    "ratings",
    metadata,
    _id_column("job"),
    _id_column("side"),
    _text_column("by"),
    _text_column("of"),
    Column("stars", Integer, nullable=False),
    Column("comment", Text),
    _time_column("at"),
    Index(None, "of", "at"),
)
"""The ratings. ``side`` is the role of the user who rated: each side of a job rates at most once."""

technician_services = Table(
    "technician_services",
    metadata,
    Column("service", Text, ForeignKey("services.id"), primary_key=True),
    Column("technician", Text, ForeignKey("technicians.id"), primary_key=True, index=True),
)

blocks = Table(
    "blocks",
    metadata,
    Column("user", Text, ForeignKey("users.id"), primary_key=True),
    Column("other", Text, ForeignKey("users.id"), primary_key=True, index=True),
    _time_column("since"),
    Column("active", Boolean, nullable=False),
)
"""The blocks: ``user`` does not want to work with ``other``. A row with ``active`` false is a block that was lifted at
``since``; the row is deleted after Redis has applied the lifting (engine/domain/blocks.py)."""

services = Table(
    "services",
    metadata,
    _id_column(),
    _text_column("name"),
    _text_column("category"),
    Column("base_amount", BigInteger, nullable=False),
    _text_column("currency"),
    _text_column("pricing"),
    Column("duration_min", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
)

blueprints = Table(
    "blueprints",
    metadata,
    _id_column("key"),
    _text_column("doc"),
    _time_column("kept_at"),
)
"""Each blueprint that a server has used, under ``name@version``, for the jobs that began with it. Rows are never
changed."""

# Records of commands done in SQL, under their idempotency keys.

idempotency_records = Table(
    "request_keys",
    metadata,
    _id_column("principal"),
    _id_column("key"),
    _text_column("fingerprint"),
    Column("code", Text),
    Column("body", Text),
    _time_column("expires_at", index=True),
)

# The projections of the logs.

checkpoints = Table(
    "checkpoints",
    metadata,
    _id_column("zone"),
    _text_column("epoch"),
    Column("seq", BigInteger, nullable=False),
)

deployment = Table("deployment", metadata, _text_column("id"))
"""The one row that identifies this installation: a random id, inserted with the schema. Redis stores the same id, so
that a process that is given a Redis and a database of two installations finds the mistake."""

epochs = Table(
    "epochs",
    metadata,
    _id_column("zone"),
    _id_column("epoch"),
    Column("first_seq", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    _id_column("zone"),
    _seq_column(),
    _text_column("type"),
    _text_column("to"),
    _time_column("at"),
    _text_column("actor"),
    _text_column("bp"),
    _text_column("data"),
    _text_column("cause"),
    _text_column("trace"),
    Column("job", Text),
    Index(None, "zone", "at", "seq"),
    Index(None, "job", "seq"),
)

event_channels = Table(
    "event_channels",
    metadata,
    _id_column("zone"),
    _id_column("channel"),
    _seq_column(),
    sqlite_with_rowid=False,
)

events_refused = Table(
    "events_refused",
    metadata,
    _id_column("zone"),
    _seq_column(),
    Column("entry", LargeBinary, nullable=False),
    _text_column("error"),
    Column("kept", Boolean, nullable=False),
    _time_column("refused_at"),
)
"""The quarantine: events that the database refused, whole or in part. ``entry`` is the log's entry as JSON. If ``kept``
is true, the event itself is in ``events`` and only the rows derived from it are missing."""

jobs = Table(
    "jobs",
    metadata,
    _id_column(),
    _text_column("zone"),
    _text_column("blueprint"),
    _text_column("status"),
    _text_column("phase"),
    Column("version", Integer, nullable=False),
    _text_column("customer"),
    Column("technician", Text),
    _text_column("service"),
    Column("reference", Text),
    _time_column("created_at"),
    _time_column("updated_at"),
    Column("hot", Boolean, nullable=False),
    _text_column("doc"),
    Index(None, "customer", "created_at", "id"),
    Index(None, "technician", "created_at", "id"),
    Index(None, "created_at", "id"),
    Index(None, "zone", "hot", "phase"),
)
"""The jobs. ``doc`` is the whole job as JSON, from its last archived event; the other columns are for searches. ``hot``
is true until Redis was notified that the finished job is archived, so that the job's keys may expire."""

job_references = Table(
    "job_references",
    metadata,
    _id_column("principal"),
    _id_column("reference"),
    _text_column("job"),
)

offers = Table(
    "offers",
    metadata,
    _id_column("job"),
    _id_column("technician"),
    _text_column("zone"),
    _text_column("status"),
    Column("reason", Text),
    Column("wave", Integer, nullable=False),
    _time_column("offered_at"),
    _time_column("expires_at"),
    Column("answered_at", BigInteger),
    Index(None, "technician", "offered_at"),
)

bids = Table(
    "bids",
    metadata,
    _id_column(),
    _text_column("job"),
    _text_column("technician"),
    _text_column("zone"),
    _text_column("status"),
    Column("amount", BigInteger),
    *_document_columns(),
    Index(None, "job", "created_at"),
    Index(None, "technician", "created_at"),
)

payments = Table(
    "payments",
    metadata,
    _id_column("job"),
    _id_column(),
    _text_column("zone"),
    Column("reference", Text, index=True),
    Column("kind", Text),
    _text_column("status"),
    Column("amount", BigInteger, nullable=False),
    _text_column("currency"),
    *_document_columns(),
)
"""The payments. ``reference`` is the payment service's own name of the payment; ``kind`` is ``charge`` or ``refund``,
or NULL if the event did not contain it."""

notifications = Table(
    "notifications",
    metadata,
    _id_column(),
    _text_column("user"),
    _text_column("kind"),
    _text_column("title"),
    _text_column("body"),
    Column("job", Text),
    _time_column("at"),
    Index(None, "user", "at", "id"),
)

notification_reads = Table(
    "notification_reads",
    metadata,
    _id_column("user"),
    _id_column("notification"),
    _time_column("at"),
)
"""Which notifications were read, and when. This is a table of its own because a user may mark a notification as read
before the archiver has inserted the notification."""

positions = Table(
    "positions",
    metadata,
    _id_column("technician"),
    Column("zone", Text, nullable=False, index=True),
    Column("lat", Float, nullable=False),
    Column("lon", Float, nullable=False),
    _time_column("at"),
)
