"""The cost of the chore of demand, measured in executed lines of Python, which do not depend on the load of the
machine.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable

from engine.rules.hour_slots import HOUR_MS, HourSlots
from engine.rules.pulse import cell_at, cell_ring
from engine.rules.zone_demand import AreaSupply, ZoneDemand

AREAS = 300


def count_lines(run: Callable[[], object]) -> int:
    """Return how many lines of Python a call executes."""
    lines = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        run()
    finally:
        sys.settrace(before)
    return lines


def make_demand() -> tuple[ZoneDemand, list[str]]:
    """Return the demand of a zone that has learnt more than a day of ``AREAS`` cells, and these cells."""
    cells = [cell_at(52.5, 13.4)]
    for cell in cells:
        if len(cells) < AREAS:
            cells += [each for each in cell_ring(cell) if each not in cells]
    chance, demand = random.Random(1), ZoneDemand("cell", HourSlots("UTC"), 0)
    for hour in range(24):
        demand.close(hour, {cell: 1 for cell in cells if chance.random() < 0.5})
    return demand, cells


def test_the_cost_grows_with_the_areas_alone() -> None:
    """The end of an hour executes at most 90 lines for each area, and a look at most 30: 7 µs and 4 µs on a slow core.
    The expected requests are computed only at the first look of each ten minutes.
    """
    demand, cells = make_demand()
    areas, supply = len(demand.forecast.profile.areas), {cell: AreaSupply(1, 1, 1) for cell in cells[::4]}
    running = dict.fromkeys(cells[::2], 1)
    assert count_lines(lambda: demand.close(24, running)) <= 90 * areas
    at_ms = 25 * HOUR_MS
    first = count_lines(lambda: demand.look(at_ms, running, supply))
    assert count_lines(lambda: demand.look(at_ms + 60_000, running, supply)) <= min(first, 30 * areas)


def test_a_look_depends_on_what_is_there_alone() -> None:
    """A look that changes what the looks before have left has the same result as the first look of a process."""
    looked, cells = make_demand()
    elsewhere, chance = [*cells, cell_at(0.0, 0.0)], random.Random(2)
    for minute in range(0, 25, 3):
        running = looked.with_parents({cell: chance.randrange(3) for cell in chance.sample(elsewhere, 5)})
        supply = {cell: AreaSupply(*chance.choices(range(3), k=3)) for cell in chance.sample(elsewhere, 50)}
        fresh, _ = make_demand()
        at_ms = 24 * HOUR_MS + minute * 60_000
        assert looked.look(at_ms, running, supply) == fresh.look(at_ms, running, supply)


def test_the_chore_imports_no_numpy() -> None:
    """The forecast, the cells and the clusters import neither numpy nor another scientific package."""
    code = (
        "import sys, engine.workers.demand, engine.domain.demand; from engine.rules import cells; cells.load_library();"
        "print(*sorted({'numpy', 'scipy', 'pandas', 'lightgbm'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
