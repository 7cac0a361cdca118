"""Quoted prices, and the caps on them in each zone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    op.create_table(
        "quotes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quotes")),
    )
    for columns in (("zone", "expires_at"), ("customer",), ("job",)):
        op.create_index(op.f(f"ix_quotes_{'_'.join(columns)}"), "quotes", list(columns))
    op.create_table(
        "price_caps",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("max", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_price_caps")),
    )


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
