"""Reading demand: the areas of a zone with their pulse, clusters of areas, and the errors of the forecast."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.archive import demand_models, demand_reader
from engine.domain.demand_pulse import read_pulses
from engine.domain.demand_supply import POSTAL_WEEKS
from engine.domain.zone_map import load_cells
from engine.errors import NotFound, Unavailable
from engine.events import rfc3339_of
from engine.roles import OPS, SERVICE_ROLE, TECHNICIAN_ROLE, require_role
from engine.rules.boxes import MapBox
from engine.rules.demand_forecast import BASELINES, PROFILE, best_candidate
from engine.rules.demand_state import ZoneState, scores_of
from engine.rules.hour_slots import HOUR_MS, WEEK_HOURS, hour_of
from engine.rules.pulse import (
    AREA_KINDS,
    AreaKind,
    AreaPulse,
    cell_centre,
    cell_outline,
    cell_ring,
    find_sampled,
    is_smallest,
)
from engine.rules.surge import NEUTRAL
from engine.rules.watershed import find_clusters
from engine.rules.zone_areas import timezone_of
from engine.types import Principal, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

READER_ROLES = OPS | SERVICE_ROLE
SCORE_READER_ROLES = READER_ROLES | TECHNICIAN_ROLE

PostalCells = Mapping[str, Mapping[str, int]]
"""The cells of each postal code, with the number of bookings that they share."""


def require_demand_reader(engine: Engine, caller: Principal, zone: Zone, *, scores_only: bool = False) -> None:
    """Raise Forbidden unless the caller may read demand (``scores_only``: at least the scores), NotFound for a zone
    that is not served here, and Unavailable if it is closed.
    """
    require_role(caller, SCORE_READER_ROLES if scores_only else READER_ROLES)
    state = engine.store.zones.get(zone)
    if state is None:
        raise NotFound("No such zone")
    if not state.open:
        raise Unavailable(f"zone {zone} is closed: {state.why}")


async def list_areas(
    engine: Engine, caller: Principal, zone: Zone, kind: AreaKind, box: MapBox | None
) -> list[dict[str, Any]]:
    """Return the areas in which jobs were requested; with ``box``, only those that have the centre of a cell in the
    box. A technician gets only the scores. Raises the errors of ``require_demand_reader``.
    """
    require_demand_reader(engine, caller, zone, scores_only=True)
    await load_cells()
    pulses, as_of = await read_pulses(engine, zone, kind)
    cells_of = await _read_postal_cells(engine, zone, as_of) if kind == "postal_code" and box else {}
    found = []
    for area in pulses:
        if (kind == "cell" and not is_smallest(area)) or (box and not _is_in_box(kind, area, box, cells_of)):
            continue
        source = find_sampled(kind, area, pulses)
        found.append(area_item(kind, area, source, pulses[source], as_of, scores_only=caller.role == "technician"))
    return found


async def list_clusters(engine: Engine, caller: Principal, zone: Zone, kind: AreaKind) -> list[dict[str, Any]]:
    """Return clusters of neighbouring areas around the areas with the most requests of four weeks. Raises the errors of
    ``require_demand_reader``.
    """
    require_demand_reader(engine, caller, zone)
    await load_cells()
    pulses, as_of = await read_pulses(engine, zone, kind)
    areas = {name: each for name, each in pulses.items() if each.sample and (kind != "cell" or is_smallest(name))}
    neighbours = cell_ring if kind == "cell" else _postal_neighbours(await _read_postal_cells(engine, zone, as_of))
    members: dict[str, list[str]] = defaultdict(list)
    for area, peak in find_clusters({name: each.sample for name, each in areas.items()}, neighbours).items():
        members[peak].append(area)
    total = sum(each.sample for each in areas.values())
    found = []
    for peak, names in members.items():
        sample = sum(areas[name].sample for name in names)
        item = {
            "area": peak,
            "areas": sorted(names),
            "sample": sample,
            "share": round(sample / total, 4),
            "waiting": sum(areas[name].waiting for name in names),
            "free": sum(areas[name].free for name in names),
            "expected": round(sum(areas[name].arrivals for name in names), 2),
            "as_of": rfc3339_of(as_of),
        }
        found.append(item)
    return found


async def list_scores(engine: Engine, caller: Principal, zone: Zone) -> list[dict[str, Any]]:
    """Return the recent mean errors (requests an hour) of the forecast and of its baselines, by kind of area and
    horizon. Raises the errors of ``require_demand_reader``.
    """
    require_demand_reader(engine, caller, zone)
    timezone, found = timezone_of(engine.settings.zone_areas, zone), []
    for kind in AREA_KINDS:
        stored = await demand_models.load_zone(engine.archive, zone, kind, timezone)
        found += _score_items(kind, stored) if stored else []
    return found


def _score_items(kind: AreaKind, stored: ZoneState) -> list[dict[str, Any]]:
    scores = scores_of(stored)
    items = []
    for horizon in sorted({horizon for _, horizon in scores}):
        candidates = {name: score for (name, h), score in scores.items() if h == horizon}
        served = best_candidate(candidates)
        for name in (PROFILE, *sorted(candidates.keys() - {PROFILE, *BASELINES}), *BASELINES):
            score = candidates.get(name)
            if score and score.hours:
                items.append(
                    {
                        "by": kind,
                        "h": horizon,
                        "candidate": name,
                        "error": round(score.error / score.hours, 3),
                        "served": name == served,
                        "as_of": rfc3339_of((stored.hour + 1) * HOUR_MS),
                    }
                )
    return items


def area_item(
    kind: AreaKind, area: str, source: str, pulse: AreaPulse, as_of: int, *, scores_only: bool = False
) -> dict[str, Any]:
    """Return an area as clients receive it, with the pulse of the area ``source``: itself or a parent. ``as_of`` is in
    ms since the Unix epoch. ``scores_only`` leaves out what technicians may not know.
    """
    item: dict[str, Any] = {"area": area, "score": pulse.score, "as_of": rfc3339_of(as_of)}
    if kind == "cell":
        item["polygon"] = {"type": "Polygon", "coordinates": [cell_outline(area)]}
    if source != area:
        item["from"] = source
    if scores_only:
        return item
    return item | {
        "lift": pulse.lift,
        "waiting": pulse.waiting,
        "free": pulse.free,
        "multiplier": max(pulse.multipliers.values(), default=NEUTRAL),
        "ahead": [{"h": each.h, "mean": each.mean, "p10": each.p10, "p90": each.p90} for each in pulse.ahead],
        "sample": pulse.sample,
    }


def _is_in_box(kind: AreaKind, area: str, box: MapBox, cells_of: PostalCells) -> bool:
    """Return whether the centre of the cell, or of any cell of the postal code, is in the box."""
    return any(box.contains(*cell_centre(cell)) for cell in ([area] if kind == "cell" else cells_of.get(area, {})))


async def _read_postal_cells(engine: Engine, zone: Zone, as_of: int) -> PostalCells:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    since = hour_of(as_of) - POSTAL_WEEKS * WEEK_HOURS
    for code, cell, total in await demand_reader.read_postal_cells(engine.archive, zone, since):
        found[code][cell] = total
    return found


def _postal_neighbours(cells_of: PostalCells) -> Callable[[str], list[str]]:
    """Return a function that finds the neighbours of a postal code. Two codes are neighbours if they share a cell or
    have adjacent cells.
    """
    codes_at: dict[str, set[str]] = defaultdict(set)
    for code, cells in cells_of.items():
        for cell in cells:
            codes_at[cell].add(code)

    def neighbours(code: str) -> list[str]:
        cells = [near for cell in cells_of.get(code, ()) for near in (cell, *cell_ring(cell))]
        return sorted({other for cell in cells for other in codes_at.get(cell, ())} - {code})

    return neighbours
