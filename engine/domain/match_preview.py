"""The preview of a booking whose job will be matched in windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.blueprint.match_rule import MatchRule
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain.booking_request import Booking
from engine.domain.matching import travel_now, view_nearest
from engine.domain.window_solver import solve_window
from engine.events import rfc3339_of
from engine.rules.matching import Candidate, Match, WaitingJob, record_members
from engine.store import keys
from engine.types import ServiceId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_RIVALS = 8
"""How many waiting jobs the window of a preview contains besides the booking: those nearest to the booking's place."""


async def choose_in_window(
    engine: Engine, zone: Zone, seen: dict[str, Any], blueprint: Blueprint, wanted: Booking
) -> dict[str, Any]:
    """Return a preview with the technician whom a window would choose now. The window contains the booking and the
    nearest waiting jobs. ``more`` in the result is true if further jobs wait. ``seen`` is the document of
    lua/preview_read.lua with the candidates.
    """
    rule = blueprint.dispatch.match or MatchRule()
    service = ServiceId(wanted.service)
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
    rivals, waiting = await view_nearest(engine, zone, service, wanted.lat, wanted.lon, MAX_RIVALS)
    matches, _ = await solve_window([*rivals, job], rule)
    match = next((each for each in matches if each.job.id == job.id), None)
    chosen = [match.technician] if match else []
    others = [each.technician for each in job.candidates if each.technician not in chosen]
    if match is not None:
        others = [job.candidates[each].technician for each in match.others]
        free = int(await engine.store.command("ZCARD", keys.technician_supply(zone, service)))
        seen |= _record_members(match, waiting + 1, free)
    rank = seen["out"].get("rank", {"count": 0, "technicians": []})
    if others or rank["count"]:
        outranked = {"count": len(others) + rank["count"], "technicians": [*others, *rank["technicians"]]}
        seen["out"] = {**seen["out"], "rank": outranked}
    seen |= {"in": {"count": len(chosen), "technicians": chosen}, "more": waiting > MAX_RIVALS}
    return {name: value for name, value in seen.items() if name not in ("how", "candidates")}


def _record_members(match: Match, jobs: int, free: int) -> dict[str, Any]:
    """Return the members that the window would add to the record of the wave."""
    text = record_members(match, window=rfc3339_of(now_ms()), jobs=jobs, free=free)
    members: dict[str, Any] = msgspec.json.decode("{" + text[1:] + "}")
    return members
