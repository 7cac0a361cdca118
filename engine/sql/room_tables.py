"""The tables of chat rooms. They are a projection of the zones' logs, which only the archiver writes
(engine/archive/room_rows.py).
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Table, Text, UniqueConstraint, false

from engine.sql.columns import id_column, metadata, text_column, time_column

rooms = Table(
    "rooms",
    metadata,
    id_column(),
    text_column("zone"),
    text_column("job"),
    text_column("state"),
    Column("n", BigInteger, nullable=False),
    Column("mediator_invited", Boolean, nullable=False),
    time_column("opened_at"),
    Column("closed_at", BigInteger),
    time_column("active_at"),
    text_column("doc"),
    Column("mediator", Text),
    Index(None, "zone", "active_at", "id"),
    Index(None, "zone", "state", "closed_at"),
)
"""The chat rooms. ``n`` is the number of the last message; ``active_at`` is the time of the last message, or of the
opening if there is none. ``doc`` is the room as JSON, from its last event of a ``room.`` type: its ``n`` and its
members may be outdated. ``mediator`` is the user who took the open dispute about the job."""

room_members = Table(
    "room_members",
    metadata,
    id_column("room"),
    id_column("user"),
    text_column("role"),
    text_column("name"),
    time_column("since"),
    Column("from_n", BigInteger, nullable=False),
    Column("left_at", BigInteger),
    Column("active_at", BigInteger),
    Column("joined", Boolean, nullable=False, server_default=false()),
    Index(None, "user", "active_at", "room"),
)
"""The memberships. ``from_n``: the member reads the messages above this number. ``left_at`` is NULL during the
membership, and ``joined`` is true after the member came in for the first time. ``active_at`` is NULL while the room is
open, because Redis lists the open rooms. Then it is the time of the last message that the member may read, or of the
opening. It does not change any more, so the closed rooms of a user are read in this order from the index."""

messages = Table(
    "messages",
    metadata,
    id_column("room"),
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    text_column("id"),
    text_column("sender"),
    text_column("client_id"),
    time_column("at"),
    text_column("doc"),
    UniqueConstraint("room", "sender", "client_id"),
)
"""The messages. ``doc`` is the message as JSON, as its event contains it; ``seq`` is the event's."""

room_reads = Table(
    "room_reads",
    metadata,
    id_column("room"),
    id_column("user"),
    Column("n", BigInteger, nullable=False),
)
"""The read marks: the highest number that each member has read, or has written."""

room_progress = Table(
    "room_progress",
    metadata,
    id_column("zone"),
    Column("seq", BigInteger, nullable=False),
)
"""The seq up to which these tables have each zone's events. It is the archiver's checkpoint, or lower after an archiver
of a release without these tables has written; engine/archive/room_refill.py then reads the rest from ``events``."""
