"""A column for reviews in the outbox, and one for the name of a login's client."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("outbox", sa.Column("review", sa.Text()))
    op.add_column("sessions", sa.Column("device", sa.Text()))


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
