"""How far each zone without an audit tree was archived: only up to there may its tree be missing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("seq_before_audit", sa.BigInteger()))
    op.execute("UPDATE checkpoints SET seq_before_audit = seq WHERE zone NOT IN (SELECT zone FROM audit_trees)")


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
