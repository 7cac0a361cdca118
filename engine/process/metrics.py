"""The metrics of an engine, for Prometheus.

There are three kinds. A *counter* is a prometheus-client counter, for events up to some thousand times a second. A
*callback metric* calls a function at each scrape and at no other time: hot loops (fan-out, the packed connection) count
in plain integers, because a counter with a lock would cost more than the delivery that it counts. A *histogram* is a
callback metric of durations: ``Histogram`` counts without a lock (one loop writes, a scrape reads), at 0.3 µs for each
duration.

Each Engine has its own ``Metrics``. The library's global registry was rejected, because tests open many engines in one
process.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.process.metric_sums import Across, Family

LabelValues = tuple[str, ...]
ReadValue = Callable[[], float | Mapping[LabelValues, float]]
"""A function that returns the current value: a number, or a number for each tuple of label values."""

BUCKET_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""The upper bounds of a histogram's buckets, in seconds. One more bucket counts durations above the last bound."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Histogram:
    """A histogram of durations: a count for each bucket, and the sum in seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKET_BOUNDS_S) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one measured duration of ``seconds`` in its bucket."""
        self.counts[bisect_left(BUCKET_BOUNDS_S, seconds)] += 1
        self.sum += seconds

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative count of each bucket, as Prometheus expects them."""
        bounds = (*(f"{bound:g}" for bound in BUCKET_BOUNDS_S), "+Inf")
        return list(zip(bounds, map(float, accumulate(self.counts)), strict=True))


class CommandCounts:
    """The commands on jobs that one process has done, as plain numbers. ``by_outcome`` counts by command and outcome
    (``ok`` or the code of the refusal), ``claims`` the jobs that were taken, ``took`` the seconds from call to outcome.
    """

    __slots__ = ("by_outcome", "claims", "took")

    def __init__(self) -> None:
        self.by_outcome: dict[LabelValues, int] = {}
        self.claims = 0
        self.took = Histogram()

    def add(self, command: str, outcome: str, seconds: float) -> None:
        """Count one command."""
        self.by_outcome[command, outcome] = self.by_outcome.get((command, outcome), 0) + 1
        self.took.add(seconds)


class Metrics:
    """The registry of one engine and the counters that more than one package uses.

    ``commands``: the commands on jobs. ``pushes``: push messages by kind
    (offer, notification) and outcome (sent, failed, refused, late, dropped, inactive). ``web_pushes``: the same of
    pushes to browsers; ``gone`` is a device that was removed. ``pushes_unreached``: pushes to users with neither a
    device nor a connection. ``matches``: proposals of matching windows by outcome (``taken``, or why not).
    ``match_degraded``: windows that assigned the cheapest pairs first. ``forecasters_failed``: forecasters of other
    packages that raised, by name. ``refused``: events that the database refused, by zone.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._across: dict[str, Across] = {"process_start_time_seconds": "min"}
        self.commands = commands = CommandCounts()
        self.add_callback_metric(
            "commands", "Commands done", commands.by_outcome.copy, "command", "outcome", rises=True
        )
        self.add_callback_metric("claims", "Jobs that technicians took", lambda: commands.claims, rises=True)
        self.add_histogram("command", "From call to outcome of a command in s", lambda: {(): commands.took})
        self.pushes = self.add_counter("pushes", "Push messages", "kind", "outcome")
        self.web_pushes = self.add_counter("web_pushes", "Push messages to browsers", "kind", "outcome")
        self.pushes_unreached = self.add_counter(
            "pushes_unreached", "Pushes to users without a device and without a connection", "kind"
        )
        self.matches = self.add_counter("matches", "Proposals of matching windows: taken, or why not", "outcome")
        self.match_degraded = self.add_counter("match_degraded", "Windows that assigned the cheapest pairs first")
        self.forecasters_failed = self.add_counter(
            "demand_forecasters_failed", "Failures of forecasters of other packages", "forecaster"
        )
        self.refused = self.add_counter("archive_refused", "Events that the database did not take", "zone")

    def add_counter(self, name: str, help_text: str, *labels: str) -> Counter:
        """Register and return a counter ``callout_<name>_total``. Raises ValueError if the name is already in use."""
        return Counter(f"callout_{name}", help_text, labels, registry=self.registry)

    def add_callback_metric(
        self,
        name: str,
        help_text: str,
        read: ReadValue,
        *labels: str,
        rises: bool = False,
        across: Across = "sum",
    ) -> None:
        """Register ``callout_<name>``, whose value ``read`` returns: a gauge, or a counter if the value never falls
        (``rises``). ``across`` says how the values of a server's processes become one: their sum, the highest or the
        lowest.

        ``read`` runs during a scrape and must not block. It stays registered as long as the engine exists.
        """
        self._across[f"callout_{name}"] = across
        self.registry.register(_CallbackCollector(f"callout_{name}", help_text, labels, read, rises))

    def add_histogram(
        self, name: str, help_text: str, read: Callable[[], Mapping[LabelValues, Histogram]], *labels: str
    ) -> None:
        """Register ``callout_<name>``: one histogram for each tuple of label values."""
        self.registry.register(_HistogramCollector(f"callout_{name}", help_text, labels, read))

    def families(self) -> list[Family]:
        """Return all metrics with their values now."""
        return [
            Family(
                metric.name,
                metric.type,
                metric.documentation,
                self._across.get(metric.name, "sum"),
                [(sample.name, sample.labels, sample.value) for sample in metric.samples],
            )
            for metric in self.registry.collect()
        ]

    def render(self) -> bytes:
        """Return the response body of ``/metrics``, of type ``CONTENT_TYPE``."""
        return generate_latest(self.registry)


@dataclass(frozen=True, eq=False)
class _CallbackCollector(Collector):
    """A gauge or counter whose value is computed at each scrape."""

    name: str
    text: str
    labels: LabelValues
    read: ReadValue
    is_counter: bool

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples, so that registration does not read values."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Return the family with one sample for each tuple of label values."""
        family = self._family()
        value = self.read()
        for labels, number in value.items() if isinstance(value, Mapping) else [((), value)]:
            family.add_metric(labels, number)
        return [family]

    def _family(self) -> CounterMetricFamily | GaugeMetricFamily:
        kind = CounterMetricFamily if self.is_counter else GaugeMetricFamily
        return kind(self.name, self.text, labels=self.labels)


@dataclass(frozen=True, eq=False)
class _HistogramCollector(Collector):
    """A family of histograms, read at each scrape."""

    name: str
    text: str
    labels: LabelValues
    read: Callable[[], Mapping[LabelValues, Histogram]]

    def describe(self) -> Iterable[Metric]:
        """Return the family without samples, so that registration does not read values."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Return the family with one histogram for each tuple of label values."""
        family = self._family()
        for labels, histogram in list(self.read().items()):
            family.add_metric(labels, histogram.buckets, histogram.sum)
        return [family]

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self.name, self.text, labels=self.labels)
