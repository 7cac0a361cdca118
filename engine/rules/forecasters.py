"""The forecasters that are installed besides the default, found by name. Other packages add theirs by the entry point
group ``callout.forecasters``.
"""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from typing import Protocol, cast

from engine.rules.demand_forecast import BASELINES, PROFILE
from engine.rules.forecast import Forecaster
from engine.rules.hour_slots import HourSlots

GROUP = "callout.forecasters"


class ForecasterFactory(Protocol):
    """What an entry point names: the class of a forecaster, or a function. Each zone and kind of area gets a forecaster
    of its own. ``slots`` has the hours of the week in the zone's time zone.
    """

    def __call__(self, slots: HourSlots) -> Forecaster: ...


@functools.cache
def installed_factories() -> dict[str, ForecasterFactory]:
    """Return the factories that other packages add, by name. The names of the default and of the baselines are taken:
    an entry point with such a name is ignored.
    """
    found = {each.name: each for each in entry_points(group=GROUP) if each.name not in (PROFILE, *BASELINES)}
    return {name: cast(ForecasterFactory, found[name].load()) for name in sorted(found)}


def create_forecasters(slots: HourSlots) -> dict[str, Forecaster]:
    """Return a new forecaster of each factory."""
    return {name: factory(slots) for name, factory in installed_factories().items()}
