"""The sort keys of lists whose items are JSON. A key is a time, and an id or a number that differs between items of the
same time.

A key is unique in its list, because the cursor of a page is the key of the page's last item. Times are RFC 3339 texts
of the same length, so the order of the texts is the order of the times.
"""

from __future__ import annotations

import msgspec

from engine.rules.job_document import EventJob


class _CreationFields(msgspec.Struct):
    created_at: str
    id: str


class _DisputeFields(msgspec.Struct):
    opened_at: str
    id: str


class _OfferFields(msgspec.Struct):
    expires_at: str
    job: EventJob


class _WaveFields(msgspec.Struct):
    at: str
    wave: int


_creation_decoder = msgspec.json.Decoder(_CreationFields)
_dispute_decoder = msgspec.json.Decoder(_DisputeFields)
_offer_decoder = msgspec.json.Decoder(_OfferFields)
_wave_decoder = msgspec.json.Decoder(_WaveFields)


def creation_key(document: bytes) -> tuple[str, str]:
    """Return the sort key of a bid or a payment: when it was created, and its id."""
    found = _creation_decoder.decode(document)
    return found.created_at, found.id


def dispute_key(dispute: bytes) -> tuple[str, str]:
    """Return the sort key of a dispute: when it was opened, and its id."""
    found = _dispute_decoder.decode(dispute)
    return found.opened_at, found.id


def offer_key(offer: bytes) -> tuple[str, str]:
    """Return the sort key of an offer to one technician: when it expires, and the id of its job."""
    found = _offer_decoder.decode(offer)
    return found.expires_at, found.job.id


def wave_key(wave: bytes) -> tuple[str, int]:
    """Return the sort key of a wave of one job: when it began, and its number."""
    found = _wave_decoder.decode(wave)
    return found.at, found.wave
