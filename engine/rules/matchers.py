"""Find matchers by name. A matcher is a solver of the assignment problem. Other packages add theirs by the entry point
group ``callout.matchers``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Protocol, cast

from engine.rules import assignment
from engine.rules.assignment import Edges

GROUP = "callout.matchers"


class Matcher(Protocol):
    """A solver as engine/rules/assignment.py describes it. It may raise TooSlow after ``limit_s`` seconds (0: no
    limit). A wrong result, such as two jobs for one technician, does no harm: lua/match_take.lua checks each assignment
    again.
    """

    def __call__(self, edges: Edges, unmatched: Sequence[int], limit_s: float = 0.0) -> list[int]: ...


SHIPPED: dict[str, Matcher] = {"exact": assignment.exact, "shortest_first": assignment.shortest_first}


@functools.cache
def find_matcher(name: str) -> Matcher | None:
    """Return the matcher of this name; None if none is installed."""
    if name in SHIPPED:
        return SHIPPED[name]
    found = next(iter(entry_points(group=GROUP, name=name)), None)
    return cast(Matcher, found.load()) if found else None
