"""The tables. Times are ms since the Unix epoch, money is integer minor units, documents are JSON text.

Three kinds stand side by side. SQL is the *source* of accounts, profiles and the catalogue; of what happened it is a
*projection* of the zones' logs, which the archiver alone writes; and it *remembers* verdicts under request keys.
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

# The source: accounts, profiles, catalogue.

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("email_typed", Text),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("phone", Text),
    Column("active", Boolean, nullable=False),
    Column("reason", Text),
    Column("password_hash", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index(None, "created_at", "id"),
)
"""``email`` is the compared form (engine/emails.py), ``email_typed`` the one to show and to write to; accounts from
before it was kept have none. ``version`` rises with each change of role or activity and with each login that ends; the
hot account record carries it, so that an older one never wins."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("salt", LargeBinary, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("used", Integer, nullable=False, server_default="0"),
    Column("rotated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("ended_at", BigInteger),
    Column("device", Text),
)
"""A family of refresh tokens: one login and what was rotated from it. No token stands here (engine/tokens.py). ``used``
is the latest generation of which an access token was used; ``device`` how the client named itself when it began."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False),
    Column("user", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("code", Integer),
    Column("family", Text),
    Column("reassign", Boolean, nullable=False),
    Column("review", Text),
    Column("actor", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)
"""What commands on accounts still owe to Redis and the gateways (engine/outbox.py). ``code`` is the close code to be
told, ``family`` the login that alone has ended; ``reassign``: what the technician holds is to be offered anew;
``review``: the data of ``technician.reviewed``, as JSON."""

technicians = Table(
    "technicians",
    metadata,
    Column("id", Text, ForeignKey("users.id"), primary_key=True),
    Column("zone", Text, nullable=False),
    Column("capacity", Integer, nullable=False),
    Column("kyc", Text, nullable=False),
    Column("account", Text, nullable=False),
    Column("reason", Text),
    Column("stars", BigInteger, nullable=False, server_default="0"),
    Column("rated", BigInteger, nullable=False, server_default="0"),
    Column("version", Integer, nullable=False),
    Index(None, "zone", "id"),
)
"""What only a technician has; his name and telephone are his account's. ``stars`` is the sum of his ``rated`` ratings:
adding up ``ratings`` at each look would cost the more the longer he works."""

ratings = Table(
    "ratings",
    metadata,
    Column("job", Text, primary_key=True),
    Column("side", Text, primary_key=True),
    Column("by", Text, nullable=False),
    Column("of", Text, nullable=False),
    Column("stars", Integer, nullable=False),
    Column("comment", Text),
    Column("at", BigInteger, nullable=False),
    Index(None, "of", "at"),
)
"""``side`` is the role of who rated: each side of a job once."""

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
    Column("since", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
)
"""Whom somebody does not want to meet at work. Not ``active``: lifted at ``since``, and kept until Redis has heard of
it (engine/blocks.py)."""

services = Table(
    "services",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("base_amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("pricing", Text, nullable=False),
    Column("duration_min", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
)

blueprints = Table(
    "blueprints",
    metadata,
    Column("key", Text, primary_key=True),
    Column("doc", Text, nullable=False),
    Column("kept_at", BigInteger, nullable=False),
)
"""Each blueprint that a server has worked by, under ``name@version``, for jobs that began with it. Never changed."""

# The memory of commands done in SQL.

request_keys = Table(
    "request_keys",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("code", Text),
    Column("body", Text),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

# The projections of the logs.

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("zone", Text, primary_key=True),
    Column("epoch", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
)

deployment = Table("deployment", metadata, Column("id", Text, nullable=False))
"""One row, made once: the id of this database, which Redis keeps beside what it holds."""

epochs = Table(
    "epochs",
    metadata,
    Column("zone", Text, primary_key=True),
    Column("epoch", Text, primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("zone", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("to", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("bp", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("trace", Text, nullable=False),
    Column("job", Text),
    Index(None, "zone", "at", "seq"),
    Index(None, "job", "seq"),
)

event_channels = Table(
    "event_channels",
    metadata,
    Column("zone", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

events_refused = Table(
    "events_refused",
    metadata,
    Column("zone", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
    Column("error", Text, nullable=False),
    Column("kept", Boolean, nullable=False),
    Column("refused_at", BigInteger, nullable=False),
)
"""Events of which the database did not take everything. ``entry`` is the log's entry as JSON. ``kept``: the event
stands in ``events`` all the same, and only what follows from it is missing."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("zone", Text, nullable=False),
    Column("blueprint", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("customer", Text, nullable=False),
    Column("technician", Text),
    Column("service", Text, nullable=False),
    Column("reference", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("hot", Boolean, nullable=False),
    Column("doc", Text, nullable=False),
    Index(None, "customer", "created_at", "id"),
    Index(None, "technician", "created_at", "id"),
    Index(None, "created_at", "id"),
    Index(None, "zone", "hot", "phase"),
)
"""``doc`` is the whole job as its last event told it; the other columns are there to be searched by. ``hot`` until
Redis was told that a finished job is archived, so that its keys may go."""

job_references = Table(
    "job_references",
    metadata,
    Column("principal", Text, primary_key=True),
    Column("reference", Text, primary_key=True),
    Column("job", Text, nullable=False),
)

offers = Table(
    "offers",
    metadata,
    Column("job", Text, primary_key=True),
    Column("technician", Text, primary_key=True),
    Column("zone", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("wave", Integer, nullable=False),
    Column("offered_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("answered_at", BigInteger),
    Index(None, "technician", "offered_at"),
)

bids = Table(
    "bids",
    metadata,
    Column("id", Text, primary_key=True),
    Column("job", Text, nullable=False),
    Column("technician", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("amount", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("doc", Text, nullable=False),
    Index(None, "job", "created_at"),
    Index(None, "technician", "created_at"),
)

payments = Table(
    "payments",
    metadata,
    Column("job", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("zone", Text, nullable=False),
    Column("reference", Text, index=True),
    Column("kind", Text),
    Column("status", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("doc", Text, nullable=False),
)
"""``reference`` is the payment service's own name; ``kind`` is ``charge`` or ``refund`` where the log says which."""

notifications = Table(
    "notifications",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("job", Text),
    Column("at", BigInteger, nullable=False),
    Index(None, "user", "at", "id"),
)

notification_reads = Table(
    "notification_reads",
    metadata,
    Column("user", Text, primary_key=True),
    Column("notification", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
)
"""Apart from the notification itself, which may be marked as read before the archiver has brought it here."""

positions = Table(
    "positions",
    metadata,
    Column("technician", Text, primary_key=True),
    Column("zone", Text, nullable=False, index=True),
    Column("lat", Float, nullable=False),
    Column("lon", Float, nullable=False),
    Column("at", BigInteger, nullable=False),
)
