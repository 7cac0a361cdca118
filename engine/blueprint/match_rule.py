"""What a blueprint declares about matching windows: ``[dispatch] match`` (docs/matching.md)."""

from __future__ import annotations

import msgspec


class MatchRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Jobs that wait and technicians who are free are matched together every ``window_s`` seconds (docs/matching.md).

    A job may go to a technician within ``reach_m`` metres, plus ``grow_m_s`` metres for each second that it has waited.
    At most the ``k`` nearest technicians are considered for a job. ``solver`` names the matcher
    (engine/rules/matchers.py). If more than ``jobs`` jobs wait, the window assigns the cheapest pairs first instead.
    """

    window_s: float = 1.0
    reach_m: int = 2800
    grow_m_s: float = 4.6
    k: int = 20
    jobs: int = 256
    solver: str = "exact"
