"""The number of connections and sockets that each worker of a server publishes to the other workers."""

from __future__ import annotations

import pytest

from server.process import worker_loads
from server.process.worker_loads import ABSENT_AFTER_S, WorkerLoads


def publish_load(loads: WorkerLoads, seat: int, connections: int, sockets: int = 0) -> None:
    """Publish the numbers of connections and sockets of the worker with the number ``seat``."""
    loads.take_seat(seat)
    loads.write(connections, sockets)


def test_the_fair_share_is_the_average_of_the_workers_that_are_present(monkeypatch: pytest.MonkeyPatch) -> None:
    """The average leaves out a worker that has not started, has ended or hangs. Otherwise the other workers would leave
    new connections to it."""
    now_s = 100.0
    monkeypatch.setattr(worker_loads, "monotonic_ns", lambda: int(now_s * 1e9))
    loads = WorkerLoads(4)
    assert loads.fair_share() == 0
    publish_load(loads, 0, 90)
    publish_load(loads, 1, 30)
    assert loads.fair_share() == 60
    publish_load(loads, 2, 60)
    loads.clear(1)
    assert loads.fair_share() == 75
    now_s += ABSENT_AFTER_S + 0.1
    publish_load(loads, 0, 90)
    assert loads.fair_share() == 90


def test_the_sockets_of_others_are_counted_until_they_end() -> None:
    """The sockets of a worker that hangs are still open and count for the limit of all."""
    loads = WorkerLoads(3)
    for seat in range(3):
        publish_load(loads, seat, 0, sockets=10 * seat + 1)
    loads.take_seat(0)
    assert loads.sockets_of_others() == 32
    loads.clear(2)
    assert loads.sockets_of_others() == 11
