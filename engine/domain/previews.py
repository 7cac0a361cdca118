"""Preview a booking: which technicians would be asked first if it were booked and its search began now, which would
not, and why.

A preview calls the same functions as the real search (lua/preview_read.lua), and writes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.blueprint import registry, wave_plan
from engine.blueprint.schema import Blueprint
from engine.domain import booking, quote_use, schedules, services, zones
from engine.domain.booking_record import duration_of
from engine.domain.booking_request import Booking
from engine.domain.match_preview import choose_in_window
from engine.domain.services import Service
from engine.events import rfc3339_of
from engine.roles import OPS, SERVICE_ROLE, require_role
from engine.store import keys
from engine.store.scripts import Args
from engine.technicians.live import check_mappable
from engine.types import Principal, ServiceId, Zone, new_job_id

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_TURNS = 8
"""How many turns of a search a preview runs at most. A search decides in one turn, except in a dense crowd."""


async def preview_booking(engine: Engine, caller: Principal, wanted: Booking) -> dict[str, Any]:
    """Return the technicians whom a booking would ask in its first wave, in order, and those whom it would not ask,
    with the reasons. Callers with the role ``service`` receive only counts and reasons.

    If the job's first state does not search for a technician, the preview is that of the first later state that does.
    The preview searches as of now, even for a booking for later; ``starts_at`` is when the real search would begin.
    Raises the same errors as a booking with these fields.
    """
    require_role(caller, OPS | SERVICE_ROLE)
    customer = booking.customer_id(caller, wanted)
    check_mappable(wanted.lat, wanted.lon)
    blueprint = registry.find_named(engine.blueprints, wanted.blueprint)
    booking.check_technician(blueprint, wanted)
    service = await services.active_service(engine, ServiceId(wanted.service))
    await booking.customer_account(engine, customer)
    quote = await quote_use.find_for_booking(engine, customer, blueprint, wanted, service)
    zone = quote.zone if quote else zones.zone_of_place(engine, wanted.lat, wanted.lon)
    state = _searching_state(blueprint, wanted)
    mode = blueprint.states[state].search_mode
    found = await _run_search(engine, zone, wanted, service, blueprint, mode) if mode != "none" else _nobody()
    if not caller.is_ops:
        found = _counts_only(found)
    return {"blueprint": blueprint.name, "state": state, "mode": mode, "starts_at": _start(blueprint, wanted), **found}


def _searching_state(blueprint: Blueprint, wanted: Booking) -> str:
    """Return the first state, from that of a new job on, that searches for a technician; the new job's state if none
    does.
    """
    first, names = booking.first_state(blueprint, wanted), list(blueprint.states)
    later = names[names.index(first) :]
    return next((name for name in later if blueprint.states[name].search_mode != "none"), first)


def _start(blueprint: Blueprint, wanted: Booking) -> str | None:
    """Return when the search for a scheduled job begins; None if it begins at once (lua/lib/dispatch_index.lua)."""
    mode = blueprint.states[booking.first_state(blueprint, wanted)].search_mode
    if wanted.scheduled_for is None or mode in ("bids", "direct", "none"):
        return None
    return rfc3339_of(blueprint.work_begins_at(wanted.scheduled_for))


async def _run_search(
    engine: Engine, zone: Zone, wanted: Booking, service: Service, blueprint: Blueprint, mode: str
) -> dict[str, Any]:
    job, dispatch = new_job_id(zone), blueprint.dispatch
    wave, whole_zone = blueprint.wave(1)
    named = (wanted.technician or "") if mode == "direct" else ""
    names = {
        "meta": keys.zone_meta(zone),
        "job": keys.job(zone, job),
        "offers": keys.job_offers(zone, job),
        "supply": keys.technician_supply(zone, ServiceId(wanted.service)),
        "people": keys.map_people(zone),
    }
    args: Args = {
        "id": job,
        "mode": mode,
        "service": wanted.service,
        "customer": wanted.customer or "",
        "lat": wanted.lat,
        "lon": wanted.lon,
        "named": named,
        "preferred": "" if named else wanted.technician or "",
        "size": wave.size,
        "radius_m": dispatch.radius_m if mode == "allocate" else wave.radius_m,
        "whole_zone": int(whole_zone and mode != "allocate"),
        "weights": wave_plan.weights_text(dispatch),
        "limits": "" if mode == "allocate" else wave_plan.limits_text(dispatch),
        "scheduled": wanted.scheduled_for or 0,
        "duration_min": duration_of(wanted, service),
        "schedule": schedules.rule_text(engine, zone, blueprint) if mode != "direct" else "",
        "window": wave_plan.match_rule_text(dispatch) if mode in ("allocate", "broadcast") else "",
    }
    walk = ""
    for _ in range(MAX_TURNS):
        done = await engine.store.read(zone, "preview_read", keys=names, args={**args, "walk": walk})
        document, walk = msgspec.json.decode(done.values[0]), done.values[1].decode()
        if not walk:
            break
    del document["wave"]
    found: dict[str, Any] = document
    return await choose_in_window(engine, zone, found, blueprint, wanted) if args["window"] else found


def _nobody() -> dict[str, Any]:
    """Return the result for a blueprint that never searches."""
    group = {"count": 0, "technicians": []}
    return {"at": None, "radius_m": None, "visited": 0, "in": group, "out": {}, "scores": [], "more": False}


def _counts_only(found: dict[str, Any]) -> dict[str, Any]:
    """Return a preview without the technicians, their scores, and other jobs."""
    out = {why: {"count": group["count"]} for why, group in found["out"].items()}
    shown = {name: found[name] for name in ("at", "radius_m", "visited", "more")}
    return {**shown, "in": {"count": found["in"]["count"]}, "out": out}
