"""The linter of ``[dispatch] match``, which declares matching windows."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from engine.blueprint.match_rule import MatchRule
from engine.blueprint.schema import Blueprint
from engine.rules.matchers import find_matcher

MAX_WINDOW_S, MAX_CANDIDATES, MAX_EXACT_JOBS = 60.0, 64, 1024
"""The longest window, the most candidates of a job, and the most jobs that may be matched exactly."""


def match_problems(blueprint: Blueprint) -> Iterator[str]:
    """Yield the problems of ``[dispatch] match``, one sentence each."""
    dispatch, rule = blueprint.dispatch, blueprint.dispatch.match
    if rule is None:
        return
    if not any(state.search_mode == "allocate" for state in blueprint.states.values()):
        yield 'dispatch: match: no state says seeks = "allocate", and only such jobs are matched in windows'
    if dispatch.waves or dispatch.head_start is not None:
        yield "dispatch: match: a blueprint with match has no waves and no head_start: its windows make no offers"
    yield from (f"dispatch: match: {problem}" for problem in _number_problems(rule))
    if 0 < dispatch.radius_m < rule.reach_m:
        yield "dispatch: match: reach_m must not be above radius_m, the farthest that allocate searches"
    if find_matcher(rule.solver) is None:
        yield f"dispatch: match: solver {rule.solver!r} is not installed"


def _number_problems(rule: MatchRule) -> Iterator[str]:
    if not 0 < rule.window_s <= MAX_WINDOW_S:
        yield f"window_s must be above 0, at most {MAX_WINDOW_S:g}"
    if rule.reach_m <= 0:
        yield "reach_m must be above 0"
    if not 0 < rule.grow_m_s < inf:
        yield "grow_m_s must be above 0: otherwise a job could wait forever"
    if not 1 <= rule.k <= MAX_CANDIDATES:
        yield f"k must be from 1 to {MAX_CANDIDATES}"
    if not 1 <= rule.jobs <= MAX_EXACT_JOBS:
        yield f"jobs must be from 1 to {MAX_EXACT_JOBS}"
