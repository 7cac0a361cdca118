"""Refunds that a provider reports before the capture of their charge."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    op.create_table(
        "early_refunds",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("charge", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job", "reference", name=op.f("pk_early_refunds")),
    )
    op.create_index(op.f("ix_early_refunds_zone_due_at"), "early_refunds", ["zone", "due_at"])


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
