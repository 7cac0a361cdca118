"""The metrics of a whole process: its memory and descriptors, the open zones, and lost log lines."""

from __future__ import annotations

from prometheus_client import ProcessCollector

from engine.runtime import Engine
from server import logs


def register(engine: Engine) -> None:
    """Register the metrics of the process. Call this once for each engine."""
    zones = engine.store.zones
    ProcessCollector(registry=engine.metrics.registry)
    engine.metrics.add_callback_metric(
        "zone_open",
        "Whether the zone is open",
        lambda: {(zone,): float(state.open) for zone, state in zones.items()},
        "zone",
        across="min",
    )
    engine.metrics.add_callback_metric(
        "log_lines_lost", "Log lines that could not be written", lambda: float(logs.Sink.lost_lines), rises=True
    )
