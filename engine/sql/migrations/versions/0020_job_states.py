"""What events changed in the keys of jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "job_states",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job", "seq", name=op.f("pk_job_states")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
