"""The receipts of signatures, which the archiver writes from the event ``job.signed``."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from engine.sql.columns import id_column, metadata, text_column, time_column

receipts = Table(
    "receipts",
    metadata,
    id_column(),
    text_column("zone"),
    Column("seq", BigInteger, nullable=False),
    text_column("job"),
    text_column("customer"),
    Column("technician", Text),
    time_column("at"),
    Column("record", Text),
    Column("name", Text),
    Column("salt", Text),
    Column("image", Text),
    text_column("image_kind"),
    text_column("document"),
    Column("key", Text),
    Column("signature", LargeBinary),
    Index(None, "customer"),
    Index(None, "image"),
)
"""One receipt for each signed job. ``record`` is the canonical JSON that was signed, ``image`` the digest of the blob
with the image or the strokes; both, the name and its salt are NULL after the customer was erased. ``document`` is what
the server signed with its ``key`` (engine/rules/receipts.py), and ``signature`` the 64 bytes of Ed25519."""
