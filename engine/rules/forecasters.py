"""Find the forecasters that other packages add to the default one by the entry point group ``callout.forecasters``."""

from __future__ import annotations

import functools
from importlib.metadata import entry_points
from typing import Protocol, cast

from engine.rules.demand_forecast import BASELINES, PROFILE
from engine.rules.forecast import Forecaster
from engine.rules.hour_slots import HourSlots

GROUP = "callout.forecasters"


class ForecasterFactory(Protocol):
    """The object that an entry point names: the class of a forecaster, or a function that returns one. It is called
    once for each zone and kind of area. ``slots`` has the hours of the week in the zone's time zone.
    """

    def __call__(self, slots: HourSlots) -> Forecaster: ...


@functools.cache
def installed_factories() -> dict[str, ForecasterFactory]:
    """Return the factories that other packages add, by name. An entry point with the name of the default or of a
    baseline is ignored.
    """
    found = {each.name: each for each in entry_points(group=GROUP) if each.name not in (PROFILE, *BASELINES)}
    return {name: cast(ForecasterFactory, found[name].load()) for name in sorted(found)}


def create_forecasters(slots: HourSlots) -> dict[str, Forecaster]:
    """Return a new forecaster from each factory, by name."""
    return {name: factory(slots) for name, factory in installed_factories().items()}
