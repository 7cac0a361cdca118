"""The outbox of effects that Redis does not have yet, and a column for the latest used generation of a login."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), nullable=False),
        sa.Column("code", sa.Integer()),
        sa.Column("family", sa.Text()),
        sa.Column("reassign", sa.Boolean(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_outbox_user_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_user"), "outbox", ["user"])
    # What was under way: the id of the user is as good a key as any, of a row that nobody has told of yet.
    op.execute(
        'INSERT INTO outbox (key, "user", code, reassign, actor, at) '
        "SELECT id, id, CASE WHEN active THEN 4006 ELSE 4502 END, reassign IS NOT NULL, "
        "COALESCE(reassign, 'engine'), created_at FROM users WHERE NOT hot"
    )
    op.drop_index(op.f("ix_users_hot"), "users")
    op.drop_column("users", "hot")
    op.drop_column("users", "reassign")
    op.add_column("sessions", sa.Column("used", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
