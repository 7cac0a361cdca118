"""Blobs that a chore deletes now, outside of a transaction."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"


def upgrade() -> None:
    op.add_column("file_releases", sa.Column("deleting_until", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
