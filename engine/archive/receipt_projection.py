"""Fold the signatures of jobs into receipts. The server's own signature is added when the rows are written, because it
needs the key (engine/archive/receipt_rows.py).
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.events import Event
from engine.rules.job_document import EventJob
from engine.rules.receipts import SIGNED_TYPE

RECEIPT_MEMBER = b'"receipt":{'


class EventImage(msgspec.Struct, frozen=True):
    """The image of a signature in the event's data."""

    sha256: str
    kind: str


class EventReceipt(msgspec.Struct, frozen=True):
    """The receipt in the data of ``job.signed``, as lua/lib/signature.lua writes it."""

    id: str
    sha256: str
    image: EventImage
    name: str
    salt: str
    record: str


class SignedData(msgspec.Struct, frozen=True):
    """The data of ``job.signed``. An event of an earlier release has no receipt."""

    job: EventJob
    receipt: EventReceipt | None = None


_decoder = msgspec.json.Decoder(SignedData)


def decode_signed(data: bytes) -> SignedData:
    """Decode the data of ``job.signed``. Raises msgspec.DecodeError."""
    return _decoder.decode(data)


def fold_receipt(rows: list[dict[str, Any]], event: Event) -> None:
    """Fold an event into ``rows``. Raises msgspec.DecodeError."""
    if event.type != SIGNED_TYPE or RECEIPT_MEMBER not in event.data:
        return
    data = decode_signed(event.data)
    receipt = data.receipt
    if receipt is None:
        return
    rows.append(
        {
            "id": receipt.id,
            "zone": event.zone,
            "seq": event.seq,
            "job": data.job.id,
            "customer": event.actor.partition(":")[2],
            "technician": data.job.holder_id or None,
            "at": event.at,
            "record": receipt.record,
            "name": receipt.name,
            "salt": receipt.salt,
            "image": receipt.image.sha256,
            "image_kind": receipt.image.kind,
        }
    )
