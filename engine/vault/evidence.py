"""The evidence for one receipt: everything that the checks need. A server reads it from its stores, ``callout vault
verify`` from a file. The JSON of ``Evidence`` is ``receipt.json`` in the file that clients download.
"""

from __future__ import annotations

import msgspec

from engine.rules.receipts import SignatureDocument, decode_document


class PublicKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A public key of the server. ``public`` is the key in base64. ``use`` is what the key signs: receipts or heads of
    audit trees.
    """

    id: str
    use: str
    public: str
    revoked: bool = False


class SignedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The members of the event ``job.signed`` that its leaf in the audit tree is computed from. ``at`` is in Unix
    milliseconds, ``request`` is the idempotency key, ``salt`` is hexadecimal.
    """

    seq: int
    at: int
    type: str
    actor: str
    job: str | None
    request: str
    to: str
    data: str
    salt: str


class TreePlace(msgspec.Struct, frozen=True, kw_only=True):
    """The leaf of the event, and the proof that the audit tree with the signed head ``note`` has this leaf at
    ``index``. Hashes are hexadecimal.
    """

    leaf: str
    index: int
    hashes: list[str]
    note: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The evidence for one receipt. ``document`` is the text that the server signed. ``signature`` is base64, and None
    until the server has signed. ``name``, ``salt`` and ``event`` are None if they were erased or cannot be read.
    ``tree`` is None until a head covers the event. ``erased``: data of the customer was erased. ``event_erased``: data
    of the customer or the technician in the event was erased. ``retired``: the server has deleted the event because of
    its age.

    ``gone_photos`` are the digests of the photos that the server deleted; None in a file of an earlier release, which
    does not say. ``photos_erased``: an erasure of the customer or the technician may have deleted them.
    ``photos_retired``: the server has deleted the job with its photos because of its age.
    """

    id: str
    document: str
    signature: str | None = None
    name: str | None = None
    salt: str | None = None
    image_kind: str = "png"
    event: SignedEvent | None = None
    leaf: str | None = None
    tree: TreePlace | None = None
    keys: list[PublicKey] = []
    erased: bool = False
    event_erased: bool = False
    gone_photos: list[str] | None = None
    photos_erased: bool = False
    photos_retired: bool = False
    retired: bool = False

    def decoded_document(self) -> SignatureDocument:
        """Return the decoded document. Raises ValueError."""
        return decode_document(self.document.encode())


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The record, and the digests of the stored image and photos. ``photos`` maps the digest of a photo in the record
    to the digest of the stored photo. A value is None if the content cannot be read. ``has_other_image`` and
    ``has_other_photos``: a file has an image or photos that its receipt does not name.
    """

    record: bytes | None
    image_sha256: str | None
    photos: dict[str, str | None]
    has_other_image: bool = False
    has_other_photos: bool = False
