"""The seq of a notification's event. With it, messages can be compared in age with the notification."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.add_column("notifications", sa.Column("seq", sa.BigInteger()))


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
