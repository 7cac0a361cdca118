"""The tables of the SQL database. Times are ms since the Unix epoch, money is integer minor units, documents are JSON
text.

There are three kinds of tables. SQL is the *source* of accounts, profiles and the catalogue of services. The tables of
jobs and events are a *projection* of the zones' logs: only the archiver writes these tables. The third kind stores the
*idempotency records* of commands done in SQL.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)

from engine.sql import (  # noqa: F401 (they add their tables to ``metadata``)
    audit_tables,
    demand_tables,
    device_tables,
    erasure_tables,
    file_tables,
    job_tables,
    ledger_tables,
    payment_tables,
    quote_tables,
    retention_tables,
    room_tables,
    technician_tables,
    vault_tables,
    zone_tables,
)
from engine.sql.columns import document_columns, id_column, metadata, seq_column, text_column, time_column

# The source: accounts, profiles, the catalogue of services.

users = Table(
    "users",
    metadata,
    id_column(),
    Column("email", Text, nullable=False, unique=True),
    Column("email_typed", Text),
    text_column("name"),
    text_column("role"),
    Column("phone", Text),
    Column("active", Boolean, nullable=False),
    Column("reason", Text),
    text_column("password_hash"),
    Column("version", Integer, nullable=False),
    time_column("created_at"),
    Index(None, "created_at", "id"),
)
"""The accounts. ``email`` is the compared form of the address (engine/rules/emails.py), ``email_typed`` the form for
display and for mail; it is NULL in accounts that are older than this column. ``version`` rises with each change of
role or ``active`` and with each login that ends. The account record in Redis contains the version, so that an older
record never overwrites a newer one."""

sessions = Table(
    "sessions",
    metadata,
    id_column(),
    Column("user", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("salt", LargeBinary, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("used", Integer, nullable=False, server_default="0"),
    time_column("rotated_at"),
    time_column("expires_at", index=True),
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
    text_column("key"),
    Column("user", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("code", Integer),
    Column("family", Text),
    Column("reassign", Boolean, nullable=False),
    Column("review", Text),
    text_column("actor"),
    time_column("at"),
)
"""Effects of account commands that Redis and the gateways do not have yet (engine/identity/outbox.py). ``code`` is the
close code that the gateways send; ``family`` is set if only this login has ended, and NULL if all have; ``reassign``:
the technician's jobs must be offered again; ``review``: the data of the event ``technician.reviewed``, as JSON."""

technicians = Table(
    "technicians",
    metadata,
    Column("id", Text, ForeignKey("users.id"), primary_key=True),
    text_column("zone"),
    Column("capacity", Integer, nullable=False),
    text_column("kyc"),
    text_column("account"),
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
    id_column("job"),
    id_column("side"),
    text_column("by"),
    text_column("of"),
    Column("stars", Integer, nullable=False),
    Column("comment", Text),
    time_column("at"),
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
    time_column("since"),
    Column("active", Boolean, nullable=False),
)
"""The blocks: ``user`` does not want to work with ``other``. A row with ``active`` false is a block that was lifted at
``since``; the row is deleted after Redis has applied the lifting (engine/domain/blocks.py)."""

services = Table(
    "services",
    metadata,
    id_column(),
    text_column("name"),
    text_column("category"),
    Column("base_amount", BigInteger, nullable=False),
    text_column("currency"),
    text_column("pricing"),
    Column("duration_min", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
)

blueprints = Table(
    "blueprints",
    metadata,
    id_column("key"),
    text_column("doc"),
    time_column("kept_at"),
)
"""Each blueprint that a server has used, under ``name@version``, for the jobs that began with it. Rows are never
changed."""

# Records of commands done in SQL, under their idempotency keys.

idempotency_records = Table(
    "request_keys",
    metadata,
    id_column("principal"),
    id_column("key"),
    text_column("fingerprint"),
    Column("code", Text),
    Column("body", Text),
    time_column("expires_at", index=True),
)

# The projections of the logs.

checkpoints = Table(
    "checkpoints",
    metadata,
    id_column("zone"),
    text_column("epoch"),
    Column("seq", BigInteger, nullable=False),
    Column("format", Integer, nullable=False, server_default="1"),
    Column("seq_before_audit", BigInteger),
)
"""``format`` names what writers of the zone must know (engine/zone/upgrade.py). ``seq_before_audit`` is the checkpoint
that an archive without an audit tree had when this column was added; NULL if there was none."""

deployment = Table("deployment", metadata, text_column("id"), Column("copy", Text))
"""The one row that identifies this installation: a random id, inserted with the schema. Redis stores the same id, so
that a process that is given a Redis and a database of two installations finds the mistake. A database that was restored
from a snapshot has an id of its own in ``copy``, and Redis stores this one: the copy is not taken for its original. The
heads of the audit have ``id``, because the copy continues the same trees."""

epochs = Table(
    "epochs",
    metadata,
    id_column("zone"),
    id_column("epoch"),
    Column("first_seq", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    id_column("zone"),
    seq_column(),
    text_column("type"),
    text_column("to"),
    time_column("at"),
    text_column("actor"),
    text_column("bp"),
    text_column("data"),
    text_column("cause"),
    text_column("trace"),
    Column("job", Text),
    Index(None, "zone", "at", "seq"),
    Index(None, "job", "seq"),
)

event_channels = Table(
    "event_channels",
    metadata,
    id_column("zone"),
    id_column("channel"),
    seq_column(),
    sqlite_with_rowid=False,
)

events_refused = Table(
    "events_refused",
    metadata,
    id_column("zone"),
    seq_column(),
    Column("entry", LargeBinary, nullable=False),
    text_column("error"),
    Column("kept", Boolean, nullable=False),
    time_column("refused_at"),
)
"""The quarantine: events that the database refused, whole or in part. ``entry`` is the log's entry as JSON. If ``kept``
is true, the event itself is in ``events`` and only the rows derived from it are missing."""

jobs = Table(
    "jobs",
    metadata,
    id_column(),
    text_column("zone"),
    text_column("blueprint"),
    text_column("status"),
    text_column("phase"),
    Column("version", Integer, nullable=False),
    text_column("customer"),
    Column("technician", Text),
    text_column("service"),
    Column("reference", Text),
    time_column("created_at"),
    time_column("updated_at"),
    Column("hot", Boolean, nullable=False),
    text_column("doc"),
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
    id_column("principal"),
    id_column("reference"),
    text_column("job"),
)

offers = Table(
    "offers",
    metadata,
    id_column("job"),
    id_column("technician"),
    text_column("zone"),
    text_column("status"),
    Column("reason", Text),
    Column("wave", Integer, nullable=False),
    time_column("offered_at"),
    time_column("expires_at"),
    Column("answered_at", BigInteger),
    Index(None, "technician", "offered_at"),
)

bids = Table(
    "bids",
    metadata,
    id_column(),
    text_column("job"),
    text_column("technician"),
    text_column("zone"),
    text_column("status"),
    Column("amount", BigInteger),
    *document_columns(),
    Index(None, "job", "created_at"),
    Index(None, "technician", "created_at"),
)

payments = Table(
    "payments",
    metadata,
    id_column("job"),
    id_column(),
    text_column("zone"),
    Column("reference", Text, index=True),
    Column("kind", Text),
    text_column("status"),
    Column("amount", BigInteger, nullable=False),
    text_column("currency"),
    *document_columns(),
)
"""The payments. ``reference`` is the payment service's own name of the payment; ``kind`` is ``charge``, ``hold``,
``release`` or ``refund``, or NULL if the event did not contain it."""

notifications = Table(
    "notifications",
    metadata,
    id_column(),
    text_column("user"),
    text_column("kind"),
    text_column("title"),
    text_column("body"),
    Column("job", Text),
    Column("room", Text),
    time_column("at"),
    Column("seq", BigInteger),
    Index(None, "user", "at", "id"),
    Index(None, "at"),
)
"""The notifications. ``seq`` is that of the event in its zone's log, or NULL in rows from before the column existed."""

notification_reads = Table(
    "notification_reads",
    metadata,
    id_column("user"),
    id_column("notification"),
    time_column("at"),
)
"""Which notifications were read, and when. This is a table of its own because a user may mark a notification as read
before the archiver has inserted the notification."""

positions = Table(
    "positions",
    metadata,
    id_column("technician"),
    Column("zone", Text, nullable=False, index=True),
    Column("lat", Float, nullable=False),
    Column("lon", Float, nullable=False),
    time_column("at"),
)
