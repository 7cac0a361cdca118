"""The numbers of looking for a technician, as scripts take them: one text each, made from the blueprint."""

from __future__ import annotations

from collections.abc import Iterable

from engine.blueprint.schema import Blueprint, Dispatch


def weights(dispatch: Dispatch) -> str:
    """What ranks technicians, in the order of lua/lib/ranking.lua."""
    w = dispatch.weights
    return " ".join(f"{each:g}" for each in (w.distance, w.rating, w.acceptance, w.waiting, w.workload))


def limits(dispatch: Dispatch) -> str:
    """Head starts, cap, the newcomers' share and the grace, in the order of lua/lib/limits.lua; times in ms."""
    head = dispatch.head_start
    numbers: list[float] = [
        head.first if head else 0,
        _ms(head.s) if head else 0,
        _ms(dispatch.preferred_s),
        dispatch.open_offers,
        dispatch.newcomers,
        dispatch.newcomer_jobs,
        _ms(dispatch.grace_s),
    ]
    return " ".join(f"{each:.10g}" for each in numbers)


def reach_m(blueprints: Iterable[Blueprint]) -> int:
    """The largest radius that any wave names; 0 where none does."""
    return max((wave.radius_m for each in blueprints for wave in each.dispatch.waves), default=0)


def looked_in_vain(dispatch: Dispatch, number: int) -> bool:
    """Whether all declared waves are over when wave ``number`` begins, and it is the first after them."""
    return number == max(1, len(dispatch.waves)) + 1


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
