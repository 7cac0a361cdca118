"""The encryption of a push for one browser: Message Encryption for Web Push (RFC 8291), coding aes128gcm (RFC 8188).

Only the browser can read the text; the push service between cannot. The steps are those of RFC 8291, section 3.4, on
the primitives of ``cryptography``, which the server has for its tokens. (Rejected: pywebpush with http-ece and
py-vapid. It brings aiohttp and requests, and sends by itself, so private addresses could not be refused.)
"""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from engine.identity.push_subscriptions import Subscription

RECORD_SIZE = 4_096
"""The bytes of one record. A push is one record, and a push service must accept 4096 bytes."""
MAX_TEXT_BYTES = RECORD_SIZE - 86 - 17
"""The longest text: the header takes 86 bytes, the delimiter and the tag 17."""
_LAST_RECORD = b"\x02"


def encrypt_text(
    text: bytes, to: Subscription, *, key: ec.EllipticCurvePrivateKey | None = None, salt: bytes = b""
) -> bytes:
    """Return the body of a push that contains ``text``. ``key`` and ``salt`` (16 bytes) are random unless given.

    Raises ValueError if the text is longer than ``MAX_TEXT_BYTES``.
    """
    if len(text) > MAX_TEXT_BYTES:
        raise ValueError(f"{len(text)} bytes are more than {MAX_TEXT_BYTES}")
    key, salt = key or ec.generate_private_key(ec.SECP256R1()), salt or secrets.token_bytes(16)
    ours = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), to.public_key)
    shared = key.exchange(ec.ECDH(), theirs)
    material = _derive(shared, to.auth, b"WebPush: info\0" + to.public_key + ours, 32)
    content_key = _derive(material, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(material, salt, b"Content-Encoding: nonce\0", 12)
    header = salt + RECORD_SIZE.to_bytes(4, "big") + bytes([len(ours)]) + ours
    return header + AESGCM(content_key).encrypt(nonce, text + _LAST_RECORD, None)


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)
