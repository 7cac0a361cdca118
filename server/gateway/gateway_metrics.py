"""The metrics of a gateway: its counters, and numbers that are read at each request to ``/metrics``."""

from __future__ import annotations

from collections.abc import Collection

from engine.process.metrics import Metrics
from server.gateway.counters import Counters
from server.gateway.event_stream import EventStreamHub
from server.gateway.presence_feed import PresenceFeed
from server.gateway.relay import Relay
from server.gateway.send_buffer import SendBuffer


def register(
    metrics: Metrics, counters: Counters, relay: Relay, streams: EventStreamHub, presence: PresenceFeed
) -> None:
    """Register the metrics of a gateway's parts. Call this once for each engine."""
    counters.register(metrics)
    show = metrics.add_callback_metric
    show("streams", "Event streams and waiting polls open", lambda: streams.count)
    show("presence_watched", "Users whose presence is read", lambda: presence.watched_count)
    show("relay_lag_seconds", "From an event's commit to its hand-off", lambda: relay.lag_s, across="max")
    show("relay_deaf", "1 while the relay is disconnected", lambda: float(relay.is_disconnected), across="max")


def register_sessions(
    metrics: Metrics, sessions: Collection[object], streams: EventStreamHub, backlog: Collection[SendBuffer]
) -> None:
    """Register how many of ``sessions`` are sockets, and how many bytes wait for those in ``backlog``."""
    show = metrics.add_callback_metric
    show("sockets", "WebSockets open", lambda: len(sessions) - streams.count)
    show("queue_bytes", "Bytes that wait for slow clients", lambda: sum(session.waiting_bytes for session in backlog))
