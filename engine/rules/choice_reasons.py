"""Find the decision about one technician in the records of waves (lua/lib/wave.lua), and the reason that the technician
may see.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

NOT_CHOSEN = "not_chosen"
"""What a technician sees instead of a reason that would show a block or compare them with somebody else."""

OWN_REASONS = frozenset(
    {
        "account_not_approved",
        "asked",
        "at_capacity",
        "bid",
        "kyc_not_approved",
        "left",
        "no_position",
        "offers",
        "offline",
        "profile_incomplete",
        "schedule_conflict",
        "service",
        "stale_position",
        "too_far",
        "unknown",
    }
)
"""The reasons that are about the technician alone. Any other reason is hidden from them, also one added later."""


class WaveDecision(msgspec.Struct, frozen=True):
    """What one wave decided about a technician. ``wave`` is its number, ``at`` its time (RFC 3339). ``reason`` is why
    the technician was left out; "" if they were asked.
    """

    wave: int
    at: str
    reason: str


class _Group(msgspec.Struct):
    technicians: list[str]


class _WaveRecord(msgspec.Struct, rename={"inside": "in"}):
    wave: int
    at: str
    inside: _Group
    out: dict[str, _Group]


_decoder = msgspec.json.Decoder(_WaveRecord)


def find_decision(records: Iterable[bytes], technician: str) -> WaveDecision | None:
    """Return the decision of the last wave that asked a technician; if none did, of the last wave that left them out;
    None if no record names them. ``records`` are those of a job's waves, the oldest first.
    """
    asked, left_out = None, None
    for record in map(_decoder.decode, records):
        if technician in record.inside.technicians:
            asked = WaveDecision(record.wave, record.at, "")
        for reason, group in record.out.items():
            if technician in group.technicians:
                left_out = WaveDecision(record.wave, record.at, reason)
    return asked or left_out


def shown_reason(reason: str, *, to_ops: bool) -> str:
    """Return a reason as ops or the technician themselves may see it."""
    return reason if to_ops or reason in OWN_REASONS else NOT_CHOSEN
