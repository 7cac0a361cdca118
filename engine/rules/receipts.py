"""The document that the server signs for a receipt, as canonical JSON. It contains digests, ids and the time.

It contains no personal text. Therefore it stays when a person is erased, and the server's signature still verifies. The
name that the customer typed is in it as a digest with a random salt, because without the salt nobody can find the name
by trying many names.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec

from engine.events import rfc3339_of
from engine.rules.canonical import canonical_json
from engine.types import Zone

SIGNED_TYPE = "job.signed"
DOCUMENT_FORMAT = 1
SALT_BYTES = 16


class SignatureDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The decoded document. ``by`` is the customer's id. ``seq`` is that of the event ``job.signed`` in the log of
    ``zone``, and ``at`` is its time (RFC 3339). ``key`` is the id of the server's key.
    """

    format: int
    receipt: str
    zone: Zone
    seq: int
    by: str
    at: str
    record_sha256: str
    image_sha256: str
    name_sha256: str
    key: str


class _ReceiptId(msgspec.Struct):
    id: str


_decoder = msgspec.json.Decoder(SignatureDocument)
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_receipt_decoder = msgspec.json.Decoder(_ReceiptId)


def encode_document(receipt: str, zone: str, seq: int, by: str, at_ms: int, digests: dict[str, str], key: str) -> bytes:
    """Return the document. ``digests`` has the keys ``record``, ``image`` and ``name``."""
    named = {f"{name}_sha256": value for name, value in digests.items()}
    place = {"receipt": receipt, "zone": zone, "seq": seq}
    return canonical_json({"format": DOCUMENT_FORMAT, **place, "by": by, "at": rfc3339_of(at_ms), **named, "key": key})


def decode_document(text: bytes) -> SignatureDocument:
    """Return the decoded document. Raises ValueError."""
    try:
        return _decoder.decode(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def name_digest(name: str, salt: str) -> str:
    """Return the digest of a name with its salt (hexadecimal), in hexadecimal. Raises ValueError."""
    return sha256(bytes.fromhex(salt) + name.encode()).hexdigest()


def is_name(name: str, salt: str, digest: str) -> bool:
    """Return whether a name with its salt has this digest. A salt of another length is wrong: with the first letters of
    the name at its end, the digest would be the same for the rest of the name.
    """
    try:
        return len(bytes.fromhex(salt)) == SALT_BYTES and name_digest(name, salt) == digest
    except ValueError:
        return False


def client_data(event_type: str, data: bytes) -> bytes:
    """Return the data of an event as clients receive it. Of the receipt in ``job.signed`` they receive the id: the
    record, the name and its salt are for the archiver, and the parties read them in the vault. Raises ValueError for
    data that is not JSON.
    """
    if event_type != SIGNED_TYPE:
        return data
    members = _members_decoder.decode(data)
    if "receipt" not in members:  # a signature of an earlier release
        return data
    receipt = msgspec.json.encode(_receipt_decoder.decode(members["receipt"]))
    return msgspec.json.encode({**members, "receipt": msgspec.Raw(receipt)})
