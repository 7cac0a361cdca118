"""The tables of chat rooms, projected from the logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "rooms",
        *_text_columns("id", "zone", "job", "state"),
        _number_column("n"),
        sa.Column("mediator_invited", sa.Boolean(), nullable=False),
        _number_column("opened_at"),
        sa.Column("closed_at", sa.BigInteger()),
        _number_column("active_at"),
        *_text_columns("doc"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rooms")),
    )
    op.create_index(op.f("ix_rooms_zone_active_at_id"), "rooms", ["zone", "active_at", "id"])
    op.create_table(
        "room_members",
        *_text_columns("room", "user", "role", "name"),
        _number_column("since"),
        _number_column("from_n"),
        sa.Column("left_at", sa.BigInteger()),
        sa.Column("active_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("room", "user", name=op.f("pk_room_members")),
    )
    op.create_index(op.f("ix_room_members_user_active_at_room"), "room_members", ["user", "active_at", "room"])
    op.create_table(
        "messages",
        *_text_columns("room"),
        _number_column("n"),
        _number_column("seq"),
        *_text_columns("id", "sender", "client_id"),
        _number_column("at"),
        *_text_columns("doc"),
        sa.PrimaryKeyConstraint("room", "n", name=op.f("pk_messages")),
        sa.UniqueConstraint("room", "sender", "client_id", name=op.f("uq_messages_room_sender_client_id")),
    )
    op.create_table(
        "room_reads",
        *_text_columns("room", "user"),
        _number_column("n"),
        sa.PrimaryKeyConstraint("room", "user", name=op.f("pk_room_reads")),
    )
    op.create_table(
        "room_progress",
        *_text_columns("zone"),
        _number_column("seq"),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_room_progress")),
    )
    # No release before this one had events of rooms.
    op.execute("INSERT INTO room_progress (zone, seq) SELECT zone, seq FROM checkpoints")


def _text_columns(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _number_column(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, autoincrement=False)


def downgrade() -> None:
    raise NotImplementedError("Callout goes forward only: restore a backup instead")
