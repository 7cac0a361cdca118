"""The counters of a running demo that must stay 0. They are computed from what the simulated users received.

``two_holders`` comes from the replies to claims and the jobs in events (server/simulation/holder_checker.py), ``lost``
and ``doubled`` from events and chat messages (live_delivery.py, message_checker.py), ``overlapping`` from the schedules
that an admin received (overlap_checker.py). docs/demo.md describes each.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis.asyncio as redis

from callout_client import Unreachable
from engine.clock import now_ms
from engine.events import Event, rfc3339_of
from engine.process.embedded import EmbeddedValkey, read_state
from server.demo.control import json_answer
from server.simulation.log_tail import follow_log
from server.simulation.observer import AdminObserver
from server.simulation.person import Simulation
from server.web.demo_relay import Answer, Visit

SETTLE_EVERY_S = 1.0
RETRY_S = 1.0


class Counters:
    """The counters of one demo. ``observer`` is the admin with whose events the schedules are checked."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._since = rfc3339_of(now_ms())
        self.observer: AdminObserver | None = None

    def read(self) -> dict[str, Any]:
        """Return all counters."""
        checker, messages = self._simulation.checker, self._simulation.messages
        delivery, holders = self._simulation.delivery, self._simulation.holders
        schedules = self.observer.steps.checker if self.observer else None
        return {
            "claims": holders.claims,
            "two_holders": holders.two_holders,
            "lost": delivery.lost + messages.lost(),
            "doubled": checker.duplicate_events() + messages.doubled,
            "overlapping": len(schedules.overlaps) if schedules else 0,
            "jobs": checker.count_jobs("booked"),
            "completed": checker.count_jobs("completed"),
            "events": delivery.compared,
            "messages": messages.received,
            "since": self._since,
        }

    async def answer(self, visit: Visit) -> Answer:
        """Answer ``GET /demo/counters``."""
        return json_answer(self.read())

    async def settle_forever(self) -> None:
        """Decide open cases that have waited long enough, until cancelled."""
        while True:
            await asyncio.sleep(SETTLE_EVERY_S)
            self._simulation.delivery.settle(time.monotonic())
            self._simulation.holders.settle(time.monotonic())

    async def follow_log_forever(self, url: str) -> None:
        """Read the log of the zone until cancelled, and continue after faults of Redis."""
        delivery = self._simulation.delivery

        def take(event: Event) -> None:
            delivery.record_entry(event.seq, event.type, event.to, time.monotonic())

        while True:
            with suppress(Unreachable):
                await follow_log(url, delivery.last_seq, take)
            await asyncio.sleep(RETRY_S)


def redis_url(data: Path, configured: str | None) -> str | None:
    """Return the URL of the demo's Redis: the embedded Valkey of ``data``, unless another is configured."""
    if configured:
        return configured
    state = read_state(data / "valkey")
    return EmbeddedValkey(data / "valkey", state, None).url if state else None


async def pause_redis(url: str, seconds: float) -> None:
    """Let Redis pause for ``seconds``. It continues by itself, even if the demo ends meanwhile."""
    client = redis.Redis.from_url(url)
    try:
        await client.client_pause(round(1000 * seconds), all=True)
    finally:
        await client.aclose()
