"""What the gateway counts, as plain numbers: a locked counter per delivery would cost more than the delivery.

``/metrics`` reads them when asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.process.metrics import Histogram, Metrics

BROADCAST = 100
"""Sockets that are many: below, the time says more of the loop than of the broadcast."""


@dataclass(slots=True)
class Counters:
    """Since the start of this gateway."""

    accepted: int = 0
    """Handshakes that became a connection."""
    refused: Counter[str] = field(default_factory=Counter)
    """Handshakes turned away, by reason (``origin``, ``subprotocol``, ``full``, ``rush``, ``draining``, ``deaf``)."""
    frames_out: int = 0
    bytes_out: int = 0
    writes: int = 0
    """System calls at least: one a session and turn of the loop. ``frames_out / writes`` is what joining
    saves.
    """
    events: int = 0
    """Entries of the logs that the relay handed on."""
    closes: Counter[int] = field(default_factory=Counter)
    """Connections that ended, by close code, whichever side closed."""
    resumes: Counter[str] = field(default_factory=Counter)
    """Zones joined at connect: ``recovered``, ``too_old``, ``epoch`` or ``fresh`` (no cursor given)."""
    resyncs: Counter[str] = field(default_factory=Counter)
    """Times the relay had to tell its sessions to resynchronise, by reason (``trimmed``, ``rollback``,
    ``epoch``).
    """
    positions: int = 0
    """Live positions told, each once however many watch."""
    live_gaps: int = 0
    """Times when what was published may not have been heard."""
    errors: int = 0
    """Wrong frames received."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Requests on sockets that were answered with an error, by its code."""
    lag: Histogram = field(default_factory=Histogram)
    """From an event's commit to its hand-off, by the two clocks: of the oldest event in each reading of the log."""
    broadcasts: Histogram = field(default_factory=Histogram)
    """From the hand-off of an event to the last write, where at least ``BROADCAST`` sockets were written to."""
    commands: defaultdict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    """From a message to its reply, by op."""

    def count_write(self, frames: int, size: int) -> None:
        """Count one write of ``frames``, of ``size`` bytes together."""
        self.frames_out += frames
        self.bytes_out += size
        self.writes += 1

    def show(self, metrics: Metrics) -> None:
        """Register with the engine's metrics. Once for each engine."""
        show = metrics.reading
        show("sockets_accepted", "WebSockets accepted", lambda: self.accepted, rises=True)
        show("sockets_refused", "Upgrades refused", lambda: _labelled(self.refused), "reason", rises=True)
        show("sockets_closed", "WebSockets ended", lambda: _labelled(self.closes), "code", rises=True)
        show("frames_out", "Frames written", lambda: self.frames_out, rises=True)
        show("bytes_out", "Bytes written in frames", lambda: self.bytes_out, rises=True)
        show("writes_out", "Writes that carried them", lambda: self.writes, rises=True)
        show("wrong_frames", "Frames that meant nothing", lambda: self.errors, rises=True)
        show("relay_events", "Log entries handed on", lambda: self.events, rises=True)
        show("resumes", "Zones joined at connect", lambda: _labelled(self.resumes), "outcome", rises=True)
        show("resyncs", "Resynchronisations", lambda: _labelled(self.resyncs), "reason", rises=True)
        show("positions", "Live positions told", lambda: self.positions, rises=True)
        show("live_gaps", "Gaps in what is published", lambda: self.live_gaps, rises=True)
        show("socket_refusals", "Refused requests", lambda: _labelled(self.refusals), "code", rises=True)
        histogram = metrics.histogram
        histogram("relay_lag", "From commit to hand-off in s, oldest event of each read", lambda: {(): self.lag})
        histogram("broadcast", "From hand-off to the last of many writes in s", lambda: {(): self.broadcasts})
        histogram("op", "From message to reply in s", lambda: {(op,): s for op, s in self.commands.items()}, "op")


def _labelled(counts: Mapping[Any, int]) -> dict[tuple[str, ...], float]:
    return {(str(label),): number for label, number in counts.items()}
