"""The tokens of links to jobs. A person who has the token of a link may follow its job without an account.

A token is the job and the link, encrypted and authenticated with a key that only the servers have (AES-SIV, RFC 5297).
It is made again from the two ids at any time, so that no store has a token, nor a hash of one, and a token needs no
index to find its job. It reveals no id. Whether its link is still open is in the job's record alone.

(Rejected: a random token whose hash is a key in Redis that leads to the job. A repeated request could not get the same
link again, and a rebuild and the end of each job would have to care for these keys.)
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from engine.process.signer import Signer
from engine.types import JobId, Zone, zone_of

ENDING_LENGTH = 16
"""The number of characters of a link's id in its token: the 80 random bits of a ULID."""
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_ZONE_BYTES, _JOB_BYTES, _ENDING_BYTES = 4, 17, 10
_TAG_BYTES = 16


class ShareTarget(NamedTuple):
    """The link that a token is for: its job, and the end of its id (``ENDING_LENGTH`` characters)."""

    zone: Zone
    job: JobId
    ending: str


def make_token(signer: Signer, job: JobId, share: str) -> str:
    """Return the token of the link ``share`` (an id that ends with a ULID) to a job: 63 characters that may stand in a
    URL.
    """
    zone = zone_of(job) or Zone("")
    ulid = _number(job[-26:]).to_bytes(_JOB_BYTES, "big")
    plain = _zone_digest(zone) + ulid + _number(share[-ENDING_LENGTH:]).to_bytes(_ENDING_BYTES, "big")
    return _text_of(_cipher(signer).encrypt(plain, None))


def read_token(signer: Signer, zones: Iterable[Zone], token: str) -> ShareTarget | None:
    """Return the link of a token; None if it is not a token of this server, or of a job in none of ``zones``. Of the
    texts that stand for the same bytes only the one of ``make_token`` is a token, because followers are counted by it.
    """
    size = _TAG_BYTES + _ZONE_BYTES + _JOB_BYTES + _ENDING_BYTES
    try:
        sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        is_token = len(sealed) == size and _text_of(sealed) == token
        plain = _cipher(signer).decrypt(sealed, None) if is_token else b""
    except (ValueError, InvalidTag):
        return None
    zone = next((each for each in zones if plain and _zone_digest(each) == plain[:_ZONE_BYTES]), None)
    if zone is None:
        return None
    job = _text(int.from_bytes(plain[_ZONE_BYTES:-_ENDING_BYTES], "big"), 26)
    return ShareTarget(zone, JobId(f"job_{zone}_{job}"), _text(int.from_bytes(plain[-_ENDING_BYTES:], "big"), 16))


def _text_of(sealed: bytes) -> str:
    return urlsafe_b64encode(sealed).decode().rstrip("=")


def _cipher(signer: Signer) -> AESSIV:
    return AESSIV(signer.derive_key("shares"))


def _zone_digest(zone: Zone) -> bytes:
    return hashlib.sha256(zone.encode()).digest()[:_ZONE_BYTES]


def _number(text: str) -> int:
    """Return the number of a text in base 32 (with the alphabet of ULIDs)."""
    number = 0
    for character in text:
        number = number << 5 | _BASE32.index(character)
    return number


def _text(number: int, length: int) -> str:
    """Return a number in base 32 with ``length`` characters."""
    return "".join(_BASE32[number >> 5 * place & 31] for place in reversed(range(length)))
