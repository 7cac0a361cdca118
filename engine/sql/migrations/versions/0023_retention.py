"""The table of what was removed because of its age, and the index by which old notifications are found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "retirements",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("announced_seq", sa.BigInteger()),
        sa.Column("deleted_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("zone", "first_seq", name=op.f("pk_retirements")),
    )
    op.create_index(op.f("ix_notifications_at"), "notifications", ["at"])


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
