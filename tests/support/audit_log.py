"""Archive events that a test has made itself, without Redis, and sign heads of their audit tree."""

from __future__ import annotations

from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from engine.archive import reader
from engine.archive.quarantine import EventWriter
from engine.archive.reader import Checkpoint
from engine.audit import heads, signed_note
from engine.audit.server_keys import HeadKey
from engine.audit.signed_note import Head
from engine.events import Event
from engine.process.signer import Signer
from engine.sql.audit_tables import audit
from engine.sql.database import Archive
from engine.types import DEFAULT_ZONE, Epoch

ZONE = DEFAULT_ZONE
EPOCH = Epoch("e1-x")
JOB = "job_main_01j00000000000000000000000"
KEY = HeadKey(Signer(Ed25519PrivateKey.from_private_bytes(b"k" * 32)))


def make_event(seq: int, **changes: Any) -> Event:
    """Return an event of a job with this seq."""
    data = msgspec.json.encode({"job": JOB, "note": f"Zürich \u2028 {seq}"})
    values = {"type": "job.late", "to": ("user:a", "role:ops"), "at": 1_700_000_000_000 + seq, "actor": "customer:a"}
    values |= {"blueprint_key": "home_service@1", "data": data, "cause": f"key-{seq}:f", **changes}
    return Event(ZONE, seq, **values)


async def archive_events(archive: Archive, *events: Event) -> str | None:
    """Archive events as the archiver does. Return the signed head of the audit tree as text (a signed note), or None if
    none was signed.
    """
    writer = EventWriter(archive, ZONE, {EPOCH: 1}, lambda zone: None, KEY)
    before: Checkpoint | None = await reader.checkpoint(archive, ZONE)
    await writer.write_events(events, before, lambda seq: EPOCH)
    return writer.head


async def archive_count(archive: Archive, count: int) -> None:
    """Make and archive ``count`` further events."""
    last = await reader.checkpoint(archive, ZONE)
    first = last.seq + 1 if last else 1
    await archive_events(archive, *map(make_event, range(first, first + count)))


async def sign_head(archive: Archive) -> Head:
    """Sign the present size and root of the audit tree (a signed head)."""
    note = await heads.sign_newest(archive, ZONE, KEY)
    assert note is not None
    return signed_note.parse_head(note)


async def read_leaves(archive: Archive) -> list[bytes]:
    """Return the leaves of the audit tree (the hashes of the events) from SQL, in order."""
    async with archive.begin_read() as conn:
        return [bytes(leaf) for leaf in (await conn.execute(select(audit.c.leaf).order_by(audit.c.seq))).scalars()]
