"""Tests of the pulse in Redis: the area whose pulse is found, its largest age, and that a late writer changes
nothing.
"""

from __future__ import annotations

import msgspec

from engine.domain import demand_pulse
from engine.rules.pulse import LEAST_SAMPLE, AreaPulse, cell_at, lineage_of
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE
from tests.support.clock import advance

PLACE = (52.52, 13.40)
CELL, PARENT, *_ = LINEAGE = lineage_of(cell_at(*PLACE))


def encode(**members: object) -> bytes:
    """Return the JSON of an area's pulse."""
    return msgspec.json.encode(AreaPulse(**members))  # type: ignore[arg-type]


async def now_ms(engine: Engine) -> int:
    """Return the time of the zone's clock."""
    return int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now"))


async def store(engine: Engine, as_of: int, **pulses: bytes) -> None:
    """Store pulses of cells."""
    await demand_pulse.store_pulses(engine, DEFAULT_ZONE, "cell", pulses, as_of)


async def test_there_is_no_pulse_before_the_chore_ran(engine: Engine) -> None:
    """Without a pulse a reader gets nothing, and a list is empty."""
    assert await demand_pulse.read_place_pulse(engine, DEFAULT_ZONE, *PLACE) is None
    assert await demand_pulse.read_pulses(engine, DEFAULT_ZONE, "cell") == ({}, 0)


async def test_a_cell_with_few_requests_answers_with_its_parent(engine: Engine) -> None:
    """The result is the pulse of the first area, from the cell to its largest parent, that has enough requests; if none
    has, that of the largest parent.
    """
    now = await now_ms(engine)
    await store(engine, now, **{CELL: encode(sample=LEAST_SAMPLE - 1), PARENT: encode(sample=LEAST_SAMPLE, free=3)})
    found = await demand_pulse.read_place_pulse(engine, DEFAULT_ZONE, *PLACE)
    assert found is not None and (found.area, found.pulse.free, found.as_of) == (PARENT, 3, now)
    await store(engine, now, **{PARENT: encode(sample=1), LINEAGE[-1]: encode(sample=2, waiting=4)})
    found = await demand_pulse.read_place_pulse(engine, DEFAULT_ZONE, *PLACE)
    assert found is not None and (found.area, found.pulse.waiting) == (LINEAGE[-1], 4)
    assert await demand_pulse.read_place_pulse(engine, DEFAULT_ZONE, 10.0, 10.0) is None


async def test_a_pulse_older_than_five_minutes_says_nothing(engine: Engine) -> None:
    """A reader gets no pulse if it is old. The key has a TTL, so that an old multiplier disappears."""
    await store(engine, await now_ms(engine), **{CELL: encode(sample=LEAST_SAMPLE)})
    assert await demand_pulse.read_place_pulse(engine, DEFAULT_ZONE, *PLACE)
    await advance(engine, demand_pulse.MAX_AGE_MS / 1000 + 1)
    # a process that is late stores a pulse, and sets the clock too
    await store(engine, 1, **{CELL: encode(sample=LEAST_SAMPLE)})
    assert await demand_pulse.read_place_pulse(engine, DEFAULT_ZONE, *PLACE) is None
    left = await engine.store.command("PTTL", keys.demand_pulse(DEFAULT_ZONE, "cell"))
    assert 0 < left <= demand_pulse.TTL_MS


async def test_a_late_runner_changes_nothing(engine: Engine) -> None:
    """A pulse as of an earlier time does not replace a later one, in any of its areas."""
    now = await now_ms(engine)
    await store(engine, now, **{CELL: encode(sample=40)})
    await store(engine, now - 1, **{CELL: encode(sample=50), PARENT: encode(sample=60)})
    pulses, as_of = await demand_pulse.read_pulses(engine, DEFAULT_ZONE, "cell")
    assert ({area: pulse.sample for area, pulse in pulses.items()}, as_of) == ({CELL: 40}, now)
