"""The ledger, whose rows are immutable and balanced, and the payouts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"

ENTRY_KEY = ("zone", "seq", "kind")
_SAME_ENTRY = "zone = NEW.zone AND seq = NEW.seq AND kind = NEW.kind"
_IS_NEW = f"NOT EXISTS (SELECT 1 FROM ledger_entries WHERE {_SAME_ENTRY})"
_HAS_LINES = f"EXISTS (SELECT 1 FROM ledger_lines WHERE {_SAME_ENTRY})"
_IS_BALANCED = f"NOT EXISTS (SELECT 1 FROM ledger_lines WHERE {_SAME_ENTRY} GROUP BY currency HAVING SUM(amount) <> 0)"
_CHECKS = {
    "ledger_entries": (f"{_IS_NEW} AND {_HAS_LINES} AND {_IS_BALANCED}", "ledger: the entry does not balance"),
    "ledger_lines": (_IS_NEW, "ledger: the entry has its lines already"),
}
"""For each table, what must be true of a new row, and the error otherwise."""
_IMMUTABLE = "ledger: its rows are immutable"


def upgrade() -> None:
    _create_ledger()
    _create_payouts()
    for table, (condition, error) in _CHECKS.items():
        if op.get_bind().dialect.name == "sqlite":
            _guard_on_sqlite(table, condition, error)
        else:
            _guard_on_postgresql(table, condition, error)
    if op.get_bind().dialect.name != "sqlite":
        _check_at_commit()


def _create_ledger() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("job", sa.Text(), nullable=True),
        sa.Column("payout", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint(*ENTRY_KEY, name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint("cause", name=op.f("uq_ledger_entries_cause")),
    )
    op.create_index(op.f("ix_ledger_entries_job"), "ledger_entries", ["job"])
    op.create_table(
        "ledger_lines",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("available_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(*ENTRY_KEY, "n", name=op.f("pk_ledger_lines")),
        sa.ForeignKeyConstraint(
            ENTRY_KEY,
            [f"ledger_entries.{name}" for name in ENTRY_KEY],
            name=op.f("fk_ledger_lines_zone_seq_kind"),
            deferrable=True,
            initially="DEFERRED",
        ),
    )
    op.create_index(op.f("ix_ledger_lines_account_zone_seq"), "ledger_lines", ["account", "zone", "seq"])
    op.create_table(
        "ledger_progress",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_ledger_progress")),
    )


def _create_payouts() -> None:
    op.create_table(
        "payouts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("technician", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payouts")),
        sa.UniqueConstraint("reference", name=op.f("uq_payouts_reference")),
    )
    op.create_index(op.f("ix_payouts_technician"), "payouts", ["technician"])
    op.create_table(
        "payout_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("payout", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout_events")),
        sa.UniqueConstraint("key", name=op.f("uq_payout_events_key")),
    )
    op.create_index(op.f("ix_payout_events_seq"), "payout_events", ["seq"])


def _guard_on_sqlite(table: str, condition: str, error: str) -> None:
    insert = f"SELECT RAISE(ABORT, '{error}') WHERE NOT ({condition})"
    op.execute(f"CREATE TRIGGER {table}_insert BEFORE INSERT ON {table} BEGIN {insert}; END")
    for verb in ("UPDATE", "DELETE"):
        refuse = f"SELECT RAISE(ABORT, '{_IMMUTABLE}')"
        op.execute(f"CREATE TRIGGER {table}_{verb.lower()} BEFORE {verb} ON {table} BEGIN {refuse}; END")


def _guard_on_postgresql(table: str, condition: str, error: str) -> None:
    op.execute(
        f"CREATE FUNCTION {table}_insert() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NOT ({condition}) THEN"
        f" RAISE EXCEPTION '{error}' USING ERRCODE = 'check_violation'; END IF; RETURN NEW; END $$"
    )
    op.execute(
        f"CREATE FUNCTION {table}_immutable() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" RAISE EXCEPTION '{_IMMUTABLE}' USING ERRCODE = 'check_violation'; END $$"
    )
    op.execute(f"CREATE TRIGGER {table}_insert BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_insert()")
    op.execute(
        f"CREATE TRIGGER {table}_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
        f" FOR EACH STATEMENT EXECUTE FUNCTION {table}_immutable()"
    )


def _check_at_commit() -> None:
    """Check each entry again at the commit: on PostgreSQL another transaction may have added lines meanwhile."""
    op.execute(
        "CREATE FUNCTION ledger_lines_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF NOT ({_IS_BALANCED}) THEN RAISE EXCEPTION '{_CHECKS['ledger_entries'][1]}'"
        " USING ERRCODE = 'check_violation'; END IF; RETURN NULL; END $$"
    )
    op.execute(
        "CREATE CONSTRAINT TRIGGER ledger_lines_commit AFTER INSERT ON ledger_lines DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION ledger_lines_commit()"
    )


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
