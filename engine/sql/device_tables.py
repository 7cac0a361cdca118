"""The table of the devices to which pushes are sent."""

from __future__ import annotations

from sqlalchemy import Index, Table

from engine.sql.columns import id_column, metadata, text_column, time_column

devices = Table(
    "devices",
    metadata,
    id_column("token_hash"),
    text_column("user"),
    text_column("id"),
    text_column("platform"),
    text_column("token"),
    time_column("at"),
    Index(None, "user", "id"),
)
"""The devices of users. ``id`` is the client's own name for the device; a user has one row for each, because a command
locks the user. ``token`` is the push token that the device's platform issued; its SHA-256 is the primary key, so that a
token belongs to one user at a time, and because a token may be longer than PostgreSQL allows in an index. ``at`` is
when the client last sent the token. ``user`` is no foreign key, because who uses ``callout token`` has no account.
"""
