"""The tables of the audit trees (engine/audit/), and of what waits to become an event. Only the archiver writes the
trees; erasing a person removes salts.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text

from engine.sql.columns import id_column, metadata, seq_column, text_column, time_column


def _position_column(column: str) -> Column[int]:
    return Column(column, BigInteger, primary_key=True, autoincrement=False)


def _tree_column() -> Column[int]:
    return Column("tree", Integer, primary_key=True, autoincrement=False)


audit = Table(
    "audit",
    metadata,
    id_column("zone"),
    seq_column(),
    Column("leaf", LargeBinary, nullable=False),
    Column("salt", LargeBinary),
    sqlite_with_rowid=False,
)
"""The leaves: one for each seq of a zone since its first tree began. ``salt`` is NULL after the event's personal data
was erased."""

audit_trees = Table(
    "audit_trees",
    metadata,
    id_column("zone"),
    _tree_column(),
    Column("first_seq", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("peaks", LargeBinary, nullable=False),
    Column("head", Text),
    time_column("begun_at"),
)
"""The trees of a zone, numbered from 1; the last one grows. A leaf's index is its seq minus ``first_seq``. ``size`` and
``peaks`` are the state from which the tree is continued. ``head`` is NULL, or the published head that the tree has as
its leaf 0, because the archive was restored to a state before that head."""

audit_nodes = Table(
    "audit_nodes",
    metadata,
    id_column("zone"),
    _tree_column(),
    Column("level", Integer, primary_key=True, autoincrement=False),
    _position_column("position"),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""The nodes of every eighth level, from which proofs are made without all leaves."""

audit_heads = Table(
    "audit_heads",
    metadata,
    id_column("zone"),
    _tree_column(),
    _position_column("size"),
    time_column("at"),
    text_column("note"),
)
"""The signed heads. ``note`` is a C2SP checkpoint."""

audit_holes = Table(
    "audit_holes",
    metadata,
    id_column("zone"),
    _position_column("first_seq"),
    Column("last_seq", BigInteger, nullable=False),
    time_column("at"),
)
"""The seqs that no log and no archive has any more, and that an operator accepted as lost."""

vault_keys = Table(
    "vault_keys",
    metadata,
    id_column(),
    text_column("use"),
    text_column("alg"),
    text_column("public"),
    time_column("valid_from"),
    Column("valid_until", BigInteger),
    Column("revoked_at", BigInteger),
)
"""The public keys of the server's signatures."""

audit_outbox = Table(
    "audit_outbox",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    text_column("key"),
    text_column("action"),
    text_column("actor"),
    text_column("data"),
    time_column("at"),
)
"""Commands that changed only SQL and are not in the log yet (engine/identity/audit_events.py). ``data`` is the data of
the event ``audit.<action>``, as JSON."""
