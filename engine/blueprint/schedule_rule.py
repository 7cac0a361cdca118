"""``[schedule]`` of a blueprint: how its jobs are entered in the schedules of technicians (schedule_linter.py checks
it).
"""

from __future__ import annotations

import msgspec

MAX_BUFFER_S = 21_600.0
"""The longest buffer, in seconds: six hours. The script compares jobs within 36 hours of each other, of which 24 are
the longest duration (lua/lib/schedule.lua)."""


class ScheduleRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the jobs are scheduled. Between two jobs of a technician there must be the travel time and ``buffer_s``
    seconds. With ``exclusive``, a job with a time may not overlap another one; without it, the jobs are in no schedule.
    With ``reserve``, a booking with a time gets its technician at once.
    """

    buffer_s: float = 900.0
    reserve: bool = False
    exclusive: bool = True
