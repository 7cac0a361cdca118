"""The requested payments that a payment adapter has to process."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.create_table(
        "payment_cursors",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("zone", name="pk_payment_cursors"),
    )
    op.create_table(
        "payment_orders",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_payment_orders"),
    )
    op.create_index("ix_payment_orders_zone_due_at", "payment_orders", ["zone", "due_at"])


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
