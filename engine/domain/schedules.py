"""The schedules of technicians: the rule by which scripts check and write them (lua/lib/schedule.lua)."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from engine.blueprint.schedule_rule import ScheduleRule
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.errors import ScheduleConflict
from engine.rules.travel import travel_model
from engine.rules.zone_areas import timezone_of
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

HOUR_MS = 3_600_000
RELOAD_MS = 60_000
"""The travel times of a rule are computed again after this time."""


def rule_text(engine: Engine, zone: Zone, blueprint: Blueprint) -> str:
    """Return the rule for jobs of a blueprint: the argument ``schedule`` of scripts that give a job to a technician."""
    return compile_rule(blueprint.schedule, zone, timezone_of(engine.settings.zone_areas, zone))


def rules_json(engine: Engine, zone: Zone, search_modes: Collection[str]) -> bytes:
    """Return JSON of the rules by blueprint: of all that search for technicians in one of these ways."""
    rules = {
        key: rule_text(engine, zone, each)
        for key, each in engine.blueprints.by_key.items()
        if any(state.search_mode in search_modes for state in each.states.values())
    }
    return msgspec.json.encode(rules)


def compile_rule(rule: ScheduleRule, zone: Zone, timezone: str) -> str:
    """Return a rule as text for lua/lib/travel_rule.lua, with the present travel times of the zone."""
    travel = _travel_text(zone, timezone, now_ms() // RELOAD_MS)
    return f"{round(rule.buffer_s * 1000)} {int(rule.exclusive)} {travel}"


@functools.lru_cache(maxsize=256)
def _travel_text(zone: Zone, timezone: str, interval: int) -> str:
    """Return a text with the exponent and the P80 factor of the travel times, followed by the seconds per km for each
    of the 24 hours of the day (UTC). Each hour is the next one of this number, today or tomorrow.
    """
    now = interval * RELOAD_MS
    present = now // HOUR_MS % 24
    hours = [travel_model(zone, now + (hour - present) % 24 * HOUR_MS, timezone) for hour in range(24)]
    model = hours[present]
    return " ".join((f"{model.exponent} {model.high}", *(f"{each.seconds_per_km:.2f}" for each in hours)))


class RuleNumbers(NamedTuple):
    """The numbers of a rule (lua/lib/travel_rule.lua). ``high`` is the P80 factor; ``seconds_per_km`` has the pace of
    each hour of the day (UTC).
    """

    buffer_ms: int
    exclusive: bool
    exponent: float
    high: float
    seconds_per_km: tuple[float, ...]

    def longest_gap_ms(self, distance_m: float) -> int:
        """Return a time (ms) between two visits at this distance that is sufficient at every hour."""
        travel_s = max(self.seconds_per_km) * math.pow(distance_m / 1000, self.exponent) * self.high
        return self.buffer_ms + math.ceil(travel_s * 1000)


def parse_rule(text: str) -> RuleNumbers:
    """Return the numbers of a rule text."""
    buffer_ms, exclusive, exponent, high, *hours = text.split(" ")
    return RuleNumbers(int(buffer_ms), exclusive == "1", float(exponent), float(high), tuple(map(float, hours)))


def name_other_job(error: ScheduleConflict) -> ScheduleConflict:
    """Add the id of the other job of the conflict to the error. Only that job's holder and ops may receive it."""
    error.extra["job"] = {"id": error.reply[2].decode()}
    return error
