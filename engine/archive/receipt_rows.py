"""Write the receipts of a batch to SQL, each with the server's signature. A row depends only on the event and
the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.audit.server_keys import ServerKey
from engine.clock import now_ms
from engine.rules.canonical import digest_of
from engine.rules.receipts import encode_document, name_digest
from engine.sql.vault_tables import receipts


async def apply_rows(conn: AsyncConnection, rows: Sequence[Mapping[str, Any]], key: ServerKey | None) -> None:
    """Insert receipts, signed with ``key``. Without a key they are not signed."""
    if not rows:
        return
    if key:
        await key.publish(conn, now_ms())
    await conn.execute(insert(receipts), [signed_row(row, key) for row in rows])


def signed_row(row: Mapping[str, Any], key: ServerKey | None) -> dict[str, Any]:
    """Return the row of a folded receipt, with its document and the server's signature added."""
    digests = {
        "record": digest_of(row["record"].encode()),
        "image": row["image"],
        "name": name_digest(row["name"], row["salt"]),
    }
    place = (row["id"], row["zone"], row["seq"], row["customer"], row["at"])
    document = encode_document(*place, digests, key.id if key else "")
    signature = key.private.sign(document) if key else None
    return {**row, "document": document.decode(), "key": key.id if key else None, "signature": signature}
