"""The tables of bids and payments, projected from the logs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "bids",
        _given("id", sa.Text()),
        _given("job", sa.Text()),
        _given("technician", sa.Text()),
        _given("zone", sa.Text()),
        _given("status", sa.Text()),
        sa.Column("amount", sa.BigInteger()),
        _given("created_at", sa.BigInteger()),
        _given("updated_at", sa.BigInteger()),
        _given("doc", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bids")),
    )
    op.create_index(op.f("ix_bids_job_created_at"), "bids", ["job", "created_at"])
    op.create_index(op.f("ix_bids_technician_created_at"), "bids", ["technician", "created_at"])
    op.create_table(
        "payments",
        _given("job", sa.Text()),
        _given("id", sa.Text()),
        _given("zone", sa.Text()),
        sa.Column("reference", sa.Text()),
        sa.Column("kind", sa.Text()),
        _given("status", sa.Text()),
        _given("amount", sa.BigInteger()),
        _given("currency", sa.Text()),
        _given("created_at", sa.BigInteger()),
        _given("updated_at", sa.BigInteger()),
        _given("doc", sa.Text()),
        sa.PrimaryKeyConstraint("job", "id", name=op.f("pk_payments")),
    )
    op.create_index(op.f("ix_payments_reference"), "payments", ["reference"])


def _given(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, autoincrement=False)


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
