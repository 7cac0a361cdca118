"""Which zones an operator has closed, which process writes a zone anew, and what that needs of technicians
and rooms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "zone_controls",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("holder", sa.Text()),
        sa.Column("expires_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_zone_controls")),
    )
    op.create_table(
        "technician_states",
        sa.Column("technician", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("works", sa.Text(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("asked", sa.BigInteger(), nullable=False),
        sa.Column("free_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("technician", "zone", name=op.f("pk_technician_states")),
    )
    op.add_column("room_members", sa.Column("joined", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_index(op.f("ix_rooms_zone_state_closed_at"), "rooms", ["zone", "state", "closed_at"])


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
