"""The baselines, which every other forecast must beat: the same hour of last week, and its mean over the last weeks."""

from __future__ import annotations

from collections.abc import Mapping

from engine.rules.hour_slots import WEEK_HOURS

MEAN_WEEKS = 4


class CountHistory:
    """The counts of the last ``MEAN_WEEKS`` weeks, by hour. An hour before the first one of the zone is missing."""

    def __init__(self) -> None:
        self.counts: dict[int, Mapping[str, int]] = {}

    @staticmethod
    def first_kept(hour: int) -> int:
        """Return the first hour that is still known after ``hour`` was closed."""
        return hour - MEAN_WEEKS * WEEK_HOURS + 1

    def oldest(self, hour: int) -> Mapping[str, int]:
        """Return the counts that are forgotten when ``hour`` is closed."""
        return self.counts.get(self.first_kept(hour) - 1, {})

    def close(self, hour: int, counts: Mapping[str, int], total: int) -> None:
        """Add the counts of an hour that is over."""
        self.counts.pop(self.first_kept(hour) - 1, None)
        self.counts[hour] = counts

    def has(self, hour: int) -> bool:
        """Return whether the counts of an hour are known."""
        return hour in self.counts

    def mean_of_weeks(self, hour: int, weeks: int) -> dict[str, float]:
        """Return the mean of the counts at the same time in the ``weeks`` before ``hour``, as far as they are known."""
        known = [
            past for week in range(1, weeks + 1) if (past := self.counts.get(hour - week * WEEK_HOURS)) is not None
        ]
        sums: dict[str, float] = {}
        for past in known:
            for area, count in past.items():
                sums[area] = sums.get(area, 0.0) + count
        return {area: value / len(known) for area, value in sums.items()}
