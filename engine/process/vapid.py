"""The key by which push services know this server (VAPID, RFC 8292).

The key is derived from the server's signing key, so all hosts have the same one and an operator sets only a contact.
(Rejected: a setting for the private key. It would be one more secret to make, to copy to each host and to lose, and a
new one would end all subscriptions just as a new signing key does.)
"""

from __future__ import annotations

import functools
from base64 import urlsafe_b64encode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.clock import now_ms
from engine.process.signer import Signer

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
TOKEN_S = 12 * 3_600
"""How long a token is valid. RFC 8292 allows a day; the rest is for clocks that differ."""
RENEWAL_S = 3_600
"""How long a token is used. One token serves all pushes to one push service in that time."""
MAX_CACHED_TOKENS = 256


class VapidKey:
    """The owner of the key. ``contact`` is how a push service reaches the operator: a ``mailto:`` or ``https:``
    address.
    """

    def __init__(self, signer: Signer, contact: str) -> None:
        secret = int.from_bytes(signer.derive_key("web push"), "big") % (P256_ORDER - 1) + 1
        self._key = ec.derive_private_key(secret, ec.SECP256R1())
        self._contact = contact
        self._token = functools.lru_cache(MAX_CACHED_TOKENS)(self._make_token)
        point = self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        self.public_key = encode_base64url(point)
        """The uncompressed point in base64url: a page's ``applicationServerKey``."""

    def authorization(self, origin: str) -> str:
        """Return the value of the header ``Authorization`` for a push service."""
        return f"vapid t={self._token(origin, now_ms() // 1000 // RENEWAL_S)}, k={self.public_key}"

    def _make_token(self, origin: str, period: int) -> str:
        claims = {"aud": origin, "exp": period * RENEWAL_S + TOKEN_S, "sub": self._contact}
        return jwt.encode(claims, self._key, algorithm="ES256")


@functools.lru_cache(16)
def open_vapid_key(signer: Signer, contact: str) -> VapidKey:
    """Return the key of a server."""
    return VapidKey(signer, contact)


def encode_base64url(content: bytes) -> str:
    """Return the base64url text of bytes, without padding."""
    return urlsafe_b64encode(content).rstrip(b"=").decode()
