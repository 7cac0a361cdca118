"""The counters of the gateway, as plain numbers that each request to ``/metrics`` reads. (Rejected: counters with a
lock, because to increase one at each delivery would cost more than the delivery.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.process.metrics import Histogram, Metrics

MIN_BROADCAST_SOCKETS = 100
"""A broadcast to at least this many sockets is measured. With fewer, the time depends on the event loop and not on the
broadcast.
"""


FAILURE_CODES = ("internal", "unavailable", "indeterminate")
"""The codes by which a request is answered if the server failed, and not the caller."""


@dataclass(slots=True)
class Counters:
    """The numbers of one gateway since its start."""

    accepted_handshakes: int = 0
    """Handshakes that were accepted."""
    refused_handshakes: Counter[str] = field(default_factory=Counter)
    """Refused handshakes, by reason (``origin``, ``subprotocol``, ``full``, ``rush``, ``draining``, ``deaf``)."""
    frames_out: int = 0
    bytes_out: int = 0
    writes: int = 0
    """Writes to transports: one for each session and turn of the event loop, so the number of system calls is at least
    this. ``frames_out / writes`` is what joining frames into one write saves.
    """
    relayed_events: int = 0
    """Log entries that the relay passed to the hubs."""
    closes_by_code: Counter[int] = field(default_factory=Counter)
    """Ended connections, by close code, no matter which side closed."""
    resumes_by_outcome: Counter[str] = field(default_factory=Counter)
    """Zones joined at ``connect``, by outcome: ``recovered``, ``too_old``, ``epoch`` or ``fresh`` (no cursor given)."""
    resyncs_by_reason: Counter[str] = field(default_factory=Counter)
    """How often the relay made its sessions resynchronise, by reason (``trimmed``, ``rollback``, ``epoch``)."""
    sent_positions: int = 0
    """Live positions sent, each counted once, no matter how many sessions receive it."""
    position_feed_gaps: int = 0
    """How often the pub/sub subscription was interrupted, so that published positions may be missing."""
    invalid_frames: int = 0
    """Invalid frames received."""
    refusals_by_code: Counter[str] = field(default_factory=Counter)
    """Requests on sockets that were answered with an error, by error code."""
    relay_lag_s: Histogram = field(default_factory=Histogram)
    """Seconds from an event's commit (Redis's clock) to its hand-off to the hubs (this process's clock), measured for
    the oldest event of each read of the log.
    """
    broadcast_s: Histogram = field(default_factory=Histogram)
    """Seconds from the hand-off of an event to the last write, for events sent to at least ``MIN_BROADCAST_SOCKETS``
    sockets.
    """
    reply_s_by_op: defaultdict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    """Seconds from a message to its reply, by op."""

    @property
    def failures(self) -> int:
        """How many requests on sockets were refused because the server failed."""
        return sum(self.refusals_by_code[code] for code in FAILURE_CODES)

    def count_write(self, frames: int, size: int) -> None:
        """Count one write to a socket, which had ``frames`` frames and ``size`` bytes."""
        self.frames_out += frames
        self.bytes_out += size
        self.writes += 1

    def register(self, metrics: Metrics) -> None:
        """Register these counters with the engine's metrics. Call this once for each engine."""
        show = metrics.add_callback_metric
        show("sockets_accepted", "WebSockets accepted", lambda: self.accepted_handshakes, rises=True)
        show(
            "sockets_refused",
            "Upgrades refused",
            lambda: _values_by_label(self.refused_handshakes),
            "reason",
            rises=True,
        )
        show("sockets_closed", "WebSockets closed", lambda: _values_by_label(self.closes_by_code), "code", rises=True)
        show("frames_out", "Frames written", lambda: self.frames_out, rises=True)
        show("bytes_out", "Bytes written in frames", lambda: self.bytes_out, rises=True)
        show("writes_out", "Writes that carried frames", lambda: self.writes, rises=True)
        show("wrong_frames", "Frames that were refused", lambda: self.invalid_frames, rises=True)
        show("relay_events", "Log entries handed on", lambda: self.relayed_events, rises=True)
        show(
            "resumes",
            "Zones joined at connect",
            lambda: _values_by_label(self.resumes_by_outcome),
            "outcome",
            rises=True,
        )
        show("resyncs", "Resynchronisations", lambda: _values_by_label(self.resyncs_by_reason), "reason", rises=True)
        show("positions", "Live positions sent", lambda: self.sent_positions, rises=True)
        show("live_gaps", "Gaps in what is published", lambda: self.position_feed_gaps, rises=True)
        show("socket_refusals", "Refused requests", lambda: _values_by_label(self.refusals_by_code), "code", rises=True)
        histogram = metrics.add_histogram
        histogram(
            "relay_lag", "From commit to hand-off in s, oldest event of each read", lambda: {(): self.relay_lag_s}
        )
        histogram("broadcast", "From hand-off to the last of many writes in s", lambda: {(): self.broadcast_s})
        histogram("op", "From message to reply in s", lambda: {(op,): s for op, s in self.reply_s_by_op.items()}, "op")


def _values_by_label(counts: Mapping[Any, int]) -> dict[tuple[str, ...], float]:
    return {(str(label),): number for label, number in counts.items()}
