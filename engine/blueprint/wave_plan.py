"""The dispatch numbers of a blueprint as texts for the scripts."""

from __future__ import annotations

from collections.abc import Iterable

from engine.blueprint.schema import Blueprint, Dispatch


def weights_text(dispatch: Dispatch) -> str:
    """Return the weights that rank technicians, separated by spaces, in the order of lua/lib/ranking.lua."""
    weights = dispatch.weights
    return " ".join(
        f"{each:g}"
        for each in (weights.distance, weights.rating, weights.acceptance, weights.waiting, weights.workload)
    )


def match_rule_text(dispatch: Dispatch) -> str:
    """Return the rule of the blueprint's matching windows, separated by slashes, in the order of lua/lib/window.lua; ""
    if the engine chooses for each job alone.
    """
    rule = dispatch.match
    if rule is None:
        return ""
    numbers = (_to_ms(rule.window_s), rule.reach_m, f"{rule.grow_m_s:g}", rule.k, dispatch.radius_m)
    return "/".join((*map(str, numbers), weights_text(dispatch).replace(" ", ",")))


def limits_text(dispatch: Dispatch) -> str:
    """Return the blueprint's limits on offers (head starts, the most open offers, places for newcomers, grace),
    separated by spaces, in the order of lua/lib/limits.lua. Times are in ms.
    """
    head = dispatch.head_start
    numbers: list[float] = [
        head.first if head else 0,
        _to_ms(head.delay_s) if head else 0,
        _to_ms(dispatch.preferred_s),
        dispatch.open_offers,
        dispatch.newcomers,
        dispatch.newcomer_jobs,
        _to_ms(dispatch.grace_s),
    ]
    return " ".join(f"{each:.10g}" for each in numbers)


def max_radius_m(blueprints: Iterable[Blueprint]) -> int:
    """Return the largest radius of any wave in metres; 0 if no wave has a radius."""
    return max((wave.radius_m for each in blueprints for wave in each.dispatch.waves), default=0)


def is_first_after_declared(dispatch: Dispatch, number: int) -> bool:
    """Return whether wave ``number`` is the first one after all declared waves: these have found nobody."""
    return number == max(1, len(dispatch.waves)) + 1


def _to_ms(seconds: float) -> int:
    return round(seconds * 1000)
