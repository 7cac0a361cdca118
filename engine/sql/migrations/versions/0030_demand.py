"""The tables of demand: counts by area and hour, the progress of the counting, and the learnt state of the forecast."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"

AREA = ("zone", "kind", "area")


def upgrade() -> None:
    op.create_table(
        "demand_hours",
        *(sa.Column(name, sa.Text(), nullable=False) for name in AREA),
        sa.Column("hour", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("booked", "quoted", "filled", "expired")),
        sa.PrimaryKeyConstraint(*AREA, "hour", name=op.f("pk_demand_hours")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_demand_hours_zone_kind_hour"), "demand_hours", ["zone", "kind", "hour"])
    op.create_table(
        "demand_progress",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_demand_progress")),
    )
    op.create_table(
        "demand_models",
        *(sa.Column(name, sa.Text(), nullable=False) for name in AREA),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(*AREA, name=op.f("pk_demand_models")),
    )


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
