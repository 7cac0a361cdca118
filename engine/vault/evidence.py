"""The evidence for one receipt: everything that the checks need, whether a server reads it from its stores or a file
has it. The JSON of ``Evidence`` is ``receipt.json`` in the file that the vault gives out.
"""

from __future__ import annotations

import msgspec

from engine.rules.receipts import SignatureDocument, decode_document


class PublicKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A public key of the server. ``public`` is base64, ``revoked`` whether it was revoked."""

    id: str
    use: str
    public: str
    revoked: bool = False


class SignedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The event ``job.signed`` as its leaf in the audit tree commits to it. ``request`` is the request key, ``salt`` is
    hexadecimal.
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
    """The leaf of the event, and the proof that it is the leaf ``index`` of the audit tree with the signed head
    ``note``. Hashes are hexadecimal.
    """

    leaf: str
    index: int
    hashes: list[str]
    note: str


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The evidence for one receipt. ``document`` is the text that the server signed, ``signature`` base64 (None until
    the server has signed). ``name``, ``salt`` and ``event`` are None if they were erased or cannot be read; ``tree`` is
    None until a head covers the event. ``erased``: data of the customer was erased.
    ``photos_erased``: the photos may have gone with the technician who took them. ``photos_retired``: the job is older
    than the server keeps jobs with their photos. ``retired``: the event is older than the server keeps events.
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
    photos_erased: bool = False
    photos_retired: bool = False
    retired: bool = False

    def decoded_document(self) -> SignatureDocument:
        """Return the decoded document. Raises ValueError."""
        return decode_document(self.document.encode())


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the evidence that are bytes of their own: the record, the digest of the image as it is stored, and
    that of each stored photo, by the digest that the record has of it. None is what cannot be read.
    """

    record: bytes | None
    image_sha256: str | None
    photos: dict[str, str | None]
