"""A column for e-mail addresses as they were typed, besides the form in which they are compared."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("users", sa.Column("email_typed", sa.Text()))


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
