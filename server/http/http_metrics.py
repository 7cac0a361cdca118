"""The counters of HTTP: responses by operation and status, and the time they took.

These are plain numbers in two dicts, which a request to ``/metrics`` reads. A locked counter would cost each request
more than its routing does.
"""

from __future__ import annotations

from collections import defaultdict

from engine.process.metrics import Metrics


class HttpMetrics:
    """The counters of one server's HTTP responses, for the engine's metrics."""

    def __init__(self) -> None:
        self.responses: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self.seconds: defaultdict[tuple[str, ...], float] = defaultdict(float)

    def count_response(self, operation: str, status: int, duration_s: float) -> None:
        """Count one response, which began ``duration_s`` seconds after its request arrived."""
        self.responses[operation, str(status)] += 1
        self.seconds[(operation,)] += duration_s

    @property
    def failures(self) -> int:
        """How many responses said that the server failed (5xx), without the checks of readiness."""
        counts = self.responses.items()
        return int(sum(n for (operation, status), n in counts if status >= "500" and operation != "about_ready"))

    def register(self, metrics: Metrics) -> None:
        """Register these counters with the engine's metrics. Call this once for each engine."""
        metrics.add_callback_metric(
            "http_answers",
            "HTTP answers by operation and status",
            self.responses.copy,
            "operation",
            "status",
            rises=True,
        )
        metrics.add_callback_metric("http_seconds", "Time spent on them", self.seconds.copy, "operation", rises=True)
