"""How far SQL is behind the logs, for metrics and checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine.store import keys
from engine.types import Zone
from engine.zone import log as zone_log

if TYPE_CHECKING:
    from engine.runtime import Engine


class ArchiveLag(NamedTuple):
    """How far SQL is behind a zone's log: the number of events, and the age of the oldest in seconds."""

    events: int
    seconds: float


async def read_lag(engine: Engine, zone: Zone) -> ArchiveLag:
    """Return how far SQL is behind the zone's log, by the archived seq in Redis. Raises Unavailable."""
    archived, seq, now = await engine.store.read_connection.hmget(keys.zone_meta(zone), ["archived", "seq", "now"])
    behind = int(seq or 0) - int(archived or 0)
    if behind <= 0:
        return ArchiveLag(0, 0.0)
    oldest = await zone_log.read_range(engine.store.read_connection, zone, int(archived or 0), 1)
    return ArchiveLag(behind, max(0, int(now or 0) - oldest[0].at) / 1000 if oldest else 0.0)


def register_lag_metrics(engine: Engine, lags: Sequence[Mapping[tuple[str, ...], ArchiveLag]]) -> None:
    """Register the metrics of ``lags``, each of which has the lags of some zones."""

    def reader_of(name: str) -> Callable[[], dict[tuple[str, ...], float]]:
        return lambda: {zone: float(getattr(lag, name)) for each in lags for zone, lag in each.items()}

    for name, text, field_name in (
        ("archive_lag_events", "Events in the log that are not in SQL yet", "events"),
        ("archive_lag_seconds", "Age of the oldest event that is not in SQL yet", "seconds"),
    ):
        engine.metrics.add_callback_metric(name, text, reader_of(field_name), "zone", across="max")
