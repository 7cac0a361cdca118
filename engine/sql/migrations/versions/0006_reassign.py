"""A column for the user who ordered that the jobs of a suspended technician are offered to others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("users", sa.Column("reassign", sa.Text()))


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
