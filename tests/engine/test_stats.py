"""Tests of the figures of all processes, which are computed from samples."""

from __future__ import annotations

from engine.domain.stats import ALIVE_MS, ProcessSample, StatsPoint, make_points, percentile_s
from engine.events import rfc3339_of
from engine.process.metrics import BUCKET_BOUNDS_S, Histogram


def sample(process: str, **fields: object) -> ProcessSample:
    """Return a sample of a process."""
    whole = {"name": process, "host": "a", "pid": 1, "version": "1", "roles": ("gateway",), "started_at": ""}
    return ProcessSample(process=process, **whole, **fields)  # type: ignore[arg-type]


def durations(*seconds: float) -> list[int]:
    """Return the histogram's counts of these durations."""
    histogram = Histogram()
    for each in seconds:
        histogram.add(each)
    return histogram.counts


def test_the_samples_of_processes_are_one_point() -> None:
    """Counts and sockets are sums, the lag is the longest, the jobs of a zone are counted once, and the percentiles are
    of all commands together. The step that has not ended is left out.
    """
    one = sample("1", sockets=2, claims=3, errors=1, lag_s=0.5, took=durations(0.003, 0.003), open_jobs={"main": 7})
    other = sample("2", sockets=5, claims=1, lag_s=0.1, took=durations(0.15), open_jobs={"main": 7, "north": 2})
    points = make_points([(2_100, one), (3_900, other), (4_100, one)], now=5_000)
    whole = StatsPoint(
        at=rfc3339_of(4_000), claims_per_s=2, open_jobs=9, p50_s=0.005, p99_s=0.2, lag_s=0.5, sockets=7, errors=1
    )
    assert points == [(4_000, whole)]


def test_a_process_that_missed_a_step_still_has_its_sockets() -> None:
    """If a sample of a process is a few milliseconds late, the process keeps its sizes for the step, and its counts are
    counted once. A process without a sample for ``ALIVE_MS`` has ended. A step without any process is missing.
    """
    points = make_points([(1_999, sample("1", sockets=4, claims=2)), (4_001, sample("1", sockets=5))], now=6_000)
    assert [(at, point.sockets, point.claims_per_s) for at, point in points] == [
        (2_000, 4, 1.0),
        (4_000, 4, 0.0),
        (6_000, 5, 0.0),
    ]
    assert make_points([], now=1_700_000_000_000) == []
    ended = make_points([(1_000, sample("1", sockets=4))], now=60_000)
    assert [at for at, _ in ended] == list(range(2_000, 1_000 + ALIVE_MS, 2_000))


def test_a_percentile_is_the_bound_of_its_bucket() -> None:
    """A percentile is the upper bound of the bucket that contains it. An empty histogram has none."""
    assert percentile_s([0] * len(durations()), 0.5) is None and percentile_s([], 0.5) is None
    counts = durations(*[0.003] * 99, 0.3)
    assert (percentile_s(counts, 0.5), percentile_s(counts, 0.99), percentile_s(counts, 1.0)) == (0.005, 0.005, 0.5)
    assert percentile_s(durations(99.0), 0.5) == BUCKET_BOUNDS_S[-1]
