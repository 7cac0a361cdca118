"""The learnt travel times of zones, and the accuracy of their predictions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    op.create_table(
        "travel_times",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("times", sa.Text(), nullable=False),
        sa.Column("quality", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_travel_times")),
    )


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
