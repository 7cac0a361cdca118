"""Entries of the ledger say whether the adapter `test` made the payment: then no money has moved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0039"


def upgrade() -> None:
    op.add_column("ledger_entries", sa.Column("test", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
