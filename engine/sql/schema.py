"""The tables. Times are ms since the Unix epoch, money is integer minor units, documents are JSON text.

Three kinds stand side by side. SQL is the *source* of accounts, profiles and the catalogue; of what happened it is a
*projection* of the zones' logs, which the archiver alone writes; and it *remembers* verdicts under request keys.
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


def _id(name: str = "id") -> Column[str]:
    """A column of the primary key."""
    return Column(name, Text, primary_key=True)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


def _time(name: str, **more: Any) -> Column[int]:
    """ms since the Unix epoch."""
    return Column(name, BigInteger, nullable=False, **more)


def _seq() -> Column[int]:
    """The place in a zone's log, as the last column of the primary key."""
    return Column("seq", BigInteger, primary_key=True, autoincrement=False)


def _document() -> tuple[Column[Any], ...]:
    """What the projection of a thing that changes ends with: when it began, when it last changed, and all of it."""
    return _time("created_at"), _time("updated_at"), _text("doc")


# The source: accounts, profiles, catalogue.

users = Table(
    "users",
    metadata,
    _id(),
    Column("email", Text, nullable=False, unique=True),
    Column("email_typed", Text),
    _text("name"),
    _text("role"),
    Column("phone", Text),
    Column("active", Boolean, nullable=False),
    Column("reason", Text),
    _text("password_hash"),
    Column("version", Integer, nullable=False),
    _time("created_at"),
    Index(None, "created_at", "id"),
)
"""``email`` is the compared form (engine/rules/emails.py), ``email_typed`` the one to show and to write to; accounts
from before it was kept have none. ``version`` rises with each change of role or activity and with each login that ends;
the hot account record carries it, so that an older one never wins."""

sessions = Table(
    "sessions",
    metadata,
    _id(),
    Column("user", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("salt", LargeBinary, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("used", Integer, nullable=False, server_default="0"),
    _time("rotated_at"),
    _time("expires_at", index=True),
    Column("ended_at", BigInteger),
    Column("device", Text),
)
"""A family of refresh tokens: one login and what was rotated from it. No token stands here (engine/identity/tokens.py).
``used`` is the latest generation of which an access token was used; ``device`` how the client named itself when it
began."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    _text("key"),
    Column("user", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("code", Integer),
    Column("family", Text),
    Column("reassign", Boolean, nullable=False),
    Column("review", Text),
    _text("actor"),
    _time("at"),
)
"""What commands on accounts still owe to Redis and the gateways (engine/identity/outbox.py). ``code`` is the close code
to be told, ``family`` the login that alone has ended; ``reassign``: what the technician holds is to be offered anew;
``review``: the data of ``technician.reviewed``, as JSON."""

technicians = Table(
    "technicians",
    metadata,
    Column("id", Text, ForeignKey("users.id"), primary_key=True),
    _text("zone"),
    Column("capacity", Integer, nullable=False),
    _text("kyc"),
    _text("account"),
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
    _id("job"),
    _id("side"),
    _text("by"),
    _text("of"),
    Column("stars", Integer, nullable=False),
    Column("comment", Text),
    _time("at"),
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
    _time("since"),
    Column("active", Boolean, nullable=False),
)
"""Whom somebody does not want to meet at work. Not ``active``: lifted at ``since``, and kept until Redis has heard of
it (engine/domain/blocks.py)."""

services = Table(
    "services",
    metadata,
    _id(),
    _text("name"),
    _text("category"),
    Column("base_amount", BigInteger, nullable=False),
    _text("currency"),
    _text("pricing"),
    Column("duration_min", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
)

blueprints = Table(
    "blueprints",
    metadata,
    _id("key"),
    _text("doc"),
    _time("kept_at"),
)
"""Each blueprint that a server has worked by, under ``name@version``, for jobs that began with it. Never changed."""

# Records of commands done in SQL, under their idempotency keys.

idempotency_records = Table(
    "request_keys",
    metadata,
    _id("principal"),
    _id("key"),
    _text("fingerprint"),
    Column("code", Text),
    Column("body", Text),
    _time("expires_at", index=True),
)

# The projections of the logs.

checkpoints = Table(
    "checkpoints",
    metadata,
    _id("zone"),
    _text("epoch"),
    Column("seq", BigInteger, nullable=False),
)

deployment = Table("deployment", metadata, _text("id"))
"""One row, made once: the id of this database, which Redis keeps beside what it holds."""

epochs = Table(
    "epochs",
    metadata,
    _id("zone"),
    _id("epoch"),
    Column("first_seq", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    _id("zone"),
    _seq(),
    _text("type"),
    _text("to"),
    _time("at"),
    _text("actor"),
    _text("bp"),
    _text("data"),
    _text("cause"),
    _text("trace"),
    Column("job", Text),
    Index(None, "zone", "at", "seq"),
    Index(None, "job", "seq"),
)

event_channels = Table(
    "event_channels",
    metadata,
    _id("zone"),
    _id("channel"),
    _seq(),
    sqlite_with_rowid=False,
)

events_refused = Table(
    "events_refused",
    metadata,
    _id("zone"),
    _seq(),
    Column("entry", LargeBinary, nullable=False),
    _text("error"),
    Column("kept", Boolean, nullable=False),
    _time("refused_at"),
)
"""Events of which the database did not take everything. ``entry`` is the log's entry as JSON. ``kept``: the event
stands in ``events`` all the same, and only what follows from it is missing."""

jobs = Table(
    "jobs",
    metadata,
    _id(),
    _text("zone"),
    _text("blueprint"),
    _text("status"),
    _text("phase"),
    Column("version", Integer, nullable=False),
    _text("customer"),
    Column("technician", Text),
    _text("service"),
    Column("reference", Text),
    _time("created_at"),
    _time("updated_at"),
    Column("hot", Boolean, nullable=False),
    _text("doc"),
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
    _id("principal"),
    _id("reference"),
    _text("job"),
)

offers = Table(
    "offers",
    metadata,
    _id("job"),
    _id("technician"),
    _text("zone"),
    _text("status"),
    Column("reason", Text),
    Column("wave", Integer, nullable=False),
    _time("offered_at"),
    _time("expires_at"),
    Column("answered_at", BigInteger),
    Index(None, "technician", "offered_at"),
)

bids = Table(
    "bids",
    metadata,
    _id(),
    _text("job"),
    _text("technician"),
    _text("zone"),
    _text("status"),
    Column("amount", BigInteger),
    *_document(),
    Index(None, "job", "created_at"),
    Index(None, "technician", "created_at"),
)

payments = Table(
    "payments",
    metadata,
    _id("job"),
    _id(),
    _text("zone"),
    Column("reference", Text, index=True),
    Column("kind", Text),
    _text("status"),
    Column("amount", BigInteger, nullable=False),
    _text("currency"),
    *_document(),
)
"""``reference`` is the payment service's own name; ``kind`` is ``charge`` or ``refund`` where the log says which."""

notifications = Table(
    "notifications",
    metadata,
    _id(),
    _text("user"),
    _text("kind"),
    _text("title"),
    _text("body"),
    Column("job", Text),
    _time("at"),
    Index(None, "user", "at", "id"),
)

notification_reads = Table(
    "notification_reads",
    metadata,
    _id("user"),
    _id("notification"),
    _time("at"),
)
"""Apart from the notification itself, which may be marked as read before the archiver has brought it here."""

positions = Table(
    "positions",
    metadata,
    _id("technician"),
    Column("zone", Text, nullable=False, index=True),
    Column("lat", Float, nullable=False),
    Column("lon", Float, nullable=False),
    _time("at"),
)
