"""Compute a day plan in a thread, so that the event loop is not blocked."""

from __future__ import annotations

import asyncio
import functools
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import msgspec

from engine.clock import now_ms
from engine.domain.day_plan_world import DayWorld
from engine.domain.schedules import HOUR_MS
from engine.rules.day_planning import PlannedDay, plan_day
from engine.rules.travel import TravelModel, travel_model
from engine.types import Zone

PAUSE_EVERY_S, PAUSE_S = 0.0005, 0.00005
"""How often a search pauses, and for how long (seconds). Without pauses a computing thread blocks the event loop."""


async def search(world: DayWorld, zone: Zone, timezone: str, seed: str, budget_s: float) -> PlannedDay:
    """Return the best plan that is found in ``budget_s`` seconds. Searches run one after the other. If the caller is
    cancelled, the search ends.
    """
    budget = _Budget(budget_s)
    compute = functools.partial(_compute, world, zone, timezone, seed, budget)
    try:
        return await asyncio.get_running_loop().run_in_executor(_executor(), compute)
    except asyncio.CancelledError:
        budget.is_over = True
        raise


class _Budget:
    """The time limit of a search in seconds, counted from its first round."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.is_over = seconds, False
        self._began = self._paused = 0.0

    def pause(self) -> None:
        """Sleep briefly to let the event loop run, unless the last pause was less than ``PAUSE_EVERY_S`` ago."""
        if time.perf_counter() - self._paused > PAUSE_EVERY_S:
            time.sleep(PAUSE_S)
            self._paused = time.perf_counter()

    def used_share(self) -> float:
        """Return the used share of the limit; at least 1 when the search has to end."""
        now = time.perf_counter()
        self._began = self._began or now
        self.pause()
        return 1.0 if self.is_over else (now - self._began) / self.seconds


@functools.cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="day-plan")


def _compute(world: DayWorld, zone: Zone, timezone: str, seed: str, budget: _Budget) -> PlannedDay:
    now = now_ms()
    present = travel_model(zone, now, timezone)

    def model_at(at_ms: int) -> TravelModel:
        """Return the travel times with which the script will check the schedules at ``at_ms``."""
        ahead = (at_ms // HOUR_MS - now // HOUR_MS) % 24
        model = travel_model(zone, now + ahead * HOUR_MS, timezone)
        return msgspec.structs.replace(present, seconds_per_km=model.seconds_per_km)

    return plan_day(world.jobs, world.technicians, model_at, Random(seed), budget.used_share, budget.pause)
