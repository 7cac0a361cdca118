"""Solve a matching window with the matcher of its rule."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from engine.blueprint.match_rule import MatchRule
from engine.errors import Unavailable
from engine.rules import matching
from engine.rules.matchers import SHIPPED, find_matcher
from engine.rules.matching import Match, WaitingJob

SMALL_WINDOW = 32
"""A window with at most so many jobs is solved in the event loop (in less than a ms), a larger one in a thread."""

log = structlog.get_logger(__name__)


async def solve_window(jobs: Sequence[WaitingJob], rule: MatchRule) -> tuple[list[Match], bool]:
    """Return what ``matching.solve`` returns with the rule's matcher. If a matcher of another package raises, take the
    cheapest pairs first. Raises Unavailable if the matcher is not installed.
    """
    matcher = find_matcher(rule.solver)
    if matcher is None:
        raise Unavailable(f"The matcher {rule.solver} is not installed")
    try:
        if len(jobs) > SMALL_WINDOW:
            return await asyncio.to_thread(matching.solve, jobs, matcher, rule.jobs)
        return matching.solve(jobs, matcher, rule.jobs)
    except Exception:
        if rule.solver in SHIPPED:
            raise
        log.exception("matcher_failed", solver=rule.solver)
        return matching.solve(jobs, SHIPPED["shortest_first"], rule.jobs)[0], True
