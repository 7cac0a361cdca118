"""Two gateways on one Redis restart one after the other under load: clients notice only a short pause.

The scenario is ``bench/questions/restart.py``, here with few clients; ``python -m bench restart`` runs it in full size.
"""

from __future__ import annotations

from tests.test_bench import run_quick


async def test_no_event_is_lost_or_repeated_and_no_claim_undone() -> None:
    """While technicians compete for jobs each gateway is stopped (SIGTERM) and started again: every client reconnects
    by itself and has every event once and in order, and every acknowledged claim holds.
    """
    figures = await run_quick("restart", "--clients", "60", "--jobs", "24", "--pace", "6")
    assert figures["jobs won"] == 24
    assert figures["events received in all"] >= 60 * 24
    for figure in (
        "events lost",
        "events delivered twice",
        "claims acknowledged and undone",
        "clients that received recovered:false",
        "repeats sent by the server",
    ):
        assert figures[figure] == 0, figure
