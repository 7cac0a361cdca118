"""The mediator of the open dispute about a room's job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("rooms", sa.Column("mediator", sa.Text()))


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
