"""The id of the database, by which a wrong pair of Redis and database is found."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    table = op.create_table("deployment", sa.Column("id", sa.Text(), nullable=False))
    op.bulk_insert(table, [{"id": uuid.uuid4().hex}])


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
