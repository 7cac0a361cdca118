"""Whether a technician receives offers, as the API shows it."""

from __future__ import annotations

import msgspec

from engine.rules.fixes import FixRate


class TechnicianAvailability(msgspec.Struct):
    """Whether the technician receives offers now. If not, ``blockers`` are the reasons: the error codes that a
    claim would get, and ``offline``, ``no_position``, ``stale_position``. ``clock_offset_s``: the seconds by which the
    device's clock is ahead of the server's.
    """

    online: bool
    receiving: bool
    blockers: list[str]
    lease_s: float
    fix: FixRate
    clock_offset_s: float
