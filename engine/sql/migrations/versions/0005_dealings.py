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
        _required_column("id", sa.Text()),
        _required_column("job", sa.Text()),
        _required_column("technician", sa.Text()),
        _required_column("zone", sa.Text()),
        _required_column("status", sa.Text()),
        sa.Column("amount", sa.BigInteger()),
        _required_column("created_at", sa.BigInteger()),
        _required_column("updated_at", sa.BigInteger()),
        _required_column("doc", sa.Text()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bids")),
    )
    op.create_index(op.f("ix_bids_job_created_at"), "bids", ["job", "created_at"])
    op.create_index(op.f("ix_bids_technician_created_at"), "bids", ["technician", "created_at"])
    op.create_table(
        "payments",
        _required_column("job", sa.Text()),
        _required_column("id", sa.Text()),
        _required_column("zone", sa.Text()),
        sa.Column("reference", sa.Text()),
        sa.Column("kind", sa.Text()),
        _required_column("status", sa.Text()),
        _required_column("amount", sa.BigInteger()),
        _required_column("currency", sa.Text()),
        _required_column("created_at", sa.BigInteger()),
        _required_column("updated_at", sa.BigInteger()),
        _required_column("doc", sa.Text()),
        sa.PrimaryKeyConstraint("job", "id", name=op.f("pk_payments")),
    )
    op.create_index(op.f("ix_payments_reference"), "payments", ["reference"])


def _required_column(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, autoincrement=False)


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
