"""The table of blocks: which users do not want to work with which others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "blocks",
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("other", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_blocks_user")),
        sa.ForeignKeyConstraint(["other"], ["users.id"], name=op.f("fk_blocks_other")),
        sa.PrimaryKeyConstraint("user", "other", name=op.f("pk_blocks")),
    )
    op.create_index(op.f("ix_blocks_other"), "blocks", ["other"])


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
