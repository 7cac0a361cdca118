"""The push subscription of a browser (W3C Push API, ``PushSubscription.toJSON()``): the token of a ``webpush`` device.

A subscription is a user's text, and the server posts to its ``endpoint``. So an endpoint must be https, without a user
or a fragment. That its host is no private address is checked at each connection (engine/workers/public_network.py):
what a name resolves to may change after it was stored.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

WEB_PUSH_PLATFORM = "webpush"
MAX_ENDPOINT_LENGTH = 2_048
_match_endpoint = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?/[\x21\x24-\x7e]*").fullmatch


class Subscription(NamedTuple):
    """Where to post, and for whom to encrypt: ``public_key`` is an uncompressed P-256 point (65 bytes), ``auth`` the
    shared secret (16 bytes).
    """

    endpoint: str
    public_key: bytes
    auth: bytes

    @property
    def origin(self) -> str:
        """Scheme, host and port of the push service."""
        return origin_of(self.endpoint)


class _Keys(msgspec.Struct):
    p256dh: str
    auth: str


class _Document(msgspec.Struct):
    endpoint: str
    keys: _Keys


_decode = msgspec.json.Decoder(_Document).decode


def parse_subscription(text: str, trusted_origins: Collection[str] = ()) -> Subscription:
    """Return the subscription in the JSON ``text``. Endpoints of ``trusted_origins`` may be http. Raises ValueError
    with what is wrong.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        document = _decode(text)
    except msgspec.DecodeError:
        raise ValueError("no push subscription: JSON with endpoint, keys.p256dh and keys.auth") from None
    endpoint = document.endpoint
    if len(endpoint) > MAX_ENDPOINT_LENGTH or not _match_endpoint(endpoint) or not _has_port(endpoint):
        raise ValueError("the endpoint is no https address")
    if not endpoint.startswith("https:") and origin_of(endpoint) not in trusted_origins:
        raise ValueError("the endpoint is no https address")
    public_key, auth = _decode_key(document.keys.p256dh), _decode_key(document.keys.auth)
    if len(auth) != 16:
        raise ValueError("keys.auth is not 16 bytes in base64url")
    try:
        if len(public_key) != 65:
            raise ValueError
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
    except ValueError:
        raise ValueError("keys.p256dh is no uncompressed point of P-256 in base64url") from None
    return Subscription(endpoint, public_key, auth)


def origin_of_token(text: str) -> str:
    """Return the origin of the endpoint in the JSON of a subscription; "" if it is none."""
    try:
        return origin_of(_decode(text).endpoint)
    except (ValueError, LookupError):  # a DecodeError is a ValueError
        return ""


def origin_of(endpoint: str) -> str:
    """Return the origin of an endpoint, as browsers write it."""
    parts = urlsplit(endpoint.lower())
    default = {"http": ":80", "https": ":443"}[parts.scheme]
    return f"{parts.scheme}://{parts.netloc.removesuffix(default)}"


def _has_port(endpoint: str) -> bool:
    try:
        return urlsplit(endpoint).port != 0
    except ValueError:
        return False


def _decode_key(text: str) -> bytes:
    """Return the bytes of a base64url text, with or without padding; b"" if it is none."""
    try:
        return urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except (binascii.Error, ValueError):
        return b""
