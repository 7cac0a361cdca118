"""The preview of a booking whose job will be matched in windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.blueprint.match_rule import MatchRule
from engine.blueprint.schema import Blueprint
from engine.domain.matching import travel_now
from engine.rules import assignment, matching
from engine.rules.matching import Candidate, WaitingJob
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


def choose_in_window(engine: Engine, zone: Zone, seen: dict[str, Any], blueprint: Blueprint) -> dict[str, Any]:
    """Return a preview with the technician whom a window would choose in which this job waits alone. ``seen`` is the
    document of lua/preview_read.lua with the candidates.
    """
    rule = blueprint.dispatch.match or MatchRule()
    job = WaitingJob(
        id="preview",
        version=0,
        blueprint=blueprint.key,
        status="",
        customer="",
        waiting_ms=0,
        reach_m=rule.reach_m,
        how=seen["how"],
        candidates=tuple(map(Candidate.parse, seen["candidates"])),
    ).with_costs(blueprint.dispatch.weights, travel_now(engine, zone), farthest_m=rule.reach_m)
    found = {name: value for name, value in seen.items() if name not in ("how", "candidates")}
    matches, _ = matching.solve([job], assignment.exact, 1)
    for match in matches:
        others = [job.candidates[each].technician for each in match.others]
        found["in"] = {"count": 1, "technicians": [match.technician]}
        found["scores"] = matching.scores_of(match)
        rank = seen["out"].get("rank", {"count": 0, "technicians": []})
        if others or rank["count"]:
            outranked = {"count": len(others) + rank["count"], "technicians": [*others, *rank["technicians"]]}
            found["out"] = {**seen["out"], "rank": outranked}
    return found
