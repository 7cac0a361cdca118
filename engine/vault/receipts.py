"""Read receipts and the evidence for them. Only SQL and the blob store are needed: a receipt can be verified while its
zone is closed.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import func, select

from engine.archive.retired import retired_seq
from engine.audit import proofs
from engine.audit.proofs import InclusionProof
from engine.errors import NotFound
from engine.files.blob_errors import BlobMissing
from engine.rules.job_record import photo_digests
from engine.sql.audit_tables import audit, vault_keys
from engine.sql.database import Archive
from engine.sql.erasure_tables import erasures
from engine.sql.file_tables import files
from engine.sql.schema import events, jobs
from engine.sql.vault_tables import receipts
from engine.types import Principal
from engine.vault import checks
from engine.vault.checks import Check
from engine.vault.evidence import Contents, Evidence, PublicKey, SignedEvent, TreePlace

if TYPE_CHECKING:
    from engine.runtime import Engine


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A row of ``receipts`` and the evidence for it."""

    row: Any
    evidence: Evidence


async def read_receipt(engine: Engine, receipt_id: str) -> Receipt:
    """Return a receipt with its evidence, for the server's own use. Raises NotFound."""
    async with engine.archive.begin_read() as conn:
        row = (await conn.execute(select(receipts).where(receipts.c.id == receipt_id))).one_or_none()
    if row is None:
        raise NotFound("No such receipt")
    return Receipt(row=row, evidence=await _read_evidence(engine.archive, row))


async def read_own_receipt(engine: Engine, caller: Principal, receipt_id: str) -> Receipt:
    """Return a receipt with its evidence to a party of its job or to ops. Raises NotFound for all others."""
    receipt = await read_receipt(engine, receipt_id)
    parties = {"customer": receipt.row.customer, "technician": receipt.row.technician}
    if not caller.is_ops and parties.get(caller.role) != caller.id:
        raise NotFound("No such receipt")
    return receipt


async def verify_receipt(engine: Engine, receipt_id: str, sha256: str) -> list[Check]:
    """Return the results of all checks of a receipt. Raises NotFound unless ``sha256`` is the digest of its record."""
    receipt = await read_receipt(engine, receipt_id)
    if receipt.evidence.decoded_document().record_sha256 != sha256:
        raise NotFound("No such receipt")
    return checks.run_checks(receipt.evidence, await read_contents(engine, receipt))


async def read_contents(engine: Engine, receipt: Receipt) -> Contents:
    """Return the record, and the digests of the stored image and photos."""
    row = receipt.row
    record = row.record.encode() if row.record is not None else None
    photos = {digest: await _stored_digest(engine, digest) for digest in signed_photos(row.record)}
    image = await _stored_digest(engine, row.image) if row.image else None
    return Contents(record=record, image_sha256=image, photos=photos)


def signed_photos(record: str | None) -> list[str]:
    """Return the digests of the photos in a record; an empty list if the record was erased or cannot be read."""
    try:
        return photo_digests(record.encode()) if record is not None else []
    except ValueError:
        return []


async def read_blob(engine: Engine, sha256: str) -> bytes | None:
    """Return a small blob; None if the store does not have it."""
    try:
        return await engine.blobs.read(sha256)
    except BlobMissing:
        return None


async def _stored_digest(engine: Engine, sha256: str) -> str | None:
    try:
        return await engine.blobs.digest(sha256)
    except BlobMissing:
        return None


async def _read_evidence(archive: Archive, row: Any) -> Evidence:
    async with archive.begin_read() as conn:
        here = (events.c.zone == row.zone, events.c.seq == row.seq)
        event: Any = (await conn.execute(select(events).where(*here))).one_or_none()
        leaves = select(audit).where(audit.c.zone == row.zone, audit.c.seq == row.seq)
        leaf: Any = (await conn.execute(leaves)).one_or_none()
        keys = (await conn.execute(select(vault_keys))).all()
        retired = await retired_seq(conn, row.zone)
        parties = (erasures.c.user.in_([row.customer, row.technician]), erasures.c.state != "waiting")
        erased_people = (await conn.execute(select(func.count()).select_from(erasures).where(*parties))).scalar_one()
        of_job = select(files.c.sha256).where(files.c.target == f"job:{row.job}")
        kept_photos = set((await conn.execute(of_job)).scalars())
        kept_job = (await conn.execute(select(jobs.c.id).where(jobs.c.id == row.job))).scalar_one_or_none()
    proof = await proofs.prove_inclusion(archive, row.zone, row.seq)
    return Evidence(
        id=row.id,
        document=row.document,
        signature=base64.b64encode(row.signature).decode() if row.signature else None,
        name=row.name,
        salt=row.salt,
        image_kind=row.image_kind,
        event=_signed_event(event, leaf) if event and leaf and leaf.salt else None,
        leaf=bytes(leaf.leaf).hex() if leaf else None,
        tree=_tree_place(proof) if proof else None,
        keys=[_public_key(key) for key in keys],
        erased=row.record is None and bool(leaf) and leaf.salt is None,
        event_erased=bool(leaf) and leaf.salt is None,
        gone_photos=[digest for digest in signed_photos(row.record) if digest not in kept_photos],
        photos_erased=erased_people > 0,
        photos_retired=kept_job is None,
        retired=row.seq <= retired,
    )


def _signed_event(event: Any, leaf: Any) -> SignedEvent:
    names = ("seq", "at", "type", "actor", "job", "to", "data")
    request = event.cause.partition(":")[0]
    return SignedEvent(**{name: getattr(event, name) for name in names}, request=request, salt=bytes(leaf.salt).hex())


def _tree_place(proof: InclusionProof) -> TreePlace:
    hashes = [value.hex() for value in proof.hashes]
    return TreePlace(leaf=proof.leaf.hex(), index=proof.position, hashes=hashes, note=proof.head.head.note)


def _public_key(key: Any) -> PublicKey:
    return PublicKey(id=key.id, use=key.use, public=key.public, revoked=key.revoked_at is not None)
