"""The signature of Stripe's webhooks: ``Stripe-Signature: t=<Unix seconds>,v1=<hex>``, an HMAC-SHA256 of
``<t>.<body>`` under the endpoint's secret (https://docs.stripe.com/webhooks#verify-manually).
"""

from __future__ import annotations

import hashlib
import hmac

from engine.payments.adapter import WrongSignature

TOLERANCE_S = 300
"""How old a signed time may be, and how far ahead: an attacker who recorded a webhook cannot send it again later."""
MAX_SIGNATURES = 16
"""A header with more signatures is refused: each costs an HMAC comparison."""


def sign(secret: str, body: bytes, at_s: int) -> str:
    """Return the header for ``body``, signed at ``at_s`` (Unix seconds)."""
    return f"t={at_s},v1={_digest(secret, str(at_s), body)}"


def verify(secret: str, header: str, body: bytes, now_s: float) -> None:
    """Raise WrongSignature unless ``header`` contains a valid signature of ``body`` whose time differs from ``now_s``
    by at most ``TOLERANCE_S``. Stripe sends several signatures while a secret is replaced. The comparison takes the
    same time for every wrong signature.
    """
    pairs = [pair.strip().partition("=") for pair in header.split(",", MAX_SIGNATURES + 2)]
    times = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= 12):
        raise WrongSignature("No time")
    if not 0 < len(signatures) <= MAX_SIGNATURES:
        raise WrongSignature("No signature")
    expected = _digest(secret, times[0], body).encode()
    found = [hmac.compare_digest(expected, each.encode("utf-8", "replace")) for each in signatures]
    if not secret or not any(found):
        raise WrongSignature("Wrong signature")
    if abs(now_s - int(times[0])) > TOLERANCE_S:
        raise WrongSignature("Signed too long ago")


def _digest(secret: str, at: str, body: bytes) -> str:
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
