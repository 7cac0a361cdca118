"""The chat room of a notification."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("notifications", sa.Column("room", sa.Text()))


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
