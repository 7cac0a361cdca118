"""Tests of the multipliers of a zone's areas: from the counts of requests to the pulse."""

from __future__ import annotations

from engine.rules.area_surge import AreaSurge
from engine.rules.pulse import AreaPulse
from engine.rules.surge import DemandTable

TABLE = DemandTable(table=((1.0, 1000), (1.5, 1200), (2.5, 1600), (4.0, 2000)))
MINUTE_MS = 60_000


def run_minutes(surge: AreaSurge, minutes: range, requests_a_minute: dict[str, int]) -> dict[str, AreaPulse]:
    """Do one look a minute, with ``requests_a_minute`` of each area in each minute. Return the last pulse of each area.
    An area usually has 60 requests an hour and one free technician.
    """
    pulses: dict[str, AreaPulse] = {}
    for minute in minutes:
        pulses = {area: AreaPulse(usual=60.0, free=1) for area in ("a", "b", "far")}
        counts = {minute // 60: {area: n * (minute % 60 + 1) for area, n in requests_a_minute.items()}}
        if minute % 60 == 0 and minute:  # this is the last look at the hour before
            counts[minute // 60 - 1] = {area: n * 60 for area, n in requests_a_minute.items()}
        surge.look(pulses, counts, (minute + 1) * MINUTE_MS)
    return pulses


def make_surge() -> AreaSurge:
    """Return the multipliers of three areas, of which `a` and `b` are neighbours."""
    return AreaSurge(lambda area: {"a": ["b"], "b": ["a"]}.get(area, []), {"managed": TABLE})


def test_usual_requests_change_no_price() -> None:
    """As many requests as usual leave every multiplier neutral, also when the hour changes."""
    pulses = run_minutes(make_surge(), range(130), {"a": 1, "b": 1, "far": 1})
    assert {area: pulse.multipliers for area, pulse in pulses.items()} == {"a": {}, "b": {}, "far": {}}


def test_four_times_the_requests_raise_the_price_there_and_next_door() -> None:
    """The area's multiplier rises. Its neighbour's rises less. An area farther away keeps its multiplier."""
    pulses = run_minutes(make_surge(), range(60), {"a": 4, "b": 1, "far": 1})
    assert pulses["a"].multipliers["managed"] > pulses["b"].multipliers.get("managed", 1000) >= 1000
    assert pulses["a"].multipliers["managed"] >= 1400
    assert pulses["far"].multipliers == {}


def test_a_restart_goes_on_with_the_multiplier() -> None:
    """Another process continues from the stored pulses: the multiplier neither drops immediately nor jumps."""
    before = run_minutes(make_surge(), range(60), {"a": 4, "b": 1, "far": 1})
    other = make_surge()
    other.restore(before)
    after = run_minutes(other, range(60, 62), {"a": 4, "b": 1, "far": 1})
    assert abs(after["a"].multipliers["managed"] - before["a"].multipliers["managed"]) <= 100


def test_a_blueprint_without_a_table_has_no_multiplier() -> None:
    """Without demand tables nothing is computed and nothing is stored."""
    pulses = run_minutes(AreaSurge(lambda _: []), range(20), {"a": 9})
    assert all(not pulse.multipliers and not pulse.surge for pulse in pulses.values())
