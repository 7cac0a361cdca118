"""Rate limits that one process counts in its memory: they refuse as those in Redis do. The number of meters, the
counters of single callers, is bounded.
"""

from __future__ import annotations

import pytest

from engine.errors import RateLimited
from engine.identity import local_limits
from engine.identity.limits import Allowance, Limit
from engine.identity.local_limits import LocalMeters

LIMIT = Limit("requests", 4, 2)


def test_a_burst_passes_and_the_next_request_waits() -> None:
    """After a burst the next request is refused with the time to wait. Each caller has a meter of their own."""
    meters = LocalMeters()
    assert [meters.count(LIMIT, "ann", 100.0).remaining for _ in range(4)] == [3, 2, 1, 0]
    with pytest.raises(RateLimited) as refused:
        meters.count(LIMIT, "ann", 100.0)
    assert refused.value.retry_after == 0.5
    assert meters.count(LIMIT, "bob", 100.0) == Allowance(3, 0.5)
    assert meters.count(LIMIT, "ann", 100.5).remaining == 0


def test_callers_without_a_meter_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """When there are too many callers, further callers share one meter (counter) until the meters of others are full
    again.
    """
    monkeypatch.setattr(local_limits, "MAX_METERS", 2)
    meters = LocalMeters()
    for name in ("ann", "bob"):
        meters.count(LIMIT, name, 100.0)
    for name in ("c", "d", "e", "f"):
        meters.count(LIMIT, name, 100.0)
    with pytest.raises(RateLimited):
        meters.count(LIMIT, "g", 100.0)
    assert meters.count(LIMIT, "ann", 100.0).remaining == 2
    assert meters.count(LIMIT, "h", 103.0).remaining == 3
