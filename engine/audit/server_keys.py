"""The keys with which the server signs: one for the heads of the audit trees, one for the receipts of signatures."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.process.signer import Signer
from engine.sql.audit_tables import vault_keys
from engine.sql.database import Archive

AUDIT_USE, RECEIPT_USE = "audit", "receipt"
"""What a key signs: the values of the column ``use`` in ``vault_keys``."""
ALGORITHM = "Ed25519"
_PURPOSES = {AUDIT_USE: "audit head", RECEIPT_USE: "vault receipt"}


class ServerKey:
    """A key of this server for one use. It is derived from the signing key, so that hosts that share the key file sign
    alike. (Rejected: a key file for each use. Each host would need several files, and a host without one of them would
    sign with another key.)
    """

    def __init__(self, signer: Signer, use: str) -> None:
        self.use = use
        self.private = Ed25519PrivateKey.from_private_bytes(signer.derive_key(_PURPOSES[use]))
        self.public = self.private.public_key().public_bytes_raw()
        self.id = f"key_{sha256(self.public).hexdigest()[:16]}"

    async def publish(self, conn: AsyncConnection, now_ms: int) -> None:
        """Store the public key in ``vault_keys``, unless it is stored already. The key that was used before then ends
        at ``now_ms`` (Unix time).
        """
        columns = vault_keys.c
        if (await conn.execute(select(columns.id).where(columns.id == self.id))).scalar():
            return
        former = (columns.use == self.use) & columns.valid_until.is_(None)
        await conn.execute(update(vault_keys).where(former).values(valid_until=now_ms))
        text = base64.b64encode(self.public).decode()
        new = {"id": self.id, "use": self.use, "alg": ALGORITHM, "public": text, "valid_from": now_ms}
        await conn.execute(insert(vault_keys).values(**new))


class HeadKey(ServerKey):
    """The key that signs heads. Its attribute ``receipts`` is the key for the receipts that the same
    transaction writes.
    """

    def __init__(self, signer: Signer) -> None:
        super().__init__(signer, AUDIT_USE)
        self.receipts = ServerKey(signer, RECEIPT_USE)


async def read_public_keys(conn: AsyncConnection, use: str = AUDIT_USE) -> dict[str, bytes]:
    """Return the public keys of one use that were not revoked, by their ids."""
    columns = vault_keys.c
    query = select(columns.id, columns.public).where(columns.use == use, columns.revoked_at.is_(None))
    return {row.id: _decode(row.public) for row in await conn.execute(query)}


def _decode(text: str) -> bytes:
    """Return the bytes of a key. For a text that is not base64, return no bytes: no signature is valid under
    such a key.
    """
    try:
        return base64.b64decode(text)
    except (ValueError, TypeError):
        return b""


async def read_all_keys(archive: Archive) -> list[Any]:
    """Return the server's public keys, the present ones and all former ones: rows of ``vault_keys``."""
    async with archive.begin_read() as conn:
        return list((await conn.execute(select(vault_keys))).all())
