"""The metrics of several processes are added up to the metrics of one server."""

from __future__ import annotations

import re
from collections.abc import Iterable

from engine.process.metric_sums import Family, MetricSums
from engine.process.metrics import Histogram, Metrics


def process_metrics(number: float) -> Metrics:
    """Return the metrics of a process in which each metric has the value ``number``."""
    metrics, durations = Metrics(), Histogram()
    for _ in range(int(number)):
        metrics.commands.add("claim", "ok", 0.003)
    for name, across in (("sockets", "sum"), ("lag", "max"), ("open", "min")):
        metrics.add_callback_metric(name, "text", lambda: {("main",): number}, "zone", across=across)  # type: ignore[arg-type]
    for _ in range(int(number)):
        durations.add(0.003)
    metrics.add_histogram("op", "text", lambda: {("claim",): durations}, "op")
    return metrics


def sample_values(sums: MetricSums, processes: Iterable[list[Family]]) -> dict[str, float]:
    """Return the values in the rendered metrics by name, without buckets and times of creation."""
    lines = re.findall(r"^(\S+) (\S+)$", sums.render(processes).decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines if "_created" not in name and "_bucket" not in name}


def test_the_metrics_of_one_process_do_not_change() -> None:
    """For a server of one process the sum renders the same text as the process's own metrics."""
    metrics = process_metrics(3)
    assert MetricSums().render([metrics.families()]) == metrics.render()


def test_numbers_of_processes_are_combined() -> None:
    """Counters, histograms and sizes are sums, a lag is the highest, and a zone is open if it is open everywhere."""
    found = sample_values(MetricSums(), [process_metrics(3).families(), process_metrics(5).families()])
    assert found == {
        'callout_commands_total{command="claim",outcome="ok"}': 8,
        'callout_sockets{zone="main"}': 8,
        'callout_lag{zone="main"}': 5,
        'callout_open{zone="main"}': 3,
        'callout_op_count{op="claim"}': 8,
        'callout_op_sum{op="claim"}': 8 * 0.003,
        "callout_match_degraded_total": 0,
        "callout_claims_total": 0,
        "callout_command_count": 8,
        "callout_command_sum": 8 * 0.003,
    }
    text = MetricSums().render([process_metrics(3).families(), process_metrics(5).families()]).decode()
    assert (
        'callout_op_bucket{le="0.005",op="claim"} 8.0' in text
        and 'callout_op_bucket{le="0.002",op="claim"} 0.0' in text
    )


def test_the_counters_of_an_ended_process_stay() -> None:
    """No counter of the server falls when a process ends. Its sockets are gone."""
    sums = MetricSums()
    for number in (2, 4):
        sums.note_ended(process_metrics(number).families())
    found = sample_values(sums, [process_metrics(1).families()])
    assert found['callout_commands_total{command="claim",outcome="ok"}'] == 7
    assert found['callout_op_count{op="claim"}'] == 7
    assert (found['callout_sockets{zone="main"}'], found['callout_open{zone="main"}']) == (1, 1)
