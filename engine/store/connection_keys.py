"""The Redis keys of users and of their connections. Other modules import them from engine/store/keys.py."""

from __future__ import annotations

from engine.types import UserId, Zone


def account(user: UserId) -> str:
    """Return the key of a hash of no zone: an account's role, active, version, out (ended logins), life (run_id)."""
    return f"{{u:{user}}}:account"


def presence(user: UserId) -> str:
    """Return the key of a string: a user's last sign of life (ms). It exists for one lease after it; it has no zone."""
    return f"{{u:{user}}}:presence"


def booking_note(principal: UserId, key: str) -> str:
    """Return the key of a string with a TTL: zone, job id and fingerprint of the booking under an idempotency key. It
    has no zone (lua/booking_reserve.lua)."""
    return f"{{u:{principal}}}:booked:{key}"


def booking_reference_note(principal: UserId, digest: str) -> str:
    """Return the key of a string with a TTL, in the form of ``booking_note``, of the booking under a reference with
    this digest (``engine/domain/booking_notes.py``).
    """
    return f"{{u:{principal}}}:booked:ref:{digest}"


def booking_references(zone: Zone, principal: UserId) -> str:
    """Return the key of a hash: reference of the principal's booking → job."""
    return f"{{{zone}}}:ref:{principal}"


def idempotency_record(zone: Zone, principal: UserId, key: str) -> str:
    """Return the key of a string with a TTL: the idempotency record of a command."""
    return f"{{{zone}}}:req:{principal}:{key}"


def ticket(zone: Zone, digest: str) -> str:
    """Return the key of a string with a TTL: the principal behind a one-use ticket, by the ticket's digest."""
    return f"{{{zone}}}:ticket:{digest}"


def socket_slots(zone: Zone, user: UserId) -> str:
    """Return the key of a zset with a TTL: the user's open sockets, ``<when taken>:<session>`` → last touched (ms)."""
    return f"{{{zone}}}:sockets:{user}"


def stream_slots(zone: Zone, user: UserId) -> str:
    """Return the key of a zset with a TTL: the user's open event streams, in the form of ``socket_slots``."""
    return f"{{{zone}}}:sockets:{user}:streams"


def rate_limit(counted: str, limit_name: str) -> str:
    """Return the key of a string with a TTL: the theoretical arrival time (ms) of a rate limit by GCRA, a leaky bucket.
    ``counted`` is a user, or whatever else is counted; it has no zone.
    """
    return f"{{u:{counted}}}:limit:{limit_name}"


def process_samples() -> str:
    """Return the key of a stream with a TTL: samples of all processes (engine/domain/stats.py). It has no zone."""
    return "{stats}:samples"
