"""Combine the metrics of several processes: each number is the sum, the highest or the lowest of all.

When a process ends, a sum over the running processes would decrease. Prometheus assumes that a decreased counter has
restarted at 0, and would count the whole remaining sum again. Therefore the last counters of each ended process stay in
the sum (``note_ended``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

Across = Literal["sum", "max", "min"]
"""How the numbers of several processes become one."""

Sample = tuple[str, dict[str, str], float]
"""The name, the labels and the value of a sample."""

_CREATED_SUFFIX = "_created"
"""The suffix of the samples with the time at which a counter began."""


class Family(msgspec.Struct, array_like=True):
    """A metric of one process with all its samples."""

    name: str
    kind: str
    text: str
    across: Across
    samples: list[Sample]

    @property
    def only_rises(self) -> bool:
        """Whether the numbers never fall while a process runs."""
        return self.kind in ("counter", "histogram")


class MetricSums:
    """The metrics of the ended processes, to which those of the running ones are added."""

    def __init__(self) -> None:
        self._ended: list[Family] = []

    def note_ended(self, families: Iterable[Family]) -> None:
        """Add the last known metrics of a process that has ended."""
        rising = [family for family in families if family.only_rises]
        self._ended = merge_families([self._ended, rising])

    def render(self, processes: Iterable[list[Family]]) -> bytes:
        """Return the response body of ``/metrics`` for the running ``processes``."""
        registry = CollectorRegistry()
        registry.register(_Families(merge_families([self._ended, *processes])))
        return generate_latest(registry)


def merge_families(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """Return the metrics of several processes as those of one. Samples with the same name and labels become one sample,
    as ``across`` of their metric says.
    """
    found: dict[str, Family] = {}
    numbers: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for families in processes:
        for family in families:
            found.setdefault(family.name, family)
            known = numbers.setdefault(family.name, {})
            for name, labels, value in family.samples:
                key = (name, tuple(labels.items()))
                known[key] = _combine_values(family.across, name, known[key], value) if key in known else value
    return [
        Family(
            family.name,
            family.kind,
            family.text,
            family.across,
            [(name, dict(labels), value) for (name, labels), value in numbers[family.name].items()],
        )
        for family in found.values()
    ]


def _combine_values(across: Across, name: str, one: float, other: float) -> float:
    if name.endswith(_CREATED_SUFFIX) or across == "min":
        return min(one, other)
    return max(one, other) if across == "max" else one + other


class _Families(Collector):
    """A Prometheus collector that returns the given metrics unchanged."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registration does not read values."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return each family with its samples."""
        for family in self._families:
            metric = Metric(family.name, family.text, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, labels, value)
            yield metric
