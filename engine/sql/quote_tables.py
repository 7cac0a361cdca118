"""The tables of prices: the quotes, which the archiver writes, and the caps of ops, of which SQL is the source."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from engine.sql.columns import id_column, metadata, text_column, time_column

quotes = Table(
    "quotes",
    metadata,
    id_column(),
    text_column("zone"),
    Column("seq", BigInteger, nullable=False),
    text_column("customer"),
    Column("job", Text),
    time_column("expires_at"),
    text_column("doc"),
    Index(None, "zone", "expires_at"),
    Index(None, "customer"),
    Index(None, "job"),
)
"""The quotes. ``seq`` is that of the event ``quote.created``, ``job`` the job that used the quote up, ``doc`` the quote
as JSON without that job."""

price_caps = Table(
    "price_caps",
    metadata,
    id_column("zone"),
    Column("max", Integer, nullable=False),
)
"""The largest multiplier (per mille) of quoted prices in a zone, even if a blueprint allows more. A zone without a row
has no cap."""
