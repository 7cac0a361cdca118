"""The checks of a receipt, each with a name. They are pure functions, so that a server and a verification of a file
without a server give the same results.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from engine.archive.receipt_projection import decode_signed
from engine.audit import signed_note
from engine.audit.leaves import Entry, leaf_of
from engine.audit.server_keys import AUDIT_USE, RECEIPT_USE
from engine.events import ms_of
from engine.rules.canonical import digest_of
from engine.rules.job_record import photo_digests
from engine.rules.merkle_tree import proves_inclusion
from engine.rules.receipts import SIGNED_TYPE, SignatureDocument, is_name
from engine.vault.evidence import Contents, Evidence, SignedEvent

Result = Literal["ok", "failed", "missing", "erased", "retired", "pending"]
"""``ok``: the content matches. ``failed``: the content was changed. ``missing``: the content is not there. ``erased``:
an erasure deleted the content. ``retired``: the event or the job is older than the server stores them. ``pending``: the
server has not signed yet, or no head covers the event yet.
"""

_GOOD_RESULTS: tuple[Result, ...] = ("ok", "erased", "retired")


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """The result of one check. ``detail`` says what does not match, and reveals nothing of the content."""

    name: str
    result: Result
    detail: str = ""


def run_checks(evidence: Evidence, contents: Contents) -> list[Check]:
    """Return the results of all checks, in the order of docs/vault.md."""
    try:
        document = evidence.decoded_document()
    except ValueError:
        return [Check("document", "failed", "it cannot be read")]
    return [Check(*each) for each in _results(evidence, contents, document)]


def is_verified(checks: list[Check]) -> bool:
    """Return whether every check is ok, or concerns content that was erased or retired. Only the server knows what was:
    a file claims it, and nobody signs the claim.
    """
    return all(check.result in _GOOD_RESULTS for check in checks)


def is_complete(checks: list[Check]) -> bool:
    """Return whether every check is ok."""
    return all(check.result == "ok" for check in checks)


def is_pending(checks: list[Check]) -> bool:
    """Return whether no check failed and at least one is pending."""
    results = {check.result for check in checks}
    return "pending" in results and results <= {*_GOOD_RESULTS, "pending"}


_Fields = tuple[str, Result, str]


def _results(evidence: Evidence, contents: Contents, document: SignatureDocument) -> Iterator[_Fields]:
    gone: Result = "erased" if evidence.erased else "missing"
    found = None if contents.record is None else digest_of(contents.record)
    yield ("record", *_compare(found, document.record_sha256, gone))
    if contents.has_other_photos:
        yield "photos", "failed", "there is a photo that the record does not name"
    elif contents.record is None:
        yield "photos", gone, ""
    else:
        yield _check_photos(evidence, contents.record, contents.photos)
    if contents.has_other_image:
        yield "image", "failed", "there is a second image"
    else:
        yield ("image", *_compare(contents.image_sha256, document.image_sha256, gone))
    yield ("name", *_check_name(evidence, document, gone))
    yield ("server_signature", *_check_signature(evidence, document))
    yield ("event", *_check_event(evidence, document))
    yield from _check_tree(evidence, document)


def _compare(found: str | None, expected: str, gone: Result) -> tuple[Result, str]:
    if found is None:
        return gone, ""
    return ("ok", "") if found == expected else ("failed", "it has another digest than the one that was signed")


def _check_photos(evidence: Evidence, record: bytes, photos: dict[str, str | None]) -> _Fields:
    try:
        expected = photo_digests(record)
    except ValueError:
        return "photos", "failed", "the record does not say which photos it has"
    worst: _Fields = ("photos", "ok", "")
    for number, digest in enumerate(expected, 1):
        found, place = photos.get(digest), f"photo {number} of {len(expected)}"
        if found is not None and found != digest:
            return "photos", "failed", f"{place} has another digest"
        result = "ok" if found else _gone_photo(evidence, digest)
        if result == "missing":
            return "photos", result, place
        if result != "ok":
            worst = ("photos", result, place)
    return worst


def _gone_photo(evidence: Evidence, digest: str) -> Result:
    """Return why a photo is not there. One that the server did not delete is missing, whatever else was erased."""
    if evidence.gone_photos is not None and digest not in evidence.gone_photos:
        return "missing"
    if evidence.erased or evidence.photos_erased:
        return "erased"
    return "retired" if evidence.photos_retired else "missing"


def _check_name(evidence: Evidence, document: SignatureDocument, gone: Result) -> tuple[Result, str]:
    if evidence.name is None or evidence.salt is None:
        return gone, ""
    same = is_name(evidence.name, evidence.salt, document.name_sha256)
    return ("ok", "") if same else ("failed", "it has another digest than the one that was signed")


def _check_signature(evidence: Evidence, document: SignatureDocument) -> tuple[Result, str]:
    if document.receipt != evidence.id:
        return "failed", "the document is of another receipt"
    if evidence.signature is None:
        return "pending", ""
    key = next((key for key in evidence.keys if key.id == document.key and key.use == RECEIPT_USE), None)
    if key is None or key.revoked:
        return "failed", "no valid key of this server signed it"
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public))
        public.verify(base64.b64decode(evidence.signature, validate=True), evidence.document.encode())
    except (InvalidSignature, ValueError, binascii.Error):
        return "failed", "the signature is not one of this document"
    return "ok", ""


def _check_event(evidence: Evidence, document: SignatureDocument) -> tuple[Result, str]:
    """Check that the hash of the event is its leaf in the audit tree, and that the event has the same values as the
    document.
    """
    event = evidence.event
    if evidence.leaf is None:
        return "pending", ""
    if event is None:
        is_erased = evidence.erased or evidence.event_erased
        return "retired" if evidence.retired else "erased" if is_erased else "missing", ""
    try:
        leaf, says = _leaf_of(event, document.zone), _equals_document(event, evidence.image_kind, document)
    except (ValueError, AttributeError, RecursionError):
        return "failed", "the event cannot be read"
    if leaf != evidence.leaf:
        return "failed", "the event is not the leaf of the audit tree"
    return ("ok", "") if says else ("failed", "the event says something else than the document")


def _leaf_of(event: SignedEvent, zone: str) -> str:
    entry = Entry(event.seq, event.at, event.type, event.actor, event.job, event.request, event.to, event.data)
    return leaf_of(zone, entry, bytes.fromhex(event.salt)).hex()


def _equals_document(event: SignedEvent, image_kind: str, document: SignatureDocument) -> bool:
    """Return whether the event has the same values as the document, and names the same kind of image as the receipt.
    Raises ValueError, AttributeError.
    """
    receipt = decode_signed(event.data.encode()).receipt
    if receipt is None or event.type != SIGNED_TYPE:
        return False
    found = (event.seq, event.at, event.actor, receipt.id, receipt.sha256, receipt.image.sha256)
    expected = (document.seq, ms_of(document.at), f"customer:{document.by}", document.receipt)
    digests = (document.record_sha256, document.image_sha256)
    same_record = digest_of(receipt.record.encode()) == document.record_sha256
    same_name = is_name(receipt.name, receipt.salt, document.name_sha256)
    same_kind = receipt.image.kind == image_kind
    return found == (*expected, *digests) and same_record and same_name and same_kind


def _check_tree(evidence: Evidence, document: SignatureDocument) -> Iterator[_Fields]:
    """Check that the leaf is in the audit tree of the head, and that this server signed the head."""
    tree = evidence.tree
    if tree is None:
        yield "inclusion", "pending", ""
        yield "head", "pending", ""
        return
    try:
        head = signed_note.parse_head(tree.note)
        proof = [bytes.fromhex(value) for value in tree.hashes]
        included = proves_inclusion(bytes.fromhex(tree.leaf), tree.index, head.size, proof, head.root)
        keys = [base64.b64decode(key.public) for key in evidence.keys if key.use == AUDIT_USE and not key.revoked]
    except (ValueError, TypeError):
        yield "inclusion", "failed", "the proof cannot be read"
        yield "head", "failed", "the head cannot be read"
        return
    included = included and tree.leaf == evidence.leaf
    yield "inclusion", "ok" if included else "failed", "" if included else "the event is not in the tree of the head"
    signed = head.zone == document.zone and any(signed_note.is_signed_by(head, key) for key in keys)
    yield "head", "ok" if signed else "failed", "" if signed else "no valid key of this server signed the head"
