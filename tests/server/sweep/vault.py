"""A receipt in the sweep's world: that of the done job, as the archiver would have written it."""

from __future__ import annotations

from sqlalchemy import insert

from engine.archive.receipt_rows import signed_row
from engine.audit.server_keys import HeadKey
from engine.rules.canonical import canonical_json, digest_of
from engine.sql.vault_tables import receipts
from tests.server.sweep.world import World
from tests.support.signatures import make_png

RECEIPT = "rcp_main_of_the_sweep"


async def create_receipt(world: World) -> None:
    """Write a receipt with secrets in its record and its name. Only the parties of the done job and ops may read it."""
    engine, readers = world.server.engine, ("customer", "holder", "ops_manager", "admin")
    record = canonical_json({"address": world.new_secret("signed address", *readers), "photos": []})
    image = make_png()
    await engine.blobs.put(digest_of(image), image)
    row = {
        "id": RECEIPT,
        "zone": "main",
        "seq": 1,
        "job": world.jobs["done"],
        "customer": world.people["customer"].user,
        "technician": world.people["holder"].user,
        "at": 0,
        "record": record.decode(),
        "name": world.new_secret("signed name", *readers),
        "salt": "00" * 16,
        "image": digest_of(image),
        "image_kind": "png",
    }
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(receipts).values(**signed_row(row, HeadKey(engine.signer).receipts)))
    world.ids |= {"receipt": RECEIPT, "record_digest": digest_of(record)}
