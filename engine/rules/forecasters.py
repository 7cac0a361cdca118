"""Find the forecasters that other packages add to the default one by the entry point group ``callout.forecasters``."""

from __future__ import annotations

import functools
from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from engine.rules.demand_forecast import BASELINES, PROFILE
from engine.rules.forecast import Forecaster, ForecasterFailed
from engine.rules.hour_slots import HourSlots

GROUP = "callout.forecasters"


class ForecasterFactory(Protocol):
    """The object that an entry point names: the class of a forecaster, or a function that returns one. It is called
    once for each zone and kind of area. ``slots`` has the hours of the week in the zone's time zone.
    """

    def __call__(self, slots: HourSlots) -> Forecaster: ...


@functools.cache
def installed_factories() -> dict[str, EntryPoint]:
    """Return the entry points of the factories that other packages add, by name. The names of the default and of the
    baselines are taken: an entry point with such a name is ignored.
    """
    found = {each.name: each for each in entry_points(group=GROUP) if each.name not in (PROFILE, *BASELINES)}
    return {name: found[name] for name in sorted(found)}


def create_forecasters(slots: HourSlots, without: Collection[str] = ()) -> dict[str, Forecaster]:
    """Return a new forecaster of each factory, except those ``without``. Raises ForecasterFailed if a package cannot be
    imported, or its factory raises.
    """
    return {name: _create(name, point, slots) for name, point in installed_factories().items() if name not in without}


def _create(name: str, point: EntryPoint, slots: HourSlots) -> Forecaster:
    try:
        return cast(ForecasterFactory, point.load())(slots)
    except Exception as error:
        raise ForecasterFailed(name, error) from error
