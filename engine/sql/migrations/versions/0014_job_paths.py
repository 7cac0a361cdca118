"""The paths of technicians on jobs, for a limited time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "job_paths",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("technician", sa.Text(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("points", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job", "technician", name=op.f("pk_job_paths")),
    )
    op.create_index(op.f("ix_job_paths_last_at"), "job_paths", ["last_at"])


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
